"""Pairs under the reference model, against transformers alone."""

import math

import pytest
import torch
from training_run import ENGINE, TRAINING
from transformers import AutoModelForCausalLM, AutoTokenizer

from sami.distributed.processes import processes
from sami.errors import UserError
from sami.models.pretrained import load
from sami.records import Preference, TrainingExample, TrainingResponse
from sami.scoring.reference import parts, score_pairs
from sami.scoring.scorer import Scorer
from sami.scoring.tokens import tokenize_training
from sami.settings.training import Engine, Training
from sami.training.losses import check, evaluate

SOURCE = "somebody"


def examples(tokenizer) -> list[TrainingExample]:
    """Drawn tokens and texts alone, ended or not; two prompts; a response that stands in no pair; no pairs at all."""
    drawn = tokenizer(" the cat slept", add_special_tokens=False)["input_ids"]  # with a space that its text lacks
    first = TrainingExample(
        query_id="a",
        prompts=["Why does it rain?\n", "Where is\n"],
        negatives=["What else?\n"],
        responses=[
            TrainingResponse(
                text="the cat slept", ended=True, token_ids=[*drawn, tokenizer.eos_token_id], source=SOURCE
            ),
            TrainingResponse(text="as rain fell all day", ended=False, source=SOURCE),
            TrainingResponse(text="on a mat", ended=True, source=SOURCE),
            TrainingResponse(text="nobody asks for this", ended=True, source=SOURCE),
        ],
        labels=[0, 0, 1, 1],
        pairs=[
            Preference(chosen=0, rejected=1, kind="k"),
            Preference(chosen=2, rejected=0, prompt=1, kind="l"),
            Preference(chosen=2, rejected=1, kind="m", reference=(-1.0, -2.0)),
        ],
    )
    bare = first.model_copy(update={"query_id": "b", "pairs": []})
    last = TrainingExample(
        query_id="c",
        prompts=["And then?\n"],
        responses=[TrainingResponse(text=text, ended=True, source=SOURCE) for text in ("it sat", "until noon")],
        labels=[0, 0],
        pairs=[Preference(chosen=1, rejected=0, kind="k")],
    )
    return [first, bare, last]


def scored(folder, made, end_token=False, precision="float32", **engine) -> list[TrainingExample]:
    with processes() as group:
        return score_pairs(folder, made, "here", precision, end_token, Engine(**{**ENGINE, **engine}), group)


def slow_sum(model, tokenizer, prompt: str, response: TrainingResponse, end_token: bool) -> float:
    """Sum of the log-probabilities of a response's tokens behind its prompt, by one plain pass."""
    before = tokenizer(prompt)["input_ids"]
    ids = response.token_ids
    if ids is None:
        ids = tokenizer(response.text, add_special_tokens=False)["input_ids"]
        ids = [*ids, tokenizer.eos_token_id] if response.ended else ids
    if response.ended and not end_token:
        ids = ids[:-1]
    with torch.no_grad():
        logits = model(torch.tensor([before + ids])).logits[0, len(before) - 1 : -1].double().log_softmax(-1)
    return float(logits[torch.arange(len(ids)), torch.tensor(ids)].sum())


@pytest.mark.parametrize(
    ("end_token", "precision", "engine", "tolerance"),
    [
        (False, "float32", {}, 1e-5),
        (True, "float32", {"scoring": "padded", "tokens_per_pass": 16}, 1e-5),
        (True, "mixed", {}, 3e-2),
    ],
)
def test_sums_are_those_of_plain_sequences(tiny, end_token, precision, engine, tolerance):
    tokenizer, model = AutoTokenizer.from_pretrained(tiny), AutoModelForCausalLM.from_pretrained(tiny)
    made = examples(tokenizer)
    found = scored(tiny, made, end_token, precision, **engine)
    for before, after in zip(made, found, strict=True):
        assert [pair.kind for pair in after.pairs] == [pair.kind for pair in before.pairs]
        for pair in after.pairs:
            expected = [
                slow_sum(model, tokenizer, before.prompts[pair.prompt], before.responses[place], end_token)
                for place in (pair.chosen, pair.rejected)
            ]
            assert pair.reference == pytest.approx(expected, rel=tolerance)
        unscored = [pair.model_copy(update={"reference": None}) for pair in before.pairs]
        others = [pair.model_copy(update={"reference": None}) for pair in after.pairs]
        assert after.model_copy(update={"pairs": others}) == before.model_copy(update={"pairs": unscored})


def test_only_what_stands_in_a_pair_is_scored(tiny):
    made = examples(AutoTokenizer.from_pretrained(tiny))
    found = [(part.example, part.prompt, part.places) for part in parts(made)]
    assert found == [(0, 0, [0, 1, 2]), (0, 1, [0, 2]), (2, 0, [0, 1])]
    asked = [part.alone for part in parts(made)]
    assert [len(example.prompts) for example in asked] == [1, 1, 1]
    assert asked[1].prompts == ["Where is\n"]
    assert [r.text for r in asked[1].responses] == ["the cat slept", "on a mat"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("normalisation", ["sum", "mean"])
def test_a_policy_that_is_the_reference_has_no_preference_yet(tiny, precision, normalisation):
    """The loss is log 2 and all rewards are 0, with the tokens of training: where it scores end tokens, those, too."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    made = [e.model_copy(update={"negatives": []}) for e in examples(tokenizer) if e.pairs]
    found = scored(tiny, made, end_token=True, precision=precision)
    training = Training(**{**TRAINING, "objective": "preference", "normalisation": normalisation})
    check(training, found, "here")
    items = tokenize_training(found, tokenizer, context=256, end_token=True)
    scorer = Scorer(load(tiny, getattr(torch, precision))).select_layout()
    with torch.no_grad():
        loss, metrics = evaluate(training, scorer(scorer.layout(items)), found, items)
    rounding = 1e-4 if precision == "float32" else 3e-2
    assert loss.tolist() == pytest.approx([math.log(2)] * len(made), abs=rounding)
    for name in ("margin", "chosen_reward", "rejected_reward"):
        assert metrics[name].tolist() == pytest.approx([0.0] * len(made), abs=rounding)


def test_examples_without_any_pair_are_refused(tiny):
    bare = [e.model_copy(update={"pairs": []}) for e in examples(AutoTokenizer.from_pretrained(tiny))]
    with pytest.raises(UserError, match="here: none of 3 training examples has 'pairs', expected pairs of responses"):
        scored(tiny, bare)


def test_tokens_of_another_text_are_told(tiny):
    made = examples(AutoTokenizer.from_pretrained(tiny))
    made[0].responses[0] = made[0].responses[0].model_copy(update={"text": "the dog slept"})
    with pytest.raises(UserError, match="here: query 'a': found the tokens of"):
        scored(tiny, made)
