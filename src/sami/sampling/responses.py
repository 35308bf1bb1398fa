"""What happens to sampled responses before they are used: clean-up, and the filters of training examples."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable

from sami.records import Constitution, Example
from sami.settings.tasks import Filters


def before_stop(text: str, stop: list[str]) -> str:
    """A response up to where a stop string (a new turn, say) begins."""
    for mark in stop:
        text = text.split(mark, 1)[0]
    return text


def clean(text: str, stop: list[str]) -> str:
    """A response up to a stop string, without white space around it."""
    return before_stop(text, stop).strip()


def whole_characters(tokens: list[int], decode: Callable[[list[int]], str]) -> list[int]:
    """Tokens of a response that the token limit has cut, without those of a character that it has cut in two.

    A character has at most four tokens. A response whose end is no text before that, either, stays as it is.
    """
    for cut in range(min(4, len(tokens))):
        kept = tokens[: len(tokens) - cut]
        if not decode(kept).endswith("\N{REPLACEMENT CHARACTER}"):
            return kept
    return tokens


def shown_tokens(tokens: list[int], decode: Callable[[list[int]], str], stop: list[str]) -> list[int]:
    """The first tokens of a response, up to the last one that has a part in its clean text.

    White space before the text stays, since it was drawn; so does the whole of a token that reaches beyond the text.
    """
    text = before_stop(decode(tokens), stop).rstrip()
    return tokens[: bisect_left(range(len(tokens)), True, key=lambda count: decode(tokens[:count]).startswith(text))]


def reason_to_drop(example: Example, constitutions: list[Constitution], filters: Filters) -> str | None:
    """Why an example is not used for training, or None where it is.

    A response is empty; it holds a forbidden mark (an unfilled template, say); one under a constitution that negates
    nothing does not end as demanded; or two responses written for different constitutions are equal, so that nothing
    can be learned from the contrast.
    """
    texts = [response.text for response in example.responses]
    if not all(texts):
        return "empty response"
    if any(mark in text for mark in filters.forbidden for text in texts):
        return "forbidden mark"
    if filters.positive_ends_with is not None and any(
        constitutions[response.constitution].positive and not response.text.endswith(filters.positive_ends_with)
        for response in example.responses
    ):
        return f"does not end with {filters.positive_ends_with!r}"
    if filters.distinct and len({(r.text, r.constitution) for r in example.responses}) > len(set(texts)):
        return "equal responses"
    return None


def select(
    examples: list[Example], sets: dict[str, list[Constitution]], filters: Filters
) -> tuple[list[Example], Counter[str]]:
    """Splits examples into the kept ones and counts, by reason, of the dropped ones."""
    kept, dropped = [], Counter()
    for example in examples:
        members = {c.id: c for c in sets[example.set_id]}
        reason = reason_to_drop(example, [members[i] for i in example.constitution_ids], filters)
        if reason is None:
            kept.append(example)
        else:
            dropped[reason] += 1
    return kept, dropped
