"""Tables in print: numbers with intervals, escaped Markdown and LaTeX."""

import re

import markdown_it
import numpy as np
import pandas as pd
import pytest

from sami.analysis.tables import build, files
from sami.analysis.tables.catalogue import Table, span


def shown(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    return files.printed(frame, names)


def test_an_estimate_and_its_interval_are_one_cell():
    frame = pd.DataFrame(
        {
            "win_rate": [0.7, 0.5, np.nan],
            "win_low": [0.64, np.nan, np.nan],
            "win_high": [0.756, np.nan, np.nan],
            "published_low": [0.66, 0.55, np.nan],
            "published_high": [0.77, 0.55, np.nan],
        }
    )
    table = shown(frame, "win_rate", "published")
    assert table["win rate"].tolist() == ["0.70 [0.64, 0.76]", "0.50", "-"]
    assert table["published"].tolist() == ["0.66 to 0.77", "0.55", "-"]
    assert table.attrs["numeric"] == ["win rate", "published"]


def test_digits_are_those_of_the_column_and_small_p_values_stay_above_zero():
    frame = pd.DataFrame({"mean_words": [9.96, 123.45], "p_holm": [0.00004, 1.0], "difference": [-0.001, -0.25],
                          "n_queries": [8, 250]})  # fmt: skip
    table = shown(frame, *frame)
    assert table["mean words"].tolist() == ["10.0", "123.5"]
    assert table["p (Holm)"].tolist() == ["4e-05", "1"]
    assert table["difference"].tolist() == ["0.00", "-0.25"]
    assert table["queries"].tolist() == ["8", "250"]


AWKWARD = r"""50% & $x_1$ #2 {a} ~b ^c \d | *e* `f` <b>g</b> _h_"""


@pytest.fixture
def awkward() -> pd.DataFrame:
    return shown(pd.DataFrame({"experiment": [AWKWARD, "[two\nlines"], "difference": [-0.25, 0.5]}), "experiment",
                 "difference")  # fmt: skip


def test_markdown_shows_every_character_as_it_is(awkward):
    html = markdown_it.MarkdownIt("commonmark").enable("table").render(files.markdown(awkward))
    cells = [
        re.sub("&amp;", "&", c.replace("&lt;", "<").replace("&gt;", ">"))
        for c in re.findall("<td[^>]*>(.*)</td>", html)
    ]
    assert cells == [AWKWARD, "-0.25", "[two lines", "0.50"]


def test_latex_escapes_every_character_and_has_the_rules_of_booktabs(awkward):
    first, *lines = files.latex(awkward).splitlines()
    assert first == r"% \usepackage{booktabs}"
    assert lines[0] == r"\begin{tabular}{lr}"
    assert [line for line in lines if line.startswith(r"\to") or "rule" in line] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]
    row, other = lines[4:6]
    assert row.endswith(r" & $-$0.25 \\")
    assert other == r"{}[two lines & 0.50 \\"
    text = row.removesuffix(r" & $-$0.25 \\")
    assert not re.search(
        r"(?<!\\)[&%#_{}$]", re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)\b|\{\}", "", text)
    )
    assert not re.search("[<>|]", text)
    assert lines[-1] == r"\end{tabular}"


def test_a_table_without_rows_keeps_its_headings():
    empty = shown(build.frame(Table("t", "", ("policy", *span("win_rate")), ""), []), "policy", "win_rate")
    assert files.markdown(empty).startswith("| policy   | win rate")
    assert r"policy & win rate \\" in files.latex(empty)


def test_numbers_have_one_form():
    assert files.cell(0.123456, "x") == "0.1235"
    assert files.cell(-0.00001, "x") == "0.0000"
    assert files.cell(float("nan"), "x") == ""
    assert files.cell(3.1e-9, "p") == "3.1e-09"
    assert files.cell(12, "x") == 12
