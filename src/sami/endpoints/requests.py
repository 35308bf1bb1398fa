"""Requests to endpoints and replies, as plain values: their keys, texts, tokens and dollars."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol

from sami.endpoints.completions import read
from sami.endpoints.refusals import Refusal
from sami.settings.endpoints import Price

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
    """An answer of an endpoint.

    text: the answer, without thoughts; empty where there is none.
    raw: what is kept of it: thoughts, answer, or why it was refused.
    top: maps the likeliest first tokens of the answer to log-probabilities, where they were asked for.
    cut_off: whether the limit of tokens ended it.
    refused: whether the endpoint or the model refused to answer.
    futile: whether asking again, in the same conversation and with the same limit, would be a waste.
    cost: dollars paid for it, None without a price.
    """

    text: str
    raw: str
    top: dict[str, float] | None
    input_tokens: int
    output_tokens: int
    cut_off: bool = False
    refused: bool = False
    futile: bool = False
    cost: float | None = None


@dataclass(frozen=True)
class Endpoint:
    """An endpoint and a model there.

    model: its name at the endpoint.
    base_url: None for the OpenAI service.
    api_version: of Azure.
    key_variable: environment variable of the key; None for a server of our own, which no key is sent to.
    """

    model: str
    base_url: str | None
    api_version: str | None
    key_variable: str | None


class CompletionClient(Protocol):
    """A way to have requests answered (`endpoints.concurrent`, `endpoints.batch_api`); it counts its failures.

    where: the model and the endpoint, for messages.
    key_variable: the environment variable that the key is in.
    """

    where: str
    key_variable: str | None

    @property
    def failures(self) -> int: ...

    def run(self, requests: list[Request], on_answer: Callable[[Request, dict], list[Request]]) -> None:
        """Has all requests answered.

        Args:
            requests: with distinct keys.
            on_answer: called with each request and the body of its answer, or of its refusal (`refused`) where that
                may be about this request alone, as soon as it is there; it returns what is to be asked further.

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


def refused(refusal: Refusal) -> dict[str, Any]:
    """The body that is kept for a request that was refused: an answer without a text where the limit ended it."""
    if refusal.about == "length":
        return {"choices": [{"finish_reason": "length", "message": {"content": None}}]}
    return {"refused": asdict(refusal)}


def refusal_in(body: Any) -> Refusal | None:
    """The refusal that `refused` has put in place of an answer."""
    return Refusal(**body["refused"]) if isinstance(body, dict) and "refused" in body else None


def reply(request: Request, body: Any) -> Reply:
    """Reads the body of a chat completion, or of what stands in its place.

    A refusal or an empty message is an answer as well: its text holds no verdict. Where the endpoint does not count
    tokens, they are estimated; a refused request counts none.

    Raises:
        ValueError: the body is no chat completion.
    """
    refusal = refusal_in(body)
    if refusal is not None:
        return Reply("", f"(the endpoint {refusal})", None, 0, 0, refused=True, futile=True)
    completion = read(body)
    tokens_in, tokens_out = completion.input_tokens, completion.output_tokens
    if tokens_out is None:  # thoughts that were not sent count as well
        tokens_out = request.output_tokens if completion.cut_off else tokens_of(completion.raw)
    # Not every server says that the limit ended an answer.
    cut_off = completion.cut_off or tokens_out >= request.output_tokens
    return Reply(
        completion.text,
        completion.raw,
        completion.top,
        request.input_tokens if tokens_in is None else tokens_in,
        tokens_out,
        cut_off=cut_off,
        refused=completion.withheld or completion.refusal,
        futile=not completion.text.strip() and (cut_off or completion.withheld),
    )
