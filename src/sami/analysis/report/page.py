"""The page of one experiment: what its folders of tables and figures hold, where that comes from, and its HTML.

The page needs nothing else: style, script and figures stand in it. Everything but its own style and script is data:
templates escape it, the script inserts it as text, and the policy in its head lets a browser run that one script, known
by its hash, and fetch nothing.
"""

import base64
import csv
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from sami.errors import UserError

SOURCES = Path(__file__).parent
FIGURES = {  # name: caption, in the order of the page
    "win_rate": "Win rate by iteration, a tie counting half: a panel for each comparator, a line for each judge. Above "
    "the dotted line a policy's responses follow their constitutions better than the comparator's. Grey: published.",
    "bound": "Left: lower bound on the mutual information between responses and constitutions; it cannot exceed log C. "
    "Right: accuracies on own responses.",
    "length": "Mean response length, apart for constitutions that want every principle and for the others.",
    "win_rate_by_principle": "Win rate of the last trained policy by principle, for constitutions that want it and "
    "that want its opposite, together and apart. Right: how many queries there were, and how many are needed for an "
    "interval of the wanted width.",
    "generalisation": "Win rates under the principles of training and under held-out ones, by the first judge.",
    "length_controlled": "Win rates as judged, and as predicted for responses of equal length, by the first judge.",
    "length_bias": "Preference for the last trained policy by how much longer its response is than the comparator's.",
    "adherence": "How far responses follow each principle, or its opposite, when their constitution asks for it "
    "(programmatic checks).",
    "training": "The course of training. Each iteration is one line.",
    "degeneration": "Left: share of responses that repeat themselves. Right: how likely responses are to the policy "
    "and to the base model.",
}
TABLES = {  # the same of tables; the summary stands at the top of the page
    "win_rates": "Each policy against each comparator by each judge, and what tells how far to trust it.",
    "comparisons": "Differences in win rate between policies on the same pairs.",
    "win_rates_by_principle": "The last trained policy under constitutions that hold each principle or its opposite.",
    "generalisation": "Win rates under learned and under held-out principles; difference: learned minus held-out.",
    "win_rates_by_length": "Win rates on the shortest, middle and longest third of the queries.",
    "agreement": "How far judges agree.",
    "length_bias": "How far verdicts follow the length of responses.",
    "information": "Bound on the mutual information, losses and accuracies.",
    "adherence": "Degree of following each principle, by programmatic checks.",
    "lengths": "Length of responses in tokens and words.",
    "degeneration": "Repetition, and log-probabilities per token.",
    "training": "Every optimiser step.",
    "samples": "Responses of all policies to a few queries.",
}
BROAD = 1000  # pixels: a figure over two columns of print is wider
LONG = 60  # characters: a longer cell is text to read and may wrap
_PNG = b"\x89PNG\r\n\x1a\n"
# "<" could begin "</script>"; the others are line ends to some readers, invisible, or no characters on their own.
_UNSAFE = re.compile("[<\u2028\u2029\x7f-\x9f\ud800-\udfff]")


class Table(NamedTuple):
    """A table to show: cells as text, and which columns hold nothing but numbers."""

    name: str
    caption: str
    header: list[str]
    rows: list[list[str]]
    numeric: list[bool]


class Figure(NamedTuple):
    """A PNG file in base64, its size in pixels."""

    name: str
    caption: str
    content: str
    width: int
    height: int

    @property
    def broad(self) -> bool:
        return self.width > BROAD


def files(folder: Path, suffix: str, known: Iterable[str], stage: str) -> list[Path]:
    """The files of a folder that end with `suffix`: known names in their order, then the others by name.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder, expected one as the stage {stage} writes it. Run that stage first.")
    order = {name: position for position, name in enumerate(known)}
    return sorted(folder.glob(f"*{suffix}"), key=lambda path: (order.get(path.stem, len(order)), path.name))


def table(name: str, cells: list[list[str]]) -> Table:
    """A table of a header and rows of text."""
    header, *rows = cells or [[]]
    numeric = [all(_is_number(row[i]) for row in rows if row[i] not in ("", "-")) for i in range(len(header))]
    return Table(name, TABLES.get(name, ""), header, rows, numeric)


def _is_number(text: str) -> bool:
    try:
        float(text.removesuffix("%"))
    except ValueError:
        return False
    return True


def read_tables(folder: Path) -> list[Table]:
    """All CSV files of a folder but the summary. Raises UserError where one is no table."""
    tables = []
    for path in files(folder, ".csv", TABLES, "tabulate"):
        if path.stem == "summary":
            continue
        with path.open(encoding="utf-8", newline="") as file:
            cells = list(csv.reader(file))
        for number, row in enumerate(cells, 1):
            if len(row) != len(cells[0]):
                raise UserError(
                    f"{path}, record {number}: found {len(row)} cells, expected the {len(cells[0])} of the header. "
                    "Make the tables again."
                )
        tables.append(table(path.stem, cells))
    return tables


def read_figures(folder: Path) -> list[Figure]:
    """All PNG files of a folder. Raises UserError where one is no PNG file."""
    figures = []
    for path in files(folder, ".png", FIGURES, "plot_figures"):
        content = path.read_bytes()
        if not content.startswith(_PNG) or len(content) < 24:
            raise UserError(f"{path}: this is no PNG file. Draw the figures again.")
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))  # of the header chunk
        figures.append(Figure(path.stem, FIGURES.get(path.stem, ""), base64.b64encode(content).decode(), width, height))
    return figures


# --- where it comes from ----------------------------------------------------------------------------------------------


def read_provenance(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Provenance records: files, or the folders of outputs that hold one. Raises UserError where there is none."""
    found = []
    for path in map(Path, paths):
        file = path / "provenance.json" if path.is_dir() else path
        try:
            found.append(json.loads(file.read_text(encoding="utf-8")))
        except (FileNotFoundError, json.JSONDecodeError) as error:
            raise UserError(f"{file}: {error}; expected a provenance record. Make that output again.") from None
    return found


def origin(found: list[dict[str, Any]]) -> dict[str, str]:
    """What is worth a line on the page: seed, code, versions. Records that disagree are all named."""
    pairs = [("seed", record.get("arguments", {}).get("seed")) for record in found]
    pairs += [("commit", record.get("git_commit")) for record in found]
    pairs += [("python", record.get("python")) for record in found]
    pairs += [pair for record in found for pair in record.get("packages", {}).items()]
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if value is not None and str(value) not in values.setdefault(name, []):
            values[name].append(str(value))
    return {name: ", ".join(texts) for name, texts in values.items()}


def settings_of(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(stage, settings as text) of each provenance record that has settings."""
    plain = [
        (record.get("stage", "unknown stage"), {k: v for k, v in record.get("arguments", {}).items() if v is not None})
        for record in found
    ]
    return [(stage, json.dumps(arguments, indent=2, ensure_ascii=False)) for stage, arguments in plain if arguments]


# --- the page ---------------------------------------------------------------------------------------------------------


def embedded(value: Any) -> str:
    """JSON that can stand inside a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def source_hash(text: str) -> str:
    """The name of an inline style or script in a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def render(**content: Any) -> str:
    """The page. Everything in `content` is data; `browser` is what `sami.analysis.report.browser.data` returns."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SOURCES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((SOURCES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return environment.get_template("page.html.j2").render(
        style=style,
        script=script,
        style_hash=source_hash(style),
        script_hash=source_hash(script),
        data=embedded(content.pop("browser")),
        long=LONG,
        **content,
    )
