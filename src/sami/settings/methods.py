"""Methods: how responses become training examples, as a union by name.

The shared rules of the workflow ask each method a few questions and have no conditional on its name: the classes below
answer them. A method's own rules stand in workflow/rules/methods/NAME.smk, its functions in `sami.methods.NAME`.
"""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from sami.settings.base import IDENTIFIER, Count, Number, Settings, Text, named_choice
from sami.settings.rewards import HeadTraining
from sami.settings.tasks import Prompts, Task
from sami.settings.training import Likelihood, Training


class Steering(Settings):
    """How policies are asked for attributes once they are trained, to see what they make of it."""

    queries: Count = 12
    """Held-out queries that are asked, the first ones: each with every value of every attribute.

    Where there are fewer, all of them.
    """
    others: Literal["typical", "left-out"] = "typical"
    """The attributes that are not being varied.

    `typical`: at their median in the labels of iteration 1. `left-out`: not in the label string, as where nothing is
    known of them; a policy that was trained on complete strings has never seen one such.
    """


class Method(Settings):
    """The questions that the shared rules ask, with the answers that fit most methods.

    objectives: names of the objectives that the method's training examples are for.
    least_responses: the fewest that it can learn from, to one query.
    sampled_under: whether responses are drawn under all constitutions of a set, under the one that wants every
        principle, or under none: the query alone.
    steers: whether its policies are asked for values of attributes when they are evaluated.
    """

    objectives: ClassVar[tuple[str, ...]]
    least_responses: ClassVar[int] = 1
    sampled_under: ClassVar[Literal["all", "positive", "none"]] = "all"
    steers: ClassVar[bool] = False

    name: Any
    """Name of the method."""

    @property
    def draws_responses(self) -> bool:
        """Whether a policy's responses are drawn for training; else examples are made of texts that are there."""
        return True

    @property
    def demonstration_file(self) -> str | None:
        """File of demonstrations, whose queries every iteration asks; None where the task's training queries are."""
        return None

    def samples(self, iteration: int) -> bool:
        """Whether responses are drawn for iteration t = 1, ..., T."""
        return self.draws_responses and self.responses_of(iteration) == iteration

    def makes_pairs(self, iteration: int) -> bool:
        """Whether the examples of an iteration hold pairs, which the reference model scores before training."""
        return False

    def paired_iterations(self, iteration: int) -> list[int]:
        """Iterations whose responses stand in the pairs of iteration t, ascending: its own, or older ones, too."""
        return [iteration]

    def sampled_policy(self, iteration: int) -> int:
        """Iteration of the policy that draws the responses for iteration t = 1, ..., T; 0 is the base model."""
        return iteration - 1

    def responses_of(self, iteration: int) -> int:
        """Iteration whose queries, and responses to them, iteration t learns from: its own, or an earlier one."""
        return iteration

    def training_of(self, iteration: int, training: Training) -> Training:
        """How iteration t = 1, ..., T is trained: as the settings say, or with what the method changes of them."""
        return training

    def start(self, iteration: int, training: Training) -> int:
        """Iteration of the policy whose weights training starts from."""
        return iteration - 1 if training.start_from == "previous" else 0

    def reference(self, iteration: int, training: Training) -> int:
        """Iteration of the reference model. Raises ValueError where `training.reference` names one that is none."""
        if training.reference == "sft":
            return self.sft_iteration
        return iteration - 1 if training.reference == "previous" else 0

    @property
    def sft_iteration(self) -> int:
        """Iteration that ends with the policy of supervised fine-tuning, on which later ones build."""
        raise ValueError(
            f"'training.reference: sft' is the policy after supervised fine-tuning, which the method '{self.name}' "
            "does not begin with; set it to base or previous"
        )

    def template(self, prompts: Prompts) -> str:
        """Template of the prompts that training examples hold, with or without a constitution."""
        return prompts.training

    @property
    def relevance_others(self) -> int | None:
        """Other queries under which the base model scores the responses for training; None where it scores none."""
        return None

    @property
    def reward_name(self) -> str | None:
        """Name in `rewards` of what says how good the responses for training are; None where nothing does."""
        return None

    def as_trained(self, iteration: int) -> Self:
        """The method as far as policies 1, ..., t depend on it: without what later iterations or evaluation read."""
        return self

    def labelled(self, checked: Iterable[str]) -> list[str]:
        """Attributes that label strings in training prompts hold, of principles with a check; none without labels.

        Raises ValueError where the method names others.
        """
        return []

    def labels_asked(self, iteration: int) -> int | None:
        """Iteration whose labels a policy is asked for when it responds for iteration t; None without labels.

        Prompts then hold labels (`template`) in place of constitutions, one a response.
        """
        return None

    @property
    def labels_fixed(self) -> dict[str, int]:
        """Values of attributes that all labels have that a policy is asked for."""
        return {}

    @property
    def label_words(self) -> dict[str, list[str]]:
        """Attribute -> words that stand for its values 0, 1, ... in label strings; those without have name:value."""
        return {}

    @property
    def labelling(self) -> list[Any] | None:
        """All that labels of responses depend on, besides responses and principles; None without labels."""
        return None

    @property
    def labelled_share(self) -> float | None:
        """Share of the queries of iteration 1 on which a model learns to label responses; None where none does."""
        return None

    def head_training(self, training: Training) -> Training:
        """How that model is trained, as far as costs depend on it."""
        return training

    def check_counts(self, queries: Sequence[int]) -> None:
        """Raises ValueError where numbers of training queries, an iteration each, do not suffice."""

    def wanted_values(self, attributes: Iterable[str]) -> dict[str, int]:
        """The value of each of these attributes that stands for its principle; 0 stands for the opposite."""
        return {}

    def check_task(self, task: Task) -> None:
        """Raises ValueError where a task's file lacks what the method makes training examples of."""

    def responses_learned(self, iteration: int, drawn: int) -> int:
        """Responses to a query that an iteration can learn from, where `drawn` are drawn at a time."""
        return drawn

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        """(C, R) of a training example, of which the plan reckons the cost of a step; without prompts of other queries.

        Args:
            objective: its name.
            prompts: constitutions in a set.
            responses: to a query, that the iteration can learn from.
        """
        return prompts, responses

    def examples_of_query(self, responses: int) -> int:
        """Training examples that are made of one query, to which so many responses are drawn."""
        return 1

    def steered(self, queries: int, attributes: int) -> int:
        """Responses that are drawn of a policy to see how it is steered, of so many held-out queries and attributes."""
        return 0


