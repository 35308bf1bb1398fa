"""Tables of policies, from record files of a made-up experiment, against slow computations."""

import csv
import math

import numpy as np
import pandas as pd
import pytest
from tabulated import (
    EVALUATION,
    SUMMARY_COLUMNS,
    constitutions,
    load,
    make_tables,
    table_of,
    verdicts_of,
    write_experiment,
    write_tables,
)

from sami import records
from sami.analysis import summary
from sami.analysis.statistics.information import information as information_of
from sami.analysis.statistics.repetition import is_degenerate
from sami.analysis.tables import build, files, policies
from sami.analysis.tables.run import Run
from sami.records import Example, Scores, Verdict
from sami.settings.evaluation import Evaluation

CSV_ALONE = ["length_bias", "training", "samples", "measures"]
PRINTED = ["summary", "win_rates", "win_rates_by_principle", "win_rates_by_length", "comparisons", "agreement",
           "generalisation", "information", "adherence", "lengths", "degeneration", "relevance",
           "relevance_by_length", "echo"]  # fmt: skip


def test_all_tables_are_written(experiment):
    _, folder = experiment
    expected = [f"{name}.csv" for name in CSV_ALONE]
    expected += [f"{name}.{kind}" for name in PRINTED for kind in ("csv", "md", "tex")]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*expected, "provenance.json"])


def test_every_column_of_the_catalogue_is_filled(experiment):
    """A cell under a name that the catalogue does not have would be lost, and its column empty."""
    for name in {*CSV_ALONE, *PRINTED} - {"generalisation"}:  # which has no rows here
        table = files.read(experiment[1], name)
        assert table.notna().any().all(), name


def test_the_same_inputs_give_the_same_bytes(experiment, tmp_path):
    flags, folder = experiment
    assert write_tables(flags, tmp_path / "again", hash_seed="77").returncode == 0
    for path in folder.iterdir():
        if path.suffix != ".json":
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path


def test_summary_has_the_agreed_columns_and_one_row_a_policy(experiment):
    _, folder = experiment
    lines = (folder / "summary.csv").read_text().splitlines()
    assert lines[0] == SUMMARY_COLUMNS
    rows = list(csv.DictReader(lines))
    names = [("0", "iteration-0"), ("1", "iteration-1"), ("2", "iteration-2"), ("3", "iteration-3"), ("", "instruct")]
    assert [(row["iteration"], row["policy"]) for row in rows] == names
    assert not any(rows[0][name] for name in ("win_rate", "win_low", "win_high", "lc_win_rate"))
    assert not any(rows[4][name] for name in ("bound_nats", "bound_low", "bound_high", "row_accuracy"))
    assert {(row["n_queries"], row["split"]) for row in rows} == {("12", "test")}


def test_summary_agrees_with_a_slow_computation(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "summary.csv")
    for t, scores in enumerate([records.read(Scores, file) for file in flags["information"]]):
        examples = records.read(Example, flags["responses"][t])
        own = [s.mean for s in scores if s.scorer == s.responses_of == f"iteration-{t}"]
        bounds, rows, columns = [], [], []
        for (a, b), (c, d) in own:
            losses = [math.log(1 + math.exp(-gap)) for gap in (a - b, d - c, a - c, d - b)]
            bounds.append(math.log(2) - sum(losses) / 4)
            rows.append(((a > b) + (d > c)) / 2)
            columns.append(((a > c) + (d > b)) / 2)
        tokens = [response.tokens for example in examples for response in example.responses]
        expected = {"bound_nats": bounds, "row_accuracy": rows, "column_accuracy": columns, "response_tokens": tokens}
        for name, values in expected.items():
            assert table.loc[t, name] == pytest.approx(sum(values) / len(values), abs=6e-5), (t, name)
        assert table.loc[t, "bound_low"] < table.loc[t, "bound_nats"] < table.loc[t, "bound_high"]
        if t:
            choices = [v.choice for v in verdicts_of(flags, f"iteration-{t}", "checks", "iteration-0")]
            won = choices.count("first") + 0.5 * (choices.count("tie") + choices.count("invalid"))
            assert table.loc[t, "win_rate"] == pytest.approx(won / len(choices), abs=6e-5)
            assert table.loc[t, "win_low"] <= table.loc[t, "win_rate"] <= table.loc[t, "win_high"]


