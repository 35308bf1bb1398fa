"""Draws the figures of an experiment from its tables.

Reads   a folder of tables as `tabulate` writes it
Writes  a folder of figures, each as PDF for print and PNG for the screen

    python -m sami.stages.plot_figures --tables results/quickstart/tables --title quickstart --output figures
"""

import logging
from pathlib import Path

import pandas as pd

from sami import plotting
from sami.errors import UserError
from sami.stage import Stage

log = logging.getLogger(__name__)

FIGURES = {  # name of the figure: the function that draws it, the tables it shows
    "win_rate": (plotting.win_rate, ["win_rates"]),
    "win_rate_by_principle": (plotting.win_rate_by_principle, ["win_rates_by_principle"]),
    "length_bias": (plotting.length_bias, ["length_bias", "win_rates"]),
    "bound": (plotting.bound, ["information"]),
    "adherence": (plotting.adherence, ["adherence"]),
    "length": (plotting.length, ["lengths"]),
    "training": (plotting.training, ["training"]),
    "degeneration": (plotting.degeneration, ["degeneration"]),
}


def read_table(folder: str, name: str) -> pd.DataFrame:
    """One table. Raises UserError where it is missing."""
    path = Path(folder) / f"{name}.csv"
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""])  # a principle may be called "none"
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a folder of tables as the stage tabulate writes it.") from None


def main(arguments) -> None:
    arguments.output.mkdir(parents=True)
    for figure in arguments.figures:
        draw, tables = FIGURES[figure]
        shown = [read_table(arguments.tables, name) for name in tables]
        plotting.save(draw(*shown, arguments.title), arguments.output, figure)
    log.info("%d figures", len(arguments.figures))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--tables", "folder of tables")
    stage.setting("--figures", "which to draw (default: all)", nargs="+", choices=FIGURES, default=[*FIGURES],
                  required=False)  # fmt: skip
    stage.setting("--title", "title of the figures: the experiment's name")
    stage.output("--output", "folder of figures to write")
    stage.run(main)
