"""Figure of several seeds: a line for each, and their mean with its interval."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sami.analysis.figures.parts import legend, plot_by_policy, policy_axis, positions, share_limits, subplots
from sami.analysis.figures.style import DOTTED, FIRST, GREY, TWO_COLUMNS, styled
from sami.analysis.tables.catalogue import span
from sami.records import iteration_of

PANELS = {  # column -> label of its axis
    "win_rate": "Win rate",
    "bound_nats": "Information bound (nats)",
    "margin": "Margin (nats per token)",
    "identified": "Identified responses",
    "degenerate_share": "Degenerate responses",
    "log_probability": "Log-probability, base model",
}


def _from_zero(values: pd.DataFrame) -> tuple[float, float]:
    """Limits of an axis of shares that are mostly 0."""
    top = max(0.1, float(np.nanmax(values.to_numpy(dtype=float))))
    return -0.02 * top, 1.1 * top


LIMITS = {
    "win_rate": share_limits,
    "identified": share_limits,
    "degenerate_share": _from_zero,
}  # of shares, which are shown in percent


@styled
def seeds(seeds: pd.DataFrame, joined: pd.DataFrame, title: str = "") -> Figure:
    """A panel for each of `PANELS` with values: a thin line a seed, and the mean with its interval, by policy."""
    columns = 2
    shown = {name: label for name, label in PANELS.items() if joined[name].notna().any()}
    rows = math.ceil(len(shown) / columns)
    figure, panels = subplots(TWO_COLUMNS, 2.1 * rows, columns * rows, title, rows=rows)
    for spare in panels[len(shown) :]:
        spare.set_axis_off()
    places = positions(joined)
    for axes, (name, label) in zip(panels, shown.items(), strict=False):
        for number, (_, run) in enumerate(seeds.groupby("seed", sort=False)):
            _thin_line(axes, places, run, name, None if number else "each seed")
        plot_by_policy(axes, places, joined, name, FIRST, label="mean over seeds")
        if name in LIMITS:
            axes.set_ylim(LIMITS[name](pd.concat([joined[[*span(name)]], seeds[[name]]])))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylabel(label)
        policy_axis(axes, places)
    panels[list(shown).index("win_rate")].axhline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
    legend(figure, panels)
    return figure


def _thin_line(axes: Axes, places: dict[str, float], run: pd.DataFrame, name: str, label: str | None) -> None:
    """One seed's values: a line through its iterations, and marks for models that were not trained here."""
    trained = run[[iteration_of(policy) is not None for policy in run["policy"]]]
    others = run[[iteration_of(policy) is None for policy in run["policy"]]]
    style = {"color": GREY, "linewidth": 0.6, "alpha": 0.8, "zorder": 1.5}
    axes.plot([places[policy] for policy in trained["policy"]], trained[name], label=label, **style)
    axes.plot([places[policy] for policy in others["policy"]], others[name], linestyle="none", marker="_", **style)
