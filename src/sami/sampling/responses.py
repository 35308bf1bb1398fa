"""Clean-up of sampled responses: stop strings, white space, characters that the token limit has cut in two."""

from bisect import bisect_left
from collections.abc import Callable


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
