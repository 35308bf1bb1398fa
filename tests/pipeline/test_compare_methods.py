"""Methods side by side in the workflow: two questions, two seeds, and what each policy took, whoever made it."""

import csv
import json
from pathlib import Path

import pytest
from workflow_project import TINY, Project

from sami import records
from sami.errors import UserError
from sami.lineage import lineage

LIKELIHOOD = {**TINY["defaults"]["training"], "objective": "supervised"}
EXPERIMENTS = {
    "sami-told": {},
    "sft-told": {
        "method": {"name": "sft", "constitution": "in-prompt"},
        "sampling": {"responses": 4},
        "training": LIKELIHOOD,
    },
    "steerlm-told": {
        "method": {"name": "steerlm", "levels": 3},
        "training": LIKELIHOOD,
        "evaluation": {"constitution": "as-labels"},
    },
    "rest": {
        "method": {"name": "rest", "reward": "checks", "thresholds": [0.1, 0.3], "per_query": True},
        "iterations": 2,
        "sampling": {"responses": 4},
        "training": LIKELIHOOD | {"start_from": "previous"},
        "evaluation": {
            "constitution": "left-out",
            "comparators": ["base", "prompted"],
            "policies": {"prompted": {"model": "tiny", "constitution": "in-prompt"}},
        },
    },
}


@pytest.fixture(scope="module")
def finished(tiny_source, tmp_path_factory):
    """A project in which four experiments with two seeds were compared."""
    friend = {"principles": "everyday-friend", "statements": 3}
    content = {
        "run": [*EXPERIMENTS],
        "compare": {"methods": [*EXPERIMENTS]},
        "defaults": TINY["defaults"]
        | {"seeds": [1, 5], "iterations": 1, "queries": {"train": 4, "eval": 4}, "constitutions": friend}
        | {"evaluation": {"judges": ["checks", "checks-held-out"], "bootstrap_samples": 200}},
        "experiments": EXPERIMENTS,
    }
    project = Project(tmp_path_factory.mktemp("methods"), tiny_source, content)
    project.printed = project.run("methods")
    return project


def rows(finished, name: str) -> dict[str, dict[str, str]]:
    with (finished.folder / f"results/methods/tables/{name}.csv").open(newline="") as file:
        return {row["arm"]: row for row in csv.DictReader(file)}


def test_each_question_has_its_arms(finished):
    told, unasked = (rows(finished, name) for name in ("steerability", "internalising"))
    assert [*told] == ["sami-told", "base", "sft-told", "steerlm-told"]  # the base model is there once
    assert [*unasked] == ["rest", "base", "prompted"]
    assert {row["n_seeds"] for row in (*told.values(), *unasked.values())} == {"2"}
    assert [row["method"] for row in unasked.values()] == ["rest", "", ""]
    for table in (told, unasked):
        assert table["base"]["win_rate"] == ""  # judged against itself
        for row in table.values():
            assert 0 <= float(row["degree"]) <= 1
            assert 0 <= float(row["held_out_degree"]) <= 1
            assert row["margin"] != ""
    assert (unasked["rest"]["other_judge"], unasked["rest"]["other_comparator"]) == ("checks-held-out", "prompted")
    assert unasked["rest"]["other_comparator_rate"] != "" != unasked["rest"]["other_judge_rate"]
    assert told["sami-told"]["other_comparator_rate"] == ""
    assert told["sami-told"]["difference"] == "" != told["sft-told"]["difference"]
    for name in ("quality", "quality_and_relevance"):
        assert (finished.folder / f"results/methods/figures/{name}.png").stat().st_size > 5000


def test_a_policy_is_told_by_labels_and_the_base_model_in_words(finished):
    """The base model's responses are those of the other experiments that ask this question."""
    folder = finished.folder / "results/steerlm-told-seed-1"
    for example in records.read(records.Example, folder / "iteration-1/eval/responses.jsonl"):
        wanted, negated = example.responses
        assert wanted.asked == {"short": 2, "warm": 2, "simple": 2}
        assert negated.asked == {"short": 0, "warm": 0, "simple": 0}
        assert [wanted.constitution, negated.constitution] == [0, 1]
    base = records.read(records.Example, folder / "iteration-0/eval/responses.jsonl")
    assert {response.asked for example in base for response in example.responses} == {None}
    record = json.loads((folder / "iteration-0/eval/responses.jsonl.provenance.json").read_text())
    assert record["stage"] == "share_results"
    assert not (folder / "iteration-1/eval/scores.jsonl").exists()


def test_a_rate_and_its_difference_are_those_of_the_runs(finished):
    folder = finished.folder / "results"

    def rate(run: str) -> float:
        with (folder / run / "tables/win_rates.csv").open(newline="") as file:
            return float(next(csv.DictReader(file))["win_rate"])

    rates = {name: [rate(f"{name}-seed-{seed}") for seed in (1, 5)] for name in ("sami-told", "sft-told")}
    table = rows(finished, "steerability")
    for name, of_seeds in rates.items():
        assert float(table[name]["win_rate"]) == pytest.approx(sum(of_seeds) / 2, abs=1e-4)
    expected = (sum(rates["sft-told"]) - sum(rates["sami-told"])) / 2
    assert float(table["sft-told"]["difference"]) == pytest.approx(expected, abs=2e-4)


def test_budgets_count_all_that_a_policy_was_made_of_once(finished):
    """ReST's second policy starts from the first, and both learn one file of responses, which counts once."""
    root = finished.folder
    for name, drawn, trained in (("rest", (1,), (1, 2)), ("sami-told", (1,), (1,))):
        sampled, learned = [], []
        for seed in (1, 5):
            run = root / f"results/{name}-seed-{seed}"
            counts = (json.loads((run / f"iteration-{t}/sampling.json").read_text())["tokens"] for t in drawn)
            sampled.append(sum(counts))
            steps = [json.loads(line) for t in trained for line in (run / f"iteration-{t}/training.jsonl").open()]
            learned.append(sum(step["tokens"] for step in steps))
        row = rows(finished, "internalising" if name == "rest" else "steerability")[name]
        assert float(row["sampled_tokens"]) == pytest.approx(sum(sampled) / 2)
        assert float(row["trained_tokens"]) == pytest.approx(sum(learned) / 2)
        expected = (sum(sampled) + 3 * sum(learned)) / 2 + float(row["scored_tokens"])
        assert float(row["forward_tokens"]) == pytest.approx(expected)
        assert float(row["minutes"]) > 0
    assert float(rows(finished, "steerability")["base"]["forward_tokens"]) == 0


def test_what_is_copied_leads_to_what_the_original_was_made_of(finished, monkeypatch):
    """Two methods learn the same responses of the base model, which one of them copies."""
    monkeypatch.chdir(finished.folder)
    found = lineage("results/sft-told-seed-5/iteration-1/model")
    copy, original = (f"results/{name}-seed-5/iteration-1/responses.jsonl" for name in ("sft-told", "rest"))
    assert found[copy]["stage"] == "share_results"
    assert found[original]["stage"] == "sample_responses"
    told, unasked = rows(finished, "steerability")["sft-told"], rows(finished, "internalising")["rest"]
    assert told["sampled_tokens"] == unasked["sampled_tokens"]
    Path(f"{original}.provenance.json").unlink()
    Path(original).unlink()
    with pytest.raises(UserError, match=f"{original}: neither the file nor its provenance record is there"):
        lineage("results/sft-told-seed-5/iteration-1/model")
