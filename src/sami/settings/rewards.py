"""Files of config/rewards: the kinds of rewards.

A reward says how good a response is, from 0 to 1, for one constitution. A kind is named in the class of its settings,
and listed in `Reward`; `sami.rewards.kinds` has the function by which it rewards.
"""

import re
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import ConfigDict, Field, model_validator

from sami.settings.base import Count, Number, Settings


class _Reward(Settings):
    """What the workflow wants to know of a reward of any kind, with what is true of most."""

    @property
    def members(self) -> list[str]:
        """Names of the rewards that it is made of."""
        return []

    @property
    def reads_checks(self) -> bool:
        """Whether each principle must have a check."""
        return False

    @property
    def relevance_others(self) -> int | None:
        """Other queries under which the base model scores the responses first; None where it reads no relevance."""
        return None

    @property
    def asked_judge(self) -> str | None:
        """Name of the judge that compares the responses; None where it asks none."""
        return None

    def comparisons(self, responses: int) -> int:
        """Pairs that its judge compares of so many responses to one query."""
        return 0

    @property
    def needs_contrast(self) -> bool:
        """Whether responses must have been drawn under contrasted constitutions."""
        return False


class HeadTraining(Settings):
    """How a head on the last token is trained, along with the model below it: AdamW at a constant rate."""

    optimizer: ClassVar = "adamw"
    weight_decay: ClassVar = 0.0
    warmup_steps: ClassVar = 0
    max_grad_norm: ClassVar = 1.0
    stop_at_loss: ClassVar = None  # all epochs

    learning_rate: Annotated[Number, Field(gt=0)]
    """Step size."""
    epochs: Count = 1
    """Passes over what is learned."""
    queries_per_step: Count = 8
    """Queries whose gradients are averaged in one optimiser step."""


class ChecksReward(_Reward):
    """Mean degree of the checks of the constitution's statements: `sami.judging.checks`."""

    kind: Literal["checks"]
    """The programmatic checks of the principles: the mean of their degrees. Each principle needs one."""

    @property
    def reads_checks(self) -> bool:
        return True


class RelevanceReward(_Reward):
    """How well the base model tells that a response belongs to its query: `sami.scoring.relevance`."""

    kind: Literal["relevance"]
    """Whether a response belongs to its query, as the base model tells: its margin, on a scale from 0 to 1.

    The margin of a response is its log-probability under its query alone, less that under the best other, in nats per
    token.
    """
    others: Count
    """Other queries of the iteration that a response is scored under, drawn with the seed.

    Where there are fewer, all of them.
    """
    full_margin: Annotated[Number, Field(gt=0)]
    """Margin from which on the reward is 1, nats per token.

    It is 0 where another query makes the response as likely as its own, or likelier, and linear between.
    """

    @property
    def relevance_others(self) -> int | None:
        return self.others


