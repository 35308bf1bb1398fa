"""The three ways of scoring give what one plain forward pass for each pair gives, in values and in gradients."""

import functools
import itertools
import json
import math
import random
import shutil
from types import SimpleNamespace

import pytest
import torch
import transformers
from architectures import ARCHITECTURES, SMALL, V, build
from conftest import SHARED_DATA
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.models.llama import modeling_llama

from sami.distributed.sharding import checkpoint_layers, decoder_layers
from sami.errors import UserError
from sami.models.pretrained import load, load_tokenizer
from sami.objectives import sami
from sami.scoring import head, tree_attention
from sami.scoring.layout import Item
from sami.scoring.packing import divide, pack
from sami.scoring.scorer import LAYOUTS, Scorer
from sami.scoring.sequences import cached, padded
from sami.scoring.trees import shared


@pytest.fixture(scope="module")
def scorer():
    return Scorer(build("llama-tied"))


@pytest.fixture(scope="module")
def capped_scorer():
    """Of a model with windows and soft caps, which the tree attention computes densely."""
    return Scorer(build("gemma2"))


def plainly(scorer, item):
    """Sum and mean log-probability of every pair, one sequence at a time, from the library's own logits."""
    sums = torch.zeros(len(item.prompts), len(item.responses))
    with torch.no_grad():
        for i, prompt in enumerate(item.prompts):
            for j, response in enumerate(item.responses):
                logits = scorer.model(torch.tensor([prompt + response])).logits[0].float().log_softmax(-1)
                for k, token in enumerate(response):
                    sums[i, j] += logits[len(prompt) + k - 1, token]
    return sums, sums / torch.tensor([len(r) for r in item.responses])


def scored(scorer, way, items):
    scorer.layout_name = way
    with torch.no_grad():
        return scorer(scorer.layout(items))


def supported(scorer):
    return [way for way in LAYOUTS if scorer._missing_feature(way) is None]


def assert_plain(scorer, ways, items, rtol=1e-4):
    """Each way gives the sums and means of plain sequences."""
    sums, means = (torch.stack(parts) for parts in zip(*(plainly(scorer, item) for item in items), strict=True))
    for way in ways:
        found = scored(scorer, way, items)
        assert found.kl is None
        for values, expected in ((found.sum, sums), (found.mean, means)):
            assert torch.allclose(values, expected, rtol=rtol, atol=0), (way, values / expected - 1)


def gradients(scorer, way, items):
    """The loss, and its gradient by every parameter that has one; the matrices, too, since they are there."""
    scorer.layout_name = way
    scorer.model.zero_grad()
    means = scorer(scorer.layout(items)).mean
    loss = sami(means, torch.tensor([item.labels for item in items])).loss.mean()
    loss.backward()
    found = {name: p.grad.clone() for name, p in scorer.model.named_parameters() if p.grad is not None}
    assert found, "no parameter has a gradient"
    return loss.item(), found, means.detach()


def norm(gradient):
    """Of all parameters together."""
    return math.hypot(*(float(part.norm(dtype=torch.float64)) for part in gradient.values()))


def distances(found, expected):
    """How far each parameter's gradient is from the expected one, relative to the expected one's norm.

    Some gradients are nothing but rounding, such as that of the keys where attention sees a single token. A gradient
    below a thousandth of the whole is therefore measured by that thousandth.
    """
    assert found.keys() == expected.keys()
    least = 1e-3 * norm(expected)
    assert least > 0
    return {name: norm({name: found[name] - part}) / max(norm({name: part}), least) for name, part in expected.items()}


def exact_norm(self, states):
    """Llama's norm without its cast to float32, which would leave a computation in float64 with seven digits."""
    return self.weight * states * torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


def draw_tokens(source, length):
    return [source.randrange(V) for _ in range(length)]


def mixed():
    """Two queries: one with a deep tree of prompts, one without anything in common; one response is a single token."""
    source = random.Random(0)
    start, further = draw_tokens(source, 20), draw_tokens(source, 17)
    deep = [start + further + draw_tokens(source, 5), draw_tokens(source, 7), start + draw_tokens(source, 9)]
    deep.append(start + further + draw_tokens(source, 1))
    flat = [draw_tokens(source, n) for n in (5, 1, 30, 9)]
    responses = [[draw_tokens(source, n) for n in lengths] for lengths in ((4, 1, 12), (2, 21, 8))]
    return [Item("deep", deep, responses[0], [0, 1, 2]), Item("flat", flat, responses[1], [3, 0, 1])]


