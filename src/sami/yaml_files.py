"""YAML files that are checked against a model; messages name the file and the line.

A file may name others that it is laid over, under the key `extends`: what they say counts where it says nothing.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sami.errors import UserError
from sami.json_files import read_text, whole
from sami.messages import Keys, dotted, explain, plain

M = TypeVar("M", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, with whole characters: it takes the two halves of one (`\\ud83d\\ude00`) for two."""

    def construct_scalar(self, node: yaml.ScalarNode) -> str:
        return whole(super().construct_scalar(node))


@dataclass(frozen=True)
class File:
    """One YAML file: its own mapping, without `extends`, and where its keys stand."""

    path: str
    data: dict
    node: yaml.MappingNode

    def where(self, keys: Keys = ()) -> str:
        """File, line and key; the line is that of the innermost key that the file has."""
        node, line = self.node, None
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(key)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                pair = (node.value[key], node.value[key])
            else:
                pair = None
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        return ": ".join(filter(None, [self.path + (f", line {line}" if line else ""), dotted(keys)]))


@dataclass(frozen=True)
class Document:
    """A mapping, and the files that its values come from (later ones override)."""

    data: dict
    files: tuple[File, ...]

    def where(self, keys: Keys = ()) -> str:
        """File, line and key of the value that counts; of the innermost mapping around a missing key.

        What stands in no file was given on the command line.
        """
        there = existing(self.data, keys)
        value = _value(self.data, there)
        for file in reversed(self.files):
            has = existing(file.data, there) == there
            if has and (isinstance(value, dict) or _value(file.data, there) == value):
                return file.where(keys)
        return f"the command line (--config): {dotted(keys)}"


def existing(value: Any, keys: Keys) -> Keys:
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


def merge(base: dict, override: dict) -> dict:
    """Lays one mapping over another: mappings merge, lists and plain values replace."""
    merged = dict(base)
    for key, value in override.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def read_yaml(*paths: str | Path) -> Document:
    """Reads YAML files that hold one mapping each, and lays later ones over earlier ones.

    Beneath every file lie those that it `extends`; a file that several extend is laid once, beneath them all.

    Raises:
        UserError: a file is missing, unreadable, empty or not valid YAML, holds something else than a mapping, gives a
            key twice, or extends what it cannot: no file, or one that extends it in turn.
    """
    files: dict[str, File] = {}
    for path in paths:
        _collect(_shown(path), files, ())
    data: dict = {}
    for file in files.values():
        data = merge(data, file.data)
    return Document(data, tuple(files.values()))


def _collect(path: str, files: dict[str, File], extending: tuple[str, ...]) -> None:
    """Adds a file to `files`, behind those that it extends. `extending` are the files on whose behalf it is read."""
    if path in files:
        return
    extends, file = _read(path)
    chain = (*extending, path)
    for base in extends:
        place = file.where(("extends",))
        if base in chain:
            circle = " -> ".join((*chain[chain.index(base) :], base))
            raise UserError(f"{place}: the files extend each other in a circle: {circle}. Delete one of the 'extends'.")
        if not Path(base).is_file():
            raise UserError(
                f"{place}: found {plain(base)}, but there is no such file; expected the path of a YAML file, from the "
                "folder in which the workflow runs. Mend the path or create the file."
            )
        _collect(base, files, chain)
    files[path] = file


def _read(path: str) -> tuple[list[str], File]:
    """What one file extends, and the file by itself."""
    try:
        loader = _Loader(read_text(path))
        node = loader.get_single_node()
        _refuse_duplicates(node, path)
        data = loader.construct_document(node) if node else None
    except UserError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        what = "; ".join(filter(None, [error.context, error.problem]))
        raise UserError(f"{path}{line}: not valid YAML ({what}). Mend the line or the one before it.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: text like a date, with month 13
        raise UserError(
            f"{path}: not valid YAML ({' '.join(str(error).split())}). Mend the value or put it in quotes."
        ) from None
    if not isinstance(data, dict):
        found = "an empty file" if data is None else plain(data)
        raise UserError(f"{path}: found {found}, expected a mapping (key: value). Write the keys that belong there.")
    file = File(path, {key: value for key, value in data.items() if key != "extends"}, node)
    extends = data.get("extends", [])
    extends = [extends] if isinstance(extends, str) else extends
    if not isinstance(extends, list) or not all(isinstance(base, str) and base for base in extends):
        raise UserError(
            f"{file.where(('extends',))}: found {plain(data['extends'])}, expected the path of a YAML file, or a list "
            "of such paths. Mend or delete it."
        )
    return [_shown(base) for base in extends], file


def load_yaml(path: str | Path, model: type[M]) -> M:
    """Reads a YAML file into a model.

    Raises:
        UserError: see `read_yaml`; or the content violates the model.
    """
    document = read_yaml(path)
    return validate(document.data, model, document.where)


def validate(value: Any, model: type[M], where: Callable[[Keys], str]) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise UserError(explain(error, model, where)) from None


def _refuse_duplicates(node: yaml.Node | None, path: str) -> None:
    """YAML itself would silently keep the last of two equal keys."""
    waiting, seen = [node], set()
    while waiting:
        here = waiting.pop()
        if here is None or id(here) in seen or isinstance(here, yaml.ScalarNode):
            continue
        seen.add(id(here))  # an alias can lead back to where it stands
        lines: dict[str, int] = {}
        for part in here.value:
            if isinstance(here, yaml.SequenceNode):
                waiting.append(part)
                continue
            key, value = part
            waiting.append(value)
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise UserError(
                        f"{path}, line {line}: the key '{key.value}' stands already in line {lines[key.value]} of the "
                        "same mapping; expected each key once. Delete or rename one of them."
                    )
                lines[key.value] = line


def _shown(path: str | Path) -> str:
    """A path as people know it: relative where it lies below the working directory."""
    path = Path(os.path.normpath(path))
    return str(path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path)
