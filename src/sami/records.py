"""The records that stages exchange: JSON Lines files, UTF-8, one object a line.

Every record type is a model with declared fields; `read` checks each line and names the file, line and field that is
wrong; `write` is used on a temporary name that a stage renames when the stage has succeeded. The fields are
described for users in docs/records.md.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticSerializationError

from sami.errors import UserError
from sami.json_files import read_json_lines, whole

BASE = "iteration-0"  # the name of the base model among policies


def policy_name(comparator: str) -> str:
    """The policy that a comparator is: "base" is short for iteration 0."""
    return BASE if comparator == "base" else comparator


def iteration_of(policy: str) -> int | None:
    """Number of the iteration that a policy's name says; None for other models."""
    number = re.fullmatch(r"iteration-(\d+)", policy)
    return int(number[1]) if number else None


def last_trained(policies: Iterable[str]) -> str:
    """The policy of the last iteration; the first policy where there are none."""
    return max(policies, key=lambda name: -1 if (t := iteration_of(name)) is None else t)


class Record(BaseModel):
    """Base of all records: unknown fields and silent type conversions are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Query(Record):
    """A query x that a person could put to the model."""

    id: str = Field(min_length=1)
    task: str
    text: str = Field(min_length=1)
    reference: str | None = None
    meta: dict[str, Any] = {}


# A field that files have only where it has a value, so that they are the same bytes as before there was such a field.
UNWRITTEN = Field(default=None, exclude_if=lambda value: value is None)


class Check(Record):
    """A programmatic measure of how far a response follows a statement; see `sami.judging.checks`.

    The degree is 0 at `worst`, 1 at `best` and linear between them, whichever of the two is larger.
    """

    measure: Literal["words", "sentences", "list_items", "letters_per_word", "matches"]
    """What is measured in a response (below)."""
    best: float
    """The value at which the statement is followed fully: degree 1."""
    worst: float
    """The value at which it is not followed at all: degree 0."""
    pattern: str | None = None
    """With `matches`: the regular expression that is searched, in upper or lower case."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.best == self.worst:
            raise ValueError("'best' and 'worst' must differ")
        if (self.pattern is None) == (self.measure == "matches"):
            raise ValueError("'pattern' belongs to the measure 'matches', and only to it")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"'pattern' is no regular expression: {error}") from None
        return self


class Principle(Record):
    """A principle and its opposite, as written by a person or a model."""

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    opposite: str = Field(min_length=1)
    check: Check | None = None
    opposite_check: Check | None = None
    held_out_check: Check | None = UNWRITTEN
    opposite_held_out_check: Check | None = UNWRITTEN
    writer: str
    behaviour: str | None = None
    raw: list[str] = []  # every answer of a model writer, rejected ones included


class Statement(Record):
    """One line of a constitution: a principle (`wanted`) or its opposite.

    `held_out_check` measures the same by other means than `check`; no reward and no label is made of it.
    """

    principle: str
    wanted: bool
    text: str
    check: Check | None = None
    held_out_check: Check | None = UNWRITTEN


class Constitution(Record):
    """Statements that hold together. Constitutions with the same `set_id` are contrasted with each other.

    `held_out`: responses under it are evaluated, but no policy is trained on any.
    """

    id: str
    set_id: str
    writer: str
    statements: list[Statement] = Field(min_length=1)
    held_out: bool = False

    @property
    def positive(self) -> bool:
        """True where every statement is the wanted side of its principle."""
        return all(statement.wanted for statement in self.statements)


class Response(Record):
    """One response y_j, sampled under constitution number `constitution` of its example.

    `text` is what people and judges see, without white space around it. `token_ids` are the tokens that the policy
    drew for it, with the end token where `finish` is "end"; they alone say what to score. `tokens` counts them without
    the end token. These three are None where they are unknown, as in imported responses.

    asked: values of attributes that the prompt asked for in place of a constitution, whose number is 0 where they do
        not stand for one; not written where it asked for none.
    """

    text: str
    constitution: int = Field(ge=0)
    tokens: int | None = Field(ge=0)
    finish: Literal["end", "stop", "length"] | None
    token_ids: list[int] | None = None
    asked: dict[str, int] | None = Field(default=None, exclude_if=lambda asked: asked is None)

    @property
    def ended(self) -> bool:
        """Whether the policy ended it itself; else a stop string, a limit or an unknown hand did."""
        return self.finish == "end"


