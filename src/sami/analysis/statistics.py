"""Numbers and their uncertainty: information, intervals over queries, win rates, length control, agreement, repetition.

numpy and scipy only. Functions take plain values; they know nothing of files, iterations or policies. Everything that
belongs to one query (its responses, its constitutions, its verdicts) depends on that query, so intervals and p-values
are over queries, not responses. What each number means, with its limits, is told in docs/statistics.md.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_softmax, logit, ndtri, stdtrit

from sami.judging.pairs import POINTS

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


# --- intervals over queries -------------------------------------------------------------------------------------------


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


def _resample(values_by_query: Values, samples: int, seed: int, statistic: Statistic) -> tuple[float, np.ndarray]:
    """The statistic of the values as they are, and of `samples` resamples of their queries."""
    _check_values(values_by_query)
    identifiers = sorted(values_by_query)  # the draws must not depend on the order of a file
    lengths = [len(values_by_query[query_id]) for query_id in identifiers]
    values = np.concatenate([np.asarray(values_by_query[query_id], dtype=np.float64) for query_id in identifiers])
    query = np.repeat(np.arange(len(identifiers)), lengths)  # (N,) number of the query of each value
    estimate = statistic(values, np.ones((1, len(values))))[0]
    chunks = _draws(len(identifiers), samples, seed, max(1, _CHUNK // len(values)))
    return float(estimate), np.concatenate([statistic(values, counts[:, query]) for counts in chunks])


def _check_values(values_by_query: Values) -> None:
    if not values_by_query:
        raise ValueError("no interval over queries: there is no query")
    for query_id, values in values_by_query.items():
        if len(values) == 0:
            raise ValueError(f"no interval over queries: query '{query_id}' has no values")


def _draws(queries: int, samples: int, seed: int, at_once: int) -> Iterator[np.ndarray]:
    """Yields (B, Q) counts: how often each query is drawn in each of B resamples."""
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


# --- win rates --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WinRate:
    """Mean preference for the first side, and what belongs beside it.

    `rate` has the interval of `wilson_by_query`. `rate_without_invalid` leaves invalid verdicts out, where `rate`
    counts them half; NaN where all are. `p` is of both sides being alike, by a sign-flip test over queries.
    """

    wins: int
    ties: int
    losses: int
    invalid: int
    rate: Interval
    standard_error: float
    rate_without_invalid: float
    p: float
    n_queries: int
    n_verdicts: int


def win_rate(
    verdicts_by_query: Mapping[str, Sequence[tuple[str, float]]], *, samples: int, confidence: float, seed: int
) -> WinRate:
    """Win rate of the first side: the mean preference for it, in which a tie or an invalid verdict counts half.

    Args:
        verdicts_by_query: query id -> its verdicts: a choice ("first", "second", "tie" or "invalid") and the
            preference for the first side, from 0 to 1.
        samples, seed: of the sign-flip test.
        confidence: probability that the interval should cover, between 0 and 1.

    Raises:
        ValueError: there is no query, a query has no verdict, a choice is unknown or a preference is out of range.
    """
    verdicts = [verdict for of_query in verdicts_by_query.values() for verdict in of_query]
    choices = [choice for choice, _ in verdicts]
    unknown = set(choices) - POINTS.keys()
    if unknown:
        raise ValueError(f"unknown choices {sorted(unknown)}; expected {', '.join(POINTS)}")
    apart = [preference for _, preference in verdicts if not 0 <= preference <= 1]
    if apart:
        raise ValueError(f"found the preference {apart[0]}, expected numbers from 0 to 1")
    preferences = {query_id: [preference for _, preference in of] for query_id, of in verdicts_by_query.items()}
    valid = [preference for choice, preference in verdicts if choice != "invalid"]
    return WinRate(
        wins=choices.count("first"),
        ties=choices.count("tie"),
        losses=choices.count("second"),
        invalid=choices.count("invalid"),
        rate=wilson_by_query(preferences, confidence),
        standard_error=standard_error(preferences),
        rate_without_invalid=float(np.mean(valid)) if valid else math.nan,
        p=sign_flip_test([sum(of) - len(of) / 2 for _, of in sorted(preferences.items())], samples, seed),
        n_queries=len(verdicts_by_query),
        n_verdicts=len(choices),
    )


def standard_error(values_by_query: Mapping[str, Sequence[float]]) -> float:
    """Standard error of the mean of all values, the values of a query being one cluster (Liang and Zeger 1986).

    With one value a query it is std(ddof=1) / sqrt(n). NaN where there is a single query.
    """
    queries = len(values_by_query)
    if queries < 2:
        return math.nan
    count = sum(len(values) for values in values_by_query.values())
    centre = sum(sum(values) for values in values_by_query.values()) / count
    residuals = np.array([sum(values) - centre * len(values) for values in values_by_query.values()])  # (Q,)
    return math.sqrt(queries / (queries - 1) * float(residuals @ residuals)) / count


def effective_count(values_by_query: Mapping[str, Sequence[float]]) -> float:
    """Number of independent wins and losses whose mean is known as well as that of these values from 0 to 1.

    It is p (1 - p) / standard_error^2: fewer than the values where those of a query are alike, more where values lie
    close together. Where all queries have one mean their spread tells nothing, and each counts once. NaN for a single
    query.
    """
    error = standard_error(values_by_query)
    share = _mean_of_all(values_by_query)
    return share * (1 - share) / error**2 if error > 1e-9 or math.isnan(error) else float(len(values_by_query))


def _mean_of_all(values_by_query: Mapping[str, Sequence[float]]) -> float:
    return math.fsum(value for of in values_by_query.values() for value in of) / sum(map(len, values_by_query.values()))


def wilson_by_query(values_by_query: Mapping[str, Sequence[float]], confidence: float) -> Interval:
    """Mean of values from 0 to 1, with Wilson's interval for values that depend on each other within a query.

    The number of trials is `effective_count` and the quantile Student's, with one degree of freedom less than there are
    queries (Korn and Graubard 1998 and Franco et al. 2019 do so for samples in clusters). Unlike a bootstrap it is not
    too narrow for a few queries, and has a width where all values are alike.

    Args:
        values_by_query: query id -> its values (verdicts, degrees, ...), from 0 to 1, at least one each.
        confidence: probability that the interval should cover, between 0 and 1.

    Raises:
        ValueError: there is no query, or a query has no values.
    """
    _check_values(values_by_query)
    share = _mean_of_all(values_by_query)
    if len(values_by_query) < 2:
        return Interval(share, math.nan, math.nan)
    quantile = float(stdtrit(len(values_by_query) - 1, (1 + confidence) / 2))
    return Interval(share, *wilson(share, effective_count(values_by_query), quantile))


def wilson(share: float, count: float, quantile: float) -> tuple[float, float]:
    """Wilson score interval (Wilson 1927) of a share of `count` independent trials; both may be fractional.

    `quantile` is that of the standard normal distribution, 1.96 for 95%, or a wider one for a few clusters.
    """
    centre = (share + quantile**2 / (2 * count)) / (1 + quantile**2 / count)
    half = quantile / (1 + quantile**2 / count) * math.sqrt(share * (1 - share) / count + (quantile / (2 * count)) ** 2)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))  # whatever rounding does at 0 and 1


def queries_needed(
    values_by_query: Mapping[str, Sequence[float]], wanted_width: float, confidence: float
) -> int | None:
    """How many queries like these bring Wilson's interval of their mean down to a full width.

    Rounded up to two digits, since it rests on how far these queries differ. None where a single query tells nothing of
    that. Two at least: without two there is no interval.
    """
    queries = len(values_by_query)
    if queries < 2:
        return None
    share, z = _mean_of_all(values_by_query), float(ndtri((1 + confidence) / 2))
    spread = 2 * share * (1 - share)
    # The width of `wilson` is wanted_width at this count: the larger root of a quadratic equation in count + z^2.
    root = math.sqrt(spread**2 + wanted_width**2 * (1 - 2 * spread))
    count = (z / wanted_width) ** 2 * (spread + root) - z**2
    needed = max(2, math.ceil(count * queries / effective_count(values_by_query)))
    step = 10 ** max(0, len(str(needed)) - 2)
    return math.ceil(needed / step) * step


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979): rejecting those below a level keeps the chance of even one wrong
    rejection below that level, however the tests depend on each other."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


@dataclass(frozen=True)
class Difference:
    """How far apart two policies are on the same queries, and the p-value of no difference."""

    interval: Interval
    p: float


def paired_difference(
    first_by_query: Mapping[str, Sequence[float]],
    second_by_query: Mapping[str, Sequence[float]],
    *,
    samples: int,
    confidence: float,
    seed: int,
) -> Difference:
    """Difference of two means over the same pairs: bootstrap interval, and a two-sided sign-flip permutation test.

    Were the two alike, each query's difference would be as likely with the other sign. The p-value is the share of
    sign patterns whose mean is at least as far from zero as the one found: of all patterns where there are no more
    than `samples`, else of `samples` drawn ones and the one found (Phipson and Smyth 2010).

    Raises:
        ValueError: the two have other queries, or another number of values on one, or as for `bootstrap`.
    """
    interval = bootstrap_difference(first_by_query, second_by_query, samples=samples, confidence=confidence, seed=seed)
    uneven = [query_id for query_id, values in first_by_query.items() if len(values) != len(second_by_query[query_id])]
    if uneven:
        raise ValueError(f"a paired difference needs as many values on both sides; query '{uneven[0]}' has not")
    sums = [sum(first_by_query[query_id]) - sum(second_by_query[query_id]) for query_id in sorted(first_by_query)]
    return Difference(interval, sign_flip_test(sums, samples, seed))


def sign_flip_test(differences: Sequence[float], samples: int, seed: int) -> float:
    """P-value of (N,) differences, one a query, being symmetric about zero; see `paired_difference`."""
    values = np.array([difference for difference in differences if difference])  # (N,); zeros have no sign
    if values.size == 0:
        return 1.0
    found = abs(values.sum()) * (1 - 1e-12)  # patterns that sum to the same must count, however they are rounded
    if 2**values.size <= samples:
        patterns = np.arange(2**values.size)[:, None] >> np.arange(values.size) & 1
        return float((np.abs((1 - 2 * patterns) @ values) >= found).mean())
    random = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, samples, at_once := max(1, _CHUNK // values.size)):
        patterns = random.integers(2, size=(min(at_once, samples - start), values.size), dtype=np.int8)
        extreme += int((np.abs((1.0 - 2.0 * patterns) @ values) >= found).sum())
    return (extreme + 1) / (samples + 1)


# --- length control ---------------------------------------------------------------------------------------------------


class Judged(NamedTuple):
    """A verdict with what it is controlled for.

    `preference` for the first response, 0 to 1; `length_difference`, first minus second, in characters; `difficulty`
    of the query, in log odds, 0.0 where it is not known.
    """

    preference: float
    length_difference: float
    difficulty: float = 0.0


class Prior(NamedTuple):
    """Normal prior of a coefficient: what is known of it before any verdict."""

    mean: float
    precision: float


NO_PRIOR = Prior(0.0, 0.01)  # next to nothing: keeps a coefficient finite where verdicts are all alike


@dataclass(frozen=True)
class LengthControl:
    """The length-controlled win rate, and the fit behind it for a query of difficulty zero.

    The log odds of a win are intercept + coefficient * tanh(d / scale), d being the length difference in characters.
    The scale is infinite where all differences are the same: then length explains nothing.
    """

    rate: Interval
    intercept: float
    coefficient: float
    scale: float


def length_controlled(
    judged_by_query: Mapping[str, Sequence[Judged]],
    *,
    samples: int,
    confidence: float,
    seed: int,
    prior: Prior = NO_PRIOR,
    difficulty_prior: Prior = NO_PRIOR,
) -> LengthControl:
    """The win rate had both responses been equally long (Dubois et al. 2024, arXiv 2404.04475).

    A logistic regression explains the preference by tanh of the length difference in units of its standard deviation,
    and by the query's difficulty; its predictions at no difference are averaged over the verdicts.

    Args:
        judged_by_query: query id -> its verdicts.
        samples, confidence, seed: of the bootstrap over queries, which fits every resample anew. Unit of length and
            difficulty stay those of all verdicts.
        prior, difficulty_prior: of the coefficients of length and difficulty: what is known of the judge from
            elsewhere.

    Raises:
        ValueError: there is no query, or a query has no verdict.
    """
    everything = np.array([judged for of_query in judged_by_query.values() for judged in of_query])  # (N, 3)
    scale = _scale(everything[:, 1]) if len(everything) else math.inf
    priors = (prior, difficulty_prior)
    fit = functools.partial(_length_controlled_rate, scale=scale, priors=priors)
    rate = bootstrap(judged_by_query, samples=samples, confidence=confidence, seed=seed, statistic=fit)
    ((intercept, coefficient, _),) = _length_fit(everything, np.ones((1, len(everything))), scale, priors)
    return LengthControl(rate, float(intercept), float(coefficient), scale)


def _scale(differences: np.ndarray) -> float:
    """Unit of (N,) length differences: their standard deviation, infinite where they are all the same."""
    return float(differences.std()) or math.inf


def _length_fit(judged: np.ndarray, weights: np.ndarray, scale: float, priors: tuple[Prior, Prior]) -> np.ndarray:
    """(B, 3) intercept, length coefficient and difficulty coefficient of (N, 3) `Judged`, counted (B, N) times."""
    preference, difference, difficulty = judged.T
    features = np.column_stack([np.ones_like(preference), np.tanh(difference / scale), difficulty])  # (N, 3)
    means, precisions = np.array([NO_PRIOR, *priors]).T
    return logistic_fit(features, preference, weights, means, precisions)


def _length_controlled_rate(
    judged: np.ndarray, weights: np.ndarray, *, scale: float, priors: tuple[Prior, Prior]
) -> np.ndarray:
    """(B,) mean prediction at equal length."""
    fit = _length_fit(judged, weights, scale, priors)
    predicted = expit(fit[:, [0]] + fit[:, [2]] * judged[:, 2])  # (B, N)
    return (weights * predicted).sum(axis=1) / weights.sum(axis=1)


def logistic_fit(
    features: np.ndarray, targets: np.ndarray, weights: np.ndarray, means: np.ndarray, precisions: np.ndarray
) -> np.ndarray:
    """Logistic regression of fractional targets, fitted once for each row of weights by Newton's method.

    Minimises sum_n weights[b, n] * cross-entropy(targets[n], p[b, n]) + sum_k precisions[k] / 2 * (coefficients[b, k] -
    means[k])^2, which has one minimum whatever the data.

    Args:
        features: (N, K), with a column of ones for an intercept.
        targets: (N,) from 0 to 1.
        weights: (B, N), how often each is counted.
        means, precisions: (K,), of the normal prior of each coefficient; precisions above 0.

    Returns:
        (B, K) coefficients.
    """
    count, width = features.shape
    products = (features[:, :, None] * features[:, None, :]).reshape(count, width * width)
    coefficients = np.tile(means, (len(weights), 1))
    for _ in range(60):
        predicted = expit(coefficients @ features.T)  # (B, N)
        gradient = (weights * (targets - predicted)) @ features - precisions * (coefficients - means)
        curvature = ((weights * predicted * (1 - predicted)) @ products).reshape(-1, width, width)
        step = np.linalg.solve(curvature + np.diag(precisions), gradient[:, :, None])[:, :, 0]
        # A full step can overshoot where predictions are nearly certain and the curvature is all but gone.
        step /= np.maximum(1.0, np.linalg.norm(step, axis=1, keepdims=True) / 2)
        coefficients += step
        if np.abs(step).max() < 1e-9:
            break
    return coefficients


def joint_difficulties(
    policies: Sequence[Mapping[str, Sequence[Judged]]], *, length_prior: Prior, difficulty_prior: Prior
) -> dict[str, float]:
    """Difficulty of each query, in log odds, from the verdicts on several policies at their own lengths.

    One logistic regression over all policies (Dubois et al. 2024, arXiv 2404.04475, who fit it once over their
    leaderboard): the log odds of a win are intercept[policy] + coefficient[policy] * tanh(d / scale[policy]) +
    difficulty[query]. Queries that are hard for all are told from those where a policy is merely short. With normal
    priors the fit has one minimum; Newton's method finds it.

    The prior of a difficulty is about what goes, in proportion, with the query's mean tanh. Were it about the mean of
    all queries, it would shrink that part, too, and leave it to length: of one comparator all policies are short on the
    same queries.

    Args:
        policies: of each policy, query id -> its verdicts; their own `difficulty` is not looked at. Queries may be
            missing from some.
        length_prior: of every policy's length coefficient.
        difficulty_prior: of every query's difficulty.

    Returns:
        query id -> its difficulty, for the queries of all policies.
    """
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    verdicts = [np.array([judged for of_query in policy.values() for judged in of_query]) for policy in policies]
    lengths = [np.tanh(of_policy[:, 1] / _scale(of_policy[:, 1])) for of_policy in verdicts]
    own = sparse.block_diag([np.column_stack([np.ones_like(length), length]) for length in lengths])  # (N, 2 P)
    names = [query_id for policy in policies for query_id, of_query in policy.items() for _ in of_query]
    identifiers, query, counts = np.unique(names, return_inverse=True, return_counts=True)
    mean_length = np.bincount(query, np.concatenate(lengths)) / counts  # (Q,)
    mean_length -= mean_length.mean()
    of_query = sparse.csr_array((np.ones(len(names)), (np.arange(len(names)), query)))  # (N, Q)
    features = sparse.hstack([own, of_query, mean_length[query][:, None]], format="csr")  # (N, 2 P + Q + 1)
    preferences = np.concatenate([of_policy[:, 0] for of_policy in verdicts])
    priors = [NO_PRIOR, length_prior] * len(policies) + [difficulty_prior] * len(identifiers) + [NO_PRIOR]
    means, precisions = np.array(priors).T
    coefficients = means.copy()
    for _ in range(60):
        predicted = expit(features @ coefficients)
        gradient = features.T @ (preferences - predicted) - precisions * (coefficients - means)
        weighted = features.multiply((predicted * (1 - predicted))[:, None])
        step = spsolve((features.T @ weighted + sparse.diags_array(precisions)).tocsc(), gradient)
        step /= max(1.0, float(np.abs(step).max()) / 2)  # as in `logistic_fit`
        coefficients += step
        if np.abs(step).max() < 1e-6:
            break
    difficulties = coefficients[2 * len(policies) : -1] + coefficients[-1] * mean_length
    return dict(zip(identifiers.tolist(), difficulties.tolist(), strict=True))


def difficulty(preferences: Sequence[float]) -> float:
    """Log odds that other policies win on a query, from their verdicts on it; shrunk as by one more verdict, a tie."""
    return float(logit((sum(preferences) + 0.5) / (len(preferences) + 1)))


# --- agreement of judges ----------------------------------------------------------------------------------------------

LABELS = ("first", "second", "tie")


@dataclass(frozen=True)
class Agreement:
    """How far judges agree beyond chance, on the verdicts that are valid for all of them.

    `share` is the share of agreeing pairs of judges; all is NaN where there is no such verdict, `kappa` also where
    chance alone makes them agree (all say one thing).
    """

    share: float
    kappa: Interval
    n_queries: int
    n_verdicts: int


def agreement(
    labels_by_query: Mapping[str, Sequence[Sequence[str]]], *, samples: int, confidence: float, seed: int
) -> Agreement:
    """Cohen's kappa of two judges (Cohen 1960), Fleiss' kappa of more (Fleiss 1971), over first, second and tie.

    Args:
        labels_by_query: query id -> its verdicts: for each the choices of all judges, in one order. A verdict that is
            "invalid" for any of them is left out.
        samples, confidence, seed: of the bootstrap over queries.

    Raises:
        ValueError: a choice is unknown, or verdicts have different numbers of judges.
    """
    unknown = {c for of in labels_by_query.values() for choices in of for c in choices} - {*LABELS, "invalid"}
    if unknown:
        raise ValueError(f"unknown choices {sorted(unknown)}; expected {', '.join(LABELS)} or invalid")
    valid = {
        query_id: [[LABELS.index(choice) for choice in choices] for choices in of if "invalid" not in choices]
        for query_id, of in labels_by_query.items()
    }
    valid = {query_id: labels for query_id, labels in valid.items() if labels}
    if not valid:
        return Agreement(math.nan, Interval(math.nan, math.nan, math.nan), 0, 0)
    labels = np.array([choices for of in valid.values() for choices in of])  # (N, J)
    kappa = cohen_kappa if labels.shape[1] == 2 else fleiss_kappa
    return Agreement(
        share=float(_agreeing(_counts(labels)).mean()),
        kappa=bootstrap(valid, samples=samples, confidence=confidence, seed=seed, statistic=kappa),
        n_queries=len(valid),
        n_verdicts=len(labels),
    )


def cohen_kappa(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cohen's kappa of (N, 2) labels of two judges, each row counted (B, N) times: (B,).

    Chance is what judges with their own habits would agree on.
    """
    first, second = (labels[:, [judge]] == np.arange(labels.max() + 1) for judge in (0, 1))  # (N, L)
    total = weights.sum(axis=1)
    observed = weights @ (first & second).any(axis=1) / total
    return _beyond_chance(observed, ((weights @ first) * (weights @ second)).sum(axis=1) / total**2)


def fleiss_kappa(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fleiss' kappa of (N, J) labels of J judges, each row counted (B, N) times: (B,).

    Chance is what judges with one common habit would agree on.
    """
    counts = _counts(labels)
    shares = weights @ counts / (weights.sum(axis=1, keepdims=True) * labels.shape[1])  # (B, L)
    return _beyond_chance(mean(_agreeing(counts), weights), (shares**2).sum(axis=1))


def _counts(labels: np.ndarray) -> np.ndarray:
    """(N, L) how many of J judges give each label, of (N, J) labels."""
    return (labels[:, :, None] == np.arange(labels.max() + 1)).sum(axis=1)


def _agreeing(counts: np.ndarray) -> np.ndarray:
    """(N,) share of the pairs of judges that agree, of (N, L) counts."""
    judges = counts.sum(axis=1)
    return ((counts**2).sum(axis=1) - judges) / (judges * (judges - 1))


def _beyond_chance(observed: np.ndarray, chance: np.ndarray) -> np.ndarray:
    certain = chance > 1 - 1e-12
    return np.where(certain, np.nan, (observed - chance) / np.where(certain, 1.0, 1 - chance))


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
