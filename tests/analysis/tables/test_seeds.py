"""Runs with several seeds, joined: tables, figure, and what does not belong together."""

import json
import math

import numpy as np
import pytest
from tabulated import EVALUATION, command, make_tables, row_of, verdicts_of, write_experiment

from sami import records
from sami.analysis import summary
from sami.analysis.figures import seeds as figures
from sami.analysis.statistics.bootstrap import bootstrap, bootstrap_over_seeds
from sami.analysis.tables import files, measures
from sami.analysis.tables import seeds as joining
from sami.analysis.tables.catalogue import JOINED, ends, span
from sami.records import Query

SEEDS = (1, 5, 7)
POLICIES = ["iteration-0", "iteration-1", "iteration-2", "instruct"]
JUDGES = ["checks", "model"]
DRAWS = {"samples": EVALUATION["bootstrap_samples"], "confidence": EVALUATION["confidence"], "seed": SEEDS[0]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Seed -> the flags of `tabulate` of a made-up run, and its folder of tables.

    Runs have the same queries and other responses.
    """
    folder = tmp_path_factory.mktemp("seeds")
    return {s: tabulated(folder / str(s), seed=f"-{s}") for s in SEEDS}


def tabulated(folder, **options) -> dict:
    flags = write_experiment(folder, 10, 2, judges=JUDGES, **options)
    return flags | {"tables": [str(make_tables(flags, folder / "tables"))]}


def flags_of(runs, output) -> dict[str, list[str]]:
    """The flags of `join_seeds`."""
    flags = {"seeds": [str(seed) for seed in runs], "output": [str(output)], "evaluation": [json.dumps(EVALUATION)]}
    return flags | {name: [file for run in runs.values() for file in run[name]] for name in ("queries", "tables")}


@pytest.fixture(scope="module")
def joined(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("joined") / "tables"
    done = command("join_seeds", flags_of(runs, folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_there_is_a_row_a_seed_and_policy_and_a_row_a_policy(joined):
    table = files.read(joined, "seeds")
    assert list(zip(table["seed"], table["policy"], strict=True)) == [(s, p) for s in SEEDS for p in POLICIES]
    assert set(table["n_queries"]) == {10}
    table = files.read(joined, "joined")
    assert list(table["policy"]) == POLICIES
    assert table["iteration"].tolist()[:3] == [0, 1, 2]
    assert math.isnan(table["iteration"].iloc[3])
    assert set(table["n_seeds"]) == {3}
    assert (joined / "joined.md").read_text().splitlines()[0].split("|")[-4:-1] == [
        "   seeds ",
        "   queries ",
        " split   ",
    ]


def test_the_numbers_of_a_seed_are_those_of_the_tables_of_its_run(runs, joined, tmp_path):
    table = files.read(joined, "seeds")
    for seed in SEEDS:
        (folder,) = runs[seed]["tables"]
        names = ("summary", "degeneration", "information", "lengths", "relevance", "echo")
        rows = {name: files.read(folder, name) for name in names}
        rows["relevance"] = rows["relevance"][rows["relevance"]["context"] == "alone"]
        for policy in POLICIES:
            row, summed = row_of(table, seed=seed, policy=policy), row_of(rows["summary"], policy=policy)
            of_summary = ("bound_nats", "row_accuracy", "column_accuracy", "win_rate", "response_tokens")
            for name in (*of_summary, "degenerate_share"):
                assert row[name] == pytest.approx(summed[name], abs=2e-4, nan_ok=True), name
            degenerate = row_of(rows["degeneration"], policy=policy)
            for name in ("repeated_share", "base_log_probability", "own_log_probability"):
                assert row[name] == pytest.approx(degenerate[name], abs=2e-4, nan_ok=True), name
            for name in ("identified", "margin", "log_probability", "echo"):
                of_run = row_of(rows["echo" if name == "echo" else "relevance"], policy=policy)
                for column in (name, f"{name}_difference"):
                    assert row[column] == pytest.approx(of_run[column], abs=2e-4, nan_ok=True), column
            words = rows["lengths"][rows["lengths"]["policy"] == policy]  # as many under both polarities
            assert row["response_words"] == pytest.approx(words["mean_words"].mean(), abs=2e-4)


def test_joined_numbers_are_means_over_seeds_with_intervals_over_seeds_and_queries(runs, joined):
    seeds, table = files.read(joined, "seeds"), files.read(joined, "joined")
    for policy in POLICIES:
        row = row_of(table, policy=policy)
        for name in JOINED:
            of_seeds = seeds[seeds["policy"] == policy][name]
            assert row[name] == pytest.approx(of_seeds.mean(), abs=2e-4, nan_ok=True), name
            low, high = ends(name)
            assert math.isnan(row[name]) or row[low] <= row[name] <= row[high]
    values = {seed: {} for seed in SEEDS}
    for seed in SEEDS:
        for verdict in verdicts_of(runs[seed], "iteration-2", "checks", "iteration-0"):
            values[seed].setdefault(verdict.query_id, []).append(verdict.preference)
    expected = bootstrap_over_seeds(values, **DRAWS)
    found = row_of(table, policy="iteration-2")[[*span("win_rate")]]
    assert found.tolist() == pytest.approx(list(expected), abs=6e-5)
    assert 0 < found["win_low"] < found["win_high"] < 1


def test_what_a_policy_does_not_have_is_empty(joined):
    table = files.read(joined, "joined")
    assert row_of(table, policy="iteration-0")[[*span("win_rate")]].isna().all()  # judged against itself
    assert row_of(table, policy="iteration-0")[[*span("margin_difference")]].isna().all()  # to itself
    scored = span("bound_nats", "row_accuracy", "own_log_probability")
    assert row_of(table, policy="instruct")[[*scored]].isna().all()


def test_what_is_joined_is_measured():
    assert set(JOINED) == {*measures.MEASURES, *measures.OF_VERDICTS}


def test_values_survive_the_file_of_measures(runs):
    """A mean and a number of values tell as much as the values: estimates and intervals over queries are the same."""
    found = measures.read(files.read(runs[5]["tables"][0], "measures"))
    for judge in JUDGES:
        values = {}
        for verdict in verdicts_of(runs[5], "iteration-2", judge, "iteration-0"):
            values.setdefault(verdict.query_id, []).append(verdict.preference)
        read = found[measures.Measure("iteration-2", "win_rate", "iteration-0", judge)]
        assert {query: len(of) for query, of in read.items()} == {query: len(of) for query, of in values.items()}
        assert bootstrap(read, **DRAWS) == pytest.approx(bootstrap(values, **DRAWS), abs=1e-9)
    assert measures.Measure("iteration-0", "win_rate", "iteration-0", "checks") not in found


def test_a_run_alone_joins_with_the_interval_over_its_queries(runs, tmp_path):
    done = command("join_seeds", flags_of({5: runs[5]}, tmp_path / "tables"))
    assert done.returncode == 0, done.stderr
    row = row_of(files.read(tmp_path / "tables", "joined"), policy="iteration-1")
    of_run = row_of(files.read(runs[5]["tables"][0], "information"), policy="iteration-1", responses="own")
    assert (row["n_seeds"], row["bound_nats"]) == (1, of_run["bound_nats"])
    assert row["bound_low"] == pytest.approx(of_run["bound_low"], abs=0.03)  # whose bootstrap has another seed


def test_a_measure_that_one_seed_lacks_is_not_joined():
    values = {"q": [1.0], "r": [0.0]}
    measured = {name: values for name in JOINED}
    of_seeds = {1: {"iteration-0": measured}, 2: {"iteration-0": measured | {"bound_nats": {}}}}
    estimator = joining.Estimator(100, 0.95, 1)
    (row,) = joining.joined(of_seeds, estimator)
    assert math.isnan(row["bound_nats"])
    assert row["win_rate"] == 0.5
    assert np.isnan([r["bound_nats"] for r in joining.seeds(of_seeds, estimator)]).tolist() == [False, True]


def test_summary_for_the_terminal_is_of_the_joined_table(joined):
    lines = summary.format(str(joined / "joined.csv")).splitlines()
    assert lines[0].split("  ")[0] == "iteration"
    folded = lines[lines.index("") + 1 :]
    assert folded[0].endswith("queries  seeds")
    assert [line.split()[-3:] for line in folded[2:]] == [["10", "eval", "3"]] * 4


def test_the_figure_has_a_line_a_seed_and_the_mean(joined):
    seeds, table = files.read(joined, "seeds"), files.read(joined, "joined")
    figure = figures.seeds(seeds, table, "made-up")
    panels = dict(zip(figures.PANELS, figure.axes, strict=True))
    assert [axes.get_ylabel() for axes in figure.axes] == list(figures.PANELS.values())
    for name, axes in panels.items():
        of_seeds = [seeds[(seeds["seed"] == seed) & seeds["iteration"].notna()][name] for seed in SEEDS]
        drawn = [line.get_ydata() for line in axes.get_lines()]
        for values in of_seeds:
            assert any(len(y) == 3 and np.array_equal(y, values, equal_nan=True) for y in drawn), name
        means = table[table["iteration"].notna()][name].to_numpy(dtype=float)
        lines = [np.asarray(line[0].get_ydata(), dtype=float) for line in axes.containers]
        assert any(np.array_equal(line, means, equal_nan=True) for line in lines), name
    assert panels["degenerate_share"].get_ylim()[0] > -0.01


def test_the_figure_leaves_out_what_was_not_measured(joined):
    seeds, table = (
        files.read(joined, name).assign(margin=math.nan, identified=math.nan) for name in ("seeds", "joined")
    )
    shown = [axes.get_ylabel() for axes in figures.seeds(seeds, table).axes if axes.axison]
    assert shown == [label for name, label in figures.PANELS.items() if name not in ("margin", "identified")]


def test_runs_that_do_not_belong_together_are_refused(runs, tmp_path):
    def said(flags) -> str:
        done = command("join_seeds", flags)
        assert done.returncode == 2
        return done.stderr

    flags = flags_of(runs, tmp_path / "tables")
    assert "--seeds: found 1 1 7, 3 files of --queries and 3 folders of --tables; expected each seed once" in said(
        flags | {"seeds": ["1", "1", "7"]}
    )
    assert "found 1 5 7, 3 files of --queries and 2 folders" in said(flags | {"tables": flags["tables"][1:]})
    other = tabulated(tmp_path / "other")
    (file,) = other["queries"]
    changed = [query.model_copy(update={"text": f"{query.text}!"}) for query in records.read(Query, file)]
    records.write(changed, file)
    assert f"{file}: found other held-out queries than in {runs[1]['queries'][0]}, expected the same" in said(
        flags_of({1: runs[1], 2: other}, tmp_path / "tables")
    )
    nowhere = str(tmp_path / "nowhere")
    assert f"{nowhere}/measures.csv: no such file" in said(
        flags_of({1: other}, tmp_path / "tables") | {"tables": [nowhere]}
    )
