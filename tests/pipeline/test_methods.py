"""All methods beside SAMI in one project: a whole run, and what kills, a forced iteration and other settings do to it.

The experiments are those at the papers' scale (config/paper/methods.yaml), in their small variant.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT
from paper_runs import CI, check_whole
from workflow_project import Project

from sami.lineage import provenance_record
from sami.settings.methods import METHODS
from sami.settings.yaml_files import merge
from sami.workflow.configuration import Configuration, load

FILE = "config/paper/methods.yaml"
SMALL = {"extends": [FILE, CI]}
RESULTS = Path("results/ci")
EXPERIMENTS = ["sft", "rlcd", "ditto", "rest", "rest-em", "steerlm", "salmon"]
EACH = pytest.mark.parametrize("name", EXPERIMENTS)
AFTER_POLICY = ("sample_evaluation", "score_relevance", "judge_responses")
AT_THE_END = {(rule, "") for rule in ("tabulate", "plot_figures", "build_report")}


def jobs(*rules: str, of: str) -> set[tuple[str, str]]:
    """(rule, iteration) of each rule for each of the iterations."""
    return {(rule, t) for rule in rules for t in of}


def evaluated(*iterations: str) -> set[tuple[str, str]]:
    """Jobs that follow from policies of which any is another."""
    return jobs(*AFTER_POLICY, of="".join(iterations)) | AT_THE_END


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Project:
    """A project in which the experiments of all methods have run to their ends."""
    project = Project(tmp_path_factory.mktemp("methods") / "project", Path("none"), SMALL)
    project.run()
    return project


@pytest.fixture(scope="module")
def configuration(finished) -> Configuration:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return load(["config/config.yaml", FILE, CI])


def folder_of(project: Project, name: str) -> Path:
    return project.folder / RESULTS / f"{name}-mistral-7b"


def planned(project: Project, *arguments: str) -> dict[str, set[tuple[str, str]]]:
    """Experiment -> (rule, iteration) of the jobs that a dry run has for it; comparisons and the target left out."""
    found: dict[str, set[tuple[str, str]]] = {name: set() for name in EXPERIMENTS}
    for rule, output in project.dry_run(*arguments):
        place = re.match(r"ci/(.+)-mistral-7b/(?:iteration-(\d+))?", output)
        if place:
            found[place[1]].add((rule.removesuffix("_without_scores"), place[2] or ""))
    return found


# --- a whole run ------------------------------------------------------------------------------------------------------


def test_every_method_is_here(configuration):
    found = {experiment.method.name for experiment in configuration.experiments.values()}
    assert found | {"sami"} == set(METHODS)
    assert configuration.root.run == [f"{name}-mistral-7b" for name in EXPERIMENTS]


@EACH
def test_it_runs_whole(finished, configuration, name):
    experiment = configuration.experiments[f"{name}-mistral-7b"]
    check_whole(folder_of(finished, name), experiment, finished.folder / "resources/ci/models" / experiment.model)


@EACH
def test_every_result_has_a_record_with_what_it_was_made_of(finished, configuration, name):
    folder, experiment = folder_of(finished, name), configuration.experiments[f"{name}-mistral-7b"]
    made = {path for path in folder.rglob("*") if path.is_file()}
    made -= {path for part in ("logs", "benchmarks") for path in (folder / part).rglob("*")}
    made = {path for path in made if not path.name.endswith("provenance.json")}
    assert len(made) > 50
    for path in made:
        records = provenance_record(path), path.parent / "provenance.json"
        assert any(record.is_file() for record in records), path
    iterations = {0: f"resources/ci/models/{experiment.model}"}
    iterations |= {t: f"{RESULTS}/{name}-mistral-7b/iteration-{t}/model" for t in range(1, experiment.iterations + 1)}
    for t in range(1, experiment.iterations + 1):
        inputs = json.loads((folder / f"iteration-{t}/model/provenance.json").read_text())["inputs"]
        start, reference = (
            iterations[ask(t, experiment.training)] for ask in (experiment.method.start, experiment.method.reference)
        )
        assert list(inputs["start"]) == [start]
        assert list(inputs["reference"]) == [reference]
        assert list(inputs["examples"]) == [f"{RESULTS}/{name}-mistral-7b/iteration-{t}/examples.jsonl"]


def test_the_plan_has_a_row_for_all_that_ran(finished):
    finished.run("plan")
    with (finished.folder / RESULTS / "plan.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["real_jobs"] == row["jobs"], row
    for name in EXPERIMENTS:
        ran = {path.stem.split("-")[0] for path in (folder_of(finished, name) / "benchmarks").glob("*.tsv")}
        stages = {row["stage"]: row for row in rows if row["experiment"] == f"{name}-mistral-7b"}
        assert {stage for stage in ran if re.match("sample_|score_(?!rewards)|train|judge_", stage)} == {*stages} - {
            "light",
            "score_rewards",  # a row where a model tells them, else among the light ones
        }
    steered = [row for row in rows if row["stage"] == "sample_steering"]
    assert [row["of"] for row in steered] == ["iteration-0", "iteration-1", "instruct"]
    for row in steered:
        answers = (folder_of(finished, "steerlm") / row["of"] / "eval/steering.jsonl").open()
        assert float(row["real_new_tokens"]) == sum(json.loads(line)["tokens"] for line in answers)


# --- one iteration again ----------------------------------------------------------------------------------------------

AGAIN = {  # the policy that is trained again, and all that depends on it
    "sft": (1, jobs("train", of="1") | evaluated("1")),
    "rlcd": (1, jobs("train", of="1") | evaluated("1")),
    # Iteration 2 is no reference and its queries stay; those of iteration 3 are asked of its policy.
    "ditto": (
        2,
        jobs("train", of="23")
        | jobs("sample_responses", "build_ditto_examples", "score_reference", of="3")
        | evaluated("2", "3"),
    ),
    # The second Improve step starts from the policy of the first, on what is there.
    "rest": (1, jobs("train", of="12") | evaluated("1", "2")),
    "rest-em": (
        1,
        jobs("train", of="12")
        | jobs("sample_responses", "score_training_relevance", "score_rewards", "build_rest_examples", of="2")
        | evaluated("1", "2"),
    ),
    "steerlm": (
        1,
        jobs("train", "sample_steering", "score_responses", of="1")
        | jobs("tabulate_steering", "plot_steering", of=("",))
        | evaluated("1"),
    ),
    "salmon": (1, jobs("train", of="1") | evaluated("1")),
}


@pytest.fixture(scope="module")
def again(finished):
    policies = [f"{RESULTS}/{name}-mistral-7b/iteration-{t}/model" for name, (t, _) in AGAIN.items()]
    return planned(finished, "--forcerun", *policies)


@EACH
def test_one_policy_again_makes_what_depends_on_it_and_nothing_else(again, name):
    assert again[name] == AGAIN[name][1]


# --- other settings ---------------------------------------------------------------------------------------------------

OTHER_EXAMPLES = {  # what is learned of the same responses
    "sft": ({"method": {"constitution": "in-prompt"}}, jobs("build_sft_examples", "train", of="1") | evaluated("1")),
    "rlcd": (
        {"method": {"labels": "reversed"}},
        jobs("build_rlcd_examples", "score_reference", "train", of="1") | evaluated("1"),
    ),
    "ditto": (
        {"method": {"shares": {"online": 0.875, "replay": 0, "inter_model": 0.125}}},
        jobs("build_ditto_examples", "score_reference", "train", of="23")
        | jobs("sample_responses", of="3")
        | evaluated("2", "3"),
    ),
    "rest": (
        {"method": {"thresholds": [0.5, 0.8]}},
        jobs("build_rest_examples", "train", of="2") | evaluated("2"),
    ),
    "rest-em": (
        {"method": {"cap": 1}},
        jobs("build_rest_examples", "train", of="12")
        | jobs("sample_responses", "score_training_relevance", "score_rewards", of="2")
        | evaluated("1", "2"),
    ),
    "steerlm": (
        {"method": {"labels": "shuffled"}},
        jobs("build_steerlm_examples", "train", "sample_steering", "score_responses", of="1")
        | jobs("tabulate_steering", "plot_steering", of=("",))
        | evaluated("1"),
    ),
    "salmon": (  # the reward model is that of the same principles and responses
        {"method": {"constitution": "in-prompt"}},
        jobs("build_salmon_examples", "score_reference", "train", of="1") | evaluated("1"),
    ),
}
OTHER_TRAINING = {  # how the same examples are learned, or what is asked of the same policies
    "sft": ({"training": {"epochs": 2}}, jobs("train", of="1") | evaluated("1")),
    "rlcd": ({"training": {"objective": {"beta": 0.2}}}, jobs("train", of="1") | evaluated("1")),
    # The reference of all, and the first policy that is sampled.
    "ditto": (
        {"method": {"fine_tuning": {"learning_rate": 0.02}}},
        jobs("train", of="123")
        | jobs("sample_responses", "build_ditto_examples", "score_reference", of="23")
        | evaluated("1", "2", "3"),
    ),
    "rest": ({"method": {"rate_decay": 0.25}}, jobs("train", of="2") | evaluated("2")),
    "rest-em": ({"engine": {"tokens_per_pass": 100, "processes": 2}}, set()),
    "steerlm": (
        {"method": {"steering": {"queries": 1}}},
        jobs("sample_steering", of=("0", "1", ""))
        | jobs("tabulate_steering", "plot_steering", "build_report", of=("",)),
    ),
    "salmon": ({"training": {"objective": {"beta": 0.2}}}, jobs("train", of="1") | evaluated("1")),
}


@pytest.fixture(scope="module")
def changed(finished):
    """Plans the finished project with other settings; a change an experiment."""

    def plan(changes: dict[str, tuple[dict, set]]) -> dict[str, set[tuple[str, str]]]:
        other = Project.__new__(Project)
        experiments = {f"{name}-mistral-7b": change for name, (change, _) in changes.items()}
        other.folder = finished.folder
        other.overrides = finished.write("changed.yaml", merge(SMALL, {"experiments": experiments}))
        return planned(other)

    return {"examples": plan(OTHER_EXAMPLES), "training": plan(OTHER_TRAINING)}


@EACH
@pytest.mark.parametrize(("what", "changes"), [("examples", OTHER_EXAMPLES), ("training", OTHER_TRAINING)])
def test_another_setting_makes_what_depends_on_it_and_nothing_else(changed, what, changes, name):
    assert changed[what][name] == changes[name][1]


# --- on a cluster -----------------------------------------------------------------------------------------------------


def test_jobs_ask_slurm_for_their_gpus(finished, tmp_path, monkeypatch):
    """At the papers' scale, which the cluster that may run on this machine has no nodes for."""
    (tmp_path / "slurm.conf").touch()
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))  # no cluster answers
    project = Project.__new__(Project)
    project.folder, project.overrides = finished.folder, FILE
    printed = project.run("--dry-run", "--profile", "slurm")
    blocks = re.findall(r"^(?:local)?rule (\S+):\n((?:    .*\n)*)", printed, re.MULTILINE)
    assert {rule for rule, _ in blocks} > {"score_reference", "sample_steering", "score_rewards", "label_responses"}
    for rule, block in blocks:
        found = re.search(r"\bgres=gpu:(\d+)", block)
        if rule in ("train", "train_reward_model"):
            expected = 1 if "ditto-mistral-7b" in block else 8
        else:
            expected = 1 if re.match(r"sample_|score_(?!rewards$)", rule) else 0
        assert int(found[1] if found else 0) == expected, (rule, block)


