"""Turns a file of responses that were made elsewhere into examples of an experiment.

Reads   the file: in the SAMI authors' format (.json), or examples (Example) of another experiment (.jsonl) with the
        queries and constitutions that these name; the experiment's own queries (Query), constitutions (Constitution)
        and, where it trains, its base model's examples (Example), which say what is asked of every policy
Writes  examples (Example): for each query one under the constitution that the file names, or what is asked

    python -m sami.stages.import_responses --help
"""

from sami import records
from sami.data import authors_format, external_responses
from sami.data.joined import read_by_id, read_examples
from sami.stage import Stage


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, *arguments.constitutions)
    if arguments.asked is None:
        texts = [*queries.values()], [*constitutions.values()]
        examples = authors_format.examples(arguments.given, *texts, arguments.policy)
    else:
        examples = external_responses.match(
            arguments.given,
            external_responses.read(arguments.given, arguments.texts),
            read_examples(arguments.asked, queries, constitutions),
            queries,
            constitutions,
            arguments.policy,
            arguments.judged,
        )
    records.write(examples, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--given", "the file of responses")
    stage.input("--texts", "for examples: the files of queries and constitutions that they name", nargs="*")
    stage.input("--asked", "the base model's examples, in an experiment that trains", required=False)
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.setting("--judged", "under which constitutions there must be responses", choices=["all", "positive"],
                  default="all", required=False)  # fmt: skip
    stage.setting("--policy", "name of the policy, kept in the records")
    stage.output("--output", "examples to write")
    stage.run(main)
