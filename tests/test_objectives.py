import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sami import metrics
from sami.objectives import (
    kl_divergence,
    likelihood,
    likelihood_guess,
    preference,
    preference_guess,
    sami,
    sami_columns,
    sami_columns_guess,
    sami_guess,
    sami_joint,
    sami_joint_guess,
    sami_rows,
    sami_rows_guess,
)

CONTRASTS = {"sami": sami, "sami-rows": sami_rows, "sami-columns": sami_columns}


def test_two_by_two_by_hand():
    # Rows: -log(3/4) and -log(2/3). Columns: -log(3/4) and -log(2/3).
    scores = torch.log(torch.tensor([[[3.0, 1.0], [1.0, 2.0]]]))
    result = sami(scores, torch.tensor([[0, 1]]))
    expected = (-math.log(3 / 4) - math.log(2 / 3)) / 2
    assert result.loss.item() == pytest.approx(expected)
    assert result.metrics["bound"].item() == pytest.approx(math.log(2) - expected)
    assert result.metrics["row_accuracy"].item() == result.metrics["column_accuracy"].item() == 1


def test_three_by_three_by_hand():
    scores = torch.log(torch.tensor([[[4.0, 1.0, 1.0], [2.0, 3.0, 5.0], [2.0, 4.0, 2.0]]]))
    result = sami(scores, torch.tensor([[0, 1, 2]]))
    row = -(math.log(4 / 6) + math.log(3 / 10) + math.log(2 / 8)) / 3
    column = -(math.log(4 / 8) + math.log(3 / 8) + math.log(2 / 8)) / 3
    assert result.loss.item() == pytest.approx((row + column) / 2)
    assert result.metrics["bound"].item() == pytest.approx(math.log(3) - (row + column) / 2)
    assert result.metrics["row_accuracy"].item() == pytest.approx(1 / 3)  # only the first row's maximum is its own
    assert result.metrics["column_accuracy"].item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (sami_rows, -(math.log(3 / 4) + math.log(3 / 8)) / 2),
        (sami_columns, -(math.log(3 / 8) + math.log(3 / 4)) / 2),
    ],
)
def test_losses_of_the_halves_by_hand(objective, expected):
    scores = torch.log(torch.tensor([[[3.0, 1.0], [5.0, 3.0]]]))
    result, full = (o(scores, torch.tensor([[0, 1]])) for o in (objective, sami))
    assert result.loss.item() == pytest.approx(expected)
    assert result.metrics == full.metrics
    assert (result.metrics["row_accuracy"].item(), result.metrics["column_accuracy"].item()) == (0.5, 0.5)


def test_two_by_two_with_one_other_query_by_hand():
    # Rows: 3/4 and 2/3, as without the other query. Columns, over four prompts: 3/6 and 2/6.
    own, other = torch.log(torch.tensor([[3.0, 1.0], [1.0, 2.0]])), torch.log(torch.tensor([[1.0, 2.0], [1.0, 1.0]]))
    result = sami_joint(own[None], other[None], torch.tensor([[0, 1]]))
    row, column = -(math.log(3 / 4) + math.log(2 / 3)) / 2, -(math.log(3 / 6) + math.log(2 / 6)) / 2
    assert result.loss.item() == pytest.approx((row + column) / 2)
    assert result.metrics["joint_bound"].item() == pytest.approx(math.log(4) - column)
    assert result.metrics["query_accuracy"].item() == 0.5  # the second response is as likely under the other query
    alone = sami(own[None], torch.tensor([[0, 1]]))
    assert {name: result.metrics[name] for name in alone.metrics} == alone.metrics


@pytest.mark.parametrize(("constitutions", "responses"), [(2, 2), (3, 4)])
def test_without_other_queries_the_joint_loss_is_that_of_the_paper(constitutions, responses):
    labels = torch.arange(responses).repeat(5, 1) % constitutions
    scores = torch.randn(5, constitutions, responses, requires_grad=True)
    joint, paper = sami_joint(scores, scores.new_empty(5, 0, responses), labels), sami(scores, labels)
    assert torch.equal(joint.loss, paper.loss)
    gradients = [torch.autograd.grad(outcome.loss.sum(), scores)[0] for outcome in (joint, paper)]
    assert torch.equal(*gradients)
    assert joint.metrics["query_accuracy"].tolist() == [1] * 5