class Example(Record):
    """A query with the C constitutions of one set and R responses sampled under them.

    `order` is the order in which each constitution's statements stand in the prompt.
    """

    query_id: str
    set_id: str
    constitution_ids: list[str] = Field(min_length=1)
    order: list[int]
    responses: list[Response] = Field(min_length=1)
    policy: str

    @property
    def key(self) -> tuple[str, str]:
        return self.query_id, self.set_id

    @property
    def labels(self) -> list[int]:
        """(R,) number of the constitution each response was written for."""
        return [response.constitution for response in self.responses]


class Message(Record):
    """One turn of a conversation."""

    role: str
    content: str


Prompt = str | list[Message]  # a text to be continued, or a conversation in the model's own chat template


class TrainingResponse(Record):
    """A response that a policy is trained on, or against.

    ended: whether whoever wrote it ended it, so that an end token follows; false where a limit cut it off.
    token_ids: as in `Response`; None where only the text is known, as in demonstrations.
    source: the policy that drew it, or the file or dataset that it is from.
    """

    text: str = Field(min_length=1)
    ended: bool
    token_ids: list[int] | None = None
    source: str


class Preference(Record):
    """A pair of an example's responses to one of its prompts, by their positions, of which one is to be preferred.

    kind: why; for counts and filters.
    reference: log-probabilities of both under the reference model, chosen first: sums over tokens, in nats.
    """

    chosen: int = Field(ge=0)
    rejected: int = Field(ge=0)
    prompt: int = Field(default=0, ge=0)
    kind: str
    reference: tuple[float, float] | None = Field(default=None, strict=False)  # JSON has lists


class TrainingExample(Record):
    """What training reads: C prompts, R responses, and what is wanted of them; of no method and no constitution.

    negatives: prompts that no response was written for, where an objective contrasts with them; not written where there
        are none.
    labels: (R,) number of the prompt that each response answers.
    weights: (R,) signed weights of the responses, where an objective weighs them; None for 1 each.
    pairs: preferences among the responses, where an objective contrasts pairs.
    set_id: the set of constitutions that the prompts are made of, where there is one.
    """

    query_id: str
    set_id: str | None = None
    prompts: list[Prompt] = Field(min_length=1)
    negatives: list[Prompt] = Field(default=[], exclude_if=lambda negatives: not negatives)
    responses: list[TrainingResponse] = Field(min_length=1)
    labels: list[int]
    weights: list[float] | None = None
    pairs: list[Preference] = []

    @field_validator("weights", mode="before")
    @classmethod
    def _finite(cls, weights: Any) -> Any:
        for position, weight in enumerate(weights if isinstance(weights, list) else []):
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
                shown = "null (or NaN)" if weight is None else repr(weight)
                raise ValueError(f"'weights[{position}]' is {shown}, expected a finite number")
        return weights

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        prompts, responses = len(self.prompts), len(self.responses)
        for name, values in (("labels", self.labels), ("weights", self.weights)):
            if values is not None and len(values) != responses:
                raise ValueError(f"'{name}' has {len(values)} entries, expected one for each of {responses} responses")
        for label in self.labels:
            if not 0 <= label < prompts:
                raise ValueError(f"'labels' holds {label}, expected the number of a prompt, from 0 to {prompts - 1}")
        for number, pair in enumerate(self.pairs):
            self._check_pair(number, pair)
        return self

    def _check_pair(self, number: int, pair: Preference) -> None:
        where = f"'pairs[{number}]'"
        for name, value, count in (
            ("prompt", pair.prompt, len(self.prompts)),
            ("chosen", pair.chosen, len(self.responses)),
            ("rejected", pair.rejected, len(self.responses)),
        ):
            if value >= count:
                raise ValueError(f"{where}: '{name}' is {value}, expected at most {count - 1}")
        if self.responses[pair.chosen].text == self.responses[pair.rejected].text:
            text = self.responses[pair.chosen].text
            raise ValueError(
                f"{where}: both responses are {text!r:.60}, so neither can be preferred; leave the pair out"
            )


class Scores(Record):
    """Log-probabilities of one example's responses: `mean` and `sum` over response tokens, in nats, (C, R)."""

    query_id: str
    set_id: str
    scorer: str
    responses_of: str
    labels: list[int]
    mean: list[list[float]]
    sum: list[list[float]]
    tokens: list[int]


