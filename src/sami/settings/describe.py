"""Makes what people read about settings of the fields: tables of config/README.md, comments of default files.

    make docs      # or: python -m sami.settings.describe

A table of config/README.md stands under a line like

    <!-- training.Training; quickstart = config/config.yaml: defaults.training -->

which names the model of `sami.settings`, and a column of values with the file and the keys under which they stand; the
column `not set` has the defaults of the model. Prose around tables stays as people have written it, and so do comments
that have lines of their own.
"""

import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from sami.errors import Keys
from sami.settings.base import descriptions
from sami.settings.expectations import alternatives, at, expectation, list_size, literals, note

README = "config/README.md"
COMMENTED: dict[str, dict[Keys, str]] = {  # file -> the models whose keys stand under some keys of it
    "config/config.yaml": {(): "experiment.Root", ("defaults",): "experiment.Experiment"},
    "config/judges/checks.yaml": {(): "judges.ChecksJudge"},
    "config/judges/checks-held-out.yaml": {(): "judges.ChecksJudge"},
    "config/judges/gpt-4o.yaml": {(): "judges.EndpointJudge"},
    "config/judges/smollm2-likelihood.yaml": {(): "judges.LikelihoodJudge"},
    "config/judges/reward-model.yaml": {(): "judges.LearnedJudge"},
    "config/rewards/checks.yaml": {(): "rewards.ChecksReward"},
    "config/rewards/relevance.yaml": {(): "rewards.RelevanceReward"},
    "config/rewards/salmon-checks.yaml": {(): "rewards.LearnedReward"},
    "config/rewards/checks-and-relevance.yaml": {(): "rewards.SumReward"},
    "config/writers/openai.yaml": {(): "writers.Writer"},
}
COMMAND = "make docs"
WIDTH = 120
ALIGNED = 28  # characters of a key with its value, behind which comments stand in one column
MARK = re.compile(r"<!-- ([a-z_]+\.\w+)((?:; [^;>]+)*) -->\n\n((?:\|.*\n)*)")
Row = tuple[tuple[str, ...], dict, str]  # keys, the schema of what stands under them, the default
PLACE = re.compile(r"(\S+) = (\S+?)(?:: (\S+))?")


def made(file: str, text: str) -> str:
    """The text of a file with its tables or comments as the fields have them.

    Args:
        file: its name, from the folder of the project.
        text: what it holds now.
    """
    return with_tables(text) if file == README else with_comments(text, COMMENTED[file])


def with_tables(text: str) -> str:
    """Lays the tables of the models that are named in comments into Markdown."""
    homes: dict[str, str] = {}  # name of a model, or of one that it extends -> where its table is
    for match in MARK.finditer(text):
        homes |= dict.fromkeys((kind.__name__ for kind in _model(match[1]).__mro__), _anchor(text[: match.start()]))

    def table(match: re.Match[str]) -> str:
        columns = match[2].split("; ")[1:]
        return text[match.start() : match.start(3)] + "".join(_table(match[1], columns, homes))

    return MARK.sub(table, text)


def _anchor(text: str) -> str:
    """The link to the last heading of a text."""
    heading = re.findall(r"^#+ (.*)$", text, re.MULTILINE)[-1].lower()
    return "#" + re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def _table(name: str, columns: list[str], homes: dict[str, str]) -> Iterator[str]:
    """The lines of a table: a key, what it may hold, values in files or the default, what it does."""
    heads = [column.split(" = ")[0] for column in columns]
    yield f"| key | may hold | {''.join(f'{head} | ' for head in heads)}what it does |\n"
    yield f"|{'---|' * (3 + len(heads))}\n"
    model, sources = _model(name), [None if column == "not set" else _source(column) for column in columns]
    schema = model.model_json_schema()
    for keys, part, default in _rows(model, schema, homes):
        values = [_value(*source, keys) if source else default for source in sources]
        text = _linked(part["description"])
        if default not in ("", "needed", "`[]`", "`{}`") and not any(values):
            text += f" If left out: {default}."
        cells = [f"`{'.'.join(keys)}`", _allowed(part, schema, homes), *values, text]
        yield "".join(f"| {cell.replace('|', chr(92) + '|')} " if cell else "| " for cell in cells) + "|\n"


def _model(name: str) -> type[BaseModel]:
    module, kind = name.split(".")
    return getattr(importlib.import_module("sami.records" if module == "records" else f"sami.settings.{module}"), kind)


def _rows(model: type[BaseModel], schema: dict, homes: dict[str, str]) -> Iterator[Row]:
    """Keys, schema and default of a model's own fields, then inherited ones; below each those of mappings in it.

    A mapping that has a table of its own is left to that.
    """
    for key, text in descriptions(model).items():
        part = {**schema["properties"][key], "description": text}
        default = model.model_fields[key].get_default(call_default_factory=True)
        if default is PydanticUndefined:
            yield (key,), part, "needed"
        else:
            yield (key,), part, _written(None if isinstance(default, BaseModel) else default)
        yield from _below((key,), part, schema, homes)


