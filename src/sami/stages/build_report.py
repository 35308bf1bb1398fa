"""Puts an experiment on one page: provenance, summary, figures, tables, and a browser of all responses.

Reads   folders of tables and figures, constitutions (Constitution), held-out queries (Query), the responses (Example)
        of each policy, any number of files of verdicts (Verdict), and provenance records
Writes  one HTML file that needs nothing else: no server, no network. Without a script there is all but the browser

    python -m sami.stages.build_report --help
"""

import logging

from sami import records
from sami.analysis import summary
from sami.analysis.report import browser, page
from sami.errors import UserError
from sami.settings.evaluation import Evaluation
from sami.stage import Stage

log = logging.getLogger(__name__)


def responses_of(arguments) -> dict[str, list[records.Example]]:
    """Policy -> examples. Raises UserError where names and files do not go together."""
    names, files = arguments.policies, arguments.responses
    if len(names) != len(files) or len(set(names)) < len(names):
        raise UserError(
            f"--policies: found {', '.join(names)}, expected one name of its own for each of the {len(files)} files "
            "of --responses."
        )
    return {name: records.read(records.Example, file) for name, file in zip(names, files, strict=True)}


def main(arguments) -> None:
    found = page.read_provenance(arguments.provenance or [arguments.tables])
    responses = responses_of(arguments)
    data = browser.data(
        responses,
        dict(zip(arguments.policies, map(str, arguments.responses), strict=True)),
        {str(file): records.read(records.Verdict, file) for file in arguments.verdicts},
        {c.id: c for c in records.read(records.Constitution, *arguments.constitutions)},
        {query.id: query for query in records.read(records.Query, arguments.queries)},
        arguments.evaluation.degeneration,
        arguments.evaluation.judged,
    )
    text = page.render(
        title=arguments.title,
        origin=page.origin(found),
        settings=page.settings_of(found),
        confidence=arguments.evaluation.confidence,
        summary=page.table("summary", summary.cells(str(arguments.tables / "summary.csv"))),
        tables=page.read_tables(arguments.tables),
        figures=page.read_figures(arguments.figures),
        browser=data,
    )
    content = text.encode("utf-8", "replace")  # a provenance record can hold half a surrogate pair
    arguments.output.write_bytes(content)
    log.info("%d cases, %d policies, %.2f MB", len(data["cases"]), len(responses), len(content) / 1e6)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--tables", "folder of tables")
    stage.input("--figures", "folder of figures")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.input("--queries", "held-out queries, one record a line")
    stage.setting("--policies", "names of the policies; iteration-0 is the base model", nargs="+")
    stage.input("--responses", "examples of each policy, in the same order", nargs="+")
    stage.input("--verdicts", "verdicts, a file for each policy, comparator and judge", nargs="*", default=[])
    stage.structured("--evaluation", Evaluation, "how policies are compared")
    stage.input("--provenance", "provenance records to name (default: the tables')", nargs="+", required=False)
    stage.setting("--title", "title of the page: the experiment's name")
    stage.output("--output", "HTML file to write")
    stage.run(main)
