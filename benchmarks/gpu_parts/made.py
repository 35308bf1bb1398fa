"""Models with random weights, and queries of random tokens, which the parts share."""

import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from gpu_parts.cases import Place
from sami.models.prepare import prepare
from sami.records import TrainingExample, TrainingResponse
from sami.scoring.layout import Item
from sami.settings.models import Model

# Entries of a width, times its root, come out as large as they went in: attention is far from uniform, mistakes show.
WIDTH = 512
ARCHITECTURES: dict[str, dict[str, Any]] = {  # with heads of the sizes that such models have
    "llama": {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64},
    "mistral": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 128},
    "gemma2": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "attn_logit_softcapping": 2.0,  # small enough to bend what they cap
        "final_logit_softcapping": 3.0,
    },
}
WINDOWED = {"mistral", "gemma2"}


def sizes(kind: str, place: Place, **changes: Any) -> dict[str, Any]:
    """An architecture of two layers, with windows shorter than the queries of `items`."""
    width = place.pick(WIDTH, 64)
    found = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "max_position_embeddings": 4096,
        "initializer_range": width**-0.5,
        **ARCHITECTURES[kind],
    }
    if place.small:
        found["head_dim"] //= 8
    if kind in WINDOWED:
        found["sliding_window"] = place.pick(96, 12)
    return found | changes


def drawn(
    kind: str, options: dict[str, Any], dtype: torch.dtype, device: torch.device, seed: int = 0
) -> PreTrainedModel:
    """A model in memory. Its weights are drawn where it lies, since a large one would take minutes elsewhere."""
    torch.manual_seed(seed)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **options), dtype=dtype).eval()


def folder(kind: str, options: dict[str, Any], parent: Path, dtype: str = "float32") -> Path:
    """A prepared model with a tokenizer of bytes, as the workflow makes it."""
    output = parent / kind
    model = Model(source="random", architecture={"model_type": kind, **options}, dtype=dtype)
    prepare(kind, model, output)
    return output


def items(queries: int, size: int, prompt: int, response: int, vocabulary: int, common: int = 0) -> list[Item]:
    """Queries with `size` prompts and as many responses, of about these lengths.

    Args:
        common: tokens that the prompts of a query have in common, at their beginning.
    """
    draw = random.Random(0)
    tokens = lambda length: [draw.randrange(vocabulary) for _ in range(length)]  # noqa: E731
    found = []
    for number in range(queries):
        beginning = tokens(common)
        prompts = [beginning + tokens(prompt - common - c % 4) for c in range(size)]
        responses = [tokens(response - r % 3) for r in range(size)]
        found.append(Item(f"query {number}", prompts, responses, list(range(size))))
    return found


def examples(made: list[Item]) -> list[TrainingExample]:
    """The same as records, of which training reads labels."""
    return [
        TrainingExample(
            query_id=item.name,
            prompts=["of tokens"] * len(item.prompts),
            responses=[TrainingResponse(text="of tokens", ended=True, source="iteration-0")] * len(item.responses),
            labels=item.labels,
        )
        for item in made
    ]