# --- kills ------------------------------------------------------------------------------------------------------------

KILLED = [  # experiment, stage that is running, iteration
    ("sft", "build_sft_examples", 1),
    ("rlcd", "score_reference", 1),
    ("ditto", "train", 2),
    ("rest", "build_rest_examples", 2),
    ("steerlm", "label_responses", 1),
    ("salmon", "train_reward_model", 1),
]


def test_killed_in_a_stage_of_every_method_it_ends_with_the_same_results(finished, configuration, tmp_path):
    """SIGKILL of the workflow with all its processes, again and again, each time in another method's own stage."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    project = Project.__new__(Project)
    project.folder, project.overrides = tmp_path / "copy", finished.overrides
    methods = {configuration.experiments[f"{name}-mistral-7b"].method.name for name, _, _ in KILLED}
    assert methods | {"sami"} == set(METHODS)
    targets = []
    for name, _, _ in KILLED:
        for iteration in folder_of(project, name).glob("iteration-[1-9]*"):
            targets.append(str((iteration / "model").relative_to(project.folder)))
            for path in iteration.iterdir():
                kept = ("responses.jsonl", "reward-model.json")
                if path.name not in ("eval", *kept, *(f"{name}.provenance.json" for name in kept)):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    waiting = {place: f"sami.stages.{place[1]} .*/{place[0]}-mistral-7b/.*iteration-{place[2]}/" for place in KILLED}
    while waiting:
        running = subprocess.Popen(
            project.command("--rerun-incomplete", *targets), cwd=project.folder, env=project.environment,
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        place = met(waiting, running, project)
        os.killpg(running.pid, signal.SIGKILL)
        assert running.wait() != 0
        name, stage, t = place
        output = {"train": "model", "label_responses": "labels.jsonl", "train_reward_model": "reward-model"}
        assert not (folder_of(project, name) / f"iteration-{t}" / output.get(stage, "examples.jsonl")).exists()
        del waiting[place]
    project.run("--rerun-incomplete", *targets)
    expected = finished.results()
    assert project.results().keys() == expected.keys()
    for name, content in project.results().items():
        assert content == expected[name], name
    assert not list((project.folder / "results").rglob("*.partial"))
    assert "resuming after step" in (folder_of(project, "ditto") / "logs/train-2.log").read_text()


def met(waiting: dict[tuple, str], running: subprocess.Popen, project: Project) -> tuple:
    """The first of the places of which a stage is seen at work in the project's folder: training after a step."""
    while running.poll() is None:
        for command in commands(project.folder):
            for (name, stage, t), pattern in waiting.items():
                saved = (folder_of(project, name) / f"iteration-{t}/checkpoints").glob("step-*")
                at_work = re.search(pattern, command, re.DOTALL)  # some prompts have several lines
                if at_work and (stage != "train" or any(saved)):
                    return name, stage, t
        time.sleep(0.005)
    raise AssertionError(f"the run ended before these stages were seen: {[*waiting]}")


def commands(folder: Path) -> list[str]:
    """Commands of the processes that run in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder):
                found.append((process / "cmdline").read_text(errors="replace").replace("\0", " "))
        except OSError:  # it has ended
            continue
    return found
