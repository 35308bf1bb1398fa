"""Methods side by side: tables of two questions, over all seeds, with what each method took.

Reads   of each run of each experiment its held-out queries (Query), its folder of tables, and the model folder of its
        last policy, whose provenance tells what was sampled, scored and trained for it
Writes  a folder with the tables `steerability` and `internalising` as CSV, Markdown and LaTeX

    python -m sami.stages.compare_methods --help
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from sami.analysis.tables import build, files, methods
from sami.analysis.tables.catalogue import tables
from sami.analysis.tables.rows import Estimator
from sami.errors import UserError
from sami.lineage import Cost, cost, read
from sami.settings.evaluation import Question
from sami.stage import Stage

log = logging.getLogger(__name__)


def costs(models: Sequence[Path]) -> list[Cost]:
    """What each policy took; none where that is not known of one of them.

    Raises:
        UserError: a folder is none of a policy: it has no provenance record.
    """
    for model in models:
        if read(model) is None:
            raise UserError(
                f"{model}: found no provenance record, expected the folder of a model as `train` writes it, whose "
                "record tells what it was made of. Name such folders in --models."
            )
    try:
        return [cost(model) for model in models]
    except UserError as error:
        log.warning("the budget of %s is not known: %s", models[0], error)
        return []


def main(arguments) -> None:
    named, count = arguments.experiments, len(arguments.seeds)
    for flag, found, expected in (
        ("methods", arguments.methods, len(named)),
        ("questions", arguments.questions, len(named)),
        ("queries", arguments.queries, len(named) * count),
        ("tables", arguments.tables, len(named) * count),
        ("models", arguments.models, len(named) * count),
    ):
        if len(found) != expected:
            raise UserError(
                f"--{flag}: found {len(found)}, expected {expected}: one for each of the {len(named)} experiments"
                f"{'' if expected == len(named) else f' and {count} seeds, an experiment after the other'}."
            )
    experiments = []
    for number, name in enumerate(named):
        own = slice(number * count, (number + 1) * count)
        how = arguments.methods[number], arguments.questions[number]
        experiments.append(methods.Experiment(name, *how, arguments.tables[own], costs(arguments.models[own])))
    arms = methods.load(arguments.seeds, experiments, arguments.queries)
    estimator = Estimator(arguments.samples, arguments.confidence, arguments.seed)
    frames = {
        table.name: build.frame(table, build.rows_of(table, arms, estimator, arguments.split))
        for table in tables("methods")
    }
    files.write(frames, arguments.output)
    log.info("%d experiments, %d seeds: %s", len(named), count, ", ".join(f"{len(f)} {n}" for n, f in frames.items()))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.setting("--experiments", "names of the experiments; differences are to the first of a question", nargs="+")
    stage.setting("--methods", "names of their methods, in the same order", nargs="+")
    stage.setting("--questions", "what their policies were asked", nargs="+", choices=get_args(Question))
    stage.setting("--seeds", "seeds of the runs of each experiment, in the order of their files", nargs="+", type=int)
    stage.input("--queries", "held-out queries of each run, an experiment after the other", nargs="+")
    stage.input("--tables", "folder of tables of each run", nargs="+")
    stage.input("--models", "model folder of the last policy of each run", nargs="+")
    stage.setting("--split", "the held-out queries of the task that these are", choices=["eval", "test"],
                  default="eval", required=False)  # fmt: skip
    stage.setting("--samples", "resamples of bootstrap intervals, and patterns of signs for p-values", type=int)
    stage.setting("--confidence", "coverage of the intervals", type=float)
    stage.setting("--seed", "seed of the bootstrap", type=int)
    stage.output("--output", "folder of tables to write")
    stage.run(main)
