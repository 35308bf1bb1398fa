"""Puts an experiment on one page: provenance, tables, figures, and the responses of all policies side by side.

Reads   folders of tables and figures, constitutions (Constitution), held-out queries (Query), the responses (Example)
        of iterations 0..T, the verdicts (Verdict) on iterations 1..T, and provenance records
Writes  one HTML file that needs nothing else: no network, no script

    python -m sami.stages.build_report --help
"""

import base64
import csv
import html
import json
import logging
from pathlib import Path
from typing import Any

import jinja2

from sami import records, summary
from sami.errors import UserError
from sami.stage import Stage

log = logging.getLogger(__name__)

MAX_RESPONSES = 1_000_000  # bytes of responses in the page: together with the figures it stays below 2 MB
MARKUP = 250  # bytes of markup around one text, about
FIGURES = ["win_rate", "bound", "adherence", "length", "training", "degeneration"]  # in the order of the page
DETAILS = ["win_rates", "information", "adherence", "lengths", "degeneration"]
RESULTS = {"first": "win", "second": "loss", "tie": "tie", "invalid": "invalid"}


def read_table(path: Path) -> list[list[str]]:
    """Header and rows of a CSV file. Raises UserError where it is missing."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a folder of tables as the stage tabulate writes it.") from None


def read_figures(folder: str) -> dict[str, str]:
    """Name -> PNG file in base64. Raises UserError where one is missing."""
    figures = {}
    for name in FIGURES:
        path = Path(folder) / f"{name}.png"
        if not path.exists():
            raise UserError(f"{path}: no such file; expected a folder of figures as the stage plot_figures writes it.")
        figures[name] = base64.b64encode(path.read_bytes()).decode()
    return figures


def read_provenance(paths: list[str]) -> list[dict[str, Any]]:
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


def confidence(found: list[dict[str, Any]]) -> str:
    """Confidence of the intervals ("95% "), empty where no record tells."""
    for record in found:
        value = (record.get("arguments", {}).get("evaluation") or {}).get("confidence")
        if value is not None:
            return f"{100 * value:g}% "
    return ""


def comparisons(
    examples: list[list[records.Example]],
    verdicts: list[list[records.Verdict]],
    constitutions: dict[str, records.Constitution],
    queries: dict[str, records.Query],
) -> list[dict[str, Any]]:
    """The responses of all policies, grouped by query and constitution, with the verdict on each.

    Args:
        examples: of iterations 0..T.
        verdicts: of iterations 1..T.

    Returns:
        One entry a query and set, in the order of the base model's examples: {"query", "groups": [{"constitution",
        "responses": [{"iteration", "texts", "tokens", "result"}]}]}.

    Raises:
        UserError: a query or constitution is not known.
    """
    results = [{}, *({(v.query_id, v.set_id, v.constitution_id): RESULTS[v.choice] for v in of} for of in verdicts)]
    by_key = [{example.key: example for example in of} for of in examples]
    entries = []
    for key in by_key[0]:
        groups = []
        for i, constitution_id in enumerate(by_key[0][key].constitution_ids):
            if key[0] not in queries or constitution_id not in constitutions:
                raise UserError(
                    f"query '{key[0]}' or constitution '{constitution_id}' of the responses is not in the files of "
                    "--queries and --constitutions, which are of another run. Make the responses again."
                )
            responses = []
            for t, (of, result) in enumerate(zip(by_key, results, strict=True)):
                chosen = [response for response in of[key].responses if response.constitution == i] if key in of else []
                responses.append({
                    "iteration": t,
                    "texts": [response.text for response in chosen],
                    "tokens": [response.tokens for response in chosen],
                    "result": result.get((*key, constitution_id)),
                })  # fmt: skip
            groups.append({"constitution": constitutions[constitution_id], "responses": responses})
        entries.append({"query": queries[key[0]], "groups": groups})
    return entries


def within_limit(entries: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """The first entries whose responses take at most `limit` bytes on the page, one at least."""
    kept, total = [], 0
    for entry in entries:
        texts = [entry["query"].text]
        for group in entry["groups"]:
            texts += [statement.text for statement in group["constitution"].statements]
            texts += [text for response in group["responses"] for text in response["texts"]]
        total += sum(len(html.escape(text).encode()) + MARKUP for text in texts)
        if kept and total > limit:
            break
        kept.append(entry)
    return kept


def render(**content: Any) -> str:
    """The page. Everything in `content` is data and escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(content)


def results_of(arguments) -> dict[str, Any]:
    """Tables, figures and where they come from, as the template names them."""
    tables = Path(arguments.tables)
    found = read_provenance(arguments.provenance or [arguments.tables])
    return {
        "origin": origin(found),
        "settings": settings_of(found),
        "confidence": confidence(found),
        "summary": summary.cells(str(tables / "summary.csv")),
        "details": {name: read_table(tables / f"{name}.csv") for name in DETAILS},
        "figures": read_figures(arguments.figures),
    }


def main(arguments) -> None:
    entries = comparisons(
        [records.read(records.Example, file) for file in arguments.responses],
        [records.read(records.Verdict, file) for file in arguments.verdicts],
        {c.id: c for c in records.read(records.Constitution, arguments.constitutions)},
        {query.id: query for query in records.read(records.Query, arguments.queries)},
    )
    shown = within_limit(entries, MAX_RESPONSES)
    page = render(title=arguments.title, entries=shown, total=len(entries), **results_of(arguments))
    arguments.output.write_text(page, encoding="utf-8")
    log.info("%d of %d queries shown, %.2f MB", len(shown), len(entries), len(page.encode()) / 1e6)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--tables", "folder of tables")
    stage.input("--figures", "folder of figures")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.input("--queries", "held-out queries, one record a line")
    stage.input("--responses", "examples of iteration 0, 1, ..., T, in order", nargs="+")
    stage.input("--verdicts", "verdicts on iteration 1, ..., T, in order", nargs="+")
    stage.input("--provenance", "provenance records to name (default: the tables')", nargs="+", required=False)
    stage.setting("--title", "title of the page: the experiment's name")
    stage.output("--output", "HTML file to write")
    stage.run(main)
