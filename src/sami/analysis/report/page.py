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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from sami.analysis import summary
from sami.analysis.figures.catalogue import FIGURES
from sami.analysis.tables.catalogue import TABLES
from sami.errors import UserError
from sami.settings.evaluation import Evaluation

SOURCES = Path(__file__).parent
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


def files(folders: Iterable[Path], suffix: str, known: Iterable[str], stage: str) -> list[Path]:
    """The files of some folders that end with `suffix`: known names in their order, then the others by name.

    Raises:
        UserError: there is no such folder.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder, expected one as the stage {stage} writes it. Run that stage first."
            )
        found += folder.glob(f"*{suffix}")
    order = {name: position for position, name in enumerate(known)}
    return sorted(found, key=lambda path: (order.get(path.stem, len(order)), path.name))


def caption_of(catalogue: Mapping[str, Any], name: str) -> str:
    """The caption of a table or figure; none of those that are in no catalogue."""
    return catalogue[name].caption if name in catalogue else ""


def table(name: str, cells: list[list[str]]) -> Table:
    """A table of a header and rows of text."""
    header, *rows = cells or [[]]
    numeric = [all(_is_number(row[i]) for row in rows if row[i] not in ("", "-")) for i in range(len(header))]
    return Table(name, caption_of(TABLES, name), header, rows, numeric)


def _is_number(text: str) -> bool:
    try:
        float(text.removesuffix("%"))
    except ValueError:
        return False
    return True


def read_tables(folders: Iterable[Path]) -> list[Table]:
    """All CSV files of some folders but the summary. Raises UserError where one is no table."""
    tables = []
    for path in files(folders, ".csv", TABLES, "tabulate"):
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


def read_figures(folders: Iterable[Path]) -> list[Figure]:
    """All PNG files of some folders. Raises UserError where one is no PNG file."""
    figures = []
    for path in files(folders, ".png", FIGURES, "plot_figures"):
        content = path.read_bytes()
        if not content.startswith(_PNG) or len(content) < 24:
            raise UserError(f"{path}: this is no PNG file. Draw the figures again.")
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))  # of the header chunk
        picture = base64.b64encode(content).decode()
        figures.append(Figure(path.stem, caption_of(FIGURES, path.stem), picture, width, height))
    return figures


def read_provenance(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Provenance records: files, or the folders of outputs that hold one; of a copy, that of its original.

    Raises:
        UserError: there is none.
    """
    found = []
    for path in map(Path, paths):
        file = path / "provenance.json" if path.is_dir() else path
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError) as error:
            raise UserError(f"{file}: {error}; expected a provenance record. Make that output again.") from None
        found.append(record.get("original", record))
    return found


def origin(found: list[dict[str, Any]]) -> dict[str, str]:
    """Seed, code and versions, a line on the page each. Records that disagree are all named."""
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


def embedded(value: Any) -> str:
    """JSON that can stand inside a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def source_hash(text: str) -> str:
    """The name of an inline style or script in a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def build(
    title: str,
    data: dict[str, Any],
    tables: Sequence[Path],
    figures: Sequence[Path],
    provenance: list[dict[str, Any]],
    evaluation: Evaluation,
) -> bytes:
    """The page of an experiment, in UTF-8.

    Args:
        title: the experiment's name.
        data: what `sami.analysis.report.browser.data` returns.
        tables, figures: the folders; the first of tables has the summary.
        provenance: the records to name.
        evaluation: how policies are compared.

    Raises:
        UserError: a table or figure is none, or the summary is missing.
    """
    text = render(
        title=title,
        origin=origin(provenance),
        settings=settings_of(provenance),
        confidence=evaluation.confidence,
        summary=table("summary", summary.cells(str(tables[0] / "summary.csv"))),
        tables=read_tables(tables),
        figures=read_figures(figures),
        browser=data,
    )
    return text.encode("utf-8", "replace")  # a provenance record can hold half a surrogate pair


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
