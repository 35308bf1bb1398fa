"""Sampled responses on their way into training examples: the steps that methods have in common.

Ground floor: no torch.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sami.errors import UserError
from sami.records import Constitution, Example, Place, Preference, Prompt, Response, TrainingExample, TrainingResponse
from sami.settings.tasks import Filters

T = TypeVar("T")


def fault(responses: Sequence[Response], positive: Sequence[bool], filters: Filters) -> str | None:
    """Reason why no policy is trained on some responses, as far as each alone can tell; None where there is none.

    One is empty, holds a forbidden mark (an unfilled template, say), or does not end as demanded.

    Args:
        responses: of one example.
        positive: of each, whether its constitution negates nothing.
        filters: of the task.
    """
    texts = [response.text for response in responses]
    if not all(texts):
        return "empty response"
    if any(mark in text for mark in filters.forbidden for text in texts):
        return "forbidden mark"
    ending = filters.positive_ends_with
    if ending is not None and any(own and not text.endswith(ending) for text, own in zip(texts, positive, strict=True)):
        return f"does not end with {ending!r}"
    return None


def usable(
    example: Example,
    constitutions: Mapping[str, Constitution],
    filters: Filters,
    dropped: Counter[str],
    also: Callable[[Response, bool], str | None] = lambda response, positive: None,
) -> list[tuple[int, bool]]:
    """Number of each response that filters leave, and whether its constitution negates nothing; counts the others.

    For methods that drop single responses, as they have no contrast to lose.

    Args:
        example: with its responses.
        constitutions: by id.
        filters: of the task.
        dropped: counts by reason, to which those of this example are added.
        also: further reason of a method, by the response and whether its constitution negates nothing; asked first.
    """
    left = []
    for number, response in enumerate(example.responses):
        positive = constitutions[example.constitution_ids[response.constitution]].positive
        reason = also(response, positive) or fault([response], [positive], filters)
        if reason:
            dropped[reason] += 1
        else:
            left.append((number, positive))
    return left


def told(known: Mapping[Place, T], example: Example, number: int, name: str, mend: str) -> T:
    """What is told of a response.

    Args:
        known: by the place of the response.
        example, number: which response.
        name: of what is told, for the message.
        mend: what to do where it is missing.

    Raises:
        UserError: nothing is.
    """
    place = example.query_id, example.set_id, number, example.policy
    if place not in known:
        raise UserError(
            f"query '{example.query_id}', set '{example.set_id}': found no {name} of response {number} by "
            f"'{example.policy}', expected a record of each. {mend}"
        )
    return known[place]


def training_responses(responses: Sequence[Response], source: str) -> list[TrainingResponse]:
    """Responses as training reads them; `source` is the policy that drew them, or where else they are from."""
    return [TrainingResponse(text=r.text, ended=r.ended, token_ids=r.token_ids, source=source) for r in responses]


def plain_example(
    query_id: str,
    set_id: str | None,
    prompt: Prompt,
    responses: list[TrainingResponse],
    pairs: Sequence[Preference] = (),
) -> TrainingExample:
    """An example of one prompt and the responses to it, with pairs of these where there are any."""
    labels = [0] * len(responses)
    return TrainingExample(
        query_id=query_id, set_id=set_id, prompts=[prompt], responses=responses, labels=labels, pairs=list(pairs)
    )


def paired_example(
    query_id: str,
    set_id: str | None,
    prompt: Prompt,
    responses: Mapping[int, TrainingResponse],
    pairs: Sequence[Preference],
) -> TrainingExample:
    """An example with the responses that stand in a pair, in their order, and no other, which would cost passes.

    Args:
        query_id, set_id, prompt: what they respond to.
        responses: by number.
        pairs: by these numbers.
    """
    used = sorted({number for pair in pairs for number in (pair.chosen, pair.rejected)})
    position = {number: at for at, number in enumerate(used)}
    moved = [p.model_copy(update={"chosen": position[p.chosen], "rejected": position[p.rejected]}) for p in pairs]
    return plain_example(query_id, set_id, prompt, [responses[number] for number in used], moved)


def counts(kept: Sequence, sampled: int, dropped: Mapping[str, int], policy: str) -> dict[str, Any]:
    """Counts of examples, sampled, kept and dropped for which reason. Raises UserError where none is left to train on.

    Args:
        kept: training examples.
        sampled: how many there were before.
        dropped: by reason.
        policy: whose responses they are.
    """
    if not kept:
        raise UserError(
            f"{policy}: none of {sampled} examples is left after clean-up and filters "
            f"(dropped: {dict(dropped) or 'all responses are empty'}). Look at 'stop', 'filters' and the prompt "
            "templates of the task, or raise sampling.max_new_tokens."
        )
    return {"sampled": sampled, "kept": len(kept), "dropped": dict(dropped)}
