"""Files of config/judges: the kinds of judges.

A kind is named in the class of its settings, and listed in `Judge`; `sami.judging.kinds` has the function by which it
judges.
"""

import re
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import ConfigDict, Field, model_validator

from sami.settings.base import Count, Number, Settings, Share
from sami.settings.endpoints import EndpointUser, Limits


class _Judge(Settings):
    """What the workflow wants to know of a judge of any kind, with what is true of most."""

    is_panel: ClassVar[bool] = False  # combines the verdicts of others, and gives none of its own
    runs_model: ClassVar[bool] = False  # loads a model into its own process
    asks_endpoint: ClassVar[bool] = False

    @property
    def local_models(self) -> list[str]:
        """Names of the models that it runs on this machine."""
        return []

    @property
    def reads_held_out_checks(self) -> bool:
        """Whether principles need a check that is held out."""
        return False


class ChecksJudge(_Judge):
    """The programmatic judge: `sami.judging.checks`."""

    kind: Literal["checks"]
    """The programmatic checks of the principles. Exact about what they measure, blind to all else. No model, no key."""
    held_out: bool = False
    """Judge by the `held_out_check` of each principle, in place of its `check`.

    No reward and no label is made of those.
    """
    tie_margin: Share = 0.0
    """Mean degrees (0 to 1) that differ by no more than this are a tie."""

    @property
    def reads_held_out_checks(self) -> bool:
        return self.held_out


JUDGE_FIELDS = ("constitution", "query", "first", "second")


class _ModelJudge(_Judge):
    """What judges that are models share: the question they are asked."""

    prompt: str
    """What the judge is asked.

    Fields: `{constitution}`, `{query}`, `{first}` and `{second}` (the responses in the order in which they are shown,
    to be called A and B), and no others.
    """
    system: str | None = None
    """System message."""

    @model_validator(mode="after")
    def _fields(self) -> Self:
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

    asks_endpoint: ClassVar[bool] = True

    kind: Literal["openai"]
    """A model behind any OpenAI-compatible endpoint.

    OpenAI, Azure, vLLM, llama.cpp; or one that the workflow serves.
    """
    style: Literal["reasoning", "letter"]
    """Reasoning, then a verdict; or a single letter.

    `reasoning`: a few sentences, then a line "Answer: A" or "Answer: B". `letter`: nothing but A or B.
    """
    orders: Literal["both", "random"] = "both"
    """Show each pair in both orders, or in one drawn with the seed, as in the paper."""
    temperature: Annotated[Number, Field(ge=0)] | None = 0.0
    """Of the answers; null does not send it (for models that refuse it)."""
    max_tokens: Count = 200
    """Most tokens of an answer, with the thoughts before it. A model that thinks may need thousands."""
    top_logprobs: Annotated[int, Field(ge=1, le=20)] | None = None
    """With `letter`: take P(A) / (P(A) + P(B)) as a graded preference, of so many log-probabilities; null = the letter
    counts.
    """
    seed: int | None = None
    """Sent with every request, as far as the endpoint heeds it."""
    tries: Count = 3
    """Most answers asked for until one holds a verdict.

    Each time the judge is reminded of the form. Fewer where another try would be a waste
    (docs/judging.md#answers-without-a-verdict).
    """
    limits: Limits = Limits()
    """How the endpoint is asked; changing it makes no verdict out of date. Verdicts do not depend on it."""

    @property
    def local_models(self) -> list[str]:
        return [] if self.serve is None else [self.serve]

    @model_validator(mode="after")
    def _one_model(self) -> Self:
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

    runs_model: ClassVar[bool] = True

    kind: Literal["likelihood"]
    """A model on this machine, by the probabilities that it gives to the answers A and B."""
    model: str
    """Name in `models`: the model whose probabilities are read."""
    tie_margin: Share = 0.0
    """Mean preferences that differ from one half by no more than this are a tie."""
    batch_size: Count = 8
    """Prompts read at once."""

    @property
    def local_models(self) -> list[str]:
        return [self.model]


class PanelJudge(_Judge):
    """The majority of several judges."""

    is_panel: ClassVar[bool] = True

    kind: Literal["panel"]
    """The majority of several judges."""
    members: Annotated[list[str], Field(min_length=2)]
    """Names in `judges`.

    Each has one vote; equally many votes for both sides are a tie. Their own verdicts and their agreement are in the
    tables, too.
    """

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.members)) < len(self.members):
            raise ValueError("'members' names a judge twice; each has one vote")
        return self


class LearnedJudge(_Judge):
    """The reward model of the experiment whose policies it judges: `sami.judging.learned`."""

    kind: Literal["learned"]
    """The experiment's own reward model: of two responses the one that it scores higher.

    That of the experiment whose policies are judged, whose method trains it for a reward of kind learned. Equal scores
    are a tie.
    """
    principles: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    """Principles, in words, that the model reads with every response; null = the constitution's.

    Any will do, also such as it was not trained with, and opposites. Not where its reward reads none (`labels:
    contrast`).
    """


class IdentificationJudge(_Judge):
    """Another model than the policy, which tells what a response was written for: `sami.judging.identification`."""

    runs_model: ClassVar[bool] = True

    kind: Literal["identification"]
    """Another model than the policy, which tells for which constitution of its set a response was written.

    Of two responses the one that it tells more surely wins. It needs no check, no key and no preference, and how many
    responses are told right is in a table of its own (docs/judging.md#identification).
    """
    model: str
    """Name in `models`: the model that tells. Not one of the policies that it judges."""
    task: str | None = None
    """Name in `tasks`: the task in whose training prompt that model reads; null = the experiment's.

    For a model that needs another form: a base model reads plain text where the policy is put to a chat.
    """
    tie_margin: Annotated[Number, Field(ge=0)] = 0.0
    """Margins, in nats per token, that differ by no more than this are a tie."""

    @property
    def local_models(self) -> list[str]:
        return [self.model]


# What compares pairs on its own, for verdicts and for rewards; the others have stages of their own for verdicts.
Judge = Annotated[ChecksJudge | EndpointJudge | LikelihoodJudge | PanelJudge, Field(discriminator="kind")]

AnyJudge = Judge | LearnedJudge | IdentificationJudge

JUDGES: dict[str, type[_Judge]] = {
    get_args(judge.model_fields["kind"].annotation)[0]: judge
    for judge in (*get_args(get_args(Judge)[0]), LearnedJudge, IdentificationJudge)
}


class JudgeKind(Settings):
    """The key that tells which of `JUDGES` a file of config/judges is."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal[tuple(JUDGES)]  # type: ignore[valid-type]
    """Which kind of judge it is."""
