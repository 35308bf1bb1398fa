"""YAML files that are checked against a model; messages name the file and the line."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sami.errors import UserError
from sami.messages import Keys, dotted, explain, plain

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """A YAML file: its mapping, and where its keys stand."""

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


def read_yaml(path: str | Path) -> Document:
    """Reads a YAML file that holds one mapping.

    Raises:
        UserError: the file is missing, unreadable, empty or not valid YAML, holds something else than a mapping, or
            gives a key twice.
    """
    path = _shown(path)
    try:
        loader = yaml.SafeLoader(Path(path).read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _refuse_duplicates(node, path)
        data = loader.construct_document(node) if node else None
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a YAML file. Mend the path or create the file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a YAML file.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error}). Save the file as UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        what = "; ".join(filter(None, [error.context, error.problem]))
        raise UserError(f"{path}{line}: not valid YAML ({what}). Mend the line or the one before it.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: text like a date, with month 13
        raise UserError(
            f"{path}: not valid YAML ({' '.join(str(error).split())}). Mend the value or put it in quotes."
        ) from None
    if not isinstance(data, dict):
        found = "an empty file" if data is None else plain(data)
        raise UserError(f"{path}: found {found}, expected a mapping (key: value). Write the keys that belong there.")
    return Document(path, data, node)


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
    path = Path(path)
    return str(path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path)
