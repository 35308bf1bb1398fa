"""Losses of reward models: values by hand, their limits, and gradients."""

import math

import pytest
import torch

from sami.rewards.losses import masked_squared_error, pairwise_logistic


def test_pairs_by_hand():
    chosen, rejected = torch.tensor([2.0, 0.0, -1.0]), torch.tensor([0.0, 0.0, 2.0])
    expected = (math.log(1 + math.exp(-2)) + math.log(2) + math.log(1 + math.exp(3))) / 3
    assert pairwise_logistic(chosen, rejected).item() == pytest.approx(expected)


def test_equal_scores_cost_log_2_and_a_level_nothing():
    chosen, rejected = torch.tensor([0.3, -0.2]), torch.tensor([0.1, 0.4])
    assert pairwise_logistic(chosen, chosen).item() == pytest.approx(math.log(2))
    raised = pairwise_logistic(chosen + 7, rejected + 7)
    assert raised.item() == pytest.approx(pairwise_logistic(chosen, rejected).item(), abs=1e-6)


def test_a_wrong_pair_far_apart_has_a_finite_loss():
    assert pairwise_logistic(torch.tensor([-300.0]), torch.tensor([300.0])).item() == pytest.approx(600)


def test_the_gradient_of_a_pair_is_the_probability_of_the_other_choice():
    chosen, rejected = (torch.tensor([value], requires_grad=True) for value in (0.5, -0.5))
    pairwise_logistic(chosen, rejected).backward()
    assert chosen.grad.item() == pytest.approx(-1 / (1 + math.e))
    assert rejected.grad.item() == pytest.approx(1 / (1 + math.e))


def test_squared_errors_count_what_is_known():
    predicted = torch.tensor([[1.0, 5.0], [0.0, 2.0]], requires_grad=True)
    wanted = torch.tensor([[3.0, math.nan], [0.5, 2.0]])
    known = torch.tensor([[True, False], [True, True]])
    loss = masked_squared_error(predicted, wanted, known)
    assert loss.item() == pytest.approx((4 + 0.25 + 0) / 3)
    loss.backward()
    assert predicted.grad.tolist() == [[pytest.approx(-4 / 3), 0.0], [pytest.approx(-1 / 3), 0.0]]


def test_nothing_known_costs_nothing():
    predicted = torch.ones(2, 3, requires_grad=True)
    loss = masked_squared_error(predicted, torch.full((2, 3), math.nan), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not predicted.grad.any()


@pytest.mark.parametrize(("chosen", "rejected"), [((2,), (3,)), ((0,), (0,)), ((2, 1), (2, 1))])
def test_shapes_of_pairs_are_checked(chosen, rejected):
    with pytest.raises(ValueError, match=r"expected scores of one shape \(P,\)"):
        pairwise_logistic(torch.zeros(chosen), torch.zeros(rejected))


@pytest.mark.parametrize("shapes", [((2, 1), (2, 2), (2, 2)), ((2, 2), (2, 2), (2, 1)), ((2,), (2,), (2,))])
def test_shapes_of_values_are_checked(shapes):
    predicted, wanted, known = map(torch.zeros, shapes)
    with pytest.raises(ValueError, match=r"expected predicted, wanted and known of one shape \(N, A\)"):
        masked_squared_error(predicted, wanted, known.bool())
