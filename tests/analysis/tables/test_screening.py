"""Table and figure of screened pairs, on a few made-up ones."""

import pandas as pd
import pytest

from sami.analysis.figures.screening import candidates as figure_of
from sami.analysis.tables.screening import candidates
from sami.records import Screened


def screened(name: str, fate: str, bound: float | None, recognised: tuple = (1.0, 1.0), **more) -> Screened:
    low, high = (None, None) if bound is None else (bound - 0.1, bound + 0.1)
    bounds = {} if bound is None else {"q0": bound - 0.05, "q1": bound + 0.05}
    return Screened(
        id=name, text=f"Be {name}.", opposite="Be not.", bounds=bounds, bound=bound, low=low, high=high,
        principle_recognised=recognised[0], opposite_recognised=recognised[1], fate=fate, **more,
    )  # fmt: skip


PAIRS = [
    screened("a", "kept", 0.3),
    screened("b", "kept", 0.2, overlap=0.1, like="a"),
    screened("c", "not heard", 0.01, (0.5, 0.75)),
    screened("d", "not heard", 0.02, (0.9, 0.75)),
    screened("e", "not heard", -0.02, (0.75, 0.75)),
    screened("f", "not heard", None, (None, None)),
    screened("g", "says the same", 0.25, overlap=0.7, like="a"),
    screened("h", "beyond the number kept", 0.15),
]


def test_rows():
    rows = {row["pair"]: row for row in candidates(PAIRS)}
    assert list(rows) == list("abcdefgh")
    assert {name: row["reword"] for name, row in rows.items() if row["reword"]} == {
        "c": "principle", "d": "opposite", "e": "both", "f": "both",
    }  # fmt: skip
    assert rows["b"] == {
        "pair": "b", "bound_nats": 0.2, "bound_low": 0.1, "bound_high": pytest.approx(0.3),
        "principle_recognised": 1.0, "opposite_recognised": 1.0, "n_queries": 2, "queries_needed": 2, "fate": "kept",
        "reword": None, "overlap": 0.1, "like": "a", "principle": "Be b.", "opposite": "Be not.",
    }  # fmt: skip
    assert (rows["f"]["n_queries"], rows["f"]["queries_needed"]) == (0, None)


def test_the_figure_names_every_pair_and_fate():
    figure = figure_of(pd.DataFrame(candidates(PAIRS)), title="mine")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "g (= a)", "b", "h", "d", "c", "e", "f"]
    shown = {text.get_text() for legend in [*figure.legends, axes.get_legend()] if legend for text in legend.texts}
    assert shown == {"kept", "says the same as a kept one", "beyond the number kept", "not heard"}
