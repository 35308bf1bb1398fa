"""The shipped configuration loads, and its documentation tells of every key."""

import re
from pathlib import Path

import pytest
import yaml
from configured import KEYS
from conftest import ROOT

from sami.settings.judges import JUDGES
from sami.settings.models import Model
from sami.settings.principles import PrincipleFile
from sami.settings.tasks import Task
from sami.settings.writers import Writer
from sami.settings.yaml_files import load_yaml
from sami.workflow.configuration import load, load_judge
from sami.workflow.preflight import check

ABLATIONS = sorted(ROOT.glob("config/ablations/*.yaml"))
LAID_OVER = [
    path
    for folder in ("paper", "ablations", "methods", "studies")
    for path in sorted(ROOT.glob(f"config/{folder}/*.yaml"))
]


@pytest.mark.parametrize("override", [None, *LAID_OVER])
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


def test_shipped_judges_load():
    files = sorted((ROOT / "config/judges").glob("*.yaml"))
    assert {load_judge(file).kind for file in files} == set(JUDGES)


def test_shipped_models_load():
    for name, entry in yaml.safe_load((ROOT / "config/models.yaml").read_text()).items():
        assert Model.model_validate(entry), name


def test_every_key_is_documented():
    text = (ROOT / "config/README.md").read_text()
    assert [f"{kind.__name__}.{key}" for kind, key in KEYS if not re.search(rf"[`.]{key}`", text)] == []


def test_quickstart_values_in_the_tables_are_those_of_the_file():
    text = (ROOT / "config/README.md").read_text()
    defaults = yaml.safe_load((ROOT / "config/config.yaml").read_text())["defaults"]
    for part, after in (("Training", "### Engine"), ("Engine", "### Resources")):
        table = text[text.index(f"### {part}") : text.index(after)]
        told = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| `([^`]*)` \|", table, re.MULTILINE))
        assert {key: yaml.safe_load(value) for key, value in told.items()} == defaults[part.lower()]


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
