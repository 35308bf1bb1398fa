"""Sampled responses on their way into training examples: the steps that methods have in common.

Ground floor: no torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sami.errors import UserError
from sami.records import Relevance, Response, TrainingResponse
from sami.settings.tasks import Filters


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


def training_responses(responses: Sequence[Response], source: str) -> list[TrainingResponse]:
    """Responses as training reads them; `source` is the policy that drew them, or where else they are from."""
    return [TrainingResponse(text=r.text, ended=r.ended, token_ids=r.token_ids, source=source) for r in responses]


def margin(record: Relevance) -> float:
    """By how much a response is likelier under its own query alone than under the best other, nats per token.

    0 for an empty response, which is equally likely under all.
    """
    own, *others = record.alone
    return (own - max(others)) / max(record.tokens, 1)


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