@st.composite
def batches(draw, queries=4, longest=12):
    """Queries whose prompts share beginnings, all or some of them, are the same, or continue one another."""
    source = random.Random(draw(st.integers(0, 2**32)))
    lengths = st.integers(1, longest)
    constitutions, responses = draw(st.integers(2, 4)), draw(st.integers(2, 5))
    items = []
    for number in range(draw(st.integers(1, queries))):
        start, further = (draw_tokens(source, draw(st.integers(16, 20))) for _ in range(2))
        beginnings = draw(
            st.sampled_from([[[]], [start], [[], start], [start, start + further], [[], start, start + further]])
        )
        prompts: list[list[int]] = []
        for _ in range(constitutions):
            kind = draw(st.sampled_from(["new", "new", "new", "same", "continued"]))
            tail = draw_tokens(source, draw(lengths))
            if kind == "new" or not prompts:
                prompts.append(draw(st.sampled_from(beginnings)) + tail)
            else:
                prompts.append(draw(st.sampled_from(prompts)) + tail * (kind == "continued"))
        written = [draw_tokens(source, draw(lengths)) for _ in range(responses)]
        labels = [draw(st.integers(0, constitutions - 1)) for _ in range(responses)]
        items.append(Item(str(number), draw(st.permutations(prompts)), written, labels))
    return items


# Values and gradients


@settings(max_examples=100, deadline=None)
@given(batches())
def test_every_way_equals_plain_sequences(scorer, items):
    assert_plain(scorer, LAYOUTS, items)


@settings(max_examples=50, deadline=None)
@given(batches(queries=2))
def test_every_way_equals_plain_sequences_with_windows_and_caps(capped_scorer, items):
    assert_plain(capped_scorer, LAYOUTS, items)


@settings(max_examples=50, deadline=None)
@given(batches(queries=2))
def test_gradients_are_equal(scorer, items):
    # Between equal responses there is nothing to tell apart: the gradient could be zero, and rounding all there is.
    assume(all(len(set(map(tuple, item.responses))) == len(item.responses) for item in items))
    loss, expected, _ = gradients(scorer, "padded", items)
    for way in ("shared", "cached"):
        other_loss, found, _ = gradients(scorer, way, items)
        assert other_loss == pytest.approx(loss, rel=1e-5)
        far = {name: distance for name, distance in distances(found, expected).items() if distance > 1e-3}  # rounding
        assert not far, way
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_llama.LlamaRMSNorm, "forward", exact_norm)
        scorer.model.double()
        try:
            loss, expected, _ = gradients(scorer, "padded", items)
            for way in ("shared", "cached"):
                other_loss, found, _ = gradients(scorer, way, items)
                assert other_loss == pytest.approx(loss, rel=1e-12)
                assert max(distances(found, expected).values()) < 1e-8, way
        finally:
            scorer.model.float()


def test_padding_does_not_count(scorer):
    short, long = Item("a", [[1], [2]], [[3], [4]], [0, 1]), Item("b", [[1] * 40, [2]], [[3] * 30, [4]], [0, 1])
    for way, layout in LAYOUTS.items():
        alone = scored(scorer, way, [short]).mean[0]
        together = scored(scorer, way, [long, short]).mean[1]
        assert torch.allclose(together, alone, rtol=1e-5), way
        assert layout([long, short]).tokens == layout([long]).tokens + layout([short]).tokens


@pytest.mark.parametrize("way", LAYOUTS)
def test_packed_queries_do_not_see_each_other(scorer, way):
    one, other = mixed()
    changed = Item(
        "changed",
        [[(token + 7) % V for token in prompt] for prompt in other.prompts],
        [[(token + 9) % V for token in response] for response in other.responses],
        other.labels,
    )
    for place in (0, 1):  # the changed query stands behind, and before
        order = [one, other][:: 1 - 2 * place], [one, changed][:: 1 - 2 * place]
        before, after = (scored(scorer, way, items).sum for items in order)
        assert torch.allclose(before[place], after[place], rtol=0, atol=1e-6)
        assert (before[1 - place] - after[1 - place]).abs().min() > 1e-3


def test_half_precision(scorer):
    expected = scored(scorer, "padded", mixed()).sum
    half = Scorer(build("llama-tied").to(torch.bfloat16)).select_layout("auto")
    assert half.layout_name == "shared"
    for way in LAYOUTS:
        found = scored(half, way, mixed()).sum
        assert found.dtype == torch.float32  # log-probabilities are not rounded to the precision of the weights
        assert torch.allclose(found, expected, rtol=2e-2), way


def test_other_parts_of_a_model_need_no_gradient():
    """As with adapters: the head is frozen, and gradients reach what lies below it."""
    frozen = Scorer(build("llama-untied"))
    _, every, _ = gradients(frozen, "shared", mixed())
    frozen.model.lm_head.requires_grad_(False)
    _, found, _ = gradients(frozen, "shared", mixed())
    assert every.keys() - found.keys() == {"lm_head.weight"}
    assert all(torch.equal(found[name], every[name]) for name in found)


# Real matrices


def released(names, tokenizer):
    """Real 2 x 2 cases: a TL;DR post under a constitution and its negation, with summaries by two models."""
    folder = SHARED_DATA / "sami-tldr-released"
    if not folder.is_dir():
        pytest.skip("the released TL;DR responses are not beside this checkout (shared/data/sami-tldr-released)")
    texts = json.loads((folder / "constitutions_mistral/0.json").read_text())
    base, instruct = (
        json.loads((folder / f"responses/{model}-mistral-mistral-constitution-temperature-0.0.json").read_text())
        for model in ("base", "instruct")
    )
    ids = lambda text: tokenizer(text)["input_ids"]  # noqa: E731
    return [
        Item(
            name,
            [ids(f"{texts[key]}\n\n{base['question'][name]}\n\nSummary: ") for key in ("positive", "negative")],
            [ids(model["response"][name]) for model in (base, instruct)],
            [0, 1],
        )
        for name in names
    ]


