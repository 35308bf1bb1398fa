"""Bootstrap over queries, and over seeds and queries: percentiles, weights, chunks, pairs."""

import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from sami.analysis.statistics import bootstrap as bootstrap_module
from sami.analysis.statistics.bootstrap import (
    bootstrap,
    bootstrap_difference,
    bootstrap_over_seeds,
    mean,
    median,
)

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


def crossed(values: np.ndarray) -> dict[int, dict[str, list[float]]]:
    """(S, Q, n) values by seed and query."""
    return {s + 1: {f"q{q:03d}": list(of) for q, of in enumerate(of_seed)} for s, of_seed in enumerate(values)}


def test_over_one_seed_or_seeds_that_are_alike_it_is_the_bootstrap_over_queries():
    random = np.random.default_rng(6)
    values = {f"q{n}": list(random.normal(size=1 + n % 3)) for n in range(20)}
    alone = bootstrap(values, **DRAWS)
    assert bootstrap_over_seeds({7: values}, **DRAWS) == pytest.approx(alone)
    assert bootstrap_over_seeds({1: values, 2: values, 3: values}, **DRAWS) == pytest.approx(alone)


def test_seeds_that_alone_differ_have_the_percentiles_of_the_binomial_distribution():
    """Resampling five seeds, two of which have ones on all queries: the number of those is binomial(5, 2/5)."""
    values = crossed(np.repeat(np.array([0.0, 1, 0, 0, 1]), 2 * 12).reshape(5, 12, 2))
    found = bootstrap_over_seeds(values, samples=20_000, confidence=0.6, seed=3)
    assert found == pytest.approx((2 / 5, binom.ppf(0.2, 5, 2 / 5) / 5, binom.ppf(0.8, 5, 2 / 5) / 5))


def slow_bootstrap_over_seeds(values, samples, seed):
    """Draws seeds and queries one at a time; its own random numbers."""
    random = np.random.default_rng(seed)
    results = []
    for _ in range(samples):
        queries = random.choice(sorted({query for of_seed in values.values() for query in of_seed}), size=40)
        means = []
        for drawn in random.choice(list(values), size=len(values)):
            found = [value for query in queries for value in values[drawn].get(query, [])]
            means.append(np.mean(found))
        results.append(np.mean(means))
    return np.quantile(results, [0.025, 0.975])


def test_over_seeds_it_agrees_with_a_loop_on_uneven_queries_some_of_which_a_seed_lacks():
    random = np.random.default_rng(8)
    effects = random.normal(scale=0.5, size=40)
    values = {
        seed: {
            f"q{n}": list(effects[n] + 0.4 * seed + random.normal(size=1 + (n + seed) % 3))
            for n in range(40)
            if (n + seed) % 7
        }
        for seed in (1, 2, 3, 4)
    }
    found = bootstrap_over_seeds(values, samples=8000, confidence=0.95, seed=1)
    low, high = slow_bootstrap_over_seeds(values, 4000, seed=2)
    of_seeds = [np.mean(np.concatenate(list(of_seed.values()))) for of_seed in values.values()]
    assert found.estimate == pytest.approx(np.mean(of_seeds))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.06 * (high - low))


def test_over_seeds_that_differ_the_interval_is_wider():
    random = np.random.default_rng(9)
    values = random.normal(size=(1, 60, 1)) + 0.1 * random.normal(size=(4, 60, 1))
    alike = bootstrap_over_seeds(crossed(values), **DRAWS)
    over_queries = bootstrap(crossed(values.mean(axis=0, keepdims=True))[1], **DRAWS)
    assert alike.high - alike.low == pytest.approx(over_queries.high - over_queries.low, rel=0.1)
    apart = bootstrap_over_seeds(crossed(values + np.array([-1, 0, 0, 1])[:, None, None]), **DRAWS)
    assert apart.estimate == pytest.approx(alike.estimate)
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


@pytest.mark.parametrize(
    ("spread", "over_both", "over_queries"), [(0, (0.95, 1), (0.92, 0.97)), (0.6, (0.87, 0.93), (0.6, 0.75))]
)
def test_over_seeds_it_covers_as_docs_statistics_says(spread, over_both, over_queries):
    """Two verdicts on each of 48 queries by 3 seeds, whose win rates (0.64 in the mean) differ by 0, or 0.12."""
    random = np.random.default_rng(13)
    truth = expit(0.7 + spread * random.normal(size=(2000, 1)) + random.normal(size=2000)).mean()
    covered = np.zeros(2)
    for trial in range(400):
        wins = expit(0.7 + spread * random.normal(size=(3, 1)) + random.normal(size=48))
        values = (random.random((3, 48, 2)) < wins[..., None]).astype(float)
        pooled = {f"q{q:03d}": list(values[:, q].ravel()) for q in range(48)}
        how = {"samples": 400, "confidence": 0.95, "seed": trial}
        found = bootstrap_over_seeds(crossed(values), **how), bootstrap(pooled, **how)
        covered += [interval.low <= truth <= interval.high for interval in found]
    for share, (low, high) in zip(covered / 400, (over_both, over_queries), strict=True):
        assert low <= share <= high


def test_over_seeds_in_chunks_in_any_order_of_queries_it_gives_the_same_numbers(monkeypatch):
    values = crossed(np.random.default_rng(1).normal(size=(3, 10, 2)))
    whole = bootstrap_over_seeds(values, **DRAWS)
    backwards = {seed: dict(reversed(of_seed.items())) for seed, of_seed in values.items()}
    assert bootstrap_over_seeds(backwards, **DRAWS) == whole
    monkeypatch.setattr(bootstrap_module, "CHUNK", 70)
    assert bootstrap_over_seeds(values, **DRAWS) == pytest.approx(whole)


def test_resamples_without_a_value_of_a_seed_are_left_out():
    """Seed 2 answers one of three queries, which 8 of 27 resamples do not have."""
    values = {1: {"a": [0.0], "b": [0.0], "c": [0.0]}, 2: {"c": [1.0]}}
    assert bootstrap_over_seeds(values, **DRAWS) == pytest.approx((0.5, 0.0, 1.0))


def test_seeds_without_values_are_refused_and_one_query_has_no_interval():
    with pytest.raises(ValueError, match="no seed"):
        bootstrap_over_seeds({}, **DRAWS)
    with pytest.raises(ValueError, match="no query"):
        bootstrap_over_seeds({1: {"q": [1.0]}, 2: {}}, **DRAWS)
    assert bootstrap_over_seeds({1: {"q": [1.0]}, 2: {"q": [2.0]}}, **DRAWS) == pytest.approx(
        (1.5, math.nan, math.nan), nan_ok=True
    )
