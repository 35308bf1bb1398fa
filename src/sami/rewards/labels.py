"""Labels of responses by the checks of principles: how far each has each attribute, as a whole number.

No torch.
"""

from collections.abc import Iterable, Iterator, Mapping

from sami.judging.checks import degree
from sami.methods.steerlm import value_of
from sami.records import Check, Example, Label


def by_checks(examples: Iterable[Example], checks: Mapping[str, Check], levels: int) -> Iterator[Label]:
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
