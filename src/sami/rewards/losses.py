"""Losses of reward models, as functions of their scores: which of two texts scores higher, or which values a text has.

Dimensions: P pairs, N texts, A outputs of the head.
"""

import torch
from torch.nn.functional import logsigmoid


def pairwise_logistic(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Mean of minus log sigmoid of the differences of scores: the cross-entropy of a Bradley-Terry model of pairs.

    Where all scores are equal it is log 2. It says nothing of a common level of scores.

    Args:
        chosen, rejected: (P,) scores of the text that is to score higher, and of the other.

    Raises:
        ValueError: the shapes are not the same (P,) with P >= 1.
    """
    if chosen.ndim != 1 or chosen.shape != rejected.shape or len(chosen) < 1:
        raise ValueError(
            f"expected scores of one shape (P,) with P >= 1, found {tuple(chosen.shape)} and {tuple(rejected.shape)}"
        )
    return -logsigmoid(chosen - rejected).mean()


def masked_squared_error(predicted: torch.Tensor, wanted: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean squared error over the values that are known, each counted once; 0 where none is.

    Args:
        predicted: (N, A) scores.
        wanted: (N, A) values; those that are not known may be anything, also not a number.
        known: (N, A) truth values.

    Raises:
        ValueError: the shapes are not the same (N, A).
    """
    if predicted.ndim != 2 or not predicted.shape == wanted.shape == known.shape:
        raise ValueError(
            f"expected predicted, wanted and known of one shape (N, A), found {tuple(predicted.shape)}, "
            f"{tuple(wanted.shape)} and {tuple(known.shape)}"
        )
    error = predicted - wanted.masked_fill(~known, 0)  # before the square: 0 times not-a-number is not-a-number
    return (error.square() * known).sum() / known.sum().clamp(min=1)
