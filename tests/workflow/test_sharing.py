"""Sharing of what experiments would make alike: who makes it, who copies it, and what makes it out of date."""

import argparse
import csv
import json
import re
from collections import Counter

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
DRAWN = {"iteration-1/responses.jsonl": "a", "iteration-1/sampling.json": "a"}  # by the base model, for training
MADE = ["responses.jsonl", "sampling.json", "examples.jsonl", "examples.json", "model", "training.jsonl"]
LEFT_OUT = {"evaluation": {"constitution": "left-out"}}


def trained(iterations: int) -> set[str]:
    """What the first iterations leave for the next, and for the evaluation."""
    return {f"iteration-{t}/{name}" for t in range(1, iterations + 1) for name in MADE}


def of_untrained(paths: dict[str, str]) -> dict[str, str]:
    """Those of the evaluation of what nobody trains."""
    return {path: maker for path, maker in paths.items() if path.startswith(("iteration-0/", "instruct/"))}


def of_training(paths: dict[str, str]) -> set[str]:
    return {path for path in paths if "/eval/" not in path}


def shared(project, experiments: dict, run=("a", "b"), defaults=None) -> dict[str, dict[str, str]]:
    return owners(project.load(yaml.safe_dump({"run": [*run], "defaults": defaults or {}, "experiments": experiments})))


def test_first_experiment_of_the_configuration_makes_what_all_need(project):
    experiments = {"a": {}, "b": {"training": {"objective": "supervised"}}, "c": {"iterations": 1}}
    found = shared(project, experiments, run=["c", "b", "a"])
    # The quickstart is outside `run`: it copies, but nobody copies from it.
    assert {name: of_untrained(of) for name, of in found.items()} == {name: BASE for name in ("b", "c", "quickstart")}
    assert found["b"] == BASE | DRAWN
    assert of_training(found["c"]) == trained(1)
    assert {maker for of in found.values() for maker in of.values()} == {"a"}


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
    assert of_untrained(shared(project, {"a": {}, "b": change})["b"]) == BASE
    assert of_untrained(shared(project, {"a": change, "b": {}})["b"]) == BASE


@pytest.mark.parametrize(
    ("change", "evaluated"),
    [
        ({"iterations": 4, "queries": {"train": [64, 64, 64, 9]}}, True),
        ({"iterations": 3, "queries": {"train": [64, 64, 64, 9]}}, True),
        ({"engine": {"tokens_per_pass": 5, "tokens_per_job": 2000, "processes": 2, "trackers": []}}, True),
        ({"resources": {"all": {"mem_mb": 1}}}, True),
        ({"evaluation": {"judges": ["gpt-4o"], "comparators": ["iteration-1"], "confidence": 0.5}}, True),
        (LEFT_OUT, False),
        ({"evaluation": {"sampling": {"max_new_tokens": 7}}}, False),
        ({"queries": {"test": 48}}, False),
        ({"constitutions": {"held_out": "tldr-diverse-held-out"}}, False),
    ],
)
def test_settings_of_which_training_does_not_depend(project, change, evaluated):
    """So another question to the same policies, and a test behind the development, train nothing again."""
    for experiments in ({"a": {}, "b": change}, {"a": change, "b": {}}):
        found = shared(project, experiments)["b"]
        assert of_training(found) == trained(3)
        assert (f"iteration-3/{RESPONSES.removeprefix('iteration-0/')}" in found) == evaluated
        assert set(found.values()) == {"a"}


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"training": {"learning_rate": 1e-3}}, DRAWN),
        ({"training": {"start_from": "previous"}}, DRAWN),
        ({"training": {"objective": "supervised"}}, DRAWN),
        ({"method": {"name": "sami", "relevance": {"others": 1, "drop": 0.5}}}, DRAWN),
        ({"method": "sft", "training": {"objective": "supervised"}}, {}),  # draws under one constitution
        ({"sampling": {"temperature": 0.6}}, {}),
        ({"sampling": {"responses": 4}}, {}),
        ({"queries": {"train": [63, 64, 64]}}, {}),
        ({"queries": {"eval": 47}}, {}),
        ({"constitutions": {"max_sets": 3}}, {}),
        ({"constitutions": {"shuffle": False}}, {}),
        ({"seed": 4}, {}),
        ({"model": "mistral-7b"}, {}),
        ({"task": "tldr"}, {}),
    ],
)
def test_settings_on_which_training_depends(project, change, left):
    for experiments in ({"a": {}, "b": change}, {"a": change, "b": {}}):
        found = shared(project, experiments).get("b", {})
        assert {path: maker for path, maker in found.items() if "/eval/" not in path} == left


