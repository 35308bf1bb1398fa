"""Table of screened pairs: what the base model hears of each, whether it is kept, and why not.

Reads   what was heard of each pair (Screened)
Writes  a folder with the tables of screening in `sami.analysis.tables.catalogue` as CSV, Markdown and LaTeX

    python -m sami.stages.tabulate_screening --help
"""

import logging

from sami import records
from sami.analysis.tables import build, files
from sami.analysis.tables.catalogue import tables
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    screened = records.read(records.Screened, arguments.screened)
    frames = {table.name: build.frame(table, build.rows_of(table, screened)) for table in tables("screening")}
    files.write(frames, arguments.output)
    log.info("%d pairs: %d tables", len(screened), len(frames))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--screened", "what was heard of each pair")
    stage.output("--output", "folder of tables to write")
    stage.run(main)
