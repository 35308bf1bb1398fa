"""The base of all settings, and the kinds of values that several sections share.

A key is described in the text behind its field. The first sentence is also the key's comment in the default files, the
whole text its row in config/README.md (`sami.settings.describe`); a message about a missing key quotes it.
"""

import ast
import functools
import inspect
import textwrap
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler


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
