"""Tables of verdicts, from record files of a made-up experiment, against slow computations."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from tabulated import (
    EVALUATION,
    JUDGES,
    constitutions,
    load,
    row_of,
    table_of,
    verdicts_of,
)

from sami import records
from sami.analysis.statistics.significance import holm
from sami.analysis.statistics.win_rates import queries_needed, wilson_by_query
from sami.analysis.tables import subsets
from sami.analysis.tables.length_control import length_control
from sami.analysis.tables.rows import Comparison, Estimator, Policy, by_query
from sami.analysis.tables.run import Run
from sami.judging.pairs import POINTS
from sami.records import Query, Verdict
from sami.settings.evaluation import Evaluation


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


def judged_on(hard: list[int], name: str, preferences: list[float]) -> Comparison:
    """A policy whose responses are longer on the queries that are not hard."""
    verdicts = [
        Verdict(
            query_id=f"q{n}", set_id="s", constitution_id="c", number=0, policy=name, comparator="base", judge="j",
            first="x" * (12 - 4 * h + n % 3), second="y" * 10, choice="tie", preference=preference,
        )
        for n, (h, preference) in enumerate(zip(hard, preferences, strict=True))
    ]  # fmt: skip
    return Comparison(Policy(name, None, []), "base", "j", verdicts)


def test_difficulty_is_what_two_others_say_at_least_and_never_the_policy_itself():
    estimator = Estimator(100, 0.95, 1)
    hard = [n % 2 for n in range(40)]
    a, b, c = (judged_on(hard, name, [0.8 - 0.6 * h for h in hard]) for name in "abc")
    flat = [judged_on(hard, name, [0.4] * 40) for name in "de"]
    alone, pair, three, beside_flat = (
        length_control(rows, estimator)[0] for rows in ([a], [a, b], [a, b, c], [a, *flat])
    )
    assert alone == pair
    # Length goes with difficulty here: alone it gets all the credit, beside the others' verdicts little of it.
    assert alone.coefficient > 1.2
    assert three.coefficient < 0.6 * alone.coefficient
    # Others that are alike on every query tell nothing of difficulty, however much the policy's own verdicts differ.
    assert beside_flat.rate == pytest.approx(alone.rate, abs=1e-6)


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
        values = by_query((v.query_id, v.preference) for v in chosen)
        expected = wilson_by_query(values, 0.95)
        assert [row["win_rate"], row["win_low"], row["win_high"]] == pytest.approx(list(expected), abs=6e-5)
        assert (row["n_queries"], row["n_verdicts"]) == (len(values), len(chosen))
        assert row["queries_needed"] == queries_needed(values, EVALUATION["wanted_width"], 0.95)
    assert table["n_verdicts"].head(9).tolist() == [24, 12, 12, 12, 6, 6, 12, 6, 6]


def test_by_principle_only_what_is_tested_has_a_p_value_and_pays_for_the_others(experiment):
    flags, folder = experiment
    table = pd.read_csv(folder / "win_rates_by_principle.csv")
    tested = table["polarity"] == "both"
    assert table.loc[~tested, ["p", "p_holm"]].isna().all(axis=None)
    for _, family in table[tested].groupby(["comparator", "judge"]):  # other comparators and judges cost nothing
        assert family["p_holm"].tolist() == pytest.approx(holm(family["p"].tolist()), rel=0.01)
    verdicts = verdicts_of(flags, "iteration-3", "checks", "iteration-0")
    leaning = [sum(of) for of in by_query((v.query_id, v.preference - 0.5) for v in verdicts).values()]
    patterns = itertools.product((1, -1), repeat=len(leaning))
    sums = [abs(sum(sign * x for sign, x in zip(signs, leaning, strict=True))) for signs in patterns]
    exact = np.mean([total >= abs(sum(leaning)) - 1e-9 for total in sums])
    row = row_of(table, judge="checks", comparator="iteration-0", principle="short", polarity="both")
    assert row["p"] == pytest.approx(exact, abs=0.03)  # "short" is in every constitution; 400 drawn patterns of signs


def test_by_principle_an_earlier_policy_is_the_last_of_its_own_tables(experiment):
    """And where none was trained, all policies have rows."""
    flags, _ = experiment
    comparisons = load(flags).comparisons
    chosen = lambda *names: [c for c in comparisons if c.policy.name in names]  # noqa: E731
    shown = lambda some: {c.policy.name for c in subsets.of_last_trained(some)}  # noqa: E731
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
    policy = Policy("iteration-1", 1, [])
    evaluation = Evaluation.model_validate(EVALUATION)
    won = [Comparison(policy, "iteration-0", "j", verdicts)]
    table = table_of("win_rates_by_principle", Run([policy], won, {}, known, evaluation, seed=1))
    row = table.iloc[0]
    assert (row["win_rate"], row["win_high"]) == (1.0, 1.0)
    assert 0.5 < row["win_low"] < 0.65
    assert row["p"] == 2 / 2**8
    assert row["p_holm"] == 2 * 2 / 2**8  # "polite" has no verdicts, so no row and no part in the correction
    assert row["queries_needed"] == 35
    assert table["principle"].unique().tolist() == ["short", "excited"]
