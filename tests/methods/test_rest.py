"""ReST: which responses are kept, its settings, the jobs that it asks for, and a run of two Improve steps."""

import json
from collections import Counter

import numpy as np
import pytest
import yaml
from configured import message
from hypothesis import given
from hypothesis import strategies as st
from workflow_project import TINY
from workflow_project import Project as Workflow

from sami import records
from sami.errors import UserError
from sami.methods.rest import NOT_ABOVE, OVER_CAP, Choice, best_responses, quantile
from sami.records import Constitution, Example, Relevance, Response, Reward, Statement, TrainingExample
from sami.settings.methods import Rest, Sami
from sami.settings.tasks import Filters
from sami.workflow.arguments import Arguments, as_json
from sami.workflow.plan.rows import plan

CONSTITUTIONS = {
    name: Constitution(
        id=name, set_id="s", writer="w", statements=[Statement(principle="p", wanted=wanted, text="Do.")]
    )
    for name, wanted in (("c", True), ("-c", False))
}


def sampled(**rewards: list[float]) -> tuple[list[Example], list[Reward]]:
    """Examples by query, with a response for each of its rewards, whose texts say which it is."""
    examples = [
        Example(
            query_id=query,
            set_id="s",
            constitution_ids=["c", "-c"],
            order=[0],
            responses=[
                Response(text=f"{query}{k}.", constitution=0, tokens=1, finish="end") for k in range(len(found))
            ],
            policy="iteration-0",
        )
        for query, found in rewards.items()
    ]
    told = [
        Reward(query_id=query, set_id="s", number=k, policy="iteration-0", reward=reward)
        for query, found in rewards.items()
        for k, reward in enumerate(found)
    ]
    return examples, told


def kept(choice: Choice, filters: Filters | None = None, **rewards: list[float]):
    """Texts of the responses that are kept, counts of the others, and counts of all."""
    best, dropped, counted = best_responses(*sampled(**rewards), CONSTITUTIONS, filters or Filters(), choice)
    return [[response.text for response in example.responses] for example in best], dropped, counted


@pytest.mark.parametrize(
    ("threshold", "left"),
    [
        (0.0, [["a0.", "a1.", "a3."], ["b0.", "b1."]]),
        (0.4, [["a1.", "a3."], ["b0."]]),
        (0.5, [["a1."], ["b0."]]),  # one of 0.5 is not above it
        (0.8, [["a1."]]),
    ],
)
def test_responses_above_a_threshold_are_kept_in_order(threshold, left):
    found, dropped, counted = kept(Choice(threshold), a=[0.4, 0.9, 0.0, 0.5], b=[0.8, 0.1])
    assert found == left
    count = sum(map(len, left))
    assert dropped == Counter({NOT_ABOVE: 6 - count})
    assert counted["responses"] == {"sampled": 6, "kept": count}


def test_mean_rewards_of_all_and_of_what_is_kept():
    _, _, counted = kept(Choice(0.4), a=[0.4, 0.9, 0.0, 0.5], b=[0.8, 0.1])
    assert counted["mean_reward"] == {"sampled": pytest.approx(2.7 / 6), "kept": pytest.approx(2.2 / 3)}


@pytest.mark.parametrize(
    ("cap", "left"),
    [
        (1, [["a1."], ["b0."]]),  # the best; of equal ones the first
        (2, [["a1.", "a4."], ["b0.", "b1."]]),
        (3, [["a1.", "a3.", "a4."], ["b0.", "b1.", "b2."]]),
        (9, [["a0.", "a1.", "a3.", "a4."], ["b0.", "b1.", "b2."]]),
    ],
)
def test_a_cap_keeps_the_best_of_each_query(cap, left):
    found, dropped, _ = kept(Choice(0.2, cap=cap), a=[0.3, 0.9, 0.1, 0.5, 0.7], b=[0.6, 0.6, 0.6])
    assert found == left
    over = 7 - sum(map(len, left))
    assert dropped == Counter({NOT_ABOVE: 1} | ({OVER_CAP: over} if over else {}))


