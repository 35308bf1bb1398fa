"""Tables of relevance and echo, from record files of a made-up experiment, against slow computations."""

import math

import numpy as np
import pandas as pd
import pytest
from tabulated import constitutions, load, make_tables, row_of, table_of, verdicts_of, write_experiment

from sami import records
from sami.analysis import summary
from sami.analysis.statistics.bootstrap import bootstrap_difference
from sami.analysis.statistics.echo import echo, talks_about_instruction
from sami.analysis.statistics.win_rates import wilson_by_query
from sami.analysis.tables import files
from sami.analysis.tables.relevance import LENGTH_BINS, length_edges
from sami.analysis.tables.rows import by_query
from sami.records import Example, Relevance, Verdict

NAMES = ["iteration-0", "iteration-1", "iteration-2", "iteration-3", "instruct"]


def relevance_of(flags, policy: str) -> list[Relevance]:
    (file,) = (file for file in flags["relevance"] if f"/{policy}/" in file)
    return records.read(Relevance, file)


def lead(record: Relevance, context: str) -> float:
    own, *others = getattr(record, context)
    return (own - max(others)) / record.tokens


def test_relevance_has_a_row_a_policy_and_context(experiment):
    flags, folder = experiment
    table = files.read(folder, "relevance")
    assert list(zip(table["policy"], table["context"], strict=True)) == [
        (name, context) for name in NAMES for context in ("alone", "with_constitution")
    ]
    for policy in ("iteration-2", "instruct"):
        for context in ("alone", "with_constitution"):
            found = relevance_of(flags, policy)
            row = row_of(table, policy=policy, context=context)
            right = by_query((r.query_id, float(lead(r, context) > 0)) for r in found)
            expected = list(wilson_by_query(right, 0.95))
            assert [row["identified"], row["identified_low"], row["identified_high"]] == pytest.approx(
                expected, abs=6e-5
            )
            assert 0 < row["identified"] < 1
            assert row["margin"] == pytest.approx(np.mean([lead(r, context) for r in found]), abs=6e-5)
            own = [getattr(r, context)[0] / r.tokens for r in found]
            assert row["log_probability"] == pytest.approx(np.mean(own), abs=6e-5)
            posteriors = [
                math.exp(getattr(r, context)[0]) / math.fsum(map(math.exp, getattr(r, context))) for r in found
            ]
            assert row["bound_nats"] == pytest.approx(np.mean(np.log(posteriors)) + math.log(4), abs=6e-5)
            assert row["bound_nats"] < row["max_bound"] == pytest.approx(math.log(4), abs=6e-5)
            assert row["margin_low"] < row["margin"] < row["margin_high"]
            assert (row["n_queries"], row["n_responses"]) == (12, 24)


def test_differences_are_paired_to_the_base_model(experiment):
    flags, folder = experiment
    table = files.read(folder, "relevance")
    differences = [f"{name}_difference" for name in ("identified", "margin", "bound_nats", "log_probability")]
    assert table[table["policy"] == "iteration-0"][differences].isna().all(axis=None)
    row, base = (row_of(table, policy=name, context="alone") for name in ("iteration-3", "iteration-0"))
    for name in differences:
        gap = row[name.removesuffix("_difference")] - base[name.removesuffix("_difference")]
        assert row[name] == pytest.approx(gap, abs=2e-4)
    values = (
        by_query((r.query_id, lead(r, "alone")) for r in relevance_of(flags, name))
        for name in ("iteration-3", "iteration-0")
    )
    expected = bootstrap_difference(*values, samples=400, confidence=0.95, seed=1)
    found = [row["margin_difference"], row["margin_difference_low"], row["margin_difference_high"]]
    assert found == pytest.approx(list(expected), abs=6e-5)


def test_bins_of_length_are_the_same_for_all_policies(experiment):
    flags, folder = experiment
    table = files.read(folder, "relevance_by_length")
    edges = np.quantile([r.tokens for r in relevance_of(flags, "iteration-0")], [0.25, 0.5, 0.75])
    for policy in NAMES:
        shown = table[(table["policy"] == policy) & (table["context"] == "alone")].set_index("bin")
        found = relevance_of(flags, policy)
        assert shown["n_responses"].sum() == len(found)
        for number in range(1, LENGTH_BINS + 1):
            inside = [r for r in found if sum(r.tokens > edge for edge in edges) + 1 == number]
            assert (number in shown.index) == bool(inside)
            if inside:
                row = shown.loc[number]
                assert row["margin"] == pytest.approx(np.mean([lead(r, "alone") for r in inside]), abs=6e-5)
                assert row["n_responses"] == len(inside)
                assert all(row["tokens_low"] <= r.tokens <= row["tokens_high"] for r in inside)
    ranges = table.drop_duplicates("bin").sort_values("bin")
    assert (ranges["tokens_high"].to_numpy()[:-1] < ranges["tokens_low"].to_numpy()[1:]).all()
    assert table.groupby("bin")[["tokens_low", "tokens_high"]].nunique().eq(1).all(axis=None)
    base = table[(table["policy"] == "iteration-0") & (table["context"] == "alone")]
    assert base["n_responses"].between(4, 8).all()  # a quarter of 24 each, but for equal lengths
    compared = 0
    for row in table[(table["policy"] == "iteration-1") & (table["context"] == "alone")].itertuples():
        within = [
            by_query(
                (r.query_id, lead(r, "alone"))
                for r in relevance_of(flags, name)
                if row.tokens_low <= r.tokens <= row.tokens_high
            )
            for name in ("iteration-1", "iteration-0")
        ]
        shared = within[0].keys() & within[1].keys()
        assert pd.notna(row.margin_difference) == bool(shared)
        means = [np.mean([value for query in shared for value in of[query]]) for of in within] if shared else [0, 0]
        assert not shared or row.margin_difference == pytest.approx(means[0] - means[1], abs=6e-5)
        compared += bool(shared)
    assert compared >= 2


