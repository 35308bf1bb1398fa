"""Information, intervals, win rates, length control, agreement and repetition against hand-computed and slow values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import binom, binomtest, norm, permutation_test
from scipy.stats import t as student

from sami.analysis import statistics
from sami.analysis.statistics import (
    Judged,
    Prior,
    bootstrap,
    bootstrap_difference,
    information,
    is_degenerate,
    joint_difficulties,
    length_controlled,
    repeated_ngram_share,
    win_rate,
)

DRAWS = {"samples": 2000, "confidence": 0.95, "seed": 1}


# --- information ------------------------------------------------------------------------------------------------------


def test_information_of_a_2x2_matrix_by_hand():
    found = information([[-1.0, -2.0], [-3.0, -1.0]], [0, 1])
    row = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))) / 2  # gaps 1 and 2 along the rows
    column = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2  # gaps 2 and 1 along the columns
    assert found.row_loss == pytest.approx(row)
    assert found.column_loss == pytest.approx(column)
    assert found.loss == pytest.approx(0.2200948, abs=1e-7)
    assert found.bound == pytest.approx(math.log(2) - 0.2200948, abs=1e-7)
    assert found.max_bound == math.log(2)
    assert (found.row_accuracy, found.column_accuracy) == (1.0, 1.0)


def test_information_of_a_3x3_matrix_by_hand():
    # exp of the entries: [[4, 1, 1], [2, 2, 4], [2, 1, 5]]
    matrix = np.log([[4.0, 1.0, 1.0], [2.0, 2.0, 4.0], [2.0, 1.0, 5.0]])
    found = information(matrix, [0, 1, 2])
    assert found.row_loss == pytest.approx(-(math.log(4 / 6) + math.log(2 / 8) + math.log(5 / 8)) / 3)
    assert found.column_loss == pytest.approx(-(math.log(4 / 8) + math.log(2 / 4) + math.log(5 / 10)) / 3)
    assert found.column_loss == pytest.approx(math.log(2))
    assert found.bound == pytest.approx(math.log(3) - found.loss)
    assert found.row_accuracy == pytest.approx(2 / 3)  # row 1 prefers response 2
    assert found.column_accuracy == 1.0


def test_information_with_more_responses_than_constitutions_by_hand():
    # exp of the entries: [[3, 1, 2, 2], [1, 1, 4, 2]]; responses 0 and 3 were written for constitution 0
    matrix = np.log([[3.0, 1.0, 2.0, 2.0], [1.0, 1.0, 4.0, 2.0]])
    found = information(matrix, [0, 1, 1, 0])
    assert found.row_loss == pytest.approx(-np.mean(np.log([3 / 8, 1 / 8, 4 / 8, 2 / 8])))
    assert found.column_loss == pytest.approx(-np.mean(np.log([3 / 4, 1 / 2, 4 / 6, 2 / 4])))
    assert found.bound == pytest.approx((math.log(2) + math.log(4)) / 2 - found.loss)
    assert found.row_accuracy == 1.0
    assert found.column_accuracy == 0.5  # columns 1 and 3 are ties


def test_rows_without_responses_do_not_count():
    found = information([[0.0, -1.0], [-1.0, 0.0], [5.0, 5.0]], [0, 1])
    assert found.row_accuracy == 1.0
    assert found.column_accuracy == 0.0


def test_a_matrix_that_knows_nothing_has_no_information_and_no_accuracy():
    found = information(np.full((2, 2), -1.3), [0, 1])
    assert found.bound == pytest.approx(0.0, abs=1e-12)
    assert (found.row_accuracy, found.column_accuracy) == (0.0, 0.0)


@pytest.mark.parametrize(("constitutions", "each"), [(2, 1), (3, 1), (2, 3)])
def test_perfect_knowledge_reaches_log_c_and_no_matrix_exceeds_it(constitutions, each):
    labels = np.tile(np.arange(constitutions), each)
    own = labels[None, :] == np.arange(constitutions)[:, None]
    assert information(np.where(own, 0.0, -100.0), labels).bound == pytest.approx(math.log(constitutions))
    random = np.random.default_rng(0)
    for _ in range(50):
        matrix = random.normal(scale=5, size=own.shape) + 10 * random.random() * own
        assert information(matrix, labels).bound <= math.log(constitutions) + 1e-12


def slow_information(matrix, labels):
    """The definition, one entry at a time."""
    constitutions, responses = range(len(matrix)), range(len(matrix[0]))
    row = column = 0.0
    right_columns = 0
    for j in responses:
        i = labels[j]
        row -= math.log(math.exp(matrix[i][j]) / sum(math.exp(matrix[i][k]) for k in responses)) / len(responses)
        column -= math.log(math.exp(matrix[i][j]) / sum(math.exp(matrix[k][j]) for k in constitutions)) / len(responses)
        right_columns += all(matrix[i][j] > matrix[k][j] for k in constitutions if k != i)
    used = [i for i in constitutions if i in labels]
    right_rows = sum(labels[max(responses, key=lambda j: matrix[i][j])] == i for i in used)
    return row, column, right_rows / len(used), right_columns / len(responses)


@pytest.mark.parametrize(("constitutions", "responses"), [(2, 2), (3, 3), (2, 5), (4, 3)])
def test_information_agrees_with_the_definition_and_with_the_training_objective(constitutions, responses):
    torch = pytest.importorskip("torch")
    from sami import objectives

    random = np.random.default_rng(constitutions * 10 + responses)
    for _ in range(20):
        matrix = random.normal(size=(constitutions, responses))
        labels = random.integers(constitutions, size=responses).tolist()
        found = information(matrix, labels)
        row, column, row_accuracy, column_accuracy = slow_information(matrix.tolist(), labels)
        assert found.row_loss == pytest.approx(row)
        assert found.column_loss == pytest.approx(column)
        assert found.row_accuracy == pytest.approx(row_accuracy)
        assert found.column_accuracy == pytest.approx(column_accuracy)
        trained = objectives.sami(torch.tensor(matrix)[None], torch.tensor(labels)[None])
        for name in ("loss", "bound", "row_accuracy", "column_accuracy"):
            assert getattr(found, name) == pytest.approx(getattr(trained, name).item(), abs=1e-6), name


@pytest.mark.parametrize(
    ("matrix", "labels", "message"),
    [
        ([[0.0, 1.0]], [0], r"\(1, 2\) and \(1,\)"),
        ([0.0, 1.0], [0, 1], r"\(2,\)"),
        ([[0.0, 1.0], [1.0, 0.0]], [0, 2], "labels"),
        ([[0.0, math.nan], [1.0, 0.0]], [0, 1], "not finite"),
    ],
)
def test_wrong_matrices_are_refused(matrix, labels, message):
    with pytest.raises(ValueError, match=message):
        information(matrix, labels)


# --- bootstrap --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("fast", "slow"), [(statistics.mean, np.mean), (statistics.median, np.median)])
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
    assert statistics.median(values, weights) == pytest.approx(expected)


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
    monkeypatch.setattr(statistics, "_CHUNK", 700)
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


# --- win rates --------------------------------------------------------------------------------------------------------


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
    assert statistics.standard_error(single) == pytest.approx(np.std(flat, ddof=1) / math.sqrt(30))
    copied = {query_id: values * 4 for query_id, values in single.items()}
    assert statistics.standard_error(copied) == pytest.approx(statistics.standard_error(single))
    uneven = {f"q{n}": list(random.random() + random.random(1 + n % 4)) for n in range(120)}
    one_error = bootstrap(uneven, samples=4000, confidence=math.erf(math.sqrt(0.5)), seed=1)
    assert statistics.standard_error(uneven) == pytest.approx((one_error.high - one_error.low) / 2, rel=0.06)
    assert math.isnan(statistics.standard_error({"q": [1.0, 0.0]}))


def test_as_many_queries_as_needed_give_the_wanted_width():
    random = np.random.default_rng(8)
    draw = lambda count: {f"q{n}": [float(random.random() < 0.7)] * 2 for n in range(count)}  # noqa: E731
    needed = statistics.queries_needed(draw(3000), 0.1, 0.95)
    # A share of 0.7: variance 0.21, (2 * 1.96 / 0.1)^2 * 0.21 = 323; in two digits.
    assert needed in (310, 320, 330, 340)
    found = statistics.wilson_by_query(draw(needed), 0.95)
    assert found.high - found.low == pytest.approx(0.1, abs=0.012)
    assert statistics.queries_needed({"q": [1.0]}, 0.1, 0.95) is None


def test_the_count_that_is_needed_is_where_wilsons_interval_has_the_wanted_width():
    z = 1.959964
    for share, width in ((0.5, 0.1), (0.7, 0.2), (0.97, 0.05)):
        values = {f"q{n}": [float(n < 100 * share)] for n in range(100)}
        needed = statistics.queries_needed(values, width, 0.95)
        trials = needed * statistics.effective_count(values) / 100
        low, high = statistics.wilson(share, trials, z)
        assert high - low == pytest.approx(width, rel=0.06)  # as far as two digits can say
        assert high - low <= width + 1e-9
    # Eight wins of eight are no proof of a rate of 100%: z^2 (1 / width - 1) = 34.6.
    assert statistics.queries_needed({f"q{n}": [1.0, 1.0] for n in range(8)}, 0.1, 0.95) == 35
    # A judge whose preferences lie close together needs few queries.
    assert statistics.queries_needed({f"q{n}": [0.5 + 0.01 * (n % 2)] for n in range(8)}, 0.1, 0.95) == 2


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
    found = statistics.wilson(wins / count, count, norm.ppf(0.975))
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_verdicts_that_repeat_each_other_do_not_narrow_wilsons_interval():
    once = {f"q{n}": [float(n % 3 > 0)] for n in range(30)}
    found = statistics.wilson_by_query(once, 0.95)
    assert statistics.wilson_by_query({q: values * 4 for q, values in once.items()}, 0.95) == pytest.approx(found)
    # One verdict a query: the trials are the queries but one, as in a sample's variance.
    assert statistics.effective_count(once) == pytest.approx(29)
    assert found[1:] == pytest.approx(statistics.wilson(2 / 3, 29, student.ppf(0.975, 29)))
    assert math.isnan(statistics.wilson_by_query({"q": [1.0, 0.0]}, 0.95).low)
    with pytest.raises(ValueError, match="'q' has no values"):
        statistics.wilson_by_query({"q": []}, 0.95)


@pytest.mark.parametrize(("mean", "bootstrapped"), [(0.0, 0.91), (0.7, 0.86), (1.5, 0.62)])
def test_wilsons_interval_of_8_queries_covers_as_often_as_it_says_and_the_bootstrap_does_not(mean, bootstrapped):
    """Two verdicts a query, wins where a normal variable of this mean is above 0: rates of 50%, 76% and 93%."""
    random = np.random.default_rng(5)
    rate, runs, covered = norm.cdf(mean), 500, np.zeros(2)
    for _ in range(runs):
        of_query, of_verdict = random.standard_normal((8, 1)), random.standard_normal((8, 2))
        won = mean + math.sqrt(0.3) * of_query + math.sqrt(0.7) * of_verdict > 0
        values = {f"q{n}": list(of) for n, of in enumerate(won.astype(float))}
        both = statistics.wilson_by_query(values, 0.95), bootstrap(values, samples=200, confidence=0.95, seed=1)
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
    assert statistics.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferroni(p_values):
    adjusted = statistics.holm(p_values)
    assert all(p <= q <= min(1, len(p_values) * p) for p, q in zip(p_values, adjusted, strict=True))
    in_order = [adjusted[i] for i in sorted(range(len(p_values)), key=lambda i: p_values[i])]
    assert in_order == sorted(adjusted)


def test_the_sign_flip_test_agrees_with_scipy():
    random = np.random.default_rng(1)
    small, large = random.normal(0.5, size=9), random.normal(0.25, size=60)
    exact = permutation_test((small,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert statistics.sign_flip_test(small, 600, seed=1) == pytest.approx(exact)
    drawn = permutation_test((large,), np.sum, permutation_type="samples", n_resamples=20_000, rng=1).pvalue
    assert statistics.sign_flip_test(large, 20_000, seed=1) == pytest.approx(drawn, abs=0.02)
    assert statistics.sign_flip_test([0.0, 0.0], 100, seed=1) == 1.0
    assert statistics.sign_flip_test([1.0] * 3, 100, seed=1) == 2 / 8
    assert statistics.sign_flip_test([1.0] * 60, 999, seed=1) == 1 / 1000  # the pattern found counts as drawn


def test_a_paired_difference_of_policies():
    base = {f"q{n}": [0.0, 0.5] for n in range(30)}
    better = {query_id: [0.5, 1.0] for query_id in base}
    found = statistics.paired_difference(better, base, **DRAWS)
    assert found.interval == pytest.approx((0.5, 0.5, 0.5))
    assert found.p < 0.001
    assert statistics.paired_difference(base, base, **DRAWS).p == 1.0
    with pytest.raises(ValueError, match="as many values on both sides"):
        statistics.paired_difference(better, {**base, "q3": [0.0]}, **DRAWS)


# --- length control ---------------------------------------------------------------------------------------------------


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
    found = statistics.logistic_fit(features, preferences, weights, np.zeros(3), np.full(3, 0.01))
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
    options = {"scale": 200.0, "priors": (statistics.NO_PRIOR, statistics.NO_PRIOR)}
    assert statistics._length_controlled_rate(rows, counts, **options) == pytest.approx(
        statistics._length_controlled_rate(repeated, np.ones((1, 12)), **options)
    )
    whole = length_controlled(verdicts, **DRAWS)
    monkeypatch.setattr(statistics, "_CHUNK", 700)
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
    (fit,) = statistics.logistic_fit(features, preferences, weights, np.zeros(3), np.full(3, 0.01))
    predicted = 1 / (1 + np.exp(-features @ fit))
    gradient = (weights[0] * (preferences - predicted)) @ features - 0.01 * fit
    assert np.abs(gradient).max() < 1e-6


def test_difficulty_is_finite_and_follows_the_verdicts():
    assert statistics.difficulty([1.0, 1.0]) == pytest.approx(math.log(2.5 / 0.5))
    assert statistics.difficulty([0.0]) == pytest.approx(math.log(0.5 / 1.5))
    assert statistics.difficulty([0.5, 0.5]) == 0.0


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


# --- agreement --------------------------------------------------------------------------------------------------------


def test_fleiss_kappa_of_a_published_table():
    # Ten subjects, fourteen raters, five categories: kappa 0.210.
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    labels = np.array([np.repeat(range(5), counts) for counts in table])
    (kappa,) = statistics.fleiss_kappa(labels, np.ones((1, 10)))
    assert kappa == pytest.approx(0.210, abs=5e-4)


def test_cohen_kappa_agrees_with_scikit_learn_resample_by_resample():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(6)
    first = random.integers(3, size=80)
    second = np.where(random.random(80) < 0.6, first, random.integers(3, size=80))
    weights = random.integers(3, size=(5, 80)).astype(float)
    found = statistics.cohen_kappa(np.column_stack([first, second]), weights)
    expected = [metrics.cohen_kappa_score(first, second, sample_weight=row) for row in weights]
    assert found == pytest.approx(expected)


def test_agreement_leaves_invalid_verdicts_out():
    labels = {
        "q1": [("first", "first"), ("first", "second")],
        "q2": [("second", "second"), ("invalid", "first")],
        "q3": [("tie", "invalid")],
    }
    found = statistics.agreement(labels, **DRAWS)
    assert (found.n_queries, found.n_verdicts) == (2, 3)
    assert found.share == pytest.approx(2 / 3)
    assert found.kappa.estimate == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))  # chance: 2/3 * 1/3 + 1/3 * 2/3
    three = {q: [(*choices, choices[0]) for choices in of] for q, of in labels.items()}
    assert statistics.agreement(three, **DRAWS).share == pytest.approx((1 + 1 / 3 + 1) / 3)


def test_agreement_without_anything_to_agree_on():
    alike = statistics.agreement({"q1": [("tie", "tie")], "q2": [("tie", "tie")]}, **DRAWS)
    assert alike.share == 1.0
    assert all(map(math.isnan, alike.kappa))
    nothing = statistics.agreement({"q1": [("invalid", "tie")]}, **DRAWS)
    assert (nothing.n_verdicts, math.isnan(nothing.share)) == (0, True)
    with pytest.raises(ValueError, match="'A'"):
        statistics.agreement({"q1": [("A", "tie")]}, **DRAWS)


# --- degeneration -----------------------------------------------------------------------------------------------------


def test_repeated_ngrams_by_hand():
    assert repeated_ngram_share("the cat sat on the mat", 3) == 0.0
    # Bigrams: a b, b a, a b, b a, a b: two are unique.
    assert repeated_ngram_share("A b a B a b", 2) == pytest.approx(3 / 5)
    assert repeated_ngram_share("so so so so so", 3) == pytest.approx(2 / 3)
    assert repeated_ngram_share("two words", 3) == 0.0
    assert repeated_ngram_share("", 3) == 0.0


def test_repeated_ngrams_agree_with_a_loop():
    random = np.random.default_rng(9)
    for _ in range(30):
        words = random.choice(["a", "b", "c"], size=25).tolist()
        seen, repeats = [], 0
        for i in range(23):
            repeats += words[i : i + 3] in seen
            seen.append(words[i : i + 3])
        assert repeated_ngram_share(" ".join(words), 3) == pytest.approx(repeats / 23)


def test_degenerate_means_more_than_the_limit():
    assert is_degenerate("so so so so so", 3, 0.5)
    assert not is_degenerate("so so so so so", 3, 2 / 3)
    assert not is_degenerate("A fluent sentence about a kettle.", 3, 0.0)
