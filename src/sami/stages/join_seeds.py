"""Joins runs that differ in their seed alone: means over seeds, with intervals over seeds and queries.

Reads   of each run its held-out queries (Query) and its folder of tables
Writes  a folder with the tables `seeds` (a row a seed and policy) and `joined` (a row a policy) as CSV, Markdown and
        LaTeX

    python -m sami.stages.join_seeds --help
"""

import logging

from sami.analysis.tables import build, files, seeds
from sami.analysis.tables.catalogue import tables
from sami.analysis.tables.rows import Estimator
from sami.settings.evaluation import Evaluation
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    evaluation = arguments.evaluation
    runs = seeds.load(arguments.seeds, arguments.queries, arguments.tables)
    estimator = Estimator(evaluation.bootstrap_samples, evaluation.confidence, arguments.seeds[0])
    frames = {
        table.name: build.frame(table, build.rows_of(table, runs, estimator, arguments.split))
        for table in tables("seeds")
    }
    files.write(frames, arguments.output)
    log.info("%d seeds: %d tables", len(runs), len(frames))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.setting("--seeds", "seeds of the runs, in the order of their files", nargs="+", type=int)
    stage.input("--queries", "held-out queries of each run", nargs="+")
    stage.input("--tables", "folder of tables of each run", nargs="+")
    stage.setting(
        "--split",
        "the held-out queries of the task that these are",
        choices=["eval", "test"],
        default="eval",
        required=False,
    )
    stage.structured("--evaluation", Evaluation, "how policies are compared")
    stage.output("--output", "folder of tables to write")
    stage.run(main)