@pytest.mark.parametrize(
    ("share", "left"),
    [
        # Quartiles of a are 0.175, 0.25 and 0.325. The hard query keeps as many as the easy one, a constant one none.
        (0.0, [["a0.", "a2.", "a3."], ["b1.", "b2.", "b3."], ["d3."]]),
        (0.25, [["a0.", "a2.", "a3."], ["b1.", "b2.", "b3."], ["d3."]]),
        (0.5, [["a0.", "a2."], ["b2.", "b3."], ["d3."]]),
        (0.75, [["a2."], ["b3."], ["d3."]]),
        (0.9, [["a2."], ["b3."], ["d3."]]),
    ],
)
def test_quantiles_are_of_the_rewards_of_each_query(share, left):
    rewards = {"a": [0.3, 0.1, 0.4, 0.2], "b": [0.6, 0.7, 0.8, 0.9], "c": [0.5] * 4, "d": [0.2, 0.2, 0.2, 0.9]}
    found, dropped, _ = kept(Choice(share, per_query=True), **rewards)
    assert found == left
    assert dropped == Counter({NOT_ABOVE: 16 - sum(map(len, left))})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values, share):
    assert quantile(values, share) == pytest.approx(np.quantile(values, share), abs=1e-8)


def test_a_quantile_is_exact_where_its_position_is_not():
    assert 0.29 * 100 < 29
    assert quantile([float(n) for n in range(101)], 0.29) == 29.0
    assert quantile([0.7], 0.5) == 0.7


def test_filters_come_before_quantiles_and_caps():
    examples, told = sampled(a=[0.9, 0.8, 0.7, 0.6, 0.5])
    texts = ["", "no stop", "[x].", "Good.", "Fair."]
    responses = [r.model_copy(update={"text": text}) for r, text in zip(examples[0].responses, texts, strict=True)]
    examples = [examples[0].model_copy(update={"responses": responses})]
    filters = Filters(forbidden=["["], positive_ends_with=".")
    for choice in (Choice(0.5, per_query=True), Choice(0.1, cap=1)):
        (best,), dropped, counted = best_responses(examples, told, CONSTITUTIONS, filters, choice)
        assert [response.text for response in best.responses] == ["Good."]
        reason = NOT_ABOVE if choice.per_query else OVER_CAP
        assert dropped == Counter({"empty response": 1, "forbidden mark": 1, "does not end with '.'": 1, reason: 1})
        assert counted["responses"] == {"sampled": 5, "kept": 1}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(0.8), "expected some above 0.8. Lower 'method.thresholds'"),
        (Choice(0.5, per_query=True), "expected some above quantile 0.5 of the rewards of its query. Lower"),
    ],
)
def test_a_threshold_that_leaves_nothing_is_told(choice, expected):
    rewards = {"a": [0.2, 0.2], "b": [0.8, 0.8, 0.8]}
    with pytest.raises(UserError) as told:
        kept(choice, **rewards)
    assert f"none of 5 responses is left (dropped: {{'{NOT_ABOVE}': 5}})" in str(told.value)
    assert "found rewards with lowest 0.2, median 0.8, highest 0.8, " + expected in str(told.value)


@pytest.mark.parametrize("change", [{"policy": "iteration-1"}, {"set_id": "x"}, {"number": 7}, {"query_id": "z"}])
def test_rewards_of_other_responses_are_refused(change):
    examples, told = sampled(a=[0.1, 0.9])
    told[1] = told[1].model_copy(update=change)
    with pytest.raises(UserError, match="query 'a', set 's': found no reward of response 1 by 'iteration-0', expected"):
        best_responses(examples, told, CONSTITUTIONS, Filters(), Choice(0.0))


def rest(**settings) -> Rest:
    return Rest(name="rest", reward="checks", **{"thresholds": [0.1, 0.5, 0.9]} | settings)


def test_iterations_are_improve_steps_of_a_grow_step(project):
    training = project.load().experiments["quickstart"].training
    method = rest(rate_decay=0.5, cap=4)
    steps = range(1, 8)
    assert [method.responses_of(t) for t in steps] == [1, 1, 1, 4, 4, 4, 7]
    assert [method.sampled_policy(t) for t in steps] == [0, 0, 0, 3, 3, 3, 6]
    assert [method.choice(t)["threshold"] for t in steps] == [0.1, 0.5, 0.9, 0.1, 0.5, 0.9, 0.1]
    assert method.choice(1) == {"threshold": 0.1, "per-query": False, "cap": 4}
    rates = [method.training_of(t, training).learning_rate / training.learning_rate for t in steps]
    assert rates == [1, 0.5, 0.25, 1, 0.5, 0.25, 1]
    assert method.training_of(4, training) == training == Sami(name="sami").training_of(2, training)
    whole = as_json(training)
    assert Arguments(project.load()).training("quickstart", "2") == whole  # a rule's parameter, as it always was
    assert [rest(thresholds=[0.5]).sampled_policy(t) for t in (1, 2, 3)] == [0, 1, 2]