class JudgeReward(_Reward):
    """Share of comparisons with other responses to the same query that a judge says it wins: `sami.rewards.judged`."""

    kind: Literal["judge"]
    """A judge: the share of comparisons with other responses to the same query that a response wins.

    A tie is half a win, and so is an invalid verdict. Over the responses to a query the mean is 0.5, or near it with
    `opponents`, so it says which response is better, not which query was answered well.
    """
    judge: str
    """Name in `judges`: who compares, of any kind but one that the workflow has to serve."""
    opponents: Annotated[int, Field(ge=2)] | None = None
    """Other responses that each response is compared with, an even number; null = all of its query.

    Of R responses that is R x opponents / 2 pairs a query, else R (R - 1) / 2. The responses stand on a circle in an
    order drawn with the seed, and each meets as many neighbours on either side, so that all are compared equally often.
    """

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.opponents is not None and self.opponents % 2:
            raise ValueError(
                f"'opponents' is {self.opponents}, expected an even number, since a response meets as many neighbours "
                f"on either side; set it to {self.opponents - 1} or {self.opponents + 1}"
            )
        return self

    @property
    def asked_judge(self) -> str:
        return self.judge

    def comparisons(self, responses: int) -> int:
        every = responses * (responses - 1) // 2
        return every if self.opponents is None else min(every, responses * self.opponents // 2)


REWARD_FIELDS = ("response", "query", "principles")


class LearnedReward(_Reward, HeadTraining):
    """A reward model, trained on pairs of the experiment's own responses: `sami.rewards.reward_model`."""

    kind: Literal["learned"]
    """A reward model: the base model with a head, trained on pairs of responses.

    They are those of iteration 1 of the same experiment.
    """
    labels: Literal["checks", "contrast"]
    """What says which response of a pair is better.

    `checks`: of some principles, each wanted or negated, the one that tells two responses apart most, by the degrees
    of its check; the model reads these principles (SALMON). `contrast`: the one that was drawn under the constitution
    that wants every principle is better than one under another (RLCD); the model reads no principles.
    """
    prompt: str
    """What the model reads; the score is told at the last token.

    Fields: `{query}`, `{response}`, and for `labels: checks` behind both `{principles}`, one line each.
    """
    pairs: Count = 1
    """Pairs of responses to a query that are compared, drawn with the seed. Where there are fewer, all."""
    draws: Count = 4
    """With `checks`: sets of principles that are drawn for each pair of responses; SALMON's code has 4."""
    most_principles: Count = 8
    """With `checks`: most principles of such a set.

    Their number is geometric with parameter 0.2, drawn again where it is larger, as in SALMON's code.
    """
    flipped: Annotated[Number, Field(ge=0, lt=0.5)] = 0.1
    """Share of the labels that is turned round on purpose; SALMON's code has 0.1."""
    held_out: Annotated[Number, Field(gt=0, lt=1)] = 0.25
    """Share of the queries that the model is measured on, and not trained; drawn with the seed."""

    @property
    def reads_checks(self) -> bool:
        return self.labels == "checks"

    @property
    def needs_contrast(self) -> bool:
        return self.labels == "contrast"

    @model_validator(mode="after")
    def _fields(self) -> Self:
        found = re.findall(r"{(\w+)}", self.prompt)
        expected = {"query", "response"} | ({"principles"} if self.reads_checks else set())
        if set(found) != expected or len(found) > len(expected):
            names = ", ".join(f"{{{name}}}" for name in REWARD_FIELDS if name in expected)
            raise ValueError(
                f"'prompt' has the fields {', '.join(f'{{{name}}}' for name in found) or 'none'}, expected each of "
                f"{names} once and no others, since 'labels' is {self.labels}"
            )
        if "principles" in found[:-1]:
            raise ValueError("'prompt' has {principles} before another field, expected it last; move it behind them")
        if re.match(r"\s*{", self.prompt):
            raise ValueError("'prompt' begins with a field, which may be empty, expected a word before it; write one")
        return self


class SumReward(_Reward):
    """A weighted mean of other rewards."""

    kind: Literal["sum"]
    """A weighted sum of other rewards."""
    weights: Annotated[dict[str, Annotated[Number, Field(gt=0)]], Field(min_length=2)]
    """Names in `rewards`, none of them a sum itself, and the weight of each.

    Weights are divided by their sum, so that the reward stays between 0 and 1.
    """

    @property
    def members(self) -> list[str]:
        return list(self.weights)


Reward = Annotated[
    ChecksReward | RelevanceReward | JudgeReward | LearnedReward | SumReward, Field(discriminator="kind")
]

REWARDS: dict[str, type[_Reward]] = {
    get_args(reward.model_fields["kind"].annotation)[0]: reward for reward in get_args(get_args(Reward)[0])
}


class RewardKind(Settings):
    """The key that tells which of `REWARDS` a file of config/rewards is."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal[tuple(REWARDS)]  # type: ignore[valid-type]
    """Which kind of reward it is."""
