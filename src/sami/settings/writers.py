"""Files of config/writers: principle writers."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sami.settings.base import Count, Number
from sami.settings.endpoints import EndpointUser, Price
from sami.settings.principles import FileKey


class Writer(EndpointUser):
    """A principle writer."""

    kind: Literal["human", "local", "endpoint"]
    """Who writes.

    `human`: people, whose `pairs` are taken over. `local`: a model of `models`. `endpoint`: any OpenAI-compatible
    server.
    """
    model: str | None = None
    """Name of the model: in `models` (`local`), or at the server (`endpoint`). Needed unless `human`, or `serve`."""
    prompt: str | None = None
    """What the model is asked, with the field `{behaviour}` or `{task}`.

    Needed unless `human`. It is asked for one pair about each behaviour of a file, or for a list of pairs for the task
    that a file describes; `{candidates}` is then how many. Paragraphs of two lines, `Principle: ...` and
    `Opposite: ...`, are shown to it as its own earlier answers.
    """
    temperature: Annotated[Number, Field(ge=0)] | None = 0.7
    """Of sampling; null does not send it (for endpoints whose models refuse it).

    Tries with temperature 0 are all alike.
    """
    max_tokens: Count = 120
    """Most tokens of an answer, with the thoughts before it."""
    send_seed: bool = True
    """Send a seed with every question; false for services that refuse one (Mistral)."""
    tries: Count = 8
    """Most answers asked for, for each pair. That is, until one holds a usable principle and opposite that are new."""
    timeout_seconds: Annotated[Number, Field(gt=0)] = 60.0
    """Most seconds to wait for an answer."""
    price: Price | None = None
    """Dollars for a million tokens, for the plan; null = costs are unknown."""

    @property
    def is_human(self) -> bool:
        """Whether people have written the principles."""
        return self.kind == "human"

    @property
    def runs_model(self) -> bool:
        """Whether it loads a model into its own process."""
        return self.kind == "local"

    @property
    def asks_endpoint(self) -> bool:
        return self.kind == "endpoint"

    @property
    def needs(self) -> FileKey:
        """The key of a file of principles that it reads."""
        if self.is_human:
            return "pairs"
        return "task" if "{task}" in (self.prompt or "") else "behaviours"

    @property
    def local_models(self) -> list[str]:
        """Names of the models that it runs on this machine."""
        name = self.model if self.runs_model else self.serve
        return [] if name is None else [name]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.serve is not None and (not self.asks_endpoint or self.model is not None or self.base_url is not None):
            raise ValueError(
                "'serve' names a model that the workflow serves to a writer of kind 'endpoint', in place of 'model' "
                "and 'base_url'; delete 'serve' or those"
            )
        if self.runs_model and (self.temperature is None or self.extra_body):
            raise ValueError("'temperature: null' and 'extra_body' are for writers of kind 'endpoint'; delete them")
        if not self.is_human:
            for key in ("model", "prompt"):
                if getattr(self, key) is None and not (key == "model" and self.serve is not None):
                    raise ValueError(f"a writer of kind '{self.kind}' needs the key '{key}'")
            if ("{behaviour}" in (self.prompt or "")) == ("{task}" in (self.prompt or "")):
                found = "both" if "{task}" in (self.prompt or "") else "neither"
                raise ValueError(
                    f"the template 'prompt' has {found} of the fields '{{behaviour}}' and '{{task}}', of "
                    "which it needs one"
                )
        return self