def quickstart(method: str, more: str = "") -> str:
    fixed = "training: {objective: supervised}, sampling: {responses: 4}"
    return f"experiments: {{quickstart: {{method: {method}, {fixed}{more}}}}}"


SHORT = "{name: rest, reward: checks, thresholds: [0.1, 0.5]}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (quickstart("{name: rest, thresholds: [0.5]}"), ["method.reward", "missing"]),
        (quickstart("{name: rest, reward: checks}"), ["method.thresholds", "missing"]),
        (quickstart("{name: rest, reward: checks, thresholds: []}"), ["thresholds", "at least one entry"]),
        (quickstart("{name: rest, reward: checks, thresholds: [1.0]}"), ["thresholds", "found 1"]),
        (quickstart("{name: rest, reward: checks, thresholds: [0.5, 0.5]}"), ["'thresholds' has 0.5 behind 0.5, exp"]),
        (quickstart("{name: rest, reward: checks, thresholds: [0.5, 0.2]}"), ["'thresholds' has 0.2 behind 0.5, exp"]),
        (quickstart("{name: rest, reward: checks, thresholds: [0.5], cap: 0}"), ["cap: found 0", "at least 1"]),
        (quickstart("{name: rest, reward: checks, thresholds: [0.5], rate_decay: 2}"), ["rate_decay: found 2"]),
        (quickstart("{name: sami, thresholds: [0.5]}"), ["the key 'thresholds', which belongs to the method rest"]),
        (quickstart(SHORT).replace("supervised", "sami"), ["'training.objective' is sami", "one of: supervised"]),
        (quickstart(SHORT).replace("responses: 4", "responses: 1"), ["'sampling.responses' is 1, but 'rest' needs at"]),
        (
            quickstart(SHORT).replace("responses: 4", "responses: null"),
            ["'sampling.responses' is null, which is 1, but 'rest' needs at least 2"],
        ),
        (
            quickstart(SHORT, ", iterations: 5, queries: {train: [4, 4]}"),
            ["'queries.train' has length 2, but 'iterations' is 5, of which 3 sample; give one count for each ",
             "each iteration that samples, or a single number for all"],
        ),
    ],
)  # fmt: skip
def test_wrong_settings_are_told(project, text, parts):
    told = message(project.load, text)
    assert told.startswith("mine.yaml, line 1: experiments.quickstart")
    for part in parts:
        assert part in told


def test_only_iterations_that_sample_take_queries(project):
    load = lambda more: project.load(quickstart(SHORT, f", iterations: 5, {more}")).experiments["quickstart"]  # noqa: E731
    several, one = load("queries: {train: [6, 3, 2, 9]}"), load("queries: {train: 7}")
    assert several.sampled_iterations == one.sampled_iterations == [1, 3, 5]
    assert several.train_counts() == [6, 6, 3, 3, 2]
    assert several.fresh_counts() == [6, 0, 3, 0, 2]
    assert (one.train_counts(), one.fresh_counts()) == ([7] * 5, [7, 0, 7, 0, 7])
    project.check(
        quickstart(SHORT, ", iterations: 6, queries: {train: 72}")
    )  # three times 72 are the 216 that there are
    told = message(project.check, quickstart(SHORT, ", iterations: 7, queries: {train: 72}"))
    assert "found 288 (72 + 72 + 72 + 72), expected at most 216" in told


def test_what_a_task_lacks_is_told(project):
    task = yaml.safe_load((project.root / "config/tasks/everyday.yaml").read_text())
    task["prompts"].pop("without_constitution")
    project.write("config/tasks/everyday.yaml", yaml.safe_dump(task))
    without = ", evaluation: {relevance: null}"
    assert "prompts.without_constitution: found null" in message(project.check, quickstart(SHORT, without))
    project.check(quickstart(SHORT.replace("}", ", constitution: in-prompt}"), without))


def test_sampling_and_relevance_are_planned_once_a_grow_step(project):
    def rows(method, more=""):
        return {(row.stage, row.of): row for row in plan(project.load(quickstart(method, more)), ["quickstart"])[0]}

    both = SHORT.replace("checks", "checks-and-relevance")
    found = rows(both, ", iterations: 3, queries: {train: [6, 3]}")
    assert {of for stage, of in found if stage == "sample_responses"} == {"iteration-1", "iteration-3"}
    assert {of for stage, of in found if stage == "score_training_relevance"} == {"iteration-1", "iteration-3"}
    assert (
        found["sample_responses", "iteration-1"].new_tokens == 2 * found["sample_responses", "iteration-3"].new_tokens
    )
    trained = [found["train", f"iteration-{t}"].prompt_tokens for t in (1, 2, 3)]
    assert trained[0] == trained[1] == 2 * trained[2]
    assert ("score_training_relevance", "iteration-1") not in rows(SHORT)
    capped = SHORT.replace("}", ", cap: 1}")
    assert rows(capped)["train", "iteration-1"].prompt_tokens < rows(SHORT)["train", "iteration-1"].prompt_tokens
    light = rows(SHORT)["light", ""].jobs
    assert light == rows("{name: sft}")["light", ""].jobs + 2  # the rewards of two samplings


