"""Parts of figures: panels, bars of intervals, legends, and policies on an axis."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sami.analysis.figures.style import Mark
from sami.analysis.tables.catalogue import ends
from sami.records import BASE, iteration_of


def subplots(
    width: float, height: float, count: int, title: str, rows: int = 1, **options
) -> tuple[Figure, Sequence[Axes]]:
    """A figure of `count` panels in `rows` rows, size in inches, titled at its upper left."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, count // rows, **options)).ravel()
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure, axes


def empty_figure(width: float, height: float, title: str, why: str) -> Figure:
    """A figure that says why there is nothing to show."""
    figure, (axes,) = subplots(width, height, 1, title)
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center")
    return figure


def error_bars(table: pd.DataFrame, name: str) -> np.ndarray:
    """(2, N) lengths of the interval below and above each estimate; NaN, which draws no bar, without an interval."""
    estimate, low, high = (table[column].to_numpy(dtype=float) for column in (name, *ends(name)))
    return np.maximum(0.0, [estimate - low, high - estimate])  # rounding can leave an estimate outside by 1e-4


def row_lines(axes: Axes, rows: np.ndarray) -> None:
    """Thin lines between the rows of a panel that has a row for each principle."""
    for row in rows[:-1]:
        axes.axhline(row - 0.5, color="#DDDDDD", linewidth=0.5)


def share_limits(values: pd.DataFrame) -> tuple[float, float]:
    """Limits of an axis of shares, at least 30 to 70%: small differences must not look large."""
    numbers = values.to_numpy(dtype=float)
    low, high = np.nanmin([*numbers.flat, 0.34]) - 0.04, np.nanmax([*numbers.flat, 0.66]) + 0.04
    return max(-0.02, low), min(1.02, high)


def legend(figure: Figure, panels: Sequence[Axes], least: int = 1) -> None:
    """One legend below all panels, of everything that any of them shows; none of fewer than `least` things."""
    shown = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    for columns in range(len(shown), 0, -1) if len(shown) >= least else ():
        legend = figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns)
        size = legend.get_window_extent()
        if size.width < figure.bbox.width or columns == 1:
            figure.set_figheight(figure.get_figheight() + size.height / figure.dpi)  # panels keep theirs
            break
        legend.remove()  # too wide: more rows


def policy_label(policy: str) -> str:
    """A policy in words."""
    return "the base model" if policy == BASE else policy.replace("iteration-", "iteration ")


def other_policies(table: pd.DataFrame) -> list[str]:
    """The policies of a table that are no iterations."""
    return list(dict.fromkeys(name for name in table["policy"] if iteration_of(name) is None))


def of_first_judge(table: pd.DataFrame) -> pd.DataFrame:
    """The rows about the first comparator by the first judge."""
    return table[(table["comparator"] == table["comparator"].iloc[0]) & (table["judge"] == table["judge"].iloc[0])]


def positions(table: pd.DataFrame) -> dict[str, float]:
    """Policy -> where it stands on the axis: iterations at their number, other models behind a gap to their right."""
    iterations = sorted({t for name in table["policy"] if (t := iteration_of(name)) is not None})
    places = {f"iteration-{t}": float(t) for t in iterations}
    start = max(iterations, default=-1) + 1.25
    return places | {name: start + number for number, name in enumerate(other_policies(table))}


def plot_by_policy(
    axes: Axes, places: dict[str, float], table: pd.DataFrame, name: str, mark: Mark, *,
    aside: float = 0.0, hollow: bool = False, label: str | None = None,
) -> None:  # fmt: skip
    """Estimates with their intervals; a line joins those of the iterations.

    `aside` moves the points a little, so that bars do not hide each other; not those of the base model, where lines
    start together.
    """
    colour, marker, line = mark
    x = np.array([places[policy] + aside * (policy != BASE) for policy in table["policy"]])
    trained = np.array([iteration_of(policy) is not None for policy in table["policy"]], dtype=bool)
    style = {"color": colour, "marker": marker, "markerfacecolor": "white" if hollow else colour}
    style |= {"elinewidth": 0.9, "capsize": 2, "capthick": 0.9}
    for chosen, joined, called in ((trained, line, label), (~trained, "none", None if trained.any() else label)):
        if chosen.any():
            rows = table[chosen]
            axes.errorbar(x[chosen], rows[name], yerr=error_bars(rows, name), linestyle=joined, label=called, **style)


def policy_axis(axes: Axes, places: dict[str, float]) -> None:
    """One tick a policy; iteration 0 is called what it is, and other models by their names."""
    iterations = [(place, t) for name, place in places.items() if (t := iteration_of(name)) is not None]
    ticks = {place: "0 (base)" if t == 0 else str(t) for place, t in iterations[:: 1 + len(iterations) // 10]}
    names = [name for name in places if iteration_of(name) is None]
    ticks |= {places[name]: name for name in names}
    axes.set_xticks(list(ticks), list(ticks.values()))
    if len("".join(names)) > 12:  # long names, or several of them, would run into each other
        for label in axes.get_xticklabels()[-len(names) :]:
            label.set(rotation=25, rotation_mode="anchor", horizontalalignment="right")
    axes.set_xlim(min(places.values()) - 0.35, max(places.values()) + 0.35)
    axes.set_xlabel("Iteration" if iterations else "")
