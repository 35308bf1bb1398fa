"""Best-of-N and a local judge as a reward in the workflow with a tiny model: what is drawn, kept, judged, learned."""

import csv
import json
from collections import Counter

import pytest
import yaml
from workflow_project import TINY, Project

from sami.judging import checks
from sami.records import Constitution, Example, Relevance, Reward, TrainingExample, Verdict, read

JUDGE = {"kind": "likelihood", "model": "tiny", "prompt": "{constitution} {query} A: {first} B: {second} Better:"}
REST = {"name": "rest", "reward": "mixed", "thresholds": [0.5], "per_query": True}
LEARNED = {
    "iterations": 1,
    "method": REST,
    "sampling": {"responses": 4},
    "training": {"objective": "supervised"},
    "constitutions": {"max_sets": 2},
}
BEST = {
    "best-base": {"policy": "base", "best_of": {"responses": 3, "reward": "checks"}},
    "best-trained": {"policy": "iteration-1", "best_of": {"responses": 2, "reward": "checks-and-relevance"}},
}
PROMPTED = {
    "prompted": {"model": "tiny", "constitution": "in-prompt"},
    "best-prompted": {"policy": "prompted", "best_of": {"responses": 3, "reward": "tiny"}},
}
EXPERIMENTS = {
    "asked": {"evaluation": {"policies": BEST, "comparators": ["base", "best-base"]}},
    "unasked": {
        "evaluation": {"constitution": "left-out", "policies": PROMPTED, "comparators": ["best-prompted"]},
        "engine": {"tokens_per_job": 80},
    },
    "more": {"evaluation": {"sampling": {"responses": 8}}},
}


@pytest.fixture(scope="module")
def finished(tiny_source, tmp_path_factory):
    """A project in which the best of several responses of three policies were kept, asked both questions."""
    content = {"run": ["asked", "unasked"], "defaults": TINY["defaults"] | LEARNED, "experiments": EXPERIMENTS}
    content["defaults"]["training"] = TINY["defaults"]["training"] | LEARNED["training"]
    content["defaults"]["sampling"] = TINY["defaults"]["sampling"] | LEARNED["sampling"]
    project = Project(tmp_path_factory.mktemp("best-of"), tiny_source, content)
    for path, written in (
        ("judges/tiny", JUDGE),
        ("rewards/tiny", {"kind": "judge", "judge": "tiny"}),
        ("rewards/mixed", {"kind": "sum", "weights": {"tiny": 2, "checks": 1}}),
    ):
        (project.folder / f"config/{path}.yaml").write_text(yaml.safe_dump(written))
    project.run()
    project.run("results/more/iteration-0/eval/responses.jsonl")
    return project


@pytest.fixture
def results(finished):
    return finished.folder / "results"


