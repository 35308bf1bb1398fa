"""Win rates at equal length: a logistic regression of preferences on length and difficulty, and its bootstrap."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from sami.analysis.statistics.bootstrap import Interval, bootstrap


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
