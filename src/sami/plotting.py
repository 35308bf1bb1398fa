"""The figures of an experiment: pure functions from the tables of `sami.tables` to matplotlib figures.

One style for all: print size (one column 3.4 in, two columns 7 in), fonts embedded as outlines of TrueType, the
colour-blind safe palette of Okabe and Ito, and a marker or line style of its own for everything that has a colour, so
that the figures can be read in grey. Bars are the bootstrap intervals of the tables. Nothing is drawn through pyplot,
so no display is needed and no state is shared.
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sami.policies import iteration_of

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches
PNG_DPI = 200
BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
GREY = "#666666"
DOTTED, DASHED = (0, (1, 1.5)), (0, (4, 1.5))  # in line widths
HOLLOW_GREY = (GREY, "o", True)  # colour, marker, hollow: of the base model
OTHERS = [(VERMILION, "s", True), (GREEN, "^", True), (PURPLE, "P", True)]  # the same of models not trained here
SEQUENCE = [  # colour, marker, line style of iteration 1, 2, ..., or of the first, second, ... judge
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
def win_rate(win_rates: pd.DataFrame, title: str = "") -> Figure:
    """Win rate by iteration, a panel for each comparator and a line for each judge; other models stand to the right."""
    comparators = list(dict.fromkeys(win_rates["comparator"]))
    judges = list(dict.fromkeys(win_rates["judge"]))
    several = len(comparators) > 1
    rows = math.ceil(len(comparators) / 2)
    figure, panels = _panels(
        TWO_COLUMNS if several else ONE_COLUMN, 2.3 * rows, 2 * rows if several else 1, title, rows=rows, sharey=True
    )
    for spare in panels[len(comparators) :]:
        spare.set_axis_off()
    # A comparator stands on the axis as well, though it has no win rate against itself.
    policies = _places(pd.concat([win_rates, win_rates.assign(policy=win_rates["comparator"])]))
    for axes, comparator in zip(panels, comparators, strict=False):
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
        # It would win half of the time against itself: no estimate, hence hollow and without an interval.
        axes.plot(policies[comparator], 0.5, marker="o", color=GREY, markerfacecolor="white")
        for number, judge in enumerate(judges):
            chosen = win_rates[(win_rates["comparator"] == comparator) & (win_rates["judge"] == judge)]
            colour, marker, line = SEQUENCE[number % len(SEQUENCE)]
            aside = 0.07 * (number - (len(judges) - 1) / 2)  # so that bars do not hide each other
            _by_policy(axes, policies, chosen, "win_rate", "win", colour, marker, line, aside=aside, label=judge)
        _policy_axis(axes, policies)
        axes.set_title(f"against {_called(comparator)}" if several else "")
    _share_axis(panels[0], win_rates[["win_rate", "win_low", "win_high"]])
    for axes in panels[::2]:
        axes.set_ylabel("Win rate" if several else f"Win rate against {_called(comparators[0])}")
    if len(judges) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(judges))
    return figure


@_styled
def length_bias(length_bias: pd.DataFrame, win_rates: pd.DataFrame, title: str = "") -> Figure:
    """How far verdicts follow length, and what is left of the win rate without it.

    By the first judge, against the first comparator. Left: mean preference by length difference, with the fit of it,
    for the last trained policy. Right: raw and length-controlled win rates of all policies.
    """
    figure, (bias, rates) = _panels(TWO_COLUMNS, 2.3, 2, title)
    length_bias, win_rates = _of_first_judge(length_bias), _of_first_judge(win_rates)
    policy = _last(win_rates)
    shown = length_bias[length_bias["policy"] == policy]
    bias.axhline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
    bias.axvline(0.0, color=GREY, linewidth=0.8, linestyle=DOTTED)
    fit = shown.iloc[0]
    ends = shown["standardised"].to_numpy(dtype=float)
    reach = np.linspace(min(-0.5, *ends) - 0.3, max(0.5, *ends) + 0.3, 200)
    odds = np.exp(-(fit["intercept"] + fit["coefficient"] * np.tanh(reach)))
    bias.plot(reach, 1 / (1 + odds), color=VERMILION, linestyle=DASHED, label="logistic fit")
    bias.errorbar(
        shown["standardised"], shown["preference"], yerr=_bars(shown, "preference", "preference"), fmt="o", color=BLUE,
        elinewidth=0.9, capsize=2, capthick=0.9, label="verdicts, in bins",
    )  # fmt: skip
    bias.set_ylim(-0.03, 1.03)
    bias.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bias.set_ylabel("Mean preference")
    bias.set_xlabel("Length difference (standard deviations)")
    bias.set_title(f"{_called(policy)} against {_called(fit['comparator'])}, by {fit['judge']}")
    bias.legend(loc="best")
    rates.axhline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
    policies = _places(win_rates)
    _by_policy(rates, policies, win_rates, "win_rate", "win", BLUE, "o", "-", aside=-0.05, label="as judged")
    _by_policy(
        rates, policies, win_rates, "lc_win_rate", "lc", VERMILION, "s", DASHED, aside=0.05, hollow=True,
        label="length-controlled",
    )  # fmt: skip
    _share_axis(rates, win_rates[["win_rate", "win_low", "win_high", "lc_win_rate", "lc_low", "lc_high"]])
    rates.set_ylabel("Win rate")
    _policy_axis(rates, policies)
    rates.legend(loc="best")
    return figure


@_styled
def win_rate_by_principle(by_principle: pd.DataFrame, title: str = "") -> Figure:
    """Win rate under the constitutions that want each principle, and those that want its opposite.

    Of the last trained policy, by the first judge against the first comparator.
    """
    by_principle = _of_first_judge(by_principle)
    policy = _last(by_principle)
    shown = by_principle[by_principle["policy"] == policy]
    principles = list(dict.fromkeys(shown["principle"]))
    figure, (axes,) = _panels(ONE_COLUMN, 1.15 + 0.3 * len(principles), 1, title)
    rows = -np.arange(len(principles))
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
    _row_lines(axes, rows)
    for wanted, offset, colour, marker, hollow in (
        ("wanted", 0.14, BLUE, "o", False),
        ("opposite", -0.14, VERMILION, "s", True),
    ):
        chosen = shown[shown["polarity"] == wanted].set_index("principle").reindex(principles)
        if chosen["win_rate"].isna().all():
            continue
        axes.errorbar(
            chosen["win_rate"], rows + offset, xerr=_bars(chosen, "win_rate", "win"), fmt=marker, color=colour,
            markerfacecolor="white" if hollow else colour, elinewidth=0.9, capsize=1.5, capthick=0.9, label=wanted,
        )  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(f"Win rate of {_called(policy)} against {_called(shown.iloc[0]['comparator'])}")
    axes.set_yticks(rows, principles)
    axes.set_ylim(rows[-1] - 0.5, 0.5)
    axes.tick_params(axis="y", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
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
    policies = _places(information)
    axes.axhline(largest, color=GREY, linewidth=0.8, linestyle=DOTTED)
    axes.annotate(
        f"log C = {largest:.2f}", (1, largest), (0, 2), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", va="bottom", fontsize=6.5, color=GREY,
    )  # fmt: skip
    _by_policy(axes, policies, own, "bound_nats", "bound", BLUE, "o", "-", aside=-0.03, label="own responses")
    _by_policy(
        axes, policies, on_base, "bound_nats", "bound", VERMILION, "s", DASHED, aside=0.03, hollow=True,
        label="base model's responses",
    )  # fmt: skip
    lowest = np.nanmin([*information[["bound_nats", "bound_low"]].to_numpy(dtype=float).flat, 0.0])
    axes.set_ylim(lowest - 0.03 * (lowest < 0), largest * 1.13)
    axes.set_ylabel("Information, lower bound (nats)")
    _policy_axis(axes, policies)
    axes.legend(loc="best")
    return figure


@_styled
def adherence(adherence: pd.DataFrame, title: str = "") -> Figure:
    """Degree to which responses follow each principle and its opposite when asked to.

    Of the base model, the last iteration and the other models.
    """
    principles = list(dict.fromkeys(adherence["principle"]))
    others = _others(adherence)
    height = 1.1 + (0.3 + 0.1 * len(others)) * max(1, len(principles))
    if not principles:
        figure, (axes,) = _panels(TWO_COLUMNS, height, 1, title)
        axes.set_axis_off()
        axes.text(0.5, 0.5, "None of these principles has a programmatic check.", ha="center", va="center")
        return figure
    figure, panels = _panels(TWO_COLUMNS, height, 2, title, sharey=True)
    last = adherence["iteration"].max()
    chosen = [("iteration-0", *HOLLOW_GREY)] + [(f"iteration-{last:.0f}", BLUE, "D", False)] * bool(last > 0)
    chosen += [(name, *OTHERS[number % len(OTHERS)]) for number, name in enumerate(others)]
    offsets = 0.14 * np.linspace(1, -1, len(chosen)) * (1 + 0.3 * len(others)) if len(chosen) > 1 else [0.0]
    rows = -np.arange(len(principles))
    for axes, polarity, asked in zip(
        panels, ("wanted", "opposite"), ("asked for the principle", "asked for its opposite"), strict=True
    ):
        _row_lines(axes, rows)
        for (policy, colour, marker, hollow), offset in zip(chosen, offsets, strict=True):
            shown = adherence[(adherence["policy"] == policy) & (adherence["polarity"] == polarity)]
            shown = shown.set_index("principle").reindex(principles)
            axes.errorbar(
                shown["degree"], rows + offset, xerr=_bars(shown, "degree", "degree"), fmt=marker, color=colour,
                markerfacecolor="white" if hollow else colour, elinewidth=0.9, capsize=1.5, capthick=0.9,
                label=_called(policy),
            )  # fmt: skip
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        axes.set_xlabel("Degree of following")
        axes.set_title(asked)
    panels[0].set_yticks(rows, principles)
    panels[0].set_ylim(rows[-1] - 0.5, 0.5)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=4)
    return figure


@_styled
def length(lengths: pd.DataFrame, title: str = "") -> Figure:
    """Mean response length by iteration, for positive constitutions and for the others.

    In tokens, or in words where not all policies' tokens are known.
    """
    figure, (axes,) = _panels(ONE_COLUMN, 2.3, 1, title)
    unit = "words" if lengths["mean_tokens"].isna().any() else "tokens"
    policies = _places(lengths)
    for polarity, label, side, colour, marker, line, hollow in (
        ("positive", "all principles wanted", -1, BLUE, "o", "-", False),
        ("other", "some or all negated", 1, VERMILION, "s", DASHED, True),
    ):
        chosen = lengths[lengths["polarity"] == polarity]
        if not chosen.empty:
            _by_policy(
                axes, policies, chosen, f"mean_{unit}", f"mean_{unit}", colour, marker, line, aside=0.03 * side,
                hollow=hollow, label=label,
            )  # fmt: skip
    axes.set_ylim(0, 1.12 * np.nanmax(lengths[[f"mean_{unit}", f"mean_{unit}_high"]].to_numpy(dtype=float)))
    axes.set_ylabel(f"Mean response length ({unit})")
    _policy_axis(axes, policies)
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
        colour, marker, line = SEQUENCE[(int(t) - 1) % len(SEQUENCE)]
        for panel, column in zip(axes, panels, strict=False):
            panel.plot(
                steps["step"], steps[column], color=colour, linestyle=line, marker=marker,
                markevery=max(1, len(steps) // 8), markersize=3, label=f"iteration {t:.0f}",
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
    """Share of degenerate responses and, where policies were scored, how likely these are to the base model and to the
    policy, by iteration."""
    scored = degeneration[degeneration["own_log_probability"].notna()]
    figure, (shares, *rest) = _panels(*((ONE_COLUMN, 2.3, 1) if scored.empty else (TWO_COLUMNS, 2.3, 2)), title)
    policies = _places(degeneration)
    _by_policy(shares, policies, degeneration, "degenerate_share", "degenerate_share", BLUE, "o", "-")
    top = np.nanmax(degeneration[["degenerate_share", "degenerate_share_high"]].to_numpy(dtype=float))
    shares.set_ylim(-0.02 * max(0.1, top), 1.1 * max(0.1, top))
    shares.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    shares.set_ylabel("Degenerate responses")
    _policy_axis(shares, policies)
    for likelihood in rest:
        policies = _places(scored)
        name = "own_log_probability"
        _by_policy(
            likelihood, policies, scored, name, name, BLUE, "o", "-", aside=-0.03, label="under the policy itself"
        )
        name = "base_log_probability"
        _by_policy(
            likelihood, policies, scored, name, name, VERMILION, "s", DASHED, aside=0.03, hollow=True,
            label="under the base model",
        )  # fmt: skip
        likelihood.set_ylabel("Log-probability (nats per token)")
        _policy_axis(likelihood, policies)
        likelihood.legend(loc="best")
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


def _row_lines(axes: Axes, rows: np.ndarray) -> None:
    """Thin lines between the rows of a panel that has a row for each principle."""
    for row in rows[:-1]:
        axes.axhline(row - 0.5, color="#DDDDDD", linewidth=0.5)


def _share_axis(axes: Axes, values: pd.DataFrame) -> None:
    """A vertical axis in percent, of at least 30 to 70: small differences must not look large."""
    numbers = values.to_numpy(dtype=float)
    low, high = np.nanmin([*numbers.flat, 0.34]) - 0.04, np.nanmax([*numbers.flat, 0.66]) + 0.04
    axes.set_ylim(max(-0.02, low), min(1.02, high))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


# --- policies on an axis ----------------------------------------------------------------------------------------------


def _called(policy: str) -> str:
    """A policy in words."""
    return "the base model" if policy == "iteration-0" else policy.replace("iteration-", "iteration ")


def _others(table: pd.DataFrame) -> list[str]:
    """The policies of a table that are no iterations."""
    return list(dict.fromkeys(name for name in table["policy"] if iteration_of(name) is None))


def _last(table: pd.DataFrame) -> str:
    """The last trained policy of a table; its last policy where none was trained."""
    return max(table["policy"], key=lambda name: iteration_of(name) or 0)


def _of_first_judge(table: pd.DataFrame) -> pd.DataFrame:
    """The rows about the first comparator by the first judge."""
    return table[(table["comparator"] == table["comparator"].iloc[0]) & (table["judge"] == table["judge"].iloc[0])]


def _places(table: pd.DataFrame) -> dict[str, float]:
    """Policy -> where it stands on the axis: iterations at their number, other models behind a gap to their right."""
    iterations = sorted({t for name in table["policy"] if (t := iteration_of(name)) is not None})
    places = {f"iteration-{t}": float(t) for t in iterations}
    start = max(iterations, default=-1) + 1.25
    return places | {name: start + number for number, name in enumerate(_others(table))}


def _by_policy(
    axes: Axes, places: dict[str, float], table: pd.DataFrame, name: str, stem: str, colour: str, marker: str, line, *,
    aside: float = 0.0, hollow: bool = False, label: str | None = None,
) -> None:  # fmt: skip
    """Estimates with their intervals; a line joins those of the iterations.

    `aside` moves the points a little, so that bars do not hide each other; not those of the base model, where lines
    start together.
    """
    x = np.array([places[policy] + aside * (policy != "iteration-0") for policy in table["policy"]])
    trained = np.array([iteration_of(policy) is not None for policy in table["policy"]], dtype=bool)
    style = {"color": colour, "marker": marker, "markerfacecolor": "white" if hollow else colour}
    style |= {"elinewidth": 0.9, "capsize": 2, "capthick": 0.9}
    for chosen, joined, called in ((trained, line, label), (~trained, "none", None if trained.any() else label)):
        if chosen.any():
            rows = table[chosen]
            axes.errorbar(x[chosen], rows[name], yerr=_bars(rows, name, stem), linestyle=joined, label=called, **style)


def _policy_axis(axes: Axes, places: dict[str, float]) -> None:
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