def rows(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_best(folder, policy: str, experiment: str = "asked"):
    """Constitutions by id, candidates, rewards by query and number, and the responses that were kept."""
    known = {c.id: c for c in read(Constitution, folder / f"{experiment}/constitutions.jsonl")}
    at = folder / f"{experiment}/{policy}/eval"
    told = {(r.query_id, r.number): r for r in read(Reward, at / "rewards.jsonl")}
    return known, read(Example, at / "candidates.jsonl"), told, read(Example, at / "responses.jsonl")


def test_candidates_are_further_draws_of_the_policy(results):
    """So that the best is not compared with one of those that it was chosen from."""
    for policy, of, count in (("best-base", "iteration-0", 3), ("best-trained", "iteration-1", 2)):
        _, candidates, _, _ = read_best(results, policy)
        plain = read(Example, results / f"asked/{of}/eval/responses.jsonl")
        for drawn, example in zip(candidates, plain, strict=True):
            assert (drawn.key, drawn.policy) == (example.key, policy)
            assert [response.constitution for response in drawn.responses] == [0, 1] * count
            assert not {response.text for response in drawn.responses} & {r.text for r in example.responses}
    # Both are the beginning of one stream: two draws of each policy, and then the others.
    _, candidates, _, _ = read_best(results, "best-base")
    more = read(Example, results / "more/iteration-0/eval/responses.jsonl")
    plain = read(Example, results / "asked/iteration-0/eval/responses.jsonl")
    for drawn, example, every in zip(candidates, plain, more, strict=True):
        assert every.responses == example.responses + drawn.responses


def test_the_best_under_each_constitution_is_kept(results):
    known, candidates, told, kept = read_best(results, "best-base")
    changed = 0
    for drawn, best in zip(candidates, kept, strict=True):
        assert best.model_copy(update={"responses": []}) == drawn.model_copy(update={"responses": []})
        assert [response.constitution for response in best.responses] == [0, 1]
        for number, response in enumerate(best.responses):
            constitution = known[drawn.constitution_ids[number]]
            degrees = []
            for place in (number, number + 2, number + 4):
                found = checks.degrees(drawn.responses[place].text, constitution)
                degrees.append(sum(found.values()) / len(found))
                assert told[drawn.query_id, place].reward == pytest.approx(degrees[-1])
            first = degrees.index(max(degrees))
            assert response == drawn.responses[number + 2 * first]
            changed += first > 0
    assert changed  # else this run would not tell the best from the first


def test_rewards_of_candidates_may_read_their_relevance(results):
    _, candidates, told, kept = read_best(results, "best-trained")
    margins = read(Relevance, results / "asked/best-trained/eval/candidate-relevance.jsonl")
    assert [(m.query_id, m.number) for m in margins] == [(e.query_id, n) for e in candidates for n in range(4)]
    for record in margins:
        nats = (record.alone[0] - max(record.alone[1:])) / record.tokens if record.tokens else 0
        parts = told[record.query_id, record.number].parts
        assert parts["relevance"] == pytest.approx(min(max(nats, 0), 1))
    assert not (results / "asked/best-base/eval/candidate-relevance.jsonl").exists()
    for drawn, best in zip(candidates, kept, strict=True):
        for number in (0, 1):
            one, other = (told[drawn.query_id, place].reward for place in (number, number + 2))
            assert best.responses[number] == drawn.responses[number if one >= other else number + 2]


def test_the_best_are_judged_and_tabulated_like_any_policy(results):
    shown = rows(results / "asked/tables/summary.csv")
    assert [row["policy"] for row in shown] == ["iteration-0", "iteration-1", *BEST]
    assert all(row["relevant_win_rate"] or row["policy"] == "iteration-0" for row in shown)
    verdicts = read(Verdict, results / "asked/iteration-1/eval/verdicts-checks-vs-best-base.jsonl")
    assert Counter(verdict.comparator for verdict in verdicts) == {"best-base": 8}
    against_base = read(Verdict, results / "asked/best-base/eval/verdicts-checks-vs-base.jsonl")
    assert sum(verdict.preference for verdict in against_base) > 8 / 2


def test_without_the_constitution_each_query_has_one_best_response(results):
    known, candidates, told, kept = read_best(results, "best-prompted", "unasked")
    assert {len(example.responses) for example in candidates} == {3}
    for drawn, best in zip(candidates, kept, strict=True):
        rewards = [told[drawn.query_id, number].reward for number in range(3)]
        assert sum(rewards) / 3 == pytest.approx(0.5)  # shares of the comparisons with one another
        assert best.responses == [drawn.responses[rewards.index(max(rewards))]]
        assert known[best.constitution_ids[best.responses[0].constitution]].positive
    assert (results / "unasked/prompted/eval/responses.jsonl").exists()
    logs = results / "unasked/logs/sample_candidates-best-prompted"
    assert {path.name for path in logs.glob("*.log")} == {"shard-1-of-2.log", "shard-2-of-2.log"}


def test_a_local_judge_rewards_what_is_learned(results):
    drawn = read(Example, results / "asked/iteration-1/responses.jsonl")
    told = {(r.query_id, r.number): r for r in read(Reward, results / "asked/iteration-1/rewards.jsonl")}
    for example in drawn:
        found = [told[example.query_id, number] for number in range(4)]
        assert sum(reward.parts["tiny"] for reward in found) / 4 == pytest.approx(0.5)
        for reward in found:
            assert reward.reward == pytest.approx((2 * reward.parts["tiny"] + reward.parts["checks"]) / 3)
    assert read(TrainingExample, results / "asked/iteration-1/examples.jsonl")
    record = json.loads((results / "asked/iteration-1/rewards.jsonl.provenance.json").read_text())
    assert record["arguments"]["judges"]["tiny"]["model"] == "tiny"
    assert list(record["inputs"]["models"]) == ["resources/models/tiny"]
    log = (results / "asked/logs/score_rewards-1.log").read_text()
    assert "responses have a mean reward of" in log


def test_results_say_what_they_are_made_of(results):
    at = "results/asked/best-base/eval"
    record = json.loads((results / "asked/best-base/eval/responses.jsonl.provenance.json").read_text())
    assert record["arguments"]["count"] == 3
    assert {path for paths in record["inputs"].values() for path in paths if "/eval/" in path} == {
        f"{at}/candidates.jsonl",
        f"{at}/rewards.jsonl",
    }
    drawn = json.loads((results / "asked/best-base/eval/candidates.jsonl.provenance.json").read_text())
    assert drawn["arguments"]["sampling"]["responses"] == 6
    counts = json.loads((results / "asked/best-base/eval/sampling.json").read_text())
    candidates = read(Example, results / "asked/best-base/eval/candidates.jsonl")
    assert counts == {"sampled": 4, "tokens": sum(r.tokens for e in candidates for r in e.responses)}


def test_another_reward_samples_nothing_again(finished):
    assert "Nothing to be done" in finished.run()
    content = yaml.safe_load((finished.folder / finished.overrides).read_text())
    content["experiments"]["asked"]["evaluation"]["policies"]["best-base"]["best_of"]["reward"] = "tiny"
    (finished.folder / "other.yaml").write_text(yaml.safe_dump(content))
    before, finished.overrides = finished.overrides, "other.yaml"
    planned = finished.dry_run("results/asked/best-base/eval/responses.jsonl")
    finished.overrides = before
    # Now a model of this machine rewards them.
    assert {rule for rule, _ in planned} == {"score_candidate_rewards_by_model", "choose_best"}