def _below(keys: tuple[str, ...], part: dict, root: dict, homes: dict[str, str]) -> Iterator[Row]:
    for option in alternatives(part, root):
        inners, more = [option], keys
        if "properties" not in option:  # a mapping of names, or a list
            named = next(iter(option.get("patternProperties", {}).values()), option.get("items", {}))
            inners = alternatives(named, root)
            more = (*keys, "NAME") if option.get("type") == "object" else keys
        for inner in inners:
            for key, entry in inner.get("properties", {}).items() if inner.get("title") not in homes else ():
                needed = "needed" if key in inner.get("required", []) else _written(entry.get("default"))
                yield (*more, key), entry, needed
                yield from _below((*more, key), entry, root, homes)


def _written(value: object) -> str:
    """A value as it stands in a YAML file; an empty cell for none."""
    if value is None:
        return ""
    style = '"' if isinstance(value, str) and "\n" in value else None
    text = yaml.safe_dump(value, default_flow_style=True, default_style=style, allow_unicode=True, width=10**6)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def _source(column: str) -> tuple[str, yaml.Node | None]:
    """The text of the file that a column names, and the mapping in it whose values the column has."""
    named = PLACE.fullmatch(column)
    if not named:
        raise ValueError(f"found the column {column!r}, expected 'not set' or 'NAME = FILE: KEYS'")
    _, file, place = named.groups()
    text = Path(file).read_text(encoding="utf-8")
    return text, _node(yaml.compose(text, yaml.SafeLoader), place.split(".") if place else ())


def _node(node: yaml.Node | None, keys: Iterable[str]) -> yaml.Node | None:
    """What stands under some keys; None where nothing does."""
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    return node


def _value(text: str, node: yaml.Node | None, keys: Iterable[str]) -> str:
    """The characters of a value; an empty cell where there is none, or a longer mapping or text."""
    found = _node(node, keys)
    written = text[found.start_mark.index : found.end_mark.index] if found else ""
    return f"`{written}`" if written and "\n" not in written and len(written) <= 60 else ""


def _allowed(part: dict, root: dict, homes: dict[str, str]) -> str:
    """What a key may hold."""
    return " or ".join(dict.fromkeys(_one(option, root, homes) for option in alternatives(part, root)))


def _one(option: dict, root: dict, homes: dict[str, str]) -> str:
    if choices := literals(option):
        return ", ".join(f"`{choice}`" for choice in choices)
    if "properties" in option:
        home = homes.get(option["title"])
        return f"[mapping]({home})" if home else "mapping"
    if option.get("type") == "array":
        return f"{list_size(option)}, each entry {_allowed(option['items'], root, homes)}"
    if option.get("type") == "object":
        values = next(iter(option.get("patternProperties", {}).values()), option.get("additionalProperties"))
        names = ", ".join(f"`{name}`" for name in literals(option.get("propertyNames", {}))) or "names"
        return f"mapping of {names} to {_allowed(values, root, homes)}" if isinstance(values, dict) else "mapping"
    return "a date" if option.get("format") == "date" else expectation(option, root)


def _linked(text: str) -> str:
    """A description with links to the pages of docs that it names."""
    return re.sub(r"docs/\w+\.md(#[\w-]+)?", lambda page: f"[{page[0].split('#')[0]}](../{page[0]})", text)


def with_comments(text: str, models: dict[Keys, str]) -> str:
    """Puts behind every key of a YAML file what it does; keys that are no settings, and longer texts, stay as they are.

    Raises:
        ValueError: a comment does not fit into its line.
    """
    lines = text.split("\n")
    schemas = {keys: _model(name).model_json_schema() for keys, name in models.items()}
    for block in _blocks(yaml.compose(text, yaml.SafeLoader), ()):
        described = []
        for keys, line, end in block:
            home = max((home for home in schemas if keys[: len(home)] == home and keys != home), key=len)
            part = at(schemas[home], keys[len(home) :])
            if "description" in part:
                described.append((line, lines[line][:end], _comment(part, schemas[home])))
        column = max((len(code) for _, code, _ in described if len(code.lstrip()) <= ALIGNED), default=0)
        for line, code, comment in described:
            lines[line] = f"{code:{0 if code.endswith(':') else column}}  # {comment}"
            if len(lines[line]) > WIDTH:
                raise ValueError(f"{lines[line]!r} is longer than {WIDTH} characters; shorten the first sentence")
    return "\n".join(lines)


def _blocks(node: yaml.Node, keys: Keys) -> Iterator[list[tuple[Keys, int, int]]]:
    """The mappings that have a line for each key: keys, line, and the column behind the value, or behind the colon."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return
    block = []
    for key, value in node.value:
        line, first, last = key.start_mark.line, value.start_mark.line, value.end_mark.line
        if last == line or first > line:  # else a text over several lines
            block.append(((*keys, key.value), line, (value if last == line else key).end_mark.column + (first > line)))
    yield block
    for key, value in node.value:
        yield from _blocks(value, (*keys, key.value))


def _comment(part: dict, root: dict) -> str:
    """What stands behind a key: the values among which it chooses, and the first sentence of its description."""
    options = [option for option in alternatives(part, root) if option.get("type") != "null"]
    choices = [choice for option in options for choice in literals(option)]
    choices = choices if len(choices) > 1 and all(map(literals, options)) else []
    return ": ".join(filter(None, [" | ".join(choices), note(part)]))


def main() -> None:
    for file in (README, *COMMENTED):
        text = Path(file).read_text(encoding="utf-8")
        Path(file).write_text(made(file, text), encoding="utf-8")


if __name__ == "__main__":
    main()
