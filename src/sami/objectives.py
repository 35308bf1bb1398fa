"""Objectives of training, as functions of tensors; SAMI's is a lower bound on the information I(Y; C | x).

For one query x, s[i, j] is the log-probability of response y_j under constitution c_i (arXiv 2404.14313, section 3).
Two cross-entropies pull every response towards the constitution it was written for: along rows, "which response was
written for this constitution?", and along columns, "for which constitution was this response written?". Each is an
InfoNCE estimate, so log(number of candidates) minus the cross-entropy is a lower bound on the information, in nats.

Beside it stand its halves, and supervised fine-tuning on the same responses, which tells what the contrast is worth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Objective:
    """One value for each of Q queries, every tensor of shape (Q,).

    loss: what training lowers, nats.
    bound: lower bound on I(Y; C | x), nats; at most (log C + log R) / 2, which is log C where C = R.
    row_accuracy: share of constitutions whose most likely response was written for them.
    column_accuracy: share of responses that are most likely under their constitution.
    """

    loss: torch.Tensor
    bound: torch.Tensor
    row_accuracy: torch.Tensor
    column_accuracy: torch.Tensor


def sami(scores: torch.Tensor, labels: torch.Tensor) -> Objective:
    """The paper's objective: the mean of the row and the column cross-entropy.

    With one response for each constitution (labels 0 ... C-1) this is the loss of the paper: the cross-entropies of a
    square matrix with its diagonal as targets, along both axes. With several responses for a constitution, its row
    averages over them; a constitution without a response has no row term.

    Args:
        scores: (Q, C, R) log-probabilities s[q, i, j], in the paper the mean over response tokens.
        labels: (Q, R) number of the constitution that response j was written for.

    Raises:
        ValueError: the shapes do not fit, or C or R is below 2, so that there is nothing to contrast.
    """
    if scores.ndim != 3 or labels.shape != (scores.shape[0], scores.shape[2]) or min(scores.shape[1:]) < 2:
        raise ValueError(
            f"expected scores (Q, C, R) with C, R >= 2 and labels (Q, R), found {tuple(scores.shape)} and "
            f"{tuple(labels.shape)}"
        )
    _, constitutions, responses = scores.shape
    loss = (_cross_entropy(scores, labels, dim=2) + _cross_entropy(scores, labels, dim=1)) / 2
    chance = scores.new_tensor([constitutions, responses]).log().mean()
    return Objective(loss, chance - loss, _row_accuracy(scores, labels), _column_accuracy(scores, labels))


def sami_rows(scores: torch.Tensor, labels: torch.Tensor) -> Objective:
    """The row cross-entropy alone: which response was written for this constitution? Else like `sami`."""
    return replace(sami(scores, labels), loss=_cross_entropy(scores, labels, dim=2))


def sami_columns(scores: torch.Tensor, labels: torch.Tensor) -> Objective:
    """The column cross-entropy alone: for which constitution was this response written? Else like `sami`."""
    return replace(sami(scores, labels), loss=_cross_entropy(scores, labels, dim=1))


def supervised(scores: torch.Tensor, labels: torch.Tensor) -> Objective:
    """Supervised fine-tuning on the policy's own responses (self-training, arXiv 1909.13788): no contrast, the control.

    The loss is the mean negative log-probability, under the first constitution (which wants every principle), of the
    responses written for it; a query without one has loss 0. Else like `sami`.
    """
    positive = labels == 0  # (Q, R)
    total = scores[:, 0].masked_fill(~positive, 0).sum(1)
    return replace(sami(scores, labels), loss=-total / positive.sum(1).clamp(min=1))


OBJECTIVES: dict[str, Callable[[torch.Tensor, torch.Tensor], Objective]] = {
    "sami": sami,
    "sami-rows": sami_rows,
    "sami-columns": sami_columns,
    "supervised": supervised,
}


def loss_of_a_guess(objective: str, constitutions: int, responses: int, vocabulary: int) -> float:
    """Loss of means in nats where every constitution, response or, without a contrast, token is equally likely."""
    row, column = math.log(responses), math.log(constitutions)
    guesses = {
        "sami": (row + column) / 2,
        "sami-rows": row,
        "sami-columns": column,
        "supervised": math.log(vocabulary),
    }
    return guesses[objective]


def _cross_entropy(scores: torch.Tensor, labels: torch.Tensor, dim: int) -> torch.Tensor:
    """(Q,) cross-entropy along an axis of the matrix, averaged over the responses' own entries."""
    return -scores.log_softmax(dim).gather(1, labels[:, None, :]).squeeze(1).mean(1)


def _row_accuracy(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    own = labels[:, None, :] == torch.arange(scores.shape[1], device=scores.device)[None, :, None]  # (Q, C, R)
    correct = _is_only_maximum(scores, 2).logical_and(own).any(2)
    has_response = own.any(2)
    return correct.sum(1) / has_response.sum(1)


def _column_accuracy(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return _is_only_maximum(scores, 1).gather(1, labels[:, None, :]).squeeze(1).float().mean(1)


def _is_only_maximum(scores: torch.Tensor, dim: int) -> torch.Tensor:
    """(Q, C, R) bool: entries above all others along `dim`. A tie is no answer, so it counts as wrong."""
    maximum = scores == scores.amax(dim, keepdim=True)
    return maximum & (maximum.sum(dim, keepdim=True) == 1)


def kl_divergence(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """KL(policy, reference) in nats at each of N positions.

    Args:
        policy: (N, V) log-probabilities of the next token.
        reference: (N, V) likewise.
    """
    return (policy.exp() * (policy - reference)).sum(-1)