def test_information_has_the_paired_difference_to_the_base_model(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "information.csv")
    assert list(zip(table["iteration"], table["responses"], strict=True)) == [
        (0, "own"), (1, "own"), (1, "base"), (2, "own"), (2, "base"), (3, "own"), (3, "base"),
    ]  # fmt: skip
    assert table["max_bound"].tolist() == pytest.approx([math.log(2)] * 7, abs=6e-5)
    assert pd.isna(table.loc[0, "difference"])
    for row in table.iloc[1:].itertuples():
        assert row.difference == pytest.approx(row.bound_nats - table.loc[0, "bound_nats"], abs=2e-4)
        assert row.difference_low < row.difference < row.difference_high
    on_base = [
        information_of(s.mean, s.labels).bound
        for s in records.read(Scores, flags["information"][2])
        if (s.scorer, s.responses_of) == ("iteration-2", "iteration-0")
    ]
    assert table.loc[4, "bound_nats"] == pytest.approx(np.mean(on_base), abs=6e-5)


def test_adherence_is_by_statement_of_the_own_constitution(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "adherence.csv")
    assert list(table[table["iteration"] == 0][["principle", "polarity"]].itertuples(index=False, name=None)) == [
        ("short", "wanted"), ("short", "opposite"), ("excited", "wanted"), ("excited", "opposite"),
    ]  # fmt: skip
    assert table[table["iteration"] == 3]["n_responses"].tolist() == [12, 12, 6, 6]
    degrees = []
    for example in records.read(Example, flags["responses"][3]):
        words = len(example.responses[0].text.split())
        degrees.append(min(1.0, max(0.0, (words - 40) / (10 - 40))))
    wanted = table[(table["iteration"] == 3) & (table["principle"] == "short") & (table["polarity"] == "wanted")]
    assert wanted["degree"].item() == pytest.approx(np.mean(degrees), abs=6e-5)


def test_lengths_by_polarity(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "lengths.csv").set_index(["iteration", "polarity"])
    examples = records.read(Example, flags["responses"][2])
    for polarity, number in (("positive", 0), ("other", 1)):
        words = [len(example.responses[number].text.split()) for example in examples]
        row = table.loc[(2, polarity)]
        assert row["mean_words"] == pytest.approx(np.mean(words), abs=6e-5)
        assert row["median_words"] == pytest.approx(np.median(words), abs=6e-5)
        assert row["median_words_low"] <= row["median_words"] <= row["median_words_high"]


def test_degeneration(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "degeneration.csv")
    texts = [r.text for example in records.read(Example, flags["responses"][3]) for r in example.responses]
    share = np.mean([is_degenerate(text, 3, 0.3) for text in texts])
    assert share > 0
    assert table.loc[3, "degenerate_share"] == pytest.approx(share, abs=6e-5)
    by_base = [
        s.mean[j][j]
        for s in records.read(Scores, flags["information"][3])
        if (s.scorer, s.responses_of) == ("iteration-0", "iteration-3")
        for j in (0, 1)
    ]
    assert table.loc[3, "base_log_probability"] == pytest.approx(np.mean(by_base), abs=6e-5)
    assert table.loc[0, "base_log_probability"] == table.loc[0, "own_log_probability"]


