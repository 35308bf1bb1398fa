"""A plan as tables: for people in Markdown, aligned so that a terminal shows it as well, and for programs as CSV."""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sami.workflow.plan.outcome import Outcome
from sami.workflow.plan.rows import Row

GIB = 2**30


def markdown(rows: Sequence[Row], outcomes: Sequence[Outcome | None], notes: Sequence[str]) -> str:
    """The plan for people: the rows of each experiment, totals, memory by part, and what was assumed."""
    parts = []
    pairs = list(zip(rows, outcomes, strict=True))
    some = any(outcomes)
    for experiment in dict.fromkeys(row.experiment for row in rows):
        chosen = [(row, outcome) for row, outcome in pairs if row.experiment == experiment]
        parts.append(f"## {experiment or 'Models, shared by experiments'}")
        total = _total(chosen) if experiment else []
        parts.append(_aligned([COLUMNS, *([cell(row, o) for cell in CELLS] for row, o in chosen), *total]))
    if len({row.experiment for row in rows} - {""}) > 1:
        parts += ["## All experiments", _aligned([COLUMNS, *_total(pairs)])]
    parts += ["## Hours", _aligned(_hours(pairs))]
    needs = _memory(rows)
    if needs:
        parts += ["## Memory, GiB of a GPU (or of the machine, where there is none)", _aligned(needs)]
    scratch = max((row.scratch or 0 for row in rows), default=0)
    free = [f"While a model is trained, its checkpoints take up to {_gib(scratch)} GiB more disk."] if scratch else []
    legend = ["In brackets: what it was."] if some else []
    parts.append("\n".join(f"- {line}" for line in [*legend, *free, *notes]))
    return "\n\n".join(filter(None, parts)) + "\n"


