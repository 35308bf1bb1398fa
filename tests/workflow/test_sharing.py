"""Sharing of what nobody trains: who makes it, who copies it, and what makes it out of date."""

import argparse
import json

import pytest
import yaml
from configured import MODEL
from workflow_project import Project, unread_model

from sami.stages import share_results
from sami.workflow.sharing import owners

RESPONSES, SCORES = "iteration-0/eval/responses.jsonl", "iteration-0/eval/scores.jsonl"
RELEVANCE = "iteration-0/eval/relevance.jsonl"
INSTRUCT, VERDICTS = "instruct/eval/responses.jsonl", "instruct/eval/verdicts-checks-vs-base.jsonl"
INSTRUCT_RELEVANCE = "instruct/eval/relevance.jsonl"
BASE = {RESPONSES: "a", SCORES: "a", RELEVANCE: "a"}  # files of the base model, which the experiment a makes


def shared(project, experiments: dict, run=("a", "b"), defaults=None) -> dict[str, dict[str, str]]:
    return owners(project.load(yaml.safe_dump({"run": [*run], "defaults": defaults or {}, "experiments": experiments})))


def test_first_experiment_of_the_configuration_makes_what_all_need(project):
    experiments = {"a": {}, "b": {"training": {"objective": "supervised"}}, "c": {"iterations": 1}}
    found = shared(project, experiments, run=["c", "b", "a"])
    # The quickstart is outside `run`: it copies, but nobody copies from it.
    assert found == {name: BASE for name in ("b", "c", "quickstart")}


def test_experiments_outside_run_make_nothing_for_others(project):
    experiments = {"a": {"seed": 7}, "b": {"seed": 7}}
    assert not {"a", "b"} & shared(project, experiments, run=["quickstart"]).keys()


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"learning_rate": 1e-3, "start_from": "previous"}},
        {"iterations": 1},
        {"queries": {"train": 8}},
        {"sampling": {"max_new_tokens": 7}},
        {"engine": {"tokens_per_pass": 5, "tokens_per_job": 2000, "processes": 2}},
        {"resources": {"all": {"mem_mb": 1}}},
        {"evaluation": {"bootstrap_samples": 123, "confidence": 0.5}},
        {"evaluation": {"judges": ["gpt-4o", "checks"]}},
    ],
)
def test_settings_of_which_it_does_not_depend(project, change):
    assert shared(project, {"a": {}, "b": change})["b"] == BASE
    assert shared(project, {"a": change, "b": {}})["b"] == BASE


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"queries": {"eval": 3}},
        {"queries": {"test": 48}},
        {"evaluation": {"sampling": {"max_new_tokens": 7}}},
        {"evaluation": {"sampling": {"responses": 4}}},
        {"constitutions": {"shuffle": False}},
        {"constitutions": {"held_out": "tldr-diverse-held-out"}},
        {"model": "mistral-7b"},
        {"task": "tldr"},
    ],
)
def test_settings_on_which_it_depends(project, change):
    assert "b" not in shared(project, {"a": {}, "b": change})


def test_held_out_responses_to_the_same_test_are_shared(project):
    found = shared(project, {"a": {"queries": {"test": 9}}, "b": {"queries": {"test": 9, "train": 8}}})["b"]
    assert found.keys() >= {RESPONSES, SCORES}
    assert set(found.values()) == {"a"}


def test_other_models_and_verdicts_between_what_nobody_trains(project):
    def with_policies(**more):
        return {"evaluation": {"policies": {"instruct": MODEL}, **more}}

    every = {path: "a" for path in (*BASE, INSTRUCT, INSTRUCT_RELEVANCE, VERDICTS)}
    assert shared(project, {"a": with_policies(), "b": with_policies()})["b"] == every
    found = shared(project, {"a": with_policies(), "b": with_policies(judged="positive")})["b"]
    assert found == {path: "a" for path in (*BASE, INSTRUCT, INSTRUCT_RELEVANCE)}
    # The same name for other models, and another judge, which only the second has.
    other = {"evaluation": {"policies": {"instruct": "mistral-7b"}}}
    assert shared(project, {"a": with_policies(), "b": other})["b"] == BASE
    found = shared(project, {"a": with_policies(), "b": with_policies(judges=["gpt-4o"])})["b"]
    assert found == {path: "a" for path in (*BASE, INSTRUCT, INSTRUCT_RELEVANCE)}


def test_relevance_depends_on_how_it_is_told(project):
    for relevance in ({"others": 5}, {"model": "mistral-7b"}, None):
        changed = {"evaluation": {"relevance": relevance}}
        assert shared(project, {"a": {}, "b": changed})["b"] == {RESPONSES: "a", SCORES: "a"}


def test_principles_that_a_model_writes_are_each_experiments_own(project):
    written = {"constitutions": {"writer": "smollm2", "principles": "everyday-behaviours"}}
    assert not {"a", "b"} & shared(project, {"a": written, "b": written}).keys()


def test_copy_holds_the_record_of_the_original(tmp_path):
    original, copy = tmp_path / "original.jsonl", tmp_path / "copy.jsonl"
    original.write_text('{"x": "ü"}\n')
    assert share_results.main(argparse.Namespace(original=original, output=copy)) == {}
    assert copy.read_bytes() == original.read_bytes()
    (tmp_path / "original.jsonl.provenance.json").write_text(json.dumps({"stage": "sample_responses"}))
    found = share_results.main(argparse.Namespace(original=original, output=copy))
    assert found == {"original": {"stage": "sample_responses"}}


def test_editing_one_experiment_touches_nothing_that_is_shared(tmp_path):
    """On the DAG: every output is there; then training, sampling and engine of experiments change."""
    second = {"iterations": 1, "training": {"objective": "supervised"}}
    project = Project(tmp_path / "project", unread_model(tmp_path))
    settings = yaml.safe_load((project.folder / "tiny.yaml").read_text())
    targets = [f"results/{name}/iteration-{t}/eval/scores.jsonl" for name in "ab" for t in (0, 1)]

    def configure(**experiments):
        project.write("tiny.yaml", settings | {"run": [*experiments], "experiments": experiments})

    configure(a={"iterations": 1}, b=second)
    rules = project.dry_run(*targets)
    assert {("share_results", f"b/{path}") for path in (RESPONSES, SCORES)} <= rules
    assert {("sample_evaluation", f"a/{RESPONSES}"), ("score_responses", f"a/{SCORES}")} <= rules
    assert not {("sample_evaluation", f"b/{RESPONSES}"), ("score_responses", f"b/{SCORES}")} & rules
    project.finish(rules, *targets)
    edit = {"training": {"epochs": 2}, "sampling": {"max_new_tokens": 11}, "engine": {"tokens_per_pass": 99}}
    configure(a=edit, b=second | {"iterations": 2} | edit)
    rules = project.dry_run(*targets)
    assert {("train", f"{name}/iteration-1/model") for name in "ab"} <= rules
    assert not any("iteration-0/" in path for _, path in rules)
