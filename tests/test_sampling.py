from collections import Counter

import pytest
import torch
from conftest import ROOT

from sami import settings
from sami.errors import UserError
from sami.models import load, load_tokenizer
from sami.prompts import render
from sami.records import Constitution, Example, Response, Statement
from sami.sampling.responses import clean, reason_to_drop, select
from sami.sampling.transformers_sampler import InverseTransform, Request, check_lengths, generate, uniforms
from sami.settings import Filters, Sampling

PROMPTS = settings.Prompts(
    style="chat", system="", generation="{constitution}{query}", training="{constitution}{query}"
)


def requests(tokenizer, count=6):
    texts = [f"{'Please. ' * i}Why is the sky blue?" for i in range(count)]
    return [Request(render(text, PROMPTS, tokenizer), f"key-{i}") for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def tiny_pair(tiny):
    return load(tiny), load_tokenizer(tiny)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_responses_do_not_depend_on_their_batch(tiny_pair, temperature):
    model, tokenizer = tiny_pair
    wanted = requests(tokenizer)
    draw = lambda size: generate(model, tokenizer, wanted, sampling(temperature, size), [])  # noqa: E731
    assert draw(1) == draw(4) == draw(6)
    reordered = generate(model, tokenizer, wanted[::-1], sampling(temperature, 4), [])
    assert reordered[::-1] == draw(6)


def sampling(temperature, batch_size=8, new=10, top_p=1.0):
    return Sampling(temperature=temperature, top_p=top_p, max_new_tokens=new, batch_size=batch_size)


def test_keys_give_different_responses(tiny_pair):
    model, tokenizer = tiny_pair
    prompt = requests(tokenizer, 1)[0].prompt
    texts = [
        c.text for c in generate(model, tokenizer, [Request(prompt, f"k{i}") for i in range(8)], sampling(1.0), [])
    ]
    assert len(set(texts)) == 8
    greedy = [
        c.text for c in generate(model, tokenizer, [Request(prompt, f"k{i}") for i in range(3)], sampling(0.0), [])
    ]
    assert len(set(greedy)) == 1


def test_greedy_equals_the_library(tiny_pair):
    model, tokenizer = tiny_pair
    request = requests(tokenizer, 1)[0]
    ours = generate(model, tokenizer, [request], sampling(0.0), [])[0].text
    tokens = torch.tensor([request.prompt])
    theirs = model.generate(tokens, max_new_tokens=10, do_sample=False)[0, tokens.shape[1] :]
    assert ours == tokenizer.decode(theirs, skip_special_tokens=True)


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
        draw = InverseTransform(torch.rand(count, 1, generator=torch.Generator().manual_seed(1)), 3, temperature, top_p)
        tokens = draw(torch.zeros(count, 3, dtype=torch.long), logits.expand(count, 4)).argmax(-1)
        found = torch.bincount(tokens, minlength=4) / count
        assert torch.allclose(found, torch.tensor(expected, dtype=torch.float32), atol=0.015)
        assert all(found[i] == 0 for i, p in enumerate(expected) if p == 0)


def test_uniforms_are_streams_of_their_keys():
    both = uniforms(["a", "b"], 5)
    assert torch.equal(uniforms(["b"], 5)[0], both[1])
    assert torch.equal(uniforms(["b"], 3)[0], both[1, :3])
    assert not torch.equal(both[0], both[1])
    assert both.max() < 1


def test_stop_strings_and_end(smollm2):
    model, tokenizer = load(smollm2), load_tokenizer(smollm2)
    request = Request(
        render("Answer in one short sentence.\n\nWhat is the capital of France?", PROMPTS, tokenizer), "x"
    )
    completion = generate(model, tokenizer, [request], sampling(0.0, new=40), [])[0]
    assert "Paris" in completion.text
    assert completion.finish == "end"
    assert "<|im_end|>" not in completion.text
    stopped = generate(model, tokenizer, [request], sampling(0.0, new=40), ["Paris"])[0]
    assert stopped.finish == "stop"
    assert clean(stopped.text, ["Paris"]) == clean(completion.text.split("Paris")[0], [])


def test_too_long_prompt_is_named():
    check_lengths({"q1": [1] * 10}, 6, 16)
    with pytest.raises(
        UserError, match="query 'q2': its prompt has 11 tokens; with max_new_tokens = 6 .* context of 16"
    ):
        check_lengths({"q1": [1] * 10, "q2": [1] * 11}, 6, 16)


# --- clean-up and filters ---------------------------------------------------------------------------------------------

CONSTITUTIONS = [
    Constitution(id=i, set_id="s", writer="w", statements=[Statement(principle="s", wanted=w, text=i)])
    for i, w in (("s", True), ("-s", False))
]


def example(*texts):
    responses = [Response(text=t, constitution=j % 2, tokens=1, finish="end") for j, t in enumerate(texts)]
    return Example(query_id="q", set_id="s", constitution_ids=["s", "-s"], order=[0], responses=responses, policy="p")


ORIGINAL = Filters(forbidden=["[insert", "[]", "]", "Response"], positive_ends_with=".", distinct=True)


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (("One.", "Two"), None),  # only the response under the positive constitution must end in a full stop
        (("One", "Two."), "does not end with '.'"),
        (("One [insert name].", "Two."), "forbidden mark"),
        (("One.", "Response: two"), "forbidden mark"),
        (("Same.", "Same."), "equal responses"),
        (("One.", ""), "empty response"),
        (("One.", "Two", "One.", "Three"), None),  # equal, but for the same constitution
        (("One.", "Two", "Two.", "One."), "equal responses"),
    ],
)
def test_filters_of_the_original(texts, reason):
    assert reason_to_drop(example(*texts), CONSTITUTIONS, ORIGINAL) == reason


def test_drops_are_counted():
    examples = [example("One.", "Two"), example("Same.", "Same."), example("", "x"), example("", "")]
    kept, dropped = select(examples, {"s": CONSTITUTIONS}, ORIGINAL)
    assert kept == examples[:1]
    assert dropped == Counter({"empty response": 2, "equal responses": 1})


@pytest.mark.parametrize(
    ("text", "cleaned"), [(" a ### b", "a"), ("a\n\nHuman: b ### c", "a"), ("###", ""), (" plain \n", "plain")]
)
def test_clean(text, cleaned):
    assert clean(text, ["###", "Human: "]) == cleaned


def test_shipped_tasks_have_the_filters_of_the_original():
    from sami.yaml_files import load_yaml

    for name in ("tldr", "hh-rlhf"):
        assert load_yaml(ROOT / f"config/tasks/{name}.yaml", settings.Task).filters == ORIGINAL
