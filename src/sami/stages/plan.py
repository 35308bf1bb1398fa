"""Shows what experiments will take, and beside it what they took: jobs, hours, tokens, memory, disk, requests, dollars.

Reads   the configuration files, and whatever the experiments have left so far
Writes  the plan as a page (Markdown, which it also prints) and as a table (CSV)

Where jobs need more memory than the hardware that an experiment names, it prints the plan and fails.

    python -m sami.stages.plan --files config/config.yaml --experiments quickstart --page plan.md --table plan.csv
"""

from sami.stage import Stage
from sami.workflow import configuration
from sami.workflow.plan import memory_check, table
from sami.workflow.plan.outcome import outcomes
from sami.workflow.plan.rows import plan


def main(arguments) -> None:
    settings = configuration.load(arguments.files, arguments.command_line)
    rows, notes = plan(settings, arguments.experiments)
    found = outcomes(rows, settings)
    page = table.markdown(rows, found, notes)
    print(f"\n{page}", flush=True)
    for experiment in arguments.experiments:
        memory_check.check(settings, experiment)
    arguments.page.write_text(page, encoding="utf-8")
    table.write_csv(rows, found, arguments.table)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--files", "configuration files; later ones override", nargs="+")
    stage.setting(
        "--command-line", "settings that override the files, key=value", nargs="*", default=[], required=False
    )
    stage.setting("--experiments", "names of experiments", nargs="+")
    stage.output("--page", "Markdown file to write")
    stage.output("--table", "CSV file to write")
    stage.run(main)
