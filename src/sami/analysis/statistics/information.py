"""Mutual information of constitutions and responses, as a matrix of log-probabilities bounds it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax


@dataclass(frozen=True)
class Information:
    """Losses, bound and accuracies of one (C, R) matrix of constitutions and responses, in nats.

    `bound` is InfoNCE's lower bound (van den Oord et al. 2018, arXiv 1807.03748), `max_bound` what it can reach.
    """

    row_loss: float
    column_loss: float
    loss: float
    bound: float
    max_bound: float
    row_accuracy: float
    column_accuracy: float


def information(mean: Sequence[Sequence[float]] | np.ndarray, labels: Sequence[int]) -> Information:
    """Losses, bound and accuracies of one matrix (arXiv 2404.14313, section 3, for any C and R).

    The row loss asks which response belongs to a constitution: the mean over responses j of -log softmax over the
    responses of row labels[j], taken at column j. The column loss asks which constitution belongs to a response: the
    mean over j of -log softmax over the constitutions of column j, taken at row labels[j]. With R = C and labels
    0..C-1 these are the two cross-entropies of the paper. The bound is (log C + log R) / 2 - loss, for R = C that is
    log C - loss; it cannot exceed log C where each constitution has equally many responses.

    A row is accurate where its only maximum is at a response written for it, a column where its only maximum is at its
    label: a tie is no answer, so it counts as wrong. `sami.objectives` computes the same from tensors during training.

    Args:
        mean: (C, R) mean log-probability per token of response j under constitution i, in nats.
        labels: (R,) number of the constitution that each response was written for.

    Returns:
        The figures of this matrix; row accuracy is over the rows that have responses.

    Raises:
        ValueError: shapes do not fit, a label is not a row, or an entry is not finite.
    """
    scores = np.asarray(mean, dtype=np.float64)  # (C, R)
    labels = np.asarray(labels)  # (R,)
    if scores.ndim != 2 or 0 in scores.shape or labels.shape != scores.shape[1:]:
        raise ValueError(f"expected a (C, R) matrix and (R,) labels, found shapes {scores.shape} and {labels.shape}")
    if not np.isin(labels, range(scores.shape[0])).all():
        raise ValueError(f"labels {labels.tolist()} are not all rows of a matrix of shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"a matrix of shape {scores.shape} has entries that are not finite: {scores.tolist()}")
    constitutions, responses = scores.shape
    columns = np.arange(responses)
    row_loss = -log_softmax(scores, axis=1)[labels, columns].mean()
    column_loss = -log_softmax(scores, axis=0)[labels, columns].mean()
    loss = (row_loss + column_loss) / 2
    own = labels[None, :] == np.arange(constitutions)[:, None]  # (C, R)
    row_right = (_only_maximum(scores, axis=1) & own).any(axis=1)[np.unique(labels)]
    column_right = _only_maximum(scores, axis=0)[labels, columns]
    return Information(
        row_loss=float(row_loss),
        column_loss=float(column_loss),
        loss=float(loss),
        bound=float((math.log(constitutions) + math.log(responses)) / 2 - loss),
        max_bound=math.log(constitutions),
        row_accuracy=float(row_right.mean()),
        column_accuracy=float(column_right.mean()),
    )


def _only_maximum(scores: np.ndarray, axis: int) -> np.ndarray:
    """(C, R) bool: entries above all others along an axis."""
    maximum = scores == scores.max(axis=axis, keepdims=True)
    return maximum & (maximum.sum(axis=axis, keepdims=True) == 1)