SHORT_POSTS = ["74", "138"]


def test_real_matrices(smollm2):
    (item,) = items = released(SHORT_POSTS[:1], load_tokenizer(smollm2))
    scorer = Scorer(load(smollm2).to("cpu")).select_layout("auto")
    assert scorer.layout_name == "shared"
    assert shared(items).tokens < 0.65 * padded(items).tokens
    plain = plainly(scorer, item)[1]
    assert all(-8 < entry < 0 for entry in plain.flatten().tolist())
    loss, expected, means = gradients(scorer, "padded", items)
    assert torch.allclose(means[0], plain, rtol=1e-4, atol=0)
    for way in ("shared", "cached"):
        other_loss, found, means = gradients(scorer, way, items)
        assert torch.allclose(means[0], plain, rtol=1e-4, atol=0)
        assert other_loss == pytest.approx(loss, rel=1e-5)
        # The gradient of the loss is the small difference of large ones, those of the entries (here about a twentieth
        # of them), so the rounding of 30 layers shows in some parameters, in every way alike: against float64, a few
        # gains of norms are off by up to 4e-4 however they are computed. The next test tells rounding from mistakes.
        assert norm({name: found[name] - expected[name] for name in expected}) < 1e-4 * norm(expected), way
        assert max(distances(found, expected).values()) < 1e-3, way


def test_real_gradients_differ_by_rounding_only(smollm2, monkeypatch):
    items = released(SHORT_POSTS[:2], load_tokenizer(smollm2))
    model = load(smollm2).to("cpu")
    model.model.layers = model.model.layers[:2]  # all of them would take minutes in float64
    scorer = Scorer(model)
    single = {way: gradients(scorer, way, items)[1] for way in LAYOUTS}
    monkeypatch.setattr(modeling_llama.LlamaRMSNorm, "forward", exact_norm)
    model.double()
    loss, truth, expected = gradients(scorer, "padded", items)
    for way in ("shared", "cached"):
        other_loss, found, means = gradients(scorer, way, items)
        assert torch.allclose(means, expected, rtol=1e-12, atol=0)
        assert other_loss == pytest.approx(loss, rel=1e-12)
        assert max(distances(found, truth).values()) < 1e-8, way
    for way in LAYOUTS:
        assert max(distances(single[way], truth).values()) < 1e-4, way


# Architectures


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures(name, caplog):
    scorer, items = Scorer(build(name)), mixed()
    with caplog.at_level("INFO", logger="sami.scoring.scorer"):
        assert scorer.select_layout("auto").layout_name == ARCHITECTURES[name][3]
    assert caplog.messages[-1].startswith(f"scoring: {scorer.layout_name}")
    ways = supported(scorer)
    if name == "gpt-oss":
        assert "not shared, because its attention has a feature of its own: s_aux" in caplog.messages[-1]
        ways.remove("shared")
    if scorer.layout_name == "padded":
        assert "not shared, because not all of its layers are attention" in caplog.messages[-1]
        assert "not cached, because not all of its layers are attention" in caplog.messages[-1]
    assert list(LAYOUTS)[-len(ways) :] == ways  # what `auto` found, and whatever asks for less
    assert ways[0] == scorer.layout_name
    assert_plain(scorer, ways, items)
    loss, expected, _ = gradients(scorer, "padded", items)
    for way in ways[:-1]:
        other_loss, found, _ = gradients(scorer, way, items)
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert max(distances(found, expected).values()) < 1e-4, way


@pytest.mark.parametrize("way", LAYOUTS)
def test_a_layout_can_be_demanded(way):
    assert Scorer(build("llama-tied")).select_layout(way).layout_name == way


