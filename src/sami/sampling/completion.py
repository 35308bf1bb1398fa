"""Completions made of drawn tokens: why they ended, which of them count, and the text that people see."""

import functools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sami.sampling.responses import clean, shown_tokens, whole_characters


@dataclass(frozen=True)
class Completion:
    """A drawn response.

    text: what people and judges see: without stop strings and what is behind them, and without white space around it.
    finish: why it ended: an end token ("end"), a stop string ("stop") or the token limit ("length").
    token_ids: the drawn tokens. Where the model ended the response itself, all of them with the end token; else up to
        the last one that has a part in the text, and never with half a character.
    """

    text: str
    finish: str
    token_ids: list[int]

    @property
    def tokens(self) -> int:
        """Number of tokens without the end token."""
        return len(self.token_ids) - (self.finish == "end")


def completion(tokens: list[int], tokenizer: Any, ends: Collection[int], stop: list[str]) -> Completion:
    """The completion that drawn tokens are.

    Args:
        tokens: as drawn; what follows a first end token does not count.
        ends: ids of the end tokens (`sami.models.pretrained.end_tokens`).
        stop: stop strings.
    """
    decode = functools.partial(tokenizer.decode, skip_special_tokens=True)
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    body = tokens[:end]
    text = decode(body)
    if any(mark in text for mark in stop):
        finish, kept = "stop", shown_tokens(body, decode, stop)
    elif end is not None:
        finish, kept = "end", tokens[: end + 1]
    else:
        finish, kept = "length", shown_tokens(whole_characters(body, decode), decode, stop)
    return Completion(clean(decode(kept[: len(body)]), stop), finish, kept)
