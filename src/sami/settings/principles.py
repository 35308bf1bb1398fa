"""Files of config/constitutions, and how constitutions are made of principles."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sami.records import Check
from sami.settings.base import IDENTIFIER, Count, Settings


class Behaviour(Settings):
    """A behaviour described in a few words, for a model to write a principle and its opposite about."""

    id: Annotated[str, Field(pattern=IDENTIFIER)]
    description: str
    about: Annotated[list[Annotated[str, Field(pattern=r"^\w+$")]], Field(min_length=1)]
    check: Check | None = None
    opposite_check: Check | None = None


class Side(Settings):
    """A principle, or its opposite, in words, with an optional programmatic check."""

    text: Annotated[str, Field(min_length=1)]
    check: Check | None = None


class Pair(Settings):
    """A principle with its opposite, written by a person."""

    id: Annotated[str, Field(pattern=IDENTIFIER)]
    principle: Side
    opposite: Side


class PrincipleFile(Settings):
    """A file of config/constitutions: pairs written by a person, or behaviours for a model writer."""

    pairs: list[Pair] = []
    behaviours: list[Behaviour] = []

    @model_validator(mode="after")
    def _one_kind(self):
        if bool(self.pairs) == bool(self.behaviours):
            raise ValueError("expected either 'pairs' (written by a person) or 'behaviours' (for a model writer)")
        ids = [entry.id for entry in (*self.pairs, *self.behaviours)]
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
    principles: str
    per_set: Annotated[int, Field(ge=2)]
    statements: Count
    negate: Literal["all", "any", "each"]
    max_sets: Count | None = None
    shuffle: bool = True
    held_out: str | None = None

    @model_validator(mode="after")
    def _enough_patterns(self):
        if self.per_set > 2**self.statements:
            raise ValueError(
                f"'per_set: {self.per_set}' constitutions need at least {self.per_set} ways to negate, but "
                f"'statements: {self.statements}' has {2**self.statements}; raise 'statements' or lower 'per_set'"
            )
        return self
