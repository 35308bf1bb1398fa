"""How policies are compared."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from sami.records import CONTEXTS, Context, iteration_of, policy_name
from sami.settings.base import RESPONSE_FILE, Count, Number, PolicyName, Settings, Share, Source
from sami.settings.sampling import Sampling


class Degeneration(Settings):
    """When a response counts as degenerate: too large a share of its word n-grams are repeats."""

    ngram: Count
    """Words in an n-gram."""
    max_repeated: Share
    """Share of a response's n-grams that may have occurred before in it; with more it is degenerate."""


class Relevance(Settings):
    """How it is told whether a response belongs to its query: by its likelihood under this query and under others."""

    others: Count
    """Other held-out queries that a response is scored under, drawn with the seed, the same for all policies.

    Where there are fewer, all of them.
    """
    model: str | None = None
    """Name in `models`: whose probabilities tell it; null = the base model.

    Null for `external` responses, which have no base model: relevance is not measured.
    """
    with_constitution: bool = True
    """Also under prompts that hold the response's own constitution, where policies are told it; that costs most."""


class Published(Settings):
    """A win rate, or a range of them, that others have published: figures show it beside ours."""

    comparator: str
    """One of `comparators`."""
    principles: Literal["training", "held-out"] = "training"
    """Which principles it is about."""
    win_rate: Share | Annotated[list[Share], Field(min_length=2, max_length=2)]
    """A number, or a range of two: `[0.66, 0.77]`."""

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest; equal for a single number."""
        low, high = self.win_rate if isinstance(self.win_rate, list) else (self.win_rate, self.win_rate)
        return low, high

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.range
        if low > high:
            raise ValueError(f"found the range [{low}, {high}], expected the lower number first: [{high}, {low}]")
        return self


class PromptedModel(Settings):
    """A model that is asked with the constitution in its prompt, where the other policies are asked without it."""

    model: str
    """Name in `models`: a model that is asked with the constitution, whatever `evaluation.constitution` says.

    The base model's name gives what a prompt alone achieves, to compare training with (docs/methods.md#two-questions).
    """
    constitution: Literal["in-prompt"]
    """The only way to ask that can differ from `evaluation.constitution`."""


class BestOf(Settings):
    """Best of N: several responses are drawn where one is asked for, and the one with the highest reward is kept."""

    responses: Annotated[int, Field(ge=2)]
    """N, responses that are drawn for each one that is kept."""
    reward: str
    """Name in `rewards`: what says which is best; the first drawn of equal ones."""


class BestPolicy(Settings):
    """Another policy of the experiment, of whose responses the best of several is kept."""

    policy: str
    """The policy that responds: `base`, an iteration (`iteration-2`), or one of `policies` that is a model."""
    best_of: BestOf
    """How many responses are drawn for each one that is kept, and what says which is best.

    They are rewarded for the constitution that they are drawn under, also where that is an opposite; where prompts
    leave the constitution out, for the one that wants every principle. See docs/methods.md#best-of-n.
    """


class ResponseFile(Settings):
    """A policy that is a file of responses: our records, or the SAMI authors' format (`data.external_responses`)."""

    responses: Annotated[str, Field(pattern=RESPONSE_FILE)]
    """Held-out responses of another experiment (`results/*/*/eval/responses.jsonl`, where its other files are, too), or
    a file in the SAMI authors' format (`.json`), which needs `judged: positive`.

    They are found by the texts of queries and principles, and all that is judged must be there. See
    docs/judging.md#responses-made-elsewhere.
    """
    source: Source | None = None
    """The folder on the web from which the file is fetched where it is not there, `https://...`."""


def _kind_of_policy(value: Any) -> str:
    """The alternative of `OtherPolicy` that a value is meant to be, so that a mistake is told of this one alone."""
    if isinstance(value, dict):
        if value.keys() & BestPolicy.model_fields:
            return "best"
        return "prompted" if value.keys() & PromptedModel.model_fields and "responses" not in value else "file"
    kinds: dict[type, str] = {PromptedModel: "prompted", BestPolicy: "best", ResponseFile: "file"}
    return kinds.get(type(value), "name")


Asked = Literal["in-prompt", "left-out", "as-labels"]
Question = Literal["steerability", "internalising"]
OtherPolicy = Annotated[
    Annotated[str, Tag("name")]
    | Annotated[PromptedModel, Tag("prompted")]
    | Annotated[BestPolicy, Tag("best")]
    | Annotated[ResponseFile, Tag("file")],
    Discriminator(_kind_of_policy),
]


