"""Relevance of a response: how well its log-probabilities under several queries tell which one it answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax


@dataclass(frozen=True)
class Relevance:
    """What the log-probabilities of one response under K + 1 queries say of it; in nats but for `identified`.

    identified: whether its own query is the likeliest, and none other is as likely.
    margin: by how much its own query is likelier than the best other, per token; 0 for an empty response.
    bound: its part of the lower bound on the mutual information of queries and responses.
    max_bound: log(K + 1), which no mean of `bound` exceeds.
    log_probability: mean over its tokens under its own query; NaN for an empty response, which has none.
    """

    identified: bool
    margin: float
    bound: float
    max_bound: float
    log_probability: float


def relevance(sums: Sequence[float], tokens: int) -> Relevance:
    """Identification, margin, bound and log-probability of one response.

    With s[k] the log-probability of the response under query k, the own one being k = 0, the bound is the mean over
    responses of log softmax(s)[0] + log(K + 1): InfoNCE (van den Oord et al. 2018, arXiv 1807.03748, equation 5) with
    the scorer's log-likelihood as critic. It takes sums over tokens, since softmax(s) is then the posterior over
    queries that were equally likely before. The margin is per token, as losses are.

    Args:
        sums: (K + 1) log-probabilities of the whole response, in nats, its own query first.
        tokens: number of its tokens.

    Raises:
        ValueError: there is no other query, an entry is not finite, or the number of tokens is negative.
    """
    scores = np.asarray(sums, dtype=np.float64)  # (K + 1)
    if scores.ndim != 1 or len(scores) < 2 or tokens < 0:
        raise ValueError(f"expected (K + 1) sums, K at least 1, of 0 or more tokens; found {scores.shape}, {tokens}")
    if not np.isfinite(scores).all():
        raise ValueError(f"found sums that are not finite: {scores.tolist()}")
    lead = float(scores[0] - scores[1:].max())
    return Relevance(
        identified=lead > 0,  # a tie is no answer, so it counts as wrong
        margin=lead / tokens if tokens else 0.0,
        bound=float(log_softmax(scores)[0]) + math.log(len(scores)),
        max_bound=math.log(len(scores)),
        log_probability=float(scores[0]) / tokens if tokens else math.nan,
    )