def _expect_prompt(task: Task, name: str, expected: str) -> None:
    """Raises ValueError where a task's prompts lack one; `expected` says what it is for, and what to do."""
    if getattr(task.prompts, name) is None:
        raise ValueError(f"prompts.{name}: found null, expected {expected}")


class RelevanceFilter(Settings):
    """Which training examples are dropped because a response does not belong to its query, as the base model tells.

    The margin of a response is its log-probability under its query alone, less that under the best other query, in nats
    per token; that of an example is the smallest of its responses. One of the last two keys is set.
    """

    others: Count
    """Other queries of the iteration that a response is scored under, drawn with the seed.

    Where there are fewer, all of them.
    """
    least_margin: Number | None = None
    """Least margin of an example that is kept, nats per token; null = `drop` says it.

    At 0 no other query makes a response likelier than its own.
    """
    drop: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """Share of the examples that is dropped, those with the smallest margins; null = `least_margin` says it.

    It is a share of those that the task's filters leave, rounded down. Ties with the first that stays are kept.
    """

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.least_margin is None) == (self.drop is None):
            found = "neither" if self.drop is None else "both"
            raise ValueError(f"found {found} of 'least_margin' and 'drop', expected exactly one of them; set one")
        return self


class Sami(Method):
    """SAMI (arXiv 2404.14313): responses under contrasted constitutions, each to be most likely under its own."""

    objectives = ("sami", "sami-rows", "sami-columns", "sami-joint", "supervised")

    least_responses = 2  # one alone has no contrast

    name: Literal["sami"]
    """Name of the method."""
    relevance: RelevanceFilter | None = None
    """Or {others: 3, least_margin: 0.0}: leave out training examples whose responses do not belong to their query.

    The base model tells that, from the responses of each iteration. {others: 3, drop: 0.25} leaves out a share.
    """

    @property
    def relevance_others(self) -> int | None:
        return None if self.relevance is None else self.relevance.others

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        return (1, max(1, responses // prompts)) if objective == "supervised" else (prompts, responses)


class _LeavesOut(Method):
    """Methods whose training prompts have the constitution that wants every principle, or leave it out."""

    constitution: Literal["left-out", "in-prompt"] = "left-out"
    """Whether training prompts hold the constitution.

    `left-out`: they hold the query alone (`prompts.without_constitution` of the task); with the policy's own responses
    that is context distillation. `in-prompt`: they hold it, as those of SAMI do.
    """

    def template(self, prompts: Prompts) -> str:
        left_out = self.constitution == "left-out"
        return (prompts.without_constitution or "") if left_out else prompts.training

    def check_task(self, task: Task) -> None:
        if self.constitution == "left-out":
            _expect_prompt(
                task,
                "without_constitution",
                "the prompt with the query alone that 'method.constitution: left-out' trains with; write it, or set "
                "'method.constitution' to in-prompt",
            )


class Sft(_LeavesOut):
    """Supervised fine-tuning: on demonstrations (2305.11206) or on the policy's own responses (1909.13788)."""

    objectives = ("supervised",)
    sampled_under = "positive"

    name: Literal["sft"]
    """Supervised fine-tuning."""
    responses: Literal["own", "demonstrations"] = "own"
    """The responses that are learned.

    `own`: those that the policy draws under the constitution that wants every principle. `demonstrations`: the
    reference answers of the training queries (`train.reference_field` of the task); nothing is sampled for training.
    """

    @property
    def draws_responses(self) -> bool:
        return self.responses == "own"

    def check_task(self, task: Task) -> None:
        if self.responses == "demonstrations" and task.train.reference_field is None:
            raise ValueError(
                "train.reference_field: found null, expected the field with the reference answers, which "
                "'method.responses: demonstrations' learns; name it, or set 'method.responses' to own"
            )
        if self.responses == "demonstrations" and task.train.loader != "file":
            raise ValueError(
                f"train.loader: found {task.train.loader}, which reads no reference answers, expected file, since "
                "'method.responses: demonstrations' learns them; change it, or set 'method.responses' to own"
            )
        super().check_task(task)

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        return 1, max(1, responses)


class Rlcd(Method):
    """RLCD (arXiv 2307.12950), direct: pairs of responses under contrasted constitutions, learned without these."""

    objectives = ("preference",)
    least_responses = 2  # one alone has nothing that it could be preferred to

    name: Literal["rlcd"]
    """Pairs of responses under contrasted constitutions."""
    labels: Literal["contrast", "reversed", "shuffled"] = "contrast"
    """Which response of a pair is chosen.

    `contrast`: the one that was drawn under the constitution that wants every principle. The others are controls:
    `reversed` chooses the other response, `shuffled` one of the two, drawn with seed and query.
    """
    unfinished: Literal["keep", "drop"] = "keep"
    """Whether pairs are made of responses that the limit of tokens cut off (`sampling.max_new_tokens`)."""

    def makes_pairs(self, iteration: int) -> bool:
        return True

    def template(self, prompts: Prompts) -> str:
        return prompts.without_constitution or ""

    def check_task(self, task: Task) -> None:
        expected = "the prompt with the query alone that the method 'rlcd' trains with; write it"
        _expect_prompt(task, "without_constitution", expected)

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        return 1, responses


class Rest(_LeavesOut):
    """Reinforced self-training (ReST, 2308.08998; ReST-EM, 2312.06585): own responses with high rewards are learned."""

    objectives = ("supervised",)
    least_responses = 2  # one alone is no choice
    sampled_under = "positive"

    name: Literal["rest"]
    """Reinforced self-training (ReST): the policy learns those of its own responses that have a high reward."""
    reward: str
    """Name in `rewards`: what says how good a response is."""
    thresholds: Annotated[list[Annotated[Number, Field(ge=0, lt=1)]], Field(min_length=1)]
    """Reward that a response must exceed, for each Improve step of a Grow step.

    Rising numbers. With [0.5, 0.7, 0.9] three iterations learn from the responses that are sampled for the first of
    them, ever better ones, and the fourth iteration samples again, from the policy of the third.
    """
    per_query: bool = False
    """Whether thresholds are quantiles of the rewards of each query, in place of rewards.

    At 0.75 about the best quarter of a query's responses is learned, so that hard queries keep some, too.
    """
    cap: Count | None = None
    """Most responses that are learned of a query, those with the highest rewards; null = all above the threshold.

    Of equal ones those that were sampled first.
    """
    rate_decay: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """Factor by which `training.learning_rate` falls from one Improve step to the next; each Grow begins anew."""

    @property
    def improve_steps(self) -> int:
        """Iterations that learn from the same responses, one a threshold."""
        return len(self.thresholds)

    @property
    def reward_name(self) -> str:
        return self.reward

    def step(self, iteration: int) -> int:
        """Improve step of its Grow step that an iteration is, from 1."""
        return (iteration - 1) % self.improve_steps + 1

    def choice(self, iteration: int) -> dict[str, float]:
        """What the responses that an iteration learns are chosen by, by the names of the stage's arguments."""
        cap = {} if self.cap is None else {"cap": self.cap}
        return {"threshold": self.thresholds[self.step(iteration) - 1], "per-query": self.per_query, **cap}

    def responses_of(self, iteration: int) -> int:
        return iteration - self.step(iteration) + 1

    def sampled_policy(self, iteration: int) -> int:
        return self.responses_of(iteration) - 1

    def training_of(self, iteration: int, training: Training) -> Training:
        rate = training.learning_rate * self.rate_decay ** (self.step(iteration) - 1)
        return training.model_copy(update={"learning_rate": rate})

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        return 1, min(responses, self.cap or responses)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for lower, higher in pairwise(self.thresholds):
            if higher <= lower:
                raise ValueError(
                    f"'thresholds' has {higher:g} behind {lower:g}, expected rising numbers, since each Improve step "
                    "learns better responses than the one before; sort them, and name each once"
                )
        return self


class Salmon(_LeavesOut):
    """SALMON (arXiv 2310.05910) without PPO: of own responses the one with the highest reward is preferred."""

    objectives = ("preference",)
    least_responses = 2  # one alone has nothing that it could be preferred to

    name: Literal["salmon"]
    """Of a query's own responses the one with the highest reward is preferred to the one with the lowest."""
    reward: str
    """Name in `rewards`: what says how good a response is; in SALMON a learned one that reads principles."""
    responses: Literal["plain", "contrasted"] = "plain"
    """How the policy is asked for responses.

    `plain`: by the query alone (`prompts.without_constitution` of the task), as in SALMON. `contrasted`: under all
    constitutions of the query's set, as for RLCD, so that they differ more.
    """

    @property
    def sampled_under(self) -> Literal["all", "none"]:  # type: ignore[override]  # a setting decides it here
        return "all" if self.responses == "contrasted" else "none"

    @property
    def reward_name(self) -> str:
        return self.reward

    def makes_pairs(self, iteration: int) -> bool:
        return True

    def check_task(self, task: Task) -> None:
        if self.responses == "plain":
            expected = (
                "the prompt with the query alone, by which 'method.responses: plain' asks for responses; write it"
            )
            _expect_prompt(task, "without_constitution", expected)
        super().check_task(task)

    def responses_learned(self, iteration: int, drawn: int) -> int:
        return min(drawn, 2)

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        return 1, responses


class AttributeModel(HeadTraining):
    """How a model learns to label responses: a head with an output for each attribute, `sami.rewards.reward_model`.

    Its loss is the squared error of values, over those that are known, as in the authors' code.
    """

    prompt: str = "Query: {query}\n\nResponse: {response}"
    """What the model reads, with its values behind it; with the fields `{query}` and `{response}`."""
    labelled: Annotated[Number, Field(gt=0, lt=1)] = 0.5
    """Share of the queries of iteration 1 whose responses the checks label for it, drawn with the seed.

    In the paper people have labelled them. On the others the model is measured.
    """

    def labelled_of(self, queries: int) -> int:
        """Number of labelled queries among some. Raises ValueError where it is none, or all."""
        found = round(self.labelled * queries)
        if not 0 < found < queries:
            raise ValueError(
                f"'attribute_model.labelled' is {self.labelled:g}, of {queries} queries {found or 'none'}, expected "
                "one at least that is labelled, and one that is not; change it, or raise 'queries.train'"
            )
        return found

    @model_validator(mode="after")
    def _fields(self) -> Self:
        found = re.findall(r"{(\w+)}", self.prompt)
        if sorted(found) != ["query", "response"]:
            names = ", ".join(f"{{{name}}}" for name in found) or "none"
            raise ValueError(f"'prompt' has the fields {names}, expected {{query}} and {{response}}, each once")
        if re.match(r"\s*{", self.prompt):
            raise ValueError("'prompt' begins with a field, which may be empty, expected a word before it; write one")
        return self


class SteerLM(Method):
    """SteerLM (arXiv 2310.05344): all responses are learned, each behind a label of how far it has each attribute."""

    objectives = ("supervised",)
    steers = True

    name: Literal["steerlm"]
    """Attribute-conditioned training (SteerLM): all responses are learned, each behind a label of its attributes."""
    attributes: Annotated[list[Annotated[str, Field(pattern=IDENTIFIER)]], Field(min_length=1)] | None = None
    """Ids of the principles that are attributes, in the order of label strings; null = all that have a check."""
    levels: Annotated[int, Field(ge=2)] = 5
    """Values of an attribute: 0, 1, ..., levels - 1. The degree of its check, from 0 to 1, is rounded to one of them.

    0 is the principle's opposite.
    """
    words: dict[str, list[Text]] = {}
    """Or {short: [very long, long, medium, short, very short]}: words for an attribute's values, one for each level.

    They stand in label strings in place of name and value, "very short, warm:0" for `short:4,warm:0`. A small model
    heeds words that it knows after few examples, where it learns nothing of numbers (docs/methods.md#steering).
    """
    labels: Literal["checks", "shuffled", "model"] = "checks"
    """What says which value a response has.

    `checks`: the checks of the principles. `model`: a model that has learned from the labels of some of the responses,
    by these checks (`attribute_model`). `shuffled`, a control: the labels by checks, dealt out to other responses by
    the seed, so that they say nothing and steering must be flat.
    """
    attribute_model: AttributeModel | None = None
    """With `labels: model`: how that model learns from the responses of iteration 1."""
    asked: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Or {short: 4}: values that policies are asked for when they respond for later iterations than the first.

    Each response is drawn under a label that occurs in iteration 1, every one as likely as another: of all labels, or
    with {short: 4} of those that have this. The paper asks for the highest quality.
    """
    steering: Steering = Steering()
    """How policies are asked for attributes once they are trained."""

    def as_trained(self, iteration: int) -> Self:
        return self.model_copy(update={"steering": Steering(), **({"asked": {}} if iteration == 1 else {})})

    def labels_asked(self, iteration: int) -> int | None:
        return 1 if iteration > 1 else None

    @property
    def labels_fixed(self) -> dict[str, int]:
        return self.asked

    @property
    def label_words(self) -> dict[str, list[str]]:
        return self.words

    @property
    def labelling(self) -> list[Any]:
        return [self.attributes, self.levels, self.attribute_model]

    @property
    def labelled_share(self) -> float | None:
        return None if self.attribute_model is None else self.attribute_model.labelled

    def head_training(self, training: Training) -> Training:
        own = self.attribute_model
        if own is None:
            return training
        told = {"epochs": own.epochs, "queries_per_step": own.queries_per_step, "optimizer": "adamw"}
        return training.model_copy(update={**told, "lora": None, "kl_weight": 0.0})

    def check_counts(self, queries: Sequence[int]) -> None:
        if self.attribute_model:
            self.attribute_model.labelled_of(queries[0])

    def labelled(self, checked: Iterable[str]) -> list[str]:
        known = list(checked)
        found = known if self.attributes is None else self.attributes
        for name in found:
            if name not in known:
                expected = f"expected principles with a check: {', '.join(known) or 'none'}"
                raise ValueError(f"'method.attributes' names '{name}', {expected}")
        for key in ("asked", "words"):
            for name in getattr(self, key):
                if name not in found:
                    raise ValueError(
                        f"'method.{key}' names '{name}', expected attributes: {', '.join(found) or 'none'}"
                    )
        if not found:
            raise ValueError(
                "no principle has a check, expected one at least, since the method 'steerlm' labels responses by checks"
            )
        return found

    def wanted_values(self, attributes: Iterable[str]) -> dict[str, int]:
        return dict.fromkeys(attributes, self.levels - 1)

    def template(self, prompts: Prompts) -> str:
        return prompts.with_attributes or ""

    def check_task(self, task: Task) -> None:
        expected = "the prompt with the query and a label string that the method 'steerlm' trains with; write it"
        _expect_prompt(task, "with_attributes", expected)

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        return 1, 1

    def examples_of_query(self, responses: int) -> int:
        return responses

    def steered(self, queries: int, attributes: int) -> int:
        return min(queries, self.steering.queries) * attributes * self.levels

    @model_validator(mode="after")
    def _different(self) -> Self:
        names = self.attributes or []
        for position, name in enumerate(names):
            if name in names[:position]:
                raise ValueError(f"'attributes' names '{name}' twice, expected each once; delete one")
        if (self.labels == "model") is (self.attribute_model is None):
            found = "null" if self.attribute_model is None else "given"
            raise ValueError(
                f"'labels' is {self.labels}, but 'attribute_model' is {found}, expected it with 'labels: model' and "
                "only there; write it ({learning_rate: 2.0e-5}, say), or change 'labels'"
            )
        for name, words in self.words.items():
            if len(words) != self.levels or len({*words}) < self.levels:
                raise ValueError(
                    f"'words' has {len({*words})} different words for '{name}' ({', '.join(words)}), expected "
                    f"{self.levels}, one for each value from 0 to {self.levels - 1}; write them, or change 'levels'"
                )
        for name, value in self.asked.items():
            if value >= self.levels:
                raise ValueError(
                    f"'asked' wants {value} of '{name}', expected at most {self.levels - 1}, since 'levels' is "
                    f"{self.levels}; lower it, or raise 'levels'"
                )
        return self


class FineTuning(Settings):
    """Supervised fine-tuning on demonstrations, before pairs are learned: where it differs from `training`.

    The loss of a step is minus the mean log-probability of a token of the demonstrations, whatever
    `training.normalisation` says of pairs.
    """

    learning_rate: Annotated[Number, Field(gt=0)]
    """Step size; DITTO's paper has 3e-5 for adapters of a 7B model."""
    epochs: Count
    """Most passes over the demonstrations."""
    queries_per_step: Count = 4
    """Queries whose gradients are averaged in one optimiser step."""
    stop_at_loss: Annotated[Number, Field(gt=0)] | None = 1.0
    """End it after the first step with at most this loss; null = after all epochs.

    The paper's value is 1 nat per token. Where the base model is nearer to the demonstrations, take half its loss.
    """


class Shares(Settings):
    """Shares of the kinds of pairs that an iteration learns from; together 1.

    All online pairs are used, and as many of the others are drawn as their shares want, as far as there are any.
    """

    online: Annotated[Number, Field(gt=0, le=1)] = 0.7
    """Demonstrations, preferred to responses of the policy that training starts from."""
    replay: Annotated[Number, Field(ge=0, le=1)] = 0.2
    """Demonstrations, preferred to responses of older policies."""
    inter_model: Annotated[Number, Field(ge=0, le=1)] = 0.1
    """Responses of newer policies, preferred to those of older ones."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.online + self.replay + self.inter_model
        if abs(total - 1) > 1e-6:
            raise ValueError(
                f"'online', 'replay' and 'inter_model' add up to {total:g}, expected 1, since they are shares of the "
                "pairs of an iteration; change one of them"
            )
        return self


class Ditto(Method):
    """DITTO (arXiv 2406.00888): demonstrations are preferred to what policies sample, newer policies to older ones."""

    objectives = ("preference",)
    sampled_under = "none"

    name: Literal["ditto"]
    """Demonstrations, preferred to what the policies themselves say to the same queries."""
    demonstrations: str
    """File of demonstrations, JSON Lines with the fields `query` and `response`; fewer than ten will do.

    Their queries are asked in every iteration, in place of the task's training queries; `queries.train` is their
    number. Two responses to one query are two lines. Held-out queries must not be among them.
    """
    fine_tuning: FineTuning
    """Iteration 1: supervised fine-tuning on the demonstrations, which stops early."""
    shares: Shares = Shares()
    """Shares of the kinds of pairs that iterations 2, 3, ... learn from."""
    replay: Count | None = None
    """Former samplings from which responses of older policies are taken, the newest ones; null = all."""

    @property
    def demonstration_file(self) -> str:
        return self.demonstrations

    @property
    def sft_iteration(self) -> int:
        return 1

    def samples(self, iteration: int) -> bool:
        return iteration > 1

    def makes_pairs(self, iteration: int) -> bool:
        return iteration > 1

    def paired_iterations(self, iteration: int) -> list[int]:
        first = 2 if self.replay is None else max(2, iteration - self.replay)
        return list(range(first, iteration + 1))

    def training_of(self, iteration: int, training: Training) -> Training:
        if iteration > 1:
            return training
        own = self.fine_tuning
        return training.model_copy(
            update={
                "objective": Likelihood(name="supervised"),
                "normalisation": "mean",
                "learning_rate": own.learning_rate,
                "epochs": own.epochs,
                "queries_per_step": own.queries_per_step,
                "stop_at_loss": own.stop_at_loss,
            }
        )

    def reference(self, iteration: int, training: Training) -> int:
        return 0 if iteration == 1 else super().reference(iteration, training)  # it has no former policy

    def template(self, prompts: Prompts) -> str:
        return prompts.without_constitution or ""

    def check_task(self, task: Task) -> None:
        expected = "the prompt with the query alone, to which demonstrations respond; write it"
        _expect_prompt(task, "without_constitution", expected)

    def responses_learned(self, iteration: int, drawn: int) -> int:
        """One demonstration, all current responses, and older ones: at most one for each further pair, or all."""
        if iteration == 1:
            return 1
        further = math.ceil(drawn * (1 - self.shares.online) / self.shares.online)
        older = len(self.paired_iterations(iteration)) - 1
        return 1 + drawn + min(further, drawn * older)

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        return 1, responses


METHODS: dict[str, type[Method]] = {
    get_args(kind.model_fields["name"].annotation)[0]: kind for kind in (Sami, Sft, Rlcd, Rest, Salmon, SteerLM, Ditto)
}
MethodChoice = Annotated[
    Sami | Sft | Rlcd | Rest | Salmon | SteerLM | Ditto, Field(discriminator="name"), named_choice(METHODS, "method")
]