def test_both_improve_steps_learn_from_one_sampling(tiny_source, tmp_path):
    workflow = Workflow(tmp_path, tiny_source)
    method = {"name": "rest", "reward": "checks-and-relevance", "thresholds": [0.25, 0.75], "per_query": True}
    settings = {
        "model": "tiny",
        "iterations": 3,
        "queries": {"train": 4},
        "method": method | {"rate_decay": 0.5},
        "sampling": {"responses": 4},
        "training": {"objective": "supervised", "start_from": "previous", "warmup_steps": 0},
    }
    workflow.overrides = workflow.write("rest.yaml", {**TINY, "experiments": {"quickstart": settings}})
    workflow.run("results/quickstart/iteration-3/examples.jsonl")
    folder = tmp_path / "results/quickstart"
    for name in ("responses", "relevance", "rewards"):
        assert [t for t in (1, 2, 3) if (folder / f"iteration-{t}/{name}.jsonl").exists()] == [1, 3]
    assert {path.stem for path in (folder / "logs").glob("sample_responses-*")} == {
        f"sample_responses-{t}" for t in "13"
    }

    drawn, told = (
        records.read(kind, folder / f"iteration-1/{name}.jsonl")
        for kind, name in ((Example, "responses"), (Reward, "rewards"))
    )
    margins = records.read(Relevance, folder / "iteration-1/relevance.jsonl")
    assert [(r.query_id, r.number) for r in told] == [(e.query_id, k) for e in drawn for k in range(4)]
    assert {response.constitution for example in drawn for response in example.responses} == {0}
    for reward, record in zip(told, margins, strict=True):
        nats = (record.alone[0] - max(record.alone[1:])) / record.tokens if record.tokens else 0
        assert reward.parts["relevance"] == pytest.approx(min(max(nats, 0), 1))
        assert reward.reward == pytest.approx((reward.parts["checks"] + reward.parts["relevance"]) / 2)

    rewarded = {  # query -> (text, reward) of what the filters leave
        example.query_id: [
            (response.text, next(r.reward for r in told if (r.query_id, r.number) == (example.query_id, k)))
            for k, response in enumerate(example.responses)
            if response.text
        ]
        for example in drawn
    }
    for t, share in ((1, 0.25), (2, 0.75)):
        expected = {}
        for query, pairs in rewarded.items():
            tau = np.quantile([reward for _, reward in pairs], share)
            expected[query] = [text for text, reward in pairs if reward > tau]
        made = records.read(TrainingExample, folder / f"iteration-{t}/examples.jsonl")
        learned = {example.query_id: [response.text for response in example.responses] for example in made}
        assert learned == {query: left for query, left in expected.items() if left}
        assert {response.source for example in made for response in example.responses} == {"iteration-0"}
        counts = json.loads((folder / f"iteration-{t}/examples.json").read_text())
        assert (counts["sampled"], counts["kept"]) == (4, len(made))
        assert counts["responses"] == {"sampled": 16, "kept": sum(map(len, learned.values()))}
        assert counts["mean_reward"]["kept"] > counts["mean_reward"]["sampled"]
        record = json.loads((folder / f"iteration-{t}/examples.jsonl.provenance.json").read_text())
        assert {path for paths in record["inputs"].values() for path in paths if "iteration-" in path} == {
            f"results/quickstart/iteration-1/{name}.jsonl" for name in ("responses", "rewards")
        }
    first, second = (
        json.loads((folder / f"iteration-{t}/training.jsonl").read_text().splitlines()[0])["learning_rate"]
        for t in (1, 2)
    )
    assert second == first / 2
    started = json.loads((folder / "iteration-2/model/provenance.json").read_text())["inputs"]["start"]
    assert list(started) == ["results/quickstart/iteration-1/model"]
    assert {e.policy for e in records.read(Example, folder / "iteration-3/responses.jsonl")} == {"iteration-2"}
    queries = {e.query_id for e in records.read(Example, folder / "iteration-3/responses.jsonl")}
    assert len(queries) == 4
    assert not queries & rewarded.keys()
