"""The training loop in one process: what a step does, and what stops it."""

import math
import random

import pytest
import torch
from training_run import ENGINE, TRAINING

from sami.distributed.processes import Processes
from sami.errors import UserError
from sami.models.pretrained import load
from sami.objectives import sami, sami_joint
from sami.records import Preference, TrainingExample, TrainingResponse
from sami.scoring.layout import Item
from sami.scoring.scorer import Scorer
from sami.settings.training import Engine, Training
from sami.training.loop import Diverged, train
from sami.training.losses import CONTRASTS, check
from sami.training.policy import PolicyLearner
from sami.training.reference import ReferenceStates, compute_states, head_of
from sami.training.schedule import schedule
from sami.training.throughput import Arithmetic, matrix_rate

ALONE = Processes(0, 1, torch.device("cpu"))


def options(**changes):
    return Training(**{**TRAINING, "learning_rate": 1e-3, "epochs": 1, **changes})


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


def examples(data):
    """The same as records, of which training reads labels, weights and pairs."""
    return [
        TrainingExample(
            query_id=item.name,
            prompts=[f"prompt {c}" for c in range(len(item.prompts))],
            responses=[
                TrainingResponse(text=f"response {r}", ended=True, source="iteration-0")
                for r in range(len(item.responses))
            ],
            labels=item.labels,
        )
        for item in data
    ]


def positive(data):
    """What the objective without a contrast takes of it: the first prompt with its response."""
    return [Item(item.name, item.prompts[:1], item.responses[:1], [0]) for item in data]


def learn(scorer, data, made, settings, engine, on_step=lambda step: None, reference=None):
    """Trains the scorer's policy in this process."""
    train(PolicyLearner(scorer, data, made, settings, reference), settings, engine, 1, ALONE, on_step)


def trained(folder, data, reference=None, engine=None, **changes):
    """The model after training, and the metrics of its steps. `reference` is a folder for the reference states."""
    steps, head, states = [], None, None
    if reference:
        other = Scorer(load(folder)).select_layout()
        compute_states(other, data, 4096, ALONE, reference, "key")
        head, states = head_of(other), ReferenceStates(reference)
    engine = Engine(**{**ENGINE, **(engine or {})})
    scorer = Scorer(load(folder), head).select_layout(engine.scoring)
    learn(scorer, data, examples(data), options(**changes), engine, steps.append, states)
    return scorer.model, steps


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
    assert steps[-1]["own_log_probability"] > steps[-1]["other_log_probability"] + 1


@pytest.mark.parametrize(
    "engine", [{"tokens_per_pass": 1}, {"tokens_per_pass": 100}, {"scoring": "padded"}, {"scoring": "cached"}]
)
def test_passes_and_ways_change_nothing(tiny, engine):
    data = items(6)
    expected, steps = trained(tiny, data, optimizer="adamw")
    model, same = trained(tiny, data, engine=engine, optimizer="adamw")
    assert torch.allclose(weights(model), weights(expected), atol=1e-5)
    assert [s["loss"] for s in same] == pytest.approx([s["loss"] for s in steps], abs=1e-5)


@pytest.mark.parametrize("name", ["sami-rows", "sami-columns"])
@pytest.mark.parametrize("normalisation", ["mean", "sum"])
def test_every_contrast_lowers_its_own_loss_and_measures_the_bound(tiny, tmp_path, name, normalisation):
    """Also with a KL term, and within the usual limit of the loss."""
    data = items(4)
    changes = {"objective": name, "normalisation": normalisation, "epochs": 6, "kl_weight": 0.01}
    _, steps = trained(tiny, data, tmp_path / "states", **changes)
    other = Scorer(load(tiny)).select_layout()
    scored = other(other.layout(data))
    scores = scored.mean if normalisation == "mean" else scored.sum
    expected = CONTRASTS[name][0](scores, torch.tensor([item.labels for item in data]))
    assert steps[0]["loss"] == pytest.approx(expected.loss.mean().item(), rel=1e-4, abs=1e-5)
    for key in ("bound", "row_accuracy", "column_accuracy"):
        assert steps[0][key] == pytest.approx(expected.metrics[key].mean().item(), rel=1e-4, abs=1e-5)
    assert steps[-1]["loss"] < 0.7 * steps[0]["loss"]
    assert steps[-1]["kl"] > 0


