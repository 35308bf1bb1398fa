"""Numbers and their uncertainty: the information in a matrix, intervals over queries, win rates, repetition.

numpy and scipy only. Functions take plain values; they know nothing of files, iterations or policies. Everything that
belongs to one query (its responses, its constitutions, its verdicts) depends on that query, so intervals come from
resampling queries, not responses.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, ndtri

POINTS = {"first": 1.0, "tie": 0.5, "invalid": 0.5, "second": 0.0}
_CHUNK = 4_000_000  # elements of a chunk of bootstrap weights: 32 MB


# --- mutual information -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Information:
    """What one (C, R) matrix says about the mutual information of constitutions and responses. Losses are in nats.

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
    """Losses, bound and accuracies of one matrix (arXiv 2404.14313, section 2, for any C and R).

    The row loss asks which response belongs to a constitution: the mean over responses j of -log softmax over the
    responses of row labels[j], taken at column j. The column loss asks which constitution belongs to a response: the
    mean over j of -log softmax over the constitutions of column j, taken at row labels[j]. With R = C and labels
    0..C-1 these are the two cross-entropies of the paper. The bound is (log C + log R) / 2 - loss, for R = C that is
    log C - loss; it cannot exceed log C where each constitution has equally many responses.

    A row is accurate where its only maximum is at a response written for it, a column where its only maximum is at its
    label: a tie is no answer, so it counts as wrong. `sami.objective` computes the same from tensors during training.

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


# --- intervals over queries -------------------------------------------------------------------------------------------


class Interval(NamedTuple):
    """An estimate with a percentile bootstrap interval; `low` and `high` are NaN where there is a single query."""

    estimate: float
    low: float
    high: float


Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of (N,) values, each counted (B, N) weights times: (B,)."""
    return weights @ values / weights.sum(axis=1)


