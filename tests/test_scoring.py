"""The two layouts give what one plain forward pass for each pair gives, in values and in gradients."""

import json
import math

import pytest
import torch
from conftest import SHARED_DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from sami.errors import UserError
from sami.models import load, load_tokenizer
from sami.objective import sami
from sami.scoring import score
from sami.scoring.layouts import LAYOUTS, Item, padded, shared


def plainly(model, item):
    """Sum and mean log-probability of every pair, one sequence at a time, from the library's own logits."""
    sums = torch.zeros(len(item.prompts), len(item.responses))
    for i, prompt in enumerate(item.prompts):
        for j, response in enumerate(item.responses):
            logits = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
            for k, token in enumerate(response):
                sums[i, j] = sums[i, j] + logits[len(prompt) + k - 1, token]
    return sums, sums / torch.tensor([len(r) for r in item.responses])


@pytest.fixture(scope="module")
def model(tiny):
    return load(tiny)


tokens = st.lists(st.integers(0, 599), min_size=1, max_size=12)


@st.composite
def batches(draw):
    queries, c, r = draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(st.integers(2, 4))
    return [
        Item(str(q), [draw(tokens) for _ in range(c)], [draw(tokens) for _ in range(r)], [j % c for j in range(r)])
        for q in range(queries)
    ]


@settings(max_examples=30, deadline=None)
@given(batches())
def test_layouts_equal_plain_sequences(model, items):
    expected = [plainly(model, item) for item in items]
    for layout in LAYOUTS.values():
        sums, means = score.matrix(model, layout(items))
        for q, (total, mean) in enumerate(expected):
            assert torch.allclose(sums[q], total, atol=2e-4)
            assert torch.allclose(means[q], mean, atol=2e-4)


def gradients(model, layout, items):
    model.zero_grad()
    _, means = score.matrix(model, layout(items))
    loss = sami(means, torch.tensor([item.labels for item in items])).loss.mean()
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_equal_gradients(model, items):
    loss, one = gradients(model, shared, items)
    other_loss, other = gradients(model, padded, items)
    assert loss == pytest.approx(other_loss, rel=1e-5)
    for name in one:
        assert other[name].norm() > 0, name
        assert (one[name] - other[name]).norm() <= 1e-4 * other[name].norm(), name


def test_gradients_equal(model):
    generator = torch.Generator().manual_seed(0)
    draw = lambda n: torch.randint(0, 600, (n,), generator=generator).tolist()  # noqa: E731
    items = [Item("q", [draw(20), draw(13), draw(5)], [draw(9), draw(1), draw(30), draw(4)], [0, 1, 2, 0])]
    assert_equal_gradients(model, items)


def test_chunks_of_the_head_change_nothing(model, monkeypatch):
    items = [Item("q", [[5, 6, 7], [8, 9]], [[10, 11, 12], [13, 14]], [0, 1])]
    whole = gradients(model, shared, items)
    monkeypatch.setattr(score, "CHUNK", 3)
    parts = gradients(model, shared, items)
    assert whole[0] == pytest.approx(parts[0], rel=1e-6)
    assert all(torch.allclose(whole[1][name], parts[1][name], atol=1e-6) for name in whole[1])


def test_empty_response_is_refused():
    with pytest.raises(UserError, match="query 'q7': a response has no tokens"):
        Item("q7", [[1], [2]], [[3], []], [0, 1])


def test_padding_does_not_count(model):
    short, long = Item("a", [[1], [2]], [[3], [4]], [0, 1]), Item("b", [[1] * 40, [2]], [[3] * 30, [4]], [0, 1])
    for layout in LAYOUTS.values():
        alone = score.matrix(model, layout([short]))[1][0]
        assert torch.allclose(score.matrix(model, layout([long, short]))[1][1], alone, atol=1e-5)
        assert layout([long, short]).tokens == layout([long]).tokens + layout([short]).tokens


def released(count):
    """Real 2 x 2 cases: a TL;DR post under a constitution and its negation, with summaries by two models."""
    folder = SHARED_DATA / "sami-tldr-released"
    if not folder.is_dir():
        pytest.skip("the released TL;DR responses are not beside this checkout (shared/data/sami-tldr-released)")
    texts = json.loads((folder / "constitutions_mistral/0.json").read_text())
    names = ["base", "instruct"]
    by_model = [
        json.loads((folder / f"responses/{n}-mistral-mistral-constitution-temperature-0.0.json").read_text())
        for n in names
    ]
    for i in map(str, range(count)):
        yield by_model[0]["question"][i], [texts["positive"], texts["negative"]], [m["response"][i] for m in by_model]


def test_real_matrices(smollm2):
    model, tokenizer = load(smollm2), load_tokenizer(smollm2)
    for number, (post, constitutions, summaries) in enumerate(released(3)):
        item = Item(
            str(number),
            [tokenizer(f"{c}\n\n{post}\n\nSummary: ")["input_ids"] for c in constitutions],
            [tokenizer(summary)["input_ids"] for summary in summaries],
            [0, 1],
        )
        with torch.no_grad():
            expected = plainly(model, item)[1]
            for layout in LAYOUTS.values():
                assert torch.allclose(score.matrix(model, layout([item]))[1][0], expected, rtol=1e-4)
        assert all(-8 < entry < 0 and math.isfinite(entry) for entry in expected.flatten().tolist())
        if number == 0:  # in double precision: what differs in float32, through 30 layers, is rounding of about 1e-4
            assert_equal_gradients(model.double(), [item])
            model.float()
