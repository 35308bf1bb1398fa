"""Files of config/constitutions, and how constitutions are made of principles."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sami.records import Check
from sami.settings.base import IDENTIFIER, Count, Settings, Share

FileKey = Literal["pairs", "behaviours", "task"]  # what a file of principles holds, and what a writer needs


class Behaviour(Settings):
    """A behaviour described in a few words, for a model to write a principle and its opposite about."""

    id: Annotated[str, Field(pattern=IDENTIFIER)]
    """Its name in tables and figures; unique in the file."""
    description: str
    """The behaviour in a few words. It fills `{behaviour}` in the writer's prompt."""
    about: Annotated[list[Annotated[str, Field(pattern=r"^\w+$")]], Field(min_length=1)]
    """Beginnings of words. A principle or opposite without a word that begins with one of them is rejected."""
    wanted: list[Annotated[str, Field(pattern=r"^\w+$")]] = []
    """Those of `about` that stand for the principle, so that sides that are mixed up are rejected, too.

    The first word of `about` in a principle must be one of them, and in an opposite none.
    """
    check: Check | None = None
    """Check of the principle."""
    opposite_check: Check | None = None
    """Check of the opposite."""

    @model_validator(mode="after")
    def _both_sides(self) -> Self:
        unknown = [stem for stem in self.wanted if stem not in self.about]
        if unknown or (self.wanted and len(set(self.wanted)) == len(set(self.about))):
            raise ValueError(
                f"'wanted' is {self.wanted}, expected some of 'about', and some left for the opposite: {self.about}"
            )
        if (self.check is None) != (self.opposite_check is None):
            has, lacks = ("opposite_check", "check") if self.check is None else ("check", "opposite_check")
            raise ValueError(
                f"behaviour '{self.id}' has '{has}', but no '{lacks}', expected both or neither, since responses "
                f"are judged under either side; write '{lacks}'"
            )
        return self


class Side(Settings):
    """A principle, or its opposite, in words, with an optional programmatic check."""

    text: Annotated[str, Field(min_length=1)]
    """The line that stands in the prompt."""
    check: Check | None = None
    """How far a response follows it, measured by a program. The judge `checks` needs it."""
    held_out_check: Check | None = None
    """The same, measured by other means, of which no reward and no label is made.

    The judge `checks-held-out` needs it: what a policy was trained on should not be all that it is judged by.
    """


class Pair(Settings):
    """A principle with its opposite, written by a person."""

    id: Annotated[str, Field(pattern=IDENTIFIER)]
    """Its name in tables and figures; unique in the file."""
    principle: Side
    """What is wanted."""
    opposite: Side
    """Its opposite, in other words."""


class PrincipleFile(Settings):
    """A file of config/constitutions: pairs written by a person, or what a model writer is to write about."""

    pairs: list[Pair] = []
    """Principles with their opposites, for a writer of kind `human`."""
    behaviours: list[Behaviour] = []
    """Behaviours, for a writer whose `prompt` asks about one (`{behaviour}`)."""
    task: Annotated[str, Field(min_length=1)] | None = None
    """What the model is to be good for, in a few words: for a writer whose `prompt` asks for a list (`{task}`)."""

    @property
    def key(self) -> FileKey:
        """What it holds."""
        return "pairs" if self.pairs else "behaviours" if self.behaviours else "task"

    def checks(self) -> dict[str, tuple[Check | None, Check | None]]:
        """Check of each principle, or of each that a model is to write, and check of its opposite, by id."""
        pairs = {pair.id: (pair.principle.check, pair.opposite.check) for pair in self.pairs}
        return pairs | {behaviour.id: (behaviour.check, behaviour.opposite_check) for behaviour in self.behaviours}

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if [bool(self.pairs), bool(self.behaviours), self.task is not None].count(True) != 1:
            raise ValueError(
                "expected either 'pairs' (written by a person), or 'behaviours' or a 'task' (for a model writer)"
            )
        ids = [pair.id for pair in self.pairs] + [behaviour.id for behaviour in self.behaviours]
        for name in ids:
            if ids.count(name) > 1:
                raise ValueError(f"the id '{name}' is used {ids.count(name)} times; ids must be unique")
        for pair in self.pairs:
            if pair.principle.text.split() == pair.opposite.text.split():
                raise ValueError(f"pair '{pair.id}': the principle and its opposite have the same text")
        return self


class Constitutions(Settings):
    """How constitutions are made of principles."""

    writer: str
    """Name in `writers`: who writes the principles."""
    principles: str
    """Name in `constitutions`: the file of principles.

    With `pairs` for a writer of kind `human`, else with `behaviours` or a `task`, as the writer's prompt asks for.
    """
    candidates: Count = 1
    """Pairs that a model proposes for each behaviour, or for a whole task.

    With more than one for a behaviour they are called `ID-1`, `ID-2`, ...; those for a task `pair-1`, ...
    """
    keep: Count | None = None
    """Keep so many pairs, those that the base model hears best; null = all.

    They must differ from one another. What it hears is its bound on I(Y; C | x) on `screen_queries`: no label, no check
    and no judge decides (docs/principles.md). Held-out principles are not screened.
    """
    screen_queries: Annotated[int, Field(ge=2)] = 12
    """Queries on which pairs are screened, with `keep` or for the target `screen`.

    The last of the training queries, which no iteration may use.
    """
    most_overlap: Share = 0.5
    """Share of a kept pair's bound that another may explain.

    Where its constitutions explain more, it says the same in other words, and is left out.
    """
    per_set: Annotated[int, Field(ge=2)]
    """C, constitutions that are contrasted with each other.

    At most 2 to the power of `statements`. The bound on the information is at most log C.
    """
    statements: Count
    """Principles in each constitution."""
    negate: Literal["all", "any", "each"]
    """How many of its principles the other constitutions of a set negate.

    `all`: as many as possible. `any`: they are drawn among all constitutions that negate at least one. `each`: a group
    has a set for every choice of them; with `statements: 2` and `per_set: 2` three sets (the first, the second, both
    negated), as in the paper's files.
    """
    max_sets: Count | None = None
    """Use at most so many sets, drawn with the seed. Set it where many principles make very many groups."""
    shuffle: bool = True
    """Shuffle the statements of a prompt, alike for all constitutions of a set. Their order then tells nothing."""
    held_out: str | None = None
    """Name in `constitutions`: a second file, whose principles are evaluated, never trained on.

    They are written by the same writer and made into sets in the same way. Each held-out query gets one set of each
    kind, and tables and the figure `generalisation` show both. None of them may be among `principles`, by its id or by
    a text. Changing it trains nothing again.
    """

    @model_validator(mode="after")
    def _enough_patterns(self) -> Self:
        if self.per_set > 2**self.statements:
            raise ValueError(
                f"'per_set: {self.per_set}' constitutions need at least {self.per_set} ways to negate, but "
                f"'statements: {self.statements}' has {2**self.statements}; raise 'statements' or lower 'per_set'"
            )
        return self

    @model_validator(mode="after")
    def _enough_kept(self) -> Self:
        if self.keep is not None and self.keep < self.statements:
            raise ValueError(
                f"'keep: {self.keep}' pairs are too few for constitutions of 'statements: {self.statements}'; raise "
                "the one or lower the other"
            )
        return self
