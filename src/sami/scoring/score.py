"""Log-probabilities of the response tokens of a layout under a model."""

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from sami.scoring.layouts import Layout

CHUNK = 1024  # positions whose logits are held at once: 192 MiB in float32 with a vocabulary of 49,152


def hidden_states(model: PreTrainedModel, layout: Layout) -> torch.Tensor:
    """(N, H) last hidden states at the positions that predict a response token."""
    device = model.device
    states = model.base_model(
        input_ids=layout.input_ids.to(device),
        attention_mask=layout.attention_mask.to(device),
        position_ids=layout.position_ids.to(device),
        use_cache=False,
    ).last_hidden_state
    return states[layout.row.to(device), layout.column.to(device)]


def logits(model: PreTrainedModel, states: torch.Tensor) -> torch.Tensor:
    """(N, V) logits of the next token, in float32 or better, of hidden states (N, H)."""
    values = model.get_output_embeddings()(states)
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    cap = getattr(model.config, "final_logit_softcapping", None)
    return values if cap is None else torch.tanh(values / cap) * cap


def token_log_probabilities(model: PreTrainedModel, states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(N,) log-probability, in nats, of each response token.

    Logits are held for `CHUNK` positions at a time; where there is more than one chunk, the backward pass computes
    them again.
    """

    def chunk(part: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return -torch.nn.functional.cross_entropy(logits(model, part), ids, reduction="none")

    target = target.to(states.device)
    if len(states) <= CHUNK:
        return chunk(states, target)
    parts = zip(states.split(CHUNK), target.split(CHUNK), strict=True)
    return torch.cat([checkpoint(chunk, part, ids, use_reentrant=False) for part, ids in parts])


def matrix(model: PreTrainedModel, layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum and mean log-probability of every response under every constitution, each (Q, C, R), in nats."""
    states = hidden_states(model, layout)
    return layout.reduce(token_log_probabilities(model, states, layout.target))
