"""Supervised fine-tuning: its examples, its settings, the jobs that it asks for, and training on what it makes."""

import json
from collections import Counter

import pytest
import torch
import yaml
from configured import message
from conftest import ROOT
from training_run import TrainingRun
from transformers import AutoModelForCausalLM, AutoTokenizer
from workflow_project import Project as Workflow

from sami import records
from sami.data.constitutions import by_set, empty_examples
from sami.data.prompts import constitution_text
from sami.errors import UserError
from sami.methods.sft import DEMONSTRATIONS, NO_REFERENCE, NOT_POSITIVE, demonstrations, own_examples
from sami.records import Constitution, Example, Query, Response, Statement
from sami.settings.methods import Sft
from sami.settings.tasks import Filters, Prompts, Task
from sami.settings.yaml_files import load_yaml
from sami.workflow.plan.rows import plan
from sami.workflow.preflight import check

IN_PROMPT, LEFT_OUT = "{constitution}\n{query}\n", "{query}\n"
PROMPTS = Prompts(style="plain", generation="{constitution} {query}", training=IN_PROMPT, without_constitution=LEFT_OUT)
QUERIES = [
    Query(id=f"q{i}", task="t", text=f"Why {i}?", reference=r) for i, r in enumerate(["One.", None, " Three.\n"])
]
CONSTITUTIONS = [
    Constitution(
        id=f"{'' if wanted else '-'}{name}",
        set_id=name,
        writer="w",
        statements=[Statement(principle=f"{name}{k}", wanted=wanted, text=f"{name}{k}{wanted}.") for k in (1, 2)],
    )
    for name in ("a", "b")
    for wanted in (True, False)
]
NONE = Filters()


def example(*texts, constitution=0):
    responses = [Response(text=text, constitution=constitution, tokens=1, finish="end") for text in texts]
    return Example(
        query_id="q1", set_id="a", constitution_ids=["a", "-a"], order=[1, 0], responses=responses, policy="p"
    )


def own(*examples, template=IN_PROMPT, filters=NONE):
    texts = {q.id: q for q in QUERIES}, {c.id: c for c in CONSTITUTIONS}
    return own_examples(examples, *texts, PROMPTS, template, filters)


def test_own_responses_stand_behind_the_positive_constitution_or_the_query_alone():
    sampled = example("One.", "Two")
    sampled.responses[1] = sampled.responses[1].model_copy(update={"finish": "length", "token_ids": [7, 8]})
    for template, prompt in ((IN_PROMPT, "a2True.\na1True.\nWhy 1?\n"), (LEFT_OUT, "Why 1?\n")):
        ((made,), dropped) = own(sampled, template=template)
        assert (made.query_id, made.set_id, made.prompts, made.labels) == ("q1", "a", [prompt], [0, 0])
        assert [(r.text, r.ended, r.token_ids, r.source) for r in made.responses] == [
            ("One.", True, None, "p"),
            ("Two", False, [7, 8], "p"),
        ]
        assert not dropped


def test_filters_drop_responses_and_not_their_example():
    filters = Filters(forbidden=["["], positive_ends_with=".", distinct=True)
    kept, dropped = own(example("Same.", "Same.", "", "[x].", "No"), example("", "No"), filters=filters)
    assert [[r.text for r in made.responses] for made in kept] == [["Same.", "Same."]]  # equal ones are no fault here
    assert dropped == Counter({"empty response": 2, "forbidden mark": 1, "does not end with '.'": 2})


def test_responses_under_another_constitution_are_not_learned():
    assert own(example("One.", constitution=1)) == ([], Counter({NOT_POSITIVE: 1}))


def test_demonstrations_are_reference_answers_whose_tokens_are_unknown():
    kept, dropped = demonstrations(QUERIES, [], PROMPTS, LEFT_OUT, 1, True)
    assert [(made.query_id, made.set_id, made.prompts, made.labels) for made in kept] == [
        ("q0", None, ["Why 0?\n"], [0]),
        ("q2", None, ["Why 2?\n"], [0]),
    ]
    texts = [(r.text, r.ended, r.token_ids, r.source) for made in kept for r in made.responses]
    assert texts == [("One.", True, None, DEMONSTRATIONS), ("Three.", True, None, DEMONSTRATIONS)]
    assert dropped == Counter({NO_REFERENCE: 1})
    chat = PROMPTS.model_copy(update={"style": "chat"})
    assert demonstrations(QUERIES, [], chat, LEFT_OUT, 1, True)[0][0].prompts[0][0].content == "Why 0?\n"


