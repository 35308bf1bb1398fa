"""Tables as files: CSV with everything, and Markdown and LaTeX of those that people print.

Cells of CSV files are the same bytes for the same numbers on every machine. A printed table has fewer columns and two
or three digits, and an estimate stands with its interval in one cell: 0.70 [0.64, 0.76].
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sami.analysis.tables.catalogue import FORMATS, HEADINGS, MEASURED, P_VALUES, TABLES, ends
from sami.analysis.text import MISSING, interval, number, unsigned_zero
from sami.errors import UserError

NOT_IN_OLD_FONTS = {ord("<"): r"\textless{}", ord(">"): r"\textgreater{}", ord("|"): r"\textbar{}"}


def write(frames: dict[str, pd.DataFrame], folder: Path) -> None:
    """Writes tables of the catalogue: each as {name}.csv, and those for people as {name}.md and {name}.tex."""
    folder.mkdir(parents=True)
    for name, frame in frames.items():
        text = pd.DataFrame({column: [cell(value, column) for value in frame[column]] for column in frame})
        text.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        if TABLES[name].printed:
            shown = printed(frame, [column for column in TABLES[name].printed if not _unmeasured(frame, column)])
            (folder / f"{name}.md").write_text(markdown(shown), encoding="utf-8")
            (folder / f"{name}.tex").write_text(latex(shown), encoding="utf-8")


def _unmeasured(frame: pd.DataFrame, column: str) -> bool:
    """True for a column that only scores, relevance or checks fill, where there are none."""
    return column in MEASURED and len(frame) > 0 and frame[column].isna().all()


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
    return unsigned_zero(format(value, FORMATS.get(column, ".4f")))


def printed(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The table as text for people, under headings in words; its numeric columns are marked in `attrs["numeric"]`.

    Args:
        frame: a table.
        names: its columns to show. The interval of `name`, in the columns `ends(name)`, joins its cell; where there is
            no column of that name, they are a range.
    """
    shown, numeric = {}, []
    for name in names:
        parts = frame[[column for column in (name, *ends(name)) if column in frame]]
        heading = HEADINGS.get(name, name.replace("_", " "))
        shown[heading] = _texts(parts, name)
        numeric += [heading] if all(pd.api.types.is_numeric_dtype(kind) for kind in parts.dtypes) else []
    table = pd.DataFrame(shown, dtype=str)
    table.attrs["numeric"] = numeric
    return table


def _texts(parts: pd.DataFrame, name: str) -> list[str]:
    """Cells of a printed column; its numbers have one number of digits, by the largest of them.

    Args:
        parts: one column, an estimate with its interval, or the two ends of a range.
        name: of the column.
    """
    numbers = parts.select_dtypes("number").to_numpy(dtype=float, na_value=np.nan)
    digits = ".2f" if np.abs(numbers[np.isfinite(numbers)]).max(initial=0) < 10 else ".1f"
    digits = ".2g" if name in P_VALUES else digits
    if parts.shape[1] == 3:
        return [interval(*row, digits) for row in parts.itertuples(index=False)]
    texts = parts.map(lambda value: _text(value, digits)).itertuples(index=False)
    return [" to ".join(dict.fromkeys(row)) for row in texts]  # a range whose ends are alike is one number


def _text(value: Any, digits: str) -> str:
    if pd.isna(value):
        return MISSING
    return number(value, digits) if isinstance(value, float | np.floating) else str(value)


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
