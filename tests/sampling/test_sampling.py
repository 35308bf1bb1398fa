import importlib.util
import json
from collections import Counter

import pytest
import torch
from conftest import make_tiny_llama

from sami.data.prompts import render
from sami.errors import UserError
from sami.models.folders import check_tensor_parallel
from sami.models.prepare import prepare
from sami.models.pretrained import config, context_length, load, load_tokenizer
from sami.sampling.completion import Completion
from sami.sampling.draws import draw, uniforms
from sami.sampling.factory import open_sampler
from sami.sampling.responses import clean
from sami.sampling.sampler import Request, check_lengths
from sami.settings.models import Model
from sami.settings.sampling import Sampling
from sami.settings.tasks import Prompts

PROMPTS = Prompts(style="chat", system="", generation="{constitution}{query}", training="{constitution}{query}")
CONTEXT = 256


def sampling(temperature, new=10, batch_size=8, top_p=1.0):
    return Sampling(temperature=temperature, top_p=top_p, max_new_tokens=new, batch_size=batch_size)


# --- what every sampler keeps to --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama whose heads are wide enough for vLLM's kernels."""
    folder = tmp_path_factory.mktemp("sampled")
    source = make_tiny_llama(folder / "source", context=CONTEXT, head_dim=32)
    prepare("tiny", Model(source="path", path=str(source)), folder / "model")
    return folder / "model"


@pytest.fixture(scope="module", params=["transformers", "library", "vllm"])
def sampler(request, folder):
    if request.param == "library":  # what serves models that the other loop does not fit
        sampler = open_sampler("transformers", folder, load_tokenizer(folder), longest=CONTEXT)
        sampler.unfit = "a test says so"
        return sampler
    if request.param == "vllm":
        platforms = pytest.importorskip("vllm.platforms", reason="vLLM is not installed")
        if not platforms.current_platform.is_cpu() and not torch.cuda.device_count():
            pytest.skip("vLLM needs a GPU, and this machine has none")
    return open_sampler(request.param, folder, load_tokenizer(folder), longest=CONTEXT)


