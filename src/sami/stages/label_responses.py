"""Labels the sampled responses of an iteration: how far each has each attribute, as a whole number.

Reads   sampled examples (Example), their queries (Query) and constitutions (Constitution), principles (Principle)
Writes  labels (Label), one a response

    python -m sami.stages.label_responses --help
"""

import logging
from collections.abc import Iterable, Iterator, Mapping

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.judging.checks import degree
from sami.methods.steerlm import attributes, value_of
from sami.records import Check, Example, Label, Principle
from sami.settings.methods import SteerLM
from sami.stage import Stage

log = logging.getLogger(__name__)


def labels(examples: Iterable[Example], checks: Mapping[str, Check], levels: int) -> Iterator[Label]:
    """Yields the label of each response, in order.

    Args:
        examples: sampled.
        checks: attribute -> check of the principle.
        levels: number of values.
    """
    for example in examples:
        for number, response in enumerate(example.responses):
            values = {name: value_of(degree(check, response.text), levels) for name, check in checks.items()}
            place = {"query_id": example.query_id, "set_id": example.set_id, "number": number}
            yield Label(**place, policy=example.policy, values=values)


def main(arguments) -> None:
    with within(str(arguments.principles)):
        checks = attributes(records.read(Principle, arguments.principles), arguments.method)
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    made = list(labels(examples, checks, arguments.method.levels))
    log.info("%d responses by %d attributes: %s", len(made), len(checks), ", ".join(checks))
    records.write(made, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.input("--principles", "principles, one record a line")
    stage.structured("--method", SteerLM, "which principles are attributes, and the number of their values")
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.output("--output", "labels to write")
    stage.run(main)