def test_bins_where_many_responses_have_the_length_of_the_limit():
    few = [*range(1, 41)]
    assert length_edges(few) == pytest.approx([10.75, 20.5, 30.25])
    cut = [*range(1, 31), *[48] * 66]
    assert length_edges(cut) == pytest.approx([1 + 29 / 3, 1 + 58 / 3, 47])  # ten, ten and ten shorter ones
    assert np.bincount(np.searchsorted(length_edges(cut), [*cut, 50])).tolist() == [10, 10, 10, 67]
    assert np.bincount(np.searchsorted(length_edges([7] * 5), [7] * 5)).tolist() == [5]


def test_echo_is_of_the_own_constitution_among_its_set(tmp_path):
    flags = write_experiment(tmp_path, queries=6, iterations=2, judges=[])
    spoken(flags, "iteration-2", lambda text, own: text if len(text) % 3 == 0 else f"{text} {own[len(text) % 3 - 1]}")
    table = table_of("echo", load(flags))
    assert table["policy"].tolist() == ["iteration-0", "iteration-1", "iteration-2", "instruct"]
    known = {c.id: [s.text for s in c.statements] for c in constitutions()}
    examples = records.read(Example, flags["responses"][2])
    values = [
        echo(r.text, known[e.constitution_ids[r.constitution]], [known[e.constitution_ids[1 - r.constitution]]])
        for e in examples
        for r in e.responses
    ]
    assert len({of.words for of in values}) > 2
    row = table.iloc[2]
    assert row["echo_words"] == pytest.approx(np.mean([of.words for of in values]))
    assert row["echo_bigrams"] == pytest.approx(np.mean([of.bigrams for of in values]))
    assert row["echo"] == pytest.approx(np.mean([of.mean for of in values]))
    assert row["echo_difference"] == pytest.approx(row["echo"] - table.iloc[0]["echo"])


def spoken(flags, policy: str, change) -> None:
    """Changes the texts of a policy's responses, given the constitution that each was written for."""
    (file,) = (file for file in flags["responses"] if f"/{policy}/" in file)
    known = {c.id: [s.text for s in c.statements] for c in constitutions()}
    changed = []
    for e in records.read(Example, file):
        texts = [change(r.text, known[e.constitution_ids[r.constitution]]) for r in e.responses]
        said = [r.model_copy(update={"text": text}) for r, text in zip(e.responses, texts, strict=True)]
        changed.append(e.model_copy(update={"responses": said}))
    records.write(changed, file)


def test_a_policy_that_quotes_its_constitution_stands_out(tmp_path):
    flags = write_experiment(tmp_path, queries=6, iterations=1, others=(), judges=[])
    spoken(flags, "iteration-1", lambda text, own: "As requested: " + " ".join(own))
    table = table_of("echo", load(flags))
    base, quoting = table.iloc[0], table.iloc[1]
    assert quoting["echo_bigrams"] > 0.8 > 0.2 > base["echo_bigrams"]
    assert quoting["echo_difference_low"] > 0.5
    assert (quoting["about_instruction"], base["about_instruction"]) == (1.0, 0.0)
    assert quoting["about_instruction_difference"] == 1.0
    assert pd.isna(base["echo_difference"])


def test_a_file_with_some_constitutions_alone_has_the_echo_of_whole_sets(tmp_path):
    """The others of a set are known from the base model's responses."""
    flags = write_experiment(tmp_path, queries=6, iterations=0, judges=[])
    examples = records.read(Example, flags["responses"][1])
    alone = [
        e.model_copy(update={"constitution_ids": e.constitution_ids[:1], "responses": e.responses[:1]})
        for e in examples
    ]
    records.write(alone, flags["responses"][1])
    table = table_of("echo", load(flags | {"relevance": []}, judged="positive"))
    known = {c.id: [s.text for s in c.statements] for c in constitutions()}
    values = [
        echo(e.responses[0].text, *(known[e.constitution_ids[0]], [known[e.constitution_ids[1]]])).mean
        for e in examples
    ]
    assert table.iloc[1]["echo"] == pytest.approx(np.mean(values))
    assert table.iloc[1]["n_responses"] == 6
    assert not any(talks_about_instruction(e.responses[0].text) for e in examples)


