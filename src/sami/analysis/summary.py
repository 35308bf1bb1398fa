"""The short table of an experiment, for a terminal.

    python -m sami.analysis.summary results/quickstart/tables/summary.csv

It starts in milliseconds: the standard library only. Shares are in percent, in whole ones but for small shares: another
machine or seed changes more than that. [low, high] is the interval of the estimate before it, and "-" marks what does
not exist (a comparator's win rate against itself). A model that was not trained here stands under its name.
"""

import csv
import sys
from collections.abc import Callable

from sami.errors import UserError


def _number(name: str, digits: int) -> Callable[[dict[str, str]], str]:
    return lambda row: f"{float(row[name]):.{digits}f}" if row[name] else "-"


def _share(name: str, digits: int) -> Callable[[dict[str, str]], str]:
    return lambda row: f"{float(row[name]):.{digits}%}" if row[name] else "-"


def _interval(name: str, stem: str, scale: int, digits: int, unit: str) -> Callable[[dict[str, str]], str]:
    def text(row: dict[str, str]) -> str:
        if not row[name]:
            return "-"
        estimate = f"{float(row[name]) * scale:.{digits}f}{unit}"
        low, high = row[f"{stem}_low"], row[f"{stem}_high"]
        if not low:  # a single query has no interval
            return estimate
        return f"{estimate} [{float(low) * scale:.{digits}f}, {float(high) * scale:.{digits}f}]"

    return text


COLUMNS: dict[str, Callable[[dict[str, str]], str]] = {
    "iteration": lambda row: "0 (base)" if row["iteration"] == "0" else row["iteration"] or row["policy"],
    "bound (nats)": _interval("bound_nats", "bound", 1, 2, ""),
    "row accuracy": _share("row_accuracy", 0),
    "column accuracy": _share("column_accuracy", 0),
    "win rate": _interval("win_rate", "win", 100, 0, "%"),
    "tokens": _number("response_tokens", 0),
    "degenerate": _share("degenerate_share", 1),
    "queries": lambda row: row["n_queries"],
}


def cells(path: str) -> list[list[str]]:
    """Header and rows of the short table.

    Args:
        path: a summary.csv as `sami.stages.tabulate` writes it.

    Raises:
        UserError: the file is missing or is not such a table.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [list(COLUMNS), *([text(row) for text in COLUMNS.values()] for row in rows)]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected the summary.csv of a finished experiment.") from None
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a summary table ({error!r}); expected an experiment's summary.csv.") from None


def format(path: str) -> str:
    """The short table as aligned text, without a newline at its end."""
    table = cells(path)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m sami.analysis.summary results/{experiment}/tables/summary.csv ...")
    try:
        print("\n\n".join(format(path) for path in sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
