"""Files of config/tasks: queries, prompts and the treatment of responses."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sami.settings.base import Count, Number, Settings, Text


class Dataset(Settings):
    """Where queries come from and how many of them are used."""

    loader: Literal["file", "hh-rlhf", "summarize-from-feedback"]
    path: str | Annotated[list[str], Field(min_length=1)]
    count: Count
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    text_field: str = "text"
    id_field: str = "id"
    reference_field: str | None = None

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path


class Prompts(Settings):
    """How a constitution and a query become a prompt."""

    style: Literal["chat", "plain"]
    system: str | None = None
    statement: str = "{statement}"
    separator: str = "\n"
    generation: str
    training: str

    @model_validator(mode="after")
    def _fields(self):
        for key, fields in (
            ("statement", {"statement"}),
            ("generation", {"constitution", "query"}),
            ("training", {"constitution", "query"}),
        ):
            for field in fields:
                if f"{{{field}}}" not in getattr(self, key):
                    raise ValueError(f"the template '{key}' lacks the field '{{{field}}}'")
        return self


class Filters(Settings):
    """Which sampled training examples are dropped."""

    forbidden: list[Text] = []
    positive_ends_with: str | None = None
    distinct: bool = True


class Lengths(Settings):
    """Tokens that the plan expects where it cannot count them: means, and those of the longest query."""

    query: Annotated[Number, Field(gt=0)] | None = None
    longest_query: Annotated[Number, Field(gt=0)] | None = None
    response: Annotated[Number, Field(gt=0)] | None = None


class Task(Settings):
    """A source of queries with its prompts and the treatment of its responses."""

    train: Dataset
    eval: Dataset
    prompts: Prompts
    stop: list[Text] = []
    filters: Filters = Filters()
    lengths: Lengths = Lengths()


class Queries(Settings):
    """How many queries are used: fresh ones in each iteration, and the held-out ones."""

    train: Count | list[Count]
    eval: Count