def median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of (N,) values, each counted (B, N) whole weights times: (B,)."""
    order = np.argsort(values, kind="stable")
    cumulative = weights[:, order].cumsum(axis=1)  # (B, N)
    half = cumulative[:, -1:] / 2
    lower = (cumulative >= half).argmax(axis=1)
    upper = (cumulative > half).argmax(axis=1)
    return (values[order][lower] + values[order][upper]) / 2


def bootstrap(
    values_by_query: Mapping[str, Sequence[float]],
    *,
    samples: int,
    confidence: float,
    seed: int,
    statistic: Statistic = mean,
) -> Interval:
    """Percentile bootstrap over queries (Efron and Tibshirani 1993, chapter 13).

    Queries are drawn with replacement, and a query brings all of its values along, so that values of one query may
    depend on each other in any way. The same queries, samples and seed give the same draws.

    Args:
        values_by_query: query id -> its values (responses, verdicts, ...), at least one each.
        samples: number of resamples B.
        confidence: probability that the interval should cover, between 0 and 1.
        seed: of the draws.
        statistic: of all values, given how often each is counted; `mean` or `median`.

    Raises:
        ValueError: there is no query, or a query has no values.
    """
    estimate, resampled = _resample(values_by_query, samples, seed, statistic)
    return _percentiles(estimate, resampled, len(values_by_query), confidence)


def bootstrap_difference(
    first_by_query: Mapping[str, Sequence[float]],
    second_by_query: Mapping[str, Sequence[float]],
    *,
    samples: int,
    confidence: float,
    seed: int,
    statistic: Statistic = mean,
) -> Interval:
    """Paired difference of two policies on the same queries: statistic(first) - statistic(second).

    Every resample holds the same queries for both, so that what makes a query easy or hard cancels out.

    Raises:
        ValueError: the two are not about the same queries, or as for `bootstrap`.
    """
    if first_by_query.keys() != second_by_query.keys():
        apart = sorted(first_by_query.keys() ^ second_by_query.keys())
        raise ValueError(f"a paired difference needs the same queries on both sides; {len(apart)} differ: {apart[:5]}")
    first, first_resampled = _resample(first_by_query, samples, seed, statistic)
    second, second_resampled = _resample(second_by_query, samples, seed, statistic)
    return _percentiles(first - second, first_resampled - second_resampled, len(first_by_query), confidence)


def _resample(
    values_by_query: Mapping[str, Sequence[float]], samples: int, seed: int, statistic: Statistic
) -> tuple[float, np.ndarray]:
    """The statistic of the values as they are, and of `samples` resamples of their queries."""
    if not values_by_query:
        raise ValueError("cannot resample: there is no query")
    for query_id, values in values_by_query.items():
        if len(values) == 0:
            raise ValueError(f"cannot resample: query '{query_id}' has no values")
    identifiers = sorted(values_by_query)  # the draws must not depend on the order of a file
    lengths = [len(values_by_query[query_id]) for query_id in identifiers]
    values = np.concatenate([np.asarray(values_by_query[query_id], dtype=np.float64) for query_id in identifiers])
    query = np.repeat(np.arange(len(identifiers)), lengths)  # (N,) number of the query of each value
    estimate = statistic(values, np.ones((1, len(values))))[0]
    chunks = _draws(len(identifiers), samples, seed, max(1, _CHUNK // len(values)))
    return float(estimate), np.concatenate([statistic(values, counts[:, query]) for counts in chunks])


def _draws(queries: int, samples: int, seed: int, at_once: int) -> Iterator[np.ndarray]:
    """Yields (B, Q) counts: how often each query is drawn in each of B resamples."""
    random = np.random.default_rng(seed)
    for start in range(0, samples, at_once):
        size = min(at_once, samples - start)
        drawn = random.integers(queries, size=(size, queries)) + queries * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
        yield counts.astype(np.float64)  # products of integers with values would be twenty times slower


def _percentiles(estimate: float, resampled: np.ndarray, queries: int, confidence: float) -> Interval:
    if queries < 2:  # resampling one query always gives that query: no information about its uncertainty
        return Interval(estimate, math.nan, math.nan)
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high))


# --- win rates --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WinRate:
    """Share of verdicts for the first side. `rate` has the interval to use; the rest treats verdicts as independent."""

    wins: int
    ties: int
    losses: int
    invalid: int
    rate: Interval
    wilson_low: float
    wilson_high: float
    sign_test_p: float
    n_queries: int
    n_verdicts: int


def win_rate(choices_by_query: Mapping[str, Sequence[str]], *, samples: int, confidence: float, seed: int) -> WinRate:
    """Win rate of the first side, a tie or an invalid verdict counting half.

    Args:
        choices_by_query: query id -> its verdicts, each "first", "second", "tie" or "invalid".
        samples, confidence, seed: of the bootstrap over queries.

    Returns:
        Counts, rate with bootstrap interval, Wilson interval (Wilson 1927) and the exact two-sided sign test of wins
        against losses (1.0 where there are neither).

    Raises:
        ValueError: there is no query, a query has no verdict, or a choice is unknown.
    """
    choices = [choice for of_query in choices_by_query.values() for choice in of_query]
    unknown = set(choices) - POINTS.keys()
    if unknown:
        raise ValueError(f"unknown choices {sorted(unknown)}; expected {', '.join(POINTS)}")
    points = {query_id: [POINTS[choice] for choice in of_query] for query_id, of_query in choices_by_query.items()}
    rate = bootstrap(points, samples=samples, confidence=confidence, seed=seed)
    wilson_low, wilson_high = wilson(rate.estimate, len(choices), confidence)
    wins, losses = choices.count("first"), choices.count("second")
    return WinRate(
        wins=wins,
        ties=choices.count("tie"),
        losses=losses,
        invalid=choices.count("invalid"),
        rate=rate,
        wilson_low=wilson_low,
        wilson_high=wilson_high,
        sign_test_p=sign_test(wins, losses),
        n_queries=len(choices_by_query),
        n_verdicts=len(choices),
    )


def wilson(share: float, count: int, confidence: float) -> tuple[float, float]:
    """Wilson score interval (Wilson 1927) of a share of `count` independent trials; half wins are allowed."""
    z = float(ndtri((1 + confidence) / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided sign test: probability of so uneven a split where each side wins half of the time."""
    from scipy.stats import binomtest  # takes half a second to import

    return float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0


# --- degeneration -----------------------------------------------------------------------------------------------------


def repeated_ngram_share(text: str, n: int) -> float:
    """Share of the word n-grams of a text that have occurred before in it, words in lower case.

    This is seq-rep-n of Welleck et al. 2020 (arXiv 1908.04319), 1 - unique / all. 0.0 for fewer than n words.
    """
    words = text.lower().split()
    ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return (len(ngrams) - len(set(ngrams))) / len(ngrams) if ngrams else 0.0


def is_degenerate(text: str, ngram: int, max_repeated: float) -> bool:
    """True where more than `max_repeated` of the word n-grams of a text are repeats."""
    return repeated_ngram_share(text, ngram) > max_repeated