@pytest.mark.parametrize(
    ("normalisation", "engine"), [("mean", {}), ("sum", {"tokens_per_pass": 1}), ("mean", {"scoring": "padded"})]
)
def test_the_joint_contrast_lowers_its_loss_with_prompts_of_other_queries(tiny, normalisation, engine):
    plain, further = items(4), items(4, size=6, seed=1)
    data = [Item(i.name, i.prompts + f.prompts, i.responses, i.labels) for i, f in zip(plain, further, strict=True)]
    made = [e.model_copy(update={"negatives": ["another"] * 6}) for e in examples(plain)]
    changes = {"objective": {"name": "sami-joint", "other_queries": 3}, "normalisation": normalisation, "epochs": 6}
    check(options(**changes), made, "examples.jsonl")
    scorer, steps = Scorer(load(tiny)).select_layout(engine.get("scoring", "auto")), []
    learn(scorer, data, made, options(**changes), Engine(**{**ENGINE, **engine}), steps.append)
    other = Scorer(load(tiny)).select_layout()
    scored = other(other.layout(data))
    scores = scored.mean if normalisation == "mean" else scored.sum
    expected = sami_joint(scores[:, :2], scores[:, 2:], torch.tensor([item.labels for item in data]))
    assert steps[0]["loss"] == pytest.approx(expected.loss.mean().item(), rel=1e-4)
    for key in ("bound", "column_accuracy", "joint_bound", "query_accuracy"):
        assert steps[0][key] == pytest.approx(expected.metrics[key].mean().item(), rel=1e-4, abs=1e-5)
    own = scored.mean[:, [0, 1], [0, 1]].mean().item()  # of the own prompts, a token, whatever the normalisation
    assert steps[0]["own_log_probability"] == pytest.approx(own, rel=1e-4)
    assert steps[-1]["loss"] < 0.7 * steps[0]["loss"]
    assert steps[-1]["query_accuracy"] > steps[0]["query_accuracy"]


@pytest.mark.parametrize("normalisation", ["mean", "sum"])
def test_supervised_raises_the_likelihood_of_responses_and_scores_no_other_prompt(tiny, tmp_path, normalisation):
    data = positive(items(4))
    changes = {"objective": "supervised", "normalisation": normalisation, "epochs": 6, "kl_weight": 0.01}
    _, steps = trained(tiny, data, tmp_path / "states", **changes)
    other = Scorer(load(tiny)).select_layout()
    scored = other(other.layout(data))
    own = (scored.mean if normalisation == "mean" else scored.sum)[:, 0, 0]
    assert steps[0]["loss"] == pytest.approx(-own.mean().item(), rel=1e-4)
    assert steps[0]["tokens"] == sum(len(i.prompts[0]) + len(i.responses[0]) - 1 for i in data)
    assert steps[-1]["loss"] < 0.9 * steps[0]["loss"]
    assert steps[-1]["kl"] > 0
    assert not {"bound", "row_accuracy"} & steps[0].keys()


def test_weights_weigh_responses(tiny):
    """A weight of 0 leaves a response out, one below 0 makes it less likely."""
    data = [Item(i.name, i.prompts[:1], i.responses, [0, 0]) for i in items(3)]

    def losses(*weights):
        scorer, steps = Scorer(load(tiny)).select_layout(), []
        weighted = [e.model_copy(update={"weights": list(weights)}) for e in examples(data)]
        changes = options(objective="supervised", max_loss=1e6, epochs=3)
        learn(scorer, data, weighted, changes, Engine(**ENGINE), steps.append)
        with torch.no_grad():
            return steps[0]["loss"], scorer(scorer.layout(data)).mean[:, 0].mean(0)

    other = Scorer(load(tiny)).select_layout()
    before = other(other.layout(data)).mean[:, 0].mean(0).detach()
    loss, after = losses(1.0, 0.0)
    assert loss == pytest.approx(-before[0].item(), rel=1e-4)
    loss, after = losses(0.5, -0.5)
    assert loss == pytest.approx(-(0.5 * before[0] - 0.5 * before[1]).item() / 2, rel=1e-3)
    assert after[0] - after[1] > before[0] - before[1]


