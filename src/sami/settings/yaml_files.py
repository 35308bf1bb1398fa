"""YAML files that are checked against a model; messages name the file and the line.

A file may name others that it is laid over, under the key `extends`: what they say counts where it says nothing.
"""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sami.errors import Keys, UserError, dotted, plain
from sami.json_files import read_text, whole
from sami.settings.explain import explain, numbers_for_text

M = TypeVar("M", bound=BaseModel)
TEXT, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


class Loader(yaml.SafeLoader):
    """YAML with whole characters: PyYAML takes the two halves of one (`\\ud83d\\ude00`) for two.

    And without dates: 2024-11-05 is text, the name of a folder for example.
    """

    yaml_implicit_resolvers: ClassVar[dict] = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

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
        pairs = self._pairs(keys)
        line = f", line {pairs[-1][0].start_mark.line + 1}" if pairs else ""
        return ": ".join(filter(None, [self.path + line, dotted(keys)]))

    def written(self, keys: Keys) -> str | None:
        """The characters of the number, truth value or text that stands under some keys."""
        pairs = self._pairs(keys)
        node = pairs[-1][1] if keys and len(pairs) == len(keys) else None
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def _pairs(self, keys: Keys) -> list[tuple[yaml.Node, yaml.Node]]:
        """The nodes of the leading keys that the file has, each with that of its value."""
        node, pairs = self.node, []
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(key)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                pair = (node.value[key], node.value[key])
            else:
                pair = None
            if pair is None:
                break
            pairs.append(pair)
            node = pair[1]
        return pairs


class CommandLine(File):
    """What `--config` gave."""

    def where(self, keys: Keys = ()) -> str:
        return f"{self.path}: {dotted(keys)}"


@dataclass(frozen=True)
class Document:
    """A mapping, and the files that its values come from (later ones override)."""

    data: dict
    files: tuple[File, ...]

    def where(self, keys: Keys = ()) -> str:
        """File, line and key of the value that counts; of the innermost mapping around a missing key."""
        return self._file(existing(self.data, keys)).where(keys)

    def written(self, keys: Keys) -> tuple[str | None, bool]:
        """The characters of a number, truth value or text, and whether the command line gave it."""
        file = self._file(keys)
        return file.written(keys), isinstance(file, CommandLine)

    def _file(self, keys: Keys) -> File:
        """The last file with the value under keys that there are; of mappings, better one than the command line."""
        value = _value(self.data, keys)
        mapping = isinstance(value, dict)
        having = [file for file in self.files if existing(file.data, keys) == keys
                  and (mapping or _value(file.data, keys) == value)]  # fmt: skip
        return max(having, key=lambda file: (mapping and not isinstance(file, CommandLine), having.index(file)))


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


def lay_over(document: Document, entries: Sequence[str]) -> Document:
    """Lays what `--config` gave over files.

    Args:
        document: what the files say.
        entries: "key=value"; the value is YAML, or text where it is none.
    """
    place = "the command line (--config)"
    for entry in entries:
        key, _, text = entry.partition("=")
        try:
            value = yaml.compose(text, Loader) or yaml.ScalarNode("tag:yaml.org,2002:null", "")
        except yaml.YAMLError:
            value = yaml.ScalarNode(TEXT, text)
        node = yaml.MappingNode("tag:yaml.org,2002:map", [(yaml.ScalarNode(TEXT, key), value)])
        with _explained(place):
            file = CommandLine(place, _constructed(Loader(""), node, place), node)
        document = Document(merge(document.data, file.data), (*document.files, file))
    return document


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
    with _explained(path):
        loader = Loader(read_text(path))
        node = loader.get_single_node()
        data = _constructed(loader, node, path) if node else None
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


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Says what keeps a YAML file from being read."""
    try:
        yield
    except UserError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        what = "; ".join(filter(None, [error.context, error.problem]))
        raise UserError(f"{path}{line}: not valid YAML ({what}). Mend the line or the one before it.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of a thousand digits, for example
        raise UserError(
            f"{path}: not valid YAML ({' '.join(str(error).split())}). Mend the value or put it in quotes."
        ) from None
    except RecursionError:
        raise UserError(f"{path}: brackets within brackets, too deep to be read. Mend the file.") from None


def _constructed(loader: Loader, node: yaml.Node, path: str) -> Any:
    """The value of a file's outermost node. Keys are text, whatever they look like, and each stands once."""
    _check_keys(node, path)
    return loader.construct_document(node)


def load_yaml(path: str | Path, model: type[M]) -> M:
    """Reads a YAML file into a model.

    Raises:
        UserError: see `read_yaml`; or the content violates the model.
    """
    document = read_yaml(path)
    return validate(document.data, model, document.where, document.written)


def validate(
    value: Any,
    model: type[M],
    where: Callable[[Keys], str],
    written: Callable[[Keys], tuple[str | None, bool]] = lambda keys: (None, False),
) -> M:
    """Checks a value against a model. A number where text is expected, a name for example, is the text as written.

    On the command line, where quotes hardly reach us, a truth value is, too.

    Args:
        value: what was read.
        model: what it should be.
        where: names file and full key of the keys that lead to a value in `model`.
        written: the characters of the value under these keys, and whether the command line gave it.

    Raises:
        UserError: what was found, what was expected, how to mend it.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for keys, number in numbers_for_text(error, model):
            text, typed = written(keys)
            if text is not None and (typed or not isinstance(number, bool)):
                return validate(_with(value, keys, text), model, where, written)
        raise UserError(explain(error, model, where, lambda keys: written(keys)[0])) from None


def _with(value: Any, keys: Keys, text: str) -> Any:
    """The value with another text under some keys, itself unchanged."""
    if not keys:
        return text
    copied = copy.copy(value)
    copied[keys[0]] = _with(value[keys[0]], keys[1:], text)
    return copied


def _check_keys(node: yaml.Node, path: str) -> None:
    """Makes keys text, and raises UserError where one stands twice: YAML would silently keep the last of two."""
    waiting, seen = [node], set()
    while waiting:
        here = waiting.pop()
        if id(here) in seen or isinstance(here, yaml.ScalarNode):
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
                line = key.start_mark.line + 1 if key.start_mark else 1
                if key.value in lines:
                    raise UserError(
                        f"{path}, line {line}: the key '{key.value}' stands already in line {lines[key.value]} of the "
                        "same mapping; expected each key once. Delete or rename one of them."
                    )
                lines[key.value] = line
                key.tag = key.tag if key.tag == MERGE else TEXT


def _shown(path: str | Path) -> str:
    """A path as people know it: relative where it lies below the working directory."""
    path = Path(os.path.normpath(path))
    return str(path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path)
