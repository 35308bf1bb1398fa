"""Size of a model without reading its weights: their number, and the sizes that all estimates rest on."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sami.errors import UserError
from sami.models import weight_files
from sami.settings.models import Model, Shape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class ModelSize:
    """A model's size. What is None is not stated, and can be read only once the model is on this machine.

    name: in the models file.
    dtype: number format of its weights.
    parameters: number of weights.
    active: of these, those that a token passes through.
    """

    name: str
    dtype: str
    parameters: float | None
    active: float | None
    shape: Shape | None

    @property
    def bytes(self) -> float | None:
        """Of all weights, in the model's own number format."""
        return None if self.parameters is None else self.parameters * BYTES[self.dtype]

    @property
    def head(self) -> float:
        """Weights of the vocabulary head."""
        return self.shape.vocabulary * self.shape.hidden

    @property
    def root(self) -> float:
        """Weights outside the layers: embeddings and head."""
        return self.head * (1 if self.shape.tied else 2)

    @property
    def body(self) -> float:
        """Weights of the layers that a token passes through."""
        return self.active - self.root

    @property
    def layer(self) -> float:
        """Weights of one layer, of all its experts."""
        return (self.parameters - self.root) / self.shape.layers

    @property
    def cache(self) -> float:
        """Bytes of one token's keys and values in all layers."""
        return 2 * self.shape.layers * self.shape.kv_width * BYTES[self.dtype]

    @property
    def complete(self) -> bool:
        """Whether memory and arithmetic can be told."""
        return self.parameters is not None and self.shape is not None


def model_size(name: str, model: Model, prepared: Path) -> ModelSize:
    """Size of a model by the models file, and where that says nothing, by the model's folder on this machine.

    Args:
        model: its entry in the models file.
        prepared: where the workflow keeps it, whether it is there yet or not.
    """
    folder = prepared if (prepared / "config.json").is_file() else Path(model.path or "")
    parameters = model.parameters or _count(folder)
    shape = model.shape or _shape(_config(folder))
    return ModelSize(name, model.dtype, parameters, model.active_parameters or parameters, shape)


def context_length(model: Model, prepared: Path) -> int | None:
    """Most tokens that a model attends to, by its folder on this machine; None where that does not tell."""
    folder = prepared if (prepared / "config.json").is_file() else Path(model.path or "")
    found = _config(folder).get("max_position_embeddings")
    return found if isinstance(found, int) else None


def _config(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return {}


def _shape(config: dict[str, Any]) -> Shape | None:
    """The sizes in a model's configuration; None where it does not use the usual names."""
    try:
        heads = config["num_attention_heads"]
        size = config.get("head_dim") or config["hidden_size"] // heads
        experts = config.get("num_experts_per_tok") or 1
        return Shape(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            kv_width=(config.get("num_key_value_heads") or heads) * size,
            intermediate=(config.get("moe_intermediate_size") or config["intermediate_size"]) * experts,
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings")),
        )
    except (KeyError, TypeError, ValidationError):
        return None


def _count(folder: Path) -> float | None:
    """Weights in the safetensors files of a folder, by their headers."""
    try:
        tensors = weight_files.headers(weight_files.weights_of(folder))
    except UserError:
        return None  # whoever reads the weights says what is wrong with them
    return sum(prod(entry["shape"]) for entry in tensors.values()) or None
