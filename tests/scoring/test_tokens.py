"""Prompts and responses as tokens: what is scored is what was drawn, whatever the tokenizer and the chat template."""

import datetime
import json
import time

import pytest
import torch
import yaml
from conftest import CHAT_TEMPLATE, ROOT, make_tiny_llama
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sami.data.prompts import chat_tokens, fill, plain_tokens, render
from sami.errors import UserError
from sami.methods.sami import training_examples
from sami.models.prepare import prepare
from sami.models.pretrained import end_tokens, load, load_tokenizer
from sami.models.random_weights import byte_tokenizer
from sami.records import Constitution, Example, Query, Response, Statement, TrainingExample
from sami.sampling.completion import Completion, completion
from sami.sampling.sampler import Request
from sami.sampling.transformers_sampler import TransformersSampler
from sami.scoring.scorer import Scorer
from sami.scoring.tokens import tokenize, tokenize_training
from sami.scoring.trees import shared
from sami.settings.models import Model
from sami.settings.sampling import Sampling
from sami.settings.tasks import Filters, Prompts
from sami.workflow.configuration import load as load_configuration
from sami.workflow.conversations import of_model

PLAIN = Prompts(
    style="plain", generation="{constitution}\n{query}\nAnswer:", training="{constitution}\n{query}\nAnswer:"
)
CHAT = Prompts(style="chat", generation="{constitution}\n{query}", training="{constitution}\n{query}")
DATED = "{{ strftime_now('%d %B %Y %H:%M') }}{{ 'quietly ' if quiet is defined and quiet }}" + CHAT_TEMPLATE
WITHOUT_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}" + CHAT_TEMPLATE
)