class Evaluation(Settings):
    """How policies are compared."""

    sampling: Sampling
    """How responses to held-out queries are drawn."""
    constitution: Asked = "in-prompt"
    """Whether held-out prompts hold the constitution.

    So whether policies are asked for what is judged, or do it unasked. `left-out`: prompts with the query alone
    (`prompts.without_constitution` of the task), one response to each or `sampling.responses`, for the constitution
    that wants every principle. `as-labels`: trained policies are asked for the values of attributes that a constitution
    stands for, as the method steerlm trains them to be; other policies are told in words, as with `in-prompt`.
    Information is estimated with `in-prompt` alone. See docs/methods.md#two-questions.
    """
    judges: Annotated[list[str], Field(min_length=1)]
    """Names in `judges`: who says which of two responses follows the constitution better.

    The first one's win rates are those of the summary.
    """
    judged: Literal["all", "positive"] = "all"
    """Under which constitutions responses are judged.

    `positive`: only those that want every principle, as in the paper. Responses under the others are sampled all the
    same, since the information needs them. With `constitution: left-out` there are no others, so both mean the same.
    """
    comparators: Annotated[list[str], Field(min_length=1)]
    """What policies are judged against: base, or another policy by name.

    That is one of `policies`, or an iteration (`iteration-1`).
    """
    policies: dict[PolicyName, OtherPolicy]
    """Others to judge beside the trained ones: {name: model} or {name: {responses: FILE}}.

    Models (names in `models`) answer the held-out queries, for example `{instruct: mistral-7b-instruct}`; files hold
    responses that were made elsewhere. `{name: {model: MODEL, constitution: in-prompt}}` asks a model with the
    constitution where the others are asked without it. `{name: {policy: base, best_of: {responses: 8, reward: NAME}}}`
    keeps the best of 8 responses of a policy that is evaluated without that, too. `{name: null}` leaves out one of the
    defaults.
    """
    relevance: Relevance | None
    """How it is told whether responses belong to their queries; null = it is not.

    See docs/relevance.md.
    """
    information: bool = True
    """Estimate the information of responses about their constitutions, where prompts hold these."""
    degeneration: Degeneration
    """When a response counts as degenerate (a loop)."""
    bootstrap_samples: Annotated[int, Field(ge=100)]
    """Resamples of the queries for bootstrap intervals, and patterns of signs for p-values."""
    confidence: Annotated[Number, Field(gt=0, lt=1)]
    """Coverage of the intervals."""
    wanted_width: Annotated[Number, Field(gt=0, lt=1)]
    """Wanted width of a win rate's interval: the table says how many queries that takes."""
    published: list[Published]
    """Win rates of others, to show beside yours: [{comparator: base, win_rate: 0.7}].

    Figures and tables show them. One entry for each comparator and kind of principles.
    """

    @property
    def models(self) -> dict[str, str]:
        """The other policies that are models: name -> name of the model."""
        named = {name: policy for name, policy in self.policies.items() if isinstance(policy, str | PromptedModel)}
        return {name: policy if isinstance(policy, str) else policy.model for name, policy in named.items()}

    @property
    def files(self) -> dict[str, ResponseFile]:
        """The other policies that are files of responses."""
        return {name: policy for name, policy in self.policies.items() if isinstance(policy, ResponseFile)}

    @property
    def best(self) -> dict[str, BestPolicy]:
        """The other policies that keep the best of several responses of one."""
        return {name: policy for name, policy in self.policies.items() if isinstance(policy, BestPolicy)}

    def responding(self, policy: str) -> str:
        """Name of the policy whose model responds: of one that keeps the best, the one that it is of."""
        return policy_name(self.best[policy].policy) if policy in self.best else policy

    @property
    def sampled_under(self) -> Literal["all", "positive"]:
        """Constitutions of a set that responses are drawn for: all, or the one that wants every principle."""
        return "positive" if self.constitution == "left-out" else "all"

    @property
    def question(self) -> Question:
        """What policies are asked: do they do what they are told, or unasked what is wanted?"""
        return "internalising" if self.constitution == "left-out" else "steerability"

    @property
    def contexts(self) -> tuple[Context, ...]:
        """Prompts under which relevance is told: without the constitution alone, where it is left out."""
        told = self.relevance is None or self.relevance.with_constitution
        return CONTEXTS if told and self.constitution != "left-out" else ("alone",)

    def constitution_of(self, policy: str) -> Asked:
        """Whether a policy's prompts hold the constitution, in words or as the label that stands for it."""
        responding = self.responding(policy)
        in_words = isinstance(self.policies.get(responding), PromptedModel)
        in_words |= self.constitution == "as-labels" and not iteration_of(responding)  # was not taught what labels mean
        return "in-prompt" if in_words else self.constitution

    def published_range(self, comparator: str, principles: str = "training") -> tuple[float, float]:
        """Lowest and highest published win rate against a policy; NaN where none is given."""
        for entry in self.published:
            if (policy_name(entry.comparator), entry.principles) == (policy_name(comparator), principles):
                return entry.range
        return math.nan, math.nan

    @field_validator("policies", mode="before")
    @classmethod
    def _without_null(cls, policies: Any) -> Any:
        if not isinstance(policies, dict):
            return policies
        return {name: policy for name, policy in policies.items() if policy is not None}

    @model_validator(mode="after")
    def _both_polarities(self) -> Self:
        if self.sampling.responses == 1 and self.sampled_under == "all":
            raise ValueError("'sampling.responses' is 1, expected at least 2: one under each of a set's constitutions")
        return self

    @model_validator(mode="after")
    def _all_there(self) -> Self:
        for name, file in self.files.items():
            if self.judged == self.sampled_under == "all" and file.responses.endswith(".json"):
                raise ValueError(
                    f"'policies' names '{name}', a file in the SAMI authors' format, which has one response to a "
                    "query, under the constitution that wants every principle; 'judged: all' compares those under the "
                    "others, too. Set 'judged' to positive"
                )
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        published = [f"{entry.comparator} ({entry.principles})" for entry in self.published]
        for key, names in (("judges", self.judges), ("comparators", self.comparators), ("published", published)):
            if len(set(names)) < len(names):
                raise ValueError(f"'{key}' names one twice: {', '.join(names)}")
        for entry in self.published:
            if entry.comparator not in self.comparators:
                raise ValueError(
                    f"'published' names the comparator '{entry.comparator}', expected one of 'comparators': "
                    f"{', '.join(self.comparators)}"
                )
        return self
