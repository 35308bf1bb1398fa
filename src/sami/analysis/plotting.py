"""The figures of an experiment: pure functions from the tables of `sami.analysis.tables` to matplotlib figures.

One style for all: print size (one column 3.4 in, two columns 7 in), fonts embedded as outlines of TrueType, the
colour-blind safe palette of Okabe and Ito, and a marker or line style of its own for everything that has a colour, so
that the figures can be read in grey. Bars are the intervals of the tables. Nothing is drawn through pyplot,
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

from sami.records import iteration_of, last_trained

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches
PNG_DPI = 200
BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
GREY = "#666666"
PUBLISHED = {"facecolor": "#E6E6E6", "edgecolor": "#808080", "linewidth": 1.0, "zorder": 0.5, "label": "published"}
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
POLARITIES = {  # of win rates by principle: colour, marker, hollow
    "both": ("black", "D", False),
    "wanted": (BLUE, "o", False),
    "opposite": (VERMILION, "s", True),
}
InPanel = Callable[[Axes, dict[str, float], pd.DataFrame], None]  # draws rows of a table where policies stand
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
    judges = list(dict.fromkeys(win_rates["judge"]))

    def lines(axes: Axes, places: dict[str, float], shown: pd.DataFrame) -> None:
        for number, judge in enumerate(judges):
            colour, marker, line = SEQUENCE[number % len(SEQUENCE)]
            aside = 0.07 * (number - (len(judges) - 1) / 2)  # so that bars do not hide each other
            by_judge = shown[shown["judge"] == judge]
            _by_policy(axes, places, by_judge, "win_rate", "win", colour, marker, line, aside=aside, label=judge)

    return _against_comparators(win_rates, title, ["win_rate", "win_low", "win_high"], lines)


@_styled
def length_controlled(win_rates: pd.DataFrame, title: str = "") -> Figure:
    """Win rates as judged and at equal length, a panel for each comparator, by the first judge."""

    def lines(axes: Axes, places: dict[str, float], shown: pd.DataFrame) -> None:
        _by_policy(axes, places, shown, "win_rate", "win", BLUE, "o", "-", aside=-0.05, label="as judged")
        _by_policy(
            axes, places, shown, "lc_win_rate", "lc", VERMILION, "s", DASHED, aside=0.05, hollow=True,
            label="at equal length",
        )  # fmt: skip

    by_first = win_rates[win_rates["judge"] == win_rates["judge"].iloc[0]]
    spans = ["win_rate", "win_low", "win_high", "lc_win_rate", "lc_low", "lc_high"]
    return _against_comparators(by_first, title, spans, lines)


@_styled
def generalisation(generalisation: pd.DataFrame, title: str = "") -> Figure:
    """Win rates under learned and under held-out principles, a panel for each comparator, by the first judge."""
    if generalisation.empty:
        return _empty(ONE_COLUMN, 1.2, title, "No principles are held out.")
    kinds = (("learned", BLUE, "o", "-", -0.05, False), ("held-out", VERMILION, "s", DASHED, 0.05, True))

    def lines(axes: Axes, places: dict[str, float], shown: pd.DataFrame) -> None:
        for kind, colour, marker, line, aside, hollow in kinds:
            of_kind = shown[shown["principles"] == kind]
            _by_policy(
                axes, places, of_kind, "win_rate", "win", colour, marker, line, aside=aside, hollow=hollow, label=kind
            )

    def published(axes: Axes, places: dict[str, float], shown: pd.DataFrame) -> None:
        for kind, _, _, line, *_ in kinds:
            _published(axes, places, shown[shown["principles"] == kind], linestyle=line, label=f"published, {kind}")

    by_first = generalisation[generalisation["judge"] == generalisation["judge"].iloc[0]]
    return _against_comparators(by_first, title, ["win_rate", "win_low", "win_high"], lines, published)


@_styled
def length_bias(length_bias: pd.DataFrame, title: str = "") -> Figure:
    """How far verdicts follow length: mean preference by length difference, with the fit of it.

    By the first judge, against the first comparator, for the last trained policy.
    """
    figure, (axes,) = _panels(ONE_COLUMN, 2.3, 1, title)
    length_bias = _of_first_judge(length_bias)
    policy = last_trained(length_bias["policy"])
    shown = length_bias[length_bias["policy"] == policy]
    axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
    axes.axvline(0.0, color=GREY, linewidth=0.8, linestyle=DOTTED)
    fit = shown.iloc[0]
    ends = shown["standardised"].to_numpy(dtype=float)
    reach = np.linspace(min(-0.5, *ends) - 0.3, max(0.5, *ends) + 0.3, 200)
    odds = np.exp(-(fit["intercept"] + fit["coefficient"] * np.tanh(reach)))
    axes.plot(reach, 1 / (1 + odds), color=VERMILION, linestyle=DASHED, label="logistic fit")
    axes.errorbar(
        shown["standardised"], shown["preference"], yerr=_bars(shown, "preference", "preference"), fmt="o", color=BLUE,
        elinewidth=0.9, capsize=2, capthick=0.9, label="verdicts, in bins",
    )  # fmt: skip
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("Mean preference")
    axes.set_xlabel("Length difference (standard deviations)")
    axes.set_title(f"{_called(policy)} against {_called(fit['comparator'])}, by {fit['judge']}")
    axes.legend(loc="best")
    return figure


@_styled
def comparison(comparison: pd.DataFrame, title: str = "") -> Figure:
    """Win rates of several experiments' policies, as judged and at equal length: a panel for each comparator and a row
    for each policy, with its numbers to the right."""
    groups = [shown for _, shown in comparison.groupby("comparator", sort=False)]
    sizes = [len(shown) for shown in groups]
    figure, panels = _panels(
        TWO_COLUMNS, 0.75 + 0.42 * len(groups) + 0.22 * sum(sizes), len(groups), title, rows=len(groups), sharex=True,
        height_ratios=[size + 0.3 for size in sizes],
    )  # fmt: skip
    for axes, shown in zip(panels, groups, strict=True):
        rows = -np.arange(len(shown))
        axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
        _row_lines(axes, rows)
        known = shown["published_low"].notna().to_numpy()
        if known.any():
            low, high = shown[known]["published_low"], shown[known]["published_high"]
            axes.barh(rows[known], high - low, 0.7, left=low, **PUBLISHED)
        for name, stem, offset, colour, marker, label in (
            ("win_rate", "win", 0.12, BLUE, "o", "as judged"),
            ("lc_win_rate", "lc", -0.18, VERMILION, "s", "at equal length"),
        ):
            axes.errorbar(
                shown[name], rows + offset, xerr=_bars(shown, name, stem), fmt=marker, color=colour, markersize=3.5,
                markerfacecolor=colour if name == "win_rate" else "white", elinewidth=0.9, capsize=1.5, capthick=0.9,
                label=label,
            )  # fmt: skip
        axes.set_title(f"against {_called(shown['comparator'].iloc[0])}")
        axes.set_yticks(rows, _row_names(shown, comparison))
        axes.set_ylim(rows[-1] - 0.5, 0.5)
        numbers = axes.secondary_yaxis("right")
        numbers.set_yticks(rows, [_percent(*row) for row in shown[["win_rate", "win_low", "win_high"]].to_numpy()])
        numbers.spines["right"].set_visible(False)
        for side in (axes, numbers):
            side.tick_params(axis="y", length=0)
    spans = ["win_rate", "win_low", "win_high", "lc_win_rate", "lc_low", "lc_high", "published_low", "published_high"]
    panels[0].set_xlim(_share_limits(comparison[spans]))
    panels[-1].xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[-1].set_xlabel("Win rate")
    _legend(figure, panels)
    return figure


@_styled
def win_rate_by_principle(by_principle: pd.DataFrame, title: str = "") -> Figure:
    """Win rate under the constitutions that hold each principle or its opposite, together and apart.

    Of the last trained policy, by the first judge against the first comparator. To the right, for both together, the
    number of queries and how many the wanted width would need.
    """
    by_principle = _of_first_judge(by_principle)
    policy = last_trained(by_principle["policy"])
    shown = by_principle[by_principle["policy"] == policy]
    whole = shown.drop_duplicates("principle")  # the first row of each has all verdicts
    principles = whole["principle"].tolist()
    polarities = [name for name in POLARITIES if (shown["polarity"] == name).any()]
    figure, (axes,) = _panels(ONE_COLUMN, 1.27 + (0.14 + 0.1 * len(polarities)) * len(principles), 1, title)
    rows = -np.arange(len(principles))
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
    _row_lines(axes, rows)
    for number, polarity in enumerate(polarities):
        chosen = shown[shown["polarity"] == polarity].set_index("principle").reindex(principles)
        offset = 0.27 * ((len(polarities) - 1) / 2 - number)
        colour, marker, hollow = POLARITIES[polarity]
        axes.errorbar(
            chosen["win_rate"], rows + offset, xerr=_bars(chosen, "win_rate", "win"), fmt=marker, color=colour,
            markerfacecolor="white" if hollow else colour, elinewidth=0.9, capsize=1.5, capthick=0.9, label=polarity,
        )  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    # In two lines: beside long names of principles the panel is narrow.
    axes.set_xlabel(f"Win rate of {_called(policy)}\nagainst {_called(shown.iloc[0]['comparator'])}")
    axes.set_yticks(rows, principles)
    axes.set_ylim(rows[-1] - 0.5, 0.5)
    counts = axes.secondary_yaxis("right")
    needed = ["-" if math.isnan(count) else f"{count:.0f}" for count in whole["queries_needed"].astype(float)]
    counts.set_yticks(rows, [f"{had} / {count}" for had, count in zip(whole["n_queries"], needed, strict=True)])
    counts.spines["right"].set_visible(False)
    axes.set_title("queries / needed", loc="right")
    for side in (axes, counts):
        side.tick_params(axis="y", length=0)
    _legend(figure, [axes])
    return figure


@_styled
def bound(information: pd.DataFrame, title: str = "") -> Figure:
    """Lower bound on the mutual information, on own and on the base model's responses, and accuracies, by iteration.

    From the table `information`; the dotted line is log C, which the bound cannot exceed.
    """
    figure, (axes, accuracies) = _panels(TWO_COLUMNS, 2.3, 2, title)
    information = information[information["principles"] == "learned"]
    largest = information["max_bound"].max()
    own = information[information["responses"] == "own"]
    on_base = information[(information["responses"] == "base") | (information["iteration"] == 0)]
    policies = _places(information)
    axes.axhline(largest, color=GREY, linewidth=0.8, linestyle=DOTTED)
    axes.annotate(
        f"log C = {largest:.2f}", (1, largest), (0, 2), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", va="bottom", fontsize=6.5, color=GREY,
    )  # fmt: skip
    lowest = np.nanmin([*information[["bound_nats", "bound_low"]].to_numpy(dtype=float).flat, 0.0])
    axes.set_ylim(lowest - 0.03 * (lowest < 0), largest * 1.13)
    axes.set_ylabel("Information, lower bound (nats)")
    for panel, shown, name, stem, first, label in (
        (axes, own, "bound_nats", "bound", True, "own responses"),
        (axes, on_base, "bound_nats", "bound", False, "base model's responses"),
        (accuracies, own, "row_accuracy", "row_accuracy", True, "row: which response"),
        (accuracies, own, "column_accuracy", "column_accuracy", False, "column: which constitution"),
    ):
        colour, marker, line = (BLUE, "o", "-") if first else (VERMILION, "s", DASHED)
        aside = -0.03 if first else 0.03
        _by_policy(panel, policies, shown, name, stem, colour, marker, line, aside=aside, hollow=not first, label=label)
    shares = own[["row_accuracy", "row_accuracy_low", "column_accuracy", "column_accuracy_low"]].to_numpy(dtype=float)
    accuracies.set_ylim(np.nanmin([*shares.flat, 0.5]) - 0.03, 1.03)
    accuracies.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    accuracies.set_ylabel("Accuracy on own responses")
    for panel in (axes, accuracies):
        _policy_axis(panel, policies)
        panel.legend(loc="best")
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
        return _empty(TWO_COLUMNS, height, title, "None of these principles has a programmatic check.")
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
    _legend(figure, panels)
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
    _legend(figure, axes)
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


def _empty(width: float, height: float, title: str, why: str) -> Figure:
    """A figure that says why there is nothing to show."""
    figure, (axes,) = _panels(width, height, 1, title)
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center")
    return figure


def _bars(table: pd.DataFrame, name: str, stem: str) -> np.ndarray:
    """(2, N) lengths of the interval below and above each estimate; NaN, which draws no bar, without an interval."""
    estimate, low, high = (table[column].to_numpy(dtype=float) for column in (name, f"{stem}_low", f"{stem}_high"))
    return np.maximum(0.0, [estimate - low, high - estimate])  # rounding can leave an estimate outside by 1e-4


def _row_lines(axes: Axes, rows: np.ndarray) -> None:
    """Thin lines between the rows of a panel that has a row for each principle."""
    for row in rows[:-1]:
        axes.axhline(row - 0.5, color="#DDDDDD", linewidth=0.5)


def _share_limits(values: pd.DataFrame) -> tuple[float, float]:
    """Limits of an axis of shares, at least 30 to 70%: small differences must not look large."""
    numbers = values.to_numpy(dtype=float)
    low, high = np.nanmin([*numbers.flat, 0.34]) - 0.04, np.nanmax([*numbers.flat, 0.66]) + 0.04
    return max(-0.02, low), min(1.02, high)


def _legend(figure: Figure, panels: Sequence[Axes], least: int = 1) -> None:
    """One legend below all panels, of everything that any of them shows; none of fewer than `least` things."""
    shown = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    for columns in range(len(shown), 0, -1) if len(shown) >= least else ():
        legend = figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns)
        size = legend.get_window_extent()
        if size.width < figure.bbox.width or columns == 1:
            figure.set_figheight(figure.get_figheight() + size.height / figure.dpi)  # panels keep theirs
            break
        legend.remove()  # too wide: more rows


def _percent(rate: float, low: float, high: float) -> str:
    interval = "" if math.isnan(low) else f" [{low * 100:.0f}, {high * 100:.0f}]"
    return f"{rate:.0%}{interval}"


# --- win rates against comparators ------------------------------------------------------------------------------------


def _against_comparators(
    win_rates: pd.DataFrame, title: str, spans: list[str], lines: InPanel, published: InPanel | None = None
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
    figure, panels = _panels(
        TWO_COLUMNS if several else ONE_COLUMN, 2.3 * rows, 2 * rows if several else 1, title, rows=rows, sharey=True
    )
    for spare in panels[len(comparators) :]:
        spare.set_axis_off()
    # A comparator stands on the axis as well, though it has no win rate against itself.
    policies = _places(pd.concat([win_rates, win_rates.assign(policy=win_rates["comparator"])]))
    for axes, comparator in zip(panels, comparators, strict=False):
        shown = win_rates[win_rates["comparator"] == comparator]
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
        # It would win half of the time against itself: no estimate, hence hollow and without an interval.
        axes.plot(policies[comparator], 0.5, marker="o", color=GREY, markerfacecolor="white")
        (published or _published)(axes, policies, shown)
        lines(axes, policies, shown)
        _policy_axis(axes, policies)
        axes.set_title(f"against {_called(comparator)}")
    panels[0].set_ylim(_share_limits(win_rates[[*spans, "published_low", "published_high"]]))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axes in panels[::2]:
        axes.set_ylabel("Win rate")
    _legend(figure, panels, least=2)
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


# --- policies on an axis ----------------------------------------------------------------------------------------------


def _called(policy: str) -> str:
    """A policy in words."""
    return "the base model" if policy == "iteration-0" else policy.replace("iteration-", "iteration ")


def _others(table: pd.DataFrame) -> list[str]:
    """The policies of a table that are no iterations."""
    return list(dict.fromkeys(name for name in table["policy"] if iteration_of(name) is None))


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
