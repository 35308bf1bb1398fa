"""Tables and the terminal summary, from record files of a made-up experiment."""

import csv
import itertools
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

from sami import records
from sami.analysis import statistics, summary, table_files, tables
from sami.errors import UserError
from sami.judging import checks, panel
from sami.judging.pairs import POINTS, Pair, read_pairs, verdict
from sami.judging.prompts import ORDERS
from sami.records import Answer, Check, Constitution, Example, Query, Response, Scores, Statement, Verdict
from sami.settings.evaluation import Evaluation
from sami.stages import tabulate

JUDGES = ["checks", "model", "strict", "panel"]
EVALUATION = {
    "sampling": {"temperature": 0.7, "max_new_tokens": 48, "batch_size": 96},
    "judges": JUDGES,
    "comparators": ["base", "instruct"],
    "policies": {"instruct": "some-model"},
    "degeneration": {"ngram": 3, "max_repeated": 0.3},
    "bootstrap_samples": 400,
    "confidence": 0.95,
    "wanted_width": 0.1,
    "published": [{"comparator": "base", "win_rate": [0.66, 0.77]}, {"comparator": "instruct", "win_rate": 0.56}],
}
SUMMARY_COLUMNS = (
    "iteration,bound_nats,bound_low,bound_high,row_accuracy,column_accuracy,win_rate,win_low,win_high,"
    "response_tokens,degenerate_share,n_queries,policy,lc_win_rate"
)
TABLES = ["summary", "win_rates", "win_rates_by_principle", "win_rates_by_length", "comparisons", "agreement",
          "generalisation",
          "length_bias", "information", "adherence", "lengths", "degeneration", "training", "samples"]  # fmt: skip
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
    if t == 3 and draw.random() < 0.3:
        words = ["very", "very"] * (count // 2) + ["much"]
    mark = "!" if positive and draw.random() < 0.1 + 0.25 * t else "."
    return " ".join([*words[: count // 2], "so" + mark, *words[count // 2 :]]) + mark


def write_experiment(
    folder: Path, queries: int = 12, iterations: int = 3, others: tuple[str, ...] = ("instruct",), judges=JUDGES
) -> dict[str, list[str]]:
    """Writes the record files of an experiment and returns the input flags of `tabulate` with their files.

    Each of `others` is a model that was not trained. Verdicts are those of `judges` against every comparator.
    """
    draw = random.Random(f"experiment-{queries}-{iterations}")
    known = constitutions()
    ids = [f"q{n:03d}" for n in range(queries)]
    sets = {set_id: [c for c in known if c.set_id == set_id] for set_id in ("short+excited", "short+polite")}
    set_of = {query_id: list(sets)[n % 2] for n, query_id in enumerate(ids)}
    folder.mkdir(parents=True, exist_ok=True)
    records.write(known, folder / "constitutions.jsonl")
    text = f"Why does {SCRIPT} & a “river” meander?\nExplain."
    questions = [
        Query(id=i, task="everyday", text=text if i == "q000" else f"What about {i}{' so' * (n % 5)}?")
        for n, i in enumerate(ids)
    ]
    records.write(questions, folder / "queries.jsonl")
    names = [*(f"iteration-{t}" for t in range(iterations + 1)), *others]
    flags = {"constitutions": [str(folder / "constitutions.jsonl")], "queries": [str(folder / "queries.jsonl")]}
    flags |= {"policies": names, "responses": [], "information": [], "verdicts": [], "training": []}
    examples: dict[str, dict[str, Example]] = {name: {} for name in names}
    for name in names:
        target = folder / name
        target.mkdir()
        t = int(name.removeprefix("iteration-")) if name.startswith("iteration-") else None
        scores = []
        for query_id in ids:
            members = sets[set_of[query_id]]
            texts = [answer(draw, constitution.positive, 2 if t is None else t) for constitution in members]
            if query_id == "q000":
                texts[0] += " " + SCRIPT
            examples[name][query_id] = Example(
                query_id=query_id,
                set_id=set_of[query_id],
                constitution_ids=[constitution.id for constitution in members],
                order=[0, 1],
                responses=[
                    Response(text=text, constitution=j, tokens=round(1.3 * len(text.split())), finish="end")
                    for j, text in enumerate(texts)
                ],
                policy=name,
            )
            for scorer, answered in dict.fromkeys([(t, t), (t, 0), (0, t)]) if t is not None else ():
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
        records.write(examples[name].values(), target / "responses.jsonl")
        flags["responses"].append(str(target / "responses.jsonl"))
        if t is not None:
            records.write(scores, target / "scores.jsonl")
            flags["information"].append(str(target / "scores.jsonl"))
        if t:
            steps = [training_step(draw, t, n) for n in range(1, 9)]
            (target / "training.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
            flags["training"].append(str(target / "training.jsonl"))
    by_id = {constitution.id: constitution for constitution in known}
    asked = {question.id: question for question in questions}
    for comparator in ("iteration-0", *others):
        for name in names:
            if name == comparator:
                continue
            pairs = read_pairs(name, comparator, list(examples[name].values()), list(examples[comparator].values()),
                               asked, by_id)  # fmt: skip
            said = {judge: judgements(draw, pairs, judge) for judge in judges if judge != "panel"}
            if "panel" in judges:
                said["panel"] = panel.majority(list(said.values()), list(said), "panel")
            for judge, verdicts in said.items():
                file = folder / name / f"verdicts-{judge}-vs-{comparator}.jsonl"
                records.write(verdicts, file)
                flags["verdicts"].append(str(file))
    return flags


def training_step(draw: random.Random, t: int, n: int) -> dict[str, float]:
    loss = 0.66 * math.exp(-0.06 * t * n) + draw.gauss(0, 0.02)
    right = min(1.0, 0.6 + 0.04 * n + draw.gauss(0, 0.03))
    return {
        "step": n, "loss": loss, "bound": math.log(2) - loss, "row_accuracy": right,
        "column_accuracy": right - 0.05, "kl": 0.0004 * n, "gradient_norm": 3 + draw.gauss(0, 0.5),
        "learning_rate": 5e-6, "queries": 8, "tokens_per_second": 210.4,
    }  # fmt: skip


def judgements(draw: random.Random, pairs: list[Pair], judge: str) -> list[Verdict]:
    """Verdicts of a judge who likes long responses, in both orders; of "checks" by the programmatic checks."""
    verdicts = []
    for pair in pairs:
        if judge == "checks":
            degrees = [checks.degrees(text, pair.constitution) for text in (pair.first, pair.second)]
            said = checks.choose(*degrees, 0.0)
            answers = [Answer(order="policy-first", choice=said, preference=POINTS[said])]
        else:
            edge = 0.5 + 0.01 * (len(pair.first) - len(pair.second)) / 6
            answers = []
            for order in ORDERS:
                bias = 0.08 if order == "policy-first" else -0.08
                odds = [max(0.05, edge + bias), max(0.05, 1 - edge - bias), 0.1, 0.05]
                said = draw.choices(["first", "second", "tie", "invalid"], odds)[0]
                tokens = {"input_tokens": 100, "output_tokens": 3, "cost": 0.001 if judge == "model" else None}
                answers.append(Answer(order=order, choice=said, preference=POINTS[said], raw="A", **tokens))
        verdicts.append(verdict(pair, judge, answers))
    return verdicts


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
    more = {"evaluation": [json.dumps(EVALUATION)], "seed": ["1"], "output": [str(output)]}
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


def verdicts_of(flags, policy: str, judge: str, comparator: str) -> list[Verdict]:
    end = f"/{policy}/verdicts-{judge}-vs-{comparator}.jsonl"
    return records.read(Verdict, next(file for file in flags["verdicts"] if file.endswith(end)))


def test_all_tables_are_written(experiment):
    _, folder = experiment
    printed = [f"{t}.{kind}" for t in TABLES if t in table_files.PRINTED for kind in ("md", "tex")]
    expected = [*(f"{t}.csv" for t in TABLES), *printed, "provenance.json"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)


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
    assert {row["n_queries"] for row in rows} == {"12"}


def test_summary_agrees_with_a_slow_computation(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "summary.csv")
    for t, scores in enumerate(read_all(Scores, flags["information"])):
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
        statistics.information(s.mean, s.labels).bound
        for s in records.read(Scores, flags["information"][2])
        if (s.scorer, s.responses_of) == ("iteration-2", "iteration-0")
    ]
    assert table.loc[4, "bound_nats"] == pytest.approx(np.mean(on_base), abs=6e-5)


def row_of(table: pd.DataFrame, **names) -> pd.Series:
    (row,) = table[(table[list(names)] == pd.Series(names)).all(axis=1)].itertuples(index=False)
    return pd.Series(row._asdict())


def test_win_rates_of_every_policy_comparator_and_judge(experiment):
    _, folder = experiment
    table = pd.read_csv(folder / "win_rates.csv")
    trained = ["iteration-1", "iteration-2", "iteration-3"]
    expected = [("iteration-0", judge, policy) for judge in JUDGES for policy in [*trained, "instruct"]]
    expected += [("instruct", judge, policy) for judge in JUDGES for policy in ["iteration-0", *trained]]
    assert list(zip(table["comparator"], table["judge"], table["policy"], strict=True)) == expected
    assert (table[["wins", "ties", "losses", "invalid"]].sum(axis=1) == 24).all()
    assert (table["p_holm"] >= table["p"]).all()
    assert table["p_holm"].min() == pytest.approx(32 * table["p"].min(), rel=0.01)


def test_a_win_rate_with_everything_beside_it_by_hand(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "win_rates.csv")
    row = row_of(table, policy="iteration-2", judge="model", comparator="instruct")
    verdicts = verdicts_of(flags, "iteration-2", "model", "instruct")
    answers = [answer for verdict in verdicts for answer in verdict.answers]
    assert row["win_rate"] == pytest.approx(np.mean([POINTS[answer.choice] for answer in answers]), abs=6e-5)
    assert row["win_low"] < row["win_rate"] < row["win_high"]
    alike = [
        first.choice == second.choice
        for first, second in (verdict.answers for verdict in verdicts)
        if "invalid" not in (first.choice, second.choice)
    ]
    assert 0 < np.mean(alike) < 1
    assert row["position_consistency"] == pytest.approx(np.mean(alike), abs=6e-5)
    shown = {"policy-first": {"first": 1, "second": 0}, "comparator-first": {"first": 0, "second": 1}}
    won = [shown[a.order].get(a.choice, 0.5) for a in answers if a.choice != "invalid"]
    assert row["first_shown_share"] == pytest.approx(np.mean(won), abs=6e-5)
    assert row["mean_words"] == pytest.approx(np.mean([len(v.first.split()) for v in verdicts]), abs=6e-5)
    assert row["invalid_answers"] == sum(answer.choice == "invalid" for answer in answers)
    assert (row["input_tokens"], row["output_tokens"], row["cost"]) == (4800, 144, 0.048)
    panel_row = row_of(table, policy="iteration-2", judge="panel", comparator="instruct")
    assert panel_row["input_tokens"] == 2 * 4800  # of both members that are models
    assert pd.isna(panel_row["first_shown_share"])  # its answers are votes, not orders
    checked = row_of(table, policy="iteration-2", judge="checks", comparator="instruct")
    assert pd.isna(checked["position_consistency"])
    assert pd.isna(checked["cost"])


def judged_on(hard: list[int], name: str, preferences: list[float]) -> tables.Comparison:
    """A policy whose responses are longer on the queries that are not hard."""
    verdicts = [
        Verdict(
            query_id=f"q{n}", set_id="s", constitution_id="c", number=0, policy=name, comparator="base", judge="j",
            first="x" * (12 - 4 * h + n % 3), second="y" * 10, choice="tie", preference=preference,
        )
        for n, (h, preference) in enumerate(zip(hard, preferences, strict=True))
    ]  # fmt: skip
    return tables.Comparison(tables.Policy(name, None, []), "base", "j", verdicts)


def test_difficulty_is_what_two_others_say_at_least_and_never_the_policy_itself():
    estimator = tables.Estimator(100, 0.95, 1)
    hard = [n % 2 for n in range(40)]
    a, b, c = (judged_on(hard, name, [0.8 - 0.6 * h for h in hard]) for name in "abc")
    flat = [judged_on(hard, name, [0.4] * 40) for name in "de"]
    alone, pair, three, beside_flat = (
        tables.length_control(rows, estimator)[0] for rows in ([a], [a, b], [a, b, c], [a, *flat])
    )
    assert alone == pair
    # Length goes with difficulty here: alone it gets all the credit, beside the others' verdicts little of it.
    assert alone.coefficient > 1.2
    assert three.coefficient < 0.6 * alone.coefficient
    # Others that are alike on every query tell nothing of difficulty, however much the policy's own verdicts differ.
    assert beside_flat.rate == pytest.approx(alone.rate, abs=1e-6)


def test_win_rates_by_principle_are_the_last_policys_together_and_by_polarity(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "win_rates_by_principle.csv")
    assert set(table["policy"]) == {"iteration-3"}
    of_one = [(name, said) for name in ("short", "excited", "polite") for said in ("both", "wanted", "opposite")]
    assert list(zip(table["principle"], table["polarity"], strict=True)) == 2 * len(JUDGES) * of_one
    verdicts = verdicts_of(flags, "iteration-3", "model", "iteration-0")
    names = {"judge": "model", "comparator": "iteration-0"}
    for principle, polarity, marks in (
        ("short", "wanted", ["short"]),
        ("excited", "opposite", ["-excited"]),
        ("polite", "both", ["polite", "-polite"]),
    ):
        chosen = [v for v in verdicts if set(marks) & set(v.constitution_id.split("+"))]
        row = row_of(table, **names, principle=principle, polarity=polarity)
        values = tables.by_query((v.query_id, v.preference) for v in chosen)
        expected = statistics.wilson_by_query(values, 0.95)
        assert [row["win_rate"], row["win_low"], row["win_high"]] == pytest.approx(list(expected), abs=6e-5)
        assert (row["n_queries"], row["n_verdicts"]) == (len(values), len(chosen))
        assert row["queries_needed"] == statistics.queries_needed(values, EVALUATION["wanted_width"], 0.95)
    assert table["n_verdicts"].head(9).tolist() == [24, 12, 12, 12, 6, 6, 12, 6, 6]


def test_by_principle_only_what_is_tested_has_a_p_value_and_pays_for_the_others(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "win_rates_by_principle.csv")
    tested = table["polarity"] == "both"
    assert table.loc[~tested, ["p", "p_holm"]].isna().all(axis=None)
    for _, family in table[tested].groupby(["comparator", "judge"]):  # other comparators and judges cost nothing
        assert family["p_holm"].tolist() == pytest.approx(statistics.holm(family["p"].tolist()), rel=0.01)
    verdicts = verdicts_of(flags, "iteration-3", "checks", "iteration-0")
    leaning = [sum(of) for of in tables.by_query((v.query_id, v.preference - 0.5) for v in verdicts).values()]
    patterns = itertools.product((1, -1), repeat=len(leaning))
    sums = [abs(sum(sign * x for sign, x in zip(signs, leaning, strict=True))) for signs in patterns]
    exact = np.mean([total >= abs(sum(leaning)) - 1e-9 for total in sums])
    row = row_of(table, judge="checks", comparator="iteration-0", principle="short", polarity="both")
    assert row["p"] == pytest.approx(exact, abs=0.03)  # "short" is in every constitution; 400 drawn patterns of signs


def test_by_principle_an_earlier_policy_is_the_last_of_its_own_tables(experiment):
    """And where none was trained, all policies have rows."""
    flags, _ = experiment
    _, comparisons, _ = load(flags)
    chosen = lambda *names: [c for c in comparisons if c.policy.name in names]  # noqa: E731
    shown = lambda some: {c.policy.name for c in tables.of_last_trained(some)}  # noqa: E731
    assert shown(comparisons) == {"iteration-3"}
    assert shown(chosen("iteration-0", "iteration-1", "instruct")) == {"iteration-1"}
    assert shown(chosen("iteration-0", "instruct")) == {"iteration-0", "instruct"}


def test_a_principle_that_always_wins_is_not_certain():
    """Eight queries, two verdicts on each: the least p-value there is, and a wide interval."""
    known = {c.id: c for c in constitutions()}
    verdicts = [
        Verdict(
            query_id=f"q{n}", set_id="short+excited", constitution_id=name, number=j, policy="iteration-1",
            comparator="iteration-0", judge="j", first="x", second="y", choice="first", preference=1.0,
        )
        for n in range(8) for j, name in enumerate(("short+excited", "-short+-excited"))
    ]  # fmt: skip
    policy = tables.Policy("iteration-1", 1, [])
    evaluation = Evaluation.model_validate(EVALUATION)
    table = tables.win_rates_by_principle(
        [tables.Comparison(policy, "iteration-0", "j", verdicts)], known, evaluation, tables.Estimator(400, 0.95, 1)
    )
    row = table.iloc[0]
    assert (row["win_rate"], row["win_high"]) == (1.0, 1.0)
    assert 0.5 < row["win_low"] < 0.65
    assert row["p"] == 2 / 2**8
    assert row["p_holm"] == 2 * 2 / 2**8  # "polite" has no verdicts, so no row and no part in the correction
    assert row["queries_needed"] == 35
    assert table["principle"].unique().tolist() == ["short", "excited"]


def test_win_rates_by_query_length(experiment):
    flags, folder = experiment
    verdicts = verdicts_of(flags, "iteration-3", "model", "iteration-0")
    thirds = pd.read_csv(folder / "win_rates_by_length.csv")
    thirds = thirds[(thirds["policy"] == "iteration-3") & (thirds["judge"] == "model")].iloc[:3]
    assert thirds["third"].tolist() == ["short", "medium", "long"]
    assert thirds["n_queries"].sum() == 12
    assert (thirds["words_high"].to_numpy()[:-1] < thirds["words_low"].to_numpy()[1:]).all()
    size = {query.id: len(query.text.split()) for query in records.read(Query, flags["queries"][0])}
    row = thirds.iloc[0]
    chosen = [v.preference for v in verdicts if row["words_low"] <= size[v.query_id] <= row["words_high"]]
    assert row["win_rate"] == pytest.approx(np.mean(chosen), abs=6e-5)


def test_policies_are_compared_in_pairs(experiment):
    _, folder = experiment
    table = pd.read_csv(folder / "comparisons.csv")
    assert len(table) == 2 * len(JUDGES) * math.comb(4, 2)
    rates = pd.read_csv(folder / "win_rates.csv")
    names = {"judge": "model", "comparator": "iteration-0"}
    row = row_of(table, policy="iteration-3", other_policy="iteration-1", **names)
    later, earlier = (row_of(rates, policy=f"iteration-{t}", **names)["win_rate"] for t in (3, 1))
    assert row["difference"] == pytest.approx(later - earlier, abs=2e-4)
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert (table["p_holm"] >= table["p"]).all()


def test_judges_agree_with_each_other_more_or_less(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "agreement.csv")
    assert len(table) == (8 + 1) * (math.comb(4, 2) + 1)  # each comparison and all: every two judges, and all together
    pooled = table[table["policy"] == "all policies"]
    row = row_of(pooled, judge="checks", other_judge="model")
    said = {
        judge: [v.choice for p, c in comparisons_of() for v in verdicts_of(flags, p, judge, c)]
        for judge in ("checks", "model", "strict")
    }
    valid = [pair for pair in zip(said["checks"], said["model"], strict=True) if "invalid" not in pair]
    assert row["n_verdicts"] == len(valid)
    assert row["agreement"] == pytest.approx(np.mean([a == b for a, b in valid]), abs=6e-5)
    assert row["kappa_low"] < row["kappa"] < row["kappa_high"]
    together = row_of(pooled, measure="fleiss")
    triples = [t for t in zip(*said.values(), strict=True) if "invalid" not in t]
    assert together["n_verdicts"] == len(triples)  # the panel is not among them
    shares = [sum(a == b for a, b in itertools.combinations(t, 2)) / 3 for t in triples]
    assert together["agreement"] == pytest.approx(np.mean(shares), abs=6e-5)


def comparisons_of() -> list[tuple[str, str]]:
    names = ["iteration-1", "iteration-2", "iteration-3"]
    pairs = [(name, "iteration-0") for name in [*names, "instruct"]]
    return pairs + [(name, "instruct") for name in ["iteration-0", *names]]


def test_length_bias_holds_every_verdict_once(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "length_bias.csv")
    names = {"policy": "iteration-1", "judge": "strict", "comparator": "iteration-0"}
    bins = table[(table[list(names)] == pd.Series(names)).all(axis=1)]
    verdicts = verdicts_of(flags, "iteration-1", "strict", "iteration-0")
    assert bins["n_verdicts"].sum() == len(verdicts)
    assert (bins["difference_high"].to_numpy()[:-1] < bins["difference_low"].to_numpy()[1:]).all()
    differences = [len(v.first) - len(v.second) for v in verdicts]
    assert bins["scale"].iloc[0] == pytest.approx(np.std(differences), abs=6e-5)
    last = bins.iloc[-1]
    chosen = [v.preference for v, d in zip(verdicts, differences, strict=True) if d >= last["difference_low"]]
    assert last["preference"] == pytest.approx(np.mean(chosen), abs=6e-5)


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
    texts = [f"response_{name}" for name in flags["policies"]]
    assert list(table) == ["query_id", "constitution_id", "query", "constitution", *texts]
    assert len(table) == 2 * tabulate.SAMPLED_QUERIES
    row = table.iloc[1]
    example = next(e for e in records.read(Example, flags["responses"][2]) if e.query_id == row["query_id"])
    assert row["response_iteration-2"] == example.responses[1].text
    assert row["constitution_id"] == example.constitution_ids[1]


def load(flags, **changes):
    evaluation = Evaluation.model_validate(EVALUATION | changes)
    policies = tabulate.load_policies(*(flags[name] for name in ("policies", "responses", "information", "training")))
    known = {c.id: c for c in constitutions()}
    return policies, tabulate.load_comparisons(flags["verdicts"], policies, known, evaluation), evaluation


def tables_of(flags) -> dict[str, pd.DataFrame]:
    known = {c.id: c for c in constitutions()}
    queries = {query.id: query for query in records.read(Query, flags["queries"][0])}
    policies, comparisons, evaluation = load(flags)
    return tabulate.tabulate(policies, comparisons, known, queries, evaluation, seed=1)


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
    flags["verdicts"] = [judged]
    frames = tables_of(flags)
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
    assert write_tables(bare, tmp_path / "tables").returncode == 0
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
    done = write_tables(flags, tmp_path / "tables")
    assert done.returncode == 0, done.stderr
    row = pd.read_csv(tmp_path / "tables" / "summary.csv").iloc[1]
    assert pd.notna(row["bound_nats"])
    assert pd.isna(row["bound_low"])
    assert "[" not in summary.format(str(tmp_path / "tables" / "summary.csv")).splitlines()[-1]


def without_first(lines):
    return lines[1:]


def renamed(old, new):
    return lambda lines: [line.replace(old, new) for line in lines]


@pytest.mark.parametrize(
    ("flag", "change", "message"),
    [
        ("verdicts", lambda lines: [], "an empty file, expected verdict records"),
        ("verdicts", renamed('"checks"', '"other"'), r"'other'\)\], expected .* one judge among checks"),
        ("verdicts", lambda lines: [lines[0].replace('"checks"', '"strict"'), *lines[1:]], "'checks'.*'strict'"),
        ("verdicts", renamed('"policy":"instruct"', '"policy":"nobody"'), "'nobody'"),
        ("verdicts", without_first, "found 5 verdicts on 5 pairs, expected one on each of the 6 responses of instruct"),
        ("verdicts", lambda lines: [*lines, lines[0]], "found 7 verdicts on 6 pairs"),
        ("verdicts", renamed('"first":"', '"first":"x'), "query 'q000', constitution '.*': the verdict is on other"),
        ("information", without_first, "scorer 'iteration-1' and responses_of 'iteration-1', expected one"),
        ("information", renamed("iteration-1", "iteration-7"), "found log-probabilities of iteration-0, iteration-7"),
        ("responses", without_first, "expected those of the 3 queries that the base model answered"),
        ("responses", renamed('"instruct"', '"iteration-1"'), "'iteration-1', expected those of 'instruct'"),
        ("training", renamed('"loss"', '"los"'), "line 1: field 'loss': found no"),
    ],
)
def test_wrong_files_are_named(tmp_path, flag, change, message):
    flags = write_experiment(tmp_path, queries=3, iterations=1, judges=["checks"])
    flags["verdicts"].sort(key=lambda file: "/instruct/" in file)
    file = Path(flags[flag][-1])
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match="(?s)" + message) as caught:
        load(flags)
    assert str(file) in str(caught.value)


def test_files_in_any_order_but_none_twice(tmp_path):
    flags = write_experiment(tmp_path, queries=3, iterations=2, judges=["strict", "checks"])
    mixed = flags | {"verdicts": flags["verdicts"][::-1], "information": flags["information"][::-1]}
    policies, comparisons, _ = load(flags)
    assert load(mixed)[:2] == (policies, comparisons)
    assert [c.judge for c in comparisons[:2]] == ["checks", "checks"]  # the order of the settings, not of the files
    (tmp_path / "copy.jsonl").write_text(Path(flags["verdicts"][0]).read_text())
    with pytest.raises(UserError, match=r"copy\.jsonl: found the verdicts of 'strict' on iteration-1 against"):
        load(flags | {"verdicts": [*flags["verdicts"], str(tmp_path / "copy.jsonl")]})
    with pytest.raises(UserError, match="--information"):
        load(flags | {"information": [*flags["information"], flags["information"][0]]})
    with pytest.raises(UserError, match="--training: found 1 files, expected 2, one for each of iteration-1"):
        load(flags | {"training": flags["training"][:1]})
    with pytest.raises(UserError, match="--policies: found iteration-0, iteration-1, iteration-2, iteration-1"):
        load(flags | {"policies": ["iteration-0", "iteration-1", "iteration-2", "iteration-1"]})


def test_numbers_have_one_form():
    assert table_files.cell(0.123456, "x") == "0.1235"
    assert table_files.cell(-0.00001, "x") == "0.0000"
    assert table_files.cell(float("nan"), "x") == ""
    assert table_files.cell(3.1e-9, "p") == "3.1e-09"
    assert table_files.cell(12, "x") == 12


def test_terminal_summary(tmp_path):
    path = tmp_path / "summary.csv"
    path.write_text(
        SUMMARY_COLUMNS + "\n0,0.0712,0.0500,0.0911,0.7292,0.7083,,,,44.1042,0.0000,48,iteration-0,\n"
        "1,0.2149,0.1511,0.2702,0.8646,0.8438,0.6302,0.5573,0.7031,38.2500,0.0104,48,iteration-1,0.6111\n"
        ",,,,,,0.5000,0.4000,0.6000,40.0000,0.0000,48,instruct,0.5111\n"
    )
    assert summary.format(str(path)).splitlines() == [
        "iteration  bound (nats)       row accuracy  column accuracy  win rate      tokens  degenerate  queries",
        "---------  -----------------  ------------  ---------------  ------------  ------  ----------  -------",
        "0 (base)   0.07 [0.05, 0.09]  73%           71%              -             44      0.0%        48",
        "1          0.21 [0.15, 0.27]  86%           84%              63% [56, 70]  38      1.0%        48",
        "instruct   -                  -             -                50% [40, 60]  40      0.0%        48",
    ]


def test_terminal_summary_imports_nothing_heavy(experiment):
    _, folder = experiment
    path = str(folder / "summary.csv")
    code = f"import sys; from sami.analysis import summary; summary.format({path!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "numpy", "torch", "matplotlib"} & set(done.stdout.split())


def test_terminal_summary_says_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        summary.format(str(tmp_path / "summary.csv"))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a summary table"):
        summary.format(str(tmp_path / "other.csv"))
