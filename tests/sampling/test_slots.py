"""Sampling in slots: the tokens of the library's own greedy loop, for every architecture, whatever shares the rows."""

import pytest
import torch
import transformers
from architectures import ARCHITECTURES, SMALL, V, build

from sami.errors import UserError
from sami.models.pretrained import load_tokenizer
from sami.sampling import library
from sami.sampling.factory import open_sampler
from sami.sampling.sampler import Request
from sami.sampling.slots import Slots, unfit
from sami.sampling.transformers_sampler import TransformersSampler
from sami.settings.sampling import Sampling

FITTING = [name for name, (*_, layout) in ARCHITECTURES.items() if layout == "shared"]


def prompts(count: int, shared: int = 20, seed: int = 1) -> list[list[int]]:
    """Prompts of different lengths, most of which begin alike."""
    draw = torch.Generator().manual_seed(seed)
    common = torch.randint(3, V, (shared,), generator=draw).tolist()
    own = [torch.randint(3, V, (2 + 3 * n,), generator=draw).tolist() for n in range(count)]
    return [common + tokens if n % 3 else tokens for n, tokens in enumerate(own)]


def sampler_of(model, tokenizer, ends=()) -> TransformersSampler:
    """A sampler of a model that is in no folder."""
    sampler = object.__new__(TransformersSampler)
    sampler.model, sampler.tokenizer, sampler.ends, sampler.context = model, tokenizer, list(ends), 256
    sampler.unfit = unfit(model)
    return sampler


def settings(temperature=0.0, new=8, batch_size=3) -> Sampling:
    return Sampling(temperature=temperature, max_new_tokens=new, batch_size=batch_size)


@torch.inference_mode()
def greedy(model, prompt: list[int], new: int) -> list[int]:
    """The tokens that `generate` gives."""
    output = model.generate(
        torch.tensor([prompt]), max_new_tokens=new, do_sample=False, eos_token_id=V + 1, pad_token_id=0
    )  # fmt: skip
    return output[0, len(prompt) :].tolist()


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return load_tokenizer(tiny)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_fits_is_found(name):
    reason = unfit(build(name))
    assert (reason is None) == (name in FITTING), reason


@pytest.mark.parametrize("name", FITTING)
def test_greedy_tokens_are_those_of_generate(name):
    model, asked = build(name), prompts(5)
    expected = [greedy(model, prompt, 8) for prompt in asked]
    drawn = {n: [] for n in range(5)}
    with torch.inference_mode(), Slots(model, 3, 80) as slots:
        first = slots.prefill(asked[:3]).argmax(-1).tolist()
        rows = [0, 1, 2]
        for n in rows:
            slots.enter(n)
            drawn[n].append(first[n])

        def step():
            logits = slots.step([drawn[n][-1] for n in rows])
            for n, token in zip(rows, logits.argmax(-1).tolist(), strict=True):
                drawn[n].append(token)

        step()
        step()
        slots.leave(0)  # 2 moves to the front
        rows = [2, 1]
        step()
        first = slots.prefill(asked[3:]).argmax(-1).tolist()
        slots.enter(1)
        drawn[4].append(first[1])
        rows = [2, 1, 4]
        for _ in range(4):
            step()
    for n in (0, 1, 2, 4):
        assert drawn[n] == expected[n][: len(drawn[n])]
        assert len(drawn[n]) >= 3


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 16])
def test_rows_and_refills_change_no_draw(tokenizer, batch_size):
    sampler = sampler_of(build("llama-tied"), tokenizer, ends=[5, 17, 123])
    requests = [Request(prompt, f"{n}-{j}") for n, prompt in enumerate(prompts(6)) for j in range(3)]
    how = settings(1.0, 12, batch_size)
    drawn = sampler.generate(requests, how, [])
    assert {completion.finish for completion in drawn} == {"end", "length"}
    one_by_one = library.generate(sampler.model, tokenizer, sampler.ends, requests, settings(1.0, 12, 1), [])
    assert [c.token_ids for c in drawn] == [c.token_ids for c in one_by_one]


def test_eight_responses_to_a_prompt_encode_it_once(tokenizer, monkeypatch):
    sampler, encoded = sampler_of(build("llama-tied"), tokenizer), []
    prefill = Slots.prefill
    monkeypatch.setattr(Slots, "prefill", lambda self, asked: encoded.extend(asked) or prefill(self, asked))
    requests = [Request(prompt, f"{n}-{j}") for n, prompt in enumerate(prompts(4)) for j in range(8)]
    drawn = sampler.generate(requests, settings(1.0, 6, 32), [])
    assert len(encoded) == 4
    assert len({tuple(c.token_ids) for c in drawn[:8]}) > 1


def test_long_lists_of_prompts_enter_in_passes(tokenizer, monkeypatch):
    from sami.sampling import transformers_sampler

    monkeypatch.setattr(transformers_sampler, "TOKENS_AT_ONCE", 40)
    sampler = sampler_of(build("qwen2"), tokenizer)
    requests = [Request(prompt, str(n)) for n, prompt in enumerate(prompts(9))]
    found = [c.token_ids for c in sampler.generate(requests, settings(batch_size=9), [])]
    expected = [greedy(sampler.model, request.prompt, 8) for request in requests]
    assert [tokens == wanted[: len(tokens)] for tokens, wanted in zip(found, expected, strict=True)] == [True] * 9


def test_another_attention_comes_back():
    model = build("llama-tied")
    before = model.config._attn_implementation
    assert unfit(model) is None
    assert model.config._attn_implementation == before


def test_models_that_do_not_fit_are_sampled_by_the_librarys_loop(tokenizer, monkeypatch):
    sampler, called = sampler_of(build("bloom"), tokenizer), []
    own = library.generate
    monkeypatch.setattr(library, "generate", lambda *arguments: called.append(1) or own(*arguments))
    prompt = prompts(2)[1]
    (found,) = sampler.generate([Request(prompt, "k")], settings(), [])
    assert called == [1]
    assert found.token_ids == greedy(sampler.model, prompt, 8)[: len(found.token_ids)]


def test_no_cache_is_the_librarys_loop():
    model = build("llama-tied")
    model.forward = lambda input_ids, **_: transformers.LlamaForCausalLM.forward(model, input_ids, use_cache=False)
    assert unfit(model) is not None


def test_requests_that_cannot_be_served(tiny, tokenizer):
    sampler = open_sampler("transformers", tiny, tokenizer, longest=256)
    assert sampler.unfit is None
    assert sampler.generate([], settings(), []) == []
    with pytest.raises(UserError, match="request 'k': its prompt has no tokens"):
        sampler.generate([Request([], "k")], settings(), [])
    with pytest.raises(UserError, match=r"request 'k': its prompt has 250 tokens; .* context of 256"):
        sampler.generate([Request([5] * 250, "k")], settings(), [])
    sampler.context = 10**12
    requests = [Request([5], str(n)) for n in range(4)]
    with pytest.raises(
        UserError, match=r"sampling.batch_size: 4 sequences of 1000000001 tokens need a cache of .* Lower"
    ):
        sampler.generate(requests, settings(new=10**9, batch_size=4), [])
    with pytest.raises(ValueError, match="max_new_tokens"):
        settings(new=0)


def test_a_window_shorter_than_a_sequence():
    model = transformers.MistralForCausalLM(transformers.MistralConfig(**SMALL, sliding_window=4)).eval()
    assert unfit(model) is None
