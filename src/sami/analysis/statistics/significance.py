"""P-values: sign-flip tests over queries, of paired differences and of preferences, and Holm's correction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sami.analysis.statistics.bootstrap import CHUNK, Interval, bootstrap_difference


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
    """Difference of two policies on the same queries, and the p-value of no difference."""

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
    for start in range(0, samples, at_once := max(1, CHUNK // values.size)):
        patterns = random.integers(2, size=(min(at_once, samples - start), values.size), dtype=np.int8)
        extreme += int((np.abs((1.0 - 2.0 * patterns) @ values) >= found).sum())
    return (extreme + 1) / (samples + 1)
