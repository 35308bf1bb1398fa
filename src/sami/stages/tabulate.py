"""Turns the records of all policies of an experiment into tables; every estimate comes with its interval over queries.

Reads   constitutions (Constitution), held-out queries (Query); the responses (Example) of every policy; verdicts
        (Verdict) on them; and of the policies that have them, log-probabilities (Scores), training logs, and relevance
        (Relevance)
Writes  a folder of the tables in `sami.analysis.tables.catalogue`, as CSV files, and those for people as Markdown and
        LaTeX

    python -m sami.stages.tabulate --help
"""

import logging
from dataclasses import replace

from sami.analysis.tables import build, files, run
from sami.settings.evaluation import Evaluation
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    loaded = run.load(
        arguments.queries,
        arguments.constitutions,
        run.by_policy(arguments.policies, arguments.responses),
        arguments.verdicts,
        arguments.evaluation,
        scores=arguments.information,
        training=arguments.training,
        relevance=arguments.relevance,
        seed=arguments.seed,
    )
    frames = build.build(replace(loaded, split=arguments.split))
    files.write(frames, arguments.output)
    asked = len(loaded.queries), arguments.split
    log.info("%d policies on %d held-out queries (%s): %d tables", len(loaded.policies), *asked, len(frames))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.input("--queries", "held-out queries, one record a line")
    stage.setting("--split", "the held-out queries of the task that these are", choices=["eval", "test"],
                  default="eval", required=False)  # fmt: skip
    stage.setting("--policies", "names of the policies, iteration-0 (the base model) among them", nargs="+")
    stage.input("--responses", "their examples, in the same order", nargs="+")
    stage.input("--verdicts", "verdicts, one file for each policy, comparator and judge, in any order", nargs="+")
    stage.input("--information", "log-probabilities of the policies scored", nargs="*", required=False, default=[])
    stage.input("--training", "training logs of iteration 1, 2, ..., in order", nargs="*", required=False, default=[])
    stage.input("--relevance", "relevance of the policies it was measured of", nargs="*", required=False, default=[])
    stage.structured("--evaluation", Evaluation, "how policies are compared")
    stage.setting("--seed", "seed of the bootstrap and of the choice of samples", type=int)
    stage.output("--output", "folder of tables to write")
    stage.run(main)
