"""Draws the figures of an experiment from its tables.

Reads   a folder of tables as `tabulate` writes it
Writes  a folder of figures, each as PDF for print and PNG for the screen

    python -m sami.stages.plot_figures --tables results/quickstart/tables --title quickstart --output figures
"""

import logging

from sami.analysis.figures.catalogue import FIGURES
from sami.analysis.figures.draw import draw_all
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    drawn = draw_all(arguments.figures, arguments.tables, arguments.title, arguments.output)
    log.info("%d figures", len(drawn))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--tables", "folder of tables")
    stage.setting("--figures", "which to draw (default: all that the tables allow)", nargs="+", choices=FIGURES,
                  required=False)  # fmt: skip
    stage.setting("--title", "title of the figures: the experiment's name")
    stage.output("--output", "folder of figures to write")
    stage.run(main)
