"""What a setting may hold and what it does, in plain words, from the JSON schema that pydantic makes of its model."""

import re
from collections.abc import Hashable

from sami.errors import Keys
from sami.settings.base import EXPERIMENT_NAME, IDENTIFIER, RESPONSE_FILE, WEB_ADDRESS

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


def alternatives(schema: dict, root: dict) -> list[dict]:
    """The alternatives of a schema, references followed."""
    if "$ref" in schema:
        return alternatives(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    parts = schema.get("anyOf", schema.get("oneOf"))  # the latter where a key tells which it is
    return [option for part in parts for option in alternatives(part, root)] if parts else [schema]


def step(schema: dict, key: Hashable, root: dict) -> dict | None:
    """The schema of what stands under a key or list position, or None where there can be no such thing."""
    for option in alternatives(schema, root):
        if isinstance(key, int) and "items" in option:
            return option["items"]
        if key in option.get("properties", {}):
            return option["properties"][key]
        if "patternProperties" in option:
            return next(iter(option["patternProperties"].values()))
        if isinstance(option.get("additionalProperties"), dict):
            return option["additionalProperties"]
    return None


def tagged(schema: dict, tag: Hashable) -> dict | None:
    """The alternative that a tag names, where a key of the value tells which of several kinds it is; else None."""
    named = schema.get("discriminator", {}).get("mapping", {}).get(tag)
    return named and {"$ref": named}


def at(schema: dict, keys: Keys) -> dict:
    """The schema of what stands under some keys; empty where there can be no such thing."""
    here = schema
    for key in keys:
        here = step(here, key, schema) or {}
    return here


def valid_keys(schema: dict, keys: Keys) -> list[str]:
    """The valid keys at a place; once each, though several alternatives have it."""
    options = alternatives(at(schema, keys), schema)
    return list(dict.fromkeys(key for option in options for key in option.get("properties", {})))


def paths(schema: dict, keys: Keys = ()) -> list[Keys]:
    """The keys of every value that a model can hold, without those in lists."""
    below = valid_keys(schema, keys)
    return [path for key in below for path in ((*keys, key), *paths(schema, (*keys, key)))]


def literals(option: dict) -> list[str]:
    """The values among which an alternative lets choose; none where it takes others, too."""
    return [str(choice) for choice in option.get("enum", [option["const"]] if "const" in option else [])]


def expectation(schema: dict, root: dict) -> str:
    """What a schema allows, in plain words."""
    return " or ".join(_one(option, root) for option in alternatives(schema, root))


def list_size(option: dict) -> str:
    """How long a list may be."""
    least = option.get("minItems")
    if not least:
        return "a list"
    entries = "one entry" if least == 1 else f"{least} entries"
    return f"a list of {'' if option.get('maxItems') == least else 'at least '}{entries}"


def _one(option: dict, root: dict) -> str:
    choices = literals(option)
    if choices:
        return f"one of: {', '.join(choices)}" if len(choices) > 1 else choices[0]
    kind = option.get("type", "")
    if kind == "object":
        keys = ", ".join(option.get("properties", {}))
        return f"a mapping with the keys {keys}" if keys else "a mapping (key: value)"
    if kind == "array":
        return f"{list_size(option)}, each entry {expectation(option['items'], root)}"
    if "pattern" in option:
        return FORMS.get(option["pattern"], f"text of the form {option['pattern']}")
    if kind == "string" and option.get("minLength"):
        return "text that is not empty"
    bounds = " and ".join(f"{words} {option[name]:g}" for name, words in BOUNDS.items() if name in option)
    return f"{NOUNS.get(kind, 'any value')} {bounds}".strip()


def note(schema: dict) -> str:
    """A description's first sentence, as it stands behind a key: small first letter, no full stop, no quoting."""
    text = re.split(r"(?<=[.?!])\s+(?=[A-Z`])", schema["description"])[0].removesuffix(".").replace("`", "")
    return text[0].lower() + text[1:] if text[1:2].islower() or text.startswith("A ") else text
