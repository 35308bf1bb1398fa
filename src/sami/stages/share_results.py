"""Copies a result of another experiment, where both would make the same one.

Reads   a file of responses, examples, scores or the like; or the folder of a model
Writes  its copy; the provenance record of the copy holds that of the original, under "original". Files of a model are
        linked where the file system allows: a model is large, and stages replace files and never change them

    python -m sami.stages.share_results --help
"""

import os
import shutil
from pathlib import Path
from typing import Any

from sami.errors import UserError
from sami.lineage import read
from sami.stage import Stage

# The record in a folder is the copy's own, and would be written through a link.
NOT_COPIED = ("provenance.json", ".snakemake_timestamp")


def link(original: str, copy: str) -> None:
    """Gives a file a second name, or where that cannot be done, as across disks, copies it."""
    try:
        os.link(original, copy)
    except OSError:
        shutil.copyfile(original, copy)


def main(arguments) -> dict[str, Any]:
    original, copy = Path(arguments.original), Path(arguments.output)
    if original.is_dir():
        if not (original / "config.json").is_file():
            raise UserError(
                f"{original}: found a folder without config.json, expected that of a model, or a file. Make the result "
                "of the other experiment again."
            )
        shutil.copytree(original, copy, ignore=shutil.ignore_patterns(*NOT_COPIED), copy_function=link)
    else:
        shutil.copyfile(original, copy)
    record = read(original)
    return {"original": record} if record else {}


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--original", "the result of the other experiment")
    stage.output("--output", "its copy")
    stage.run(main)
