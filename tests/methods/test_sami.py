"""SAMI's training examples: what is kept of the sampled responses, and what becomes of it."""

import json
import math
import os
import subprocess
from collections import Counter

import pytest
import torch
import warm
import yaml
from configured import message
from conftest import ROOT
from training_run import PROMPTS as RUN_PROMPTS
from training_run import TrainingRun
from transformers import AutoModelForCausalLM, AutoTokenizer
from workflow_project import TINY
from workflow_project import Project as Workflow

from sami import records
from sami.data.joined import read_by_id
from sami.errors import UserError
from sami.methods.sami import (
    IRRELEVANT,
    NO_POSITIVE,
    contrasted_queries,
    reason_to_drop,
    relevant_examples,
    training_examples,
)
from sami.records import Constitution, Example, Message, Query, Relevance, Response, Statement, TrainingExample
from sami.settings.methods import RelevanceFilter
from sami.settings.tasks import Filters, Prompts, Task
from sami.settings.yaml_files import load_yaml

QUERIES = {"q": Query(id="q", task="t", text="Why?")}
PROMPTS = Prompts(style="plain", generation="{constitution} {query}", training="{constitution}\n{query}\n")
CONSTITUTIONS = {
    i: Constitution(id=i, set_id="s", writer="w", statements=[Statement(principle="s", wanted=w, text=i)])
    for i, w in (("s", True), ("-s", False))
}


def example(*texts):
    responses = [Response(text=t, constitution=j % 2, tokens=1, finish="end") for j, t in enumerate(texts)]
    return Example(query_id="q", set_id="s", constitution_ids=["s", "-s"], order=[0], responses=responses, policy="p")


ORIGINAL = Filters(forbidden=["[insert", "[]", "]", "Response"], positive_ends_with=".", distinct=True)


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (("One.", "Two"), None),  # only the response under the positive constitution must end in a full stop
        (("One", "Two."), "does not end with '.'"),
        (("One [insert name].", "Two."), "forbidden mark"),
        (("One.", "Response: two"), "forbidden mark"),
        (("Same.", "Same."), "equal responses"),
        (("One.", ""), "empty response"),
        (("One.", "Two", "One.", "Three"), None),  # equal, but for the same constitution
        (("One.", "Two", "Two.", "One."), "equal responses"),
    ],
)
def test_filters_of_the_original(texts, reason):
    assert reason_to_drop(example(*texts), CONSTITUTIONS, ORIGINAL) == reason


def made(*examples, objective="sami", prompts=PROMPTS, filters=ORIGINAL):
    return training_examples(examples, QUERIES, CONSTITUTIONS, prompts, filters, objective)


def test_drops_are_counted():
    examples = [example("One.", "Two"), example("Same.", "Same."), example("", "x"), example("", "")]
    kept, dropped = made(*examples)
    assert [[response.text for response in e.responses] for e in kept] == [["One.", "Two"]]
    assert dropped == Counter({"empty response": 2, "equal responses": 1})


def test_an_example_holds_the_training_prompts_and_the_responses_as_they_were_drawn():
    sampled = example("One.", "Two")
    sampled.responses[1] = sampled.responses[1].model_copy(update={"finish": "length", "token_ids": [7, 8]})
    ((found,), _) = made(sampled)
    assert found.prompts == ["s\nWhy?\n", "-s\nWhy?\n"]
    assert found.labels == [0, 1]
    assert [(r.text, r.ended, r.token_ids, r.source) for r in found.responses] == [
        ("One.", True, None, "p"),
        ("Two", False, [7, 8], "p"),
    ]
    assert (found.query_id, found.set_id, found.weights, found.pairs) == ("q", "s", None, [])


def test_prompts_of_a_chat_are_conversations():
    ((found,), _) = made(example("One.", "Two"), prompts=PROMPTS.model_copy(update={"style": "chat", "system": "Hm."}))
    system = Message(role="system", content="Hm.")
    assert found.prompts[1] == [system, Message(role="user", content="-s\nWhy?\n")]


def test_without_a_contrast_only_the_positive_part_is_left():
    kept, dropped = made(example("One.", "Two", "Three.", "Four"), objective="supervised")
    assert [r.text for r in kept[0].responses] == ["One.", "Three."]
    assert (kept[0].prompts, kept[0].labels) == (["s\nWhy?\n"], [0, 0])
    negative = example("One.", "Two")
    negative.responses.pop(0)
    assert made(negative, objective="supervised") == ([], Counter({NO_POSITIVE: 1}))
    assert not dropped