@pytest.fixture(scope="module")
def requests(folder):
    tokenizer = load_tokenizer(folder)
    texts = [f"{'Please. ' * i}Why is the sky blue?" for i in range(6)]
    return [Request(render(text, PROMPTS, tokenizer), f"key-{i}") for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def most_likely(folder):
    """Function of a prompt and a length: the most likely tokens, by a forward pass for each."""
    model = load(folder).cpu()

    @torch.inference_mode()
    def decode(prompt, length):
        tokens = list(prompt)
        for _ in range(length):
            tokens.append(model(torch.tensor([tokens])).logits[0, -1].argmax().item())
        return tokens[len(prompt) :]

    return decode


def test_greedy_responses_are_the_most_likely_tokens(sampler, requests, most_likely):
    for length in (1, 10):
        drawn = sampler.generate(requests, sampling(0.0, length), [])
        for request, found in zip(requests, drawn, strict=True):
            tokens = most_likely(request.prompt, length)
            assert found.token_ids == tokens[: found.tokens]
            assert found.text == sampler.tokenizer.decode(found.token_ids).strip()
            assert not sampler.tokenizer.decode(tokens[found.tokens :]).strip("\N{REPLACEMENT CHARACTER} \n")
    nearly = sampler.generate(requests, sampling(1.0, 10, top_p=1e-6), [])
    assert nearly == drawn


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_responses_do_not_depend_on_what_shares_their_batch(sampler, requests, temperature):
    def draw(some, batch_size):
        return sampler.generate(some, sampling(temperature, batch_size=batch_size), [])

    together = draw(requests, 6)
    assert draw(requests, 4) == together
    assert draw(requests[::-1], 4)[::-1] == together
    assert [draw([request], 1)[0] for request in requests] == together


def test_keys_give_different_responses(sampler, requests):
    same_prompt = [Request(requests[0].prompt, f"k{i}") for i in range(8)]
    assert len({c.text for c in sampler.generate(same_prompt, sampling(1.0), [])}) == 8
    assert len({c.text for c in sampler.generate(same_prompt, sampling(0.0), [])}) == 1


@pytest.mark.parametrize(("temperature", "top_p"), [(0.5, 1.0), (1.0, 0.6)])
def test_frequencies_are_the_model_probabilities(sampler, requests, folder, temperature, top_p):
    count, prompt = 1000, requests[0].prompt
    with torch.inference_mode():
        logits = load(folder).cpu()(torch.tensor([prompt])).logits[0, -1]
    probabilities, order = torch.softmax(logits / temperature, -1).sort(descending=True)
    probabilities = probabilities.where(probabilities.cumsum(-1) - probabilities < top_p, 0)
    expected = Counter()
    for token, probability in zip(order.tolist(), (probabilities / probabilities.sum()).tolist(), strict=True):
        shown = sampler.tokenizer.decode([token]).strip()
        expected[token if shown else None] += probability
    draws = [Request(prompt, f"draw-{i}") for i in range(count)]
    drawn = sampler.generate(draws, sampling(temperature, 1, 250, top_p), [])
    found = Counter(next(iter(c.token_ids), None) for c in drawn if c.finish == "length")
    assert not any(expected[token] == 0 for token in found)
    for token, probability in expected.most_common(5):
        assert found[token] / count == pytest.approx(probability, abs=4 * (probability / count) ** 0.5)


def test_any_end_token_ends_a_response(sampler, requests, most_likely, monkeypatch):
    tokens = most_likely(requests[0].prompt, 10)
    never = next(token for token in range(300) if token not in tokens)
    for end in (tokens[4], tokens[7]):
        monkeypatch.setattr(sampler, "ends", [never, end])
        before = tokens[: tokens.index(end)]
        expected = Completion(sampler.tokenizer.decode(before).strip(), "end", [*before, end])
        assert sampler.generate(requests[:1], sampling(0.0), []) == [expected]
        assert expected.tokens == len(before)


def test_stop_strings_end_a_response(sampler, requests, most_likely):
    tokens = most_likely(requests[0].prompt, 20)
    words = [sampler.tokenizer.decode([token]).strip() for token in tokens]
    mark = next(word for word in words[5:15] if len(word) > 1 and word.isascii() and word.isalpha())
    whole = sampler.generate(requests[:1], sampling(0.0, 20), [])[0]
    for stopped in sampler.generate([requests[0], requests[0]], sampling(0.0, 20), [mark, "never"]):
        assert stopped.finish == "stop"
        assert stopped.text == clean(whole.text, [mark]) != whole.text
        assert stopped.token_ids == tokens[: stopped.tokens]
        assert clean(sampler.tokenizer.decode(stopped.token_ids), [mark]) == stopped.text


def test_prompts_fill_the_context_and_no_more(sampler, requests, most_likely, folder):
    limit = context_length(config(folder))
    prompt = (requests[0].prompt * CONTEXT)[: limit - 4]
    check_lengths({"q": prompt}, 4, limit)
    drawn = sampler.generate([Request(prompt, "k")], sampling(0.0, 4), [])[0]
    assert drawn.finish == "length"
    assert drawn.token_ids == most_likely(prompt, 4)[: drawn.tokens] != []
    with pytest.raises(
        UserError, match=f"'q': its prompt has 252 tokens; with max_new_tokens = 5 .* context of {limit}"
    ):
        check_lengths({"q": prompt}, 5, limit)


def test_no_requests_no_responses(sampler):
    assert sampler.generate([], sampling(0.0), ["x"]) == []


# --- transformers -----------------------------------------------------------------------------------------------------


def test_drawn_frequencies_are_the_probabilities():
    """Temperature and top-p change the distribution as they should, over 20,000 draws."""
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    count = 20_000
    for temperature, top_p, expected in (
        (1.0, 1.0, [0.5, 0.3, 0.15, 0.05]),
        (0.5, 1.0, [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
        (1.0, 0.7, [0.5 / 0.8, 0.3 / 0.8, 0, 0]),  # the token that crosses the limit is kept
        (1.0, 0.01, [1, 0, 0, 0]),
    ):
        points = torch.rand(count, generator=torch.Generator().manual_seed(1))
        tokens = draw(logits.expand(count, 4), points, sampling(temperature, top_p=top_p))
        found = torch.bincount(tokens, minlength=4) / count
        assert torch.allclose(found, torch.tensor(expected, dtype=torch.float32), atol=0.015)
        assert all(found[i] == 0 for i, p in enumerate(expected) if p == 0)


def test_uniforms_are_streams_of_their_keys():
    both = uniforms(["a", "b"], 5)
    assert torch.equal(uniforms(["b"], 5)[0], both[1])
    assert torch.equal(uniforms(["b"], 3)[0], both[1, :3])
    assert not torch.equal(both[0], both[1])
    assert both.max() < 1


def test_a_chat_model_ends_its_answers(smollm2):
    tokenizer = load_tokenizer(smollm2)
    request = Request(
        render("Answer in one short sentence.\n\nWhat is the capital of France?", PROMPTS, tokenizer), "x"
    )
    sampler = open_sampler("transformers", smollm2, tokenizer, longest=CONTEXT)
    completion = sampler.generate([request], sampling(0.0, new=40), [])[0]
    assert "Paris" in completion.text
    assert completion.finish == "end"
    assert "<|im_end|>" not in completion.text
    stopped = sampler.generate([request], sampling(0.0, new=40), ["Paris"])[0]
    assert stopped.finish == "stop"
    assert stopped.text == completion.text.split("Paris")[0].strip()


# --- vLLM without a GPU -----------------------------------------------------------------------------------------------


def test_a_missing_vllm_is_told(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="sampling.sampler: the package vllm is not installed. pip install vllm"):
        open_sampler("vllm", folder, load_tokenizer(folder), longest=CONTEXT)


@pytest.mark.parametrize(
    ("heads", "shared", "gpus", "fitting"), [(4, 2, 3, "1, 2, 4"), (48, 8, 6, "1, 2, 4, 8, 16, 24, 48")]
)
def test_heads_that_cannot_be_divided_are_told(tmp_path, heads, shared, gpus, fitting):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"num_attention_heads": heads, "num_key_value_heads": shared}))
    check_tensor_parallel(tmp_path, 4)
    with pytest.raises(UserError, match=f"{heads} attention .*parallel = {gpus}, expected one of {fitting}\\."):
        check_tensor_parallel(tmp_path, gpus)


