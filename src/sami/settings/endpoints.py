"""Settings of whatever asks an OpenAI-compatible endpoint."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sami.settings.base import Count, Number, Settings


class Price(Settings):
    """Dollars for a million tokens."""

    input: Annotated[Number, Field(ge=0)]
    output: Annotated[Number, Field(ge=0)]


class EndpointUser(Settings):
    """What a writer and a judge share: the endpoint that they ask, and what they send with every question."""

    model: str | None = None
    serve: str | None = None
    base_url: str | None = None
    api_version: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    temperature: Annotated[Number, Field(ge=0)] | None
    max_tokens: Count
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra_body: dict[str, Any] = {}

    def parameters(self, seed: int | None) -> dict[str, Any]:
        """The fields of a request, beside the model and the messages."""
        sent = {self.token_limit: self.max_tokens, "temperature": self.temperature, "seed": seed}
        return {name: value for name, value in sent.items() if value is not None} | self.extra_body

    @model_validator(mode="after")
    def _sendable(self):
        if self.api_version is not None and self.base_url is None:
            raise ValueError("'api_version' is for Azure and needs its address as 'base_url'")
        for key in OWN_FIELDS:
            if key in self.extra_body:
                raise ValueError(f"'extra_body' holds '{key}', which is not for it: {OWN_FIELDS[key]}")
        return self


_OF_ITS_OWN = "a key of its own says it"

_ONE_WHOLE_ANSWER = "one whole answer is read to each question"

OWN_FIELDS = {  # of a request, which `extra_body` must not change
    **dict.fromkeys(("model", "temperature", "max_tokens", "top_logprobs"), _OF_ITS_OWN),
    "max_completion_tokens": "set 'token_limit: max_completion_tokens' and 'max_tokens'",
    "messages": "'prompt' says what is asked",
    "seed": "the seed is set apart from it",
    "logprobs": "'top_logprobs' asks for them",
    "stream": _ONE_WHOLE_ANSWER,
    "n": _ONE_WHOLE_ANSWER,
}


class Limits(Settings):
    """How an endpoint is asked. Speed and cost depend on it, verdicts do not."""

    concurrency: Count = 16
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    timeout_seconds: Annotated[Number, Field(gt=0)] = 60.0
    retries: Annotated[int, Field(ge=0)] = 10
    down_after_seconds: Annotated[Number, Field(gt=0)] = 120.0
    price: Price | None = None
    max_cost: Annotated[Number, Field(ge=0)] | None = None
    batch: bool = False
    poll_seconds: Annotated[Number, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _affordable(self):
        if self.max_cost == 0:
            raise ValueError("'max_cost: 0' dollars allow no request; give the most to spend, or null for no limit")
        if self.max_cost is not None and self.price is None:
            raise ValueError("'max_cost' needs 'price' ({input: ..., output: ...}, dollars for a million tokens)")
        return self
