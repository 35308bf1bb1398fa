"""Makes the training queries of DITTO of the demonstrations: the different queries that these respond to.

Reads   demonstrations (JSON Lines with `query` and `response`), held-out queries (Query), none of which is among theirs
Writes  queries (Query)

    python -m sami.stages.build_ditto_queries --help
"""

from sami import records
from sami.data import demonstrations
from sami.data.queries import check_disjoint
from sami.errors import within
from sami.stage import Stage


def main(arguments) -> None:
    queries = demonstrations.queries(demonstrations.read(arguments.demonstrations), arguments.task)
    with within(str(arguments.demonstrations)):
        check_disjoint(queries, records.read(records.Query, arguments.held_out))
    records.write(queries, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--demonstrations", "demonstrations, one a line")
    stage.input("--held-out", "held-out queries, one record a line")
    stage.setting("--task", "name of the task, kept in the records")
    stage.output("--output", "queries to write")
    stage.run(main)
