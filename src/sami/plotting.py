"""The figures of an experiment: pure functions from the tables of `sami.tables` to matplotlib figures.

One style for all: print size (one column 3.4 in, two columns 7 in), fonts embedded as outlines of TrueType, the
colour-blind safe palette of Okabe and Ito, and a marker or line style of its own for everything that has a colour, so
that the figures can be read in grey. Bars are the bootstrap intervals of the tables. Nothing is drawn through pyplot,
so no display is needed and no state is shared.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches
PNG_DPI = 200
BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
GREY = "#666666"
DOTTED, DASHED = (0, (1, 1.5)), (0, (4, 1.5))  # in line widths
SEQUENCE = [  # colour, marker, line style of iteration 1, 2, ...
    (BLUE, "o", "-"),
    (VERMILION, "s", (0, (5, 1.5))),
    (GREEN, "^", (0, (4, 1.2, 1, 1.2))),
    (PURPLE, "D", (0, (1.5, 1.2))),
    (ORANGE, "v", "-"),
    (SKY, "P", (0, (5, 1.5))),
]
STYLE = {
    "pdf.fonttype": 42,
    "text.hinting": "no_hinting",
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.titlesize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
}


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws in the style of this module, whatever the caller has set."""

    @functools.wraps(draw)
    def in_style(*arguments, **options):
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            return draw(*arguments, **options)

    return in_style


@_styled
def win_rate(summary: pd.DataFrame, title: str = "") -> Figure:
    """Win rate against the base model by iteration, from the table `summary`."""
    figure, (axes,) = _panels(ONE_COLUMN, 2.3, 1, title)
    judged = summary[summary["win_rate"].notna()]
    # The base model would win half of the time against itself: no estimate, hence hollow and without an interval.
    axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
    axes.plot(0, 0.5, marker="o", color=GREY, markerfacecolor="white")
    _points(axes, judged["iteration"], judged, "win_rate", "win", BLUE, "o", "-")
    bars = judged[["win_rate", "win_low", "win_high"]].to_numpy(dtype=float)
    # At least 30 to 70 percent: small differences must not look large.
    low, high = (np.nanmin([*bars.flat, 0.34]) - 0.04, np.nanmax([*bars.flat, 0.66]) + 0.04)
    axes.set_ylim(max(-0.02, low), min(1.02, high))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("Win rate against base model")
    _iteration_axis(axes, summary["iteration"])
    return figure


@_styled
def bound(information: pd.DataFrame, title: str = "") -> Figure:
    """Lower bound on the mutual information by iteration, on own and on the base model's responses.

    From the table `information`; the dotted line is log C, which the bound cannot exceed.
    """
    figure, (axes,) = _panels(ONE_COLUMN, 2.3, 1, title)
    largest = information["max_bound"].max()
    own = information[information["responses"] == "own"]
    on_base = information[(information["responses"] == "base") | (information["iteration"] == 0)]
    axes.axhline(largest, color=GREY, linewidth=0.8, linestyle=DOTTED)
    axes.annotate(
        f"log C = {largest:.2f}", (1, largest), (0, 2), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", va="bottom", fontsize=6.5, color=GREY,
    )  # fmt: skip
    _points(axes, _apart(own["iteration"], -1), own, "bound_nats", "bound", BLUE, "o", "-", label="own responses")
    _points(
        axes, _apart(on_base["iteration"], 1), on_base, "bound_nats", "bound", VERMILION, "s", DASHED, hollow=True,
        label="base model's responses",
    )  # fmt: skip
    lowest = np.nanmin([*information[["bound_nats", "bound_low"]].to_numpy(dtype=float).flat, 0.0])
    axes.set_ylim(lowest - 0.03 * (lowest < 0), largest * 1.13)
    axes.set_ylabel("Information, lower bound (nats)")
    _iteration_axis(axes, information["iteration"])
    axes.legend(loc="best")
    return figure


