"""Table of what judges by identification tell of the policies: how many responses are assigned to their constitution.

Reads   what each judge's model makes of each policy's responses (Recognised)
Writes  a folder with the table `identification` of `sami.analysis.tables.catalogue` as CSV, Markdown and LaTeX

    python -m sami.stages.tabulate_identification --help
"""

import logging

from sami.analysis.tables import build, files, identification
from sami.analysis.tables.catalogue import tables
from sami.analysis.tables.rows import Estimator
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    told = identification.load(arguments.judges, arguments.policies, arguments.recognised)
    estimator = Estimator(arguments.samples, arguments.confidence, arguments.seed)
    frames = {
        table.name: build.frame(table, build.rows_of(table, told, estimator)) for table in tables("identification")
    }
    files.write(frames, arguments.output)
    log.info("%d judges, %d policies: %d tables", len(told), len(arguments.policies), len(frames))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.setting("--judges", "names of the judges", nargs="+")
    stage.setting("--policies", "names of the policies, the base model among them", nargs="+")
    stage.input("--recognised", "what is told of each, judge by judge, in the order of the policies", nargs="+")
    stage.setting("--samples", "resamples of the bootstrap", type=int)
    stage.setting("--confidence", "coverage of the intervals", type=float)
    stage.setting("--seed", "seed of the bootstrap", type=int)
    stage.output("--output", "folder of tables to write")
    stage.run(main)
