"""Comparisons of experiments: their table, their figure, and their names in the configuration."""

import judged
import numpy as np
import pandas as pd
import pytest
from tabulated import command, make_tables, row_of, table_of, write_experiment

from sami import records
from sami.analysis.figures import win_rates as figures
from sami.analysis.statistics.significance import holm
from sami.analysis.tables import comparison as comparing
from sami.analysis.tables import files
from sami.analysis.tables.catalogue import span
from sami.analysis.tables.comparison import check_ids
from sami.analysis.tables.rows import Estimator
from sami.errors import UserError
from sami.records import Constitution, Query, Statement, Verdict

NAMES = {"first": {"queries": 10, "iterations": 2}, "second": {"queries": 8, "iterations": 1}, "other": {"queries": 6}}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Folder of three experiments and the table that compares them.

    The second one's held-out queries are those of the first but two; one of them has another text there. The third has
    other principles.
    """
    folder = tmp_path_factory.mktemp("compared")
    flags = {"experiments": list(NAMES), "samples": ["400"], "confidence": ["0.95"], "seed": ["1"], "judged": []}
    flags |= {"tables": [], "queries": [], "constitutions": [], "verdicts": []}
    for name, sizes in NAMES.items():
        made = write_experiment(folder / name, judges=["checks"], **{"iterations": 1, **sizes})
        if name == "second":
            replace(
                made["queries"][0], Query, lambda query: {"text": "Another question?"} if query.id == "q003" else {}
            )
        if name == "other":
            replace(made["constitutions"][0], Constitution, lambda c: {"statements": [*map(louder, c.statements)]})
        make_tables(made, folder / name / "tables")
        flags["tables"].append(str(folder / name / "tables"))
        flags["queries"] += made["queries"]
        flags["constitutions"] += made["constitutions"]
        last = [file for file in made["verdicts"] if f"iteration-{sizes.get('iterations', 1)}/" in file]
        flags["verdicts"] += last
        flags["judged"] += [name] * len(last)
    done = command("compare_experiments", flags | {"output": [str(folder / "tables")]})
    assert done.returncode == 0, done.stderr
    return folder, flags, files.read(folder / "tables", "comparison")


def louder(statement: Statement) -> Statement:
    return statement.model_copy(update={"text": f"{statement.text}!"})


def replace(file: str, kind: type, change) -> None:
    records.write([record.model_copy(update=change(record)) for record in records.read(kind, file)], file)


def test_rows_are_the_last_policies_of_all_experiments_by_comparator(compared):
    folder, _, table = compared
    assert list(zip(table["comparator"], table["experiment"], table["policy"], strict=True)) == [
        ("iteration-0", "first", "iteration-2"), ("iteration-0", "first", "instruct"),
        ("iteration-0", "second", "iteration-1"), ("iteration-0", "second", "instruct"),
        ("iteration-0", "other", "iteration-1"), ("iteration-0", "other", "instruct"),
        ("instruct", "first", "iteration-2"), ("instruct", "second", "iteration-1"),
        ("instruct", "other", "iteration-1"),
    ]  # fmt: skip
    rates = files.read(folder / "second" / "tables", "win_rates").set_index(["policy", "comparator"])
    information = files.read(folder / "second" / "tables", "information").set_index(["policy", "responses"])
    degeneration = files.read(folder / "second" / "tables", "degeneration").set_index("policy")
    row = table.set_index(["experiment", "policy", "comparator"]).loc["second", "iteration-1", "instruct"]
    for name in (*span("win_rate", "lc_win_rate"), "mean_words", "n_verdicts"):
        assert row[name] == rates.loc[("iteration-1", "instruct"), name], name
    assert row["bound_low"] == information.loc[("iteration-1", "own"), "bound_low"]
    assert row["degenerate_share"] == degeneration.loc["iteration-1", "degenerate_share"]
    assert (row["published_low"], row["published_high"]) == (0.56, 0.56)
    assert table[table["policy"] == "instruct"][["published_low", "bound_nats"]].isna().all(axis=None)


def test_the_frontier_has_a_row_for_every_policy(compared):
    """Win rates are those by the first judge against the first comparator, relevance that under the queries alone."""
    folder, _, table = compared
    frontier = files.read(folder / "tables", "frontier")
    assert list(zip(frontier["experiment"], frontier["policy"], strict=True)) == [
        ("first", "iteration-0"), ("first", "iteration-1"), ("first", "iteration-2"), ("first", "instruct"),
        ("second", "iteration-0"), ("second", "iteration-1"), ("second", "instruct"),
        ("other", "iteration-0"), ("other", "iteration-1"), ("other", "instruct"),
    ]  # fmt: skip
    names = {"policy": "iteration-1", "comparator": "iteration-0"}
    read = {name: files.read(folder / "first" / "tables", name) for name in ("win_rates", "relevance", "echo")}
    row = row_of(frontier, experiment="first", policy="iteration-1")
    rates = row_of(read["win_rates"], **names)
    alone = row_of(read["relevance"], policy="iteration-1", context="alone")
    for name in span("win_rate", "relevant_win_rate"):
        assert row[name] == rates[name]
    for name in span("identified", "margin", "log_probability"):
        assert row[name] == alone[name]
    assert row["echo_high"] == row_of(read["echo"], policy="iteration-1")["echo_high"]
    base = frontier[frontier["policy"] == "iteration-0"]
    assert base["win_rate"].isna().all()  # it is the comparator
    assert base["margin"].notna().all()
    last = row_of(table, experiment="first", policy="iteration-2", comparator="instruct")
    told = row_of(frontier, experiment="first", policy="iteration-2")
    for name in span("identified", "margin", "log_probability", "echo"):
        assert last[name] == told[name]


def test_differences_are_on_the_pairs_that_both_were_judged_on(compared):
    """The same text of the query, and the same texts of the constitution."""
    folder, _, table = compared
    differences = table[table["difference"].notna()]
    assert list(zip(differences["experiment"], differences["comparator"], strict=True)) == [
        ("second", "iteration-0"), ("second", "instruct"),
    ]  # fmt: skip
    for row in differences.itertuples():
        first, second = (
            {
                v.key: v.preference
                for v in records.read(Verdict, folder / name / last / f"verdicts-checks-vs-{row.comparator}.jsonl")
            }
            for name, last in (("first", "iteration-2"), ("second", "iteration-1"))
        )
        shared = [key for key in second if key in first and key[0] != "q003"]
        assert row.shared_pairs == len(shared) == 14
        assert row.difference == pytest.approx(np.mean([second[key] - first[key] for key in shared]), abs=6e-5)
        assert row.difference_low <= row.difference <= row.difference_high
    assert differences["p_holm"].tolist() == pytest.approx(holm(differences["p"].tolist()), rel=0.01)


def test_other_judges_share_no_pairs():
    """A stricter judge would make any policy look worse."""
    rate = {"policy": ["iteration-1"], "iteration": 1, "comparator": "iteration-0", "n_queries": 2, "n_verdicts": 2}
    rate |= dict.fromkeys([*comparing.RATES, *comparing.WORDS], 0.5)
    rate |= dict.fromkeys(comparing.OF_RELEVANT, 0.5)
    columns = [*comparing.BOUNDS, *comparing.DEGENERATE, *comparing.RELEVANCE, *comparing.ECHO]
    bare = pd.DataFrame(columns=["policy", "responses", "principles", "context", *columns])
    pairs = {("text", ("statement",), "q", "s", "c", 0): 1.0}
    results = [
        comparing.Results(
            f"by-{judge}", pd.DataFrame(rate | {"judge": judge}), *[bare] * 4, {("iteration-0", judge): pairs}
        )
        for judge in ("strict", "mild")
    ]
    table = table_of("comparison", results, Estimator(100, 0.95, 1))
    assert table["difference"].isna().all()
    assert [label.get_text() for label in figures.comparison(table).axes[0].get_yticklabels()] == [
        "by-strict (by strict)", "by-mild (by mild)",
    ]  # fmt: skip


def test_the_figure_has_a_row_for_every_row_of_the_table(compared, tmp_path):
    folder, _, table = compared
    figure = figures.comparison(table, "made-up")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["against the base model", "against instruct"]
    for axes, (_, rows) in zip(figure.axes, table.groupby("comparator", sort=False), strict=True):
        drawn = sorted(x for line in axes.get_lines() if line.get_marker() in ("o", "s") for x in line.get_xdata())
        assert drawn == sorted([*rows["win_rate"], *rows["lc_win_rate"]])
        names = [f"{e}: {p}" if p == "instruct" else e for e, p in zip(rows["experiment"], rows["policy"], strict=True)]
        assert [label.get_text() for label in axes.get_yticklabels()] == names
        boxes = [(box.get_x(), box.get_x() + box.get_width()) for box in axes.patches]
        expected = rows[["published_low", "published_high"]].dropna().itertuples(index=False, name=None)
        assert np.array(boxes) == pytest.approx(np.array(list(expected)))
    unpublished = figures.comparison(table.assign(published_low=np.nan, published_high=np.nan))
    assert "published" not in [text.get_text() for text in unpublished.legends[0].get_texts()]
    flags = {"tables": [str(folder / "tables")], "title": ["made-up"], "output": [str(tmp_path / "figures")]}
    assert command("plot_figures", flags).returncode == 0
    assert {path.name for path in (tmp_path / "figures").glob("*.p[dn]*")} == {
        f"{name}.{kind}" for name in ("comparison", "frontier") for kind in ("pdf", "png")
    }


@pytest.mark.parametrize(
    ("flag", "change", "message"),
    [
        ("queries", lambda files: files[:1], "--queries: found 1, expected one for each of the experiments first"),
        ("judged", lambda names: [*names[:-1], "ohter"], "--judged: found first, .*ohter, expected for each"),
    ],
)
def test_wrong_files_are_named(compared, flag, change, message):
    _, flags, _ = compared
    spoiled = flags | {flag: change(flags[flag])}
    named = ("experiments", "tables", "queries", "constitutions", "judged", "verdicts")
    with pytest.raises(UserError, match=message):
        comparing.load(*(spoiled[name] for name in named))


def test_verdicts_under_held_out_constitutions_are_of_this_run_and_not_compared():
    """Some constitutions of verdicts may be unknown; queries may not, nor all constitutions."""

    def verdict(query_id: str, constitution_id: str) -> Verdict:
        return judged.verdict(query_id=query_id, constitution_id=constitution_id)

    verdicts = [verdict("q1", "known"), verdict("q1", "held-out")]
    queries, constitutions = {"q1": None}, {"known": None}
    check_ids("v.jsonl", verdicts, queries, constitutions, ["queries.jsonl", "constitutions.jsonl"])
    for strange in ([*verdicts, verdict("q2", "known")], verdicts[1:]):
        with pytest.raises(UserError, match="v.jsonl: query 'q.' or .* which are of another run"):
            check_ids("v.jsonl", strange, queries, constitutions, ["queries.jsonl", "constitutions.jsonl"])
