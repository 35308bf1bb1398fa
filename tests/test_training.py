import copy
import math
import random

import pytest
import torch

from sami.models import load
from sami.objective import sami
from sami.scoring.layouts import Item
from sami.settings import Training
from sami.training.loop import Diverged, schedule, train

DEFAULT = {
    "start_from": "base",
    "scoring": "shared",
    "normalisation": "mean",
    "score_end_token": False,
    "optimizer": "rmsprop",
    "learning_rate": 1e-3,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "queries_per_step": 4,
    "queries_per_pass": 2,
    "epochs": 1,
    "max_grad_norm": 1.0,
    "kl_weight": 0.0,
    "max_loss": None,
}


def options(**changes):
    return Training(**{**DEFAULT, **changes})


def items(count, size=2, seed=0):
    draw = random.Random(seed)
    tokens = lambda n: [draw.randrange(600) for _ in range(n)]  # noqa: E731
    return [
        Item(
            f"q{q}",
            [tokens(8) for _ in range(size)],
            [tokens(draw.randrange(1, 9)) for _ in range(size)],
            list(range(size)),
        )
        for q in range(count)
    ]


def trained(folder, data, reference=False, **changes):
    model, steps = load(folder), []
    train(model, load(folder) if reference else None, data, options(**changes), 1, steps.append)
    return model, steps


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("optimizer", ["rmsprop", "adamw"])
@pytest.mark.parametrize("size", [2, 3])
def test_loss_falls(tiny, optimizer, size):
    data = items(4, size)
    _, steps = trained(tiny, data, optimizer=optimizer, epochs=12)
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]
    assert steps[-1]["bound"] == pytest.approx(math.log(size) - steps[-1]["loss"])
    assert steps[-1]["row_accuracy"] == steps[-1]["column_accuracy"] == 1


def test_passes_and_layouts_change_nothing(tiny):
    data = items(6)
    expected = weights(trained(tiny, data, queries_per_pass=6, optimizer="adamw")[0])
    for changes in ({"queries_per_pass": 1}, {"queries_per_pass": 3, "scoring": "padded"}):
        assert torch.allclose(weights(trained(tiny, data, optimizer="adamw", **changes)[0]), expected, atol=1e-5)


def test_one_step_is_one_update_with_the_mean_gradient(tiny):
    data = items(3)
    model, steps = trained(tiny, data, max_grad_norm=None, optimizer="rmsprop", learning_rate=1e-2)
    assert len(steps) == 1
    assert steps[0]["queries"] == 3
    other = load(tiny)
    from sami.scoring.layouts import padded
    from sami.scoring.score import matrix

    loss = sum(sami(matrix(other, padded([i]))[1], torch.tensor([i.labels])).loss[0] for i in data) / 3
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in other.parameters()]).norm()
    assert steps[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert steps[0]["gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
    # RMSprop's first step: rate * g / (sqrt(0.01 g^2) + 1e-8)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        expected = theirs - 1e-2 * theirs.grad / (0.1 * theirs.grad.abs() + 1e-8)
        large = theirs.grad.abs() > 1e-4  # below, rounding of the gradient decides
        assert torch.allclose(mine[large], expected[large], atol=1e-3)


def test_sum_and_mean_differ(tiny):
    data = items(4)
    total = trained(tiny, data, normalisation="sum", max_loss=100.0)[1][0]["loss"]
    assert trained(tiny, data)[1][0]["loss"] != pytest.approx(total, rel=0.1)


def test_kl_holds_the_policy_back(tiny):
    data = items(4)
    free = trained(tiny, data, reference=True, kl_weight=1e-9, epochs=6)[1]
    held = trained(tiny, data, reference=True, kl_weight=10.0, epochs=6)[1]
    assert free[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert 0 < held[-1]["kl"] < 0.5 * free[-1]["kl"]
    assert trained(tiny, data)[1][-1]["kl"] == 0


def test_kl_is_the_mean_over_response_tokens(tiny):
    """One query; the KL of the second step against plain forward passes of both models."""
    data, other = items(1), load(tiny)
    _, steps = trained(tiny, data, reference=True, kl_weight=1e-9, epochs=2)
    policy, _ = trained(tiny, data, reference=True, kl_weight=1e-9, epochs=1)
    values = []
    for i, label in enumerate(data[0].labels):
        prompt, response = data[0].prompts[label], data[0].responses[i]
        places = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
        p, q = (m(torch.tensor([prompt + response])).logits[0, places].log_softmax(-1) for m in (policy, other))
        values += (p.exp() * (p - q)).sum(-1).tolist()
    assert steps[1]["kl"] == pytest.approx(sum(values) / len(values), rel=1e-3)


def test_schedule_uses_every_example_once_an_epoch():
    data = items(7)
    batches = list(schedule(data, options(epochs=2), seed=5))
    assert [len(b) for b in batches] == [4, 3, 4, 3]
    epochs = [[i.name for b in batches[k : k + 2] for i in b] for k in (0, 2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(i.name for i in data)
    assert epochs[0] != epochs[1]
    assert [len(b) for b in schedule(data, options(), 5)] == [4, 3]


def test_warm_up(tiny):
    _, steps = trained(tiny, items(8), queries_per_step=2, warmup_steps=2)
    assert [s["learning_rate"] for s in steps] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3])


def test_same_seed_same_weights(tiny):
    data = items(6)
    assert torch.equal(weights(trained(tiny, data)[0]), weights(trained(tiny, data)[0]))


def test_diverged_run_returns_the_last_good_state(tiny):
    start = load(tiny)
    model = copy.deepcopy(start)
    with pytest.raises(Diverged, match="training stopped at step 2 of 2: the loss is") as error:
        train(model, None, items(8), options(learning_rate=1e12, max_grad_norm=None), 1, lambda step: None)
    good = torch.cat([error.value.state[name].flatten() for name, _ in start.named_parameters()])
    assert torch.equal(good, weights(start))


def test_not_a_number_stops(tiny):
    model = load(tiny)
    with torch.no_grad():
        next(model.parameters())[:] = math.nan
    with pytest.raises(Diverged, match="the loss is nan"):
        train(model, None, items(2), options(), 1, lambda step: None)


def test_limit_of_the_loss(tiny):
    with pytest.raises(Diverged, match=r"step 1 of 1: the loss is .* \(limit 1e-06\)"):
        train(load(tiny), None, items(2), options(max_loss=1e-6), 1, lambda step: None)
