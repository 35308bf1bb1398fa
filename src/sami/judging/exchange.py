"""What goes to an endpoint and what comes back, as plain values: requests with their keys, answers, tokens, dollars."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from sami.settings import Price

CHARACTERS_PER_TOKEN = 4  # of English text, about; only estimates depend on it
TOKENS_PER_MESSAGE = 4


@dataclass(frozen=True)
class Request:
    """A chat completion to ask for: the body of the HTTP request."""

    body: dict[str, Any]

    @cached_property
    def key(self) -> str:
        """Digest of the model, the messages and all parameters."""
        canonical = json.dumps(self.body, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def input_tokens(self) -> int:
        """Tokens of the messages, estimated."""
        return sum(TOKENS_PER_MESSAGE + tokens_of(message["content"]) for message in self.body["messages"])

    @property
    def output_tokens(self) -> int:
        """Most tokens of the answer."""
        return self.body.get("max_tokens") or self.body["max_completion_tokens"]


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered. `top` maps the likeliest first tokens to log-probabilities, where they were asked for.

    `cost` is what was paid for it in dollars, None without a price.
    """

    text: str
    top: dict[str, float] | None
    input_tokens: int
    output_tokens: int
    cost: float | None = None


@dataclass(frozen=True)
class Address:
    """Where a model is: its name at the endpoint, the endpoint (None: the OpenAI service), Azure's version of it."""

    model: str
    base_url: str | None
    api_version: str | None
    key_variable: str | None  # None for a server of our own, which no key is sent to


class Asker(Protocol):
    """A way to have requests answered (`sami.judging.online`, `sami.judging.batches`); it counts its failures."""

    failures: int

    def run(self, requests: list[Request], on_answer: Callable[[Request, dict], list[Request]]) -> None:
        """Has all requests answered.

        Args:
            requests: with distinct keys.
            on_answer: called with each request and the body of its answer as soon as it is there; it returns what is to
                be asked further.

        Raises:
            UserError: the endpoint refuses, fails for good, or is none. Answers that came before have been handed over.
            Resumable: the process was asked to end.
        """


def tokens_of(text: str) -> int:
    """Tokens of a text, estimated."""
    return -(-len(text.encode("utf-8", "replace")) // CHARACTERS_PER_TOKEN)


def cost_of(input_tokens: int, output_tokens: int, price: Price | None) -> float | None:
    """Dollars for so many tokens."""
    return None if price is None else (input_tokens * price.input + output_tokens * price.output) / 1e6


def reply(request: Request, body: Any) -> Reply:
    """Reads the body of a chat completion.

    A refusal or an empty message is an answer as well: its text holds no verdict. Where the endpoint does not count
    tokens, they are estimated.

    Raises:
        ValueError: the body is no chat completion.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content") or message.get("refusal") or ""
        if not isinstance(text, str):
            raise ValueError(f"the content of its message is no text: {text!r:.100}")
        usage = body.get("usage") or {}
        counts = usage.get("prompt_tokens", request.input_tokens), usage.get("completion_tokens", tokens_of(text))
        if not all(isinstance(count, int) and count >= 0 for count in counts):
            raise ValueError(f"its usage is not in tokens: {usage!r:.100}")
        first = ((choice.get("logprobs") or {}).get("content") or [None])[0]
        top = None if first is None else {entry["token"]: float(entry["logprob"]) for entry in first["top_logprobs"]}
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"it lacks what a chat completion has ({type(error).__name__}: {error})") from None
    # JSON can hold half surrogate pairs, a UTF-8 file cannot.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return Reply(text, top, *counts)
