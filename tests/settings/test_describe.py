"""Descriptions of keys: in their fields, and from there in config/README.md and in the comments of default files."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
import yaml

import sami.settings
from sami.records import Check
from sami.settings.base import Settings, descriptions
from sami.settings.describe import COMMAND, COMMENTED, MARK, README, made, with_comments, with_tables
from sami.settings.methods import METHODS
from sami.settings.training import OBJECTIVES

ROOT = Path(__file__).parents[2]
MODELS = [
    *(
        kind
        for module in pkgutil.iter_modules(sami.settings.__path__)
        for _, kind in inspect.getmembers(importlib.import_module(f"sami.settings.{module.name}"), inspect.isclass)
        if issubclass(kind, Settings) and kind.__module__ == f"sami.settings.{module.name}"
    ),
    Check,
]
NO_PLACE = {
    "Settings",
    "EndpointUser",
    "HeadTraining",
    "JudgeKind",
    "RewardKind",
    "Job",
    "Method",
}  # extended by others, or a key of theirs


@pytest.fixture(autouse=True)
def project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("file", [README, *COMMENTED])
def test_files_say_what_the_fields_say(file):
    text = Path(file).read_text(encoding="utf-8")
    assert text == made(file, text), f"{file} differs from the descriptions in src/sami/settings; mend it: {COMMAND}"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_is_described_in_sentences(model):
    told = descriptions(model)
    assert set(told) == set(model.model_fields)
    for text in told.values():
        assert re.fullmatch(r"[A-Z`].{3,}[.]", text, re.DOTALL), text


def test_every_mapping_has_a_table():
    """Its own, or rows in that of a mapping around it."""
    text = Path(README).read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(?:[\w.]+\.)?(\w+)` \|", text, re.MULTILINE))
    tables = {match[1].split(".")[1] for match in MARK.finditer(text)}
    around = {
        "External",
        "Relevance",
        "RelevanceFilter",
        "Steering",
        "AttributeModel",
        "Degeneration",
        "Published",
        "PromptedModel",
        "BestOf",
        "BestPolicy",
        "ResponseFile",
        "Lora",
    }
    around |= {kind.__name__ for kind in OBJECTIVES.values()}
    around |= {
        "FineTuning",
        "Shares",
        "Licence",
        "Shape",
        "Side",
        "Utilisation",
        "Price",
        *(kind.__name__ for kind in METHODS.values()),
    }
    for model in MODELS:
        if not model.__name__.startswith("_"):
            assert (model.__name__ in NO_PLACE) + (model.__name__ in tables) + (model.__name__ in around) == 1, model
            assert set(model.model_fields) <= rows, model


def test_quickstart_is_a_complete_configuration():
    """So that its comments describe every key of an experiment; what it leaves out is set beside it."""
    from sami.settings.experiment import Experiment, Root

    written = yaml.safe_load(Path("config/config.yaml").read_text())
    assert set(written) == set(Root.model_fields)
    assert set(written["defaults"]) == set(Experiment.model_fields)
    for key in ("constitutions", "queries", "sampling", "training", "engine", "resources", "evaluation"):
        assert set(written["defaults"][key]) == set(Experiment.model_fields[key].annotation.model_fields)


def test_table_of_a_model(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("mine: {rank: 8, alpha: 4.5}\n")
    head = "# Title\n\n## Low rank: what for?\n\n"
    mark = f"<!-- training.Lora; not set; mine = {file}: mine -->\n\n"
    text = with_tables(f"{head}{mark}| an old table |\n|---|\nafter\n\n<!-- no.t -->\n")
    assert text == (
        f"{head}{mark}"
        "| key | may hold | not set | mine | what it does |\n"
        "|---|---|---|---|---|\n"
        "| `rank` | a whole number of at least 1 | needed | `8` | Size of the adapters. |\n"
        "| `alpha` | a number greater than 0 | needed | `4.5` | Weight of the adapters. |\n"
        "| `modules` | text or a list, each entry text | `all-linear` | | Layers that get one, by name. |\n"
        "after\n\n<!-- no.t -->\n"
    )
    assert with_tables(text) == text


def test_mappings_are_links_to_their_tables_or_rows_of_this_one():
    text = with_tables("# Top\n\n<!-- evaluation.Evaluation -->\n\n# How many\n\n<!-- sampling.Sampling -->\n\n")
    assert "| `sampling` | [mapping](#how-many) | How" in text
    assert "| `degeneration.ngram` | a whole number of at least 1 | Words" in text
    assert (
        "| `published.principles` | `training`, `held-out` | Which principles it is about. If left out: `training`"
        in text
    )
    assert "| `policies.NAME.source` |" in text
    assert "See [docs/judging.md](../docs/judging.md#responses-made-elsewhere)." in text


def test_comments_of_a_file():
    text = (
        "# By hand.\n"
        "optimizer: adamw   # old words\n"
        "epochs:\n"
        "\n"
        "lora:  # old words\n"
        "  rank: 4\n"
        "  modules: [a, '#']\n"
        "prompt: |-  # no setting\n"
        "  rank: x\n"
    )
    told = with_comments(text, {(): "training.Training"})
    assert told == (
        "# By hand.\n"
        "optimizer: adamw  # rmsprop | adamw: the paper uses RMSprop\n"
        "epochs:  # passes over the examples of an iteration\n"
        "\n"
        "lora:  # or {rank: 16, alpha: 32}: train low-rank adapters instead of all weights\n"
        "  rank: 4            # size of the adapters\n"
        "  modules: [a, '#']  # layers that get one, by name\n"
        "prompt: |-  # no setting\n"
        "  rank: x\n"
    )
    assert with_comments(told, {(): "training.Training"}) == told
    assert yaml.safe_load(told) == yaml.safe_load(text)


def test_comment_that_does_not_fit():
    with pytest.raises(ValueError, match="is longer than 120 characters; shorten the first sentence"):
        with_comments(f"optimizer: {'x' * 90}\n", {(): "training.Training"})


def test_own_description_goes_before_an_inherited_one():
    class Base(Settings):
        one: int
        """Of the base."""
        two: int
        """Of both."""

    class Own(Base):
        one: int
        """
        Of its
        own.
        """
        three: int

    assert descriptions(Own) == {"one": "Of its own.", "two": "Of both."}
    assert Own.model_json_schema()["properties"]["one"]["description"] == "Of its own."
    assert list(Own.model_fields) == ["one", "two", "three"]