def test_examples_of_different_shapes_are_trained_on_together(tiny):
    """Where the objective allows it; packed or one by one, the steps are the same."""
    data = positive(items(4))
    data[1] = Item("q1", items(4)[1].prompts, items(4)[1].responses, [0, 1])
    data[2] = Item("q2", data[2].prompts, items(4)[2].responses, [0, 0])
    check(options(objective="supervised"), examples(data), "examples.jsonl")
    changes = {"objective": "supervised", "optimizer": "adamw", "epochs": 2}
    together, steps = trained(tiny, data, **changes)
    alone, same = trained(tiny, data, engine={"tokens_per_pass": 1}, **changes)
    assert [s["loss"] for s in steps] == pytest.approx([s["loss"] for s in same], abs=1e-5)
    assert torch.allclose(weights(together), weights(alone), atol=1e-5)


@pytest.mark.parametrize(
    ("objective", "change", "told"),
    [
        ("sami", {}, "examples.jsonl, line 3: query 'q2': 1 constitutions and 1 responses, but the examples before"),
        ("preference", {}, "examples.jsonl, line 1: query 'q0': no pairs of responses"),
        (
            "sami-joint",
            {},
            r"line 1: query 'q0': 0 prompts of other queries \('negatives'\), but .* contrasts with 2 \(1",
        ),
        ("preference", {"reference": None}, r"line 1: query 'q0': 'pairs\[0\]' has no log-probabilities under the ref"),
    ],
)
def test_examples_that_the_objective_cannot_learn_from_are_told(objective, change, told):
    data = [*items(2), *positive(items(3)[2:])]
    made = examples(data)
    if change:
        made = [e.model_copy(update={"pairs": [Preference(chosen=0, rejected=1, kind="k", **change)]}) for e in made]
    with pytest.raises(UserError, match=told):
        check(options(objective=objective), made, "examples.jsonl")
    if objective == "sami":
        with pytest.raises(UserError, match="1 prompt.s. and 1 response.s., expected at least two of each to contrast"):
            check(options(objective=objective), made[2:], "examples.jsonl")


@pytest.mark.parametrize("normalisation", ["mean", "sum"])
def test_preferences_begin_at_log_2_and_are_learned(tiny, normalisation):
    data = [Item(i.name, i.prompts[:1], i.responses, [0, 0]) for i in items(4)]
    other = Scorer(load(tiny)).select_layout()
    with torch.no_grad():
        sums = other(other.layout(data)).sum[:, 0].tolist()
    pairs = [
        e.model_copy(update={"pairs": [Preference(chosen=1, rejected=0, kind="rank", reference=(score[1], score[0]))]})
        for e, score in zip(examples(data), sums, strict=True)
    ]
    scorer, steps = Scorer(load(tiny)).select_layout(), []
    changes = options(objective={"name": "preference", "beta": 0.5}, normalisation=normalisation, epochs=6)
    check(changes, pairs, "examples.jsonl")
    learn(scorer, data, pairs, changes, Engine(**ENGINE), steps.append)
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert steps[0]["margin"] == pytest.approx(0, abs=1e-3)
    assert steps[-1]["loss"] < 0.8 * math.log(2)
    assert steps[-1]["margin"] > 0
    assert steps[-1]["accuracy"] == 1


