"""Reads the configuration into the models of `sami.settings`; a message names the file, line and key that is wrong.

    configuration = load(config, ["config/config.yaml", "mine.yaml"])

What can be checked beyond that before anything expensive runs is in `sami.preflight`.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from sami.errors import UserError
from sami.messages import Keys, dotted, nearest, plain, unquoted
from sami.settings import (
    JUDGES,
    Experiment,
    Judge,
    JudgeKind,
    Model,
    PrincipleFile,
    Root,
    Task,
    Writer,
)
from sami.yaml_files import Document, load_yaml, read_yaml, validate

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Sources:
    """The merged configuration, and the files that a key of it can come from (later ones override)."""

    config: dict
    documents: list[Document]

    def where(self, keys: Keys) -> str:
        """File, line and key of the value that counts; of the innermost mapping around a missing key."""
        there = _existing(self.config, keys)
        value = _value(self.config, there)
        for document in reversed(self.documents):
            has = _existing(document.data, there) == there
            if has and (isinstance(value, dict) or _value(document.data, there) == value):
                return document.where(keys)
        return f"the command line (--config): {dotted(keys)}"

    def where_in(self, experiment: str, keys: Keys) -> str:
        """The same for a key of an experiment, which stands in its own entry or among the defaults."""
        own, default = ("experiments", experiment, *keys), ("defaults", *keys)
        in_own, in_default = (len(_existing(self.config, full)) - len(full) for full in (own, default))
        return self.where(own if in_own >= in_default else default)


def _existing(value: Any, keys: Keys) -> Keys:
    """The leading part of `keys` that leads to a value."""
    for depth, key in enumerate(keys):
        inside = key in value if isinstance(value, dict) else isinstance(value, list) and key in range(len(value))
        if not inside:
            return keys[:depth]
        value = value[key]
    return keys


def _value(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value[key]
    return value


@dataclass(frozen=True)
class Configuration:
    """Everything the configuration names, checked. Catalogues hold the entries that its experiments use.

    The judges of an experiment are those that it names, and behind them the members of its panels.

    `unusable` holds what is wrong with the catalogue entries of experiments outside `run`: a person who names
    catalogues of their own need not care that those lack the entries of the quickstart. `check` raises it.
    """

    root: Root
    experiments: dict[str, Experiment]
    sources: Sources
    models: dict[str, Model] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    principle_files: dict[str, PrincipleFile] = field(default_factory=dict)
    writers: dict[str, Writer] = field(default_factory=dict)
    judges: dict[str, Judge] = field(default_factory=dict)
    unusable: dict[str, UserError] = field(default_factory=dict)

    def where(self, experiment: str, *keys: Hashable) -> str:
        """File, line and key of an experiment's setting, for messages."""
        return self.sources.where_in(experiment, keys)


def load(config: dict, files: Sequence[str | Path]) -> Configuration:
    """Checks the merged configuration and reads the catalogue entries that its experiments use.

    Args:
        config: what Snakemake merged from the files and `--config`.
        files: the configuration files in order; later ones override.

    Raises:
        UserError: a key, value or name is wrong; the message names the file in which it stands.
    """
    documents = [read_yaml(file) for file in files]
    sources = Sources(_typed(config, [document.data for document in documents]), documents)
    root = validate(sources.config, Root, sources.where)
    for position, name in enumerate(root.run):
        known(name, root.experiments, "experiments", sources.where(("run", position)))
    experiments = {
        name: validate(merge(root.defaults, entry), Experiment, lambda keys, name=name: sources.where_in(name, keys))
        for name, entry in root.experiments.items()
    }
    # What every experiment overrides is checked too: a wrong default would only wait for the next experiment.
    validate(root.defaults, Experiment, lambda keys: sources.where(("defaults", *keys)))
    configuration = Configuration(root, experiments, sources)
    for name in experiments:
        try:
            _read_entries(configuration, name)
        except UserError as error:
            if name in root.run:
                raise
            configuration.unusable[name] = error
    return configuration