def test_the_joint_loss_is_that_of_the_paper_and_half_the_cross_entropy_of_queries():
    """The chain rule, with the logsumexp over a query's prompts as its score."""
    scores, negatives = torch.randn(4, 2, 3, dtype=torch.float64), torch.randn(4, 6, 3, dtype=torch.float64)
    labels = torch.tensor([[0, 1, 1]] * 4)
    of_queries = torch.stack([scores, *negatives.split(2, 1)], 1).logsumexp(2)  # (Q, N + 1, R)
    expected = sami(scores, labels).loss - of_queries.log_softmax(1)[:, 0].mean(1) / 2
    assert torch.allclose(sami_joint(scores, negatives, labels).loss, expected)


def test_the_order_of_other_prompts_means_nothing():
    scores, negatives = torch.randn(3, 2, 2, dtype=torch.float64), torch.randn(3, 4, 2, dtype=torch.float64)
    labels = torch.tensor([[0, 1]] * 3)
    one, other = (sami_joint(scores, n, labels) for n in (negatives, negatives[:, [2, 0, 3, 1]]))
    assert torch.allclose(one.loss, other.loss)
    for name, values in one.metrics.items():
        assert torch.allclose(values, other.metrics[name]), name


def information(joint):
    """I(A; B) of a table of probabilities, nats."""
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return float((joint * (joint / independent).log()).sum())


@pytest.mark.parametrize("others", [1, 2])
def test_the_joint_bound_is_one_on_what_a_response_tells_of_query_and_constitution(others):
    """In a world of 3 queries, 2 constitutions and 4 responses, with the true log-probabilities and with wrong ones."""
    logits = 2 * torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(others))
    p = logits.softmax(2)  # (X, C, Y)
    joint, given_query = information(p.flatten(0, 1) / 6), sum(information(one / 2) for one in p) / 3
    assert joint > given_query + 0.1
    draws = [(x, rest) for x in range(3) for rest in itertools.combinations({0, 1, 2} - {x}, others)]
    for scores in (p.log(), torch.randn(3, 2, 4, dtype=torch.float64)):
        bound = 0.0
        for (x, rest), one, two in itertools.product(draws, range(4), range(4)):
            matrix = scores[[x, *rest]][:, :, [one, two]].flatten(0, 1)  # the prompts of the own query first
            found = sami_joint(matrix[None, :2], matrix[None, 2:], torch.tensor([[0, 1]])).metrics["joint_bound"]
            bound += float(p[x, 0, one] * p[x, 1, two] / len(draws) * found)
        assert bound <= joint
        if others == 2 and torch.equal(scores, p.log()):
            assert bound == pytest.approx(joint)  # every query competes, so the posterior is the true one


