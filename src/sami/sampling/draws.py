"""Draws of tokens: a random stream for each response, and the token at which a uniform number stands."""

from hashlib import sha256

import numpy as np
import torch

from sami.settings.sampling import Sampling


def uniforms(keys: list[str], steps: int) -> torch.Tensor:
    """(B, steps) uniform numbers; row b is the stream named by keys[b]."""
    rows = (np.random.default_rng(list(sha256(key.encode()).digest())).random(steps) for key in keys)
    return torch.tensor(np.stack(list(rows)), dtype=torch.float32).clamp_(max=1 - 2**-24)


def draw(scores: torch.Tensor, points: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """(B,) next tokens, by inverting the cumulative distribution of each row at a uniform number.

    Args:
        scores: (B, V) logits.
        points: (B,) numbers in [0, 1), which temperature 0 does not read.
        sampling: temperature, and `top_p`: the mass of the most likely tokens that are kept.
    """
    if sampling.temperature == 0:
        return scores.argmax(-1)
    probabilities = torch.softmax(scores.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ordered, _ = probabilities.sort(dim=-1, descending=True)
        above = ordered.cumsum(-1) - ordered < sampling.top_p  # the token that crosses the limit is kept
        threshold = torch.where(above, ordered, torch.inf).amin(-1, keepdim=True)
        probabilities = torch.where(probabilities >= threshold, probabilities, 0)
    cumulative = probabilities.cumsum(-1)
    point = points[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, point, right=True).clamp_(max=scores.shape[-1] - 1)[:, 0]
