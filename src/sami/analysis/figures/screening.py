"""Figure of screened pairs: what the base model hears of each."""

import pandas as pd
from matplotlib.figure import Figure

from sami.analysis.figures.parts import error_bars, legend, subplots
from sami.analysis.figures.style import DOTTED, GREY, ONE_COLUMN, SEQUENCE, styled

FATES = {  # in the table -> in the legend
    "kept": "kept",
    "says the same": "says the same as a kept one",
    "beyond the number kept": "beyond the number kept",
    "not heard": "not heard",
}
LINE = 0.16  # inches a pair takes


@styled
def candidates(candidates: pd.DataFrame, title: str = "") -> Figure:
    """Bound of every pair with its interval, the highest first; filled where the pair is kept."""
    ordered = candidates.sort_values("bound_nats", ascending=False, kind="stable", na_position="last")
    ordered = ordered.assign(place=range(len(ordered)))
    figure, (axes,) = subplots(ONE_COLUMN, 1.0 + LINE * len(ordered), 1, title)
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=DOTTED)
    for (fate, name), (colour, marker, _) in zip(FATES.items(), SEQUENCE, strict=False):
        shown = ordered[(ordered["fate"] == fate) & ordered["bound_nats"].notna()]
        if len(shown):
            axes.errorbar(
                shown["bound_nats"], shown["place"], xerr=error_bars(shown, "bound_nats"), color=colour, marker=marker,
                linestyle="", elinewidth=0.6, markerfacecolor=colour if fate == "kept" else "white", label=name,
            )  # fmt: skip
    same = ordered[ordered["fate"] == "says the same"]
    names = [
        f"{row.pair} (= {row.like})" if row.place in set(same["place"]) else row.pair for row in ordered.itertuples()
    ]
    axes.set_yticks(ordered["place"], names)
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.set_xlabel("Bound on the information (nats)")
    legend(figure, [axes])
    return figure
