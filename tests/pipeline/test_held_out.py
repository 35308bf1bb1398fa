"""Held-out principles: apart from training, evaluated on every query, and told apart in every table and figure."""

import argparse
import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from tabulated import EVALUATION, judgements, table_of

from sami import records
from sami.analysis.figures import win_rates as figures
from sami.analysis.tables.build import build as build_tables
from sami.analysis.tables.rows import Comparison, Policy
from sami.analysis.tables.run import Run, load_comparisons
from sami.data.constitutions import assign, build, build_held_out, by_set, draw_sets, empty_examples
from sami.errors import UserError
from sami.judging.pairs import read_pairs
from sami.records import Check, Constitution, Principle
from sami.settings.evaluation import Evaluation
from sami.settings.principles import Constitutions
from sami.stages import build_constitutions
from sami.workflow.configuration import load
from sami.workflow.preflight import check

PAIRS = Constitutions(writer="w", principles="p", held_out="h", per_set=2, statements=2, negate="all")


def principles(*names: str) -> list[Principle]:
    short, long = (Check(measure="words", best=best, worst=60 - best) for best in (10, 50))
    return [
        Principle(id=n, text=f"Be {n}.", opposite=f"Be not {n}.", check=short, opposite_check=long, writer="w")
        for n in names
    ]


LEARNED, HELD_OUT = principles("a", "b", "c"), principles("x", "y", "z")


def constitutions() -> list[Constitution]:
    return [*build(LEARNED, PAIRS, 1), *build_held_out(HELD_OUT, LEARNED, PAIRS, 1)]


# --- which sets a query has -------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(0, 9))
def test_every_query_has_one_set_of_each_kind(count, seed):
    sets, queries = by_set(constitutions()), [f"q{n}" for n in range(count)]
    drawn = draw_sets(queries, sets, seed)
    assert [query for query, _ in drawn] == [query for query in queries for _ in range(2)]
    learned, held_out = ([s for _, s in drawn if sets[s][0].held_out == kind] for kind in (False, True))
    # Held-out principles change nothing about the learned ones.
    assert learned == list(assign(queries, [s for s in sets if not sets[s][0].held_out], seed).values())
    for of_kind in (learned, held_out):
        counts = Counter(of_kind)
        assert max(counts.values()) - min(counts.get(s, 0) for s in set(of_kind) | set(counts)) <= 1


def test_a_learned_set_meets_different_held_out_ones():
    drawn = draw_sets([f"q{n}" for n in range(60)], by_set(constitutions()), 1)
    met = {(drawn[i][1], drawn[i + 1][1]) for i in range(0, len(drawn), 2)}
    assert len(met) > 6  # of 9


@pytest.mark.parametrize(
    ("held_out", "told"),
    [
        (Principle(id="a", text="Be new.", opposite="Be old.", writer="w"), "'a', but the principle 'a', .* same id"),
        (Principle(id="n", text="be  A.", opposite="Be old.", writer="w"), "'n', but the principle 'a', .* 'be  A.'"),
        (Principle(id="n", text="Be new.", opposite="be b.", writer="w"), "'n', but the principle 'b', .* 'be b.'"),
        (Principle(id="n", text="Be NOT c.", opposite="Be.", writer="w"), "'n', but the principle 'c', .* 'Be NOT c.'"),
    ],
)
def test_a_learned_principle_cannot_be_held_out(tmp_path, held_out, told):
    for name, of in (("learned", LEARNED), ("held-out", [*HELD_OUT, held_out])):
        records.write(of, tmp_path / f"{name}.jsonl")
    arguments = argparse.Namespace(
        principles=tmp_path / "held-out.jsonl", training=tmp_path / "learned.jsonl", settings=PAIRS, seed=1,
        output=tmp_path / "out.jsonl",
    )  # fmt: skip
    with pytest.raises(UserError, match=rf"held-out.jsonl \(held out\), .*learned.jsonl: found the held-out .*{told}"):
        build_constitutions.main(arguments)
    records.write(HELD_OUT, tmp_path / "held-out.jsonl")
    build_constitutions.main(arguments)
    assert records.read(Constitution, tmp_path / "out.jsonl") == [c for c in constitutions() if c.held_out]