def test_supervised_on_responses_written_for_the_first_constitution():
    scores = torch.tensor([[[-1.0, -2.0, -4.0], [-8.0, -16.0, -32.0]]] * 2, requires_grad=True)
    weights = torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    loss = likelihood(scores[:, 0], weights).loss
    assert loss.tolist() == [2.5, 0]  # the second query has no such response
    loss.sum().backward()
    assert scores.grad.tolist() == [[[-0.5, 0, -0.5], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]


def test_supervised_loss_by_hand():
    scores = torch.log(torch.tensor([[[3.0, 1.0], [5.0, 3.0]]]))
    assert likelihood(scores[:, 0], torch.tensor([[1.0, 0]])).loss.item() == pytest.approx(-math.log(3))


def test_signed_weights_by_hand():
    log_probabilities = torch.tensor([[-1.0, -2.0, -4.0, -8.0]], requires_grad=True)
    loss = likelihood(log_probabilities, torch.tensor([[0.5, -0.25, 0, 1]])).loss
    loss.sum().backward()
    assert loss.item() == pytest.approx((0.5 * 1 - 0.25 * 2 + 1 * 8) / 3)
    assert log_probabilities.grad.tolist() == [pytest.approx([-0.5 / 3, 0.25 / 3, 0, -1 / 3])]


def test_smaller_weights_are_a_smaller_step():
    """As target and policy of SteerLM 2.0 agree, their difference must stop the training."""
    log_probabilities, weights = torch.randn(2, 3, 5, dtype=torch.float64)
    full, tenth = (likelihood(log_probabilities, factor * weights).loss for factor in (1, 0.1))
    assert torch.allclose(tenth, 0.1 * full)


def test_impossible_response_without_weight_does_no_harm():
    log_probabilities = torch.tensor([[-1.0, -math.inf]], requires_grad=True)
    result = likelihood(log_probabilities, torch.tensor([[1.0, 0]]))
    result.loss.sum().backward()
    assert result.loss.tolist() == [1]
    assert log_probabilities.grad.tolist() == [[-1, 0]]
    assert result.metrics["log_probability"].tolist() == [-1]


def test_weights_of_the_policy_itself_are_constants():
    log_probabilities = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    weights = log_probabilities.softmax(1)
    likelihood(log_probabilities, weights).loss.sum().backward()
    assert torch.equal(log_probabilities.grad, -weights.detach() / 2)


def test_preference_by_hand():
    # Log-ratios 2 and -1 in the first pair, -1 and 1 in the second: differences 3 and -2, margins 0.3 and -0.2.
    arguments = [torch.tensor([values]) for values in ([-3.0, -6], [-5.0, -4], [-5.0, -5], [-4.0, -5])]
    first, second = math.log(1 + math.exp(-0.3)), math.log(1 + math.exp(0.2))
    assert preference(*arguments, beta=0.1).loss.item() == pytest.approx((first + second) / 2)
    smoothed = preference(*arguments, beta=0.1, label_smoothing=0.25).loss.item()
    opposite_first, opposite_second = math.log(1 + math.exp(0.3)), math.log(1 + math.exp(-0.2))
    assert smoothed == pytest.approx((0.75 * (first + second) + 0.25 * (opposite_first + opposite_second)) / 2)
    # A gap of 1 / (2 * 0.1) = 5 is wanted.
    assert preference(*arguments, beta=0.1, form="ipo").loss.item() == pytest.approx(((3 - 5) ** 2 + (-2 - 5) ** 2) / 2)


@pytest.mark.parametrize("label_smoothing", [0, 0.3])
@pytest.mark.parametrize("beta", [0.001, 0.1, 1, 50])
def test_before_the_first_step_a_preference_is_a_guess(beta, label_smoothing):
    chosen, rejected = -100 * torch.rand(2, 3, 4)
    result = preference(chosen, rejected, chosen, rejected, beta, label_smoothing)
    assert result.loss.tolist() == pytest.approx([math.log(2)] * 3)
    for name in ("margin", "accuracy", "chosen_reward", "rejected_reward"):
        assert result.metrics[name].tolist() == [0, 0, 0], name
    ipo = preference(chosen, rejected, chosen, rejected, beta, label_smoothing, form="ipo")
    assert ipo.loss.tolist() == pytest.approx([1 / (4 * beta**2)] * 3)


def test_swapped_pairs_negate_the_margin():
    chosen, rejected, reference_chosen, reference_rejected = torch.randn(4, 5, 1, dtype=torch.float64)
    result = preference(chosen, rejected, reference_chosen, reference_rejected, beta=0.7)
    swapped = preference(rejected, chosen, reference_rejected, reference_chosen, beta=0.7)
    margins = result.metrics["margin"].tolist()
    assert swapped.metrics["margin"].tolist() == [-margin for margin in margins]
    assert result.loss.tolist() == pytest.approx([math.log(1 + math.exp(-margin)) for margin in margins])
    assert swapped.loss.tolist() == pytest.approx([math.log(1 + math.exp(margin)) for margin in margins])


def test_no_pull_without_beta():
    assert preference(*torch.randn(4, 5, 2), beta=1e-9).loss.tolist() == pytest.approx([math.log(2)] * 5)


def test_smoothed_labels_lie_between_the_labels_and_a_coin():
    """For a pair in its right order the loss rises with the share of wrong labels, up to the mean of both orders."""
    pair = [torch.tensor([[value]], dtype=torch.float64) for value in (-1.0, -3.0, -2.0, -2.0)]
    swapped = [pair[1], pair[0], pair[3], pair[2]]
    for form in ("sigmoid", "ipo"):
        right, wrong = (preference(*p, beta=0.5, form=form).loss.item() for p in (pair, swapped))
        smoothed = [preference(*pair, 0.5, eps, form).loss.item() for eps in (0, 0.1, 0.25, 0.4)]
        assert smoothed == pytest.approx([right + eps * (wrong - right) for eps in (0, 0.1, 0.25, 0.4)])
        assert right == smoothed[0] < smoothed[1] < smoothed[2] < smoothed[3] < (right + wrong) / 2


def test_smoothed_ipo_wants_a_smaller_gap():
    """With a share eps of labels wrong, the loss is lowest at the mean of the gaps, (1 - 2 eps) / (2 beta)."""
    chosen = torch.tensor([[(1 - 2 * 0.2) / (2 * 0.1)]], requires_grad=True)
    zero = torch.zeros(1, 1)
    preference(chosen, zero, zero, zero, beta=0.1, label_smoothing=0.2, form="ipo").loss.sum().backward()
    assert chosen.grad.item() == pytest.approx(0, abs=1e-6)


def test_far_pairs_keep_a_finite_loss_and_a_gradient():
    chosen, zero = torch.tensor([[-1000.0]], requires_grad=True), torch.zeros(1, 1)
    loss = preference(chosen, zero, zero, zero, beta=1).loss
    loss.sum().backward()
    assert loss.item() == 1000
    assert chosen.grad.item() == -1


def test_rows_of_two_prompts_and_two_responses_are_pairs_without_reference():
    scores = 10 * torch.randn(6, 2, 2, dtype=torch.float64)
    own, other = scores.diagonal(dim1=1, dim2=2), torch.stack([scores[:, 0, 1], scores[:, 1, 0]], 1)  # (6, 2)
    zeros = torch.zeros_like(own)
    pairs = preference(own, other, zeros, zeros, beta=1)
    rows = sami_rows(scores, torch.tensor([[0, 1]] * 6))
    assert pairs.loss.tolist() == pytest.approx(rows.loss.tolist())
    assert pairs.metrics["accuracy"].tolist() == rows.metrics["row_accuracy"].tolist()


@pytest.mark.parametrize(("constitutions", "responses"), [(2, 2), (3, 5)])
def test_guessing_costs_what_it_is_said_to(constitutions, responses):
    vocabulary = 7
    scores = torch.full((1, constitutions, responses), -math.log(vocabulary))
    labels = torch.arange(responses)[None] % constitutions
    guesses = {"sami": sami_guess, "sami-rows": sami_rows_guess, "sami-columns": sami_columns_guess}
    for name, objective in CONTRASTS.items():
        expected = guesses[name](constitutions, responses)
        assert objective(scores, labels).loss.item() == pytest.approx(expected, rel=1e-6), name
    joint = sami_joint(scores, scores.repeat(1, 3, 1), labels).loss.item()
    assert joint == pytest.approx(sami_joint_guess(constitutions, responses, 3 * constitutions), rel=1e-6)
    assert sami_joint_guess(constitutions, responses, 0) == sami_guess(constitutions, responses)
    supervised = likelihood(scores[:, 0], torch.ones(1, responses)).loss.item()
    assert supervised == pytest.approx(likelihood_guess(vocabulary), rel=1e-6)
    assert supervised == pytest.approx(math.log(7), rel=1e-6)


@pytest.mark.parametrize("beta", [0.1, 9])
def test_guessing_a_preference_costs_what_it_is_said_to(beta):
    assert preference_guess(beta) == preference_guess(beta, "sigmoid") == math.log(2)
    assert preference_guess(beta, "ipo") == (1 / (2 * beta)) ** 2


@pytest.mark.parametrize("size", [2, 3, 5])
def test_bound_lies_between_nothing_and_log_c(size):
    labels = torch.arange(size)[None]
    uniform = sami(torch.full((1, size, size), -1.7), labels).metrics
    assert uniform["bound"].item() == pytest.approx(0, abs=1e-6)
    assert uniform["row_accuracy"].item() == uniform["column_accuracy"].item() == 0  # a tie is no answer
    perfect = sami(1000 * torch.eye(size)[None], labels).metrics
    assert perfect["bound"].item() == pytest.approx(math.log(size))
    assert perfect["row_accuracy"].item() == perfect["column_accuracy"].item() == 1


def slow_contrast(scores, labels):
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
    losses = {
        "sami": (row + column) / responses / 2,
        "sami-rows": row / responses,
        "sami-columns": column / responses,
    }
    return losses, sum(row_right) / len(row_right), sum(column_right) / responses


@given(st.data())
def test_contrast_equals_slow_definition_for_any_c_and_r(data):
    c, r = data.draw(st.integers(2, 5)), data.draw(st.integers(2, 6))
    entry = st.floats(-5, 5, width=32)
    scores = data.draw(st.lists(st.lists(entry, min_size=r, max_size=r), min_size=c, max_size=c))
    labels = data.draw(st.lists(st.integers(0, c - 1), min_size=r, max_size=r))
    losses, row, column = slow_contrast(scores, labels)
    for name, loss in losses.items():
        result = CONTRASTS[name](torch.tensor([scores], dtype=torch.float64), torch.tensor([labels]))
        assert result.loss.item() == pytest.approx(loss, abs=1e-9)
        bound = (math.log(c) + math.log(r)) / 2 - losses["sami"]
        assert result.metrics["bound"].item() == pytest.approx(bound, abs=1e-9)
        assert result.metrics["row_accuracy"].item() == pytest.approx(row)
        assert result.metrics["column_accuracy"].item() == pytest.approx(column)
    positive = [-scores[0][j] for j, i in enumerate(labels) if i == 0]
    supervised = likelihood(torch.tensor([scores[0]], dtype=torch.float64), torch.tensor([labels]) == 0)
    assert supervised.loss.item() == pytest.approx(sum(positive) / max(1, len(positive)), abs=1e-9)


@given(st.data())
def test_joint_equals_slow_definition(data):
    c, r, n = data.draw(st.integers(2, 3)), data.draw(st.integers(2, 4)), data.draw(st.integers(0, 3))
    entry = st.floats(-5, 5, width=32)
    prompts = data.draw(st.lists(st.lists(entry, min_size=r, max_size=r), min_size=c * (1 + n), max_size=c * (1 + n)))
    labels = data.draw(st.lists(st.integers(0, c - 1), min_size=r, max_size=r))
    column, right = 0.0, 0
    for j, i in enumerate(labels):
        column -= prompts[i][j] - math.log(sum(math.exp(row[j]) for row in prompts))
        right += all(max(prompts[k][j] for k in range(c)) > row[j] for row in prompts[c:])
    row = slow_contrast(prompts[:c], labels)[0]["sami-rows"]
    tensor = torch.tensor([prompts], dtype=torch.float64)
    found = sami_joint(tensor[:, :c], tensor[:, c:], torch.tensor([labels]))
    assert found.loss.item() == pytest.approx((row + column / r) / 2, abs=1e-9)
    assert found.metrics["joint_bound"].item() == pytest.approx(math.log(c * (1 + n)) - column / r, abs=1e-9)
    assert found.metrics["query_accuracy"].item() == pytest.approx(right / r)


@given(st.lists(st.tuples(st.floats(-50, 0), st.sampled_from([0, 0, 1]) | st.floats(-2, 2)), min_size=1, max_size=6))
def test_likelihood_equals_slow_definition(responses):
    total, count = 0.0, 0
    for log_probability, weight in responses:
        if weight != 0:
            total += weight * log_probability
            count += 1
    log_probabilities, weights = torch.tensor([responses], dtype=torch.float64).unbind(2)
    loss = likelihood(log_probabilities, weights).loss.item()
    assert loss == pytest.approx(-total / count if count else 0, abs=1e-9)


@given(
    st.lists(st.lists(st.floats(-20, 0), min_size=4, max_size=4), min_size=1, max_size=5),
    st.floats(0.01, 2),
    st.floats(0, 0.49),
)
def test_preference_equals_slow_definition(pairs, beta, eps):
    losses = {"sigmoid": 0.0, "ipo": 0.0}
    for chosen, rejected, reference_chosen, reference_rejected in pairs:
        difference = (chosen - rejected) - (reference_chosen - reference_rejected)
        right = 1 / (1 + math.exp(-beta * difference))
        losses["sigmoid"] -= (1 - eps) * math.log(right) + eps * math.log(1 / (1 + math.exp(beta * difference)))
        losses["ipo"] += (1 - eps) * (difference - 1 / (2 * beta)) ** 2 + eps * (-difference - 1 / (2 * beta)) ** 2
    tensors = torch.tensor([pairs], dtype=torch.float64).unbind(2)
    for form, loss in losses.items():
        found = preference(*tensors, beta, eps, form).loss.item()
        assert found == pytest.approx(loss / len(pairs), rel=1e-9, abs=1e-9), form


EVERY = {
    **{name: lambda scores, o=o: o(scores, torch.arange(3).repeat(len(scores), 1)) for name, o in CONTRASTS.items()},
    "sami-joint": lambda scores: sami_joint(scores[:, :2], scores[:, 1:], torch.tensor([[0, 1, 1]] * len(scores))),
    "likelihood": lambda scores: likelihood(scores[:, 0], scores.new_tensor([[1, 0, -0.5]]).expand(len(scores), 3)),
    "preference": lambda scores: preference(*scores[:, :2].unbind(1), *scores[:, 1:].unbind(1), 0.3, 0.1),
    "ipo": lambda scores: preference(*scores[:, :2].unbind(1), *scores[:, 1:].unbind(1), 0.3, 0.1, "ipo"),
}


@pytest.mark.parametrize("objective", EVERY.values(), ids=EVERY)
def test_examples_do_not_mix(objective):
    scores = torch.randn(4, 3, 3, dtype=torch.float64)
    together = objective(scores)
    alone = [objective(scores[q : q + 1]) for q in range(4)]
    assert together.loss.shape == (4,)
    assert torch.allclose(together.loss, torch.cat([one.loss for one in alone]))
    for name, values in together.metrics.items():
        assert values.shape == (4,), name
        assert torch.allclose(values, torch.cat([one.metrics[name] for one in alone])), name


@pytest.mark.parametrize("objective", EVERY.values(), ids=EVERY)
def test_gradients_are_those_of_finite_differences(objective):
    scores = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda scores: objective(scores).loss, scores)


