"""Log-probabilities by the fused head against logits of the whole vocabulary, in values and gradients.

In bfloat16 on a GPU the fused head is cut-cross-entropy, where it is installed; else the package's own, in chunks.
"""

import importlib.util
from functools import partial

import torch
from transformers import PreTrainedModel

from gpu_parts import made
from gpu_parts.cases import Case, Outcome, Place, distance
from gpu_parts.scoring import GRADIENTS, ROUNDING, SCORES
from sami.scoring.head import logits, soft_cap, token_log_probabilities

VOCABULARIES = {"llama": 32_000, "gemma2": 256_000}  # the latter with a soft cap
Found = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def cases(place: Place) -> list[Case]:
    return [
        Case(f"{kind}, {str(dtype).removeprefix('torch.')}", partial(_compare, kind, dtype, place))
        for kind in VOCABULARIES
        for dtype in (torch.float32, torch.bfloat16)
    ]


def _compare(kind: str, dtype: torch.dtype, place: Place) -> Outcome:
    vocabulary = place.pick(VOCABULARIES[kind], 500)
    options = made.sizes(kind, place, vocab_size=vocabulary, num_hidden_layers=1)
    model = made.drawn(kind, options, torch.bfloat16, place.device).float()
    count = place.pick(1500, 60)  # several chunks of logits
    states = torch.randn(count, options["hidden_size"], device=place.device).bfloat16()
    target = torch.randint(vocabulary, (count,), device=place.device)
    slope = torch.randn(count, device=place.device)
    exact = _found(_plainly, model, states.float(), target, slope)
    model.to(dtype)
    fused = _found(token_log_probabilities, model, states.to(dtype), target, slope)
    plain = _found(_plainly, model, states.to(dtype), target, slope)
    limits = [SCORES, GRADIENTS, GRADIENTS]
    if dtype != torch.float32:
        limits = [max(2 * distance(*pair), ROUNDING) for pair in zip(plain, exact, strict=True)]
    found = [distance(*pair) for pair in zip(fused, exact, strict=True)]
    names = ("values", "gradients by states", "gradients by weights")
    cut = place.device.type == "cuda" and dtype != torch.float32 and importlib.util.find_spec("cut_cross_entropy")
    checks = dict(zip(names, zip(found, limits, strict=True), strict=True))
    return Outcome(checks, note="cut-cross-entropy" if cut else "own head")


def _found(run, model: PreTrainedModel, states: torch.Tensor, target: torch.Tensor, slope: torch.Tensor) -> Found:
    """(N,) log-probabilities, and the gradients of their weighted sum by states (N, H) and weights (V, H)."""
    states = states.clone().requires_grad_()
    weight = model.get_output_embeddings().weight
    values = run(model, states, target)
    return values.detach(), *torch.autograd.grad((values.float() * slope).sum(), (states, weight))


def _plainly(model: PreTrainedModel, states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    values = logits(model.get_output_embeddings(), states, soft_cap(model)).log_softmax(-1)  # (N, V)
    return values.gather(1, target[:, None]).squeeze(1)