def _read_entries(configuration: Configuration, experiment: str) -> None:
    """Reads the catalogue entries that an experiment names and that have not been read yet."""
    root, settings = configuration.root, configuration.experiments[experiment]
    for catalogue, key, model, entries in (
        ("tasks", "task", Task, configuration.tasks),
        ("constitutions", "constitutions.principles", PrincipleFile, configuration.principle_files),
        ("writers", "constitutions.writer", Writer, configuration.writers),
    ):
        name = attrgetter(key)(settings)
        if name not in entries:
            file = _entry(configuration, catalogue, name, configuration.where(experiment, *key.split(".")))
            entries[name] = load_yaml(file, model)
    judges = dict.fromkeys(settings.evaluation.judges)
    for position, name in enumerate(settings.evaluation.judges):
        _read_judge(configuration, name, configuration.where(experiment, "evaluation", "judges", position))
        judges |= dict.fromkeys(getattr(configuration.judges[name], "members", []))  # how far they agree is of interest
    evaluation = settings.evaluation.model_copy(update={"judges": list(judges)})
    configuration.experiments[experiment] = settings.model_copy(update={"evaluation": evaluation})
    if not settings.imported:
        _read_model(configuration, settings.model, configuration.where(experiment, "model"))
    writer = settings.constitutions.writer
    for name in local_model(configuration.writers[writer]):
        _read_model(configuration, name, f"{root.writers}/{writer}.yaml: model")
    for policy, name in settings.evaluation.policies.items():
        _read_model(configuration, name, configuration.where(experiment, "evaluation", "policies", policy))


def _entry(configuration: Configuration, catalogue: str, name: str, where: str) -> Path:
    """The file of a catalogue entry."""
    folder = Path(getattr(configuration.root, catalogue))
    if not folder.is_dir():
        place = configuration.sources.where((catalogue,))
        raise UserError(f"{place}: there is no folder {folder}. Mend the path or create it.")
    known(name, sorted(path.stem for path in folder.glob("*.yaml")), f"files *.yaml in {folder}", where)
    return folder / f"{name}.yaml"


def _read_judge(configuration: Configuration, name: str, where: str, panel: str | None = None) -> None:
    """Reads a judge, the models it runs on this machine, and the members of a panel."""
    if name not in configuration.judges:
        file = _entry(configuration, "judges", name, where)
        configuration.judges[name] = load_judge(file)
        for model in local_model(configuration.judges[name]):
            _read_model(configuration, model, str(file))
    judge = configuration.judges[name]
    if judge.kind == "panel":
        file = f"{configuration.root.judges}/{name}.yaml: members"
        if panel is not None:
            raise UserError(f"{where}: '{name}' is itself a panel, expected judges with a vote of their own.")
        for member in judge.members:
            _read_judge(configuration, member, file, panel=name)


def load_judge(path: str | Path) -> Judge:
    """Reads a file of config/judges.

    Raises:
        UserError: it names the file, the key, what was found and what was expected.
    """
    document = read_yaml(path)
    kind = validate(document.data, JudgeKind, document.where).kind
    return validate(document.data, JUDGES[kind], document.where)


def _read_model(configuration: Configuration, name: str, where: str) -> None:
    file = configuration.root.models
    if not Path(file).is_file():
        raise UserError(
            f"{configuration.sources.where(('models',))}: there is no file {file}. Mend the path or create it."
        )
    if name not in configuration.models:
        document = read_yaml(file)
        known(name, document.data, f"models in {file}", where)
        entry = validate(document.data[name], Model, lambda keys: document.where((name, *keys)))
        configuration.models[name] = entry


def merge(base: dict, override: dict) -> dict:
    """Lays one mapping over another: mappings merge, lists and plain values replace."""
    merged = dict(base)
    for key, value in override.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _typed(value: Any, given: list) -> Any:
    """Reads numbers, true, false and null in values that no file gives at their place.

    Such values come from `--config`, and Snakemake hands on what stands inside braces and brackets there as text.
    """
    if isinstance(value, dict):
        return {k: _typed(v, [g[k] for g in given if isinstance(g, dict) and k in g]) for k, v in value.items()}
    if isinstance(value, list) and value not in given:
        return [_typed(entry, []) for entry in value]
    return unquoted(value) if isinstance(value, str) and value not in given else value


def known(name: str, names: Iterable[str], what: str, where: str) -> None:
    """Raises UserError where `name` is none of `names`."""
    names = list(names)
    if name not in names:
        near = nearest(name, names)
        mend = f"Did you mean '{near}'?" if near else "Mend the name or add the entry."
        raise UserError(
            f"{where}: found {plain(name)}, expected one of the {what}: {', '.join(names) or 'none'}. {mend}"
        )


def local_model(user: Writer | Judge) -> list[str]:
    """Names of the models that a writer or a judge runs on this machine."""
    if user.kind in ("local", "likelihood"):
        return [user.model]
    return [name for name in [getattr(user, "serve", None)] if name is not None]
