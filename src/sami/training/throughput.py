"""How much of the machine a run uses: arithmetic done, over what the machine was measured to do."""

import resource
import sys
import time

import torch
from transformers import PreTrainedConfig

from sami.distributed.sharding import decoder_layers
from sami.scoring.layout import Layout
from sami.scoring.scorer import Scorer


class Arithmetic:
    """Counts the floating-point operations of a scorer's training passes.

    6 for each parameter of the decoder layers and encoded token, and 6 for each parameter of the head and predicted
    token: one multiplication and one addition in the forward pass, as many in the backward pass for the gradient by
    what comes in, and as many for that by the parameter (arXiv 2001.08361, section 2.1). A frozen parameter, as those
    beside adapters, has no gradient: 4. Attention scores, and what is computed twice to save memory, do not count.
    Experts count as far as a token passes through them.
    """

    def __init__(self, scorer: Scorer):
        model = scorer.model
        head = model.get_output_embeddings().weight
        self.head = _operations(head) * head.numel()  # of a predicted token
        self.body = sum(  # of an encoded one
            _operations(parameter) * _active(name, parameter, model.config)
            for layer in decoder_layers(model)
            for name, parameter in layer.named_parameters()
        )

    def of(self, layout: Layout) -> float:
        """Operations of a forward and backward pass over a layout."""
        return self.body * layout.tokens + self.head * len(layout.target)

    def of_body(self, tokens: int) -> float:
        """The same where so many tokens are encoded, and none is predicted."""
        return self.body * tokens


def _operations(parameter: torch.Tensor) -> float:
    """Of each of its numbers, for a token."""
    return 6.0 if parameter.requires_grad else 4.0


def _active(name: str, parameter: torch.Tensor, config: PreTrainedConfig) -> float:
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    chosen = getattr(config, "num_experts_per_tok", None)
    return parameter.numel() * (chosen / experts if experts and chosen and ".experts." in f".{name}" else 1.0)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product on this device, the best of a few."""
    size = 8192 if device.type == "cuda" else 512  # some processors take seconds for 1024 in bfloat16
    one, other = (torch.randn(size, size, device=device, dtype=torch.float32).to(dtype) for _ in range(2))
    times: list[float] = []
    while sum(times) < 0.3:
        _wait(device)
        started = time.perf_counter()
        one @ other
        _wait(device)
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times)


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of the GPU, or of this process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