def test_iterations_are_shared_up_to_the_first_that_differs(project):
    fewer = {"queries": {"train": [64, 64, 9]}}
    found = shared(project, {"a": {"iterations": 1}, "b": {}, "c": fewer}, run=("a", "b", "c"))
    assert {path: found["b"].get(path) for path in trained(3)} == {
        path: "a" if path in trained(1) else None for path in trained(3)
    }
    drawn = ["iteration-3/responses.jsonl", "iteration-3/sampling.json"]  # to other queries
    assert {path: found["c"].get(path) for path in trained(3)} == {
        path: "a" if path in trained(1) else "b" if path in trained(2) else None for path in trained(3)
    }
    assert not set(drawn) & found["c"].keys()


def test_responses_that_no_policy_draws_for_training_are_not_shared(project):
    shown = {"method": {"name": "sft", "responses": "demonstrations"}, "training": {"objective": "supervised"}}
    found = shared(project, {"a": shown, "b": shown | {"sampling": {"temperature": 0.1}}})["b"]
    assert of_training(found) == {
        path for path in trained(3) if not path.endswith(("responses.jsonl", "sampling.json"))
    }


def test_policies_that_are_asked_in_another_way_are_others(project):
    """The base model is asked without the constitution by both, and with it by one."""
    prompted = {"instruct": {"model": MODEL, "constitution": "in-prompt"}}
    both = {"a": LEFT_OUT, "b": {"evaluation": LEFT_OUT["evaluation"] | {"policies": prompted}}}
    left = {RESPONSES: "a", RELEVANCE: "a"}  # and no scores
    assert of_untrained(shared(project, both)["b"]) == left
    both["a"] = {"evaluation": LEFT_OUT["evaluation"] | {"policies": {"instruct": MODEL}}}
    assert of_untrained(shared(project, both)["b"]) == left
    both["a"] = both["b"]
    every = {path: "a" for path in (*left, INSTRUCT, INSTRUCT_RELEVANCE, VERDICTS)}
    assert of_untrained(shared(project, both)["b"]) == every


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
    assert not of_untrained(shared(project, {"a": {}, "b": change}).get("b", {}))


def test_held_out_responses_to_the_same_test_are_shared(project):
    found = shared(project, {"a": {"queries": {"test": 9}}, "b": {"queries": {"test": 9, "train": 8}}})["b"]
    assert found.keys() >= {RESPONSES, SCORES}
    assert set(found.values()) == {"a"}


def test_other_models_and_verdicts_between_what_nobody_trains(project):
    def with_policies(**more):
        return {"evaluation": {"policies": {"instruct": MODEL}, **more}}

    every = {path: "a" for path in (*BASE, INSTRUCT, INSTRUCT_RELEVANCE, VERDICTS)}
    assert of_untrained(shared(project, {"a": with_policies(), "b": with_policies()})["b"]) == every
    found = of_untrained(shared(project, {"a": with_policies(), "b": with_policies(judged="positive")})["b"])
    assert found == {path: "a" for path in (*BASE, INSTRUCT, INSTRUCT_RELEVANCE)}
    # The same name for other models, and another judge, which only the second has.
    other = {"evaluation": {"policies": {"instruct": "mistral-7b"}}}
    assert of_untrained(shared(project, {"a": with_policies(), "b": other})["b"]) == BASE
    found = of_untrained(shared(project, {"a": with_policies(), "b": with_policies(judges=["gpt-4o"])})["b"])
    assert found == {path: "a" for path in (*BASE, INSTRUCT, INSTRUCT_RELEVANCE)}


