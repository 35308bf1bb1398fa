"""Agreement of judges beyond chance: Cohen's and Fleiss' kappa, with intervals over queries."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sami.analysis.statistics.bootstrap import Interval, bootstrap, mean
from sami.analysis.statistics.win_rates import CHOICES

LABELS = tuple(choice for choice in CHOICES if choice != "invalid")


@dataclass(frozen=True)
class Agreement:
    """Agreement of judges beyond chance, on the verdicts that are valid for all of them.

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