def test_win_rates_where_responses_are_identified(experiment):
    flags, folder = experiment
    table = files.read(folder, "win_rates")
    right = {(r.query_id, r.set_id, r.number): lead(r, "alone") > 0 for r in relevance_of(flags, "iteration-2")}
    for judge in ("checks", "model"):
        verdicts = verdicts_of(flags, "iteration-2", judge, "instruct")
        relevant = [v for v in verdicts if right[v.query_id, v.set_id, v.number]]
        assert 0 < len(relevant) < len(verdicts)
        row = row_of(table, policy="iteration-2", judge=judge, comparator="instruct")
        expected = wilson_by_query(by_query((v.query_id, v.preference) for v in relevant), 0.95)
        found = [row["relevant_win_rate"], row["relevant_win_rate_low"], row["relevant_win_rate_high"]]
        assert found == pytest.approx(list(expected), abs=6e-5)
        won = [v for v in verdicts if v.choice == "first"]
        wrong = sum(not right[v.query_id, v.set_id, v.number] for v in won)
        assert row["unidentified_wins"] == pytest.approx(wrong / len(won), abs=6e-5)


def test_the_summary_has_relevance_under_the_queries_alone(experiment):
    _, folder = experiment
    table, relevance = files.read(folder, "summary"), files.read(folder, "relevance")
    for policy in NAMES:
        row, alone = row_of(table, policy=policy), row_of(relevance, policy=policy, context="alone")
        for name in ("identified", "identified_low", "margin", "margin_high", "log_probability"):
            assert row[name] == alone[name]
    win_rates = files.read(folder, "win_rates")
    first = row_of(win_rates, policy="iteration-3", judge="checks", comparator="iteration-0")
    assert row_of(table, policy="iteration-3")["relevant_win_rate"] == first["relevant_win_rate"]
    shown = summary.format(str(folder / "summary.csv"))
    assert all(len(line) <= summary.WIDTH for line in shown.splitlines())
    header = [line for line in shown.splitlines() if line.startswith("iteration ")]
    assert len(header) == 2
    assert [name in "".join(header) for name in ("if identified", "margin", "log-probability", "echo")] == [True] * 4


def test_where_relevance_was_not_measured_columns_are_left_out_and_nothing_fails(tmp_path):
    flags = write_experiment(tmp_path, queries=4, iterations=1, judges=["checks"]) | {"relevance": []}
    folder = make_tables(flags, tmp_path / "tables")
    for name in ("relevance", "relevance_by_length"):
        table = files.read(folder, name)
        assert len(table) == 0
        assert "margin" in table
    table = files.read(folder, "summary")
    assert table[["identified", "margin", "log_probability", "relevant_win_rate"]].isna().all(axis=None)
    assert table["echo"].notna().all()
    assert files.read(folder, "win_rates")[["relevant_win_rate", "unidentified_wins"]].isna().all(axis=None)
    for name in ("summary", "win_rates"):
        header = (folder / f"{name}.md").read_text().splitlines()[0]
        assert not [heading for heading in ("identified", "margin", "unidentified wins") if heading in header]
    first, *_ = summary.format(str(folder / "summary.csv")).splitlines()
    assert "identified" not in first
    assert "echo" in first


def test_relevance_of_some_policies_alone(tmp_path):
    """Without the base model's there are no differences and no bins."""
    flags = write_experiment(tmp_path, queries=4, iterations=1, others=(), judges=["checks"])
    run = load(flags | {"relevance": flags["relevance"][1:]})
    table = table_of("relevance", run)
    assert table["policy"].tolist() == ["iteration-1", "iteration-1"]
    assert table["margin"].notna().all()
    assert table["margin_difference"].isna().all()
    assert table_of("relevance_by_length", run).empty


def test_empty_responses_are_wrong_and_have_no_length(tmp_path):
    flags = write_experiment(tmp_path, queries=4, iterations=1, others=(), judges=["checks"])
    spoken(flags, "iteration-1", lambda text, own: "")
    file = flags["relevance"][1]
    nothing = {"alone": [0.0] * 4, "with_constitution": [0.0] * 4, "tokens": 0}
    records.write([r.model_copy(update=nothing) for r in records.read(Relevance, file)], file)
    for verdicts in flags["verdicts"]:
        records.write([v.model_copy(update={"first": ""}) for v in records.read(Verdict, verdicts)], verdicts)
    run = load(flags | {"information": []})
    row = row_of(table_of("relevance", run), policy="iteration-1", context="alone")
    assert (row["identified"], row["margin"], row["bound_nats"]) == (0.0, 0.0, pytest.approx(0.0))
    assert pd.isna(row["log_probability"])
    assert pd.isna(row["log_probability_difference"])
    assert set(table_of("relevance_by_length", run)["policy"]) == {"iteration-0"}
    rates = table_of("win_rates", run)
    assert rates["relevant_win_rate"].isna().all()
    assert (rates["unidentified_wins"] == 1.0).all() or rates["wins"].sum() == 0
