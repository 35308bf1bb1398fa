"""YAML files: broken ones, duplicate keys, and files that extend others."""

from pathlib import Path

import pytest
from configured import MODEL, message

from sami.settings.judges import ChecksJudge
from sami.settings.principles import PrincipleFile
from sami.settings.writers import Writer
from sami.settings.yaml_files import load_yaml, read_yaml
from sami.workflow.configuration import load_judge


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