def test_one_step_is_one_update_with_the_mean_gradient(tiny):
    data = items(3)
    model, steps = trained(tiny, data, max_grad_norm=None, learning_rate=1e-2)
    assert len(steps) == 1
    assert steps[0]["queries"] == 3
    other = Scorer(load(tiny))
    matrices = [other(other.layout([item])).mean for item in data]
    loss = sum(sami(m, torch.tensor([i.labels])).loss[0] for m, i in zip(matrices, data, strict=True)) / 3
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in other.parameters()]).norm()
    assert steps[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert steps[0]["gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert steps[0]["own_log_probability"] == pytest.approx(
        sum(m[0].diagonal().mean().item() for m in matrices) / 3, rel=1e-4
    )
    # RMSprop's first step: rate * g / (sqrt(0.01 g^2) + 1e-8)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        expected = theirs - 1e-2 * theirs.grad / (0.1 * theirs.grad.abs() + 1e-8)
        large = theirs.grad.abs() > 1e-4  # below, rounding of the gradient decides
        assert torch.allclose(mine[large], expected[large], atol=1e-3)


def test_sum_and_mean_differ(tiny):
    data = items(4)
    total = trained(tiny, data, normalisation="sum")[1][0]["loss"]
    assert trained(tiny, data)[1][0]["loss"] != pytest.approx(total, rel=0.1)


def test_kl_holds_the_policy_back(tiny, tmp_path):
    data = items(4)
    free = trained(tiny, data, tmp_path / "states", kl_weight=1e-9, epochs=6)[1]
    held = trained(tiny, data, tmp_path / "states", kl_weight=10.0, epochs=6)[1]
    assert free[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert 0 < held[-1]["kl"] < 0.5 * free[-1]["kl"]
    assert trained(tiny, data)[1][-1]["kl"] == 0


def test_kl_is_the_mean_over_response_tokens(tiny, tmp_path):
    """The KL of the second step against plain forward passes of both models, however the queries are packed."""
    data, other = items(3), load(tiny)
    kl = [
        trained(tiny, data, tmp_path / "states", {"tokens_per_pass": n}, kl_weight=1e-9, epochs=2)[1][1]["kl"]
        for n in (1, 4096)
    ]
    policy, _ = trained(tiny, data, tmp_path / "states", kl_weight=1e-9)
    policy.set_attn_implementation("sdpa")
    values = []
    for item in data:
        for i, label in enumerate(item.labels):
            prompt, response = item.prompts[label], item.responses[i]
            places = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
            p, q = (m(torch.tensor([prompt + response])).logits[0, places].log_softmax(-1) for m in (policy, other))
            values += (p.exp() * (p - q)).sum(-1).tolist()
    assert kl == pytest.approx([sum(values) / len(values)] * 2, rel=1e-3)


def test_reference_states_are_computed_once(tiny, tmp_path, caplog):
    scorer, data = Scorer(load(tiny)).select_layout(), items(3)
    compute_states(scorer, data, 50, ALONE, tmp_path / "states", "one")
    before = (tmp_path / "states/0.safetensors").stat().st_mtime_ns
    compute_states(scorer, data, 50, ALONE, tmp_path / "states", "one")
    assert (tmp_path / "states/0.safetensors").stat().st_mtime_ns == before
    compute_states(scorer, data, 50, ALONE, tmp_path / "states", "two")  # of other examples
    assert (tmp_path / "states/0.safetensors").stat().st_mtime_ns > before
    found = ReferenceStates(tmp_path / "states")[[2, 0]]
    layout = scorer.layout([data[2], data[0]])
    assert torch.allclose(found, scorer(layout, only_states=True)[layout.own], atol=1e-5)


def test_schedule_uses_every_example_once_an_epoch():
    batches = schedule(7, 4, epochs=2, seed=5)
    assert [len(b) for b in batches] == [4, 3, 4, 3]
    epochs = [batches[k] + batches[k + 1] for k in (0, 2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(7))
    assert epochs[0] != epochs[1]
    assert batches != schedule(7, 4, epochs=2, seed=6)


def test_warm_up(tiny):
    _, steps = trained(tiny, items(8), queries_per_step=2, warmup_steps=2)
    assert [s["learning_rate"] for s in steps] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3])


def test_same_seed_same_weights(tiny):
    data = items(6)
    assert torch.equal(weights(trained(tiny, data)[0]), weights(trained(tiny, data)[0]))


def test_not_a_number_stops(tiny):
    scorer = Scorer(load(tiny))
    with torch.no_grad():
        next(scorer.parameters())[:] = math.nan
    with pytest.raises(Diverged, match="training stopped at step 1 of 1: the loss is nan"):
        learn(scorer, items(2), examples(items(2)), options(), Engine(**ENGINE))


def test_training_ends_after_the_first_step_with_a_low_loss(tiny):
    data, steps = items(4), {"queries_per_step": 4}  # one step an epoch
    _, whole = trained(tiny, data, epochs=12, **steps)
    last = next(step for step in whole if step["loss"] <= 0.7 * whole[0]["loss"])
    assert 1 < last["step"] < 11
    model, ended = trained(tiny, data, epochs=12, stop_at_loss=last["loss"], **steps)
    assert [step["loss"] for step in ended] == [step["loss"] for step in whole[: last["step"]]]
    assert torch.equal(weights(model), weights(trained(tiny, data, epochs=last["step"], **steps)[0]))
    assert len(trained(tiny, data, epochs=3, stop_at_loss=99.0, **steps)[1]) == 1
    assert len(trained(tiny, data, epochs=3, stop_at_loss=1e-9, **steps)[1]) == 3


def test_limit_of_the_loss(tiny):
    with pytest.raises(Diverged, match=r"step 1 of 1: the loss is .* \(limit 1e-06\)"):
        trained(tiny, items(2), max_loss=1e-6)


def test_usual_limit_of_the_loss(tiny):
    """Twice the loss of a guess: here of a constitution, of a token, and of all tokens of the longest response."""
    longest = max(len(response) for item in items(2) for response in item.responses)
    vocabulary = load(tiny).config.vocab_size
    for changes, limit in (
        ({}, 2 * math.log(2)),
        ({"objective": "supervised"}, 2 * math.log(vocabulary)),
        ({"normalisation": "sum"}, 2 * math.log(vocabulary) * longest),
    ):
        scorer = Scorer(load(tiny))
        with torch.no_grad():
            scorer.model.lm_head.weight[:] = math.nan
        with pytest.raises(Diverged, match=rf"limit {limit:.4g}"):
            learn(scorer, items(2), examples(items(2)), options(**changes), Engine(**ENGINE))


def test_out_of_memory_says_what_to_lower(tiny):
    scorer = Scorer(load(tiny))
    scorer.register_forward_pre_hook(lambda *_: torch.empty(1 << 46))  # the allocator's own refusal
    with pytest.raises(UserError, match="out of memory at step 1, in a pass over .* Lower engine.tokens_per_pass"):
        learn(scorer, items(2), examples(items(2)), options(), Engine(**ENGINE))


def test_utilisation_counts_the_arithmetic_of_unique_tokens(tiny):
    scorer = Scorer(load(tiny)).select_layout()
    layers = sum(p.numel() for p in scorer.model.model.layers.parameters())
    head = scorer.model.lm_head.weight.numel()
    layout = scorer.layout(items(2))
    assert Arithmetic(scorer).of(layout) == 6 * (layers * layout.tokens + head * len(layout.target))
    first = scorer.model.model.layers[0].requires_grad_(False)  # no gradient by these, but one through them
    frozen = sum(p.numel() for p in first.parameters())
    expected = (6 * layers - 2 * frozen) * layout.tokens + 6 * head * len(layout.target)
    assert Arithmetic(scorer).of(layout) == expected
    assert matrix_rate(torch.device("cpu"), torch.float32) > 1e9
    _, steps = trained(tiny, items(2))
    assert 0 < steps[0]["flop_utilisation"] < 1
    assert steps[0]["peak_memory_gib"] > 0.1
