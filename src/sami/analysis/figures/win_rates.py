"""Figures of win rates against comparators: by iteration, at equal length, by kind of principles, of experiments."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sami.analysis.figures.parts import (
    empty_figure,
    error_bars,
    legend,
    plot_by_policy,
    policy_axis,
    policy_label,
    positions,
    row_lines,
    share_limits,
    subplots,
)
from sami.analysis.figures.style import (
    DOTTED,
    FIRST,
    GREY,
    ONE_COLUMN,
    SECOND,
    SEQUENCE,
    TWO_COLUMNS,
    styled,
)
from sami.analysis.tables.catalogue import ends, span
from sami.analysis.tables.rows import HELD_OUT, TRAINING
from sami.analysis.text import interval
from sami.records import iteration_of

PUBLISHED = {"facecolor": "#E6E6E6", "edgecolor": "#808080", "linewidth": 1.0, "zorder": 0.5, "label": "published"}
InPanel = Callable[[Axes, dict[str, float], pd.DataFrame], None]  # draws rows of a table where policies stand


@styled
def win_rate(win_rates: pd.DataFrame, title: str = "") -> Figure:
    """Win rate by iteration, a panel for each comparator and a line for each judge; other models stand to the right."""
    judges = list(dict.fromkeys(win_rates["judge"]))

    def lines(axes: Axes, places: dict[str, float], shown: pd.DataFrame) -> None:
        for number, judge in enumerate(judges):
            aside = 0.07 * (number - (len(judges) - 1) / 2)  # so that bars do not hide each other
            by_judge = shown[shown["judge"] == judge]
            mark = SEQUENCE[number % len(SEQUENCE)]
            plot_by_policy(axes, places, by_judge, "win_rate", mark, aside=aside, label=judge)

    return _against_comparators(win_rates, title, span("win_rate"), lines)


@styled
def length_controlled(win_rates: pd.DataFrame, title: str = "") -> Figure:
    """Win rates as judged and at equal length, a panel for each comparator, by the first judge."""

    def lines(axes: Axes, places: dict[str, float], shown: pd.DataFrame) -> None:
        plot_by_policy(axes, places, shown, "win_rate", FIRST, aside=-0.05, label="as judged")
        plot_by_policy(axes, places, shown, "lc_win_rate", SECOND, aside=0.05, hollow=True, label="at equal length")

    by_first = win_rates[win_rates["judge"] == win_rates["judge"].iloc[0]]
    return _against_comparators(by_first, title, span("win_rate", "lc_win_rate"), lines)


@styled
def generalisation(generalisation: pd.DataFrame, title: str = "") -> Figure:
    """Win rates under the principles of training and under held-out ones, by the first judge; a panel a comparator."""
    if generalisation.empty:
        return empty_figure(ONE_COLUMN, 1.2, title, "No principles are held out.")
    kinds = ((TRAINING, FIRST, -0.05, False), (HELD_OUT, SECOND, 0.05, True))

    def lines(axes: Axes, places: dict[str, float], shown: pd.DataFrame) -> None:
        for kind, mark, aside, hollow in kinds:
            of_kind = shown[shown["principles"] == kind]
            plot_by_policy(axes, places, of_kind, "win_rate", mark, aside=aside, hollow=hollow, label=kind)

    def published(axes: Axes, places: dict[str, float], shown: pd.DataFrame) -> None:
        for kind, (*_, line), *_ in kinds:
            _published(axes, places, shown[shown["principles"] == kind], linestyle=line, label=f"published, {kind}")

    by_first = generalisation[generalisation["judge"] == generalisation["judge"].iloc[0]]
    return _against_comparators(by_first, title, span("win_rate"), lines, published)


@styled
def comparison(comparison: pd.DataFrame, title: str = "") -> Figure:
    """Win rates of several experiments' policies, as judged and at equal length: a panel for each comparator and a row
    for each policy, with its numbers to the right."""
    groups = [shown for _, shown in comparison.groupby("comparator", sort=False)]
    sizes = [len(shown) for shown in groups]
    figure, panels = subplots(
        TWO_COLUMNS, 0.75 + 0.42 * len(groups) + 0.22 * sum(sizes), len(groups), title, rows=len(groups), sharex=True,
        height_ratios=[size + 0.3 for size in sizes],
    )  # fmt: skip
    for axes, shown in zip(panels, groups, strict=True):
        rows = -np.arange(len(shown))
        axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
        row_lines(axes, rows)
        known = shown["published_low"].notna().to_numpy()
        if known.any():
            low, high = shown[known]["published_low"], shown[known]["published_high"]
            axes.barh(rows[known], high - low, 0.7, left=low, **PUBLISHED)
        for name, offset, (colour, marker, _), label in (
            ("win_rate", 0.12, FIRST, "as judged"),
            ("lc_win_rate", -0.18, SECOND, "at equal length"),
        ):
            axes.errorbar(
                shown[name], rows + offset, xerr=error_bars(shown, name), fmt=marker, color=colour, markersize=3.5,
                markerfacecolor=colour if name == "win_rate" else "white", elinewidth=0.9, capsize=1.5, capthick=0.9,
                label=label,
            )  # fmt: skip
        axes.set_title(f"against {policy_label(shown['comparator'].iloc[0])}")
        axes.set_yticks(rows, _row_names(shown, comparison))
        axes.set_ylim(rows[-1] - 0.5, 0.5)
        numbers = axes.secondary_yaxis("right")
        numbers.set_yticks(rows, [interval(*row, ".0f", "%") for row in 100 * shown[[*span("win_rate")]].to_numpy()])
        numbers.spines["right"].set_visible(False)
        for side in (axes, numbers):
            side.tick_params(axis="y", length=0)
    panels[0].set_xlim(share_limits(comparison[[*span("win_rate", "lc_win_rate"), *ends("published")]]))
    panels[-1].xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[-1].set_xlabel("Win rate")
    legend(figure, panels)
    return figure


def _against_comparators(
    win_rates: pd.DataFrame, title: str, spans: Sequence[str], lines: InPanel, published: InPanel | None = None
) -> Figure:
    """Win rates by policy, a panel for each comparator, with what was published.

    Args:
        win_rates: the rows to show.
        title: of the figure.
        spans: the columns of estimates and intervals that are drawn.
        lines: draws them into a panel, given where policies stand and the rows of its comparator.
        published: likewise what was published (default: `_published`).
    """
    comparators = list(dict.fromkeys(win_rates["comparator"]))
    several = len(comparators) > 1
    rows = math.ceil(len(comparators) / 2)
    figure, panels = subplots(
        TWO_COLUMNS if several else ONE_COLUMN, 2.3 * rows, 2 * rows if several else 1, title, rows=rows, sharey=True
    )
    for spare in panels[len(comparators) :]:
        spare.set_axis_off()
    # A comparator stands on the axis as well, though it has no win rate against itself.
    policies = positions(pd.concat([win_rates, win_rates.assign(policy=win_rates["comparator"])]))
    for axes, comparator in zip(panels, comparators, strict=False):
        shown = win_rates[win_rates["comparator"] == comparator]
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
        # It would win half of the time against itself: no estimate, hence hollow and without an interval.
        axes.plot(policies[comparator], 0.5, marker="o", color=GREY, markerfacecolor="white")
        (published or _published)(axes, policies, shown)
        lines(axes, policies, shown)
        policy_axis(axes, policies)
        axes.set_title(f"against {policy_label(comparator)}")
    panels[0].set_ylim(share_limits(win_rates[[*spans, *ends("published")]]))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axes in panels[::2]:
        axes.set_ylabel("Win rate")
    legend(figure, panels, least=2)
    return figure


def _published(axes: Axes, places: dict[str, float], shown: pd.DataFrame, **style) -> None:
    """A band behind the trained policies from the lowest to the highest published win rate; a line for one number."""
    known = shown.dropna(subset=["published_low"])
    if not known.empty:
        x = known["policy"].map(places)
        low, high = known[["published_low", "published_high"]].iloc[0]
        axes.bar((x.min() + x.max()) / 2, high - low, x.max() - x.min() + 0.5, bottom=low, **PUBLISHED | style)


def _row_names(shown: pd.DataFrame, everything: pd.DataFrame) -> list[str]:
    """Names of the rows of a comparison: the experiment, and what else it takes to tell rows apart."""
    judges = everything["judge"].nunique() > 1
    return [
        row.experiment
        + (f": {row.policy}" if iteration_of(row.policy) is None else "")
        + (f" (by {row.judge})" if judges else "")
        for row in shown.itertuples()
    ]