def test_training_has_every_step_and_keeps_small_numbers(experiment):
    _, folder = experiment
    with open(folder / "training.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert {row["learning_rate"] for row in rows} == {"5.000e-06"}
    assert rows[0]["kl"] == "4.000e-04"


def test_samples_hold_one_text_a_policy(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "samples.csv")
    texts = [f"response_{name}" for name in flags["policies"]]
    assert list(table) == ["query_id", "constitution_id", "query", "constitution", *texts]
    assert len(table) == 2 * policies.SAMPLED_QUERIES
    row = table.iloc[1]
    example = next(e for e in records.read(Example, flags["responses"][2]) if e.query_id == row["query_id"])
    assert row["response_iteration-2"] == example.responses[1].text
    assert row["constitution_id"] == example.constitution_ids[1]


def test_examples_with_an_empty_response_have_no_scores_but_are_counted(tmp_path):
    flags = write_experiment(tmp_path, queries=6, iterations=1, others=())
    examples = records.read(Example, flags["responses"][1])
    silent = examples[0].responses[0].model_copy(update={"text": "", "tokens": 0})
    examples[0] = examples[0].model_copy(update={"responses": [silent, examples[0].responses[1]]})
    records.write(examples, flags["responses"][1])
    scores = records.read(Scores, flags["information"][1])
    kept = [s for s in scores if s.query_id != "q000" or s.responses_of == "iteration-0"]
    records.write(kept, flags["information"][1])
    (judged,) = (file for file in flags["verdicts"] if file.endswith("/verdicts-checks-vs-iteration-0.jsonl"))
    verdicts = records.read(Verdict, judged)
    records.write([verdicts[0].model_copy(update={"first": ""}), *verdicts[1:]], judged)
    flags |= {"verdicts": [judged], "relevance": []}
    frames = build.build(load(flags))
    assert frames["information"]["n_queries"].tolist() == [6, 5, 6]
    assert frames["information"]["difference"].notna().tolist() == [False, True, True]
    assert frames["summary"]["n_queries"].tolist() == [6, 6]


def test_without_checks_adherence_is_an_empty_table_with_its_header():
    unchecked = {
        c.id: c.model_copy(update={"statements": [s.model_copy(update={"check": None}) for s in c.statements]})
        for c in constitutions()
    }
    frame = table_of("adherence", Run([], [], {}, unchecked, Evaluation.model_validate(EVALUATION)))
    assert len(frame) == 0
    assert list(frame)[:5] == ["policy", "iteration", "principle", "polarity", "degree"]


def test_policies_that_were_not_trained_or_scored_have_empty_cells(tmp_path):
    """Imported responses: no log-probabilities, no training, no token counts, other models among them, one judge."""
    flags = write_experiment(tmp_path, queries=6, iterations=2, judges=["checks"])
    for file in flags["responses"]:
        unknown = [
            e.model_copy(update={"responses": [r.model_copy(update={"tokens": None}) for r in e.responses]})
            for e in records.read(Example, file)
        ]
        records.write(unknown, file)
    bare = flags | {"information": [], "training": []}
    make_tables(bare, tmp_path / "tables")
    summary_table = pd.read_csv(tmp_path / "tables" / "summary.csv")
    assert summary_table["policy"].tolist() == flags["policies"]
    assert summary_table[["bound_nats", "row_accuracy", "response_tokens"]].isna().all(axis=None)
    assert summary_table["win_rate"].notna().tolist() == [False, True, True, True]
    for name in ("information", "training", "agreement"):
        frame = pd.read_csv(tmp_path / "tables" / f"{name}.csv")
        assert len(frame) == 0
        assert frame.columns[0] == "policy"
    assert pd.read_csv(tmp_path / "tables" / "lengths.csv")["mean_words"].notna().all()
    shown = summary.format(str(tmp_path / "tables" / "summary.csv")).splitlines()
    assert shown[-1].startswith("instruct ")


def test_one_query_has_estimates_without_intervals(tmp_path):
    flags = write_experiment(tmp_path, queries=1, iterations=1)
    make_tables(flags, tmp_path / "tables")
    row = pd.read_csv(tmp_path / "tables" / "summary.csv").iloc[1]
    assert pd.notna(row["bound_nats"])
    assert pd.isna(row["bound_low"])
    assert "[" not in summary.format(str(tmp_path / "tables" / "summary.csv")).splitlines()[-1]