# --- before anything runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """A function that checks an experiment with other files of principles before it runs."""
    monkeypatch.chdir(tmp_path)
    Path("config").symlink_to(ROOT / "config")
    Path("principles").mkdir()
    for name in ("everyday", "everyday-behaviours"):
        Path(f"principles/{name}.yaml").symlink_to(ROOT / f"config/constitutions/{name}.yaml")

    def run(held_out: dict | None, **changes):
        if held_out is not None:
            Path("principles/others.yaml").write_text(yaml.safe_dump(held_out))
        mine = {"constitutions": {"held_out": "others", **changes.pop("constitutions", {})}, **changes}
        whole = {"run": ["mine"], "constitutions": "principles", "experiments": {"mine": mine}}
        Path("mine.yaml").write_text(yaml.safe_dump(whole))
        check(load(["config/config.yaml", "mine.yaml"]), ["mine"])

    return run


def pair(identifier: str, text: str) -> dict:
    return {"pairs": [{"id": identifier, "principle": {"text": text}, "opposite": {"text": f"Never. {text}"}}]}


def behaviour(identifier: str, description: str) -> dict:
    return {"behaviours": [{"id": identifier, "description": description, "about": ["short"]}]}


MODEL = {"writer": "smollm2", "principles": "everyday-behaviours"}


def test_others_are_no_obstacle(checked):
    checked(pair("new", "Answer in French."))
    checked(behaviour("new", "answers in French"), constitutions=MODEL)


@pytest.mark.parametrize(
    ("held_out", "constitutions", "told"),
    [
        (pair("short", "Answer in French."), {}, r"others.yaml \(held out\), principles/everyday.yaml: .* same id"),
        (pair("new", "answer in ONE short sentence."), {}, "'new', but the principle 'short', .* has its text 'answer"),
        (behaviour("short", "French"), MODEL, r"others.yaml \(held out\), principles/everyday-beh.*'short'.* same id"),
        (pair("new", "Answer in French."), MODEL, "constitutions.held_out: found 'others', a file with 'pairs', exp"),
        (behaviour("new", "French"), {}, "constitutions.held_out: found 'others', a file with 'behaviours', expected"),
        (pair("new", "French."), {"statements": 2}, r"others.yaml \(held out\), .*statements is 2, but .* only 1"),
        (None, {}, r'constitutions.held_out: found "others" \(text\), expected one of the files \*.yaml in principles'),
        (None, {"held_out": "everyday"}, "principles/everyday.yaml: found the held-out principle 'short', .* its text"),
    ],
)
def test_obstacles_are_named_before_anything_runs(checked, held_out, constitutions, told):
    with pytest.raises(UserError, match=told):
        checked(held_out, constitutions=constitutions)


# --- tables and figure ------------------------------------------------------------------------------------------------