Context = Literal["alone", "with_constitution"]  # prompts under which relevance is told: a field of the record each
CONTEXTS: tuple[Context, ...] = get_args(Context)


Place = tuple[str, str, int, str]  # of a response: query, set, number in its example, policy


class OfResponse(Record):
    """What is told of one response.

    number: of the response in its example.
    """

    query_id: str
    set_id: str
    number: int = Field(ge=0)
    policy: str

    @property
    def place(self) -> Place:
        return self.query_id, self.set_id, self.number, self.policy


class Relevance(OfResponse):
    """How likely one response is under its own query and under others, in nats: sums over its tokens.

    An empty response has no tokens and is equally likely under all queries: sums of 0.

    scorer: the model whose probabilities these are.
    candidates: (K + 1) ids of queries, the response's own first.
    alone: (K + 1) under each query alone, without any constitution.
    with_constitution: (K + 1) under each query with the constitution that the response was written for; None where
        nobody asked for it.
    """

    scorer: str
    candidates: list[str] = Field(min_length=2)
    alone: list[float]
    with_constitution: list[float] | None = None
    tokens: int = Field(ge=0)

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        for name in CONTEXTS:
            sums = getattr(self, name)
            if sums is not None and len(sums) != len(self.candidates):
                raise ValueError(
                    f"'{name}' has {len(sums)} entries, expected one for each of {len(self.candidates)} candidates"
                )
        return self


class Recognised(OfResponse):
    """How likely one response is under each constitution of its set, as another model than its policy has it.

    scorer: that model.
    own: number of the constitution that the response was written for.
    means: (C,) mean log-probabilities per token, in nats; None of an empty response, which has no tokens.
    """

    scorer: str
    own: int = Field(ge=0)
    means: list[float] | None

    @property
    def margin(self) -> float | None:
        """How much likelier it is under its own constitution than under the likeliest other, in nats per token."""
        if self.means is None:
            return None
        return self.means[self.own] - max(mean for number, mean in enumerate(self.means) if number != self.own)

    @model_validator(mode="after")
    def _contrasted(self) -> Self:
        if self.means is not None and not self.own < len(self.means) > 1:
            raise ValueError(
                f"'means' has {len(self.means)} entries, expected one for each constitution of a set, two at least, "
                f"among them number {self.own}"
            )
        return self


class Reward(OfResponse):
    """How good one response is for the constitution of its set that wants every principle.

    parts: by name, what the reward is made of.
    """

    reward: float = Field(ge=0, le=1)
    parts: dict[str, float] = {}


class Comparison(Record):
    """Two responses to a query, of which one is to score higher where some principles are read.

    query: its text.
    chosen, rejected: texts of the responses.
    statements: the principles that the reward model reads, in their order; empty where it reads none.
    decided_by: the principle whose check decided; None where no check did.
    margin: how far it tells the two apart, above 0; None where no check decided.
    flipped: whether the label was turned round on purpose.
    held_out: whether the reward model is measured on it, and not trained.
    """

    query_id: str
    set_id: str
    query: str
    chosen: str
    rejected: str
    statements: list[Statement] = []
    decided_by: str | None = None
    margin: float | None = Field(default=None, gt=0)
    flipped: bool = False
    held_out: bool = False

    @model_validator(mode="after")
    def _different(self) -> Self:
        if self.chosen == self.rejected:
            raise ValueError(f"both responses are {self.chosen!r:.60}, so neither can be better; leave it out")
        return self


class ScoredComparison(Record):
    """What a reward model makes of a comparison that it was not trained on: the scores of both responses.

    shuffled: the same with the principles of another comparison, drawn with the seed; None where it reads none.
    """

    comparison: Comparison
    chosen: float
    rejected: float
    shuffled: tuple[float, float] | None = Field(default=None, strict=False)  # JSON has lists


class Label(OfResponse):
    """Values of attributes of one response, each from 0 to the number of levels less 1; unknown ones are left out."""

    values: dict[str, Annotated[int, Field(ge=0)]] = Field(min_length=1)


