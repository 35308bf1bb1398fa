"""The base of all settings, and the kinds of values that several sections share.

A key is described in the text behind its field. The first sentence is also the key's comment in the default files, the
whole text its row in config/README.md (`sami.settings.describe`); a message about a missing key quotes it.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler

from sami.errors import nearest


def _number(value: Any) -> Any:
    """YAML reads 5e-6 (without a point) as text; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_number)]

Share = Annotated[Number, Field(ge=0, le=1)]

Count = Annotated[int, Field(ge=1)]

Text = Annotated[str, Field(min_length=1)]  # not empty, for an empty one would stand everywhere

NumberFormat = Literal["float32", "bfloat16", "float16"]

IDENTIFIER = r"^[a-z0-9][a-z0-9_-]*$"

EXPERIMENT_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # also the name of a folder

ExperimentName = Annotated[str, Field(pattern=EXPERIMENT_NAME)]

PolicyName = Annotated[str, Field(pattern=IDENTIFIER)]

RESPONSE_FILE = r"\.jsonl?$"

WEB_ADDRESS = r"^https?://[^\s/]+/\S*$"

Source = Annotated[str, Field(pattern=WEB_ADDRESS)]


def named_choice(kinds: Mapping[str, type[BaseModel]], what: str) -> BeforeValidator:
    """Check of a mapping whose `name` says which of several kinds it is; the name alone stands for {name: NAME}.

    Args:
        kinds: name -> model of that kind.
        what: of which there are several, for messages: "method", "objective".
    """

    def checked(value: Any) -> Any:
        value = {"name": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return value
        name = value["name"]
        if name not in kinds:
            near = nearest(name, list(kinds))
            meant = f" Did you mean '{near}'?" if near else ""
            raise ValueError(f"found the {what} '{name}', expected one of: {', '.join(kinds)}.{meant}".rstrip("."))
        own = kinds[name].model_fields
        for key in value.keys() - own:
            others = [other for other, kind in kinds.items() if key in kind.model_fields]
            if others:
                keys = ", ".join(own)
                raise ValueError(
                    f"found the key '{key}', which belongs to the {what}{'s' if others[1:] else ''} "
                    f"{' and '.join(others)}, but 'name' is {name}, "
                    f"which has the keys {keys}; delete the key, or change 'name'"
                )
        return value

    return BeforeValidator(checked)


class Settings(BaseModel):
    """Base of all settings: unknown keys and silent type conversions are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema with descriptions, which are read when somebody asks for it.

        Pydantic's own `use_attribute_docstrings` reads them on import, which would add a tenth of a second to the
        start of every stage.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for key, text in descriptions(cls).items():
            properties[key]["description"] = text
        return schema


@functools.cache
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The texts behind the fields of a model, by key: fields of its own before inherited ones."""
    found: dict[str, str] = {}
    for kind in model.__mro__:
        if kind is not BaseModel and issubclass(kind, BaseModel):
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
            for statement, text in pairwise(getattr(definition, "body", [])):
                match statement, text:
                    case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(words))):
                        found.setdefault(key, " ".join(words.split()))
    return found
