"""Puts several experiments side by side in one table, with paired differences to the first of them.

Reads   of each experiment a folder of tables as `tabulate` writes it, its queries (Query) and constitutions
        (Constitution), and verdicts (Verdict) on its last trained policy
Writes  a folder with the tables of comparisons in `sami.analysis.tables.catalogue` as CSV, Markdown and LaTeX

    python -m sami.stages.compare_experiments --help
"""

import logging

from sami.analysis.tables import build, comparison, files
from sami.analysis.tables.catalogue import TABLES
from sami.analysis.tables.rows import Estimator
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    texts = arguments.queries, arguments.constitutions
    results = comparison.load(arguments.experiments, arguments.tables, *texts, arguments.judged, arguments.verdicts)
    estimator = Estimator(arguments.samples, arguments.confidence, arguments.seed)
    rows = {"comparison": comparison.comparison(results, estimator), "frontier": comparison.frontier(results)}
    frames = {name: build.frame(TABLES[name], of) for name, of in rows.items()}
    files.write(frames, arguments.output)
    table = frames["comparison"]
    log.info("%d experiments: %d rows, %d paired differences", len(results), len(table),
             table["difference"].notna().sum())  # fmt: skip


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.setting("--experiments", "names of the experiments; differences are to the first", nargs="+")
    stage.input("--tables", "their folders of tables, in the same order", nargs="+")
    stage.input("--queries", "their held-out queries, in the same order", nargs="+")
    stage.input("--constitutions", "their constitutions, in the same order", nargs="+")
    stage.setting("--judged", "the experiment of each file of --verdicts", nargs="*")
    stage.input("--verdicts", "verdicts on their last trained policies, a file for each comparator", nargs="*")
    stage.setting("--samples", "resamples of the bootstrap", type=int)
    stage.setting("--confidence", "coverage of the intervals", type=float)
    stage.setting("--seed", "seed of the bootstrap", type=int)
    stage.output("--output", "folder of tables to write")
    stage.run(main)
