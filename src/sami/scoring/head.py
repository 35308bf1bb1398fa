"""From hidden states to log-probabilities of tokens, never holding more than a stated memory of logits.

Dimensions: N predicted tokens, H hidden size, V vocabulary, K tokens of a chunk.
"""

import importlib.util
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from sami.models.engine_limits import LOGIT_BYTES


def token_log_probabilities(model: PreTrainedModel, states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(N,) log-probability, in nats, of each target token.

    At most `LOGIT_BYTES` of logits exist at a time: where there are more, they are computed in chunks, and again in the
    backward pass. On CUDA, cut-cross-entropy (arXiv 2411.09009) never writes them out, where it is installed. (Kernels
    that compute the gradient in the forward pass do not serve: here a token's weight is known when the whole matrix
    is.)

    Args:
        model: whose vocabulary head is applied.
        states: (N, H) last hidden states.
        target: (N,) token ids.
    """
    head, cap = model.get_output_embeddings(), soft_cap(model)
    if type(head) is not nn.Linear:  # an adapter on the head, for example

        def chunk(states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return -nn.functional.cross_entropy(logits(head, states, cap), target, reduction="none")

        parts = zip(*(t.split(chunk_size(head.weight)) for t in (states, target)), strict=True)
        return torch.cat([checkpoint(chunk, *part, use_reentrant=False) for part in parts])
    fused = states.is_cuda and states.dtype.itemsize == 2 and head.bias is None
    if fused and importlib.util.find_spec("cut_cross_entropy"):
        from cut_cross_entropy import linear_cross_entropy

        # No filter: it would leave small gradients out.
        options = {"softcap": cap, "reduction": "none", "filter_eps": None}
        return -linear_cross_entropy(states, head.weight, target, **options)
    return _Chosen.apply(states, head.weight, head.bias, target, cap)


def logits(head: nn.Module, states: torch.Tensor, cap: float | None) -> torch.Tensor:
    """(N, V) logits of the next token, in float32 or better, of hidden states (N, H)."""
    values = _wide(head(states))
    return values if cap is None else torch.tanh(values / cap) * cap


def soft_cap(model: PreTrainedModel) -> float | None:
    """The bound that some models put on their logits."""
    return getattr(model.config, "final_logit_softcapping", None)


def chunk_size(weight: torch.Tensor) -> int:
    """Positions whose logits are held at once, for a head with `weight` (V, H)."""
    return max(1, LOGIT_BYTES // (4 * weight.shape[0]))


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


class _Chosen(torch.autograd.Function):
    """log softmax(states @ weight.T + bias)[target] of states (N, H) and weight (V, H), a chunk of logits at a time.

    Of a token with logits z and target y: value z_y - log sum exp(z); derivative by z: one-hot(y) - softmax(z).
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        target: torch.Tensor,
        cap: float | None,
    ) -> torch.Tensor:
        chosen, normaliser = [], []
        ctx.kept = None
        for part, ids in zip(*(t.split(chunk_size(weight)) for t in (states, target)), strict=True):
            values, _ = _capped(part, weight, bias, cap)  # (K, V)
            normaliser.append(values.logsumexp(1))  # (K,)
            chosen.append(values.gather(1, ids[:, None]).squeeze(1) - normaliser[-1])
            if len(part) == len(states) and cap is None:
                ctx.kept = values  # the only chunk, so the backward pass need not compute it again
        ctx.save_for_backward(states, weight, bias, target, torch.cat(normaliser))
        ctx.cap = cap
        return torch.cat(chosen)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, weight, bias, target, normaliser = ctx.saved_tensors
        by_states = torch.empty_like(states)
        by_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        by_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        starts = range(0, len(states), chunk_size(weight))
        for chunk in (slice(start, start + chunk_size(weight)) for start in starts):
            if ctx.kept is None:
                values, slope = _capped(states[chunk], weight, bias, ctx.cap)
            else:  # for once, since its memory is used below
                values, slope, ctx.kept = ctx.kept, None, None
            # The gradient by the logits (K, V), in their own memory: exp(z - log sum exp(z)) is the softmax; with 1 off
            # at the target it is the derivative's negative, hence the sign of `gradient`.
            values.sub_(normaliser[chunk, None]).exp_()
            values.scatter_add_(1, target[chunk, None], values.new_full((len(values), 1), -1.0))
            values.mul_(-gradient[chunk, None])
            if slope is not None:
                values.mul_(slope)  # chain rule through the cap
            narrow = values.to(states.dtype)  # as a backward pass through a linear layer has it
            torch.mm(narrow, weight, out=by_states[chunk])
            if by_weight is not None:
                by_weight.addmm_(narrow.t(), states[chunk])
            if by_bias is not None:
                by_bias.add_(narrow.sum(0))
        return by_states, by_weight, by_bias, None, None


def _capped(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, cap: float | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits, and where they are soft-capped the derivative of the cap."""
    values = _wide(nn.functional.linear(states, weight, bias))
    if cap is None:
        return values, None
    squashed = torch.tanh(values / cap)
    return squashed * cap, 1 - squashed**2
