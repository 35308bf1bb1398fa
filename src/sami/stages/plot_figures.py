"""Draws the figures of an experiment from its tables.

Reads   a folder of tables as `tabulate` writes it
Writes  a folder of figures, each as PDF for print and PNG for the screen

    python -m sami.stages.plot_figures --tables results/quickstart/tables --title quickstart --output figures
"""

import logging

from sami.analysis import plotting, table_files
from sami.stage import Stage

log = logging.getLogger(__name__)

FIGURES = {  # name of the figure: the function that draws it, the tables it shows
    "win_rate": (plotting.win_rate, ["win_rates"]),
    "win_rate_by_principle": (plotting.win_rate_by_principle, ["win_rates_by_principle"]),
    "generalisation": (plotting.generalisation, ["generalisation"]),
    "length_controlled": (plotting.length_controlled, ["win_rates"]),
    "length_bias": (plotting.length_bias, ["length_bias"]),
    "bound": (plotting.bound, ["information"]),
    "adherence": (plotting.adherence, ["adherence"]),
    "length": (plotting.length, ["lengths"]),
    "training": (plotting.training, ["training"]),
    "degeneration": (plotting.degeneration, ["degeneration"]),
    "comparison": (plotting.comparison, ["comparison"]),
}


def main(arguments) -> None:
    arguments.output.mkdir(parents=True)
    names = arguments.figures or [
        name
        for name, (_, tables) in FIGURES.items()
        if all((arguments.tables / f"{table}.csv").exists() for table in tables)
    ]
    for figure in names:
        draw, tables = FIGURES[figure]
        shown = [table_files.read(arguments.tables, name) for name in tables]
        plotting.save(draw(*shown, arguments.title), arguments.output, figure)
    log.info("%d figures", len(names))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--tables", "folder of tables")
    stage.setting("--figures", "which to draw (default: all that the tables allow)", nargs="+", choices=FIGURES,
                  required=False)  # fmt: skip
    stage.setting("--title", "title of the figures: the experiment's name")
    stage.output("--output", "folder of figures to write")
    stage.run(main)
