"""SAMI's training examples: what is kept of the sampled responses, and what becomes of it."""

import json
import math
import os
import subprocess
from collections import Counter

import pytest
import torch
import warm
from configured import message
from conftest import ROOT
from training_run import PROMPTS as RUN_PROMPTS
from training_run import TrainingRun
from transformers import AutoModelForCausalLM, AutoTokenizer

from sami import records
from sami.errors import UserError
from sami.methods.responses import check_policy
from sami.methods.sami import NO_POSITIVE, contrasted_queries, reason_to_drop, training_examples
from sami.records import Constitution, Example, Message, Query, Response, Statement
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
    with pytest.raises(UserError, match="responses.jsonl: query 'q': found a response of the policy 'p', expected one"):
        check_policy([example("One.", "Two")], "iteration-1", "responses.jsonl")


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

    def build(*more: str) -> list[records.TrainingExample]:
        files = [f"--{name}={run.folder / name}.jsonl" for name in ("responses", "queries", "constitutions")]
        outputs = [f"--output={run.folder}/examples.jsonl", f"--counts={run.folder}/examples.json"]
        command = [*warm.stage("build_sami_examples"), *files, *outputs, "--filters={}", "--policy=iteration-0"]
        command += [f"--prompts={RUN_PROMPTS.model_dump_json()}", *more]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
        return records.read(records.TrainingExample, run.folder / "examples.jsonl")

    plain = build("--objective=sami")
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
