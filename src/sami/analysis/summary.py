"""The short table of an experiment, for a terminal.

    python -m sami.analysis.summary results/quickstart/tables/summary.csv

It starts in milliseconds: the standard library only. Shares are in percent, in whole ones but for small shares:
another machine or seed changes more than that. [low, high] is the interval of the estimate before it, and "-" marks
what does not exist (a comparator's win rate against itself); columns of scores and of relevance are left out where
there are none. A model that was not trained here stands under its name. Behind the number of queries stands where in
the task they come from: eval or test. A table that is wider than `WIDTH` is folded.
"""

import csv
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial

from sami.analysis.tables.catalogue import MEASURED, ends
from sami.analysis.text import MISSING, interval, number
from sami.errors import UserError

Row = dict[str, str]
WIDTH = 120  # characters


def _value(row: Row, name: str, scale: float) -> float:
    return float(row[name]) * scale if row[name] else math.nan


def _number(row: Row, name: str, digits: int, scale: float = 1, unit: str = "") -> str:
    text = number(_value(row, name, scale), f".{digits}f")
    return text if text == MISSING else text + unit


_share = partial(_number, scale=100, unit="%")


def _interval(row: Row, name: str, digits: int, scale: float = 1, unit: str = "") -> str:
    return interval(*(_value(row, column, scale) for column in (name, *ends(name))), f".{digits}f", unit)


def _policy(row: Row, name: str) -> str:
    return "0 (base)" if row[name] == "0" else row[name] or row["policy"]


Columns = dict[str, tuple[str, Callable[[Row, str], str]]]


def _fate(row: Row) -> str:
    """What becomes of a screened pair, and what could be done about it."""
    more = {"says the same": f" as {row['like']}", "not heard": f": reword {row['reword']}"}
    return row["fate"] + more.get(row["fate"], "")


COLUMNS: Columns = {  # heading: the column of the table, and its text
    "iteration": ("iteration", _policy),
    "bound (nats)": ("bound_nats", partial(_interval, digits=2)),
    "row accuracy": ("row_accuracy", partial(_share, digits=0)),
    "column accuracy": ("column_accuracy", partial(_share, digits=0)),
    "win rate": ("win_rate", partial(_interval, digits=0, scale=100, unit="%")),
    "if identified": ("relevant_win_rate", partial(_interval, digits=0, scale=100, unit="%")),
    "identified": ("identified", partial(_interval, digits=0, scale=100, unit="%")),
    "margin": ("margin", partial(_interval, digits=2)),
    "log-probability": ("log_probability", partial(_interval, digits=2)),
    "echo": ("echo", partial(_interval, digits=1, scale=100, unit="%")),
    "tokens": ("response_tokens", partial(_number, digits=0)),
    "degenerate": ("degenerate_share", partial(_share, digits=1)),
    "queries": ("n_queries", lambda row, name: f"{row[name]} {row['split']}"),
    "seeds": ("n_seeds", lambda row, name: row[name]),
}
SCREENED: Columns = {  # the same of the table of screened pairs
    "pair": ("pair", lambda row, name: row[name]),
    "bound (nats)": ("bound_nats", partial(_interval, digits=2)),
    "principle recognised": ("principle_recognised", partial(_share, digits=0)),
    "opposite recognised": ("opposite_recognised", partial(_share, digits=0)),
    "queries needed": ("queries_needed", lambda row, name: row[name] or MISSING),
    "fate": ("fate", lambda row, name: _fate(row)),
    "principle": ("principle", lambda row, name: row[name]),
    "opposite": ("opposite", lambda row, name: row[name]),
}
OF_JOINED = ("n_seeds",)  # which the table of one run does not have


def cells(path: str, shown: Columns = COLUMNS) -> list[list[str]]:
    """Header and rows of the short table.

    Args:
        path: a summary.csv as `sami.stages.tabulate` writes it, or a joined.csv of `sami.stages.join_seeds`; with
            `SCREENED` a candidates.csv of `sami.stages.tabulate_screening`.
        shown: the columns.

    Raises:
        UserError: the file is missing or is not such a table.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or ()
        columns = {
            heading: [text(row, name) for row in rows]
            for heading, (name, text) in shown.items()
            if name in names or name not in OF_JOINED
            if name not in MEASURED or any(row[name] for row in rows)
        }
        return [list(columns), *map(list, zip(*columns.values(), strict=True))]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected the summary.csv of a finished experiment.") from None
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a summary table ({error!r}); expected an experiment's summary.csv.") from None


def format(path: str, shown: Columns = COLUMNS) -> str:
    """The short table as aligned text, without a newline at its end.

    Columns that would make it wider than `WIDTH` stand below the others, behind the names of the rows again.
    """
    names, *columns = zip(*cells(path, shown), strict=True)
    blocks = [[names]]
    for column in columns:
        if len(blocks[-1]) > 1 and _width([*blocks[-1], column]) > WIDTH:
            blocks.append([names])
        blocks[-1].append(column)
    return "\n\n".join(map(_aligned, blocks))


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) for column in columns) + 2 * (len(columns) - 1)


def _aligned(columns: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m sami.analysis.summary results/{experiment}/tables/summary.csv ...")
    try:
        print("\n\n".join(format(path) for path in sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
