"""Figures of methods side by side: what they win for what they cost, and whether what wins still answers."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Bbox

from sami.analysis.figures.parts import empty_figure, error_bars, policy_label, subplots
from sami.analysis.figures.style import DOTTED, GREY, SEQUENCE, TWO_COLUMNS, styled
from sami.analysis.tables.catalogue import ends

CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # of a point: right or left of it, above or below
TITLES = ("Told what is wanted", "Asked the query alone")  # steerability, internalising


@styled
def quality(steerability: pd.DataFrame, internalising: pd.DataFrame, title: str = "") -> Figure:
    """Win rate against budget, a point an arm; what was not trained stands at zero, and is hollow."""

    def draw(axes: Axes, shown: pd.DataFrame) -> None:
        _points(axes, shown.assign(thousands=shown["forward_tokens"] / 1000), "thousands", "win_rate")
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("Budget (thousand forward tokens)")
        axes.set_ylabel(f"Win rate against {policy_label(shown['comparator'].iloc[0])}")
        axes.set_xlim(left=-0.04 * axes.get_xlim()[1])

    return _panels(draw, steerability, internalising, "win_rate", title)


@styled
def quality_and_relevance(steerability: pd.DataFrame, internalising: pd.DataFrame, title: str = "") -> Figure:
    """Margin under the query alone against win rate, a point an arm; dotted lines are the base model's."""

    def draw(axes: Axes, shown: pd.DataFrame) -> None:
        placed = shown.assign(win_rate=shown["win_rate"].fillna(0.5))
        _points(axes, placed, "win_rate", "margin")
        base = shown[shown["arm"] == "base"]["margin"]
        axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
        if len(base):
            axes.axhline(base.iloc[0], color=GREY, linewidth=0.8, linestyle=DOTTED)
        axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}" if share <= 1 else "")
        axes.set_xlabel(f"Win rate against {policy_label(shown['comparator'].iloc[0])}")
        axes.set_ylabel("Margin (nats per token)")

    return _panels(draw, steerability, internalising, "margin", title)


def _panels(
    draw: Callable[[Axes, pd.DataFrame], None],
    steerability: pd.DataFrame,
    internalising: pd.DataFrame,
    needed: str,
    title: str,
) -> Figure:
    """A panel for each question that has arms with the column `needed`."""
    tables = [_with_marks(table, [steerability, internalising]) for table in (steerability, internalising)]
    shown = (table[table[needed].notna()] for table in tables)
    asked = [(name, table) for name, table in zip(TITLES, shown, strict=True) if len(table)]
    if not asked:
        return empty_figure(TWO_COLUMNS, 1.2, title, "It was not measured.")
    figure, panels = subplots(TWO_COLUMNS, 2.9, len(asked), title)
    for axes, (name, table) in zip(panels, asked, strict=True):
        draw(axes, table)
        axes.set_title(name)
    return figure


def _with_marks(table: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The table with the columns `colour` and `marker`: one of its own for each method, the same in all panels.

    Arms that were not trained go by their names.
    """
    every = dict.fromkeys(name for some in tables for name in some["method"].fillna(some["arm"]))
    marks = {
        # Where there are more than colours, those of one colour have different markers.
        name: (SEQUENCE[n % len(SEQUENCE)][0], SEQUENCE[(n + n // len(SEQUENCE)) % len(SEQUENCE)][1])
        for n, name in enumerate(every)
    }
    found = [marks[name] for name in table["method"].fillna(table["arm"])]
    return table.assign(colour=[colour for colour, _ in found], marker=[marker for _, marker in found])


def _points(axes: Axes, shown: pd.DataFrame, across: str, up: str) -> None:
    """A point an arm, with its name and the intervals that the table has; arms that were not trained are hollow."""
    for row in shown.index:
        arm = shown.loc[[row]]
        colour, marker = arm[["colour", "marker"]].iloc[0]
        bars = {
            side: error_bars(arm, name) for side, name in (("xerr", across), ("yerr", up)) if ends(name)[0] in shown
        }
        face = "white" if arm["method"].isna().iloc[0] else colour
        axes.errorbar(arm[across], arm[up], fmt=marker, color=colour, elinewidth=0.6, markerfacecolor=face, **bars)
    axes.set_xlim(right=axes.get_xlim()[1] + 0.12 * np.ptp(axes.get_xlim()))  # room for names
    _name(axes, shown, across, up)


def _name(axes: Axes, shown: pd.DataFrame, across: str, up: str) -> None:
    """Writes the name of each arm into the corner of its point where it hides no other name and no point."""
    axes.figure.draw_without_rendering()  # only then is it known where things lie
    places = shown[[across, up]].to_numpy()
    taken = [Bbox.from_extents(*(point - 5), *(point + 5)) for point in axes.transData.transform(places)]
    for name, place in zip(shown["arm"], places, strict=True):
        text = axes.annotate(name, place, (0, 0), textcoords="offset points", fontsize=6.5, color=GREY)
        best = min(CORNERS, key=lambda corner, text=text: _put(text, corner).count_overlaps(taken))
        taken.append(_put(text, best))


def _put(text: Annotation, corner: tuple[int, int]) -> Bbox:
    """Puts a name into a corner of its point, and returns where it stands then."""
    right, above = corner
    text.set(ha="left" if right > 0 else "right", va="bottom" if above > 0 else "top")
    text.set_position((4 * right, 4 * above))
    return text.get_window_extent()
