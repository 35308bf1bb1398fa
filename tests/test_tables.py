"""Tables and the terminal summary, from record files of a made-up experiment."""

import csv
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sami import records, settings, statistics, summary, tables
from sami.errors import UserError
from sami.records import Check, Constitution, Example, Query, Response, Scores, Statement, Verdict
from sami.stages import tabulate

JUDGE = "checks"
EVALUATION = {
    "sampling": {"temperature": 0.7, "max_new_tokens": 48, "batch_size": 96},
    "judge": JUDGE,
    "degeneration": {"ngram": 3, "max_repeated": 0.3},
    "bootstrap_samples": 400,
    "confidence": 0.95,
}
SUMMARY_COLUMNS = (
    "iteration,bound_nats,bound_low,bound_high,row_accuracy,column_accuracy,win_rate,win_low,win_high,"
    "response_tokens,degenerate_share,n_queries"
)
TABLES = ["summary", "information", "win_rates", "adherence", "lengths", "degeneration", "training", "samples"]
SCRIPT = "<script>alert('x')</script>"
SHORT = Check(measure="words", best=10, worst=40)
LONG = Check(measure="words", best=40, worst=10)
LOUD = Check(measure="matches", pattern="!", best=2, worst=0)
CALM = Check(measure="matches", pattern="!", best=0, worst=2)
WORDS = ["kettle", "ladder", "music", "garden", "train", "letter", "winter", "bread", "river", "window", "paint"]
WORDS += ["clock", "bicycle", "market", "salt", "lamp", "ticket", "blanket", "stone", "forest", "coffee", "bridge"]


def constitutions() -> list[Constitution]:
    """Two sets of two constitutions; "polite" has no programmatic check."""
    short, long, loud, calm, polite, blunt = (
        Statement(principle=principle, wanted=wanted, text=text, check=check)
        for principle, wanted, text, check in (
            ("short", True, "Answer in one short sentence.", SHORT),
            ("short", False, "Answer at length, in several sentences.", LONG),
            ("excited", True, "Sound excited and use exclamation marks!", LOUD),
            ("excited", False, "Sound calm and never use exclamation marks.", CALM),
            ("polite", True, "Be polite.", None),
            ("polite", False, "Be blunt.", None),
        )
    )
    return [
        Constitution(id=name, set_id=set_id, writer="human", statements=statements)
        for name, set_id, statements in (
            ("short+excited", "short+excited", [short, loud]),
            ("-short+-excited", "short+excited", [long, calm]),
            ("short+polite", "short+polite", [short, polite]),
            ("-short+-polite", "short+polite", [long, blunt]),
        )
    ]


