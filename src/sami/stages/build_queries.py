"""Builds the queries of an experiment: training queries in a seeded order, and held-out ones.

Reads   the dataset that the task names
Writes  two files of queries (Query); no query is in both

    python -m sami.stages.build_queries --help
"""

from sami import records
from sami.data.queries import check_disjoint, load, shuffled
from sami.settings.tasks import Dataset
from sami.stage import Stage


def main(arguments) -> None:
    held_out = load(arguments.eval_dataset, arguments.task)[: arguments.eval_count]
    train = load(arguments.train_dataset, arguments.task, held_out)
    check_disjoint(train, held_out)
    records.write(shuffled(train, arguments.seed), arguments.train)
    records.write(held_out, arguments.eval)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.structured("--train-dataset", Dataset, "where the training queries come from")
    stage.structured("--eval-dataset", Dataset, "where the held-out queries come from")
    stage.setting("--eval-count", "held-out queries to use", type=int)
    stage.setting("--task", "name of the task, kept in the records")
    stage.setting("--seed", "seed of the order of the training queries", type=int)
    stage.output("--train", "training queries to write")
    stage.output("--eval", "held-out queries to write")
    stage.run(main)
