"""Gets a file of responses in the SAMI authors' format from the web.

Reads   a web address
Writes  the file as it is there; its SHA-256 stands in the provenance record

    python -m sami.stages.fetch_responses --help
"""

import logging

from sami.data import authors_format
from sami.data.downloads import download
from sami.errors import UserError
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> dict[str, str]:
    digest = download(arguments.address, arguments.output)
    try:
        file = authors_format.read(arguments.output)
    except UserError as error:
        raise UserError(str(error).replace(str(arguments.output), arguments.address)) from None
    log.info("%d responses, %d bytes", len(file.response), arguments.output.stat().st_size)
    return {"sha256": digest}


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.setting("--address", "where the file is on the web")
    stage.output("--output", "file to write")
    stage.run(main)