@pytest.mark.parametrize("objective", EVERY.values(), ids=EVERY)
def test_metrics_are_only_logged(objective, monkeypatch):
    """They carry no gradient, and the loss is the same without them."""
    scores = torch.randn(4, 3, 3, requires_grad=True)
    result = objective(scores)
    assert result.metrics
    assert not any(values.requires_grad for values in result.metrics.values())
    for name in ("contrast", "joint", "likelihood", "margins"):
        monkeypatch.setattr(metrics, name, lambda *_: {})
    bare = objective(scores)
    assert bare.metrics == {}
    assert torch.equal(bare.loss, result.loss)


@pytest.mark.parametrize("objective", CONTRASTS.values(), ids=CONTRASTS)
@pytest.mark.parametrize(
    ("scores", "labels"), [((1, 1, 2), (1, 2)), ((1, 2, 1), (1, 1)), ((2, 2), (2, 2)), ((1, 2, 2), (1, 3))]
)
def test_wrong_shapes_of_a_contrast_are_refused(objective, scores, labels):
    with pytest.raises(ValueError, match="expected scores") as error:
        objective(torch.zeros(scores), torch.zeros(labels, dtype=torch.long))
    assert str(error.value).endswith(f"found {scores} and {labels}")


@pytest.mark.parametrize("negatives", [(1, 2), (2, 2, 2), (1, 2, 3)])
def test_wrong_shapes_of_other_prompts_are_refused(negatives):
    with pytest.raises(ValueError, match="expected negatives .* of the scores .1, 2, 2., found") as error:
        sami_joint(torch.zeros(1, 2, 2), torch.zeros(negatives), torch.zeros(1, 2, dtype=torch.long))
    assert str(error.value).endswith(f"found {negatives}")
    with pytest.raises(ValueError, match="expected scores"):
        sami_joint(torch.zeros(1, 1, 2), torch.zeros(1, 2, 2), torch.zeros(1, 2, dtype=torch.long))