def test_the_best_of_several_is_drawn_and_kept_once(project):
    def best(policy="base", count=8, reward="checks", **more):
        kept = {"best": {"policy": policy, "best_of": {"responses": count, "reward": reward}}}
        return {"evaluation": {"policies": kept}, **more}

    def of_best(first, second):
        found = shared(project, {"a": first, "b": second}).get("b", {})
        return {path.removeprefix("best/eval/") for path in found if path.startswith("best/")}

    every = {"candidates.jsonl", "responses.jsonl", "relevance.jsonl", "verdicts-checks-vs-base.jsonl"}
    trained_otherwise = {"training": {"learning_rate": 1e-3}}
    assert of_best(best(), best()) == of_best(best(), best(**trained_otherwise)) == every
    assert of_best(best(), best(reward="relevance")) == {"candidates.jsonl"}
    assert of_best(best(), best(count=4)) == set()
    assert of_best(best("iteration-1"), best("iteration-1")) == every
    assert of_best(best("iteration-1"), best("iteration-1", **trained_otherwise)) == set()


def test_the_best_by_a_reward_model_depends_on_it(project):
    def best(training=None, **method):
        kept = {"best": {"policy": "base", "best_of": {"responses": 8, "reward": "salmon-checks"}}}
        salmon = {"name": "salmon", "reward": "salmon-checks", **method}
        more = {"training": {"objective": "preference", **(training or {})}, "sampling": {"responses": 4}}
        return {"evaluation": {"policies": kept}, "method": salmon, **more}

    def of_best(second):
        found = shared(project, {"a": best(), "b": second})["b"]
        return {path.removeprefix("best/eval/") for path in found if path.startswith("best/")}

    every = {"candidates.jsonl", "responses.jsonl", "relevance.jsonl", "verdicts-checks-vs-base.jsonl"}
    assert of_best(best()) == of_best(best({"learning_rate": 1e-3})) == every
    # Which responses it is trained on, and in which numbers.
    assert of_best(best(responses="contrasted")) == of_best(best({"precision": "mixed"})) == {"candidates.jsonl"}


def test_verdicts_by_a_reward_model_depend_on_it(project):
    project.write("config/judges/both.yaml", "{kind: panel, members: [checks, reward-model]}")

    def judged(**training):
        more = {"training": {"objective": "preference", **training}, "sampling": {"responses": 4}}
        policies = {"policies": {"instruct": "mistral-7b-instruct"}, "judges": ["both"]}
        return {"evaluation": policies, "method": {"name": "salmon", "reward": "salmon-checks"}, **more}

    def verdicts(second):
        found = shared(project, {"a": judged(), "b": second})["b"]
        names = (re.fullmatch("instruct/eval/verdicts-(.*)-vs-base.jsonl", path) for path in found)
        return {name[1] for name in names if name}

    assert verdicts(judged(learning_rate=1e-3)) == {"checks", "reward-model", "both"}
    assert verdicts(judged(precision="mixed")) == {"checks"}


def test_relevance_depends_on_how_it_is_told(project):
    for relevance in ({"others": 5}, {"model": "mistral-7b"}, None):
        changed = {"evaluation": {"relevance": relevance}}
        assert of_untrained(shared(project, {"a": {}, "b": changed})["b"]) == {RESPONSES: "a", SCORES: "a"}


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


