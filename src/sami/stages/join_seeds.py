"""Joins runs that differ in their seed alone: means over seeds, with intervals over seeds and queries.

Reads   of each run its held-out queries (Query), constitutions (Constitution), the responses (Example) of every policy,
        verdicts (Verdict) on them, and of those that have them log-probabilities (Scores) and relevance (Relevance)
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
    runs = seeds.load(
        arguments.seeds,
        arguments.policies,
        evaluation,
        queries=arguments.queries,
        constitutions=arguments.constitutions,
        responses=arguments.responses,
        verdicts=arguments.verdicts,
        scores=arguments.information,
        relevance=arguments.relevance,
    )
    estimator = Estimator(evaluation.bootstrap_samples, evaluation.confidence, arguments.seeds[0])
    frames = {
        table.name: build.frame(table, build.rows_of(table, runs, estimator, arguments.split))
        for table in tables("seeds")
    }
    files.write(frames, arguments.output)
    log.info("%d seeds, %d policies: %d tables", len(runs), len(arguments.policies), len(frames))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.setting("--seeds", "seeds of the runs; files are those of the first run first", nargs="+", type=int)
    stage.setting("--policies", "names of the policies, iteration-0 (the base model) among them", nargs="+")
    stage.input("--queries", "held-out queries of each run", nargs="+")
    stage.input("--constitutions", "constitutions of each run", nargs="+")
    stage.input("--responses", "examples of the policies of each run, in their order", nargs="+")
    stage.input("--verdicts", "verdicts of each run, one file for each policy, comparator and judge", nargs="+")
    stage.input("--information", "log-probabilities of each run's policies", nargs="*", required=False, default=[])
    stage.input("--relevance", "relevance of each run's policies", nargs="*", required=False, default=[])
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
