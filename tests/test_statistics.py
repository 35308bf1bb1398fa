"""Information, intervals, win rates and repetition against hand-computed, slow and published values."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from sami import statistics
from sami.statistics import bootstrap, bootstrap_difference, information, is_degenerate, repeated_ngram_share, win_rate

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "alpaca_eval"
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
    from sami import objective

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
        trained = objective.sami(torch.tensor(matrix)[None], torch.tensor(labels)[None])
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
    choices = {
        "q1": ["first", "first"],
        "q2": ["first", "second"],
        "q3": ["tie", "invalid"],
        "q4": ["first", "first"],
        "q5": ["second", "first"],
    }
    found = win_rate(choices, **DRAWS)
    assert (found.wins, found.ties, found.losses, found.invalid) == (6, 1, 2, 1)
    assert (found.n_queries, found.n_verdicts) == (5, 10)
    assert found.rate.estimate == pytest.approx(0.7)
    assert 0.5 <= found.rate.low < 0.7 < found.rate.high <= 1.0
    # 6 of 8 decided verdicts: (1 + 8 + 28) of 256 on each side.
    assert found.sign_test_p == pytest.approx(2 * 37 / 256)
    # z = 1.959964: centre (0.7 + z^2/20) / (1 + z^2/10) = 0.64450, half width 0.24731
    assert (found.wilson_low, found.wilson_high) == pytest.approx((0.39677, 0.89221), abs=1e-4)


@pytest.mark.parametrize(("wins", "count"), [(0, 7), (3, 10), (60, 96), (20, 20)])
def test_wilson_agrees_with_scipy(wins, count):
    expected = binomtest(wins, count).proportion_ci(confidence_level=0.95, method="wilson")
    assert statistics.wilson(wins / count, count, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_sign_test_without_decided_verdicts():
    assert statistics.sign_test(0, 0) == 1.0
    assert statistics.sign_test(10, 0) == pytest.approx(2 / 1024)


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="'A'"):
        win_rate({"q1": ["first", "A"]}, **DRAWS)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs the AlpacaEval annotations, which are not in the repository")
@pytest.mark.parametrize("model", ["FuseChat-Qwen-2.5-7B-Instruct", "FuseChat-Llama-3.2-1B-Instruct"])
def test_published_win_rates(model):
    with open(PUBLISHED / "published.csv", newline="") as file:
        published = next(row for row in csv.DictReader(file) if row[""] == model)
    lines = (PUBLISHED / f"annotations-{model}.jsonl").read_text(encoding="utf-8").splitlines()
    preferences = [json.loads(line)["preference"] for line in lines]  # 2.0: the model is better than the baseline
    graded = {f"q{n}": [100 * (preference - 1)] for n, preference in enumerate(preferences)}
    one_error = bootstrap(graded, samples=10_000, confidence=math.erf(math.sqrt(0.5)), seed=1)
    assert one_error.estimate == pytest.approx(float(published["win_rate"]), abs=0.05)
    exact = np.std(list(graded.values()), ddof=1) / math.sqrt(len(graded))
    assert exact == pytest.approx(float(published["standard_error"]), abs=0.05)
    assert (one_error.high - one_error.low) / 2 == pytest.approx(float(published["standard_error"]), abs=0.05)
    choices = {
        f"q{n}": ["first" if preference > 1.5 else "second" if preference < 1.5 else "tie"]
        for n, preference in enumerate(preferences)
    }
    found = win_rate(choices, **DRAWS)
    counts = {"wins": "n_wins", "losses": "n_wins_base", "ties": "n_draws", "n_verdicts": "n_total"}
    assert all(getattr(found, ours) == int(published[theirs]) for ours, theirs in counts.items())
    assert 100 * found.rate.estimate == pytest.approx(float(published["discrete_win_rate"]), abs=0.05)


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