def test_what_belongs_to_another_run_is_told():
    with pytest.raises(UserError, match="an example names query 'other'"):
        made(example("One.", "Two").model_copy(update={"query_id": "other"}))


def test_shipped_tasks_have_the_filters_of_the_original():
    for name in ("tldr", "hh-rlhf"):
        assert load_yaml(ROOT / f"config/tasks/{name}.yaml", Task).filters == ORIGINAL


def test_prompts_of_other_queries_stand_under_the_same_constitutions():
    two = {
        i: Constitution(
            id=i,
            set_id="s",
            writer="w",
            statements=[Statement(principle=p, wanted=w, text=f"{i}{p}") for p in ("a", "b")],
        )
        for i, w in (("s", True), ("-s", False))
    }
    queries = QUERIES | {name: Query(id=name, task="t", text=text) for name, text in (("r", "How?"), ("u", "When?"))}
    sampled = example("One.", "Two").model_copy(update={"order": [1, 0]})
    others = {"q": [queries["u"], queries["r"]]}
    ((found,), _) = training_examples([sampled], queries, two, PROMPTS, ORIGINAL, "sami-joint", others)
    assert found.prompts == ["sb\nsa\nWhy?\n", "-sb\n-sa\nWhy?\n"]
    assert found.negatives == [
        *("sb\nsa\nWhen?\n", "-sb\n-sa\nWhen?\n"),
        *("sb\nsa\nHow?\n", "-sb\n-sa\nHow?\n"),
    ]
    ((without,), _) = training_examples([sampled], queries, two, PROMPTS, ORIGINAL, "sami")
    assert without == found.model_copy(update={"negatives": []})


def test_other_queries_are_those_of_the_iteration_with_other_texts():
    texts = {"q": "Why?", "r": "How?", "again": "Why?", "later": "When?"}
    queries = {name: Query(id=name, task="t", text=text) for name, text in texts.items()}
    sampled = [example("One.", "Two").model_copy(update={"query_id": name}) for name in ("q", "r", "again")]
    found = contrasted_queries(sampled, queries, 1, 7)
    assert {name: [query.text for query in others] for name, others in found.items()} == {
        "q": ["How?"],
        "r": ["Why?"],
        "again": ["How?"],
    }
    with pytest.raises(UserError, match="query 'q': found 1 other queries with another text in the iteration, expect"):
        contrasted_queries(sampled, queries, 2, 7)
    many = {str(i): Query(id=str(i), task="t", text=f"Why {i}?") for i in range(20)}
    sampled = [example("One.", "Two").model_copy(update={"query_id": name}) for name in many]
    draws = [
        contrasted_queries(order, many, 3, seed) for order, seed in ((sampled, 1), (sampled[::-1], 1), (sampled, 2))
    ]
    assert draws[0] == draws[1] != draws[2]
    assert all(len({query.id for query in others} - {name}) == 3 for name, others in draws[0].items())


def quickstart(objective: str, queries: str = "{train: 8, eval: 4}") -> str:
    return f"experiments: {{quickstart: {{training: {{objective: {objective}}}, queries: {queries}}}}}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (quickstart("sami-join"), ["objective: found the objective 'sami-join', expected", "mean 'sami-joint'?"]),
        (quickstart("{name: sami, other_queries: 1}"), ["'other_queries', which belongs to the objective sami-joint"]),
        (quickstart("{name: sami-joint, other_queries: 0}"), ["other_queries: found 0", "at least 1"]),
        (quickstart("{name: sami-joint, other_queries: 8}"), ["'other_queries' = 8", "gives an iteration 8", "lower"]),
        (
            quickstart("{name: sami-joint, other_queries: 2}", "{train: [4, 4, 2, 1], eval: 4}"),
            ["'other_queries' = 2 of the same iteration, but 'queries.train' gives an iteration 2; expected fewer"],
        ),
    ],
)
def test_wrong_objectives_are_told(project, text, parts):
    told = message(project.load, text)
    assert told.startswith("mine.yaml, line 1: experiments.quickstart")
    for part in parts:
        assert part in told


def test_an_iteration_may_have_one_query_more_than_others_are_asked_for(project):
    project.load(quickstart("{name: sami-joint, other_queries: 7}"))