@_styled
def adherence(adherence: pd.DataFrame, title: str = "") -> Figure:
    """Degree to which responses follow each principle and its opposite when asked to: base model and last iteration."""
    principles = list(dict.fromkeys(adherence["principle"]))
    height = 1.1 + 0.3 * max(1, len(principles))
    if not principles:
        figure, (axes,) = _panels(TWO_COLUMNS, height, 1, title)
        axes.set_axis_off()
        axes.text(0.5, 0.5, "None of these principles has a programmatic check.", ha="center", va="center")
        return figure
    figure, panels = _panels(TWO_COLUMNS, height, 2, title, sharey=True)
    last = adherence["iteration"].max()
    rows = -np.arange(len(principles))
    for axes, polarity, asked in zip(
        panels, ("wanted", "opposite"), ("asked for the principle", "asked for its opposite"), strict=True
    ):
        for row in rows[:-1]:
            axes.axhline(row - 0.5, color="#DDDDDD", linewidth=0.5)
        policies = [(0, 0.14, GREY, "o", True, "base model")]
        if last > 0:
            policies.append((last, -0.14, BLUE, "D", False, f"iteration {last}"))
        for iteration, offset, colour, marker, hollow, label in policies:
            chosen = adherence[(adherence["iteration"] == iteration) & (adherence["polarity"] == polarity)]
            chosen = chosen.set_index("principle").reindex(principles)
            axes.errorbar(
                chosen["degree"], rows + offset, xerr=_bars(chosen, "degree", "degree"), fmt=marker, color=colour,
                markerfacecolor="white" if hollow else colour, elinewidth=0.9, capsize=1.5, capthick=0.9, label=label,
            )  # fmt: skip
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        axes.set_xlabel("Degree of following")
        axes.set_title(asked)
    panels[0].set_yticks(rows, principles)
    panels[0].set_ylim(rows[-1] - 0.5, 0.5)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@_styled
def length(lengths: pd.DataFrame, title: str = "") -> Figure:
    """Mean response length in tokens by iteration, for positive constitutions and for the others."""
    figure, (axes,) = _panels(ONE_COLUMN, 2.3, 1, title)
    for polarity, label, side, colour, marker, line, hollow in (
        ("positive", "all principles wanted", -1, BLUE, "o", "-", False),
        ("other", "some or all negated", 1, VERMILION, "s", DASHED, True),
    ):
        chosen = lengths[lengths["polarity"] == polarity]
        if chosen.empty:
            continue
        _points(
            axes, _apart(chosen["iteration"], side), chosen, "mean_tokens", "mean_tokens", colour, marker, line,
            hollow=hollow, label=label,
        )  # fmt: skip
    axes.set_ylim(0, 1.12 * np.nanmax(lengths[["mean_tokens", "mean_tokens_high"]].to_numpy(dtype=float)))
    axes.set_ylabel("Mean response length (tokens)")
    _iteration_axis(axes, lengths["iteration"])
    axes.legend(loc="best")
    return figure


