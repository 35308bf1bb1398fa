"""Kappa, against published tables and scikit-learn."""

import math

import numpy as np
import pytest

from sami.analysis.statistics.agreement import agreement, cohen_kappa, fleiss_kappa

DRAWS = {"samples": 2000, "confidence": 0.95, "seed": 1}


def test_fleiss_kappa_of_a_published_table():
    # Ten subjects, fourteen raters, five categories: kappa 0.210.
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    labels = np.array([np.repeat(range(5), counts) for counts in table])
    (kappa,) = fleiss_kappa(labels, np.ones((1, 10)))
    assert kappa == pytest.approx(0.210, abs=5e-4)


def test_cohen_kappa_agrees_with_scikit_learn_resample_by_resample():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(6)
    first = random.integers(3, size=80)
    second = np.where(random.random(80) < 0.6, first, random.integers(3, size=80))
    weights = random.integers(3, size=(5, 80)).astype(float)
    found = cohen_kappa(np.column_stack([first, second]), weights)
    expected = [metrics.cohen_kappa_score(first, second, sample_weight=row) for row in weights]
    assert found == pytest.approx(expected)


def test_agreement_leaves_invalid_verdicts_out():
    labels = {
        "q1": [("first", "first"), ("first", "second")],
        "q2": [("second", "second"), ("invalid", "first")],
        "q3": [("tie", "invalid")],
    }
    found = agreement(labels, **DRAWS)
    assert (found.n_queries, found.n_verdicts) == (2, 3)
    assert found.share == pytest.approx(2 / 3)
    assert found.kappa.estimate == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))  # chance: 2/3 * 1/3 + 1/3 * 2/3
    three = {q: [(*choices, choices[0]) for choices in of] for q, of in labels.items()}
    assert agreement(three, **DRAWS).share == pytest.approx((1 + 1 / 3 + 1) / 3)


def test_agreement_without_anything_to_agree_on():
    alike = agreement({"q1": [("tie", "tie")], "q2": [("tie", "tie")]}, **DRAWS)
    assert alike.share == 1.0
    assert all(map(math.isnan, alike.kappa))
    nothing = agreement({"q1": [("invalid", "tie")]}, **DRAWS)
    assert (nothing.n_verdicts, math.isnan(nothing.share)) == (0, True)
    with pytest.raises(ValueError, match="'A'"):
        agreement({"q1": [("A", "tie")]}, **DRAWS)