def experiment(judged: str, queries: int = 14, seed: int = 3) -> Run:
    """Policies 0 and 1, an imported one, and verdicts by checks of a made-up experiment."""
    draw = random.Random(f"held-out-{seed}")
    known = {c.id: c for c in constitutions()}
    asked = {f"q{n}": records.Query(id=f"q{n}", task="t", text=f"What of {n}?") for n in range(queries)}
    sets = by_set(list(known.values()))
    policies = []
    for name in ("iteration-0", "iteration-1", "other"):
        filled, scores = [], []
        for example in empty_examples(list(asked), sets, None, name, 1, False):
            skill = {"iteration-0": 0, "iteration-1": 4 if sets[example.set_id][0].held_out else 8, "other": 2}[name]
            responses = [
                r.model_copy(update={"text": " ".join(["w"] * max(1, round(draw.gauss(30 + (2 * j - 1) * skill, 6))))})
                for j, r in enumerate(example.responses)
            ]
            filled.append(example.model_copy(update={"responses": responses}))
            matrix = [[draw.gauss(-1 - 0.1 * skill * (i != j), 0.2) for j in (0, 1)] for i in (0, 1)]
            entries = {"labels": [0, 1], "mean": matrix, "sum": matrix, "tokens": [9, 9]}
            key = {"query_id": example.query_id, "set_id": example.set_id}
            scores.append(records.Scores(**key, scorer=name, responses_of=name, **entries))
        iteration = None if name == "other" else int(name[-1])
        own = {} if name == "other" else {"own": scores, "on_base": scores, "by_base": scores}
        policies.append(Policy(name, iteration, filled, **own))
    base = policies[0]
    comparisons = []
    for policy in policies[1:]:
        pairs = read_pairs("p", "c", policy.examples, base.examples, asked, known, judged)
        comparisons.append(Comparison(policy, base.name, "checks", judgements(draw, pairs, "checks")))
    published = [{"comparator": "base", "principles": kind, "win_rate": rate} for kind, rate in
                 (("training", 0.68), ("held-out", 0.67))]  # fmt: skip
    evaluation = Evaluation.model_validate(
        EVALUATION | {"judges": ["checks"], "comparators": ["base"], "judged": judged, "published": published}
    )
    return Run(policies, comparisons, asked, known, evaluation, seed=1)


@pytest.fixture(scope="module")
def made():
    return build_tables(experiment("all"))


def test_other_tables_are_those_of_the_principles_of_training_alone(made):
    run = experiment("all")
    trained = {i: c for i, c in run.constitutions.items() if not c.held_out}
    alone = build_tables(replace(run.under({c.set_id for c in trained.values()}), constitutions=trained))
    assert made.keys() == alone.keys()
    assert alone["generalisation"].empty
    for name in made.keys() - {"generalisation"}:
        table = made[name]
        if "principles" in table:
            assert set(table["principles"]) == {"training", "held-out"}
            table = table[table["principles"] == "training"]
        left, right = (t.reset_index(drop=True) for t in (table, alone[name]))
        pd.testing.assert_frame_equal(left, right, obj=name)


def test_generalisation_agrees_with_a_slow_computation(made):
    table = made["generalisation"]
    run = experiment("all")
    comparisons, known = run.comparisons, run.constitutions
    assert table["policy"].tolist() == ["iteration-1"] * 2 + ["other"] * 2
    assert table["principles"].tolist() == ["training", "held-out"] * 2
    for number, comparison in enumerate(comparisons):
        means = {}
        for offset, kind in enumerate(("training", "held-out")):
            row = table.iloc[2 * number + offset]
            said = [v for v in comparison.verdicts if known[v.constitution_id].held_out == (kind == "held-out")]
            assert row["win_rate"] == pytest.approx(np.mean([v.preference for v in said]))
            assert row["win_low"] <= row["win_rate"] <= row["win_high"]
            assert (row["n_queries"], row["n_verdicts"]) == (14, 28) == (len({v.query_id for v in said}), len(said))
            means[kind] = {
                q: np.mean([v.preference for v in said if v.query_id == q]) for q in {v.query_id for v in said}
            }
        differences = [means["training"][query] - means["held-out"][query] for query in means["training"]]
        assert row["difference"] == pytest.approx(np.mean(differences))
        width = 2 * 1.96 * np.std(differences) / np.sqrt(len(differences))
        assert row["difference_high"] - row["difference_low"] == pytest.approx(width, rel=0.2)
        assert pd.isna(table.iloc[2 * number]["difference"])
    assert table["published_low"].fillna(0).tolist() == [0.68, 0.67, 0, 0]


