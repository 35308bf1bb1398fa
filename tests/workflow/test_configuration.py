"""Configuration: files laid over one another, names of catalogue entries, and the place that a message names."""

import re
from pathlib import Path

import pytest
from configured import MODEL, experiment, message

from sami.settings.principles import PrincipleFile
from sami.settings.tasks import Prompts
from sami.settings.writers import Writer
from sami.settings.yaml_files import load_yaml, merge
from sami.workflow.preflight import check


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
    loaded = project.load("{}", f"experiments={{quickstart: {{{inside}}}}}", "results=a: [b").experiments
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
            [
                "pairs[0].principle.check.measure: ",
                "one of: words, sentences, list_items, letters_per_word, matches",
                "mean 'words'?",
            ],
        ),
        (
            "p",
            PrincipleFile,
            "pairs: [{id: a, principle: {text: x, check: {measure: words, best: 1, worst: 1}}, opposite: {text: y}}]",
            ["pairs[0].principle.check: 'best' and 'worst' must differ"],
        ),
        ("p", PrincipleFile, "pairs: [{id: a, principle: {text: ''}}]", ["empty text", "that is not empty"]),
        ("w", Writer, "kind: local", ["a writer of kind 'local' needs the key 'model'"]),
        (
            "w",
            Writer,
            "{kind: endpoint, model: x, prompt: y}",
            ["neither of the fields '{behaviour}' and '{task}'"],
        ),
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


def test_null_leaves_out_a_policy_of_the_defaults(project):
    policies = "{best: {policy: base, best_of: {responses: 2, reward: checks}}, instruct: smollm2-135m-instruct}"
    own = "experiments: {quickstart: {evaluation: {policies: {best: null}}}}"
    loaded = project.load(f"defaults: {{evaluation: {{policies: {policies}}}}}\n{own}")
    assert list(loaded.experiments["quickstart"].evaluation.policies) == ["instruct"]


def best_of(policy: str) -> str:
    """A policy that keeps the best of several responses; REST stands for a sound choice."""
    return f"evaluation: {{policies: {{best: {policy}}}}}".replace("REST", "best_of: {responses: 8, reward: checks}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("evaluation: {comparators: [instruct]}", "names 'instruct', expected base or one of the policies iteration-0"),
        ("evaluation: {comparators: [base, base]}", "'comparators' names one twice: base, base"),
        ("evaluation: {policies: {iteration-9: smollm2-135m-instruct}}", "the name of a trained one; rename it"),
        ("external: {folder: x, policies: {a: a.json, b: b.json}}", "lacks 'iteration-0'"),
        (
            "external: {folder: x, policies: {iteration-0: a.json, b: b.json}}\n"
            "    evaluation: {policies: {c: smollm2-135m-instruct}}",
            "'evaluation.policies' are models, which are not run beside 'external' responses",
        ),
        (
            "external: {folder: x, policies: {iteration-0: a.json, b: b.json}}\n    queries: {test: 9}",
            "'queries.test' takes held-out queries of the task, but 'external' responses bring their own; delete it",
        ),
        (
            "external: {folder: x, policies: {iteration-0: a.json, b: b.json}}\n"
            "    evaluation: {constitution: left-out}",
            "'evaluation.constitution: left-out' says how policies are asked, but 'external' responses are",
        ),
        ("evaluation: {policies: {told: {model: smollm2-135m-instruct}}}", "told.constitution: this key is missing"),
        (
            "evaluation: {policies: {told: {model: smollm2-135m-instruct, constitution: left-out}}}",
            'told.constitution: found "left-out" (text), expected in-prompt.',
        ),
        (
            "evaluation: {policies: {told: {model: nope, constitution: in-prompt}}}",
            "one of the models in config/models",
        ),
        (
            "evaluation: {policies: {told: {responses: a.jsonl, constitution: in-prompt}}}",
            "policies.told.constitution: found the key 'constitution', which does not go with the others here. Delete",
        ),
        ("evaluation: {sampling: {responses: 1}}", "'sampling.responses' is 1, expected at least 2"),
        (
            "evaluation: {constitution: as-labels}",
            "'evaluation.constitution: as-labels' asks policies for values of attributes, of which the method 'sami' "
            "teaches them nothing; set it to in-prompt, or take the method steerlm",
        ),
        (
            best_of("{policy: iteration-4, REST}"),
            "policies.best.policy' is 'iteration-4', expected a policy of the exp",
        ),
        (
            best_of("{policy: best, REST}"),
            "is 'best', expected a policy of the experiment that is a model: base, iterat",
        ),
        (
            best_of("{policy: released, REST}, released: {responses: a.jsonl}"),
            "policies.best.policy' is 'released', exp",
        ),
        (best_of("{REST}"), "policies.best.policy: this key is missing"),
        (best_of("{policy: base}"), "policies.best.best_of: this key is missing"),
        (best_of("{model: smollm2-135m-instruct, REST}"), "policies.best"),
        (best_of("{policy: base, best_of: {responses: 1, reward: checks}}"), "best_of.responses: found 1"),
        (best_of("{policy: base, best_of: {responses: -8, reward: checks}}"), "best_of.responses: found -8"),
        (
            best_of("{policy: base, best_of: {responses: 2, reward: cheks}}"),
            'best_of.reward: found "cheks" (text), exp',
        ),
        (
            best_of("{policy: base, REST}}, sampling: {temperature: 0"),
            "'evaluation.sampling.temperature' is 0, expected a higher one, since 'best_of' chooses among draws",
        ),
        (
            best_of("{policy: base, REST}}, sampling: {responses: 3"),
            "'evaluation.sampling.responses' is 3, expected null",
        ),
    ],
)
def test_policies_that_do_not_exist(project, text, told):
    assert told in message(project.load, experiment(text))


def test_without_the_constitution_one_response_and_one_polarity_are_enough(project):
    files = "policies: {released: {responses: a.json}}"
    text = experiment(f"evaluation: {{constitution: left-out, sampling: {{responses: 1}}, {files}}}")
    evaluation = project.load(text).experiments["quickstart"].evaluation
    assert (evaluation.sampled_under, evaluation.judged) == ("positive", "all")
    assert evaluation.constitution_of("iteration-1") == evaluation.constitution_of("released") == "left-out"
    assert "'judged: all'" in message(project.load, experiment(f"evaluation: {{{files}}}"))


def test_experiments_that_ask_different_questions_are_not_compared(project):
    text = (
        "experiments: {a: {}, b: {evaluation: {constitution: left-out}}, c: {evaluation: {constitution: left-out}}}\n"
    )
    told = message(project.load, f"{text}compare: {{both: [a, b]}}")
    assert told.startswith("mine.yaml, line 2: compare.both[1]: found 'b' with 'evaluation.constitution: left-out', ")
    assert "expected in-prompt as in 'a'" in told
    assert project.load(f"{text}compare: {{both: [b, c]}}").groups == {"both": ["b", "c"]}


def test_adapters_and_several_processes_exclude_each_other(project):
    text = experiment("training: {lora: {rank: 4, alpha: 8}}\n    engine: {processes: 2}")
    assert "'training.lora' trains in one process, but 'engine.processes' is 2" in message(project.load, text)
