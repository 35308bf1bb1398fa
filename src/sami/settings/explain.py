"""One clear message for people from a violated model: what was found, what was expected, how to mend it."""

from collections.abc import Callable, Hashable
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from sami.errors import Keys, dotted, nearest, plain
from sami.settings.base import EXPERIMENT_NAME, IDENTIFIER, RESPONSE_FILE, WEB_ADDRESS


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


def _problems(error: ValidationError, schema: dict) -> list[tuple[Keys, dict]]:
    """Violations with their keys, one each: unknown keys first, since a misspelt key makes another one missing."""
    found: dict[Keys, dict] = {}
    for problem in error.errors():
        found.setdefault(_keys(schema, problem), problem)
    # Of a value that may be of several types, pydantic reports one violation for each; the innermost says the most.
    outer = {keys[:length] for keys in found for length in range(len(keys))}
    found = {keys: problem for keys, problem in found.items() if keys not in outer}
    unknown = {keys: problem for keys, problem in found.items() if _unknown(problem)}
    meant = {(*keys[:-1], nearest(keys[-1], _properties(schema, keys[:-1]))) for keys in unknown}
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


def _unknown(problem: dict) -> bool:
    return problem["type"] in ("extra_forbidden", "invalid_key")


def _sentence(keys: Keys, problem: dict, schema: dict, written: Callable[[Keys], str | None]) -> str:
    """What was found, what was expected and how to mend it."""
    if _unknown(problem):
        return _unknown_key(keys, problem["input"], schema)
    if problem["type"] == "value_error":  # our own validators speak to people already
        return f"{problem['ctx']['error']}."
    if problem["loc"][-1:] == ("[key]",):
        pattern = next(iter(_at(schema, keys[:-1]).get("patternProperties", {})), None)
        return f"found the name {plain(problem['input'])}, expected {FORMS.get(pattern, 'text')}. Rename it."
    there = _at(schema, keys)
    if problem["type"] == "missing":
        return f"this key is missing; expected {_expected(there, schema)}. Add the key '{keys[-1]}'."
    expected = "a finite number" if problem["type"] == "finite_number" else _expected(there, schema)
    value = problem["input"]
    if isinstance(value, bool) and problem["type"] == "string_type":
        text = written(keys) or str(value).lower()
        return f"found {text} (a truth value), expected {expected}. Put it in quotes: '{text}'."
    return f"found {plain(value)}, expected {expected}. {_remedy(value, there, schema)}"


def _unknown_key(keys: Keys, value: Any, schema: dict) -> str:
    key, valid = keys[-1], _properties(schema, keys[:-1])
    near = nearest(key, valid)
    if near:
        expected = _expected(_at(schema, (*keys[:-1], near)), schema)
        return f"found the unknown key '{key}'; did you mean '{near}' ({expected})? Rename the key or delete it."
    homes = [dotted(path[:-1]) for path in _paths(schema) if path[-1] == key and len(path) > 1]
    if homes:
        return f"found the key '{key}', which belongs in {' or '.join(repr(home) for home in homes)}. Move it there."
    return f"found the unknown key '{key}', expected one of: {', '.join(valid)}. Rename the key or delete it."


def _remedy(value: Any, schema: dict, root: dict) -> str:
    """The edit that most likely mends a value of the wrong type or size."""
    options = _options(schema, root)
    kinds = {option.get("type") for option in options}
    choices = [choice for option in options for choice in _choices(option)]
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


# --- expectations, from the JSON schema that pydantic makes of a model ------------------------------------------------

BOUNDS = {  # keyword of JSON schema, or of pydantic where it wraps a number -> plain words
    "minimum": "of at least",
    "ge": "of at least",
    "exclusiveMinimum": "greater than",
    "gt": "greater than",
    "maximum": "at most",
    "le": "at most",
    "exclusiveMaximum": "less than",
    "lt": "less than",
}
FORMS = {
    IDENTIFIER: "small letters, digits, '_' and '-', the first a letter or digit",
    EXPERIMENT_NAME: "letters, digits, '_', '-' and '.', the first a letter or digit",
    RESPONSE_FILE: "the name of a file that ends in .jsonl (our records) or .json (the SAMI authors' format)",
    WEB_ADDRESS: "the address of a folder on the web, https://...",
}
NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "string": "text",
}


def _options(schema: dict, root: dict) -> list[dict]:
    """The alternatives of a schema, references followed."""
    if "$ref" in schema:
        return _options(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    parts = schema.get("anyOf", schema.get("oneOf"))  # the latter where a key tells which it is
    return [option for part in parts for option in _options(part, root)] if parts else [schema]


def _step(schema: dict, key: Hashable, root: dict) -> dict | None:
    """The schema of what stands under a key or list position, or None where there can be no such thing."""
    for option in _options(schema, root):
        if isinstance(key, int) and "items" in option:
            return option["items"]
        if key in option.get("properties", {}):
            return option["properties"][key]
        if "patternProperties" in option:
            return next(iter(option["patternProperties"].values()))
        if isinstance(option.get("additionalProperties"), dict):
            return option["additionalProperties"]
    return None


def _keys(schema: dict, problem: dict) -> Keys:
    """The keys of a violation. Pydantic's location also names the types that were tried: those lead nowhere."""
    location = [part for part in problem["loc"] if part != "[key]"]
    keys, here = [], schema
    for part in location:
        below = _step(here, part, schema)
        if below is not None:
            keys.append(part)
            here = below
    return (*keys, location[-1]) if _unknown(problem) else tuple(keys)


def _at(schema: dict, keys: Keys) -> dict:
    here = schema
    for key in keys:
        here = _step(here, key, schema) or {}
    return here


def _properties(schema: dict, keys: Keys) -> list[str]:
    """The valid keys at a place."""
    return [key for option in _options(_at(schema, keys), schema) for key in option.get("properties", {})]


def _paths(schema: dict, keys: Keys = ()) -> list[Keys]:
    """The keys of every value that a model can hold, without those in lists."""
    below = _properties(schema, keys)
    return [path for key in below for path in ((*keys, key), *_paths(schema, (*keys, key)))]


def _choices(option: dict) -> list[str]:
    return [str(choice) for choice in option.get("enum", [option["const"]] if "const" in option else [])]


def _expected(schema: dict, root: dict) -> str:
    """What a schema allows, in plain words."""
    return " or ".join(_expected_option(option, root) for option in _options(schema, root))


def _entries(count: int) -> str:
    return "one entry" if count == 1 else f"{count} entries"


def _expected_option(option: dict, root: dict) -> str:
    choices = _choices(option)
    if choices:
        return f"one of: {', '.join(choices)}" if len(choices) > 1 else choices[0]
    kind = option.get("type")
    if kind == "object":
        keys = ", ".join(option.get("properties", {}))
        return f"a mapping with the keys {keys}" if keys else "a mapping (key: value)"
    if kind == "array":
        each = _expected(option["items"], root)
        least = option.get("minItems")
        size = f" of {'' if option.get('maxItems') == least else 'at least '}{_entries(least)}" if least else ""
        return f"a list{size}, each entry {each}"
    if "pattern" in option:
        return FORMS.get(option["pattern"], f"text of the form {option['pattern']}")
    if kind == "string" and option.get("minLength"):
        return "text that is not empty"
    bounds = " and ".join(f"{words} {option[name]:g}" for name, words in BOUNDS.items() if name in option)
    return f"{NOUNS.get(kind, 'any value')} {bounds}".strip()
