"""Figures of relevance against win rate: of the policies of one experiment, and the frontier of several experiments.

A policy should stand to the upper right: it follows its constitution, and still answers the query.
"""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sami.analysis.figures.parts import empty_figure, error_bars, legend, of_first_judge, policy_label, subplots
from sami.analysis.figures.style import DOTTED, FIRST, GREY, SECOND, SEQUENCE, TWO_COLUMNS, Mark, styled
from sami.analysis.tables.catalogue import ends, span
from sami.records import BASE

PANELS = {  # column: its axis
    "margin": "Margin (nats per token)",
    "identified": "Responses identified",
}
WANTED = {"facecolor": "#E3F1EA", "edgecolor": "none", "zorder": 0.2}  # the corner


@styled
def relevance(relevance: pd.DataFrame, win_rates: pd.DataFrame, title: str = "") -> Figure:
    """Margin and identification against win rate, one point a policy; a line joins the iterations.

    Under the queries alone, by the first judge against the first comparator.
    """
    alone = relevance[relevance["context"] == "alone"]
    if alone.empty:
        return empty_figure(TWO_COLUMNS, 1.2, title, "Relevance was not measured.")
    judged = of_first_judge(win_rates)
    shown = alone.merge(judged[["policy", *span("win_rate")]], on="policy", how="left")
    figure, panels = subplots(TWO_COLUMNS, 2.7, 2, title)
    for axes, name in zip(panels, PANELS, strict=True):
        _course(axes, _iterations(shown), name, FIRST)
        _points(axes, shown[shown["iteration"].isna()], name, SECOND)
        for row in shown.to_dict("records"):
            place = _place(row["win_rate"]), row[name]
            label = "base" if row["policy"] == BASE else row["policy"].removeprefix("iteration-")
            axes.annotate(label, place, (4, 4), textcoords="offset points", fontsize=6.5, color=GREY)
        _frame(axes, shown, name, judged["comparator"].iloc[0])
    return figure


@styled
def frontier(frontier: pd.DataFrame, title: str = "") -> Figure:
    """Margin and identification against win rate of several experiments, a line for each; its last point is filled.

    Models that were not trained are left out: they are in the figure of each experiment.
    """
    shown = _iterations(frontier[frontier["margin"].notna()])
    if shown.empty:
        return empty_figure(TWO_COLUMNS, 1.2, title, "Relevance was not measured.")
    figure, panels = subplots(TWO_COLUMNS, 2.7, 2, title)
    for axes, name in zip(panels, PANELS, strict=True):
        for number, (experiment, of_one) in enumerate(shown.groupby("experiment", sort=False)):
            colour, _, line = SEQUENCE[number % len(SEQUENCE)]
            # Where there are more experiments than colours, those of one colour have different markers.
            mark = colour, SEQUENCE[(number + number // len(SEQUENCE)) % len(SEQUENCE)][1], line
            _course(axes, of_one[:-1], name, mark, then=of_one[-1:], label=experiment)
        _frame(axes, shown, name, shown["comparator"].iloc[0])
    legend(figure, panels)
    return figure


def _iterations(table: pd.DataFrame) -> pd.DataFrame:
    """The base model and the trained policies."""
    return table[table["iteration"].notna()]


def _place(win_rate: float) -> float:
    """Where a policy stands: the comparator has no win rate, and would win half of the time against itself."""
    return 0.5 if math.isnan(win_rate) else win_rate


def _course(
    axes: Axes, shown: pd.DataFrame, name: str, mark: Mark, then: pd.DataFrame | None = None, label: str | None = None
) -> None:
    """A line through the points of policies, in the order of their rows.

    Args:
        shown: a row a policy, with win rates and `name`, and their intervals.
        then: further rows; if given, their points alone are filled.
        label: of the points that are filled.
    """
    colour, _, line = mark
    whole = shown if then is None else pd.concat([shown, then])
    axes.plot(whole["win_rate"].map(_place), whole[name], color=colour, linestyle=line, linewidth=0.9)
    _points(axes, shown, name, mark, hollow=then is not None, label=label if then is None else None)
    if then is not None:
        _points(axes, then, name, mark, label=label)


def _points(
    axes: Axes, shown: pd.DataFrame, name: str, mark: Mark, hollow: bool = False, label: str | None = None
) -> None:
    """Points with intervals both ways; the comparator's is hollow, and without an interval of its win rate."""
    colour, marker, _ = mark
    itself = shown["win_rate"].isna()
    for rows, empty in ((shown[~itself], hollow), (shown[itself], True)):
        if len(rows):
            axes.errorbar(
                rows["win_rate"].map(_place), rows[name], xerr=error_bars(rows, "win_rate"),
                yerr=error_bars(rows, name), fmt=marker, color=colour, elinewidth=0.6, label=None if empty else label,
                markerfacecolor="white" if empty else colour,
            )  # fmt: skip


def _frame(axes: Axes, shown: pd.DataFrame, name: str, comparator: str) -> None:
    """Axes, limits that hold all intervals, and the corner where one wants to be.

    That is right of one half, and not below the base model; where several experiments have several base models, not
    below the highest.
    """
    rates, values = [0.4, 0.6, *_drawn(shown, "win_rate")], _drawn(shown, name)
    pad = 0.1 * max(max(values) - min(values), 0.02)
    axes.set_xlim(max(0.0, min(rates) - 0.03), min(1.0, max(rates) + 0.03))
    axes.set_ylim(min(values) - pad, 1.0 + pad / 2 if name == "identified" else max(values) + 2 * pad)
    base = shown[shown["policy"] == BASE][name].max()
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
    if not np.isnan(base):
        axes.axhline(base, color=GREY, linewidth=0.8, linestyle=DOTTED)
        axes.axvspan(0.5, 1.0, ymin=(base - axes.get_ylim()[0]) / np.ptp(axes.get_ylim()), **WANTED)
        axes.annotate(
            "wins, and still answers", (1, 1), (-3, -3), xycoords="axes fraction", textcoords="offset points",
            ha="right", va="top", fontsize=6.5, color=GREY,
        )  # fmt: skip
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(f"Win rate against {policy_label(comparator)}")
    if name == "identified":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel(PANELS[name])


def _drawn(shown: pd.DataFrame, name: str) -> list[float]:
    """All numbers that are drawn of a column: estimates and ends of intervals."""
    numbers = shown[[name, *ends(name)]].to_numpy(dtype=float)
    return numbers[np.isfinite(numbers)].tolist()