def slow_loss(example: records.TrainingExample, folder) -> float:
    """The joint loss of one example by definition, from plain sequences."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)

    def score(prompt: str, response: str) -> float:
        ids, behind = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, response))
        with torch.no_grad():
            logits = model(torch.tensor([ids + behind])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
        return float(logits[torch.arange(len(behind)), torch.tensor(behind)].mean())

    texts = [response.text for response in example.responses]
    matrix = [[score(prompt, text) for text in texts] for prompt in [*example.prompts, *example.negatives]]
    losses = []
    for place, label in enumerate(example.labels):
        row, column = matrix[label], [scores[place] for scores in matrix]
        losses += [math.log(sum(map(math.exp, candidates))) - row[place] for candidates in (row, column)]
    return sum(losses) / len(losses)


def test_a_policy_is_trained_on_examples_with_prompts_of_other_queries(tiny, tmp_path):
    """From sampled responses by the two stages, with a KL term; another draw of other queries makes other examples."""
    run = TrainingRun(tmp_path / "run", tiny, count=5)

    def build(*more: str, expect: int = 0) -> list[records.TrainingExample]:
        files = [f"--{name}={run.folder / name}.jsonl" for name in ("responses", "queries", "constitutions")]
        outputs = [f"--output={run.folder}/examples.jsonl", f"--counts={run.folder}/examples.json"]
        command = [*warm.stage("build_sami_examples"), *files, *outputs, "--filters={}", "--policy=iteration-0"]
        command += [f"--prompts={RUN_PROMPTS.model_dump_json()}", *more]
        ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
        assert ended.returncode == expect
        return records.read(records.TrainingExample, run.folder / "examples.jsonl")

    plain = build("--objective=sami")
    build("--objective=sami", '--relevant={"others": 1, "drop": 0.5}', expect=2)  # a rule without a file
    other, made = (build("--objective=sami-joint", "--other-queries=2", f"--seed={seed}") for seed in (2, 1))
    assert [example.model_copy(update={"negatives": []}) for example in made] == plain
    assert [len(example.negatives) for example in made] == [4] * 5
    assert made != other
    run.run(
        {"objective": {"name": "sami-joint", "other_queries": 2}, "queries_per_step": 5, "epochs": 4, "kl_weight": 0.01}
    )
    first, *_, last = run.steps()
    assert first["loss"] == pytest.approx(sum(slow_loss(example, tiny) for example in made) / 5, rel=1e-3)
    assert last["loss"] < first["loss"]
    assert last["joint_bound"] > first["joint_bound"]
    assert 0 <= first["query_accuracy"] <= 1
    assert (first["kl"], last["kl"] > 0) == (pytest.approx(0, abs=1e-6), True)
    told = run.run({"objective": {"name": "sami-joint", "other_queries": 1}}, expect=2, output="other")
    assert "query 'q0': 4 prompts of other queries ('negatives'), but the objective sami-joint contrasts with 2" in told
    told = run.run({"objective": "sami"}, expect=2, output="other")
    assert "but the objective sami contrasts with 0 (none). Make the examples" in told
    assert json.loads((run.folder / "examples.json").read_text()) == {"sampled": 5, "kept": 5, "dropped": {}}


def relevance(name: str, *responses: tuple[list[float], int], policy: str = "iteration-1") -> list[Relevance]:
    """Records of an example's responses, of (log-probabilities under own and other queries, tokens) each."""
    return [
        Relevance(
            query_id=name,
            set_id="s",
            number=number,
            policy=policy,
            scorer="base",
            candidates=[name, *(f"other {k}" for k in range(1, len(sums)))],
            alone=sums,
            with_constitution=[0.0] * len(sums),
            tokens=tokens,
        )
        for number, (sums, tokens) in enumerate(responses)
    ]


def lead(record: Relevance) -> float:
    """By how much a response is likelier under its own query than under the best other, nats per token."""
    return (record.alone[0] - max(record.alone[1:])) / record.tokens


def from_margins(**margins: float) -> tuple[list[TrainingExample], list[Relevance]]:
    """Training examples of two responses, of which the second has the margin of its example, the first a larger one."""
    response = {"text": "t", "ended": True, "source": "iteration-1"}
    made = [
        TrainingExample(query_id=name, set_id="s", prompts=["a", "b"], responses=[response] * 2, labels=[0, 1])
        for name in margins
    ]
    told = [
        record
        for name, value in margins.items()
        for record in relevance(name, ([-1.0, -5.0 - 4 * value], 4), ([-1.0, -999.0, -1.0 - 2 * value], 2))
    ]
    return made, told