@pytest.mark.parametrize(
    ("there", "asked", "memory", "message"),
    [
        (0, 1, 2**34, "tensor_parallel = 1: found no GPUs .* Set the sampler to transformers"),
        (1, 2, 2**34, "tensor_parallel = 2: found 1 GPUs .* Set it to 1"),
        (2, 2, 2**16, "weights take 0.0 GiB, but vLLM has 0.0 GiB on each of 2 GPUs"),
    ],
)
def test_too_few_or_small_gpus_are_told(folder, monkeypatch, there, asked, memory, message):
    vllm_sampler = pytest.importorskip("sami.sampling.vllm_sampler", reason="vLLM is not installed")
    monkeypatch.setattr(vllm_sampler.current_platform, "is_cpu", lambda: False)
    monkeypatch.setattr(vllm_sampler.current_platform, "get_device_total_memory", lambda: memory)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(UserError, match=message):
        open_sampler("vllm", folder, load_tokenizer(folder), longest=CONTEXT, tensor_parallel=asked)


@pytest.mark.parametrize(
    ("text", "cleaned"), [(" a ### b", "a"), ("a\n\nHuman: b ### c", "a"), ("###", ""), (" plain \n", "plain")]
)
def test_clean(text, cleaned):
    assert clean(text, ["###", "Human: "]) == cleaned
