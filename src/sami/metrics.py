"""Metrics of training, as functions of tensors: what is logged beside a loss and teaches the model nothing.

Dimensions: Q examples, C constitutions (prompts of one example), M prompts of other queries, R responses, P pairs.
Every metric is a tensor (Q,) without a gradient. The average over examples is taken elsewhere.

Nothing that a loss needs stands here, so that a new metric puts no trained model out of date. The objectives check the
shapes, and call these functions with what they have computed already.
"""

import math

import torch


@torch.no_grad()
def contrast(scores: torch.Tensor, labels: torch.Tensor, cross_entropy: torch.Tensor) -> dict[str, torch.Tensor]:
    """Success of the contrast between constitutions and responses (arXiv 2404.14313, section 3).

    Args:
        scores: (Q, C, R) log-probabilities of response j under constitution i.
        labels: (Q, R) number of the constitution that response j was written for.
        cross_entropy: (Q,) mean of the row and the column cross-entropy, nats.

    Returns:
        bound: lower bound on I(Y; C | x), nats; at most (log C + log R) / 2, which is log C where C = R.
        row_accuracy: share of constitutions whose most likely response was written for them, of those with a response.
        column_accuracy: share of responses that are most likely under their constitution.
        own_log_probability, other_log_probability: see `own_and_other`.
    """
    chance = scores.new_tensor(scores.shape[1:]).log().mean()  # (log C + log R) / 2
    return {
        "bound": chance - cross_entropy,
        "row_accuracy": _row_accuracy(scores, labels),
        "column_accuracy": _column_accuracy(scores, labels),
        **own_and_other(scores, labels),
    }


@torch.no_grad()
def joint(scores: torch.Tensor, negatives: torch.Tensor, cross_entropy: torch.Tensor) -> dict[str, torch.Tensor]:
    """Success of the contrast between prompts of the own and of other queries.

    Args:
        scores: (Q, C, R) log-probabilities under the own prompts.
        negatives: (Q, M, R) log-probabilities under the prompts of other queries.
        cross_entropy: (Q,) of the columns over all C + M prompts, nats.

    Returns:
        joint_bound: lower bound on I(Y; X, C), nats; at most log(C + M).
        query_accuracy: share of responses whose most likely prompt has their own query; 1 where there is no other.
    """
    prompts = scores.shape[1] + negatives.shape[1]
    impossible = negatives.new_full((len(negatives), 1, negatives.shape[2]), -math.inf)  # so that M may be 0
    best_other = torch.cat([negatives, impossible], 1).amax(1)  # (Q, R)
    return {
        "joint_bound": math.log(prompts) - cross_entropy,
        "query_accuracy": (scores.amax(1) > best_other).to(scores).mean(1),  # a tie is no answer
    }


@torch.no_grad()
def own_and_other(scores: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean log-probability of responses under their own and under the other constitutions, nats.

    Args:
        scores: (Q, C, R) log-probabilities; C at least 2.
        labels: (Q, R) number of the constitution that response j was written for.

    Returns:
        own_log_probability: mean over the responses, each under the constitution that it was written for.
        other_log_probability: mean over all other entries of the matrix.
    """
    own = torch.nn.functional.one_hot(labels, scores.shape[1]).transpose(1, 2).to(scores)  # (Q, C, R), 0 or 1
    return {
        "own_log_probability": (scores * own).sum((1, 2)) / own.sum((1, 2)),
        "other_log_probability": (scores * (1 - own)).sum((1, 2)) / (1 - own).sum((1, 2)),
    }


@torch.no_grad()
def likelihood(log_probabilities: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """Likelihood of the responses that are trained on, and their weight.

    Args:
        log_probabilities: (Q, R), nats.
        weights: (Q, R), of either sign.

    Returns:
        log_probability: mean over the responses that have a weight other than 0, nats; 0 where none has.
        weight: mean over the same responses.
    """
    used = weights != 0  # (Q, R); an example with fewer responses than others of its pass is filled up with zeros
    count = used.sum(1).clamp(min=1)
    total = log_probabilities.masked_fill(~used, 0).sum(1)
    return {"log_probability": total / count, "weight": weights.to(log_probabilities).sum(1) / count}


@torch.no_grad()
def margins(
    chosen: torch.Tensor, rejected: torch.Tensor, chosen_ratio: torch.Tensor, rejected_ratio: torch.Tensor, beta: float
) -> dict[str, torch.Tensor]:
    """Margins and implicit rewards of preference pairs (arXiv 2305.18290, section 4), means over an example's pairs.

    Args:
        chosen, rejected: (Q, P) log-probabilities of a pair's two responses under the policy, nats.
        chosen_ratio, rejected_ratio: (Q, P) the same less those under the reference, nats.
        beta: scale of the rewards.

    Returns:
        margin: reward of the chosen response less that of the rejected, nats.
        accuracy: share of pairs with a margin above 0. A tie is no answer, so it counts as wrong, as in `row_accuracy`:
            before the first step, where policy and reference agree, the accuracy is 0, not 1/2.
        chosen_reward, rejected_reward: beta times the log-ratio of policy and reference, nats.
        chosen_log_probability, rejected_log_probability: under the policy, nats. Both may fall while the margin grows.
    """
    margin = beta * (chosen_ratio - rejected_ratio)  # (Q, P)
    return {
        "margin": margin.mean(1),
        "accuracy": (margin > 0).to(margin).mean(1),
        "chosen_reward": (beta * chosen_ratio).mean(1),
        "rejected_reward": (beta * rejected_ratio).mean(1),
        "chosen_log_probability": chosen.mean(1),
        "rejected_log_probability": rejected.mean(1),
    }


def _row_accuracy(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    own = labels[:, None, :] == torch.arange(scores.shape[1], device=scores.device)[None, :, None]  # (Q, C, R)
    correct = _is_only_maximum(scores, 2).logical_and(own).any(2)  # (Q, C)
    has_response = own.any(2)
    return correct.sum(1) / has_response.sum(1)


def _column_accuracy(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return _is_only_maximum(scores, 1).gather(1, labels[:, None, :]).squeeze(1).float().mean(1)


def _is_only_maximum(scores: torch.Tensor, dim: int) -> torch.Tensor:
    """(Q, C, R) bool: entries above all others along `dim`. A tie is no answer, so it counts as wrong."""
    maximum = scores == scores.amax(dim, keepdim=True)
    return maximum & (maximum.sum(dim, keepdim=True) == 1)
