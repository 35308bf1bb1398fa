"""Tables as files: CSV with everything, and Markdown and LaTeX of those that people print.

Cells of CSV files are the same bytes for the same numbers on every machine. A printed table has fewer columns and two
or three digits, and an estimate stands with its interval in one cell: 0.70 [0.64, 0.76].
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sami.errors import UserError

P_VALUES = ("p", "p_holm")
FORMATS = {"learning_rate": ".3e", "kl": ".3e", "cost": ".6f", **dict.fromkeys(P_VALUES, ".3g")}  # others: 4 decimals
STEMS = {"win_rate": "win", "lc_win_rate": "lc", "bound_nats": "bound"}  # of an interval, where it is not the name
PAIR = ("policy", "comparator", "judge")
PRINTED = {  # table: its columns in print; of an interval, or a range, the name
    "summary": ("policy", "bound_nats", "row_accuracy", "column_accuracy", "win_rate", "lc_win_rate", "response_tokens",
                "degenerate_share", "n_queries"),
    "win_rates": (*PAIR, "win_rate", "lc_win_rate", "published", "mean_words", "comparator_mean_words",
                  "p_holm", "n_queries"),
    "win_rates_by_principle": (*PAIR, "principles", "principle", "polarity", "win_rate", "p_holm", "n_queries",
                               "queries_needed"),
    "generalisation": (*PAIR, "principles", "win_rate", "published", "difference", "n_queries"),
    "win_rates_by_length": (*PAIR, "third", "words", "win_rate", "n_queries"),
    "comparisons": ("policy", "other_policy", "comparator", "judge", "difference", "p_holm", "n_queries"),
    "agreement": (*PAIR, "other_judge", "agreement", "kappa", "n_verdicts"),
    "information": ("policy", "principles", "responses", "bound_nats", "max_bound", "row_accuracy", "column_accuracy",
                    "difference", "n_queries"),
    "adherence": ("policy", "principles", "principle", "polarity", "degree", "n_responses"),
    "lengths": ("policy", "polarity", "mean_tokens", "mean_words", "n_responses"),
    "degeneration": ("policy", "degenerate_share", "repeated_share", "base_log_probability", "own_log_probability",
                     "n_responses"),
    "comparison": ("experiment", *PAIR, "win_rate", "lc_win_rate", "published", "bound_nats", "mean_words",
                   "degenerate_share", "difference", "p_holm", "n_queries"),
}  # fmt: skip
HEADINGS = {
    "bound_nats": "bound (nats)",
    "max_bound": "log C",
    "lc_win_rate": "at equal length",
    "n_queries": "queries",
    "n_verdicts": "verdicts",
    "n_responses": "responses",
    "p_holm": "p (Holm)",
    "base_log_probability": "log-probability, base",
    "own_log_probability": "log-probability, own",
}
MISSING = "-"
NOT_IN_OLD_FONTS = {ord("<"): r"\textless{}", ord(">"): r"\textgreater{}", ord("|"): r"\textbar{}"}


def write(frames: dict[str, pd.DataFrame], folder: Path) -> None:
    """Writes each table as {name}.csv, and those of `PRINTED` as {name}.md and {name}.tex."""
    folder.mkdir(parents=True)
    for name, frame in frames.items():
        text = pd.DataFrame({column: [cell(value, column) for value in frame[column]] for column in frame})
        text.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        if name in PRINTED:
            shown = printed(frame, PRINTED[name])
            (folder / f"{name}.md").write_text(markdown(shown), encoding="utf-8")
            (folder / f"{name}.tex").write_text(latex(shown), encoding="utf-8")


def read(folder: str | Path, name: str) -> pd.DataFrame:
    """One table. Raises UserError where it is missing."""
    path = Path(folder) / f"{name}.csv"
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""])  # a principle may be called "none"
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a folder of tables as the workflow writes it.") from None


def cell(value: Any, column: str) -> Any:
    """Text of a cell of a CSV file: the same bytes for the same number on every machine; empty for a missing number."""
    if pd.isna(value):
        return ""
    if isinstance(value, str):
        # A cell with a carriage return alone would not be quoted, and whoever reads the file would see a new row.
        return value.replace("\r\n", "\n").replace("\r", "\n")
    if not isinstance(value, float | np.floating):
        return value
    return _unsigned_zero(format(value, FORMATS.get(column, ".4f")))


def _unsigned_zero(number: str) -> str:
    return number.removeprefix("-") if float(number) == 0 else number  # no "-0.0000"


# --- tables in print --------------------------------------------------------------------------------------------------


def printed(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The table as text for people, under headings in words; its numeric columns are marked in `attrs["numeric"]`.

    Args:
        frame: a table.
        names: its columns to show. {name}_low and {name}_high (or by the stem of `STEMS`) join the cell of `name` as
            its interval; where there is no column of that name, they are a range.
    """
    shown, numeric = {}, []
    for name in names:
        ends = [f"{STEMS.get(name, name)}_{end}" for end in ("low", "high")]
        parts = frame[[*([name] if name in frame else []), *(ends if ends[0] in frame else [])]]
        heading = HEADINGS.get(name, name.replace("_", " "))
        shown[heading] = [_joined(row, name in frame) for row in _texts(parts, name).itertuples(index=False)]
        numeric += [heading] if all(pd.api.types.is_numeric_dtype(kind) for kind in parts.dtypes) else []
    table = pd.DataFrame(shown, dtype=str)
    table.attrs["numeric"] = numeric
    return table


def _texts(parts: pd.DataFrame, name: str) -> pd.DataFrame:
    """Numbers of one column with one number of digits, by the largest of them."""
    numbers = parts.select_dtypes("number").to_numpy(dtype=float, na_value=np.nan)
    digits = ".2f" if np.abs(numbers[np.isfinite(numbers)]).max(initial=0) < 10 else ".1f"
    digits = ".2g" if name in P_VALUES else digits

    def text(value: Any) -> str:
        if pd.isna(value):
            return MISSING
        return _unsigned_zero(format(value, digits)) if isinstance(value, float | np.floating) else str(value)

    return parts.map(text)


def _joined(cells: Sequence[str], estimate: bool) -> str:
    """An estimate, an estimate with its interval, or a range."""
    first, *ends = cells
    if not estimate:
        return first if first == ends[0] else f"{first} to {ends[0]}"
    return first if not ends or ends[0] == MISSING else f"{first} [{', '.join(ends)}]"


def markdown(table: pd.DataFrame) -> str:
    """A table of `printed` in GitHub's Markdown."""
    escaped = table.rename(columns=_markdown_text).map(_markdown_text)
    sides = ["right" if column in table.attrs["numeric"] else "left" for column in table]
    return escaped.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=sides) + "\n"


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_<|])", r"\\\1", " ".join(text.split()))


def latex(table: pd.DataFrame) -> str:
    r"""A table of `printed` as a LaTeX tabular, with the rules of the package booktabs."""
    sides = "".join("r" if column in table.attrs["numeric"] else "l" for column in table)
    text = table.map(lambda cell: " ".join(cell.split())).to_latex(index=False, escape=True, column_format=sides)
    text = text.translate(NOT_IN_OLD_FONTS)
    text = re.sub(r"(?<=[ \[])-(?=\d)", "$-$", text)  # a minus, where LaTeX would set a hyphen
    text = re.sub(r"^\[", "{}[", text, flags=re.MULTILINE)  # else an option of the line before
    return "% \\usepackage{booktabs}\n" + text
