"""Files of config/tasks: queries, prompts and the treatment of responses."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sami.settings.base import Count, Number, Settings, Text


class Dataset(Settings):
    """Where queries come from and how many of them are used."""

    loader: Literal["file", "hh-rlhf", "summarize-from-feedback"]
    """How rows become queries.

    `file`: by the three fields below. The others: as that public dataset needs it, which is all that the person says
    before the assistant's first words, or the Reddit post.
    """
    path: str | Annotated[list[str], Field(min_length=1)]
    """A .jsonl, .json (an array, or one object a line) or .parquet file, the first two also as .gz, also at an address
    (`https://...`; `hf://datasets/OWNER/NAME@COMMIT/FILE` on the hub), or the name of a dataset on the hub.

    From several, queries are taken in turn.
    """
    count: Count
    """Use the first so many distinct queries.

    The file must hold as many, besides the rows that are left out (below).
    """
    subset: str | None = None
    """Configuration of a dataset on the hub."""
    split: str = "train"
    """Split of a dataset on the hub."""
    revision: str | None = None
    """Commit of a dataset on the hub."""
    text_field: str = "text"
    """Field with the text of the query."""
    id_field: str = "id"
    """Field with its id, a text or whole number, unique in the file."""
    reference_field: str | None = None
    """Field with a reference answer, if there is one. Other fields are kept with the query."""

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path


class Prompts(Settings):
    """How a constitution and a query become a prompt."""

    style: Literal["chat", "plain"]
    """Whether the model sees a chat.

    `chat`: the prompt is a user turn in the model's chat template. `plain`: the text as it is, for base models. A model
    without a chat template, or whose template takes no system message (Gemma, early Mistral), is refused when it is
    prepared.
    """
    system: str | None = None
    """System message of a chat.

    Null leaves it to the template, which may put in one of its own; an empty text is an empty one.
    """
    statement: str = "{statement}"
    """One line of a constitution. Fields: `{statement}`, and `{number}` from 1."""
    separator: str = "\n"
    """What stands between statements."""
    generation: str
    """The prompt to sample with. Fields: `{constitution}`, `{query}`."""
    training: str
    """The prompt to train and to score with. The same fields; it may lack the worked examples of `generation`."""
    without_constitution: str | None = None
    """The prompt that puts the query alone: `{query}`, and no word of principles.

    Needed by methods that leave the constitution out of training.
    """
    with_attributes: str | None = None
    """The prompt that puts a query with a label string (`short:4,warm:0`): `{query}` and `{attributes}`.

    Needed by methods that train on labels of attributes. In a chat, what stands behind `{turn}` begins the model's own
    turn, which a response continues; in a plain text it is text like the rest.
    """

    @model_validator(mode="after")
    def _fields(self) -> Self:
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
    """Drop an example if a response holds one of these (unfilled templates, say)."""
    positive_ends_with: str | None = None
    """Drop an example if a response under a constitution that negates nothing does not end with this."""
    distinct: bool = True
    """Drop an example if responses under different constitutions are equal."""


class Lengths(Settings):
    """Tokens that the plan expects where it cannot count them: means, and those of the longest query."""

    query: Annotated[Number, Field(gt=0)] | None = None
    """Mean length of a query. Null: counted, where the queries are in a .jsonl file on this machine."""
    longest_query: Annotated[Number, Field(gt=0)] | None = None
    """Length of the longest query, which decides about memory. Null: counted, or else twice the mean."""
    response: Annotated[Number, Field(gt=0)] | None = None
    """Mean length of a response. Null: the most that may be sampled."""


class Task(Settings):
    """A source of queries with its prompts and the treatment of its responses."""

    train: Dataset
    """Where training queries come from."""
    eval: Dataset
    """Where held-out queries come from.

    They must not share an id or a text with the training queries; of a public dataset, training queries that do are
    left out.
    """
    test: Dataset | None = None
    """Where further held-out queries come from, on which nobody chose a setting or a wording (`queries.test`).

    They must not share an id or a text with the queries of `train` and `eval`; of a public dataset, those that do are
    left out.
    """
    prompts: Prompts
    """How a constitution and a query become a prompt."""
    stop: list[Text] = []
    """A response ends where one of these begins (a new turn, say)."""
    filters: Filters = Filters()
    """Which sampled training examples are dropped. Responses for evaluation are never dropped."""
    lengths: Lengths = Lengths()
    """What the plan (docs/plan.md) expects. Nothing else depends on it."""

    @model_validator(mode="after")  # here, since stages that read `Prompts` and not this template must not depend on it
    def _bare_prompt(self) -> Self:
        bare = self.prompts.without_constitution
        if bare is not None and ("{query}" not in bare or "{constitution}" in bare):
            raise ValueError("the template 'without_constitution' needs the field '{query}', and '{constitution}' not")
        return self

    @model_validator(mode="after")
    def _prompt_with_attributes(self) -> Self:
        template = self.prompts.with_attributes
        if template is not None and not ("{query}" in template and "{attributes}" in template):
            raise ValueError("the template 'with_attributes' needs the fields '{query}' and '{attributes}'")
        if template is not None and "{constitution}" in template:
            raise ValueError("the template 'with_attributes' has the field '{constitution}', expected it not")
        if template is not None and ("{query}" not in template.split("{turn}")[0] or template.count("{turn}") > 1):
            raise ValueError(
                "the template 'with_attributes' has '{turn}' before '{query}', or twice; expected it once, behind it"
            )
        return self


class Queries(Settings):
    """How many queries are used: fresh ones in each iteration, and the held-out ones."""

    train: Count | list[Count]
    """Fresh queries of iteration 1, 2, ...; one number counts for every iteration.

    The sum can be at most `train.count` of the task. Iterations that learn from responses of an earlier one (`rest`)
    have its queries: they take none, and have no entry in a list.
    """
    eval: Count
    """Held-out queries for evaluation. At most `eval.count` of the task."""
    test: Count | None = None
    """Evaluate on so many queries of the task's `test` instead of those of `eval`. Null: on those of `eval`.

    At most `test.count` of the task. Choose on `eval`, and report numbers on `test`. Nothing is trained again when this
    changes; held-out responses and all that follows from them are made anew, in the same folder.
    """

    @property
    def split(self) -> Literal["eval", "test"]:
        """The held-out queries of the task that policies are evaluated on."""
        return "eval" if self.test is None else "test"

    @property
    def held_out(self) -> int:
        """How many of them."""
        return self.test or self.eval