@pytest.mark.parametrize(
    ("log_probabilities", "weights"), [((2,), (2,)), ((2, 3), (3,)), ((2, 3), (2, 1)), ((2, 0), (2, 0))]
)
def test_wrong_shapes_of_a_likelihood_are_refused(log_probabilities, weights):
    with pytest.raises(ValueError, match="expected log-probabilities and weights") as error:
        likelihood(torch.zeros(log_probabilities), torch.zeros(weights))
    assert str(error.value).endswith(f"found {log_probabilities} and {weights}")


@pytest.mark.parametrize("shape", [(2,), (2, 1), (3, 3), (2, 3, 1)])
@pytest.mark.parametrize("place", range(4))
def test_wrong_shapes_of_a_preference_are_refused(place, shape):
    shapes = [(2, 3)] * 4
    shapes[place] = shape
    with pytest.raises(ValueError, match="expected chosen, rejected") as error:
        preference(*map(torch.zeros, shapes), beta=1)
    assert str(error.value).endswith("found " + ", ".join(map(str, shapes)))


@pytest.mark.parametrize("shape", [(2,), (2, 0)])
def test_preference_needs_pairs(shape):
    with pytest.raises(ValueError, match="P >= 1"):
        preference(*[torch.zeros(shape)] * 4, beta=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0}, "expected a finite beta above 0, found 0"),
        ({"beta": -0.1}, "beta above 0, found -0.1"),
        ({"beta": math.nan}, "beta above 0, found nan"),
        ({"beta": math.inf}, "beta above 0, found inf"),
        ({"beta": 1, "label_smoothing": 0.5}, r"label_smoothing in \[0, 0.5\), found 0.5"),
        ({"beta": 1, "label_smoothing": -0.1}, "label_smoothing .* found -0.1"),
        ({"beta": 1, "label_smoothing": math.nan}, "label_smoothing .* found nan"),
        ({"beta": 1, "form": "hinge"}, "a form among sigmoid, ipo, found 'hinge'"),
    ],
)
def test_wrong_options_of_a_preference_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        preference(*torch.zeros(4, 2, 3), **options)
    if "label_smoothing" not in options:
        with pytest.raises(ValueError, match=message):
            preference_guess(**options)


def test_kl_divergence_by_hand():
    policy, reference = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert kl_divergence(policy, reference).item() == pytest.approx(expected)
    assert kl_divergence(policy, policy).item() == pytest.approx(0, abs=1e-7)


def test_gradient_of_the_kl_divergence_is_that_of_finite_differences():
    policy, reference = torch.randn(2, 3, 4, dtype=torch.float64).log_softmax(-1)
    assert torch.autograd.gradcheck(lambda policy: kl_divergence(policy, reference), policy.requires_grad_())


@pytest.mark.parametrize(("policy", "reference"), [((3,), (3,)), ((2, 3), (1, 3)), ((2, 3), (2, 4))])
def test_wrong_shapes_of_a_kl_divergence_are_refused(policy, reference):
    with pytest.raises(ValueError, match="expected policy and reference") as error:
        kl_divergence(torch.zeros(policy), torch.zeros(reference))
    assert str(error.value).endswith(f"found {policy} and {reference}")
