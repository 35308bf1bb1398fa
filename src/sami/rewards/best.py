"""Best of N: of the responses that are drawn in the place of one, the one with the highest reward.

Candidate n of response k of an example is number k + n R, where R responses are kept. Responses are drawn under the
constitutions of a set in turn, and R is a multiple of their number: so candidates of one response are drawn under one.
"""

from collections.abc import Iterable, Sequence

from sami.errors import UserError
from sami.methods.responses import told
from sami.records import Example, Reward


def best_responses(examples: Sequence[Example], rewards: Iterable[Reward], count: int) -> list[Example]:
    """The examples with the best of each `count` candidates; the first drawn of those with the same reward.

    Args:
        examples: with R times `count` candidates each, of one policy.
        rewards: of every candidate.
        count: N.

    Raises:
        UserError: an example has another number of candidates, those of one response are under different constitutions,
            or a candidate has no reward.
    """
    known = {record.place: record.reward for record in rewards}
    return [_best(example, known, count) for example in examples]


def _best(example: Example, known: dict, count: int) -> Example:
    where = f"query '{example.query_id}', set '{example.set_id}'"
    kept, over = divmod(len(example.responses), max(1, count))
    if over or count < 2:
        raise UserError(
            f"{where}: found {len(example.responses)} candidates for the best of {count}, expected a multiple of that "
            "number, which is 2 or more. Sample them again."
        )
    mend = "Score the rewards of these candidates again."
    found = [told(known, example, number, "reward", mend) for number in range(len(example.responses))]
    best = []
    for response in range(kept):
        numbers = range(response, len(example.responses), kept)
        if len({example.responses[number].constitution for number in numbers}) > 1:
            raise UserError(
                f"{where}: found candidates of response {response} under different constitutions, expected one. Sample "
                "them again."
            )
        best.append(example.responses[max(numbers, key=lambda number: found[number])])  # the first of equal ones
    return example.model_copy(update={"responses": best})
