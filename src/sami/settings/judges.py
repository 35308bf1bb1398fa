"""Files of config/judges: the kinds of judges."""

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from sami.settings.base import Count, Number, Settings, Share
from sami.settings.endpoints import EndpointUser, Limits


class ChecksJudge(Settings):
    """The programmatic judge: `sami.judging.checks`."""

    kind: Literal["checks"]
    tie_margin: Share = 0.0


JUDGE_FIELDS = ("constitution", "query", "first", "second")


class _ModelJudge(Settings):
    """What judges that are models share: the question they are asked."""

    prompt: str
    system: str | None = None

    @model_validator(mode="after")
    def _fields(self):
        found = re.findall(r"{(\w+)}", self.prompt)
        for field in JUDGE_FIELDS:
            if field not in found:
                raise ValueError(f"the template 'prompt' lacks the field '{{{field}}}'")
        for field in found:
            if field not in JUDGE_FIELDS:
                raise ValueError(
                    f"the template 'prompt' has the unknown field '{{{field}}}', expected "
                    f"{', '.join(f'{{{name}}}' for name in JUDGE_FIELDS)} and no others"
                )
        return self


class EndpointJudge(_ModelJudge, EndpointUser):
    """A model behind an OpenAI-compatible endpoint, or one that the workflow serves itself: `sami.judging.endpoint`."""

    kind: Literal["openai"]
    style: Literal["reasoning", "letter"]
    orders: Literal["both", "random"] = "both"
    temperature: Annotated[Number, Field(ge=0)] | None = 0.0
    max_tokens: Count = 200
    top_logprobs: Annotated[int, Field(ge=1, le=20)] | None = None
    seed: int | None = None
    tries: Count = 3
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _one_model(self):
        if (self.model is None) == (self.serve is None):
            raise ValueError(
                "expected either 'model' (its name at the endpoint) or 'serve' (a name in the models file, which the "
                "workflow then serves on this machine)"
            )
        if self.serve is not None and self.base_url is not None:
            raise ValueError("'base_url' is the address of an endpoint, but 'serve' starts one; delete one of them")
        if self.style == "letter" and self.top_logprobs is None and self.max_tokens > 5:
            raise ValueError("'style: letter' expects a single letter; set 'max_tokens' to at most 5")
        if self.style == "reasoning" and self.top_logprobs is not None:
            raise ValueError("'top_logprobs' belongs to 'style: letter': only there the first token is the verdict")
        if self.limits.batch and self.serve is not None:
            raise ValueError("'limits.batch' is for endpoints with a batch API; a model served here has none")
        return self


class LikelihoodJudge(_ModelJudge):
    """A local model's preference, read from the probabilities of the answers A and B: `sami.judging.likelihood`."""

    kind: Literal["likelihood"]
    model: str
    tie_margin: Share = 0.0
    batch_size: Count = 8


class PanelJudge(Settings):
    """The majority of several judges."""

    kind: Literal["panel"]
    members: Annotated[list[str], Field(min_length=2)]

    @model_validator(mode="after")
    def _distinct(self):
        if len(set(self.members)) < len(self.members):
            raise ValueError("'members' names a judge twice; each has one vote")
        return self


JUDGES: dict[str, type[Settings]] = {
    "checks": ChecksJudge,
    "openai": EndpointJudge,
    "likelihood": LikelihoodJudge,
    "panel": PanelJudge,
}

Judge = Annotated[ChecksJudge | EndpointJudge | LikelihoodJudge | PanelJudge, Field(discriminator="kind")]


class JudgeKind(Settings):
    """The key that tells which of `JUDGES` a file of config/judges is."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal["checks", "openai", "likelihood", "panel"]
