"""Scores and gradients in shared trees against plain padded sequences: matrices of 2 x 2 to 8 x 8, three architectures.

On a GPU trees are encoded by compiled FlexAttention. In float32 both ways must agree as in `benchmarks/scoring.py`. In
bfloat16 each rounds otherwise, so both are measured against float32 with the same weights: trees may be twice as far
from it as plain sequences are, or as far as one rounding.
"""

from functools import partial

import torch
from transformers import PreTrainedModel

from gpu_parts import made
from gpu_parts.cases import Case, Outcome, Place, distance
from sami.distributed.sharding import checkpoint_layers, decoder_layers
from sami.objectives import sami
from sami.scoring.layout import Item
from sami.scoring.scorer import Scorer

SCORES, GRADIENTS = 1e-4, 1e-3  # relative, in float32
ROUNDING = 2**-8  # of bfloat16
MATRICES = (2, 4, 8)


def cases(place: Place) -> list[Case]:
    compared = [
        Case(f"{kind}, {str(dtype).removeprefix('torch.')}", partial(_compare, kind, dtype, place))
        for kind in made.ARCHITECTURES
        for dtype in (torch.float32, torch.bfloat16)
    ]
    again = [
        Case(f"llama, float32, activation_checkpointing: {how}", partial(_again, how, place))
        for how in ("selective", "full")
    ]
    return compared + again


def _compare(kind: str, dtype: torch.dtype, place: Place) -> Outcome:
    exact_model, model = _model(kind, torch.float32, place), _model(kind, dtype, place)
    checks = {}
    for size in MATRICES:
        queries = _queries(size, place)
        exact = _scored(exact_model, "padded", queries)
        found = [distance(*pair) for pair in zip(_scored(model, "shared", queries), exact, strict=True)]
        limits = [SCORES, GRADIENTS]
        if dtype != torch.float32:
            plain = _scored(model, "padded", queries)
            limits = [max(2 * distance(*pair), ROUNDING) for pair in zip(plain, exact, strict=True)]
        for what, difference, limit in zip(("scores", "gradients"), found, limits, strict=True):
            checks[f"{what} {size}x{size}"] = difference, limit
    return Outcome(checks)


def _again(how: str, place: Place) -> Outcome:
    """Layers that run again in the backward pass give the gradients of those that do not."""
    queries = _queries(4, place)
    exact = _scored(_model("llama", torch.float32, place), "shared", queries)
    model = _model("llama", torch.float32, place)
    checkpoint_layers(decoder_layers(model), how)
    scores, gradients = _scored(model, "shared", queries, recomputes=True)
    limits = {"scores": (distance(scores, exact[0]), SCORES), "gradients": (distance(gradients, exact[1]), GRADIENTS)}
    return Outcome(limits)


def _model(kind: str, dtype: torch.dtype, place: Place) -> PreTrainedModel:
    """The same weights in any dtype; drawn as bfloat16, so that the frequencies of positions stay in float32."""
    options = made.sizes(kind, place, vocab_size=place.pick(32_000, 300))
    model = made.drawn(kind, options, torch.bfloat16, place.device)
    return model.float() if dtype == torch.float32 else model


def _queries(size: int, place: Place) -> list[Item]:
    if place.small:
        return made.items(2, size, 24, 6, 300, common=18)
    return made.items(2, size, 200, 40, 32_000, common=120)


def _scored(
    model: PreTrainedModel, layout: str, queries: list[Item], recomputes: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """(Q, C, R) mean log-probabilities, and the gradient of the loss by all weights, as one vector."""
    scorer = Scorer(model, recomputes=recomputes)
    scorer.layout_name = layout
    model.zero_grad()
    scores = scorer(scorer.layout(queries)).mean
    sami(scores, torch.tensor([item.labels for item in queries], device=scores.device)).loss.mean().backward()
    return scores.detach(), torch.cat([parameter.grad.flatten().float() for parameter in model.parameters()])