def kept_of(rule: dict, **margins: float) -> tuple[list[str], Counter]:
    kept, dropped = relevant_examples(*from_margins(**margins), RelevanceFilter(others=2, **rule))
    return [example.query_id for example in kept], dropped


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"least_margin": 0.0}, "acde"),  # a tie is kept: no other query is likelier
        ({"least_margin": 0.25}, "acd"),
        ({"least_margin": 9.0}, ""),
        ({"least_margin": -9.0}, "abcde"),
        ({"drop": 0.2}, "acde"),
        ({"drop": 0.39}, "acde"),  # rounded down to one of five
        ({"drop": 0.4}, "acd"),
        ({"drop": 0.6}, "cd"),
        ({"drop": 0.19}, "abcde"),
    ],
)
def test_examples_are_left_out_by_their_smallest_margin(rule, kept):
    found, dropped = kept_of(rule, a=0.25, b=-1.0, c=0.5, d=2.0, e=0.0)
    assert found == list(kept)
    assert dropped == Counter({IRRELEVANT: 5 - len(kept)} if len(kept) < 5 else {})


def test_equal_margins_are_kept_or_left_out_together_in_any_order():
    margins = {"a": 0.5, "b": 0.5, "c": 1.0, "d": 0.25}
    for order in (margins, dict(reversed(margins.items()))):
        assert set(kept_of({"drop": 0.5}, **order)[0]) == {"a", "b", "c"}  # the second and third smallest are equal
        assert set(kept_of({"drop": 0.75}, **order)[0]) == {"c"}
        assert set(kept_of({"least_margin": 0.5}, **order)[0]) == {"a", "b", "c"}
    assert kept_of({"drop": 0.9}, a=1.0, b=1.0)[0] == ["a", "b"]


def test_a_share_is_exact_where_its_product_is_not():
    assert 0.29 * 100 < 29
    margins = {f"q{n}": float(n) for n in range(100)}
    assert kept_of({"drop": 0.29}, **margins)[0] == list(margins)[29:]


def test_examples_without_responses_are_left_to_the_other_filters():
    """What they drop has no part in a share; where nothing is left there is nothing to drop."""
    sampled = [example("One.", ""), example("One.", "Two").model_copy(update={"query_id": "r"})]
    queries = QUERIES | {"r": Query(id="r", task="t", text="How?")}
    kept, dropped = training_examples(sampled, queries, CONSTITUTIONS, PROMPTS, ORIGINAL, "sami")
    told = relevance("q", ([-1.0, -9.0], 1), ([0.0, 0.0], 0), policy="p")
    told += relevance("r", ([-9.0, -1.0], 1), ([-9.0, -1.0], 1), policy="p")
    assert dropped == Counter({"empty response": 1})
    half = RelevanceFilter(others=1, drop=0.5)
    assert relevant_examples(kept, told, half) == (kept, Counter())  # half of the one that is left, rounded down
    assert relevant_examples([], told, half) == ([], Counter())


@pytest.mark.parametrize("change", [{"policy": "iteration-0"}, {"set_id": "other"}, {"query_id": "z"}])
def test_relevance_of_other_responses_is_refused(change):
    made, told = from_margins(a=1.0, b=1.0)
    other = [record.model_copy(update=change) if record.query_id == "b" else record for record in told]
    with pytest.raises(UserError, match="query 'b', set 's': found no relevance of its responses by 'iteration-1', ex"):
        relevant_examples(made, other, RelevanceFilter(others=1, drop=0.5))


def filtered(rule: str, more: str = "") -> str:
    return f"experiments: {{quickstart: {{method: {{name: sami, relevance: {rule}}}{more}}}}}"


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("{others: 3}", ["relevance: ", "found neither of 'least_margin' and 'drop', expected exactly one of them"]),
        ("{others: 3, drop: 0.5, least_margin: 0}", ["found both of 'least_margin' and 'drop'"]),
        ("{drop: 0.5}", ["relevance.others", "missing"]),
        ("{others: 3, drop: 1}", ["relevance.drop: found 1", "less than 1"]),
        ("{others: 0, drop: 0.5}", ["relevance.others: found 0", "at least 1"]),
        ("{others: 3, least: 0}", ["relevance.least: found the unknown key"]),
    ],
)
def test_wrong_rules_are_told(project, rule, parts):
    told = message(project.load, filtered(rule))
    assert told.startswith("mine.yaml, line 1: experiments.quickstart.method")
    for part in parts:
        assert part in told


def test_what_a_filter_by_relevance_needs_is_told_before_anything_runs(project):
    rule = "{others: 3, drop: 0.5}"
    project.check(filtered(rule))
    told = message(project.check, filtered(rule, ", queries: {train: [4, 1, 4], eval: 4}"))
    assert told.startswith("mine.yaml, line 1: experiments.quickstart.queries.train: found 1, expected at least 2")
    assert told.endswith("set 'method.relevance' to null.")
    task = yaml.safe_load((project.root / "config/tasks/everyday.yaml").read_text())
    task["prompts"].pop("without_constitution")
    project.write("config/tasks/everyday.yaml", yaml.safe_dump(task))
    told = message(project.check, filtered(rule, ", evaluation: {relevance: null}"))
    assert told.startswith("config/tasks/everyday.yaml: prompts.without_constitution: found null")
    assert "set 'method.relevance' to null (experiment 'quickstart')" in told
    project.check("experiments: {quickstart: {evaluation: {relevance: null}}}")


