"""Takes the held-out queries from a file of responses that the SAMI authors released.

Reads   one released file, the base model's
Writes  queries (Query): the first distinct ones of the file, in its order

    python -m sami.stages.import_queries --help
"""

from sami import records
from sami.data import authors_format
from sami.stage import Stage


def main(arguments) -> None:
    records.write(authors_format.queries(arguments.released, arguments.task, arguments.count), arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--released", "the base model's released file")
    stage.setting("--count", "queries to use", type=int)
    stage.setting("--task", "name of the task, kept in the records")
    stage.output("--output", "queries to write")
    stage.run(main)
