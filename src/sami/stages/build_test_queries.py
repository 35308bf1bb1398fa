"""Builds the test queries of an experiment: held-out ones on which nobody chose anything, apart from all others.

Reads   the datasets that the task names for test and for development, and the training queries (Query)
Writes  a file of queries (Query), of which none is among the others

    python -m sami.stages.build_test_queries --help
"""

from sami import records
from sami.data.queries import check_disjoint, load
from sami.records import Query
from sami.settings.tasks import Dataset
from sami.stage import Stage


def main(arguments) -> None:
    # All of development, not only what this experiment evaluates on: others may have chosen by the rest.
    used = [*records.read(Query, arguments.train), *load(arguments.eval_dataset, arguments.task)]
    test = load(arguments.test_dataset, arguments.task, used)
    check_disjoint(used, test)
    records.write(test[: arguments.test_count], arguments.test)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.structured("--test-dataset", Dataset, "where the test queries come from")
    stage.setting("--test-count", "test queries to use", type=int)
    stage.structured("--eval-dataset", Dataset, "where the queries for development come from")
    stage.input("--train", "the training queries")
    stage.setting("--task", "name of the task, kept in the records")
    stage.output("--test", "test queries to write")
    stage.run(main)