@pytest.mark.parametrize(
    ("name", "way", "lacking"),
    [
        ("mamba2", "shared", "not all of its layers are attention"),
        ("mamba2", "cached", "not all of its layers are attention"),
        ("bloom", "shared", "its attention cannot be replaced"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(name, way, lacking):
    with pytest.raises(UserError) as error:
        Scorer(build(name)).select_layout(way)
    for part in (f"not {way}, because {lacking}", "another engine.scoring, or 'auto'"):
        assert part in str(error.value)


def test_layers_that_run_again_and_a_cache_exclude_each_other():
    scorer = Scorer(build("llama-tied"))
    scorer.recomputes = True
    with pytest.raises(UserError, match="would fill the cache twice"):
        scorer.select_layout("cached")


def test_windows_that_only_the_mask_knows_are_not_missed():
    """The window is longer than the example that `select_layout` tries, so its values would not tell."""
    options = {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 2}
    options |= {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
    torch.manual_seed(0)
    model = transformers.Qwen2MoeForCausalLM(transformers.Qwen2MoeConfig(**SMALL, **options)).eval()
    scorer, source = Scorer(model).select_layout("auto"), random.Random(0)
    item = Item("long", [draw_tokens(source, 80), draw_tokens(source, 70)], [[5, 6, 7], [8, 9]], [0, 1])
    assert scorer.layout_name == "cached"
    assert_plain(scorer, ["cached"], [item])


def test_what_a_model_cannot_do_is_a_reason_and_no_crash():
    """Nemotron drops the tree on its way; short convolutions make sequences in one row see each other."""
    torch.manual_seed(0)
    nemotron = transformers.NemotronForCausalLM(transformers.NemotronConfig(**SMALL)).eval()
    assert Scorer(nemotron).select_layout("auto").layout_name == "cached"
    layers = ["conv", "full_attention", "full_attention"]
    lfm2 = transformers.Lfm2ForCausalLM(
        transformers.Lfm2Config(**SMALL, layer_types=layers, block_multiple_of=8)
    ).eval()
    assert Scorer(lfm2.to(torch.bfloat16)).select_layout("auto").layout_name == "padded"


def state(model):
    """What a model is set to, and what it computes, dropout included."""
    torch.manual_seed(0)
    logits = model(torch.tensor([[5, 6, 7, 8]])).logits.detach()
    return model.config.to_dict(), model.config._attn_implementation, [m.training for m in model.modules()], logits


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_scoring_leaves_a_model_as_it_was(attention):
    """Also one that is being trained with dropout; its scores are those without."""
    config = transformers.LlamaConfig(**SMALL, attention_dropout=0.5)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).train()
    model.model.layers[0].eval()
    model.set_attn_implementation(attention)
    before = state(model)
    scorer = Scorer(model).select_layout()
    assert scorer.layout_name == "shared"
    for layout_name in LAYOUTS:
        gradients(scorer, layout_name, mixed())
        after = state(model)
        assert after[:3] == before[:3]
        assert torch.equal(after[3], before[3])
    means = scored(scorer, "shared", mixed()).mean
    model.eval()
    assert torch.equal(scored(scorer, "shared", mixed()).mean, means)
    assert_plain(scorer, LAYOUTS, mixed())


def test_a_pass_that_fails_leaves_a_model_as_it_was():
    model = build("gpt-oss").train()
    before = state(model)
    with pytest.raises(NotImplementedError, match="a feature of its own: s_aux"):
        scored(Scorer(model), "shared", mixed())
    after = state(model)
    assert after[:3] == before[:3]
    assert torch.equal(after[3], before[3])


def test_layers_that_run_again_keep_the_attention_of_the_pass():
    """Their gradients are those of layers that do not; the next pass takes the attention back."""
    scorer = Scorer(build("llama-tied"))
    loss, expected, _ = gradients(scorer, "shared", mixed())
    again = Scorer(build("llama-tied"), recomputes=True)
    checkpoint_layers(decoder_layers(again.model), "full")
    other_loss, found, _ = gradients(again, "shared", mixed())
    assert other_loss == loss
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert again.model.config._attn_implementation == tree_attention.NAME
    assert torch.equal(scored(again, "padded", mixed()).mean, scored(scorer, "padded", mixed()).mean)
    assert again.model.config._attn_implementation == "sdpa"


def test_two_scorers_of_a_model():
    model = build("llama-tied")
    assert Scorer(model).select_layout().layout_name == Scorer(model).select_layout().layout_name == "shared"


def test_the_attention_of_trees_needs_a_tree():
    model = build("llama-tied")
    model.set_attn_implementation(tree_attention.NAME)
    with pytest.raises(NotImplementedError, match="model.set_attn_implementation"):
        model(torch.tensor([[5, 6]]))
    model.set_attn_implementation("sdpa")
    assert model(torch.tensor([[5, 6]])).logits.shape == (1, 2, V)


def test_an_unknown_head_is_refused():
    """Granite divides its logits, which the head of this package does not know."""
    torch.manual_seed(0)
    config = transformers.GraniteConfig(**SMALL, logits_scaling=8.0)
    scorer = Scorer(transformers.GraniteForCausalLM(config).eval())
    with pytest.raises(UserError) as error:
        scorer.select_layout("auto")
    assert "GraniteForCausalLM cannot be scored" in str(error.value)
    assert all(f"not {way}, because on a small example it differs" in str(error.value) for way in LAYOUTS)


# The attention of trees


def sees(tree, window=None):
    """(L, L) who sees whom, from the nodes: what precedes in the own node, and all of those above."""
    seen = torch.zeros(len(tree.positions), len(tree.positions), dtype=torch.bool)
    for node in tree.nodes:
        for i in range(node.start, node.end):
            seen[i, node.start : min(i + 1, node.stop)] = True
    if window is not None:
        for row in seen:
            row[row.nonzero().flatten()[:-window]] = False
    return seen


def masked_softmax(query, key, value, scaling, seen, softcap=None):
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    scores = scaling * query @ key.mT
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return scores.masked_fill(~seen, -math.inf).softmax(-1) @ value


def blocks(query, key, value, scaling, tree, window, softcap):
    assert window is None
    assert softcap is None
    return tree_attention._Blocks.apply(query, key, value, [(n.start, n.stop, n.end) for n in tree.nodes], scaling)


def flex(*arguments):
    return tree_attention.flex(*arguments, compiled=False)


attention_cases = st.tuples(
    batches(queries=3),
    st.integers(0, 2**32),
    st.sampled_from([(2, 2), (4, 2), (4, 1)]),  # heads of queries, and of keys and values
    st.sampled_from([(None, None), (None, None), (9, None), (None, 1.5), (5, 1.5)]),  # window, cap
)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@settings(max_examples=30, deadline=None)
@given(attention_cases)
def test_attention_equals_a_masked_softmax(case):
    items, seed, (heads, groups), (window, softcap) = case
    tree = shared(items).tree
    torch.manual_seed(seed)
    inputs = [2 * torch.randn(1, n, len(tree.positions), 8, dtype=torch.float64) for n in (heads, groups, groups)]
    slope = torch.randn(1, heads, len(tree.positions), 8, dtype=torch.float64)
    for dtype, near in ((torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
        rounded = [tensor.to(dtype).double().requires_grad_() for tensor in inputs]
        exact = masked_softmax(*rounded, 0.3, sees(tree, window), softcap)
        slopes = torch.autograd.grad(exact, rounded, slope.to(dtype).double())
        size = math.hypot(*(float(part.norm()) for part in slopes))  # some may cancel, so they are measured together
        for run in (blocks, tree_attention.dense, flex):
            if run is blocks and (window, softcap) != (None, None):
                continue
            # FlexAttention has no backward pass on CPU.
            leaves = [tensor.detach().to(dtype).requires_grad_(run is not flex) for tensor in rounded]
            found = run(*leaves, 0.3, tree, window, softcap)
            assert found.dtype == dtype
            assert (found.double() - exact).norm() <= near * exact.norm(), (run, dtype)
            if run is not flex:
                for one, other in zip(torch.autograd.grad(found, leaves, slope.to(dtype)), slopes, strict=True):
                    assert (one.double() - other).norm() <= near * size, (run, dtype)


def test_gradient_of_the_blocks():
    torch.manual_seed(0)
    tree = shared([Item("q", [[1, 2, 3], [4]], [[5, 6, 7], [8, 9], [5]], [0, 1, 1])]).tree
    nodes = [(n.start, n.stop, n.end) for n in tree.nodes]
    inputs = [torch.randn(1, n, len(tree.positions), 4, dtype=torch.float64, requires_grad=True) for n in (4, 2, 2)]
    assert torch.autograd.gradcheck(lambda *tensors: tree_attention._Blocks.apply(*tensors, nodes, 0.5), inputs)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("run", [blocks, tree_attention.dense, flex])
def test_attention_without_a_scale_divides_by_the_root_of_the_head_size(run):
    torch.manual_seed(0)
    tree = shared([Item("q", [[1, 2, 3], [4]], [[5, 6, 7], [8, 9], [5]], [0, 1, 1])]).tree
    inputs = [torch.randn(1, n, len(tree.positions), 4) for n in (4, 2, 2)]
    assert torch.allclose(run(*inputs, None, tree, None, None), run(*inputs, 0.5, tree, None, None))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_model_with_flexattention(capped_scorer, monkeypatch):
    """What runs on a GPU, here uncompiled: layers with and without a window use the masks of one tree."""
    expected = scored(capped_scorer, "shared", mixed()).sum
    runs = []
    monkeypatch.setattr(tree_attention, "dense", lambda *arguments: runs.append(arguments[5]) or flex(*arguments))
    assert torch.allclose(scored(capped_scorer, "shared", mixed()).sum, expected, rtol=1e-5)
    assert set(runs) == {9, None}


@pytest.mark.skipif(not shutil.which("g++"), reason="compiling for a processor takes g++")
def test_compiled_flexattention_holds_window_and_cap_in_tensors():
    """As on a GPU, where it is always compiled: once for all windows and caps, and for trees of all lengths."""
    torch.compiler.reset()
    draw = random.Random(0)
    tokens = lambda n: [draw.randrange(V) for _ in range(n)]  # noqa: E731
    run = functools.partial(tree_attention.flex, compiled=True)
    counted = []
    for length, window, softcap in ((70, 9, 1.5), (90, 12, 2.5)):
        tree = shared([Item("q", [tokens(length), tokens(length)], [tokens(9), tokens(12)], [0, 1])]).tree
        inputs = [torch.randn(1, n, len(tree.positions), 8) for n in (4, 2, 2)]
        arguments = (*inputs, 0.3, tree, window, softcap)
        assert torch.allclose(run(*arguments), tree_attention.dense(*arguments), atol=1e-5)
        counted.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert counted[0] == counted[1] > 0


def test_a_window_longer_than_every_path_is_none(monkeypatch):
    scorer = Scorer(build("mistral"))
    scorer.model.config.sliding_window = None
    expected = scored(scorer, "shared", mixed()).sum
    monkeypatch.setattr(tree_attention, "dense", None)  # so that only the blocks, which know no window, can run
    scorer.model.config.sliding_window = shared(mixed()).tree.longest
    assert torch.equal(scored(scorer, "shared", mixed()).sum, expected)
    scorer.model.config.sliding_window -= 1
    with pytest.raises(TypeError):
        scored(scorer, "shared", mixed())


# The head


def headed(weight, bias=None, cap=None, kind=nn.Linear):
    """Stands for a model of which only the head is asked."""
    linear = kind(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight)
    linear.bias = bias if bias is None else nn.Parameter(bias)
    return SimpleNamespace(get_output_embeddings=lambda: linear, config=SimpleNamespace(final_logit_softcapping=cap))


class Adapted(nn.Linear):
    """A head of another kind, for which the general way is used."""


@pytest.fixture
def widest(monkeypatch):
    """Bytes, in float32, of the largest output of a linear layer over the vocabulary, and how many there were."""
    seen, linear = [0, 0], nn.functional.linear

    def watched(*arguments):
        output = linear(*arguments)
        if output.shape[-1] == V:
            seen[:] = max(seen[0], 4 * output.numel()), seen[1] + 1
        return output

    monkeypatch.setattr(nn.functional, "linear", watched)
    return seen


@pytest.mark.parametrize("kind", [nn.Linear, Adapted])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("positions", [1, 4, 11, 12])
def test_the_head_in_chunks(kind, with_bias, cap, positions, monkeypatch, widest):
    monkeypatch.setattr(head, "LOGIT_BYTES", 4 * 4 * V + 5)  # four positions, and not quite a whole one more
    torch.manual_seed(0)
    states = torch.randn(positions, 16, requires_grad=True)
    weight, bias = torch.randn(V, 16) / 2, torch.randn(V) if with_bias else None
    target, slope = torch.randint(V, (positions,)), torch.randn(positions)
    target[-1] = target[0]
    model = headed(weight, bias, cap, kind)
    parts = [states, *model.get_output_embeddings().parameters()]

    found = head.token_log_probabilities(model, states, target)
    slopes = torch.autograd.grad(found, parts, slope)
    chunks = math.ceil(positions / 4)
    assert widest[0] == 4 * V * min(positions, 4)
    kept = chunks == 1 and cap is None and kind is nn.Linear
    assert widest[1] == (1 if kept else 2 * chunks)  # once in the forward and once in the backward pass

    values = states @ parts[1].T + (parts[2] if with_bias else 0)
    if cap is not None:
        values = cap * torch.tanh(values / cap)
    expected = values.log_softmax(-1).gather(1, target[:, None])[:, 0]
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(slopes, torch.autograd.grad(expected, parts, slope), strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()


def test_gradient_of_the_head(monkeypatch):
    monkeypatch.setattr(head, "LOGIT_BYTES", 4 * 2 * 13)
    torch.manual_seed(0)
    target = torch.randint(13, (5,))
    shapes = (5, 6), (13, 6), (13,)
    states, weight, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    for cap in (None, 2.0):
        assert torch.autograd.gradcheck(lambda *parts: head._Chosen.apply(*parts, target, cap), (states, weight, bias))  # noqa: B023
        assert torch.autograd.gradcheck(lambda *parts: head._Chosen.apply(*parts, None, target, cap), (states, weight))  # noqa: B023


def test_a_pass_holds_few_logits(scorer, monkeypatch, widest):
    """Through a whole model, with a KL term, in chunks that divide responses anywhere."""
    reference = Scorer(build("llama-tied", seed=1))
    layout = shared(mixed())
    with torch.no_grad():
        reference.layout_name = "shared"
        states = reference(layout, only_states=True)[layout.own]
    scorer.layout_name = "shared"
    scorer.reference_head = reference.model.lm_head

    def run():
        scorer.model.zero_grad()
        found = scorer(layout, states)
        (found.mean.mean() + found.kl).backward()
        return found, {name: p.grad.clone() for name, p in scorer.model.named_parameters()}

    try:
        found, slopes = run()
        assert widest[0] == 4 * V * len(layout.target)  # little enough for one chunk
        widest[:] = 0, 0
        monkeypatch.setattr(head, "LOGIT_BYTES", 4 * 9 * V)
        in_chunks, slopes_in_chunks = run()
        assert widest[0] == 4 * 9 * V
    finally:
        scorer.reference_head = None
    assert torch.allclose(in_chunks.mean, found.mean, rtol=1e-5)
    assert torch.allclose(in_chunks.kl, found.kl, rtol=1e-5)
    assert max(distances(slopes_in_chunks, slopes).values()) < 1e-5


# Divergence from a reference model


def plain_kl(policy, reference, items):
    """KL(policy, reference) over the tokens of responses under their own constitutions, sequence by sequence."""
    total = 0
    for item in items:
        for response, label in zip(item.responses, item.labels, strict=True):
            ids = torch.tensor([item.prompts[label] + response])
            place = slice(len(item.prompts[label]) - 1, ids.shape[1] - 1)
            one, other = (model(ids).logits[0, place].log_softmax(-1) for model in (policy, reference))
            total = total + (one.exp() * (one - other)).sum()
    return total


@pytest.mark.parametrize("name", ["llama-untied", "gemma2"])  # the latter with a soft cap on its logits
def test_kl(name):
    policy, reference = build(name), build(name, seed=1).requires_grad_(False)
    scorer, other, items = Scorer(policy, reference.get_output_embeddings()), Scorer(reference), mixed()
    expected = plain_kl(policy, reference, items)
    expected.backward()
    slopes = {name: p.grad.clone() for name, p in policy.named_parameters()}
    assert expected > 1
    for way in LAYOUTS:
        scorer.layout_name = way
        other.layout_name = way
        layout = scorer.layout(items)
        policy.zero_grad()
        found = scorer(layout, other(layout, only_states=True)[layout.own])
        assert torch.allclose(found.kl, expected, rtol=1e-4), way
        assert torch.equal(found.mean, scorer(layout).mean)
        found.kl.backward()
        assert max(distances({n: p.grad for n, p in policy.named_parameters()}, slopes).values()) < 1e-4, way


def test_kl_of_a_model_from_itself_is_zero():
    policy, reference = build("llama-untied"), build("llama-untied")
    scorer, other = Scorer(policy, reference.lm_head), Scorer(reference)
    for way in LAYOUTS:
        scorer.layout_name = way
        other.layout_name = way
        layout = scorer.layout(mixed())
        kl = scorer(layout, other(layout, only_states=True)[layout.own]).kl
        assert abs(kl.item()) < 1e-6, way
        kl.backward()
        assert max(p.grad.abs().max() for p in policy.parameters()) < 1e-5


# Layouts


def test_a_small_tree_by_hand():
    layout = shared([Item("q", [[1, 2], [3]], [[4, 5, 6], [7, 8], [9]], [0, 1, 1])])
    assert layout.shape == (1, 2, 3)
    # Of each response all but the last token: 1 2 with 4 5, 7 behind it, and 3 likewise.
    assert layout.rows.input_ids.tolist() == [[1, 2, 4, 5, 7, 3, 4, 5, 7]]
    assert layout.rows.position_ids.tolist() == [[0, 1, 2, 3, 2, 0, 1, 2, 1]]
    assert layout.rows.mask.all()
    assert layout.tree.positions.tolist() == [0, 1, 2, 3, 2, 0, 1, 2, 1]
    assert layout.tree.extent.tolist() == [5, 5, 4, 4, 5, 9, 8, 8, 9]
    assert layout.tree.longest == 4
    assert [(n.start, n.stop, n.end) for n in layout.tree.nodes] == [
        *[(0, 2, 5), (2, 4, 4), (4, 5, 5)],
        *[(5, 6, 9), (6, 8, 8), (8, 9, 9)],
    ]
    assert [(n.start, n.end) for n in layout.tree.roots] == [(0, 5), (5, 9)]
    own, other = ["1", "11", "111", "1111", "11..1"], ["1", "11", "111", "1..1"]
    rows = own + ["." * 5 + row for row in other]
    by_hand = torch.tensor([[mark == "1" for mark in row.ljust(9)] for row in rows])
    assert torch.equal(sees(layout.tree), by_hand)
    index = torch.arange(9)
    assert torch.equal((index <= index[:, None]) & (index[:, None] < layout.tree.extent), by_hand)
    assert layout.place.tolist() == [1, 2, 3, 1, 4, 1, 5, 6, 7, 5, 8, 5]
    assert layout.target.tolist() == [4, 5, 6, 7, 8, 9] * 2
    assert layout.entry.tolist() == [0, 0, 0, 1, 1, 2, 3, 3, 3, 4, 4, 5]
    assert layout.own.tolist() == [True] * 3 + [False] * 6 + [True] * 3


def test_the_other_layouts_by_hand():
    item = Item("q", [[1, 2], [3]], [[4, 5], [7]], [0, 1])
    layout = padded([item])
    assert layout.rows.input_ids.tolist() == [[1, 2, 4], [1, 2, 0], [3, 4, 0], [3, 0, 0]]
    assert layout.rows.mask.tolist() == [[True] * n + [False] * (3 - n) for n in (3, 2, 2, 1)]
    assert layout.place.tolist() == [1, 2, 4, 6, 7, 9]
    layout = cached([item])
    behind, parent = layout.behind
    assert layout.rows.input_ids.tolist() == [[1, 2], [0, 3]]
    assert layout.rows.position_ids.tolist() == [[0, 1], [0, 0]]
    assert parent.tolist() == [0, 0, 1, 1]
    assert behind.input_ids.tolist() == [[4, 5], [7, 0], [4, 5], [7, 0]]
    assert behind.position_ids[:, 0].tolist() == [2, 2, 1, 1]
    assert layout.place.tolist() == [1, 4, 1, 3, 8, 3]  # the flattened prompts end at 4


@settings(max_examples=60, deadline=None)
@given(batches(longest=6))
def test_a_prediction_sees_its_prompt_and_what_precedes_in_its_response(items):
    layout = shared(items)
    seen, ids = sees(layout.tree), layout.rows.input_ids[0]
    index = torch.arange(len(ids))
    assert torch.equal(seen, (index <= index[:, None]) & (index[:, None] < layout.tree.extent))
    _, constitutions, responses = layout.shape
    count = [0] * math.prod(layout.shape)
    for place, target, entry, own in zip(layout.place, layout.target, layout.entry, layout.own, strict=True):
        q, pair = divmod(int(entry), constitutions * responses)
        c, r = divmod(pair, responses)
        prompt, response = items[q].prompts[c], items[q].responses[r]
        k = count[entry]
        count[entry] += 1
        assert ids[seen[place]].tolist() == prompt + response[:k]
        assert layout.tree.positions[seen[place]].tolist() == list(range(len(prompt) + k))
        assert target == response[k]
        assert own == (items[q].labels[r] == c)
    assert count == [len(response) for item in items for _ in item.prompts for response in item.responses]
    assert layout.tree.longest == max(
        len(p) + len(r) - 1 for item in items for p in item.prompts for r in item.responses
    )
    for other in (cached(items), padded(items)):
        for name in ("target", "entry", "own"):
            assert torch.equal(getattr(layout, name), getattr(other, name)), name
        assert layout.shape == other.shape
    assert layout.tokens <= padded(items).tokens


START, FURTHER = list(range(20)), list(range(30, 46))  # 20 and 16 tokens
X, Y, Z = [100], [101], [102]


@pytest.mark.parametrize(
    ("prompts", "tokens"),
    [
        ([X * 30, Y * 7], 37),  # nothing in common
        ([START[:15] + X, START[:15] + Y], 2 * 16),  # too little in common to be worth a node
        ([START[:16] + X, START[:16] + Y], 16 + 2),  # just enough
        ([START + X, START + Y * 3], 20 + 1 + 3),
        ([START + X, Z * 5, START + Y * 3], 20 + 1 + 5 + 3),  # among some
        ([START + FURTHER + X, START + Y, START + FURTHER + Z * 2], 20 + 16 + 1 + 1 + 2),  # two levels
        ([START + X, START + Y, FURTHER + X, FURTHER + Y], 20 + 2 + 16 + 2),  # two trees
        ([START, START], 19 + 2),  # the last token stays apart, since its end predicts
        ([START, START + X * 4], 19 + 1 + 5),  # one continues the other
        ([START + X * 4, START], 19 + 5 + 1),
    ],
)
def test_what_prompts_have_in_common_is_encoded_once(prompts, tokens):
    responses = [[7] * 5, [8], [9] * 3]
    layout = shared([Item("q", prompts, responses, [0, 1, 1])])
    assert layout.tokens == tokens + len(prompts) * (4 + 0 + 2)
    plain = padded([Item("q", prompts, responses, [0, 1, 1])])
    assert plain.tokens == 3 * sum(map(len, prompts)) + len(prompts) * (4 + 0 + 2)


@pytest.mark.parametrize("name", LAYOUTS)
def test_examples_of_different_shapes_are_scored_together(scorer, name):
    """Entries that an example lacks are 0; the others are what the example alone has."""
    examples = [
        Item("a", [[1, 2], [2, 3, 4], [3]], [[4, 5], [5], [6, 7, 8]], [0, 1, 2]),
        Item("b", [[1, 9], [2]], [[4], [5, 6], [6]], [0, 1, 1]),
        Item("c", [[8]], [[4, 4]], [0]),
    ]
    scorer.select_layout(name)
    with torch.no_grad():
        together, alone = scorer(scorer.layout(examples)), [scorer(scorer.layout([item])) for item in examples]
    assert together.mean.shape == (3, 3, 3)
    for q, one in enumerate(alone):
        _, prompts, responses = one.mean.shape
        for found, expected in ((together.mean[q], one.mean[0]), (together.sum[q], one.sum[0])):
            assert torch.allclose(found[:prompts, :responses], expected, atol=1e-4)
            rest = found.clone()
            rest[:prompts, :responses] = 0
            assert not rest.any()


def test_an_empty_response_is_refused():
    with pytest.raises(UserError, match="query 'q7': a response has no tokens"):
        Item("q7", [[1], [2]], [[3], []], [0, 1])


def test_an_empty_prompt_is_refused():
    with pytest.raises(UserError, match="query 'q8': a prompt has no tokens"):
        Item("q8", [[1], []], [[3], [4]], [0, 1])


# Packing

sizes = st.lists(st.integers(1, 60), max_size=40)


@given(sizes, st.integers(1, 100))
def test_packs_stay_within_the_budget(sizes, budget):
    groups = pack(sizes, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(sizes)))
    totals = [sum(sizes[index] for index in group) for group in groups]
    assert all(total <= budget or len(group) == 1 for total, group in zip(totals, groups, strict=True))
    # No two groups would fit into one, so there are at most twice as many as there need be.
    assert all(sum(pair) > budget for pair in itertools.combinations(totals, 2))


@given(sizes, st.integers(1, 9))
def test_shares_are_balanced(sizes, parts):
    shares = divide(sizes, parts)
    assert len(shares) == parts
    assert sorted(index for share in shares for index in share) == list(range(len(sizes)))
    assert all(share == sorted(share) for share in shares)
    loads = [sum(sizes[index] for index in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


def test_packing_by_hand():
    """Every process computes the division for itself, so equal sizes must fall the same way everywhere."""
    assert pack([3, 5, 3, 5, 9], 8) == [[4], [1, 0], [3, 2]]
    assert divide([5, 5, 3, 3, 3], 2) == [[0, 2, 4], [1, 3]]
    assert divide([4], 3) == [[0], [], []]
    assert pack([], 8) == []