def test_relevance_is_scored_only_where_examples_are_left_out_by_it(tiny_source, tmp_path):
    """Also where several jobs sample the responses; and by the base model, whichever policy drew them."""
    workflow = Workflow(tmp_path, tiny_source)
    rule = {"name": "sami", "relevance": {"others": 2, "least_margin": 0.0}}
    experiments = {"plain": {}, "filtered": {"method": rule}}
    defaults = TINY["defaults"] | {"iterations": 2, "engine": {"tokens_per_job": 24}}
    content = {"run": list(experiments), "defaults": defaults, "experiments": experiments}
    workflow.overrides = workflow.write("filtered.yaml", content)
    targets = [f"results/{name}/iteration-2/model" for name in experiments]
    made = workflow.dry_run(*targets)
    scored = {path for rule, path in made if rule == "score_training_relevance"}
    assert scored == {f"filtered/iteration-{t}/relevance.jsonl" for t in (1, 2)}
    assert not {rule for rule, _ in made} & {"score_relevance", "sample_evaluation"}
    assert {path for rule, path in made if rule == "build_sami_examples"} == {
        f"{name}/iteration-{t}/examples.{ending}"
        for name in experiments
        for t in (1, 2)
        for ending in ("json", "jsonl")
    }
    commands = workflow.run("--dry-run", "--printshellcmds", *targets)
    (second,) = [
        line
        for line in commands.splitlines()
        if "stages.score_relevance" in line and "filtered/iteration-2/responses.jsonl" in line
    ]
    assert "--model resources/models/tiny " in second
    assert "--policy iteration-1 --scorer tiny --others 2 " in second


def test_a_run_that_leaves_out_what_the_base_model_finds_irrelevant(tiny_source, tmp_path):
    """With prompts of other queries in what is left, which are drawn among all queries of the iteration."""
    workflow = Workflow(tmp_path, tiny_source)
    settings = {
        "model": "tiny",
        "iterations": 2,
        "queries": {"train": 4},
        "method": {"name": "sami", "relevance": {"others": 2, "drop": 0.5}},
        "training": {"objective": {"name": "sami-joint", "other_queries": 3}},
    }
    workflow.overrides = workflow.write("filtered.yaml", {**TINY, "experiments": {"quickstart": settings}})
    workflow.run("results/quickstart/iteration-2/model")
    constitutions = read_by_id(Constitution, tmp_path / "results/quickstart/constitutions.jsonl")
    filters = load_yaml(ROOT / "config/tasks/everyday.yaml", Task).filters
    for t in (1, 2):
        folder = tmp_path / f"results/quickstart/iteration-{t}"
        sampled = records.read(Example, folder / "responses.jsonl")
        told, made = (
            records.read(kind, folder / f"{name}.jsonl")
            for kind, name in ((Relevance, "relevance"), (TrainingExample, "examples"))
        )
        assert {(record.policy, record.scorer) for record in told} == {(f"iteration-{t - 1}", "tiny")}
        assert [(r.query_id, r.number) for r in told] == [(e.query_id, j) for e in sampled for j in (0, 1)]
        names = {example.query_id for example in sampled}
        assert all(set(record.candidates) < names for record in told)
        left = [e.query_id for e in sampled if reason_to_drop(e, constitutions, filters) is None]
        margins = {name: min(lead(record) for record in told if record.query_id == name) for name in left}
        expected = set(sorted(left, key=margins.get)[len(left) // 2 :])
        assert {example.query_id for example in made} == expected
        counts = json.loads((folder / "examples.json").read_text())
        assert (counts["sampled"], counts["kept"]) == (4, len(expected))
        assert counts["dropped"][IRRELEVANT] == len(left) // 2 > 0
        assert [len(example.negatives) for example in made] == [2 * 3] * len(made)
        assert all("query_accuracy" in json.loads(line) for line in (folder / "training.jsonl").open())
    settings["method"]["relevance"]["drop"] = 0.25
    workflow.overrides = workflow.write("filtered.yaml", {**TINY, "experiments": {"quickstart": settings}})
    first = {rule for rule, t in workflow.planned("results/quickstart/iteration-1/model")}
    assert first == {"build_sami_examples", "train"}  # nothing is sampled or scored again
