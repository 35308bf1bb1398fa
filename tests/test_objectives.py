import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sami.objectives import OBJECTIVES, kl_divergence, loss_of_a_guess, sami
from sami.settings.training import Training


def test_two_by_two_by_hand():
    # Rows: -log(3/4) and -log(2/3). Columns: -log(3/4) and -log(2/3).
    scores = torch.log(torch.tensor([[[3.0, 1.0], [1.0, 2.0]]]))
    result = sami(scores, torch.tensor([[0, 1]]))
    expected = (-math.log(3 / 4) - math.log(2 / 3)) / 2
    assert result.loss.item() == pytest.approx(expected)
    assert result.bound.item() == pytest.approx(math.log(2) - expected)
    assert result.row_accuracy.item() == result.column_accuracy.item() == 1


def test_three_by_three_by_hand():
    scores = torch.log(torch.tensor([[[4.0, 1.0, 1.0], [2.0, 3.0, 5.0], [2.0, 4.0, 2.0]]]))
    result = sami(scores, torch.tensor([[0, 1, 2]]))
    row = -(math.log(4 / 6) + math.log(3 / 10) + math.log(2 / 8)) / 3
    column = -(math.log(4 / 8) + math.log(3 / 8) + math.log(2 / 8)) / 3
    assert result.loss.item() == pytest.approx((row + column) / 2)
    assert result.bound.item() == pytest.approx(math.log(3) - (row + column) / 2)
    assert result.row_accuracy.item() == pytest.approx(1 / 3)  # only the first row's maximum is its own
    assert result.column_accuracy.item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sami-rows", -(math.log(3 / 4) + math.log(3 / 8)) / 2),
        ("sami-columns", -(math.log(3 / 8) + math.log(3 / 4)) / 2),
        ("supervised", -math.log(3)),
    ],
)
def test_losses_of_the_variants_by_hand(name, expected):
    scores = torch.log(torch.tensor([[[3.0, 1.0], [5.0, 3.0]]]))
    result, full = (OBJECTIVES[n](scores, torch.tensor([[0, 1]])) for n in (name, "sami"))
    assert result.loss.item() == pytest.approx(expected)
    assert result.bound.item() == full.bound.item()
    assert (result.row_accuracy.item(), result.column_accuracy.item()) == (0.5, 0.5)


def test_names_in_the_settings_are_those_of_the_objectives():
    assert list(OBJECTIVES) == list(Training.model_fields["objective"].annotation.__args__)


def test_supervised_takes_only_responses_written_for_the_first_constitution():
    scores = torch.tensor([[[-1.0, -2.0, -4.0], [-8.0, -16.0, -32.0]]] * 2, requires_grad=True)
    loss = OBJECTIVES["supervised"](scores, torch.tensor([[0, 1, 0], [1, 1, 1]])).loss
    assert loss.tolist() == [2.5, 0]  # the second query has no such response
    loss.sum().backward()
    assert scores.grad.tolist() == [[[-0.5, 0, -0.5], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize(("constitutions", "responses"), [(2, 2), (3, 5)])
def test_guessing_costs_what_it_is_said_to(constitutions, responses):
    vocabulary = 7
    scores = torch.full((1, constitutions, responses), -math.log(vocabulary))
    labels = torch.arange(responses)[None] % constitutions
    for name, objective in OBJECTIVES.items():
        expected = loss_of_a_guess(name, constitutions, responses, vocabulary)
        assert objective(scores, labels).loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_bound_lies_between_nothing_and_log_c(size):
    labels = torch.arange(size)[None]
    uniform = sami(torch.full((1, size, size), -1.7), labels)
    assert uniform.bound.item() == pytest.approx(0, abs=1e-6)
    assert uniform.row_accuracy.item() == uniform.column_accuracy.item() == 0  # a tie is no answer
    perfect = sami(1000 * torch.eye(size)[None], labels)
    assert perfect.bound.item() == pytest.approx(math.log(size))
    assert perfect.row_accuracy.item() == perfect.column_accuracy.item() == 1


def slow(scores, labels):
    """The definition, entry by entry."""
    constitutions, responses = len(scores), len(labels)
    row = column = 0.0
    for j, i in enumerate(labels):
        row -= scores[i][j] - math.log(sum(math.exp(scores[i][k]) for k in range(responses)))
        column -= scores[i][j] - math.log(sum(math.exp(scores[k][j]) for k in range(constitutions)))
    with_response = sorted(set(labels))
    row_right = [
        any(
            labels[j] == i and all(scores[i][j] > scores[i][k] for k in range(responses) if k != j)
            for j in range(responses)
        )
        for i in with_response
    ]
    column_right = [
        all(scores[i][j] > scores[k][j] for k in range(constitutions) if k != i) for j, i in enumerate(labels)
    ]
    positive = [-scores[0][j] for j, i in enumerate(labels) if i == 0]
    losses = {
        "sami": (row + column) / responses / 2,
        "sami-rows": row / responses,
        "sami-columns": column / responses,
        "supervised": sum(positive) / max(1, len(positive)),
    }
    return losses, sum(row_right) / len(row_right), sum(column_right) / responses


@given(st.data())
def test_equals_slow_definition_for_any_c_and_r(data):
    c, r = data.draw(st.integers(2, 5)), data.draw(st.integers(2, 6))
    entry = st.floats(-5, 5, width=32)
    scores = data.draw(st.lists(st.lists(entry, min_size=r, max_size=r), min_size=c, max_size=c))
    labels = data.draw(st.lists(st.integers(0, c - 1), min_size=r, max_size=r))
    losses, row, column = slow(scores, labels)
    for name, loss in losses.items():
        result = OBJECTIVES[name](torch.tensor([scores], dtype=torch.float64), torch.tensor([labels]))
        assert result.loss.item() == pytest.approx(loss, abs=1e-9)
        assert result.bound.item() == pytest.approx((math.log(c) + math.log(r)) / 2 - losses["sami"], abs=1e-9)
        assert result.row_accuracy.item() == pytest.approx(row)
        assert result.column_accuracy.item() == pytest.approx(column)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_queries_do_not_mix(objective):
    scores, labels = torch.randn(4, 3, 3), torch.arange(3).repeat(4, 1)
    together = objective(scores, labels).loss
    alone = torch.cat([objective(scores[q : q + 1], labels[q : q + 1]).loss for q in range(4)])
    assert torch.allclose(together, alone)


@pytest.mark.parametrize(
    ("scores", "labels"), [((1, 1, 2), (1, 2)), ((1, 2, 1), (1, 1)), ((2, 2), (2, 2)), ((1, 2, 2), (1, 3))]
)
def test_wrong_shapes_are_refused(scores, labels):
    with pytest.raises(ValueError, match="expected scores"):
        sami(torch.zeros(scores), torch.zeros(labels, dtype=torch.long))


def test_kl_divergence_by_hand():
    policy, reference = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert kl_divergence(policy, reference).item() == pytest.approx(expected)
    assert kl_divergence(policy, policy).item() == pytest.approx(0, abs=1e-7)