class Steered(Record):
    """A response to a query that was asked with values of attributes, one of which is varied.

    attribute, value: the one that is varied, and what is asked of it; `asked` has it, too.
    asked: value of each attribute in the label string, in its order.
    degrees: from 0 to 1, how far the response has each attribute, whether it was asked for or not.
    """

    query_id: str
    policy: str
    attribute: str
    value: int = Field(ge=0)
    asked: dict[str, int]
    text: str
    tokens: int = Field(ge=0)
    degrees: dict[str, float]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.asked.get(self.attribute) != self.value:
            raise ValueError(f"'asked' has {self.asked.get(self.attribute)} of '{self.attribute}', expected 'value'")
        if self.attribute not in self.degrees:
            raise ValueError(f"'degrees' lacks '{self.attribute}', the attribute that is asked for")
        return self


Fate = Literal["kept", "not heard", "says the same", "beyond the number kept"]


class Screened(Record):
    """What a model hears of a principle and its opposite, and whether the pair is kept.

    bounds: by query, the bound on I(Y; C | x) between the two as constitutions, in nats; queries whose responses are
        empty have none.
    bound, low, high: their mean and its interval over queries; None where it does not exist.
    principle_recognised, opposite_recognised: share of the responses under either that the model finds more likely
        under it than under the other.
    fate: kept, or why not.
    overlap: the largest share of a kept pair's bound that its constitutions explain; None where it was not compared.
    like: that pair.
    """

    id: str
    text: str
    opposite: str
    bounds: dict[str, float]
    bound: float | None
    low: float | None
    high: float | None
    principle_recognised: float | None
    opposite_recognised: float | None
    fate: Fate
    overlap: float | None = None
    like: str | None = None

    @property
    def heard(self) -> bool:
        """Whether the model hears the pair: the interval of its bound lies above 0."""
        return self.low is not None and self.low > 0


Choice = Literal["first", "second", "tie", "invalid"]


class Answer(Record):
    """What a judge said of a pair shown in one order. `choice` and `preference` are about the policy, not the order.

    `fault` is why there is no verdict: the endpoint or the model refused, the limit of tokens ended the answer before
    one, or the answer holds none; None where there is one, and in older files.
    """

    order: Literal["policy-first", "comparator-first"]
    choice: Choice
    preference: float = Field(ge=0, le=1)
    fault: Literal["refused", "cut off", "no verdict"] | None = None
    raw: str = ""
    tries: int = Field(default=1, ge=1)
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None


class Verdict(Record):
    """Which of two responses follows a constitution better. `first` is the policy's, `second` the comparator's.

    `preference` is the mean of the answers' preferences for the policy's response, from 0 to 1: a tie and an invalid
    answer are half a win each. `choice` says on which side of one half it lies, "invalid" where no answer is valid.
    """

    query_id: str
    set_id: str
    constitution_id: str
    number: int = Field(ge=0)
    policy: str
    comparator: str
    first: str
    second: str
    judge: str
    choice: Choice
    preference: float = Field(ge=0, le=1)
    answers: list[Answer] = []
    first_degrees: dict[str, float] = {}
    second_degrees: dict[str, float] = {}

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What a pair is about: the same for all policies, comparators and judges."""
        return self.query_id, self.set_id, self.constitution_id, self.number


R = TypeVar("R", bound=Record)


def parse(kind: type[R], value: dict, where: str) -> R:
    """Makes a record of a mapping. Raises UserError that starts with `where` and names the field."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or kind.__name__
        found = f", found {first['input']!r:.80}" if first["type"] != "missing" else ""
        raise UserError(
            f"{where}: field '{field}': {first['msg']}{found}; expected a {kind.__name__.lower()} record."
        ) from None


def read(kind: type[R], *paths: str | Path) -> list[R]:
    """Reads all records of one kind, file by file. Raises UserError that names file, line and field."""
    found: list[R] = []
    for path in paths:
        before = len(found)
        found += [parse(kind, value, f"{path}, line {number}") for number, value in read_json_lines(path)]
        if len(found) == before and kind is not Scores:  # of which there are none where a response of each is empty
            raise UserError(f"{path}: an empty file, expected {kind.__name__.lower()} records. Make it again.")
    return found


def write(records: Iterable[Record], path: str | Path) -> None:
    """Writes records as JSON Lines. Half of a character becomes U+FFFD; NaN and infinities in `meta` become null."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(_line(record) + "\n" for record in records)


def _line(record: Record) -> str:
    try:
        return record.model_dump_json()
    except PydanticSerializationError:  # half of a character, as a server's answer may hold: no reason to lose it all
        return type(record).model_validate(whole(record.model_dump())).model_dump_json()
