"""Intervals by resampling queries, or seeds and queries: means, medians, any other statistic of weighted values."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

CHUNK = 4_000_000  # elements of a chunk of bootstrap weights: 32 MB


class Interval(NamedTuple):
    """An estimate with its interval over queries; `low` and `high` are NaN where there is a single query."""

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


Values = Mapping[str, Sequence[float] | Sequence[Sequence[float]]]  # query id -> its values, or rows of values


def bootstrap(
    values_by_query: Values,
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
        values_by_query: query id -> its values (responses, verdicts, ...), at least one each; rows of values where
            the statistic takes such.
        samples: number of resamples B.
        confidence: probability that the interval should cover, between 0 and 1.
        seed: of the draws.
        statistic: of all values, (N,) or (N, K), given how often each is counted, (B, N): (B,). Resamples for which
            it is not defined (NaN) are left out of the interval.

    Raises:
        ValueError: there is no query, or a query has no values.
    """
    estimate, resampled = _resample(values_by_query, samples, seed, statistic)
    return _percentiles(estimate, resampled, len(values_by_query), confidence)


def bootstrap_difference(
    first_by_query: Values,
    second_by_query: Values,
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


def bootstrap_over_seeds(
    values_by_seed: Mapping[int, Values], *, samples: int, confidence: float, seed: int
) -> Interval:
    """Mean over seeds of each seed's mean, with the interval of a pigeonhole bootstrap over seeds and queries.

    Every seed answers the same queries, so the two are crossed, not nested: a resample draws seeds and, apart from
    them, queries, and holds the values of every drawn seed on every drawn query (Owen 2007, Annals of Applied
    Statistics 1, doi 10.1214/07-AOAS122). Where values are seed effect + query effect + noise, of S seeds on Q queries,
    the part of seed effects in the variance of the mean is expected to come out (S - 1) / S times as large as it is,
    that of query effects (Q - 1) / Q times, and that of noise (2 - 1 / S) (2 - 1 / Q) - 1 times, up to 3. So the
    interval is too narrow where seeds are few and differ, and too wide where values are nothing but noise. With one
    seed it is `bootstrap`.

    Args:
        values_by_seed: seed -> query id -> its values; a query may be without values under some seed.
        samples: number of resamples B.
        confidence: probability that the interval should cover, between 0 and 1.
        seed: of the draws; those of queries are the draws of `bootstrap`.

    Raises:
        ValueError: there is no seed, or a seed has no query, or a query has no values.
    """
    if not values_by_seed:
        raise ValueError("no interval over seeds: there is no seed")
    for values_by_query in values_by_seed.values():
        check_values(values_by_query)
    identifiers = sorted({query_id for values_by_query in values_by_seed.values() for query_id in values_by_query})
    values = [[of_seed.get(query_id, ()) for query_id in identifiers] for of_seed in values_by_seed.values()]
    sums = np.array([[sum(of_query) for of_query in of_seed] for of_seed in values], dtype=np.float64)  # (S, Q)
    counts = np.array([[len(of_query) for of_query in of_seed] for of_seed in values], dtype=np.float64)  # (S, Q)
    seeds, queries = sums.shape
    estimate = float(np.mean(sums.sum(axis=1) / counts.sum(axis=1)))
    at_once = max(1, CHUNK // queries)
    # A stream of their own for seeds, whose draws would follow those of queries else.
    draws = zip(_draws(queries, samples, seed, at_once), _draws(seeds, samples, (seed, 1), at_once), strict=True)
    with np.errstate(invalid="ignore"):  # 0 / 0, where a seed has no values on any of the drawn queries
        resampled = [
            ((of_queries @ sums.T) / (of_queries @ counts.T) * of_seeds).mean(axis=1)  # (B, S) to (B,)
            for of_queries, of_seeds in draws  # (B, Q) and (B, S)
        ]
    return _percentiles(estimate, np.concatenate(resampled), queries, confidence)


def _resample(values_by_query: Values, samples: int, seed: int, statistic: Statistic) -> tuple[float, np.ndarray]:
    """The statistic of the values as they are, and of `samples` resamples of their queries."""
    check_values(values_by_query)
    identifiers = sorted(values_by_query)  # the draws must not depend on the order of a file
    lengths = [len(values_by_query[query_id]) for query_id in identifiers]
    values = np.concatenate([np.asarray(values_by_query[query_id], dtype=np.float64) for query_id in identifiers])
    query = np.repeat(np.arange(len(identifiers)), lengths)  # (N,) number of the query of each value
    estimate = statistic(values, np.ones((1, len(values))))[0]
    chunks = _draws(len(identifiers), samples, seed, max(1, CHUNK // len(values)))
    return float(estimate), np.concatenate([statistic(values, counts[:, query]) for counts in chunks])


def check_values(values_by_query: Values) -> None:
    if not values_by_query:
        raise ValueError("no interval over queries: there is no query")
    for query_id, values in values_by_query.items():
        if len(values) == 0:
            raise ValueError(f"no interval over queries: query '{query_id}' has no values")


def _draws(queries: int, samples: int, seed: int | Sequence[int], at_once: int) -> Iterator[np.ndarray]:
    """Yields (B, Q) counts: how often each query (or seed) is drawn in each of B resamples."""
    random = np.random.default_rng(seed)
    for start in range(0, samples, at_once):
        size = min(at_once, samples - start)
        drawn = random.integers(queries, size=(size, queries)) + queries * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
        yield counts.astype(np.float64)  # products of integers with values would be twenty times slower


def _percentiles(estimate: float, resampled: np.ndarray, queries: int, confidence: float) -> Interval:
    # Resampling one query always gives that query: no information about its uncertainty.
    if queries < 2 or math.isnan(estimate):
        return Interval(estimate, math.nan, math.nan)
    low, high = np.quantile(resampled[~np.isnan(resampled)], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high))
