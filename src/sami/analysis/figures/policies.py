"""Figures of what policies write, whoever judges it: information, adherence, length, degeneration."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sami.analysis.figures.parts import (
    empty_figure,
    error_bars,
    legend,
    other_policies,
    plot_by_policy,
    policy_axis,
    policy_label,
    positions,
    row_lines,
    subplots,
)
from sami.analysis.figures.style import (
    BLUE,
    DOTTED,
    FIRST,
    GREEN,
    GREY,
    ONE_COLUMN,
    PURPLE,
    SECOND,
    TWO_COLUMNS,
    VERMILION,
    styled,
)
from sami.analysis.tables.rows import TRAINING

HOLLOW_GREY = (GREY, "o", True)  # colour, marker, hollow: of the base model
OTHERS = [(VERMILION, "s", True), (GREEN, "^", True), (PURPLE, "P", True)]  # the same of models not trained here


@styled
def bound(information: pd.DataFrame, title: str = "") -> Figure:
    """Lower bound on the mutual information, on own and on the base model's responses, and accuracies, by iteration.

    From the table `information`; the dotted line is log C, which the bound cannot exceed.
    """
    if information.empty:
        return empty_figure(TWO_COLUMNS, 1.2, title, "No policy was scored.")
    figure, (axes, accuracies) = subplots(TWO_COLUMNS, 2.3, 2, title)
    information = information[information["principles"] == TRAINING]
    largest = information["max_bound"].max()
    own = information[information["responses"] == "own"]
    on_base = information[(information["responses"] == "base") | (information["iteration"] == 0)]
    policies = positions(information)
    axes.axhline(largest, color=GREY, linewidth=0.8, linestyle=DOTTED)
    axes.annotate(
        f"log C = {largest:.2f}", (1, largest), (0, 2), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", va="bottom", fontsize=6.5, color=GREY,
    )  # fmt: skip
    lowest = np.nanmin([*information[["bound_nats", "bound_low"]].to_numpy(dtype=float).flat, 0.0])
    axes.set_ylim(lowest - 0.03 * (lowest < 0), largest * 1.13)
    axes.set_ylabel("Information, lower bound (nats)")
    for panel, shown, name, first, label in (
        (axes, own, "bound_nats", True, "own responses"),
        (axes, on_base, "bound_nats", False, "base model's responses"),
        (accuracies, own, "row_accuracy", True, "row: which response"),
        (accuracies, own, "column_accuracy", False, "column: which constitution"),
    ):
        mark, aside = (FIRST, -0.03) if first else (SECOND, 0.03)
        plot_by_policy(panel, policies, shown, name, mark, aside=aside, hollow=not first, label=label)
    shares = own[["row_accuracy", "row_accuracy_low", "column_accuracy", "column_accuracy_low"]].to_numpy(dtype=float)
    accuracies.set_ylim(np.nanmin([*shares.flat, 0.5]) - 0.03, 1.03)
    accuracies.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    accuracies.set_ylabel("Accuracy on own responses")
    for panel in (axes, accuracies):
        policy_axis(panel, policies)
        panel.legend(loc="best")
    return figure


@styled
def adherence(adherence: pd.DataFrame, title: str = "") -> Figure:
    """Degree to which responses follow each principle, and its opposite, where it is wanted: a panel for each polarity.

    Of the base model, the last iteration and the other models.
    """
    principles = list(dict.fromkeys(adherence["principle"]))
    others = other_policies(adherence)
    height = 1.1 + (0.3 + 0.1 * len(others)) * max(1, len(principles))
    if not principles:
        return empty_figure(TWO_COLUMNS, height, title, "None of these principles has a programmatic check.")
    wanted = {"wanted": "the principle is wanted", "opposite": "its opposite is wanted"}
    shown_sides = {side: heading for side, heading in wanted.items() if side in set(adherence["polarity"])}
    width = TWO_COLUMNS if len(shown_sides) > 1 else ONE_COLUMN
    figure, panels = subplots(width, height, len(shown_sides), title, sharey=True)
    last = adherence["iteration"].max()
    chosen = [("iteration-0", *HOLLOW_GREY)] + [(f"iteration-{last:.0f}", BLUE, "D", False)] * bool(last > 0)
    chosen += [(name, *OTHERS[number % len(OTHERS)]) for number, name in enumerate(others)]
    offsets = 0.14 * np.linspace(1, -1, len(chosen)) * (1 + 0.3 * len(others)) if len(chosen) > 1 else [0.0]
    rows = -np.arange(len(principles))
    for axes, (polarity, heading) in zip(panels, shown_sides.items(), strict=True):
        row_lines(axes, rows)
        for (policy, colour, marker, hollow), offset in zip(chosen, offsets, strict=True):
            shown = adherence[(adherence["policy"] == policy) & (adherence["polarity"] == polarity)]
            shown = shown.set_index("principle").reindex(principles)
            axes.errorbar(
                shown["degree"], rows + offset, xerr=error_bars(shown, "degree"), fmt=marker, color=colour,
                markerfacecolor="white" if hollow else colour, elinewidth=0.9, capsize=1.5, capthick=0.9,
                label=policy_label(policy),
            )  # fmt: skip
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        axes.set_xlabel("Degree of following")
        axes.set_title(heading)
    panels[0].set_yticks(rows, principles)
    panels[0].set_ylim(rows[-1] - 0.5, 0.5)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    legend(figure, panels)
    return figure


@styled
def length(lengths: pd.DataFrame, title: str = "") -> Figure:
    """Mean response length by iteration, for positive constitutions and for the others.

    In tokens, or in words where not all policies' tokens are known.
    """
    figure, (axes,) = subplots(ONE_COLUMN, 2.3, 1, title)
    unit = "words" if lengths["mean_tokens"].isna().any() else "tokens"
    policies = positions(lengths)
    for polarity, label, side, mark, hollow in (
        ("positive", "all principles wanted", -1, FIRST, False),
        ("other", "some or all negated", 1, SECOND, True),
    ):
        chosen = lengths[lengths["polarity"] == polarity]
        if not chosen.empty:
            plot_by_policy(axes, policies, chosen, f"mean_{unit}", mark, aside=0.03 * side, hollow=hollow, label=label)
    axes.set_ylim(0, 1.12 * np.nanmax(lengths[[f"mean_{unit}", f"mean_{unit}_high"]].to_numpy(dtype=float)))
    axes.set_ylabel(f"Mean response length ({unit})")
    policy_axis(axes, policies)
    axes.legend(loc="best")
    return figure


@styled
def degeneration(degeneration: pd.DataFrame, title: str = "") -> Figure:
    """Share of degenerate responses and, where policies were scored, how likely these are to the base model and to the
    policy, by iteration."""
    scored = degeneration[degeneration["own_log_probability"].notna()]
    figure, (shares, *rest) = subplots(*((ONE_COLUMN, 2.3, 1) if scored.empty else (TWO_COLUMNS, 2.3, 2)), title)
    policies = positions(degeneration)
    plot_by_policy(shares, policies, degeneration, "degenerate_share", FIRST)
    top = np.nanmax(degeneration[["degenerate_share", "degenerate_share_high"]].to_numpy(dtype=float))
    shares.set_ylim(-0.02 * max(0.1, top), 1.1 * max(0.1, top))
    shares.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    shares.set_ylabel("Degenerate responses")
    policy_axis(shares, policies)
    for likelihood in rest:
        policies = positions(scored)
        for name, mark, hollow, label in (
            ("own_log_probability", FIRST, False, "under the policy itself"),
            ("base_log_probability", SECOND, True, "under the base model"),
        ):
            aside = 0.03 if hollow else -0.03
            plot_by_policy(likelihood, policies, scored, name, mark, aside=aside, hollow=hollow, label=label)
        likelihood.set_ylabel("Log-probability (nats per token)")
        policy_axis(likelihood, policies)
        likelihood.legend(loc="best")
    return figure
