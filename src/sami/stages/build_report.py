"""Puts an experiment on one page: provenance, summary, figures, tables, and a browser of all responses.

Reads   folders of tables and figures, constitutions (Constitution), held-out queries (Query), the responses (Example)
        of each policy, any number of files of verdicts (Verdict) and of relevance (Relevance), and provenance records
Writes  one HTML file that needs nothing else: no server, no network. Without a script there is all but the browser

    python -m sami.stages.build_report --help
"""

import logging

from sami.analysis.report import browser, page
from sami.analysis.tables import run
from sami.settings.evaluation import Evaluation
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    loaded = run.load(
        arguments.queries,
        arguments.constitutions,
        run.by_policy(arguments.policies, arguments.responses),
        arguments.verdicts,
        arguments.evaluation,
        relevance=arguments.relevance,
    )
    data = browser.data(loaded)
    origin = page.read_provenance(arguments.provenance or arguments.tables[:1])
    content = page.build(arguments.title, data, arguments.tables, arguments.figures, origin, loaded.evaluation)
    arguments.output.write_bytes(content)
    log.info("%d cases, %d policies, %.2f MB", len(data["cases"]), len(loaded.policies), len(content) / 1e6)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--tables", "folders of tables, the one with the summary first", nargs="+")
    stage.input("--figures", "folders of figures", nargs="+")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.input("--queries", "held-out queries, one record a line")
    stage.setting("--policies", "names of the policies; iteration-0 is the base model", nargs="+")
    stage.input("--responses", "examples of each policy, in the same order", nargs="+")
    stage.input("--verdicts", "verdicts, a file for each policy, comparator and judge", nargs="*", default=[])
    stage.input("--relevance", "relevance of the policies it was measured of", nargs="*", required=False, default=[])
    stage.structured("--evaluation", Evaluation, "how policies are compared")
    stage.input("--provenance", "provenance records to name (default: the tables')", nargs="+", required=False)
    stage.setting("--title", "title of the page: the experiment's name")
    stage.output("--output", "HTML file to write")
    stage.run(main)
