"""The bound on mutual information, by hand, by definition, and beside the training objective."""

import math

import numpy as np
import pytest

from sami.analysis.statistics.information import information

DRAWS = {"samples": 2000, "confidence": 0.95, "seed": 1}


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
        for name, value in {"loss": trained.loss, **trained.metrics}.items():
            if not name.endswith("log_probability"):
                assert getattr(found, name) == pytest.approx(value.item(), abs=1e-6), name


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