def test_demonstrations_have_the_constitution_that_sampling_would_give_the_query():
    kept, _ = demonstrations(QUERIES, CONSTITUTIONS, PROMPTS, IN_PROMPT, 3, True)
    by_id = {constitution.id: constitution for constitution in CONSTITUTIONS}
    asked = empty_examples(["q0", "q2"], by_set(CONSTITUTIONS), 1, "p", 3, True, positive=True)
    texts = [constitution_text(by_id[one.constitution_ids[0]], one.order, PROMPTS) for one in asked]
    assert [made.prompts[0].split("\nWhy")[0] for made in kept] == texts
    assert {made.set_id for made in kept} == {"a", "b"}


def test_no_demonstration_at_all_is_told():
    with pytest.raises(UserError, match="none of 1 training queries has a reference answer.*'train.reference_field'"):
        demonstrations(QUERIES[1:2], [], PROMPTS, LEFT_OUT, 1, True)


def test_shipped_tasks_have_a_prompt_without_a_word_of_principles():
    for file in sorted((ROOT / "config/tasks").glob("*.yaml")):
        prompts = load_yaml(file, Task).prompts
        asked = Sft(name="sft").template(prompts)
        assert "{query}" in asked
        assert "principle" not in asked.lower()
        assert prompts.training.endswith(asked.split("{query}")[1])
        assert Sft(name="sft", constitution="in-prompt").template(prompts) == prompts.training


def quickstart(method: str, training: str = "{objective: supervised}") -> str:
    return f"experiments: {{quickstart: {{method: {method}, training: {training}}}}}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            quickstart("sf"),
            ["method: found the method 'sf', expected one of: sami, sft, rlcd, rest, salmon, steerlm, ditto. Did"],
        ),
        (
            quickstart("{name: sami, responses: own}"),
            ["the key 'responses', which belongs to the methods sft and salmon, but"],
        ),
        (
            quickstart("{name: sft, improve: 3}"),
            ["method.improve", "expected one of: name, relevance, constitution, responses, labels, unfinished, reward"],
        ),
        (quickstart("sft", "{objective: sami}"), ["'training.objective' is sami", "expected one of: supervised"]),
        (quickstart("{name: sft, responses: mine}"), ["responses", 'found "mine"', "expected one of: own, demonstr"]),
        (quickstart("sft", "{objective: supervised, reference: sft}"), ["'training.reference: sft'", "set it to base"]),
    ],
)
def test_wrong_settings_are_told(project, text, parts):
    told = message(project.load, text)
    assert told.startswith("mine.yaml, line 1: experiments.quickstart")
    for part in parts:
        assert part in told


def test_what_a_task_lacks_is_told_before_anything_runs(project):
    shown = quickstart("{name: sft, responses: demonstrations}")
    told = message(project.check, shown)
    assert told.startswith("config/tasks/everyday.yaml: train.reference_field: found null, expected the field with the")
    assert told.endswith("(experiment 'quickstart').")
    task = yaml.safe_load((project.root / "config/tasks/everyday.yaml").read_text())
    task["prompts"].pop("without_constitution")
    project.write("config/tasks/everyday.yaml", yaml.safe_dump(task))
    assert "everyday.yaml: prompts.without_constitution: found null" in message(project.check, quickstart("sft"))
    in_prompt = quickstart("{name: sft, constitution: in-prompt}")
    assert "the prompt with the query alone, under which relevance is told" in message(project.check, in_prompt)
    project.check(f"{in_prompt}\ndefaults: {{evaluation: {{relevance: null}}}}")
    project.write("config/tasks/everyday.yaml", "extends: config/tasks/hh-rlhf.yaml\ntrain: {reference_field: chosen}")
    assert "everyday.yaml: train.loader: found hh-rlhf, which reads no reference answers" in message(
        project.check, shown
    )


