"""SALMON: the best and the worst response of a query, its settings and plan, and two iterations with a reward model."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from configured import message
from workflow_project import TINY, unread_model
from workflow_project import Project as Workflow

from sami import records
from sami.data.prompts import constitution_text, fill
from sami.endpoints.requests import tokens_of
from sami.errors import UserError
from sami.methods.salmon import KIND, best_and_worst, counts
from sami.records import (
    Comparison,
    Constitution,
    Example,
    Query,
    Response,
    Reward,
    ScoredComparison,
    Statement,
    TrainingExample,
    Verdict,
)
from sami.rewards.kinds import logistic
from sami.settings.methods import Salmon
from sami.settings.tasks import Filters, Prompts
from sami.workflow import sharing
from sami.workflow.plan.quantities import Quantities, principles_read
from sami.workflow.plan.rows import plan

QUERIES = {name: Query(id=name, task="t", text="Why?") for name in "abc"}
CONSTITUTIONS = {
    name: Constitution(
        id=name, set_id="s", writer="w", statements=[Statement(principle="p", wanted=wanted, text=f"Do {name}.")]
    )
    for name, wanted in (("-c", False), ("c", True))
}
PROMPTS = Prompts(
    style="plain",
    generation="{constitution} {query}",
    training="{constitution} {query}",
    without_constitution="{query}",
)


def sampled(*texts: str, query: str = "a", rewards: list[float]) -> tuple[Example, list[Reward]]:
    """An example, half of whose responses are under each constitution, and a reward for each."""
    responses = [Response(text=text, constitution=k % 2, tokens=1, finish="end") for k, text in enumerate(texts)]
    place = {"query_id": query, "set_id": "s", "policy": "iteration-0"}
    example = Example(**place, constitution_ids=["-c", "c"], order=[0], responses=responses)
    return example, [Reward(**place, number=n, reward=reward) for n, reward in enumerate(rewards)]


def ranked(*of: tuple[Example, list[Reward]], template: str = "{query}", filters: Filters | None = None):
    told = [reward for _, rewards in of for reward in rewards]
    return best_and_worst(
        [example for example, _ in of], told, QUERIES, CONSTITUTIONS, PROMPTS, template, filters or Filters()
    )


def pairs(made) -> list[tuple[str, str]]:
    """Texts of the chosen and the rejected response of each example."""
    return [
        (example.responses[pair.chosen].text, example.responses[pair.rejected].text)
        for example in made.examples
        for pair in example.pairs
    ]


@pytest.mark.parametrize(
    ("rewards", "pair"),
    [
        ([0.2, 0.9, 0.1, 0.5], ("B.", "C.")),
        ([0.9, 0.1, 0.5, 0.2], ("A.", "B.")),
        ([0.5, 0.9, 0.9, 0.5], ("B.", "A.")),  # of equal ones the first
    ],
)
def test_the_best_is_preferred_to_the_worst(rewards, pair):
    made = ranked(sampled("A.", "B.", "C.", "D.", rewards=rewards))
    assert pairs(made) == [pair]
    (example,) = made.examples
    assert [response.text for response in example.responses] == sorted(pair)  # nothing else costs a pass
    assert (example.prompts, example.pairs[0].kind, example.pairs[0].reference) == (["Why?"], KIND, None)
    assert {response.source for response in example.responses} == {"iteration-0"}
    assert (made.ties, made.dropped) == (0, Counter())


def test_filters_come_first():
    made = ranked(sampled("", "[x]", "C.", "D.", rewards=[1.0, 0.0, 0.3, 0.6]), filters=Filters(forbidden=["["]))
    assert pairs(made) == [("D.", "C.")]
    assert made.dropped == Counter({"empty response": 1, "forbidden mark": 1})


def test_the_prompt_holds_what_is_wanted_where_the_template_does():
    """Whichever constitution of the set comes first, and whichever a response was drawn under."""
    (example,) = ranked(sampled("A.", "B.", rewards=[0.1, 0.9]), template="{constitution} {query}").examples
    assert example.prompts == ["Do c. Why?"]


def test_ties_are_left_out_and_counted():
    tied = sampled("A.", "B.", rewards=[0.5, 0.5])
    same = sampled("A.", "A.", query="b", rewards=[0.2, 0.7])
    made = ranked(tied, same, sampled("A.", "B.", query="c", rewards=[0.2, 0.8]))
    assert (pairs(made), made.ties) == ([("B.", "A.")], 2)
    assert counts(made, 3, "iteration-0") == {
        "sampled": 3,
        "kept": 1,
        "dropped": {},
        "ties": 2,
        "mean_reward": {"sampled": pytest.approx(2.9 / 6), "chosen": 0.8, "rejected": 0.2},
    }


def test_nothing_but_ties_is_told():
    made = ranked(sampled("A.", "B.", rewards=[0.5, 0.5]), sampled("", "", query="b", rewards=[0.1, 0.9]))
    with pytest.raises(UserError) as told:
        counts(made, 2, "iteration-0")
    assert "iteration-0: none of 2 examples has a pair to learn from: found 1 ties" in str(told.value)
    assert "rewards from 0.1 to 0.9, and dropped responses: {'empty response': 2}; expected" in str(told.value)


def test_a_response_without_a_reward_is_told():
    example, rewards = sampled("A.", "B.", rewards=[0.1, 0.9])
    with pytest.raises(UserError, match="query 'a', set 's': found no reward of response 1 by 'iteration-0', expected"):
        ranked((example, rewards[:1]))


def quickstart(method: str, more: str = "") -> str:
    fixed = "training: {objective: preference}, sampling: {responses: 4}"
    return f"experiments: {{quickstart: {{method: {method}, {fixed}{more}}}}}"


BEST = {"policy": "base", "best_of": {"responses": 3, "reward": "salmon-checks"}}
PLAIN = "{name: salmon, reward: salmon-checks}"
CONTRASTED = "{name: salmon, reward: contrast, responses: contrasted}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (quickstart("salmon"), ["method.reward", "missing"]),
        (quickstart(PLAIN.replace("}", ", responses: many}")), ["method.responses", 'found "many"']),
        (quickstart(PLAIN).replace("preference", "supervised"), ["'training.objective' is supervised", "preference"]),
        (quickstart(PLAIN).replace("responses: 4", "responses: 1"), ["'sampling.responses' is 1, but 'salmon' needs"]),
        (quickstart(PLAIN).replace("responses: 4", "responses: null"), ["'sampling.responses' is null, which is 1"]),
    ],
)
def test_wrong_settings_are_told(project, text, parts):
    told = message(project.load, text)
    assert told.startswith("mine.yaml, line 1: experiments.quickstart")
    for part in parts:
        assert part in told


def test_responses_are_asked_for_as_the_method_says(project):
    assert Salmon(name="salmon", reward="r").sampled_under == "none"
    assert Salmon(name="salmon", reward="r", responses="contrasted").sampled_under == "all"
    project.check(quickstart(PLAIN))
    project.check(quickstart(CONTRASTED))
    told = message(project.check, quickstart(PLAIN.replace("salmon-checks", "contrast")))
    assert "experiments.quickstart.method.reward: found 'contrast', which learns which constitution" in told


def test_what_a_task_lacks_is_told(project):
    task = yaml.safe_load((project.root / "config/tasks/everyday.yaml").read_text())
    task["prompts"].pop("without_constitution")
    project.write("config/tasks/everyday.yaml", yaml.safe_dump(task))
    bare = ", evaluation: {relevance: null}"
    for method in (PLAIN, PLAIN.replace("}", ", constitution: in-prompt}"), CONTRASTED):
        assert "prompts.without_constitution: found null" in message(project.check, quickstart(method, bare))
    project.check(quickstart(CONTRASTED.replace("}", ", constitution: in-prompt}"), bare))


def test_a_reward_model_is_planned_once(project):
    def rows(method, more=", iterations: 2, queries: {train: 6}"):
        return {(row.stage, row.of): row for row in plan(project.load(quickstart(method, more)), ["quickstart"])[0]}

    found, by_checks = rows(PLAIN), rows("{name: salmon, reward: checks}")
    assert [of for stage, of in found if stage == "train_reward_model"] == ["iteration-1"]
    assert [of for stage, of in found if stage == "score_rewards"] == ["iteration-1", "iteration-2"]
    assert not {"train_reward_model", "score_rewards"} & {stage for stage, _ in by_checks}
    # Comparisons and measures in place of two files of rewards by checks.
    assert found["light", ""].jobs == by_checks["light", ""].jobs
    model, scored = found["train_reward_model", "iteration-1"], found["score_rewards", "iteration-1"]
    assert model.flop == pytest.approx(3 * 2 * model.prompt_tokens * scored.flop / (2 * scored.prompt_tokens))
    assert model.fits
    more = rows(PLAIN, ", iterations: 2, queries: {train: 12}")
    assert more["train_reward_model", "iteration-1"].prompt_tokens == pytest.approx(2 * model.prompt_tokens, rel=0.05)


def judged(reward: str, judges: str, more: str = "") -> str:
    method = CONTRASTED.replace("contrast, ", f"{reward}, ")
    return quickstart(method, f", evaluation: {{judges: {judges}{more}}}")


def test_a_judge_may_be_the_reward_model(project):
    project.write("config/judges/brief.yaml", "{kind: learned, principles: [Be brief.]}")
    project.write("config/judges/both.yaml", "{kind: panel, members: [checks, reward-model]}")
    project.check(judged("salmon-checks", "[reward-model, brief, both]"))
    project.check(judged("contrast", "[reward-model]"))
    told = message(project.check, judged("contrast", "[reward-model, brief]"))
    assert told.startswith(
        "mine.yaml, line 1: experiments.quickstart.evaluation.judges: found 'brief', a judge that names"
    )
    assert "the reward model of 'quickstart' reads none, since it was trained with 'labels: contrast'" in told
    for reward, judges in (("checks", "[reward-model]"), ("checks", "[both]")):
        told = message(project.check, judged(reward, judges))
        assert (
            "found 'reward-model', a judge that is the experiment's reward model, but 'quickstart' trains none" in told
        )
    imported = "external: {folder: y, policies: {iteration-0: a.json, iteration-1: b.json}}"
    judges = "evaluation: {judges: [reward-model]}"
    told = message(project.check, f"experiments: {{quickstart: {{{imported}, {judges}}}}}")
    assert "but 'quickstart' has only imported responses; expected another judge" in told


@pytest.mark.parametrize("judge", ["reward-model", "both"])
def test_a_reward_model_judges_for_no_reward(project, judge):
    project.write("config/judges/both.yaml", "{kind: panel, members: [checks, reward-model]}")
    project.write("config/rewards/asked.yaml", f"{{kind: judge, judge: {judge}}}")
    told = message(project.load, quickstart(PLAIN.replace("salmon-checks", "asked")))
    assert told.startswith(
        "config/rewards/asked.yaml: judge: found 'reward-model', a judge that is a reward model, exp"
    )


def test_what_a_reward_model_chooses_and_judges_is_planned(project):
    """Each response is read once, behind the words of one constitution or of the principles that a judge names."""
    words = "Answer in as few words as you can."
    project.write("config/judges/brief.yaml", f"{{kind: learned, principles: [{words}]}}")
    best = ", policies: {best: {policy: base, best_of: {responses: 3, reward: salmon-checks}}}"
    text = judged("salmon-checks", "[reward-model, brief]", f"{best}, sampling: {{max_new_tokens: 48}}")
    text = text.replace(
        "sampling: {responses: 4}", "sampling: {responses: 4, max_new_tokens: 48}, queries: {train: 5, eval: 6}"
    )
    configuration = project.load(text.replace("method:", "iterations: 1, method:"))
    rows = {(row.stage, row.of, row.comparison): row for row in plan(configuration, ["quickstart"])[0]}
    trained, chosen = rows["score_rewards", "iteration-1", None], rows["score_candidate_rewards", "best", None]
    each = chosen.prompt_tokens / (6 * 2 * 3)  # three under each constitution of a set
    assert trained.prompt_tokens / (5 * 4) == pytest.approx(each, rel=0.1)  # their queries have other lengths
    compared = "iteration-1", "base"
    own, named = (rows["judge_by_reward_model", judge, compared] for judge in ("reward-model", "brief"))
    assert own.prompt_tokens == pytest.approx(2 * 12 * each)  # both responses, under each constitution
    constitution = own.prompt_tokens - named.prompt_tokens + 24 * tokens_of(words)
    planner = Quantities(configuration, "quickstart", [])
    assert constitution == pytest.approx(24 * planner.constitution())
    assert ("judge_responses", "reward-model", compared) not in rows


@pytest.mark.parametrize(("most", "mean"), [(0, 0.0), (1, 1.0), (2, (0.2 + 2 * 0.16) / 0.36)])
def test_how_many_principles_are_reckoned(most, mean):
    assert principles_read(most) == pytest.approx(mean)


def test_methods_share_a_reward_model_of_the_same_responses(project):
    training = {"objective": "preference"}
    one = {"method": {"name": "salmon", "reward": "salmon-checks"}, "training": training, "sampling": {"responses": 4}}
    other = {**one, "training": {**training, "epochs": 2}}
    apart = {**one, "training": {**training, "precision": "mixed"}}
    text = json.dumps({"run": ["one", "other", "apart"], "experiments": {"one": one, "other": other, "apart": apart}})
    owners = sharing.owners(project.load(text))
    first = {
        f"iteration-1/{name}" for name in ("comparisons.jsonl", "reward-model", "reward-model.jsonl", "rewards.jsonl")
    }
    assert first <= {path for path, owner in owners["other"].items() if owner == "one"}
    assert "iteration-2/rewards.jsonl" not in owners["other"]
    assert not first & owners["apart"].keys()


def test_the_workflow_copies_a_reward_model_for_another_experiment(tmp_path):
    """With two iterations, whose second rewards each has for itself; what is learned of the first is made once."""
    workflow = Workflow(tmp_path, unread_model(tmp_path))
    one = {
        "model": "tiny",
        "iterations": 2,
        "queries": {"train": 4},
        "method": {"name": "salmon", "reward": "contrast", "responses": "contrasted"},
        "sampling": {"responses": 4},
        "training": {"objective": "preference"},
    }
    other = {**one, "training": {"objective": "preference", "epochs": 2}}
    names = {"run": ["one", "other"], "compare": {}, "experiments": {"one": one, "other": other}}
    workflow.overrides = workflow.write("two.yaml", {**TINY, **names})
    jobs = workflow.dry_run("one", "other")
    made = {rule: {path for of, path in jobs if of == rule} for rule, _ in jobs}
    assert made["train_reward_model"] == {"one/iteration-1/reward-model", "one/iteration-1/reward-model.jsonl"}
    assert made["share_reward_model"] == {"other/iteration-1/reward-model"}
    assert {f"{name}/iteration-1/reward-model.json" for name in ("one", "other")} == made["measure_reward_model"]
    rewarded = {"one/iteration-1/rewards.jsonl", "one/iteration-2/rewards.jsonl", "other/iteration-2/rewards.jsonl"}
    assert made["score_rewards_by_model"] == rewarded
    assert "score_rewards" not in made


def test_two_iterations_by_one_reward_model(tiny_source, tmp_path):
    workflow = Workflow(tmp_path, tiny_source)
    reward = yaml.safe_load((tmp_path / "config/rewards/salmon-checks.yaml").read_text())
    workflow.write("config/rewards/salmon-checks.yaml", {**reward, "learning_rate": 1e-3, "draws": 3, "held_out": 0.5})
    settings = {
        "model": "tiny",
        "iterations": 2,
        "queries": {"train": 6},
        "method": {"name": "salmon", "reward": "salmon-checks", "constitution": "in-prompt"},
        "sampling": {"responses": 3},
        "training": {"objective": "preference", "warmup_steps": 0},
        "evaluation": {"judges": ["reward-model", "brief"], "policies": {"best": BEST}},
    }
    workflow.write("config/judges/brief.yaml", {"kind": "learned", "principles": ["Be brief."]})
    workflow.overrides = workflow.write("salmon.yaml", {**TINY, "experiments": {"quickstart": settings}})
    folder = tmp_path / "results/quickstart"
    paths = ["iteration-2/training.jsonl", "iteration-1/reward-model.json"]
    paths += [f"best/eval/verdicts-{judge}-vs-base.jsonl" for judge in ("reward-model", "brief")]
    targets = [f"results/quickstart/{path}" for path in paths]
    workflow.run(*targets)

    made = records.read(Comparison, folder / "iteration-1/comparisons.jsonl")
    assert {c.held_out for c in made} == {True, False}
    scored = records.read(ScoredComparison, folder / "iteration-1/reward-model.jsonl")
    assert [s.comparison for s in scored] == [c for c in made if c.held_out]
    assert len({s.chosen for s in scored}) > 1
    told = json.loads((folder / "iteration-1/reward-model.json").read_text())
    assert told["accuracy"]["count"] == len(scored)
    right = sum(s.chosen > s.rejected for s in scored) + sum(s.chosen == s.rejected for s in scored) / 2
    assert told["accuracy"]["estimate"] == pytest.approx(right / len(scored))
    model = folder / "iteration-1/reward-model"
    assert {"model.safetensors", "head.safetensors", "reward_model.json", "provenance.json"} <= {
        path.name for path in model.iterdir()
    }
    assert not (folder / "iteration-2/reward-model").exists()

    task = yaml.safe_load((tmp_path / "config/tasks/everyday.yaml").read_text())
    prompts = Prompts(**task["prompts"])
    constitutions = {c.id: c for c in records.read(Constitution, folder / "constitutions.jsonl")}
    queries = {q.id: q for q in records.read(Query, folder / "queries/train.jsonl")}
    for t in (1, 2):
        drawn = {e.query_id: e for e in records.read(Example, folder / f"iteration-{t}/responses.jsonl")}
        rewards = records.read(Reward, folder / f"iteration-{t}/rewards.jsonl")
        assert [(r.query_id, r.number) for r in rewards] == [(q, k) for q in drawn for k in range(3)]
        assert all(r.reward == pytest.approx(logistic(r.parts["score"])) for r in rewards)
        for example in records.read(TrainingExample, folder / f"iteration-{t}/examples.jsonl"):
            (pair,) = example.pairs
            assert pair.reference is not None
            own = drawn[example.query_id]
            known = {r.number: r.reward for r in rewards if r.query_id == example.query_id}
            usable = {own.responses[n].text: known[n] for n in known if own.responses[n].text}
            chosen, rejected = (example.responses[n].text for n in (pair.chosen, pair.rejected))
            assert (usable[chosen], usable[rejected]) == (max(usable.values()), min(usable.values()))
            wanted = constitutions[own.constitution_ids[0]]
            words = constitution_text(wanted, own.order, prompts)
            asked = fill(prompts.training, constitution=words, query=queries[example.query_id].text)
            assert example.prompts[0][-1].content == asked
    _check_the_best(folder, constitutions)
    assert workflow.planned(*targets) == set()


def _check_the_best(folder: Path, constitutions: dict[str, Constitution]) -> None:
    """Of three candidates under one constitution that with the highest score is kept, and judged with that score."""
    at = folder / "best/eval"
    told = {(r.query_id, r.number): r for r in records.read(Reward, at / "rewards.jsonl")}
    kept = {e.query_id: e for e in records.read(Example, at / "responses.jsonl")}
    scores = {}
    for example in records.read(Example, at / "candidates.jsonl"):
        of = [told[example.query_id, n].parts["score"] for n in range(6)]
        assert [told[example.query_id, n].reward for n in range(6)] == pytest.approx([logistic(s) for s in of])
        for k, response in enumerate(kept[example.query_id].responses):  # for the own one: wanted, and the opposite
            number = max((k, k + 2, k + 4), key=lambda n, of=of: of[n])
            assert response == example.responses[number]
            scores[example.query_id, example.constitution_ids[response.constitution]] = of[number]
    by_constitution = {constitutions[identifier].positive for _, identifier in scores}
    assert by_constitution == {True, False}
    for judge, expected in (("reward-model", scores), ("brief", {})):
        verdicts = records.read(Verdict, at / f"verdicts-{judge}-vs-base.jsonl")
        assert {(v.query_id, v.constitution_id) for v in verdicts} == scores.keys()
        for verdict in verdicts:
            (answer,) = verdict.answers
            first, second = (float(answer.raw.split()[place]) for place in (1, 3))
            assert first == pytest.approx(expected.get((verdict.query_id, verdict.constitution_id), first), abs=1e-4)
            assert verdict.choice == ("tie" if first == second else "first" if first > second else "second")
    record = json.loads((at / "verdicts-brief-vs-base.jsonl.provenance.json").read_text())
    assert record["arguments"]["judge"] == {"kind": "learned", "principles": ["Be brief."]}
    assert list(record["inputs"]["reward_model"]) == ["results/quickstart/iteration-1/reward-model"]
    record = json.loads((at / "rewards.jsonl.provenance.json").read_text())
    assert list(record["inputs"]["reward_model"]) == ["results/quickstart/iteration-1/reward-model"]
    assert record["arguments"]["own"] is True
