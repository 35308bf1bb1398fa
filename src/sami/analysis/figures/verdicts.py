"""Figures of the verdicts on the last trained policy: by principle, and by length."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sami.analysis.figures.parts import error_bars, legend, of_first_judge, policy_label, row_lines, subplots
from sami.analysis.figures.style import BLUE, DASHED, DOTTED, GREY, ONE_COLUMN, VERMILION, styled
from sami.records import last_trained

POLARITIES = {  # of win rates by principle: colour, marker, hollow
    "both": ("black", "D", False),
    "wanted": (BLUE, "o", False),
    "opposite": (VERMILION, "s", True),
}


@styled
def win_rate_by_principle(by_principle: pd.DataFrame, title: str = "") -> Figure:
    """Win rate under the constitutions that hold each principle or its opposite, together and apart.

    Of the last trained policy, by the first judge against the first comparator. To the right, for both together, the
    number of queries and how many the wanted width would need.
    """
    by_principle = of_first_judge(by_principle)
    policy = last_trained(by_principle["policy"])
    shown = by_principle[by_principle["policy"] == policy]
    whole = shown.drop_duplicates("principle")  # the first row of each has all verdicts
    principles = whole["principle"].tolist()
    polarities = [name for name in POLARITIES if (shown["polarity"] == name).any()]
    figure, (axes,) = subplots(ONE_COLUMN, 1.27 + (0.14 + 0.1 * len(polarities)) * len(principles), 1, title)
    rows = -np.arange(len(principles))
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
    row_lines(axes, rows)
    for number, polarity in enumerate(polarities):
        chosen = shown[shown["polarity"] == polarity].set_index("principle").reindex(principles)
        offset = 0.27 * ((len(polarities) - 1) / 2 - number)
        colour, marker, hollow = POLARITIES[polarity]
        axes.errorbar(
            chosen["win_rate"], rows + offset, xerr=error_bars(chosen, "win_rate"), fmt=marker, color=colour,
            markerfacecolor="white" if hollow else colour, elinewidth=0.9, capsize=1.5, capthick=0.9, label=polarity,
        )  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    # In two lines: beside long names of principles the panel is narrow.
    axes.set_xlabel(f"Win rate of {policy_label(policy)}\nagainst {policy_label(shown.iloc[0]['comparator'])}")
    axes.set_yticks(rows, principles)
    axes.set_ylim(rows[-1] - 0.5, 0.5)
    counts = axes.secondary_yaxis("right")
    needed = ["-" if math.isnan(count) else f"{count:.0f}" for count in whole["queries_needed"].astype(float)]
    counts.set_yticks(rows, [f"{had} / {count}" for had, count in zip(whole["n_queries"], needed, strict=True)])
    counts.spines["right"].set_visible(False)
    axes.set_title("queries / needed", loc="right")
    for side in (axes, counts):
        side.tick_params(axis="y", length=0)
    legend(figure, [axes])
    return figure


@styled
def length_bias(length_bias: pd.DataFrame, title: str = "") -> Figure:
    """Bias of verdicts towards length: mean preference by length difference, with the fit of it.

    By the first judge, against the first comparator, for the last trained policy.
    """
    figure, (axes,) = subplots(ONE_COLUMN, 2.3, 1, title)
    length_bias = of_first_judge(length_bias)
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
        shown["standardised"], shown["preference"], yerr=error_bars(shown, "preference"), fmt="o", color=BLUE,
        elinewidth=0.9, capsize=2, capthick=0.9, label="verdicts, in bins",
    )  # fmt: skip
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("Mean preference")
    axes.set_xlabel("Length difference (standard deviations)")
    axes.set_title(f"{policy_label(policy)} against {policy_label(fit['comparator'])}, by {fit['judge']}")
    axes.legend(loc="best")
    return figure
