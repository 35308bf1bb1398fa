"""Violations of the settings: one message with file and key, what was found, what was expected, how to mend it."""

import pytest
from configured import KEYS, experiment, message, published
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sami.settings.explain import explain
from sami.settings.judges import ChecksJudge
from sami.settings.yaml_files import load_yaml

VIOLATIONS = [  # what quickstart says, key named, what was found, what was expected, how to mend it
    ("seed: -1", "seed", "found -1 (a whole number)", "expected a whole number of at least 0", "Change the value."),
    ("iterations: 1.5", "iterations", "found 1.5 (a number)", "expected a whole number of at least 1", "Change"),
    ('iterations: "2"', "iterations", 'found "2" (text)', "a whole number of at least 1", "Remove the quotes."),
    ("iterations: true", "iterations", "found true (a truth value)", "expected a whole number", "Change the value."),
    ("model: on", "model", "found on (a truth value)", "expected text", "Put it in quotes: 'on'."),
    ("model: 2024_11", "model", 'found "2024_11" (text)', "expected one of the models", "Mend the name or add"),
    ("seed:", "seed", "found nothing (null)", "expected a whole number of at least 0", "Change the value."),
    ("method: samy", "method", "found the method 'samy'", "expected one of: sami", "Did you mean 'sami'?"),
    ("training: {start_from: basis}", "training.start_from", '"basis"', "one of: base, previous", "mean 'base'?"),
    ("training: {learning_rate: fast}", "training.learning_rate", '"fast" (text)', "a number greater than 0", "Change"),
    ("training: {learning_rate: 0}", "training.learning_rate", "found 0", "a number greater than 0", "Change"),
    ("training: {learning_rate: .inf}", "training.learning_rate", "found inf", "a finite number", "Change"),
    ("training: {max_grad_norm: -1}", "training.max_grad_norm", "-1", "a number greater than 0 or null", "Change"),
    ('training: {score_end_token: "no"}', "training.score_end_token", '"no"', "true or false", "Remove the quotes."),
    ("training:", "training", "found nothing", "a mapping with the keys objective, start_from", "Write its keys"),
    ("queries: {train: many}", "queries.train", '"many"', "a whole number of at least 1 or a list", "Change"),
    ("queries: {train: [8, x, 8]}", "queries.train[1]", 'found "x" (text)', "a whole number of at least 1", "Change"),
    ("sampling: {top_p: 2}", "sampling.top_p", "found 2", "a number greater than 0 and at most 1", "Change"),
    ("evaluation: {confidence: 1}", "evaluation.confidence", "1", "greater than 0 and less than 1", "Change"),
    ("training: {learning_rat: 1}", "training.learning_rat", "'learning_rat'", "'learning_rate' (a number", "Rename"),
    ("temperature: 1", "temperature", "'temperature'", "in 'sampling' or 'evaluation.sampling'", "Move it there."),
    ("queries: {zzz: 1}", "queries.zzz", "unknown key 'zzz'", "expected one of: train, eval", "Rename the key"),
    ("queries: {3: 1}", "queries.3", "unknown key '3'", "expected one of: train, eval", "Rename the key"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "found", "expected", "mend"), VIOLATIONS, ids=[v[0] for v in VIOLATIONS])
