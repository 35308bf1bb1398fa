"""Spearman's rank correlation, against hand-computed values, scipy, and resamples written out."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from sami.analysis.statistics.bootstrap import bootstrap
from sami.analysis.statistics.rank_correlation import spearman


def once(pairs) -> float:
    return float(spearman(np.array(pairs, dtype=float), np.ones((1, len(pairs))))[0])


def test_by_hand():
    assert once([(0, 0.1), (1, 0.2), (2, 0.9)]) == pytest.approx(1)
    assert once([(0, 0.9), (1, 0.2), (2, 0.1)]) == pytest.approx(-1)
    assert once([(0, 5), (1, 7), (2, 6)]) == pytest.approx(0.5)  # 1 - 6 * (0 + 1 + 1) / (3 * 8)
    # Ranks 1.5, 1.5, 3.5, 3.5 and 1, 2, 3, 4: 4 / sqrt(4 * 5).
    assert once([(0, 0.1), (0, 0.2), (4, 0.3), (4, 0.4)]) == pytest.approx(4 / math.sqrt(20))


def test_nothing_is_correlated_with_what_is_always_the_same():
    assert math.isnan(once([(0, 0.5), (1, 0.5), (4, 0.5)]))
    assert math.isnan(once([(2, 0.1), (2, 0.5)]))


def test_weights_are_repetitions():
    draw = np.random.default_rng(3)
    pairs = np.column_stack([draw.integers(0, 5, 40), draw.integers(0, 8, 40) / 7])
    weights = draw.integers(0, 4, (20, 40)).astype(float)
    expected = [spearmanr(*np.repeat(pairs, row.astype(int), axis=0).T).statistic for row in weights]
    assert spearman(pairs, weights) == pytest.approx(expected)
    assert once(pairs) == pytest.approx(spearmanr(*pairs.T).statistic)


def test_its_interval_is_over_queries():
    """Of two queries, one rises and one is flat: a resample has one of them twice, or both."""
    values = {"a": [(0, 0.0), (1, 1.0)], "b": [(0, 0.5), (1, 0.5)]}
    found = bootstrap(values, samples=400, confidence=0.9, seed=1, statistic=spearman)
    both = spearmanr([0, 1, 0, 1], [0.0, 1.0, 0.5, 0.5]).statistic
    assert found.estimate == pytest.approx(both)
    assert (found.low, found.high) == (pytest.approx(both), pytest.approx(1))  # "b" twice is left out