def with_answers(project) -> str:
    """Writes a task with reference answers; returns the configuration that learns them."""
    rows = [{"id": "q", "text": "Why?", "answer": "So."}]
    small = yaml.safe_load(project.task(rows, extra="reference_field: answer"))
    path = "config/tasks/small.yaml"
    task = yaml.safe_load((project.root / path).read_text())
    task["prompts"]["without_constitution"] = "{query}"
    project.write(path, yaml.safe_dump(task))
    ours = {"method": {"name": "sft", "responses": "demonstrations"}, "training": {"objective": "supervised"}}
    small["experiments"]["quickstart"] |= ours
    return yaml.safe_dump(small)


def test_demonstrations_are_planned_without_a_job_of_sampling(project):
    mine = with_answers(project)
    project.check(mine)
    vllm = yaml.safe_dump(yaml.safe_load(mine) | {"defaults": {"sampling": {"sampler": "vllm"}}})
    check(loaded := project.load(vllm), ["quickstart"])  # a sampler that is not used need not be installed
    stages = [row.stage for row in plan(loaded, ["quickstart"])[0]]
    assert "sample_responses" not in stages
    assert stages.count("train") == 1


def test_own_responses_are_planned_under_one_constitution(project):
    row = lambda text, stage: next(  # noqa: E731
        row for row in plan(project.load(text), ["quickstart"])[0] if row.stage == stage
    )
    sami, sft = "experiments: {quickstart: {method: sami}}", quickstart("sft")
    assert row(sft, "sample_responses").new_tokens * 2 == row(sami, "sample_responses").new_tokens
    kept = quickstart("{name: sft, constitution: in-prompt}")
    assert row(sft, "train").prompt_tokens < row(kept, "train").prompt_tokens < row(sami, "train").prompt_tokens


def test_rules_ask_for_no_responses_where_demonstrations_are_learned(tiny_source, tmp_path):
    workflow = Workflow(tmp_path, tiny_source)
    task = {"extends": "config/tasks/everyday.yaml", "train": {"path": "answers.jsonl", "reference_field": "answer"}}
    workflow.write("config/tasks/answered.yaml", task)
    rows = [json.loads(line) for line in (ROOT / "config/queries/everyday-train.jsonl").open()]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row | {"answer": "So."}) + "\n" for row in rows))
    experiments = {
        "own": {"method": "sft"},
        "shown": {"method": {"name": "sft", "responses": "demonstrations"}, "task": "answered"},
    }
    defaults = {"training": {"objective": "supervised"}, "iterations": 1, "model": "tiny"}
    content = {"run": list(experiments), "defaults": defaults, "experiments": experiments}
    workflow.overrides = workflow.write("methods.yaml", content)
    made = workflow.dry_run(*(f"results/{name}/iteration-1/model" for name in experiments))
    paths = {rule: {path for job, path in made if job == rule} for rule, _ in made}
    assert paths["sample_responses"] == {"own/iteration-1/responses.jsonl", "own/iteration-1/sampling.json"}
    assert paths["build_constitutions"] == {"own/constitutions.jsonl"}
    examples = {f"{name}/iteration-1/examples.{ending}" for name in experiments for ending in ("json", "jsonl")}
    assert paths["build_sft_examples"] == examples
    assert {f"{name}/iteration-1/model" for name in experiments} <= paths["train"]
    assert "build_sami_examples" not in paths


def slow_loss(example: records.TrainingExample, folder) -> float:
    """Mean over responses of the mean negative log-probability of their tokens, each behind its prompt alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer(example.prompts[0])["input_ids"]
    losses = []
    for response in example.responses:
        ids = tokenizer(response.text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        losses.append(-logits[torch.arange(len(ids)), torch.tensor(ids)].mean())
    return float(sum(losses) / len(losses))


def test_training_on_examples_of_one_prompt_and_different_numbers_of_responses(tiny, tmp_path):
    run = TrainingRun(tmp_path / "run", tiny, count=1)
    shown, _ = demonstrations(QUERIES, [], PROMPTS, LEFT_OUT, 1, True)
    sampled, _ = own(example("the cat sat", "on a mat", "and slept"), template=LEFT_OUT)
    records.write([*shown, *sampled], run.folder / "examples.jsonl")
    run.run({"objective": "supervised", "queries_per_step": 3, "epochs": 4})
    losses = [step["loss"] for step in run.steps()]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    by_hand = [slow_loss(made, tiny) for made in (*shown, *sampled)]  # queries count alike, however many responses
    assert losses[0] == pytest.approx(sum(by_hand) / 3, rel=1e-4)
