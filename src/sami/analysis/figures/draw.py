"""Figures of the catalogue, drawn from a folder of tables and saved."""

from collections.abc import Iterable
from pathlib import Path

from sami.analysis.figures import (
    methods,
    policies,
    relevance,
    screening,
    seeds,
    steering,
    training,
    verdicts,
    win_rates,
)
from sami.analysis.figures.catalogue import FIGURES, Figure
from sami.analysis.figures.style import save
from sami.analysis.tables import files

MODULES = {
    module.__name__.split(".")[-1]: module
    for module in (methods, policies, relevance, screening, seeds, steering, training, verdicts, win_rates)
}


def possible(tables: Path) -> list[str]:
    """The figures that a folder of tables allows."""
    return [
        name for name, figure in FIGURES.items() if all((tables / f"{table}.csv").exists() for table in figure.tables)
    ]


def draw(figure: Figure, tables: Path, title: str, folder: Path) -> None:
    """Draws a figure and saves it as {name}.pdf and {name}.png. Raises UserError where a table is missing."""
    module, _, name = figure.function.partition(".")
    shown = [files.read(tables, table) for table in figure.tables]
    save(getattr(MODULES[module], name)(*shown, title), folder, figure.name)


def draw_all(names: Iterable[str] | None, tables: Path, title: str, folder: Path) -> list[str]:
    """Draws the named figures (default: all that the tables allow) into a new folder; returns their names."""
    drawn = list(names or possible(tables))
    folder.mkdir(parents=True)
    for name in drawn:
        draw(FIGURES[name], tables, title, folder)
    return drawn