def test_tables_by_principle_say_which_are_held_out(made):
    kinds = {"a": "training", "b": "training", "c": "training", "x": "held-out", "y": "held-out", "z": "held-out"}
    for name in ("win_rates_by_principle", "adherence"):
        table = made[name]
        assert dict(zip(table["principle"], table["principles"], strict=True)) == kinds, name


def test_positive_verdicts_alone_make_tables_and_information_stays():
    run = experiment("positive")
    assert all(run.constitutions[v.constitution_id].positive for c in run.comparisons for v in c.verdicts)
    made, whole = build_tables(run), build_tables(experiment("all"))
    assert made["generalisation"]["n_verdicts"].tolist() == [14] * 4
    assert set(made["win_rates_by_principle"]["polarity"]) == {"wanted"}
    assert made["win_rates"]["n_verdicts"].tolist() == [14, 14]
    pd.testing.assert_frame_equal(made["information"], whole["information"])


def test_pairs_are_those_of_the_responses_that_are_judged():
    run = experiment("all")
    known, asked = run.constitutions, run.queries
    base, trained, _ = (policy.examples for policy in run.policies)
    kept = [
        [e.model_copy(update={"constitution_ids": [e.constitution_ids[j]], "responses": [
            e.responses[j].model_copy(update={"constitution": 0})]}) for e in base]
        for j in (0, 1)
    ]  # fmt: skip
    pairs = read_pairs("ours", "theirs", trained, kept[0], asked, known, "positive")
    assert [(p.first, p.second) for p in pairs] == [
        (first.responses[0].text, second.responses[0].text) for first, second in zip(trained, base, strict=True)
    ]
    with pytest.raises(UserError, match=r"ours, query 'q0', .* in theirs under .*\('evaluation.judged'\)"):
        read_pairs("ours", "theirs", trained, kept[0], asked, known, "all")
    with pytest.raises(UserError, match="ours: none of the responses is for a constitution that wants every principle"):
        read_pairs("ours", "theirs", kept[1], kept[1], asked, known, "positive")


def test_verdicts_of_the_other_setting_are_refused(tmp_path):
    run = experiment("all")
    files = []
    for comparison in run.comparisons:
        files.append(tmp_path / f"{comparison.policy.name}.jsonl")
        records.write(comparison.verdicts, files[-1])
    assert len(load_comparisons(files, run.policies, run.constitutions, run.evaluation)) == 2
    positive = run.evaluation.model_copy(update={"judged": "positive"})
    with pytest.raises(
        UserError, match="found 56 verdicts on 56 pairs, expected one on each of the 28 responses of it"
    ):
        load_comparisons(files, run.policies, run.constitutions, positive)


def test_the_figure_shows_both_kinds_with_what_is_published(made):
    figure = figures.generalisation(made["generalisation"], "made-up")
    (axes,) = figure.axes
    drawn = {bars.get_label(): bars for bars in axes.containers}
    lines = {kind: drawn[kind].lines[0] for kind in ("training", "held-out")}
    for kind, line in lines.items():
        rows = made["generalisation"][made["generalisation"]["principles"] == kind]
        assert line.get_ydata()[0] == pytest.approx(rows["win_rate"].iloc[0])
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["published, training", "published, held-out", "training", "held-out"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0 (base)", "1", "other"]


def test_the_figure_without_held_out_principles_says_so():
    empty = table_of("generalisation", Run([], [], {}, {}, Evaluation.model_validate(EVALUATION)))
    (axes,) = figures.generalisation(empty).axes
    assert [text.get_text() for text in axes.texts] == ["No principles are held out."]


def test_settings_round_trip_as_the_workflow_hands_them_on():
    given = EVALUATION | {"policies": {"a": "m", "b": {"responses": "x/y.json", "source": "https://a.org/z/"}}}
    evaluation = Evaluation.model_validate(given | {"judged": "positive"})
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation
    assert (evaluation.models, list(evaluation.files)) == ({"a": "m"}, ["b"])
    assert json.loads(evaluation.model_dump_json())["judged"] == "positive"