def write_csv(rows: Sequence[Row], outcomes: Sequence[Outcome | None], path: Path) -> None:
    """One line a row: what is expected, then, under `real_`, what it was. Seconds, bytes, GPU (or machine) hours."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        expected = ("jobs", *SUMS)
        told = ("hardware", "gpus", "memory", "available", "fits", "scratch")
        writer.writerow(
            ["experiment", "stage", "of", *expected, *told, "real_memory", *(f"real_{n}" for n in expected)]
        )
        for row, outcome in zip(rows, outcomes, strict=True):
            need = (row.hardware, row.gpus, row.memory and row.memory.total, row.available, row.fits, row.scratch)
            real = [outcome and outcome.memory, *(_real(row, outcome, name) for name in expected)]
            values = [row.jobs, *(_expected(row, name) for name in SUMS), *need, *real]
            writer.writerow([row.experiment, row.stage, row.of, *map(_plain, values)])


SUMS = ("prompt_tokens", "new_tokens", "flop", "seconds", "hours", "disk", "requests", "dollars")


def _expected(row: Row, name: str) -> float | None:
    """A column of all jobs of a row together."""
    if name == "seconds":
        return None if row.seconds is None else row.seconds * row.jobs
    return getattr(row, name)


def _real(row: Row, outcome: Outcome | None, name: str) -> float | None:
    if outcome is None:
        return None
    if name == "hours":
        return outcome.seconds * row.held / 3600
    return getattr(outcome, name, None)


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


# --- cells ------------------------------------------------------------------------------------------------------------


def _number(value: float | None) -> str:
    """A number in three digits with a suffix; "?" where it is not known, nothing for zero."""
    if value is None:
        return "?"
    if value == 0:
        return ""
    power = min(6, max(0, int(math.log10(abs(value)) // 3)))
    scaled = value / 1000**power
    digits = 0 if scaled >= 100 or (power == 0 and float(value).is_integer()) else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f}{['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes = round(seconds / 60)
    return f"{round(seconds)} s" if seconds < 120 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _gib(size: float | None) -> str:
    if size is None:
        return "?"
    return "" if size == 0 else f"{size / GIB:.1f}" if size >= 0.1 * GIB else "<0.1"


def _dollars(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}" if value else ""


def _hour(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}" if value else ""


SHOWN: dict[str, Callable[[float | None], str]] = {
    "jobs": str,
    "hours": _hour,
    "prompt_tokens": _number,
    "new_tokens": _number,
    "flop": _number,
    "disk": _gib,
    "requests": _number,
    "dollars": _dollars,
}


def _both(name: str) -> Callable[[Row, Outcome | None], str]:
    """A cell of what is expected and, in brackets, what it was."""

    def cell(row: Row, outcome: Outcome | None) -> str:
        shown, real = SHOWN[name](_expected(row, name)), _real(row, outcome, name)
        return f"{shown} ({SHOWN[name](real)})".strip() if real is not None else shown

    return cell


def _a_job(row: Row, outcome: Outcome | None) -> str:
    real = f" ({_duration(outcome.seconds / outcome.jobs)})" if outcome else ""
    return (("" if row.stage == "light" else _duration(row.seconds)) + real).strip()


def _memory_cell(row: Row, outcome: Outcome | None) -> str:
    real = f" ({_gib(outcome.memory)})" if outcome and outcome.memory and row.memory else ""
    if row.memory is None:
        return "" if row.available is None else f"?{real} of {_gib(row.available)}"
    said = "" if row.fits else " DOES NOT FIT"
    return f"{_gib(row.memory.total)}{real} of {_gib(row.available)}{said}"


COLUMNS = ["stage", "of", "jobs", "a job", "hours", "on", "tokens in", "new", "FLOP", "memory", "disk", "requests", "$"]
CELLS: list[Callable[[Row, Outcome | None], str]] = [
    lambda row, _: row.stage,
    lambda row, _: " vs ".join(filter(None, row.comparison)) + f", {row.of}" if row.comparison else row.of,
    _both("jobs"),
    _a_job,
    _both("hours"),
    lambda row, _: f"{row.gpus} {row.hardware}" if row.gpus else row.hardware if row.held else "",
    *map(_both, ("prompt_tokens", "new_tokens", "flop")),
    _memory_cell,
    *map(_both, ("disk", "requests", "dollars")),
]


def _total(pairs: Sequence[tuple[Row, Outcome | None]]) -> list[list[str]]:
    """Sums of the expected columns and of what it was, and over what has run the ratio of both."""

    def line(title: str, show: Callable[[str], str]) -> list[str]:
        cells = {"jobs": "jobs", "hours": "hours", "tokens in": "prompt_tokens", "new": "new_tokens", "FLOP": "flop"}
        cells |= {"disk": "disk", "requests": "requests", "$": "dollars"}
        return [title, *(show(cells[column]) if column in cells else "" for column in COLUMNS[1:])]

    def expected(name: str) -> str:
        values = [_expected(row, name) for row, _ in pairs]
        shown = SHOWN[name](sum(value for value in values if value is not None))
        return " + ".join(filter(None, [shown, "?" if None in values else ""]))

    def real(name: str) -> str:
        values = [value for row, outcome in pairs if (value := _real(row, outcome, name)) is not None]
        return SHOWN[name](sum(values)) if values else ""

    def ratio(name: str) -> str:
        both = [(_expected(row, name), _real(row, outcome, name)) for row, outcome in pairs]
        both = [(one, other) for one, other in both if one and other is not None]
        return f"{sum(other for _, other in both) / sum(one for one, _ in both):.2f}" if both else ""

    total = [line("expected", expected)]
    return total + [line("what it was", real), line("of the expected", ratio)] * any(outcome for _, outcome in pairs)


def _hours(pairs: Iterable[tuple[Row, Outcome | None]]) -> list[list[str]]:
    """Hours and their price by hardware."""
    table = [["hardware", "hours", "what it was", "$ an hour", "$"]]
    chosen: dict[str, list[tuple[Row, Outcome | None]]] = {}
    for row, outcome in pairs:
        chosen.setdefault(row.hardware, []).append((row, outcome))
    for name, members in chosen.items():
        expected = [row.hours for row, _ in members]
        known = sum(hours for hours in expected if hours is not None)
        real = [value for row, outcome in members if (value := _real(row, outcome, "hours")) is not None]
        price = members[0][0].machine.dollars_per_hour
        table.append([
            name,
            SHOWN["hours"](known) + (" + ?" if None in expected else ""),
            SHOWN["hours"](sum(real)),
            "" if price is None else f"{price:.2f}",
            "" if price is None else f"{known * price:.2f}" + (" + ?" if None in expected else ""),
        ])  # fmt: skip
    return table


def _memory(rows: Iterable[Row]) -> list[list[str]]:
    """The parts of what the largest job of each stage needs."""
    largest: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row.experiment, row.stage
        if row.memory and (key not in largest or row.memory.total > largest[key].memory.total):
            largest[key] = row
    names = list(dict.fromkeys(name for row in largest.values() for name in row.memory.parts))
    table = [["experiment", "stage", *names, "needed", "there is", "fits"]]
    for row in largest.values():
        sizes = [row.memory.parts.get(name) for name in names]
        cells = ["" if size is None else f"{size / GIB:.2f}" for size in (*sizes, row.memory.total, row.available)]
        table.append([row.experiment, row.stage, *cells, "yes" if row.fits else "no"])
    return table if largest else []


def _aligned(table: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns stand below one another."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in table]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
