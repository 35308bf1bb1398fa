"""Turns a file of responses that the SAMI authors released into examples.

Reads   one released file, queries (Query), constitutions (Constitution) among which the file's are found
Writes  examples (Example): for each query one response under one constitution

    python -m sami.stages.import_responses --help
"""

from sami import imported, records
from sami.stage import Stage


def main(arguments) -> None:
    queries = records.read(records.Query, arguments.queries)
    constitutions = records.read(records.Constitution, arguments.constitutions)
    records.write(imported.examples(arguments.released, queries, constitutions, arguments.policy), arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--released", "the policy's released file")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.setting("--policy", "name of the policy, kept in the records")
    stage.output("--output", "examples to write")
    stage.run(main)
