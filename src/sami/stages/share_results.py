"""Copies a result of another experiment, where both would make the same one.

Reads   a file of responses, scores or verdicts
Writes  its copy; the provenance record of the copy holds that of the original, under "original"

    python -m sami.stages.share_results --help
"""

import json
import shutil
from pathlib import Path
from typing import Any

from sami.stage import Stage


def main(arguments) -> dict[str, Any]:
    shutil.copyfile(arguments.original, arguments.output)
    record = Path(f"{arguments.original}.provenance.json")
    return {"original": json.loads(record.read_bytes())} if record.is_file() else {}


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--original", "the result of the other experiment")
    stage.output("--output", "its copy")
    stage.run(main)
