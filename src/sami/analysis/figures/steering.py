"""Figure of what policies make of attributes: achieved against asked, and the matrix of rank correlations."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sami.analysis.figures.parts import error_bars, legend, policy_label, subplots
from sami.analysis.figures.style import DOTTED, GREY, SEQUENCE, TWO_COLUMNS, styled
from sami.records import BASE, last_trained

COLOURS = "RdBu"  # diverging, and told apart by those who see no red or no green


@styled
def steering(steering: pd.DataFrame, steering_summary: pd.DataFrame, title: str = "") -> Figure:
    """Mean degree against the degree asked for of the base model and the last policy; the leakage matrix of the last.

    A line an attribute. In the matrix a row is an attribute that was asked for, a column one that was measured.
    """
    last = last_trained(steering["policy"])
    figure, (base, trained, matrix) = subplots(TWO_COLUMNS, 2.6, 3, title)
    for axes, policy in ((base, BASE), (trained, last)):
        _achieved(axes, steering[steering["policy"] == policy])
        axes.set_title(policy_label(policy))
    base.set_ylabel("Degree of the attribute")
    _matrix(matrix, steering_summary[steering_summary["policy"] == last])
    matrix.set_title(f"Rank correlation, {policy_label(last)}")
    legend(figure, [base])
    return figure


def _achieved(axes: Axes, shown: pd.DataFrame) -> None:
    """Achieved against asked, a line an attribute; dotted is where one is the other."""
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=DOTTED)
    for number, (attribute, of_one) in enumerate(shown.groupby("attribute", sort=False)):
        colour, _, line = SEQUENCE[number % len(SEQUENCE)]
        # Where there are more attributes than colours, those of one colour have different markers.
        marker = SEQUENCE[(number + number // len(SEQUENCE)) % len(SEQUENCE)][1]
        axes.errorbar(
            of_one["wanted"], of_one["degree"], yerr=error_bars(of_one, "degree"), color=colour, marker=marker,
            linestyle=line, elinewidth=0.6, label=attribute,
        )  # fmt: skip
    axes.set_xlim(-0.05, 1.05)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("Degree asked for")


def _matrix(axes: Axes, shown: pd.DataFrame) -> None:
    """Rank correlations as a heat map with their numbers; a dash where all degrees are equal."""
    attributes, measured = (list(dict.fromkeys(shown[name])) for name in ("attribute", "measured"))
    values = shown["correlation"].to_numpy(dtype=float).reshape(len(attributes), len(measured))
    axes.imshow(values, cmap=COLOURS, vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in zip(
        ((row, column) for row in range(len(attributes)) for column in range(len(measured))), values.flat, strict=True
    ):
        text = "-" if pd.isna(value) else f"{value:.2f}".replace("-0.00", "0.00")
        colour = "white" if abs(value) > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    axes.set_xticks(range(len(measured)), measured, rotation=35, rotation_mode="anchor", ha="right")
    axes.set_yticks(range(len(attributes)), attributes)
    axes.set_xlabel("measured")
    axes.set_ylabel("asked for")
