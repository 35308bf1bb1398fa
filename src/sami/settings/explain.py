"""One clear message for people from a violated model: what was found, what was expected, how to mend it."""

from collections.abc import Callable
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from sami.errors import Keys, dotted, nearest, plain
from sami.settings.expectations import (
    FORMS,
    alternatives,
    at,
    expectation,
    literals,
    note,
    paths,
    step,
    tagged,
    valid_keys,
)


def explain(
    error: ValidationError,
    model: type[BaseModel] | TypeAdapter,
    where: str | Callable[[Keys], str],
    written: Callable[[Keys], str | None] = lambda keys: None,
) -> str:
    """Puts the most useful violation into one sentence or two for people.

    Args:
        error: what pydantic found.
        model: the model that the values were meant for.
        where: the file; or a function that names file and full key of the keys that lead to a value in `model`.
        written: the characters of the value that these keys lead to, where a person wrote them.

    Returns:
        File, dotted key, what was found, what was expected, how to mend it, and the number of further problems.
    """
    schema = model.json_schema() if isinstance(model, TypeAdapter) else model.model_json_schema()
    problems = _problems(error, schema)
    keys, problem = problems[0]
    place = where(keys) if callable(where) else ": ".join(part for part in (where, dotted(keys)) if part)
    further = len(problems) - 1
    more = f" ({further} further problem{'s' if further > 1 else ''}.)" if further else ""
    return f"{place}: {_sentence(keys, problem, schema, written)}{more}".replace("\n", "\\n")


def _problems(error: ValidationError, schema: dict) -> list[tuple[Keys, ErrorDetails]]:
    """Violations with their keys, one each: unknown keys first, since a misspelt key makes another one missing."""
    found: dict[Keys, ErrorDetails] = {}
    for problem in error.errors():
        found.setdefault(_keys(schema, problem), problem)
    # Of a value that may be of several types, pydantic reports one violation for each; the innermost says the most.
    outer = {keys[:length] for keys in found for length in range(len(keys))}
    found = {keys: problem for keys, problem in found.items() if keys not in outer}
    unknown = {keys: problem for keys, problem in found.items() if _unknown(problem)}
    meant = {(*keys[:-1], nearest(keys[-1], valid_keys(schema, keys[:-1]))) for keys in unknown}
    explained = {keys for keys, problem in found.items() if problem["type"] == "missing" and keys in meant}
    return [*unknown.items(), *((keys, found[keys]) for keys in found if keys not in unknown and keys not in explained)]


def numbers_for_text(error: ValidationError, model: type[BaseModel]) -> list[tuple[Keys, int | float]]:
    """Numbers and truth values that stand where a model takes text, with the keys that lead to them."""
    schema = model.model_json_schema()
    return [
        (_keys(schema, problem), problem["input"])
        for problem in error.errors()
        if problem["type"] == "string_type"
        and isinstance(problem["input"], (int, float))
        and "[key]" not in problem["loc"]
    ]


def _keys(schema: dict, problem: ErrorDetails) -> Keys:
    """The keys of a violation."""
    return _followed(schema, problem)[0]


def _followed(schema: dict, problem: ErrorDetails) -> tuple[Keys, dict]:
    """The keys of a violation, and the schema that they lead to.

    Pydantic's location also names the types that were tried, which lead nowhere, and which of several kinds a value is:
    a key that some of them have may hold something else in each.
    """
    location = [part for part in problem["loc"] if part != "[key]"]
    keys, here = [], schema
    for part in location[:-1] if _unknown(problem) else location:  # another alternative may know the last
        below = step(here, part, schema)
        if below is None:
            here = tagged(here, part) or here
        else:
            keys.append(part)
            here = below
    return (*keys, location[-1]) if _unknown(problem) else tuple(keys), here


def _unknown(problem: ErrorDetails) -> bool:
    return problem["type"] in ("extra_forbidden", "invalid_key")


def _sentence(keys: Keys, problem: ErrorDetails, schema: dict, written: Callable[[Keys], str | None]) -> str:
    """What was found, what was expected and how to mend it."""
    if _unknown(problem):
        return _unknown_key(keys, problem["input"], schema)
    if problem["type"] == "value_error":  # our own validators speak to people already
        return f"{problem['ctx']['error']}."
    if problem["loc"][-1:] == ("[key]",):
        pattern = next(iter(at(schema, keys[:-1]).get("patternProperties", {})), "")
        return f"found the name {plain(problem['input'])}, expected {FORMS.get(pattern, 'text')}. Rename it."
    there = _followed(schema, problem)[1]
    if problem["type"] == "missing":
        about = f": {note(there)}" if "description" in there else ""
        return f"this key is missing; expected {expectation(there, schema)}. Add the key '{keys[-1]}'{about}."
    expected = "a finite number" if problem["type"] == "finite_number" else expectation(there, schema)
    value = problem["input"]
    if isinstance(value, bool) and problem["type"] == "string_type":
        text = written(keys) or str(value).lower()
        return f"found {text} (a truth value), expected {expected}. Put it in quotes: '{text}'."
    return f"found {plain(value)}, expected {expected}. {_remedy(value, there, schema)}"


def _unknown_key(keys: Keys, value: Any, schema: dict) -> str:
    key, valid = keys[-1], valid_keys(schema, keys[:-1])
    if key in valid:  # of another alternative
        return f"found the key '{key}', which does not go with the others here. Delete it, or them."
    near = nearest(key, valid)
    if near:
        expected = expectation(at(schema, (*keys[:-1], near)), schema)
        return f"found the unknown key '{key}'; did you mean '{near}' ({expected})? Rename the key or delete it."
    homes = [dotted(path[:-1]) for path in paths(schema) if path[-1] == key and len(path) > 1]
    if homes:
        return f"found the key '{key}', which belongs in {' or '.join(repr(home) for home in homes)}. Move it there."
    return f"found the unknown key '{key}', expected one of: {', '.join(valid)}. Rename the key or delete it."


def _remedy(value: Any, schema: dict, root: dict) -> str:
    """The edit that most likely mends a value of the wrong type or size."""
    options = alternatives(schema, root)
    kinds = {option.get("type") for option in options}
    choices = [choice for option in options for choice in literals(option)]
    near = nearest(value, choices)
    if near:
        return f"Did you mean '{near}'?"
    if kinds == {"array"} and isinstance(value, (str, int, float)):
        return f"Put it in square brackets: [{value}]."
    if kinds == {"object"} and value is None:
        return "Write its keys below it, or {} for none."
    if kinds & {"integer", "boolean"} and isinstance(value, str) and not isinstance(unquoted(value), str):
        return "Remove the quotes."
    return "Change the value."


def unquoted(text: str) -> Any:
    """The number, truth value or null that a text is in YAML when it stands without quotes; else the text."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # ValueError: text like a date, with month 13
        return text
    return value if text and (value is None or isinstance(value, (bool, int, float))) else text
