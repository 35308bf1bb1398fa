"""Figure of the course of training: a panel for each metric that the training logs have."""

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sami.analysis.figures.parts import empty_figure, legend, subplots
from sami.analysis.figures.style import SEQUENCE, TWO_COLUMNS, styled

# Columns of the table that are no metrics, and metrics that another panel or figure shows: SAMI's bound is a constant
# minus the loss, and log-probabilities are in the figure of degeneration, on held-out queries.
NO_PANELS = ("policy", "iteration", "step", "learning_rate", "queries", "tokens_per_second", "bound",
             "own_log_probability", "other_log_probability")  # fmt: skip
LABELS = {"loss": "Loss (nats)", "kl": "KL divergence (nats)"}  # others are made from the names


def metrics(training: pd.DataFrame) -> list[str]:
    """The metrics of a table that have a panel, in its order; the divergence comes last, where there is one."""
    names = [name for name in training if name not in NO_PANELS and not (name == "kl" and (training[name] == 0).all())]
    return sorted(names, key=lambda name: name == "kl")


@styled
def training(training: pd.DataFrame, title: str = "") -> Figure:
    """The metrics of the objective, the gradient's norm, and the divergence where there is one, by optimiser step.

    One line an iteration.
    """
    if training.empty:
        return empty_figure(TWO_COLUMNS, 1.2, title, "No policy was trained.")
    names = metrics(training)
    rows = 1 if len(names) < 4 else 2
    figure, axes = subplots(TWO_COLUMNS, 1.65 * max(rows, 1.4), rows * math.ceil(len(names) / rows), title, rows=rows)
    for spare in axes[len(names) :]:
        spare.set_axis_off()
    for t, steps in training.groupby("iteration"):
        colour, marker, line = SEQUENCE[(int(t) - 1) % len(SEQUENCE)]
        for panel, name in zip(axes, names, strict=False):
            panel.plot(
                steps["step"], steps[name], color=colour, linestyle=line, marker=marker,
                markevery=max(1, len(steps) // 8), markersize=3, label=f"iteration {t:.0f}",
            )  # fmt: skip
    for panel, name in zip(axes, names, strict=False):
        panel.set_ylabel(LABELS.get(name, name.replace("_", " ").capitalize()))
        panel.set_xlabel("Optimiser step")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name.endswith("accuracy"):
            panel.set_ylim(min(0.5, training[name].min()) - 0.03, 1.03)
            panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        else:
            panel.set_ylim(1.08 * min(0.0, training[name].min()), 1.08 * max(0.0, training[name].max()) or None)
    figure.align_ylabels()
    legend(figure, axes)
    return figure