def test_violation_is_told_in_plain_words(project, text, key, found, expected, mend):
    told = message(project.load, experiment(text))
    assert told.startswith(f"mine.yaml, line 3: experiments.quickstart.{key}: ")
    for part in (found, expected, mend):
        assert part in told


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("version: 1", ["mine.yaml, line 1: version: found 1 (a whole number), expected 2."]),
        ("run: quickstart", ["run: found", "expected a list of at least one entry", "brackets: [quickstart]."]),
        ("run: []", ["run: found an empty list, expected a list of at least one entry"]),
        ("compare: {x: [quickstart]}", ["compare.x: found a list of 1, expected a list of at least 2 entries"]),
        ("compare: {x: [quickstart, servd]}", ['compare.x[1]: found "servd" (text)', "Did you mean 'served'?"]),
        ("compare: {x: [served, served]}", ["compare.x[1]: found 'served' a second time"]),
        (
            "compare: {served: [quickstart, served]}",
            ["compare.served: an experiment is called 'served', too", "Rename"],
        ),
        ("result: x", ["result: found the unknown key 'result'; did you mean 'results' (text)?"]),
        ("experiments: {a b: {}}", ["experiments.a b: found the name", "expected letters, digits,", "Rename it."]),
        (
            "experiments: {ab: }",
            ["experiments.ab: found nothing", "expected a mapping", "Write its keys below it, or {}"],
        ),
        ("defaults: {3: 1}", ["defaults.3: found the unknown key '3'"]),
        (
            "run: [quikstart]",
            ["mine.yaml, line 1: run[0]: ", '"quikstart"', "one of the experiments: ", "'quickstart'?"],
        ),
    ],
)
def test_violation_at_the_top(project, text, parts):
    told = message(project.load, text)
    assert told.startswith("mine.yaml, line 1: ")
    for part in parts:
        assert part in told


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "constitutions: {per_set: 5}",
            [".constitutions: 'per_set: 5' constitutions need at least 5", "'statements: 1' has 2; raise"],
        ),
        ("queries: {train: [8]}", ["the list 'queries.train' has length 1, but 'iterations' is 3; give one count"]),
        (
            "engine: {processes: 4}\n    resources: {train: {nodes: 2, gpus: 8}}",
            ["'engine.processes' is 4, but 'resources' gives training 2 node(s) with 8 GPU(s) each; expected 16, one"],
        ),
        (
            "engine: {processes: 3}\n    resources: {train: {nodes: 2}}",
            ["'engine.processes' is 3, but", "each; expected a multiple of 2. Set 'engine.processes', or 'nodes' and"],
        ),
        (
            "engine: {tensor_parallel: 4}\n    sampling: {sampler: vllm}\n    resources: {sample: {gpus: 2}}",
            ["'engine.tensor_parallel' = 4 GPUs, but 'resources' gives sampling 2; set 'gpus'", "to 4, or lower"],
        ),
        (published("{comparator: instruct, win_rate: 0.7}"), ["the comparator 'instruct', expected one of", ": base."]),
        (published("{comparator: base, win_rate: [0.8, 0.7]}"), ["[0]: found the range [0.8, 0.7]", ": [0.7, 0.8]."]),
        (
            published("{comparator: base, win_rate: 70}"),
            [".published[0].win_rate: found 70", "at most 1 or a list of 2"],
        ),
        (published("{comparator: base, win_rate: 0.7}, {comparator: base, win_rate: 0.6}"), ["names one twice: base"]),
        (published("{comparator: base, principles: held-out, win_rate: 0.6}"), ["'constitutions.held_out' names none"]),
    ],
)
def test_values_that_contradict_each_other(project, text, parts):
    told = message(project.load, experiment(text))
    assert told.startswith("mine.yaml, line ")
    for part in parts:
        assert part in told


def test_number_of_further_problems(project):
    assert "(1 further problem.)" in message(project.load, experiment("queries: {train: x, eval: 0}"))
    told = message(project.load, experiment("training: {learning_rat: 1, epochs: 0, precision: fast}"))
    assert "learning_rat" in told
    assert "(2 further problems.)" in told


def test_missing_key_and_its_misspelling_are_one_problem(project):
    told = message(load_yaml, project.write("judge.yaml", "kid: checks\n"), ChecksJudge)
    place = "judge.yaml, line 1: kid"
    assert told == f"{place}: found the unknown key 'kid'; did you mean 'kind' (checks)? Rename the key or delete it."
    told = message(load_yaml, project.write("judge.yaml", "tie_margin: 0\n"), ChecksJudge)
    assert told == (
        "judge.yaml: kind: this key is missing; expected checks. Add the key 'kind': the programmatic checks of the "
        "principles."
    )


def test_explain_with_a_file_name():
    with pytest.raises(ValidationError) as caught:
        ChecksJudge.model_validate({"kind": "checks", "tie_margin": 3})
    assert explain(caught.value, ChecksJudge, "judge.yaml") == (
        "judge.yaml: tie_margin: found 3 (a whole number), expected a number of at least 0 and at most 1. "
        "Change the value."
    )


@hypothesis_settings(max_examples=400, deadline=None)
@given(st.sampled_from(KEYS), st.data())
def test_every_typo_finds_its_key(key_of_model, data):
    model, key = key_of_model
    position = data.draw(st.integers(0, len(key) - 1))
    typo = key[:position] + key[position + 1 :]
    # "judge" lacks a letter of "judged" and of "judges".
    near = {name for name in model.model_fields for i in range(len(name)) if name[:i] + name[i + 1 :] == typo}
    assume(typo not in model.model_fields and near == {key})
    with pytest.raises(ValidationError) as caught:
        model.model_validate({typo: 1})
    assert f"file.yaml: {typo}: found the unknown key '{typo}'; did you mean '{key}'" in explain(
        caught.value, model, "file.yaml"
    )


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["[", "2026-13-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.sampled_from(KEYS), VALUES)
def test_any_value_is_taken_or_explained(key_of_model, value):
    model, key = key_of_model
    try:
        model.model_validate({key: value})
    except ValidationError as error:
        told = explain(error, model, "file.yaml")
        assert told.startswith("file.yaml: ")
        assert "\n" not in told
        assert len(told) < 1000


@pytest.mark.parametrize("number", ["5e-6", "5.0e-6", '"5e-6"', "0.000005"])
def test_scientific_notation_is_a_number(project, number):
    loaded = project.load(experiment(f"training: {{learning_rate: {number}}}"))
    assert loaded.experiments["quickstart"].training.learning_rate == 5e-6