def answer(draw: random.Random, positive: bool, t: int) -> str:
    """A made-up response that follows its constitution more closely with each iteration."""
    count = max(3, round(draw.gauss(34 - 8 * t if positive else 38 + 4 * t, 6)))
    words = [draw.choice(WORDS) for _ in range(count)]
    if t == 3 and draw.random() < 0.15:
        words = ["very", "very"] * (count // 2) + ["much"]
    mark = "!" if positive and draw.random() < 0.1 + 0.25 * t else "."
    return " ".join([*words[: count // 2], "so" + mark, *words[count // 2 :]]) + mark


def write_experiment(folder: Path, queries: int = 12, iterations: int = 3) -> dict[str, list[str]]:
    """Writes the record files of an experiment and returns the input flags of `tabulate` with their files."""
    draw = random.Random(f"experiment-{queries}-{iterations}")
    known = constitutions()
    ids = [f"q{n:03d}" for n in range(queries)]
    sets = {set_id: [c for c in known if c.set_id == set_id] for set_id in ("short+excited", "short+polite")}
    set_of = {query_id: list(sets)[n % 2] for n, query_id in enumerate(ids)}
    folder.mkdir(parents=True, exist_ok=True)
    records.write(known, folder / "constitutions.jsonl")
    text = f"Why does {SCRIPT} & a “river” meander?\nExplain."
    questions = [Query(id=i, task="everyday", text=text if i == "q000" else f"What about {i}?") for i in ids]
    records.write(questions, folder / "queries.jsonl")
    flags = {"constitutions": [str(folder / "constitutions.jsonl")], "queries": [str(folder / "queries.jsonl")]}
    flags |= {"responses": [], "information": [], "verdicts": [], "training": []}
    base: dict[str, Example] = {}
    for t in range(iterations + 1):
        target = folder / f"iteration-{t}"
        target.mkdir()
        examples, scores, verdicts = [], [], []
        for query_id in ids:
            members = sets[set_of[query_id]]
            texts = [answer(draw, constitution.positive, t) for constitution in members]
            if query_id == "q000":
                texts[0] += " " + SCRIPT
            examples.append(
                Example(
                    query_id=query_id,
                    set_id=set_of[query_id],
                    constitution_ids=[constitution.id for constitution in members],
                    order=[0, 1],
                    responses=[
                        Response(text=text, constitution=j, tokens=round(1.3 * len(text.split())), finish="end")
                        for j, text in enumerate(texts)
                    ],
                    policy=f"iteration-{t}",
                )
            )
            for scorer, answered in dict.fromkeys([(t, t), (t, 0), (0, t)]):
                gap = 0.25 + 0.35 * math.sqrt(scorer) + 0.1 * answered
                matrix = [
                    [round(-1.6 - 0.1 * answered - gap * (i != j) + draw.gauss(0, 0.3), 3) for j in (0, 1)]
                    for i in (0, 1)
                ]
                scores.append(
                    Scores(
                        query_id=query_id,
                        set_id=set_of[query_id],
                        scorer=f"iteration-{scorer}",
                        responses_of=f"iteration-{answered}",
                        labels=[0, 1],
                        mean=matrix,
                        sum=[[20 * x for x in row] for row in matrix],
                        tokens=[20, 20],
                    )
                )
            if not t:
                base[query_id] = examples[-1]
                continue
            for j, constitution in enumerate(members):
                odds = [0.42 + 0.06 * t, 0.4 - 0.06 * t, 0.15, 0.03]
                verdicts.append(
                    Verdict(
                        query_id=query_id,
                        set_id=set_of[query_id],
                        constitution_id=constitution.id,
                        policy=f"iteration-{t}",
                        comparator="iteration-0",
                        first=texts[j],
                        second=base[query_id].responses[j].text,
                        order=draw.choice(["policy-first", "comparator-first"]),
                        choice=draw.choices(["first", "second", "tie", "invalid"], odds)[0],
                        judge=JUDGE,
                    )
                )
        records.write(examples, target / "responses.jsonl")
        records.write(scores, target / "information.jsonl")
        flags["responses"].append(str(target / "responses.jsonl"))
        flags["information"].append(str(target / "information.jsonl"))
        if not t:
            continue
        records.write(verdicts, target / "verdicts.jsonl")
        steps = []
        for n in range(1, 9):
            loss = 0.66 * math.exp(-0.06 * t * n) + draw.gauss(0, 0.02)
            right = min(1.0, 0.6 + 0.04 * n + draw.gauss(0, 0.03))
            steps.append({
                "step": n, "loss": loss, "bound": math.log(2) - loss, "row_accuracy": right,
                "column_accuracy": right - 0.05, "kl": 0.0004 * n, "gradient_norm": 3 + draw.gauss(0, 0.5),
                "learning_rate": 5e-6, "queries": 8, "tokens_per_second": 210.4,
            })  # fmt: skip
        (target / "training.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
        flags["verdicts"].append(str(target / "verdicts.jsonl"))
        flags["training"].append(str(target / "training.jsonl"))
    return flags


def command(stage: str, flags: dict[str, list[str]], hash_seed: str = "0") -> subprocess.CompletedProcess:
    """Runs a stage as its rule does."""
    arguments = [part for flag, values in flags.items() for part in (f"--{flag}", *values)]
    return subprocess.run(
        [sys.executable, "-m", f"sami.stages.{stage}", *arguments],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
    )


def write_tables(flags: dict[str, list[str]], output: Path, hash_seed: str = "0") -> subprocess.CompletedProcess:
    more = {"judge": [JUDGE], "evaluation": [json.dumps(EVALUATION)], "seed": ["1"], "output": [str(output)]}
    return command("tabulate", flags | more, hash_seed)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> tuple[dict[str, list[str]], Path]:
    folder = tmp_path_factory.mktemp("experiment")
    flags = write_experiment(folder)
    done = write_tables(flags, folder / "tables")
    assert done.returncode == 0, done.stderr
    return flags, folder / "tables"


def read_all(kind, files: list[str]) -> list[list]:
    return [records.read(kind, file) for file in files]


def test_all_tables_are_written(experiment):
    _, folder = experiment
    assert sorted(path.name for path in folder.iterdir()) == sorted([*(f"{t}.csv" for t in TABLES), "provenance.json"])


def test_the_same_inputs_give_the_same_bytes(experiment, tmp_path):
    flags, folder = experiment
    assert write_tables(flags, tmp_path / "again", hash_seed="77").returncode == 0
    for name in TABLES:
        assert (tmp_path / "again" / f"{name}.csv").read_bytes() == (folder / f"{name}.csv").read_bytes(), name


def test_summary_has_the_agreed_columns_and_one_row_an_iteration(experiment):
    _, folder = experiment
    lines = (folder / "summary.csv").read_text().splitlines()
    assert lines[0] == SUMMARY_COLUMNS
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2", "3"]
    assert lines[1].split(",")[6:9] == ["", "", ""]
    assert {line.split(",")[-1] for line in lines[1:]} == {"12"}


def test_summary_agrees_with_a_slow_computation(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "summary.csv")
    for t, (examples, scores) in enumerate(
        zip(read_all(Example, flags["responses"]), read_all(Scores, flags["information"]), strict=True)
    ):
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
            choices = [v.choice for v in records.read(Verdict, flags["verdicts"][t - 1])]
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
        statistics.information(s.mean, s.labels).bound
        for s in records.read(Scores, flags["information"][2])
        if (s.scorer, s.responses_of) == ("iteration-2", "iteration-0")
    ]
    assert table.loc[4, "bound_nats"] == pytest.approx(np.mean(on_base), abs=6e-5)


def test_win_rates_count_every_verdict(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "win_rates.csv")
    assert table["policy"].tolist() == ["iteration-1", "iteration-2", "iteration-3"]
    assert set(table["comparator"]) == {"iteration-0"}
    assert set(table["judge"]) == {JUDGE}
    counted = table[["wins", "ties", "losses", "invalid"]].sum(axis=1)
    assert counted.tolist() == table["n_verdicts"].tolist() == [24, 24, 24]
    first = [v.choice for v in records.read(Verdict, flags["verdicts"][0])].count("first")
    assert table.loc[0, "wins"] == first


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
    share = np.mean([statistics.is_degenerate(text, 3, 0.3) for text in texts])
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
    texts = ["base", "iteration_1", "iteration_2", "iteration_3"]
    assert list(table) == ["query_id", "constitution_id", "query", "constitution", *texts]
    assert len(table) == 2 * tabulate.SAMPLED_QUERIES
    row = table.iloc[1]
    example = next(e for e in records.read(Example, flags["responses"][2]) if e.query_id == row["query_id"])
    assert row["iteration_2"] == example.responses[1].text
    assert row["constitution_id"] == example.constitution_ids[1]


def test_examples_with_an_empty_response_have_no_scores_but_are_counted(tmp_path):
    flags = write_experiment(tmp_path, queries=6, iterations=1)
    examples = records.read(Example, flags["responses"][1])
    silent = examples[0].responses[0].model_copy(update={"text": "", "tokens": 0})
    examples[0] = examples[0].model_copy(update={"responses": [silent, examples[0].responses[1]]})
    records.write(examples, flags["responses"][1])
    scores = records.read(Scores, flags["information"][1])
    kept = [s for s in scores if s.query_id != "q000" or s.responses_of == "iteration-0"]
    records.write(kept, flags["information"][1])
    policies = tabulate.load(*(flags[f] for f in ("responses", "information", "verdicts", "training")), JUDGE)
    evaluation = settings.Evaluation.model_validate(EVALUATION)
    known = {c.id: c for c in constitutions()}
    queries = {query.id: query for query in records.read(Query, flags["queries"][0])}
    frames = tabulate.tabulate(policies, known, queries, evaluation, seed=1)
    assert frames["information"]["n_queries"].tolist() == [6, 5, 6]
    assert frames["information"]["difference"].notna().tolist() == [False, True, True]
    assert frames["summary"]["n_queries"].tolist() == [6, 6]


def test_without_checks_adherence_is_an_empty_table_with_its_header():
    unchecked = {
        c.id: c.model_copy(update={"statements": [s.model_copy(update={"check": None}) for s in c.statements]})
        for c in constitutions()
    }
    frame = tables.adherence([], unchecked, tables.Estimator(100, 0.95, 1))
    assert len(frame) == 0
    assert list(frame)[:4] == ["iteration", "principle", "polarity", "degree"]


def test_one_query_has_estimates_without_intervals(tmp_path):
    flags = write_experiment(tmp_path, queries=1, iterations=1)
    done = write_tables(flags, tmp_path / "tables")
    assert done.returncode == 0, done.stderr
    row = pd.read_csv(tmp_path / "tables" / "summary.csv").iloc[1]
    assert pd.notna(row["bound_nats"])
    assert pd.isna(row["bound_low"])
    assert "[" not in summary.format(str(tmp_path / "tables" / "summary.csv")).splitlines()[-1]


@pytest.mark.parametrize(
    ("flag", "change", "message"),
    [
        ("verdicts", lambda lines: [], "expected those on iteration-1 against one comparator by the judge 'checks'"),
        ("verdicts", lambda lines: [s.replace('"checks"', '"other"') for s in lines], "by the judge 'checks'"),
        ("information", lambda lines: lines[1:], "scorer 'iteration-1' and responses_of 'iteration-1', expected one"),
        ("responses", lambda lines: lines[1:], "expected those of the 3 queries that the base model answered"),
        ("training", lambda lines: [s.replace('"loss"', '"los"') for s in lines], "line 1: field 'loss': found no"),
    ],
)
def test_wrong_files_are_named(tmp_path, flag, change, message):
    flags = write_experiment(tmp_path, queries=3, iterations=1)
    file = Path(flags[flag][-1])
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match="(?s)" + message) as caught:
        tabulate.load(*(flags[f] for f in ("responses", "information", "verdicts", "training")), JUDGE)
    assert str(file) in str(caught.value)


def test_numbers_have_one_form():
    assert tabulate.cell(0.123456, "x") == "0.1235"
    assert tabulate.cell(-0.00001, "x") == "0.0000"
    assert tabulate.cell(float("nan"), "x") == ""
    assert tabulate.cell(3.1e-9, "sign_test_p") == "3.1e-09"
    assert tabulate.cell(12, "x") == 12


def test_terminal_summary(tmp_path):
    path = tmp_path / "summary.csv"
    path.write_text(
        SUMMARY_COLUMNS + "\n0,0.0712,0.0500,0.0911,0.7292,0.7083,,,,44.1042,0.0000,48\n"
        "1,0.2149,0.1511,0.2702,0.8646,0.8438,0.6302,0.5573,0.7031,38.2500,0.0104,48\n"
    )
    assert summary.format(str(path)).splitlines() == [
        "iteration  bound (nats)       row accuracy  column accuracy  win rate            tokens  degenerate  queries",
        "---------  -----------------  ------------  ---------------  ------------------  ------  ----------  -------",
        "0 (base)   0.07 [0.05, 0.09]  72.9%         70.8%            -                   44.1    0.0%        48",
        "1          0.21 [0.15, 0.27]  86.5%         84.4%            63.0% [55.7, 70.3]  38.2    1.0%        48",
    ]


def test_terminal_summary_imports_nothing_heavy(experiment):
    _, folder = experiment
    code = f"import sys, sami.summary; sami.summary.format({str(folder / 'summary.csv')!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "numpy", "torch", "matplotlib"} & set(done.stdout.split())


def test_terminal_summary_says_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        summary.format(str(tmp_path / "summary.csv"))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a summary table"):
        summary.format(str(tmp_path / "other.csv"))
