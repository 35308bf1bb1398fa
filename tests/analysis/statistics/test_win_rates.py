"""Win rates, Wilson's interval, p-values and differences, against hand-computed and slow values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, permutation_test
from scipy.stats import t as student

from sami.analysis.statistics.bootstrap import bootstrap
from sami.analysis.statistics.significance import holm, paired_difference, sign_flip_test
from sami.analysis.statistics.win_rates import (
    effective_count,
    queries_needed,
    standard_error,
    wilson,
    wilson_by_query,
    win_rate,
)

DRAWS = {"samples": 2000, "confidence": 0.95, "seed": 1}


def test_win_rate_by_hand():
    verdicts = {
        "q1": [("first", 1.0), ("first", 1.0)],
        "q2": [("first", 0.9), ("second", 0.1)],
        "q3": [("tie", 0.5), ("invalid", 0.5)],
        "q4": [("first", 1.0), ("first", 1.0)],
        "q5": [("second", 0.0), ("first", 1.0)],
    }
    found = win_rate(verdicts, **DRAWS)
    assert (found.wins, found.ties, found.losses, found.invalid) == (6, 1, 2, 1)
    assert (found.n_queries, found.n_verdicts) == (5, 10)
    assert found.rate.estimate == pytest.approx(0.7)
    assert found.rate_without_invalid == pytest.approx(6.5 / 9)
    # Sums of residuals from 0.7, by query: 0.6, -0.4, -0.4, 0.6, -0.4; their squares sum to 1.2.
    assert found.standard_error == pytest.approx(math.sqrt(5 / 4 * 1.2) / 10)
    # 0.21 / 0.12247^2 = 14 trials, t = 2.77645 of 4 degrees of freedom: centre (0.7 + t^2/28) / (1 + t^2/14) = 0.62898,
    # half width t / (1 + t^2/14) * sqrt(0.21/14 + (t/28)^2) = 0.28216
    assert found.rate[1:] == pytest.approx((0.34682, 0.91114), abs=1e-4)
    # Two queries lean to one side, the others to none: two of the four patterns of signs are as uneven.
    assert found.p == 0.5


def test_invalid_verdicts_alone_have_no_rate_without_them():
    found = win_rate({"q1": [("invalid", 0.5)], "q2": [("invalid", 0.5)]}, **DRAWS)
    assert found.rate.estimate == 0.5
    assert found.rate.low < 0.01
    assert found.rate.high > 0.99
    assert math.isnan(found.rate_without_invalid)
    assert found.p == 1.0


def test_the_standard_error_is_that_of_independent_values_and_of_the_bootstrap():
    random = np.random.default_rng(3)
    single = {f"q{n}": [value] for n, value in enumerate(random.random(30))}
    flat = [value for (value,) in single.values()]
    assert standard_error(single) == pytest.approx(np.std(flat, ddof=1) / math.sqrt(30))
    copied = {query_id: values * 4 for query_id, values in single.items()}
    assert standard_error(copied) == pytest.approx(standard_error(single))
    uneven = {f"q{n}": list(random.random() + random.random(1 + n % 4)) for n in range(120)}
    one_error = bootstrap(uneven, samples=4000, confidence=math.erf(math.sqrt(0.5)), seed=1)
    assert standard_error(uneven) == pytest.approx((one_error.high - one_error.low) / 2, rel=0.06)
    assert math.isnan(standard_error({"q": [1.0, 0.0]}))


def test_as_many_queries_as_needed_give_the_wanted_width():
    random = np.random.default_rng(8)
    draw = lambda count: {f"q{n}": [float(random.random() < 0.7)] * 2 for n in range(count)}  # noqa: E731
    needed = queries_needed(draw(3000), 0.1, 0.95)
    # A share of 0.7: variance 0.21, (2 * 1.96 / 0.1)^2 * 0.21 = 323; in two digits.
    assert needed in (310, 320, 330, 340)
    found = wilson_by_query(draw(needed), 0.95)
    assert found.high - found.low == pytest.approx(0.1, abs=0.012)
    assert queries_needed({"q": [1.0]}, 0.1, 0.95) is None


def test_the_count_that_is_needed_is_where_wilsons_interval_has_the_wanted_width():
    z = 1.959964
    for share, width in ((0.5, 0.1), (0.7, 0.2), (0.97, 0.05)):
        values = {f"q{n}": [float(n < 100 * share)] for n in range(100)}
        needed = queries_needed(values, width, 0.95)
        trials = needed * effective_count(values) / 100
        low, high = wilson(share, trials, z)
        assert high - low == pytest.approx(width, rel=0.06)  # as far as two digits can say
        assert high - low <= width + 1e-9
    # Eight wins of eight are no proof of a rate of 100%: z^2 (1 / width - 1) = 34.6.
    assert queries_needed({f"q{n}": [1.0, 1.0] for n in range(8)}, 0.1, 0.95) == 35
    # A judge whose preferences lie close together needs few queries.
    assert queries_needed({f"q{n}": [0.5 + 0.01 * (n % 2)] for n in range(8)}, 0.1, 0.95) == 2


@given(st.dictionaries(st.text(max_size=3), st.lists(st.floats(0, 1), min_size=1, max_size=3), min_size=2, max_size=8))
@settings(max_examples=40, deadline=None)
def test_a_rate_and_its_interval_lie_between_0_and_1_and_mirror_each_other(preferences):
    draws = {"samples": 200, "confidence": 0.9, "seed": 1}
    side = lambda p: "first" if p > 0.5 else "second" if p < 0.5 else "tie"  # noqa: E731
    found = win_rate({q: [(side(p), p) for p in of] for q, of in preferences.items()}, **draws)
    other = win_rate({q: [(side(1 - p), 1 - p) for p in of] for q, of in preferences.items()}, **draws)
    assert 0 <= found.rate.low <= found.rate.estimate <= found.rate.high <= 1
    assert found.rate.estimate + other.rate.estimate == pytest.approx(1)
    assert found.rate.low + other.rate.high == pytest.approx(1)
    assert found.standard_error == pytest.approx(other.standard_error, abs=1e-9)


@pytest.mark.parametrize(("wins", "count"), [(0, 7), (3, 10), (60, 96), (20, 20)])
def test_wilson_agrees_with_scipy(wins, count):
    expected = binomtest(wins, count).proportion_ci(confidence_level=0.95, method="wilson")
    found = wilson(wins / count, count, norm.ppf(0.975))
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_verdicts_that_repeat_each_other_do_not_narrow_wilsons_interval():
    once = {f"q{n}": [float(n % 3 > 0)] for n in range(30)}
    found = wilson_by_query(once, 0.95)
    assert wilson_by_query({q: values * 4 for q, values in once.items()}, 0.95) == pytest.approx(found)
    # One verdict a query: the trials are the queries but one, as in a sample's variance.
    assert effective_count(once) == pytest.approx(29)
    assert found[1:] == pytest.approx(wilson(2 / 3, 29, student.ppf(0.975, 29)))
    assert math.isnan(wilson_by_query({"q": [1.0, 0.0]}, 0.95).low)
    with pytest.raises(ValueError, match="'q' has no values"):
        wilson_by_query({"q": []}, 0.95)


@pytest.mark.parametrize(("mean", "bootstrapped"), [(0.0, 0.91), (0.7, 0.86), (1.5, 0.62)])
def test_wilsons_interval_of_8_queries_covers_as_often_as_it_says_and_the_bootstrap_does_not(mean, bootstrapped):
    """Two verdicts a query, wins where a normal variable of this mean is above 0: rates of 50%, 76% and 93%."""
    random = np.random.default_rng(5)
    rate, runs, covered = norm.cdf(mean), 500, np.zeros(2)
    for _ in range(runs):
        of_query, of_verdict = random.standard_normal((8, 1)), random.standard_normal((8, 2))
        won = mean + math.sqrt(0.3) * of_query + math.sqrt(0.7) * of_verdict > 0
        values = {f"q{n}": list(of) for n, of in enumerate(won.astype(float))}
        both = wilson_by_query(values, 0.95), bootstrap(values, samples=200, confidence=0.95, seed=1)
        covered += [low <= rate <= high for _, low, high in both]
    assert covered[0] / runs >= 0.95
    assert covered[1] / runs == pytest.approx(bootstrapped, abs=0.02)


def test_wrong_verdicts_are_refused():
    with pytest.raises(ValueError, match="'A'"):
        win_rate({"q1": [("first", 1.0), ("A", 0.5)]}, **DRAWS)
    with pytest.raises(ValueError, match=r"preference 1\.5"):
        win_rate({"q1": [("first", 1.5)]}, **DRAWS)


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1, never below the one before, at most 1.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferroni(p_values):
    adjusted = holm(p_values)
    assert all(p <= q <= min(1, len(p_values) * p) for p, q in zip(p_values, adjusted, strict=True))
    in_order = [adjusted[i] for i in sorted(range(len(p_values)), key=lambda i: p_values[i])]
    assert in_order == sorted(adjusted)


def test_the_sign_flip_test_agrees_with_scipy():
    random = np.random.default_rng(1)
    small, large = random.normal(0.5, size=9), random.normal(0.25, size=60)
    exact = permutation_test((small,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_test(small, 600, seed=1) == pytest.approx(exact)
    drawn = permutation_test((large,), np.sum, permutation_type="samples", n_resamples=20_000, rng=1).pvalue
    assert sign_flip_test(large, 20_000, seed=1) == pytest.approx(drawn, abs=0.02)
    assert sign_flip_test([0.0, 0.0], 100, seed=1) == 1.0
    assert sign_flip_test([1.0] * 3, 100, seed=1) == 2 / 8
    assert sign_flip_test([1.0] * 60, 999, seed=1) == 1 / 1000  # the pattern found counts as drawn


def test_a_paired_difference_of_policies():
    base = {f"q{n}": [0.0, 0.5] for n in range(30)}
    better = {query_id: [0.5, 1.0] for query_id in base}
    found = paired_difference(better, base, **DRAWS)
    assert found.interval == pytest.approx((0.5, 0.5, 0.5))
    assert found.p < 0.001
    assert paired_difference(base, base, **DRAWS).p == 1.0
    with pytest.raises(ValueError, match="as many values on both sides"):
        paired_difference(better, {**base, "q3": [0.0]}, **DRAWS)
