"""Settings of whatever asks an OpenAI-compatible endpoint."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sami.settings.base import Count, Number, Settings


class Price(Settings):
    """Dollars for a million tokens."""

    input: Annotated[Number, Field(ge=0)]
    """For what is sent."""
    output: Annotated[Number, Field(ge=0)]
    """For what is answered."""


class EndpointUser(Settings):
    """What a writer and a judge share: the endpoint that they ask, and what they send with every question."""

    model: str | None = None
    """The model's name at the endpoint.

    Needed, or `serve`. Pin a dated one: verdicts of different models do not compare.
    """
    serve: str | None = None
    """Name in `models`: a model that the workflow serves on this machine while it is asked, in place of `model` and
    `base_url`.
    """
    base_url: str | None = None
    """URL of the endpoint, usually ending in `/v1`; null = the OpenAI service.

    Others are http://localhost:8000/v1 (vLLM), for example.
    """
    api_version: str | None = None
    """For Azure, whose address then stands in `base_url`."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key. Keys never stand in files. A server of your own may need none."""
    temperature: Annotated[Number, Field(ge=0)] | None
    """Of the answers; null does not send it (for models that refuse it)."""
    max_tokens: Count
    """Most tokens of an answer, with the thoughts before it. A model that thinks may need thousands."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Under which name the endpoint takes that limit; newer OpenAI models want the second."""
    extra_body: dict[str, Any] = {}
    """Further fields of every request, as the endpoint knows them.

    Examples: `{reasoning_effort: low}`, `{chat_template_kwargs: {enable_thinking: false}}` (vLLM).
    """

    def parameters(self, seed: int | None) -> dict[str, Any]:
        """The fields of a request, beside the model and the messages."""
        sent = {self.token_limit: self.max_tokens, "temperature": self.temperature, "seed": seed}
        return {name: value for name, value in sent.items() if value is not None} | self.extra_body

    @model_validator(mode="after")
    def _sendable(self) -> Self:
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
    """Requests under way at once."""
    requests_per_minute: Count | None = None
    """A rate that is not exceeded; null = no limit."""
    tokens_per_minute: Count | None = None
    """A rate that is not exceeded, of estimated tokens; null = no limit."""
    timeout_seconds: Annotated[Number, Field(gt=0)] = 60.0
    """Most seconds to wait for an answer."""
    retries: Annotated[int, Field(ge=0)] = 10
    """Of one request, after 429, 5xx, time-outs and dropped connections.

    It is repeated while others are answered, with growing pauses, never before the server's Retry-After. Other errors
    are not repeated.
    """
    down_after_seconds: Annotated[Number, Field(gt=0)] = 120.0
    """Without an answer to any request, all failing, after which the endpoint is given up.

    Before its first answer, ten failures in a row are enough.
    """
    price: Price | None = None
    """Dollars for a million tokens; null = costs are unknown. With `batch: true` half of it is reckoned."""
    max_cost: Annotated[Number, Field(ge=0)] | None = None
    """Dollars that the judge may cost in one experiment, over all runs; null = no limit.

    Checked before the first request, by an estimate from above, and after every answer.
    """
    batch: bool = False
    """Use the endpoint's batch API: within a day, often at half the price."""
    poll_seconds: Annotated[Number, Field(gt=0)] = 60.0
    """Seconds between two looks at a batch."""

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        if self.max_cost == 0:
            raise ValueError("'max_cost: 0' dollars allow no request; give the most to spend, or null for no limit")
        if self.max_cost is not None and self.price is None:
            raise ValueError("'max_cost' needs 'price' ({input: ..., output: ...}, dollars for a million tokens)")
        return self
