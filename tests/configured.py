"""A folder with the shipped configuration, in which tests change what they are about; and all models of settings."""

import importlib
import inspect
import json
import pkgutil
import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import sami.settings
from sami.errors import UserError
from sami.records import Check
from sami.settings import judges
from sami.settings.base import Settings
from sami.settings.judges import JudgeKind
from sami.settings.rewards import RewardKind
from sami.workflow.configuration import Configuration, load
from sami.workflow.preflight import check

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


for kind in (Settings, JudgeKind, RewardKind, judges._ModelJudge):  # have no file or mapping of their own
    MODELS.remove(kind)


KEYS = [(kind, key) for kind in MODELS for key in kind.model_fields]


class Project:
    """A folder with the shipped configuration, in which a test changes what it is about."""

    def __init__(self, root: Path):
        self.root = root
        shutil.copytree(ROOT / "config", root / "config")
        # Tests have three iterations to talk about, whatever number is shipped.
        file = root / "config/config.yaml"
        lines = file.read_text().split("  quickstart:\n")
        lines[1] = re.sub(r"iterations: \d+", "iterations: 3", lines[1], count=1)
        lines[1] = re.sub(r"train: \[[^\]]*\]", "train: [64, 64, 64]", lines[1], count=1)
        file.write_text("  quickstart:\n".join(lines))

    def write(self, path: str, text: str) -> str:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return path

    def load(self, mine: str = "{}", *command_line: str) -> Configuration:
        """The shipped configuration with the file mine.yaml and `--config` laid over it."""
        return load(["config/config.yaml", self.write("mine.yaml", mine)], command_line)

    def check(self, mine: str = "{}", **how) -> None:
        loaded = self.load(mine)
        check(loaded, loaded.root.run, **how)

    def task(self, train: list | str, held_out: list | str = "", count: int = 1, extra: str = "") -> str:
        """Writes a task with two files of queries; returns the configuration that uses it."""
        rows = held_out or [{"id": "e", "text": "held out"}]
        for name, content in (("train", train), ("eval", rows)):
            text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
            self.write(f"data/{name}.jsonl", text)
        prompts = {"style": "plain", "generation": "{constitution} {query}", "training": "{constitution} {query}"}
        prompts["without_constitution"] = "{query}"
        task = {
            "train": {"loader": "file", "path": "data/train.jsonl", "count": count, **yaml.safe_load(extra or "{}")},
            "eval": {"loader": "file", "path": "data/eval.jsonl", "count": 1},
            "prompts": prompts,
        }
        self.write("config/tasks/small.yaml", yaml.safe_dump(task))
        mine = {"task": "small", "iterations": 1, "queries": {"train": 1, "eval": 1}, "evaluation": {"relevance": None}}
        return json.dumps({"experiments": {"quickstart": mine}})


def message(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


def experiment(text: str) -> str:
    return f"experiments:\n  quickstart:\n    {text}\n"


def published(entries: str) -> str:
    return f"evaluation: {{published: [{entries}]}}"
