"""Numbers and intervals as people read them, in tables, figures and on the terminal. The standard library only."""

import math

MISSING = "-"


def number(value: float, form: str) -> str:
    """A number in a format of Python's, without "-0.0"; `MISSING` for NaN."""
    return MISSING if math.isnan(value) else unsigned_zero(format(value, form))


def unsigned_zero(text: str) -> str:
    """The text of a number, without the sign of a zero."""
    return text.removeprefix("-") if float(text) == 0 else text


def interval(estimate: float, low: float, high: float, form: str, unit: str = "") -> str:
    """An estimate with its interval, as 0.70 [0.64, 0.76]; alone where there is none; `MISSING` for NaN."""
    if math.isnan(estimate) or math.isnan(low):
        return number(estimate, form) + unit * (not math.isnan(estimate))
    return f"{number(estimate, form)}{unit} [{number(low, form)}, {number(high, form)}]"