@_styled
def training(training: pd.DataFrame, title: str = "") -> Figure:
    """Loss, accuracies, gradient norm (and divergence, where there is one) by optimiser step; one line an iteration."""
    panels = {
        "loss": "Loss (nats)",
        "row_accuracy": "Row accuracy",
        "column_accuracy": "Column accuracy",
        "gradient_norm": "Gradient norm",
    }
    if (training["kl"] != 0).any():
        panels["kl"] = "KL divergence (nats)"
    wide = len(panels) > 4
    figure, axes = _panels(TWO_COLUMNS, 3.3, 6 if wide else 4, title, rows=2)
    for spare in axes[len(panels) :]:
        spare.set_axis_off()
    for t, steps in training.groupby("iteration"):
        colour, marker, line = SEQUENCE[(t - 1) % len(SEQUENCE)]
        for panel, column in zip(axes, panels, strict=False):
            panel.plot(
                steps["step"], steps[column], color=colour, linestyle=line, marker=marker,
                markevery=max(1, len(steps) // 8), markersize=3, label=f"iteration {t}",
            )  # fmt: skip
    for panel, (column, label) in zip(axes, panels.items(), strict=False):
        panel.set_ylabel(label)
        panel.set_xlabel("Optimiser step")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        if column.endswith("accuracy"):
            panel.set_ylim(min(0.5, training[column].min()) - 0.03, 1.03)
            panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        else:
            panel.set_ylim(0, 1.08 * training[column].max())
    figure.align_ylabels()
    handles = axes[0].get_legend_handles_labels()
    if wide:
        axes[-1].legend(*handles, loc="center")
    else:
        figure.legend(*handles, loc="outside upper right", ncols=min(6, training["iteration"].nunique()))
    return figure


@_styled
def degeneration(degeneration: pd.DataFrame, title: str = "") -> Figure:
    """Share of degenerate responses, and how likely responses are to the base model and to the policy, by iteration."""
    figure, (shares, likelihood) = _panels(TWO_COLUMNS, 2.3, 2, title)
    t = degeneration["iteration"]
    _points(shares, t, degeneration, "degenerate_share", "degenerate_share", BLUE, "o", "-")
    top = np.nanmax(degeneration[["degenerate_share", "degenerate_share_high"]].to_numpy(dtype=float))
    shares.set_ylim(-0.02 * max(0.1, top), 1.1 * max(0.1, top))
    shares.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    shares.set_ylabel("Degenerate responses")
    name = "own_log_probability"
    _points(likelihood, _apart(t, -1), degeneration, name, name, BLUE, "o", "-", label="under the policy itself")
    name = "base_log_probability"
    _points(
        likelihood, _apart(t, 1), degeneration, name, name, VERMILION, "s", DASHED, hollow=True,
        label="under the base model",
    )  # fmt: skip
    likelihood.set_ylabel("Log-probability (nats per token)")
    likelihood.legend(loc="best")
    for axes in (shares, likelihood):
        _iteration_axis(axes, t)
    return figure


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes {name}.pdf and {name}.png, the same bytes for the same figure: neither holds a date."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
        figure.savefig(folder / f"{name}.png", dpi=PNG_DPI, metadata={"Software": None})


# --- parts of a figure ------------------------------------------------------------------------------------------------


def _panels(
    width: float, height: float, count: int, title: str, rows: int = 1, **options
) -> tuple[Figure, Sequence[Axes]]:
    """A figure of `count` panels in `rows` rows, size in inches, titled at its upper left."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, count // rows, **options)).ravel()
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure, axes


def _bars(table: pd.DataFrame, name: str, stem: str) -> np.ndarray:
    """(2, N) lengths of the interval below and above each estimate; NaN, which draws no bar, without an interval."""
    estimate, low, high = (table[column].to_numpy(dtype=float) for column in (name, f"{stem}_low", f"{stem}_high"))
    return np.maximum(0.0, [estimate - low, high - estimate])  # rounding can leave an estimate outside by 1e-4


def _points(
    axes: Axes, x: pd.Series, table: pd.DataFrame, name: str, stem: str, colour: str, marker: str, line, *,
    hollow: bool = False, label: str | None = None,
) -> None:  # fmt: skip
    """Estimates with their intervals, joined by a line."""
    axes.errorbar(
        x, table[name], yerr=_bars(table, name, stem), color=colour, marker=marker, linestyle=line,
        markerfacecolor="white" if hollow else colour, elinewidth=0.9, capsize=2, capthick=0.9, label=label,
    )  # fmt: skip


def _apart(iterations: pd.Series, side: int) -> pd.Series:
    """Moves the points of one of two lines a little to its side, so that bars do not hide each other.

    Iteration 0 stays: both lines start at the base model.
    """
    return iterations + 0.03 * side * (iterations > 0)


def _iteration_axis(axes: Axes, iterations: pd.Series) -> None:
    """One tick an iteration; iteration 0 is called what it is."""
    values = sorted(set(iterations))
    step = 1 + len(values) // 10
    axes.set_xticks(values[::step], ["0 (base)" if t == 0 else str(t) for t in values[::step]])
    axes.set_xlim(values[0] - 0.35, values[-1] + 0.35)
    axes.set_xlabel("Iteration")
