import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sami import metrics
from sami.objectives import likelihood, preference, sami

CONTRAST = ["bound", "row_accuracy", "column_accuracy", "own_log_probability", "other_log_probability"]


def test_contrast_by_hand():
    scores = torch.tensor([[[-1.0, -2.0, -9.0], [-3.0, -4.0, -6.0]]])
    found = metrics.contrast(scores, torch.tensor([[0, 1, 1]]), torch.tensor([0.25]))
    assert list(found) == CONTRAST
    assert found["bound"].item() == pytest.approx((math.log(2) + math.log(3)) / 2 - 0.25)
    assert found["row_accuracy"].item() == 0.5  # the second constitution's most likely response is the first's
    assert found["column_accuracy"].item() == pytest.approx(2 / 3)  # -1 above -3 and -6 above -9, but -4 below -2
    assert found["own_log_probability"].item() == pytest.approx(-(1 + 4 + 6) / 3)
    assert found["other_log_probability"].item() == pytest.approx(-(2 + 9 + 3) / 3)


def test_row_accuracy_is_over_constitutions_with_a_response():
    scores = torch.tensor([[[-1.0, -2.0], [-1.0, -2.0], [-2.0, -1.0]]])
    found = metrics.contrast(scores, torch.tensor([[0, 0]]), torch.zeros(1))
    assert found["row_accuracy"].item() == 1
    assert found["column_accuracy"].item() == 0  # a tie with the second constitution, and the third is more likely


@given(st.data())
def test_own_and_other_equal_slow_definition(data):
    c, r = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 5))
    entry = st.floats(-50, 0, width=32)
    scores = data.draw(st.lists(st.lists(entry, min_size=r, max_size=r), min_size=c, max_size=c))
    labels = data.draw(st.lists(st.integers(0, c - 1), min_size=r, max_size=r))
    own = [scores[i][j] for i in range(c) for j in range(r) if labels[j] == i]
    other = [scores[i][j] for i in range(c) for j in range(r) if labels[j] != i]
    found = metrics.own_and_other(torch.tensor([scores], dtype=torch.float64), torch.tensor([labels]))
    assert found["own_log_probability"].item() == pytest.approx(sum(own) / len(own), abs=1e-9)
    assert found["other_log_probability"].item() == pytest.approx(sum(other) / len(other), abs=1e-9)


def test_likelihood_by_hand():
    log_probabilities = torch.tensor([[-1.0, -2.0, -4.0, -8.0]] * 3)
    weights = torch.tensor([[1, 0, 0, 1], [0.5, -0.25, 0, 1], [0, 0, 0, 0]])
    found = metrics.likelihood(log_probabilities, weights)
    assert list(found) == ["log_probability", "weight"]
    assert found["log_probability"].tolist() == [-9 / 2, pytest.approx(-11 / 3), 0]
    assert found["weight"].tolist() == [1, pytest.approx(1.25 / 3), 0]


def test_likelihood_does_not_depend_on_what_an_example_is_filled_up_with():
    log_probabilities, weights = torch.tensor([[-1.0, -2.0]]), torch.tensor([[1.0, 0.5]])
    filled = [torch.cat([values, torch.zeros(1, 3)], dim=1) for values in (log_probabilities, weights)]
    assert metrics.likelihood(*filled) == metrics.likelihood(log_probabilities, weights)


def test_margins_by_hand():
    # Log-ratios 2 and -1, -1 and 1, and 3 and 3, which is a tie.
    arguments = [torch.tensor([v]) for v in ([-3.0, -6, -1], [-5.0, -4, -2], [-5.0, -5, -4], [-4.0, -5, -5])]
    found = preference(*arguments, beta=0.5).metrics
    assert list(found) == [
        "margin",
        "accuracy",
        "chosen_reward",
        "rejected_reward",
        "chosen_log_probability",
        "rejected_log_probability",
    ]
    expected = [0.5 * (3 - 2 + 0) / 3, 1 / 3, 0.5 * (2 - 1 + 3) / 3, 0.5 * (-1 + 1 + 3) / 3, -10 / 3, -11 / 3]
    assert [values.item() for values in found.values()] == pytest.approx(expected)


def test_metrics_of_the_objectives_are_these():
    scores, labels = torch.randn(2, 3, 3), torch.arange(3).repeat(2, 1)
    result = sami(scores, labels)
    assert list(result.metrics) == CONTRAST
    for name, values in metrics.contrast(scores, labels, result.loss).items():
        assert torch.equal(result.metrics[name], values), name
    weights = torch.tensor([[1.0, 0, -1]]).expand(2, 3)
    for name, values in metrics.likelihood(scores[:, 0], weights).items():
        assert torch.equal(likelihood(scores[:, 0], weights).metrics[name], values), name
