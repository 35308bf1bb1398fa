"""Bootstrap over queries: percentiles, weights, chunks, pairs."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from sami.analysis.statistics import bootstrap as bootstrap_module
from sami.analysis.statistics.bootstrap import bootstrap, bootstrap_difference, mean, median

DRAWS = {"samples": 2000, "confidence": 0.95, "seed": 1}


def test_bootstrap_of_a_share_has_the_percentiles_of_the_binomial_distribution():
    # Resampling 12 queries of which 5 are 1: the number of ones is exactly binomial(12, 5/12).
    values = {f"q{n}": [float(n < 5)] for n in range(12)}
    found = bootstrap(values, samples=20_000, confidence=0.9, seed=3)
    assert found.estimate == pytest.approx(5 / 12)
    assert found.low == pytest.approx(binom.ppf(0.05, 12, 5 / 12) / 12)
    assert found.high == pytest.approx(binom.ppf(0.95, 12, 5 / 12) / 12)


def slow_bootstrap(values, statistic, samples, seed):
    """Draws queries one at a time; its own random numbers."""
    random = np.random.default_rng(seed)
    ids = list(values)
    results = []
    for _ in range(samples):
        drawn = random.choice(ids, size=len(ids))
        results.append(statistic(np.concatenate([values[query_id] for query_id in drawn])))
    return np.quantile(results, [0.025, 0.975])


@pytest.mark.parametrize(("fast", "slow"), [(mean, np.mean), (median, np.median)])
def test_bootstrap_agrees_with_a_loop_on_queries_of_uneven_size(fast, slow):
    random = np.random.default_rng(5)
    values = {f"q{n}": random.normal(loc=n % 7, size=1 + n % 4) for n in range(40)}
    found = bootstrap(values, samples=8000, confidence=0.95, seed=1, statistic=fast)
    low, high = slow_bootstrap(values, slow, 8000, seed=2)
    assert found.estimate == pytest.approx(slow(np.concatenate(list(values.values()))))
    width = high - low
    assert found.low == pytest.approx(low, abs=0.06 * width)
    assert found.high == pytest.approx(high, abs=0.06 * width)


def test_median_of_weighted_values_is_the_median_of_repeated_values():
    random = np.random.default_rng(0)
    values = random.normal(size=9).round(1)
    weights = random.integers(4, size=(200, 9))
    weights[:, 0] += 1
    expected = [np.median(np.repeat(values, row)) for row in weights]
    assert median(values, weights) == pytest.approx(expected)


def test_bootstrap_covers_as_often_as_it_claims():
    random = np.random.default_rng(11)
    covered = 0
    for trial in range(500):
        # 60 queries whose two values share a query effect: treating the 120 values as independent would cover 76%.
        effects = random.normal(size=60)
        values = {f"q{n}": [effect + 0.3, effect + 0.7] for n, effect in enumerate(effects)}
        found = bootstrap(values, samples=400, confidence=0.9, seed=trial)
        covered += found.low <= 0.5 <= found.high
    assert 0.86 <= covered / 500 <= 0.93


def test_copies_within_a_query_do_not_narrow_the_interval():
    random = np.random.default_rng(2)
    single = {f"q{n}": [random.normal()] for n in range(30)}
    copied = {query_id: values * 10 for query_id, values in single.items()}
    assert bootstrap(copied, **DRAWS) == pytest.approx(bootstrap(single, **DRAWS))


def test_bootstrap_is_seeded_and_blind_to_the_order_of_queries():
    values = {f"q{n}": [float(n * n % 17), 1.0] for n in range(20)}
    backwards = dict(reversed(values.items()))
    assert bootstrap(values, **DRAWS) == bootstrap(values, **DRAWS) == bootstrap(backwards, **DRAWS)
    assert bootstrap(values, **DRAWS) != bootstrap(values, **{**DRAWS, "seed": 2})


def test_bootstrap_in_chunks_gives_the_same_numbers(monkeypatch):
    values = {f"q{n}": [float(n), 2.0] for n in range(10)}
    whole = bootstrap(values, **DRAWS)
    monkeypatch.setattr(bootstrap_module, "CHUNK", 700)
    assert bootstrap(values, **DRAWS) == whole


def test_one_query_has_no_interval():
    found = bootstrap({"q": [1.0, 2.0]}, **DRAWS)
    assert found.estimate == 1.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_paired_difference_cancels_what_makes_a_query_hard():
    random = np.random.default_rng(4)
    base = {f"q{n}": [random.normal(scale=10)] for n in range(50)}
    policy = {query_id: [value + 1 + 0.1 * random.normal()] for query_id, (value,) in base.items()}
    found = bootstrap_difference(policy, base, **DRAWS)
    assert found.estimate == pytest.approx(1.0, abs=0.05)
    assert 0.9 < found.low < found.estimate < found.high < 1.1
    alone = bootstrap(policy, **DRAWS)
    assert alone.high - alone.low > 20 * (found.high - found.low)
    exact = {query_id: [value + 1] for query_id, (value,) in base.items()}
    assert bootstrap_difference(exact, base, **DRAWS) == pytest.approx((1.0, 1.0, 1.0))


def test_what_cannot_be_resampled_is_refused():
    with pytest.raises(ValueError, match="no query"):
        bootstrap({}, **DRAWS)
    with pytest.raises(ValueError, match="'q2' has no values"):
        bootstrap({"q1": [1.0], "q2": []}, **DRAWS)
    with pytest.raises(ValueError, match="same queries on both sides"):
        bootstrap_difference({"q1": [1.0], "q2": [1.0]}, {"q1": [1.0], "q3": [1.0]}, **DRAWS)
