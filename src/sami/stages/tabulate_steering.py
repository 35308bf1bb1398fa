"""Tables of what policies make of attributes that they are asked for, with intervals over queries.

Reads   responses (Steered) of each policy
Writes  a folder with the tables of steering in `sami.analysis.tables.catalogue` as CSV, Markdown and LaTeX

    python -m sami.stages.tabulate_steering --help
"""

import logging

from sami.analysis.tables import build, files, steering
from sami.analysis.tables.catalogue import tables
from sami.analysis.tables.rows import Estimator
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    loaded = steering.load(arguments.policies, arguments.steered)
    estimator = Estimator(arguments.samples, arguments.confidence, arguments.seed)
    frames = {table.name: build.frame(table, build.rows_of(table, loaded, estimator)) for table in tables("steering")}
    files.write(frames, arguments.output)
    log.info("%d policies: %d tables", len(loaded), len(frames))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.setting("--policies", "names of the policies", nargs="+")
    stage.input("--steered", "their responses, in the same order", nargs="+")
    stage.setting("--samples", "resamples of the bootstrap", type=int)
    stage.setting("--confidence", "coverage of the intervals", type=float)
    stage.setting("--seed", "seed of the bootstrap", type=int)
    stage.output("--output", "folder of tables to write")
    stage.run(main)
