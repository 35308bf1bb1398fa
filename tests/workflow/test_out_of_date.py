"""The real workflow over results that are there: what a change of code plans again. Nothing runs in these tests."""

import re
import shutil

import pytest
from workflow_project import Project

OVERRIDES = {"experiments": {"quickstart": {"iterations": 2}}}
ITERATION = ("sample_responses", "build_sami_examples", "train")
AFTER_POLICY = {"sample_evaluation", "score_responses", "score_relevance", "judge_responses"}
AT_THE_END = {("tabulate", ""), ("plot_figures", ""), ("build_report", ""), ("all", "")}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose outputs are empty files that Snakemake takes for results."""
    folder = tmp_path_factory.mktemp("workflow")
    made = Project(folder, folder, OVERRIDES)
    planned = made.run("--dry-run")
    for path in [
        folder / name for names in re.findall(r"^ +output: (.*)$", planned, re.M) for name in names.split(", ")
    ]:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name == "model" or path.parent.name == "models":
            path.mkdir(exist_ok=True)
        else:
            path.touch()
    made.run("--touch", "--forceall")
    return made


@pytest.fixture
def edit(project):
    """Replaces text in modules of the project, until the test ends."""
    before = {}

    def edit(module, old, new):
        path = project.folder / "src/sami" / module
        text = path.read_text() if path.exists() else ""
        before.setdefault(path, text)
        assert old in text, f"{module} has changed: {old}"
        path.write_text(text.replace(old, new, 1))

    yield edit
    for path, text in before.items():
        path.write_text(text)


def test_words_keys_for_others_and_the_harness_plan_nothing_and_figures_train_nothing(project, edit):
    for path in (project.folder / "src/sami").rglob("*.py"):
        module = str(path.relative_to(project.folder / "src/sami"))
        edit(module, "", "# A comment.\n")
        edit(module, path.read_text(), f'{path.read_text()}\n"""A text."""\n')
    edit("training/loop.py", "training stopped at step", "no more training after step")
    edit("settings/judges.py", "    tries: Count = 3\n", "    tries: Count = 3\n    politeness: Count = 1\n")
    edit("settings/models.py", "    gated: bool", "    only_for_the_plan: Count | None = None\n    gated: bool")
    edit("settings/training.py", "    objective:", "    only_for_rules: bool = False\n    objective:")
    edit("stage.py", "RESUMABLE = 75", "RESUMABLE = 74")
    edit("workflow/slurm.py", "def parse_end(", "def unused():\n    return 1\n\n\ndef parse_end(")
    edit("workflow/plan/rows.py", "def plan(", "def unused():\n    return 1\n\n\ndef plan(")
    edit("analysis/figures/win_rates.py", "def win_rate(", "def win_rate(new=1, *")
    assert project.planned() == {("plot_figures", ""), ("build_report", ""), ("all", "")}


def test_sampling_plans_all_that_follows_it(project, edit):
    edit("sampling/draws.py", "def uniforms(", "def uniforms(new=1, *")
    everything = {(rule, t) for rule in (*AFTER_POLICY, *ITERATION) for t in "12"} | AT_THE_END
    of_base = {("sample_evaluation", "0"), ("score_responses", "0"), ("score_relevance", "0")}
    assert project.planned() == everything | of_base


# The last test, since the project then has results of edited code.
def test_the_scorer_plans_training_and_what_follows_and_results_can_be_accepted_as_they_are(project, edit):
    results = project.folder / "results/quickstart"
    for folder in ("iteration-2", "tables", "figures"):  # a run that is half done
        shutil.rmtree(results / folder)
    (results / "report.html").unlink()
    missing = {(rule, "2") for rule in (*AFTER_POLICY, *ITERATION)} | AT_THE_END
    edit("scoring/packing.py", "def pack(", "def pack(new=1, *")
    scored = {
        ("score_responses", "0"),
        ("score_relevance", "0"),
        ("train", "1"),
        *((rule, "1") for rule in AFTER_POLICY),
    }
    assert project.planned() == scored | missing
    assert project.planned("--rerun-triggers", "mtime") == missing
    project.run("--touch")
    assert project.planned() == missing
