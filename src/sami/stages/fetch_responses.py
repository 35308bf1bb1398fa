"""Gets a file of responses in the SAMI authors' format from the web.

Reads   a web address
Writes  the file as it is there; its SHA-256 stands in the provenance record

    python -m sami.stages.fetch_responses --help
"""

import errno
import hashlib
import http.client
import logging
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from sami import imported
from sami.errors import UserError
from sami.progress import Progress
from sami.stage import Stage

log = logging.getLogger(__name__)

SILENCE = 60.0  # seconds without a byte after which a connection is given up
CHUNK = 2**16
BY_HAND = "Try again, or get the file in another way and put it where the configuration names it."


def download(address: str, path: Path) -> str:
    """Writes what stands at a web address to a file; returns its SHA-256.

    Raises:
        UserError: there is no such host or file, the connection breaks off or falls silent, or less arrives than was
            announced.
    """
    digest, received = hashlib.sha256(), 0
    try:
        # Names of files may hold spaces; what is quoted already stays so.
        with urllib.request.urlopen(urllib.parse.quote(address, safe=":/%?=&"), timeout=SILENCE) as answer:
            announced = int(answer.headers.get("Content-Length", 0))
            with path.open("wb") as file, Progress(announced, f"fetching {address}", "bytes") as progress:
                while part := answer.read(CHUNK):
                    file.write(part)
                    digest.update(part)
                    received += len(part)
                    progress.update(len(part))
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{address}: found the answer {error.code} ({error.reason}), expected the file. Mend 'source' or the name "
            "of the file, or get it in another way and put it where the configuration names it."
        ) from None
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        raise UserError(
            f"{address}: cannot be fetched ({getattr(error, 'reason', None) or error or type(error).__name__}); "
            f"expected a way to the web. {BY_HAND}"
        ) from None
    if received < announced:
        raise UserError(f"{address}: found {received} bytes, expected {announced}: the connection broke off. {BY_HAND}")
    return digest.hexdigest()


def main(arguments) -> dict[str, str]:
    digest = download(arguments.address, arguments.output)
    try:
        released = imported.read(arguments.output)
    except UserError as error:
        raise UserError(str(error).replace(str(arguments.output), arguments.address)) from None
    log.info("%d responses, %d bytes", len(released.response), arguments.output.stat().st_size)
    return {"sha256": digest}


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.setting("--address", "where the file is on the web")
    stage.output("--output", "file to write")
    stage.run(main)
