"""The base of all settings, and the kinds of values that several sections share."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


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
