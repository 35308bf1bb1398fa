"""The regression behind win rates at equal length, and its resamples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from sami.analysis.statistics import bootstrap as bootstrap_module
from sami.analysis.statistics.length_control import (
    NO_PRIOR,
    Judged,
    Prior,
    _length_controlled_rate,
    difficulty,
    joint_difficulties,
    length_controlled,
    logistic_fit,
)

DRAWS = {"samples": 2000, "confidence": 0.95, "seed": 1}


def made_up_verdicts(count: int, seed: int = 0):
    """Preferences that grow with length and fall with difficulty, of a policy that is better at equal length."""
    random = np.random.default_rng(seed)
    differences = random.normal(150, 300, size=count).round()
    difficulty = random.normal(size=count)
    odds = 0.4 + 1.2 * np.tanh(differences / differences.std()) + 0.8 * difficulty
    preferences = np.clip((random.random(count) < 1 / (1 + np.exp(-odds))) + random.normal(0, 0.1, count), 0, 1)
    return preferences, differences, difficulty


def test_the_fit_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    preferences, differences, difficulty = made_up_verdicts(150)
    features = np.column_stack([np.ones(150), np.tanh(differences / differences.std()), difficulty])
    weights = np.random.default_rng(1).integers(4, size=(3, 150)).astype(float)
    found = logistic_fit(features, preferences, weights, np.zeros(3), np.full(3, 0.01))
    for row, fit in zip(weights, found, strict=True):
        # scikit-learn knows no fractional targets: every row stands once as a win and once as a loss.
        model = linear_model.LogisticRegression(C=100, fit_intercept=False, tol=1e-10, max_iter=1000)
        twice = np.concatenate([row * preferences, row * (1 - preferences)])
        model.fit(np.vstack([features, features]), np.repeat([1, 0], 150), sample_weight=twice)
        assert fit == pytest.approx(model.coef_[0], abs=1e-5)


def judged(preferences, differences, difficulty):
    rows = zip(preferences, differences, difficulty, strict=True)
    return {f"q{n}": [Judged(*map(float, row))] for n, row in enumerate(rows)}


def test_length_control_finds_the_rate_at_equal_length():
    preferences, differences, difficulty = made_up_verdicts(4000)
    found = length_controlled(judged(preferences, differences, difficulty), samples=100, confidence=0.95, seed=1)
    truth = (1 / (1 + np.exp(-(0.4 + 0.8 * difficulty)))).mean()
    assert found.rate.low < truth < found.rate.high
    assert found.rate.high - found.rate.low < 0.06
    assert preferences.mean() > truth + 0.05  # what length has added
    assert found.scale == pytest.approx(differences.std())
    assert found.coefficient > 0.8


def test_resamples_of_the_fit_are_fits_of_the_resamples(monkeypatch):
    verdicts = judged(*made_up_verdicts(12))
    counts = np.array([[3, 0, 1, 2, 0, 0, 1, 1, 2, 0, 1, 1]], dtype=float)
    rows = np.array([row for (_, (row,)) in sorted(verdicts.items())])
    repeated = np.repeat(rows, counts[0].astype(int), axis=0)
    options = {"scale": 200.0, "priors": (NO_PRIOR, NO_PRIOR)}
    assert _length_controlled_rate(rows, counts, **options) == pytest.approx(
        _length_controlled_rate(repeated, np.ones((1, 12)), **options)
    )
    whole = length_controlled(verdicts, **DRAWS)
    monkeypatch.setattr(bootstrap_module, "CHUNK", 700)
    assert length_controlled(verdicts, **DRAWS).rate == pytest.approx(whole.rate)


@pytest.mark.parametrize(
    ("preferences", "differences", "low", "high"),
    [
        ([1.0] * 10, range(10), 0.9, 1.0),  # one side wins everything
        ([0.0] * 10, [500] * 9 + [-500], 0.0, 0.1),
        ([0.0] * 5 + [1.0] * 5, range(-50, 50, 10), 0.2, 0.95),  # length tells all
        ([0.2, 0.4, 0.6], [7, 7, 7], 0.398, 0.402),  # the same difference everywhere: nothing to control for
        ([0.2, 0.4, 0.6], [0, 0, 0], 0.398, 0.402),
    ],
)
def test_length_control_of_data_without_a_unique_fit(preferences, differences, low, high):
    found = length_controlled(judged(preferences, differences, [0.0] * len(preferences)), **DRAWS)
    assert low <= found.rate.estimate <= high
    assert 0 <= found.rate.low <= found.rate.estimate <= found.rate.high <= 1
    assert abs(found.coefficient) < 30


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(-10_000, 10_000), st.floats(-4, 4)), min_size=2, max_size=12),
    st.lists(st.integers(0, 3), min_size=12, max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_newton_reaches_the_minimum_whatever_the_data(rows, counts):
    preferences, differences, difficulty = np.array(rows, dtype=float).T
    features = np.column_stack([np.ones(len(rows)), np.tanh(differences / 100), difficulty])
    weights = np.array([counts[: len(rows)]], dtype=float)
    (fit,) = logistic_fit(features, preferences, weights, np.zeros(3), np.full(3, 0.01))
    predicted = 1 / (1 + np.exp(-features @ fit))
    gradient = (weights[0] * (preferences - predicted)) @ features - 0.01 * fit
    assert np.abs(gradient).max() < 1e-6


def test_difficulty_is_finite_and_follows_the_verdicts():
    assert difficulty([1.0, 1.0]) == pytest.approx(math.log(2.5 / 0.5))
    assert difficulty([0.0]) == pytest.approx(math.log(0.5 / 1.5))
    assert difficulty([0.5, 0.5]) == 0.0


def test_priors_hold_the_coefficients_where_verdicts_say_little():
    verdicts = judged(*made_up_verdicts(5))
    held = length_controlled(verdicts, prior=Prior(2.0, 1e6), difficulty_prior=Prior(0.0, 1e6), **DRAWS)
    assert held.coefficient == pytest.approx(2.0, abs=1e-4)
    assert held.rate.estimate == pytest.approx(1 / (1 + math.exp(-held.intercept)), abs=1e-4)  # no part of difficulty


def made_up_policies(count: int, queries: int, spread: float):
    """Verdicts on policies that are the shorter, the longer the comparator is, which it is where queries are hard."""
    random = np.random.default_rng(2)
    hard = random.normal(0, spread, queries)
    comparator = np.exp(7 - 0.25 * hard + random.normal(0, 0.4, queries))
    policies, rates = [], []
    for intercept in random.normal(-1, 0.7, count):
        differences = np.exp(random.normal(6.5, 0.6, queries)) - comparator
        odds = intercept + 1.5 * np.tanh(differences / differences.std()) + hard
        preferences = (random.random(queries) < 1 / (1 + np.exp(-odds))).astype(float)
        policies.append(judged(preferences, differences, [0.0] * queries))
        rates.append(float((1 / (1 + np.exp(-intercept - hard))).mean()))
    return policies, hard, rates


def test_joint_difficulties_are_the_minimum_of_the_joint_loss():
    policies, _, _ = made_up_policies(3, 8, 1.0)
    del policies[0]["q3"]
    policies[1]["q0"] += [Judged(0.25, 40.0), Judged(1.0, -300.0)]
    rows = [(p, int(q[1:]), row) for p, of in enumerate(policies) for q, of_query in of.items() for row in of_query]
    scales = [np.std([row.length_difference for p, _, row in rows if p == policy]) for policy in range(3)]
    lengths = [[math.tanh(row.length_difference / scales[p]) for p, q, row in rows if q == query] for query in range(8)]
    mean_length = np.array([np.mean(of_query) for of_query in lengths])
    mean_length -= mean_length.mean()

    def loss(parameters):
        intercepts, coefficients, apart, (slope,) = np.split(parameters, [3, 6, 14])
        hard = apart + slope * mean_length
        total = 0.01 * ((intercepts**2).sum() + slope**2) / 2
        total += (4 * ((coefficients - 1.2) ** 2).sum() + ((apart + 0.1) ** 2).sum()) / 2
        for policy, query, row in rows:
            length = math.tanh(row.length_difference / scales[policy])
            odds = intercepts[policy] + coefficients[policy] * length + hard[query]
            total += math.log1p(math.exp(odds)) - row.preference * odds
        return total

    slow = minimize(loss, np.zeros(15), tol=1e-10).x
    found = joint_difficulties(policies, length_prior=Prior(1.2, 4.0), difficulty_prior=Prior(-0.1, 1.0))
    assert [found[f"q{n}"] for n in range(8)] == pytest.approx(slow[6:14] + slow[14] * mean_length, abs=1e-4)


def test_joint_difficulties_tell_length_from_difficulty():
    """Where long comparators go with hard queries, length takes credit for difficulty unless others tell of it."""
    (policy, *others), hard, (rate, *_) = made_up_policies(25, 400, 1.5)
    priors = {"length_prior": Prior(1.5, 4.0), "difficulty_prior": Prior(0.0, 1 / 1.5**2)}
    found = joint_difficulties(others, **priors)
    assert np.corrcoef([found[f"q{n}"] for n in range(400)], hard)[0, 1] > 0.8
    known = {q: [row._replace(difficulty=found[q]) for row in rows] for q, rows in policy.items()}
    with_others, alone = (length_controlled(verdicts, **DRAWS).rate.estimate for verdicts in (known, policy))
    assert abs(with_others - rate) < 0.03 < alone - rate
