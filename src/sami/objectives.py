"""Objectives of training, as functions of tensors: the loss of each example, and metrics to log beside it.

Three kinds, by what an example holds:

- a contrast of prompts and responses: `sami`, a lower bound on the information I(Y; C | x), its two halves, and
  `sami_joint`, whose columns also contrast queries, for the information I(Y; X, C);
- responses with weights: `likelihood`, that is supervised fine-tuning, its filtered and its signed forms;
- pairs of a chosen and a rejected response: `preference`, that is DPO with label smoothing, and IPO.

Behind each stands the loss of a guess, where every constitution, response or token is equally likely. The metrics are
`sami.metrics`'; no loss needs them.

Dimensions: Q examples, C constitutions (prompts of one example), M prompts of other queries, R responses, P pairs, N
positions, V vocabulary.

Left out on purpose:

1. Log-probabilities themselves, their mean or sum over tokens, and the average over examples. They come in and go out
   as tensors, so that an objective can be checked by hand.
2. Policy gradients (PPO, REINFORCE) and losses with a value network, such as the offline ones of ReST: they sample
   while they train or train a second model, whereas every method here trains on a file of examples.
3. Preference losses without a reference. With zeros as the reference `preference` is one already, and `sami_rows` of
   two prompts and two responses is that one, with beta 1.
4. Hinge and other forms of the pairwise loss, until a method needs them.
5. A likelihood term beside the preference loss: one objective a run, so that a result can be ascribed to it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn.functional import logsigmoid

from sami import metrics


class Outcome(NamedTuple):
    """Loss and metrics of Q examples.

    loss: (Q,) what training lowers; nats, for IPO nats squared.
    metrics: name -> (Q,), detached from the graph; only logged.
    """

    loss: torch.Tensor
    metrics: dict[str, torch.Tensor]


def sami(scores: torch.Tensor, labels: torch.Tensor) -> Outcome:
    """SAMI's objective: the mean of the row and the column cross-entropy (arXiv 2404.14313, section 3).

    For one query x, scores[i, j] is the log-probability of response y_j under constitution c_i. Two cross-entropies
    pull every response towards the constitution it was written for: along rows, "which response was written for this
    constitution?", and along columns, "for which constitution was this response written?". Each is an InfoNCE
    estimate, so log(number of candidates) minus the cross-entropy is a lower bound on the information I(Y; C | x).

    With one response for each constitution (labels 0 ... C-1) this is the loss of the paper: the cross-entropies of a
    square matrix with its diagonal as targets, along both axes. With several responses for a constitution, its row
    averages over them; a constitution without a response has no row term.

    Args:
        scores: (Q, C, R) log-probabilities, nats; in the paper the mean over response tokens.
        labels: (Q, R) number of the constitution that response j was written for.

    Returns:
        The loss, and the metrics of `sami.metrics.contrast`.

    Raises:
        ValueError: the shapes do not fit, or C or R is below 2, so that there is nothing to contrast.
    """
    rows, columns = _cross_entropies(scores, labels)
    loss = (rows + columns) / 2
    return Outcome(loss, metrics.contrast(scores, labels, loss))


def sami_guess(constitutions: int, responses: int) -> float:
    """Loss of `sami` where all log-probabilities are equal, nats."""
    return (sami_rows_guess(constitutions, responses) + sami_columns_guess(constitutions, responses)) / 2


def sami_rows(scores: torch.Tensor, labels: torch.Tensor) -> Outcome:
    """The row cross-entropy alone: which response was written for this constitution? Else like `sami`."""
    rows, columns = _cross_entropies(scores, labels)
    return Outcome(rows, metrics.contrast(scores, labels, (rows + columns) / 2))


def sami_rows_guess(constitutions: int, responses: int) -> float:
    """Loss of `sami_rows` where all log-probabilities are equal, nats."""
    return math.log(responses)


def sami_columns(scores: torch.Tensor, labels: torch.Tensor) -> Outcome:
    """The column cross-entropy alone: for which constitution was this response written? Else like `sami`."""
    rows, columns = _cross_entropies(scores, labels)
    return Outcome(columns, metrics.contrast(scores, labels, (rows + columns) / 2))


def sami_columns_guess(constitutions: int, responses: int) -> float:
    """Loss of `sami_columns` where all log-probabilities are equal, nats."""
    return math.log(constitutions)


def sami_joint(scores: torch.Tensor, negatives: torch.Tensor, labels: torch.Tensor) -> Outcome:
    """SAMI's rows, and columns that run over the prompts of other queries, too: a contrast of queries as well.

    `sami` bounds I(Y; C | X), so it gains nothing from a response that belongs to its query. This one bounds what a
    response tells about query and constitution together, which is more by what it tells about the query:

        I(Y; X, C) = I(Y; X) + I(Y; C | X)    (chain rule)

    The column term asks "for which prompt was this response written?" of all K = C + M prompts: the example's own, and
    those of N other queries under the same constitutions, M = N C. It is InfoNCE (arXiv 1807.03748, section 2.3) with
    the prompt z = (x, c) as one variable. Let S be the set of the K prompts. Its queries are drawn alike, and responses
    written under each constitution alike, so given S a response's own prompt is each of the K with probability 1/K. For
    any scores s, then,

        E[-log softmax over S of s(z, y)] >= H(Z | Y, S) = log K - I(Y; Z | S)    (a posterior's cross-entropy)
        I(Y; Z | S) = H(Y | S) - H(Y | Z) <= H(Y) - H(Y | Z) = I(Y; X, C)         (Y depends on S through Z alone)

    so log K less the column cross-entropy is a lower bound on I(Y; X, C), of log K at most. The row term is that of
    `sami`, over the C own prompts, since no response was written for the others.

    With logsumexp over the C prompts of a query as the score of the query, the column term is a sum, as the chain rule
    is: the column term of `sami`, and the cross-entropy of the response's query among the N + 1. So this loss is that
    of `sami` and half the latter; without other queries it is the loss of `sami`.

    Args:
        scores: (Q, C, R) log-probabilities under the own prompts, as for `sami`.
        negatives: (Q, M, R) log-probabilities of the same responses under the prompts of other queries, in any order;
            M may be 0.
        labels: (Q, R) number of the constitution that response j was written for.

    Returns:
        The loss, and the metrics of `sami.metrics.contrast`, of the own prompts alone, and `sami.metrics.joint`.

    Raises:
        ValueError: as for `sami`, or the negatives are not those of the same examples and responses.
    """
    rows, own_columns = _cross_entropies(scores, labels)
    if negatives.ndim != 3 or (negatives.shape[0], negatives.shape[2]) != (scores.shape[0], scores.shape[2]):
        raise ValueError(
            f"expected negatives (Q, M, R) with the Q and R of the scores {tuple(scores.shape)}, found "
            f"{tuple(negatives.shape)}"
        )
    columns = _cross_entropy(torch.cat([scores, negatives], 1), labels, dim=1)  # (Q, C + M, R): the own come first
    found = metrics.contrast(scores, labels, (rows + own_columns) / 2) | metrics.joint(scores, negatives, columns)
    return Outcome((rows + columns) / 2, found)


def sami_joint_guess(constitutions: int, responses: int, negatives: int) -> float:
    """Loss of `sami_joint` where all log-probabilities are equal, nats."""
    return (math.log(responses) + math.log(constitutions + negatives)) / 2


def _cross_entropies(scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(Q,) cross-entropies along rows and along columns."""
    if scores.ndim != 3 or labels.shape != (scores.shape[0], scores.shape[2]) or min(scores.shape[1:]) < 2:
        raise ValueError(
            f"expected scores (Q, C, R) with C, R >= 2 and labels (Q, R), found {tuple(scores.shape)} and "
            f"{tuple(labels.shape)}"
        )
    return _cross_entropy(scores, labels, dim=2), _cross_entropy(scores, labels, dim=1)


def _cross_entropy(scores: torch.Tensor, labels: torch.Tensor, dim: int) -> torch.Tensor:
    """(Q,) cross-entropy along an axis of the matrix, averaged over the responses' own entries."""
    # (Q, C, R) -> the entry of each response under its own constitution (Q, 1, R) -> (Q,)
    return -scores.log_softmax(dim).gather(1, labels[:, None, :]).squeeze(1).mean(1)


def likelihood(log_probabilities: torch.Tensor, weights: torch.Tensor) -> Outcome:
    """Weighted negative log-likelihood: -sum of weight * log-probability, over the number of weights other than 0.

    - Weights 1: supervised fine-tuning, on demonstrations (arXiv 2305.11206) or on the policy's own responses
      (self-training, arXiv 1909.13788).
    - Weights 0 and 1: filtered behavioural cloning, 1[reward > threshold] (ReST, arXiv 2308.08998, Eq. 2).
    - Signed weights: w - b of SteerLM 2.0 (arXiv 2406.08673, Eqs. 6-11), target less current probability of a response
      among those of its prompt. A weight below 0 makes its response less likely.

    The divisor is the number of weighted responses, not the sum of |weights|, so that half the weights are half the
    gradient: SteerLM's w - b vanishes as the policy reaches its target, and so must the step. Over the sum of |w - b|
    the step would keep its size, and in the end follow noise. With weights 0 and 1 the two divisors are the same. An
    example whose weights are all 0 has loss 0.

    Args:
        log_probabilities: (Q, R), nats: for all examples the mean over a response's tokens, or the sum.
        weights: (Q, R), signed and finite. They are constants: no gradient goes through them.

    Returns:
        The loss, and the metrics of `sami.metrics.likelihood`.

    Raises:
        ValueError: the shapes are not the same (Q, R), or there are no responses.
    """
    if log_probabilities.ndim != 2 or log_probabilities.shape != weights.shape or log_probabilities.shape[1] < 1:
        raise ValueError(
            f"expected log-probabilities and weights of one shape (Q, R) with R >= 1, found "
            f"{tuple(log_probabilities.shape)} and {tuple(weights.shape)}"
        )
    weights = weights.detach()
    unused = weights == 0  # (Q, R); filled, since 0 times the -inf of an impossible response is no number
    total = (weights * log_probabilities).masked_fill(unused, 0).sum(1)
    loss = -total / (~unused).sum(1).clamp(min=1)
    return Outcome(loss, metrics.likelihood(log_probabilities, weights))


def likelihood_guess(vocabulary: int) -> float:
    """Loss of `likelihood` with weights 1 and means over tokens, where every token is equally likely, nats."""
    return math.log(vocabulary)


def _sigmoid(difference: torch.Tensor, beta: float) -> torch.Tensor:
    # DPO, arXiv 2305.18290, Eq. 7. Not the log of a sigmoid, which is -inf from a difference of about -100 / beta.
    return -logsigmoid(beta * difference)


def _ipo(difference: torch.Tensor, beta: float) -> torch.Tensor:
    # IPO, arXiv 2310.12036, Eq. 17: a gap of 1 / (2 beta) and no more. Where all labels agree, DPO's wish for a larger
    # gap never ends, whatever beta is.
    return (difference - 1 / (2 * beta)) ** 2


PAIRWISE: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {"sigmoid": _sigmoid, "ipo": _ipo}


def preference(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    beta: float,
    label_smoothing: float = 0.0,
    form: str = "sigmoid",
) -> Outcome:
    """Direct preference optimisation: a pairwise loss of log-ratios to a frozen reference, the mean over P pairs.

    Args:
        chosen, rejected: (Q, P) log-probabilities of a pair's two responses under the policy, nats; in the papers sums
            over tokens.
        reference_chosen, reference_rejected: (Q, P) the same under the reference. With zeros there is no reference.
        beta: strength of the pull towards the reference, above 0.
        label_smoothing: eps, the probability in [0, 0.5) that a label is wrong (conservative DPO). The loss is its
            expectation over such flips, in either form.
        form: "sigmoid" (DPO, arXiv 2305.18290) or "ipo" (arXiv 2310.12036), whose loss is in nats squared.

    Returns:
        The loss, and the metrics of `sami.metrics.margins`.

    Raises:
        ValueError: the shapes are not the same (Q, P), there are no pairs, or one of the last three is not as above.
    """
    _check_preference(beta, label_smoothing, form)
    shapes = [tuple(tensor.shape) for tensor in (chosen, rejected, reference_chosen, reference_rejected)]
    if len(set(shapes)) > 1 or chosen.ndim != 2 or chosen.shape[1] < 1:
        raise ValueError(
            "expected chosen, rejected, reference_chosen and reference_rejected of one shape (Q, P) with P >= 1, found "
            f"{', '.join(map(str, shapes))}"
        )
    # Policy less reference first: where they agree, as before the first step, the difference is 0 to the last bit.
    chosen_ratio, rejected_ratio = chosen - reference_chosen, rejected - reference_rejected
    difference = chosen_ratio - rejected_ratio  # (Q, P), h of the IPO paper; beta times it is the margin
    pairwise = PAIRWISE[form]
    # (1 - eps) L(+) + eps L(-): conservative DPO (https://ericmitchell.ai/cdpo.pdf, Eq. 3).
    loss = (1 - label_smoothing) * pairwise(difference, beta) + label_smoothing * pairwise(-difference, beta)
    return Outcome(loss.mean(1), metrics.margins(chosen, rejected, chosen_ratio, rejected_ratio, beta))


def preference_guess(beta: float, form: str = "sigmoid") -> float:
    """Loss of `preference` without a preference, as before the first step: log 2, for IPO (1 / (2 beta))^2.

    Label smoothing changes nothing there.
    """
    _check_preference(beta, 0.0, form)
    return PAIRWISE[form](torch.zeros((), dtype=torch.float64), beta).item()


def _check_preference(beta: float, label_smoothing: float, form: str) -> None:
    if not 0 < beta < math.inf:
        raise ValueError(f"expected a finite beta above 0, found {beta}")
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"expected label_smoothing in [0, 0.5), found {label_smoothing}")
    if form not in PAIRWISE:
        raise ValueError(f"expected a form among {', '.join(PAIRWISE)}, found {form!r}")


def kl_divergence(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """KL(policy, reference) at each of N positions.

    Args:
        policy: (N, V) log-probabilities of the next token.
        reference: (N, V) likewise.

    Returns:
        (N,) nats.

    Raises:
        ValueError: the shapes are not the same (N, V).
    """
    if policy.ndim != 2 or policy.shape != reference.shape:
        raise ValueError(
            f"expected policy and reference of one shape (N, V), found {tuple(policy.shape)} and "
            f"{tuple(reference.shape)}"
        )
    return (policy.exp() * (policy - reference)).sum(-1)