def test_copy_of_a_model_shares_its_files_and_has_a_record_of_its_own(tmp_path, monkeypatch):
    original = tmp_path / "model"
    (original / "inner").mkdir(parents=True)
    names = ("config.json", "model.safetensors", "inner/merges.txt")
    for name in (*names, "provenance.json", ".snakemake_timestamp"):
        (original / name).write_text(json.dumps({"stage": "train", "file": name}))
    linked, copied = tmp_path / "linked", tmp_path / "copied"
    found = share_results.main(argparse.Namespace(original=original, output=linked))
    assert found == {"original": {"stage": "train", "file": "provenance.json"}}
    monkeypatch.setattr(share_results.os, "link", lambda *_: (_ for _ in ()).throw(OSError("another disk")))
    share_results.main(argparse.Namespace(original=original, output=copied))
    for copy in (linked, copied):
        assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == {*names}
        for name in names:
            assert (copy / name).read_bytes() == (original / name).read_bytes()
            assert (copy / name).samefile(original / name) == (copy is linked)


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
    configure(a=edit, b=edit | {"iterations": 2, "training": {"objective": "supervised", "epochs": 2}})
    rules = project.dry_run(*targets)
    assert {("train", f"{name}/iteration-1/model") for name in "ab"} <= rules
    assert not any("iteration-0/" in path for _, path in rules)


def counted(rules: set[tuple[str, str]], name: str) -> Counter[str]:
    """Rule -> outputs, of the jobs in the folder of an experiment."""
    return Counter(rule for rule, path in rules if path.startswith(f"{name}/"))


def test_nothing_is_trained_twice_for_another_question_or_other_held_out_queries(tmp_path):
    """On the DAG: two experiments ask other things of the policies of the first; then one trains otherwise."""
    project = Project(tmp_path / "project", unread_model(tmp_path))
    settings = yaml.safe_load((project.folder / "tiny.yaml").read_text())
    first, test = {"iterations": 2}, {"iterations": 2, "queries": {"test": 4}}
    names = ("first", "unasked", "test")

    def configure(**changes):
        experiments = {"first": first, "unasked": first | LEFT_OUT, "test": test}
        experiments = {name: of | changes.get(name, {}) for name, of in experiments.items()}
        project.write("tiny.yaml", settings | {"run": [*experiments], "experiments": experiments})

    configure()
    printed = project.run("--dry-run")
    outputs = project.outputs(printed)
    # A job of training has two outputs, of which others copy one as a folder and one as a file.
    assert [counted(outputs, name)["train"] for name in names] == [4, 0, 0]
    assert [counted(outputs, name)["share_model"] for name in names] == [0, 2, 2]
    for rule in ("sample_responses", "build_sami_examples"):
        assert [counted(outputs, name)[rule] for name in names] == [4, 0, 0]
    assert {path for rule, path in outputs if rule == "share_results"} == {
        f"{name}/iteration-{t}/training.jsonl" for name in names[1:] for t in (1, 2)
    }
    assert [counted(outputs, name)["score_responses"] for name in names] == [3, 0, 3]
    assert [counted(outputs, name)["sample_evaluation"] for name in names] == [6, 6, 6]
    planned = project.run("plan")
    with (project.folder / "results/plan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    jobs = int(re.search(r"^total +(\d+)$", printed, re.MULTILINE)[1]) - 1  # without the target `all`
    assert sum(int(row["jobs"]) for row in rows) == jobs
    assert [row["experiment"] for row in rows if row["stage"] == "train"] == ["first", "first"]
    assert "## unasked" in planned
    project.finish(outputs)
    configure(test={"queries": {"test": 3}}, unasked={"evaluation": LEFT_OUT["evaluation"] | {"judges": ["checks"]}})
    assert not {"train", "share_model", "sample_responses"} & {rule for rule, _ in project.dry_run()}
    configure(unasked={"training": {"epochs": 2}})
    examples = "test/iteration-2/examples.jsonl"  # what a copied model was made of is there by name
    rules = project.dry_run("all", f"results/{examples}")
    assert ("share_results", examples) in rules
    assert {("train", f"unasked/iteration-{t}/model") for t in (1, 2)} <= rules
    assert {path.split("/")[0] for rule, path in rules if rule in ("train", "share_model")} == {"unasked"}
    assert ("sample_responses", "unasked/iteration-1/responses.jsonl") not in rules  # of the base model still
    assert ("share_results", "unasked/iteration-1/responses.jsonl") in rules