def save(folder, tokenizer, model=None, **declared):
    """Writes a model folder around a tokenizer; `model` gets what its random weights are to be changed to."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **sizes,
    )
    weights = LlamaForCausalLM(config)
    if model:
        model(weights)
    for key, value in declared.items():
        setattr(weights.generation_config, key, value)
    weights.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prepared(source, folder, **entry):
    prepare("tiny", Model(source="path", path=str(source), **entry), folder)
    return folder


def around(tokenizer, before, behind):
    """The tokenizer, putting special tokens before and behind every text."""
    used = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (*before, *behind)]
    single = " ".join([*before, "$A", *behind])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=used)
    return tokenizer


def sentencepiece():
    """A tokenizer in the manner of Llama 2: spaces are part of words, unknown characters are bytes, a begin token."""
    words = ["\u2581", *"abcdefghijklmnopqrstuvwxyz.:", "\u2581t", "\u2581th", "he", "in"]
    symbols = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    merges = [("\u2581", "t"), ("\u2581t", "h"), ("h", "e"), ("i", "n")]
    inner = Tokenizer(
        BPE({s: i for i, s in enumerate(symbols)}, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=CHAT_TEMPLATE
    )
    return around(tokenizer, ["<s>"], [])


def trained(tmp_path):
    return load_tokenizer(prepared(make_tiny_llama(tmp_path / "trained"), tmp_path / "trained-prepared"))


TOKENIZERS = {
    "bytes": lambda path: byte_tokenizer(),
    "byte-level": trained,
    "sentencepiece": lambda path: sentencepiece(),
    "with an end token behind": lambda path: around(byte_tokenizer(), [], ["<end>"]),
    "with tokens around": lambda path: around(byte_tokenizer(), ["<pad>"], ["<end>"]),
}


# --- what is scored ---------------------------------------------------------------------------------------------------


def greedily(folder, prompt, steps):
    """The library's own greedy decoding: tokens, and the log-probability of each."""
    model, tokenizer = load(folder), load_tokenizer(folder)
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=steps,
        do_sample=False,
        eos_token_id=end_tokens(folder, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    tokens = output.sequences[0, len(prompt) :].tolist()
    logits = torch.stack(output.logits)[:, 0].log_softmax(-1)
    return tokens, [logits[step, token].item() for step, token in enumerate(tokens)]


def scored_mean(folder, prompts, found, end_token=False):
    """Mean log-probability of a completion, as training and evaluation score it."""
    tokenizer = load_tokenizer(folder)
    response = Response(
        text=found.text, constitution=0, tokens=found.tokens, finish=found.finish, token_ids=found.token_ids
    )
    response = Response.model_validate_json(response.model_dump_json())
    example = Example(
        query_id="q", set_id="s", constitution_ids=["c"], order=[0], responses=[response], policy="iteration-0"
    )
    texts = {"q": QUERY}, {"c": CONSTITUTION}
    made, _ = training_examples([example], *texts, prompts, Filters(), "sami")
    made = [TrainingExample.model_validate_json(record.model_dump_json()) for record in made]
    items = tokenize_training(made, tokenizer, context=512, end_token=end_token)
    if not end_token:
        assert items == tokenize([example], *texts, prompts, tokenizer, context=512)
    scorer = Scorer(load(folder)).select_layout()
    with torch.inference_mode():
        return scorer(scorer.layout(items)).mean.item()


QUERY = Query(id="q", task="t", text="What is a café?")
CONSTITUTION = Constitution(
    id="c", set_id="s", writer="w", statements=[Statement(principle="p", wanted=True, text="Be {query} {number}.")]
)
PROMPT = "Be {query} {number}.\nWhat is a café?"


@pytest.mark.parametrize("prompts", [PLAIN, CHAT], ids=["plain", "chat"])
@pytest.mark.parametrize("kind", [*TOKENIZERS, "smollm2"])
def test_what_was_drawn_is_scored_as_it_was_drawn(kind, prompts, tmp_path, request):
    """At temperature 0, the mean log-probability is that of the library's own greedy decoding, to rounding."""
    if kind == "smollm2":
        folder = request.getfixturevalue("smollm2")
    else:
        folder = prepared(save(tmp_path / "source", TOKENIZERS[kind](tmp_path)), tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    prompt = render(PROMPT + "\nAnswer:" if prompts is PLAIN else PROMPT, prompts, tokenizer)
    assert prompt[-1] != tokenizer.eos_token_id
    sampling = Sampling(temperature=0.0, max_new_tokens=12, batch_size=1)
    found = TransformersSampler(folder, tokenizer).generate([Request(prompt, "k")], sampling, [])[0]
    tokens, log_probabilities = greedily(folder, prompt, 12)
    assert found.tokens > 3
    assert found.token_ids == tokens[: len(found.token_ids)]
    expected = sum(log_probabilities[: found.tokens]) / found.tokens
    assert scored_mean(folder, prompts, found) == pytest.approx(expected, abs=1e-4)


def chain(weights, following, tokenizer):
    """Makes a model continue each token with the one that `following` names, whatever stands before."""
    vocabulary = len(tokenizer)
    with torch.no_grad():
        for name, weight in weights.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)
        ids = {tokenizer.convert_tokens_to_ids(a): tokenizer.convert_tokens_to_ids(b) for a, b in following.items()}
        weights.model.embed_tokens.weight.copy_(torch.randn(vocabulary, 32, generator=torch.Generator().manual_seed(3)))
        embedded = torch.nn.functional.normalize(weights.model.embed_tokens.weight) * 32**0.5
        for token, follower in ids.items():
            weights.lm_head.weight[follower] += 2 * embedded[token]


def test_a_space_before_the_answer_and_the_end_token_that_was_drawn(tmp_path):
    """A model that surely writes " OK" behind a colon, and ends it with a token that its tokenizer does not name."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    turn = tokenizer.convert_tokens_to_ids("<turn>")
    following = {":": "\u0120", "\u0120": "O", "O": "K", "K": "<turn>", "<turn>": "O"}
    ends = [tokenizer.eos_token_id, turn]
    source = save(
        tmp_path / "source", tokenizer, lambda weights: chain(weights, following, tokenizer), eos_token_id=ends
    )
    folder = prepared(source, tmp_path / "model")
    loaded = load_tokenizer(folder)
    assert end_tokens(folder, loaded) == ends
    prompt = render("Answer:", PLAIN, loaded)
    sampling = Sampling(temperature=0.0, max_new_tokens=8, batch_size=1)
    found = TransformersSampler(folder, loaded).generate([Request(prompt, "k")], sampling, [])[0]
    assert found == Completion("OK", "end", [*loaded(" OK")["input_ids"], turn])
    for end_token in (False, True):
        assert scored_mean(folder, PLAIN, found, end_token) == pytest.approx(0, abs=1e-3)
    stripped = Completion("OK", "end", [*loaded("OK")["input_ids"], turn])
    assert scored_mean(folder, PLAIN, stripped) < -5


def test_the_end_tokens_that_a_model_declares(tmp_path):
    source = save(tmp_path / "source", byte_tokenizer(), eos_token_id=[5, 257])
    folder = prepared(source, tmp_path / "model")
    assert end_tokens(folder, load_tokenizer(folder)) == [257, 5]
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(UserError, match="generation_config.json: cannot be read"):
        end_tokens(folder, load_tokenizer(folder))
    (folder / "generation_config.json").unlink()
    assert end_tokens(folder, load_tokenizer(folder)) == [257]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": [7, 9]}))
    assert end_tokens(folder, load_tokenizer(folder)) == [257, 7, 9]


# --- where a response ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drawn", "stop", "expected"),
    [
        (" OK\n<end>ignored", [], Completion("OK", "end", " OK\n<end>")),
        ("<end>", [], Completion("", "end", "<end>")),
        (" OK \n\n", [], Completion("OK", "length", " OK")),
        (" OK\n### more<end>", ["###"], Completion("OK", "stop", " OK")),
        ("###", ["###"], Completion("", "stop", "")),
        ("a###b##c", ["##", "###"], Completion("a", "stop", "a")),
        (" \n", [], Completion("", "length", "")),
        ("é€", [], Completion("é€", "length", "é€")),
    ],
)
def test_tokens_are_cut_where_the_text_is(drawn, stop, expected):
    tokenizer = byte_tokenizer()
    tokens, kept = (tokenizer(text)["input_ids"] for text in (drawn, expected.token_ids))
    assert completion(tokens, tokenizer, [tokenizer.eos_token_id], stop) == Completion(
        expected.text, expected.finish, kept
    )


@pytest.mark.parametrize("make", [byte_tokenizer, sentencepiece])
@pytest.mark.parametrize("character", ["é", "€", "\N{GRINNING FACE}"])
def test_half_a_character_is_no_part_of_a_response(make, character):
    tokenizer = make()
    tokens = tokenizer("a" + character, add_special_tokens=False)["input_ids"]
    whole = len(tokenizer("a", add_special_tokens=False)["input_ids"])
    assert len(tokens) == whole + len(character.encode())
    for count in range(whole, len(tokens)):
        assert completion(tokens[:count], tokenizer, [-1], []) == Completion("a", "length", tokens[:whole])
    assert completion(tokens, tokenizer, [-1], []) == Completion("a" + character, "length", tokens)


def test_bytes_that_are_no_text_are_kept_as_drawn():
    tokenizer = byte_tokenizer()
    stray = tokenizer("é")["input_ids"][1]  # the second half of a character alone
    tokens = [*tokenizer("ab")["input_ids"], *[stray] * 5]
    found = completion(tokens, tokenizer, [-1], [])
    assert found.token_ids == tokens
    assert found.text == "ab" + "\N{REPLACEMENT CHARACTER}" * 5


def test_a_token_that_holds_both_text_and_stop_string_is_kept_whole():
    symbols = {s: i for i, s in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), ".\u010a", ".\u010a\u010a"])}
    inner = Tokenizer(BPE(symbols, [(".", "\u010a"), (".\u010a", "\u010a")]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    tokens = tokenizer("Yes.\n\nNo")["input_ids"]
    assert len(tokens) == 6
    assert completion(tokens, tokenizer, [-1], ["\n\n"]) == Completion("Yes.", "stop", tokens[:4])


def test_tokens_of_another_text_are_refused(tiny):
    with pytest.raises(UserError, match="query 'q': found the tokens of 'Yes' with the response 'No', .* sample"):
        scored_mean(tiny, CHAT, Completion("No", "length", load_tokenizer(tiny)("Yes")["input_ids"]))


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_prompts_of_other_queries_are_encoded_once_behind_the_constitutions_that_they_share():
    prompts, negatives = ([f"{side * 20}\n{query}" for side in "ab"] for query in ("Why?", "How so?"))
    responses = [{"text": text, "ended": False, "source": "p"} for text in ("xyz", "uv")]
    example = TrainingExample(query_id="q", prompts=prompts, negatives=negatives, responses=responses, labels=[0, 1])
    tokenizer = byte_tokenizer()
    (item,) = tokenize_training([example], tokenizer, context=99, end_token=False)
    assert [tokenizer.decode(ids) for ids in item.prompts] == prompts + negatives
    layout = shared([item])
    # Two constitutions with a line break; the queries and what of the responses predicts anything, behind either.
    assert layout.tokens == 2 * (21 + len("Why?") + len("How so?") + 2 * (2 + 1))
    assert layout.shape == (1, 4, 2)
    assert layout.own.sum() == 3 + 2  # no response was written for a prompt of another query


def test_data_that_looks_like_a_field_is_data():
    assert fill("{a}|{b}|{a}|{c}", a="{b}", b="{a}\\1") == "{b}|{a}\\1|{b}|{c}"


def test_data_that_looks_like_a_control_token_is_data(smollm2):
    tokenizer = load_tokenizer(smollm2)
    tokens = chat_tokens([{"role": "user", "content": "a<|im_end|>b"}], tokenizer, "")
    usual = chat_tokens([{"role": "user", "content": "ab"}], tokenizer, "")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokens.count(end) == usual.count(end)
    assert "a<|im_end|>b" in tokenizer.decode(tokens)


@pytest.mark.parametrize(("before", "behind"), [([], []), (["<pad>"], []), ([], ["<end>"]), (["<pad>"], ["<end>"])])
def test_nothing_stands_behind_a_plain_prompt(before, behind):
    tokenizer = around(byte_tokenizer(), before, behind)
    expected = [tokenizer.convert_tokens_to_ids(token) for token in before]
    assert plain_tokens("ab", tokenizer) == expected + byte_tokenizer()("ab")["input_ids"]


def test_templates_are_given_switches_and_a_fixed_date(tmp_path, monkeypatch):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = DATED
    source = save(tmp_path / "source", tokenizer)

    def rendered(name, **entry):
        folder = prepared(source, tmp_path / name, **entry)
        loaded = load_tokenizer(folder)
        return loaded.decode(render("Hi", CHAT, loaded))

    usual = rendered("usual")
    assert usual.startswith("26 July 2024 00:00<|im_start|>user\nHi")
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    assert rendered("elsewhere") == usual
    changed = rendered("changed", chat_template_kwargs={"quiet": True}, chat_template_date=datetime.date(2025, 1, 2))
    assert changed == "02 January 2025 00:00quietly " + usual.removeprefix("26 July 2024 00:00")
    assert json.loads((tmp_path / "changed/sami_model.json").read_text())["chat_template_date"] == "2025-01-02"


def test_what_a_template_refuses_is_told_when_its_model_is_prepared(tmp_path):
    """By the settings of all that will talk to it: tasks, judges, writers. What needs no template asks for none."""
    for folder in ("tasks", "judges"):
        (tmp_path / folder).mkdir()
    task = yaml.safe_load((ROOT / "config/tasks/everyday.yaml").read_text())
    (tmp_path / "tasks/everyday.yaml").write_text(yaml.safe_dump(task))
    judge = yaml.safe_load((ROOT / "config/judges/smollm2-likelihood.yaml").read_text())
    (tmp_path / "judges/mine.yaml").write_text(yaml.safe_dump({**judge, "model": "mine", "system": "You judge."}))
    (tmp_path / "models.yaml").write_text(
        "mine: {source: path, path: x}\nsmollm2-135m-instruct: {source: path, path: x}"
    )
    changes = {name: str(tmp_path / name) for name in ("tasks", "judges")} | {"models": str(tmp_path / "models.yaml")}
    changes["defaults"] = {"evaluation": {"judges": ["mine"]}}
    changes["experiments"] = {"model-written": {"model": "mine"}}
    changes["run"] = ["quickstart", "model-written"]  # whose entries must be there
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(changes))
    configuration = load_configuration([ROOT / "config/config.yaml", tmp_path / "mine.yaml"])
    (policy,) = (c for c in of_model(configuration, "mine") if c.required)
    (judging,) = (c for c in of_model(configuration, "mine") if not c.required)
    (writing,) = (c for c in of_model(configuration, "smollm2-135m-instruct") if not c.required)
    assert policy.settings == f"{tmp_path}/tasks/everyday.yaml: prompts ('style' and 'system')"
    assert [m["role"] for m in policy.messages] == ["system", "user"]
    assert judging.settings == f"{tmp_path}/judges/mine.yaml ('system' and 'prompt')"
    assert judging.messages[0] == {"role": "system", "content": "You judge."}
    assert [m["role"] for m in writing.messages][:3] == ["user", "assistant", "user"]

    source = save(tmp_path / "source", byte_tokenizer())
    entry = Model(source="path", path=str(source))
    prepare("mine", entry, tmp_path / "any", [policy, judging, writing])
    (source / "chat_template.jinja").write_text(WITHOUT_SYSTEM)
    prepare("mine", entry, tmp_path / "writes", [writing])
    with pytest.raises(
        UserError, match=f"model 'mine': .*No system role.* {tmp_path}/judges/mine.yaml .*'system' to null"
    ):
        prepare("mine", entry, tmp_path / "judges-not", [writing, judging])
    (source / "chat_template.jinja").unlink()
    prepare("mine", entry, tmp_path / "plain", [judging, writing])
    with pytest.raises(
        UserError, match="model 'mine': the tokenizer has no chat template, which .*tasks/everyday.yaml"
    ):
        prepare("mine", entry, tmp_path / "chats-not", [policy])


@pytest.mark.parametrize(
    ("template", "system", "message"),
    [
        (None, None, "the tokenizer has no chat template, .* Set 'style' to plain"),
        (WITHOUT_SYSTEM, "Be brief.", "refuses .* roles system, user .*No system role.* Set 'system' to null"),
        ("{{ messages[7].content }}", None, "refuses messages of the roles user \\(.*Change them"),
    ],
)
def test_what_a_template_cannot_do_is_told(tmp_path, template, system, message):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    loaded = load_tokenizer(prepared(save(tmp_path / "source", tokenizer), tmp_path / "model"))
    with pytest.raises(UserError, match=message):
        render("Hi", CHAT.model_copy(update={"system": system}), loaded)
