"""Experiments at the papers' scale: each can be planned from a fresh clone; SAMI's run whole on tiny random models.

Those of other methods run whole in `test_methods`.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import warm
import yaml
from conftest import ROOT
from paper_runs import CI, check_whole, rows

from sami.records import BASE
from sami.workflow.configuration import load
from sami.workflow.policies import policies

ALL = "config/paper/all.yaml"  # SAMI's
SAMI = [ALL, *yaml.safe_load((ROOT / ALL).read_text())["extends"]]
OTHERS = "config/paper/methods.yaml"
KEYS = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """What a clone of the repository has, as far as the workflow reads it."""
    folder = tmp_path_factory.mktemp("clone")
    for part in ("workflow", "config", "profiles", "envs", "src"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for file in ("Snakefile", "figures"):
        shutil.copy(ROOT / file, folder)
    return folder


def snakemake(clone: Path, *arguments: str) -> str:
    """Runs snakemake in the clone, without keys and without a way to the hub; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name not in KEYS}
    environment |= {"PYTHONPATH": str(clone / "src"), "HF_HUB_OFFLINE": "1", "HF_HOME": str(clone / "no-cache")}
    command = [warm.interpreter(), "-m", "snakemake", "--cores", "2", *arguments]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-6000:]
    return printed


@pytest.mark.parametrize("file", [*SAMI, OTHERS], ids=lambda file: Path(file).stem)
def test_dry_run_from_a_fresh_clone(clone, file, monkeypatch):
    monkeypatch.chdir(ROOT)
    started = time.time()
    printed = snakemake(clone, "--dry-run", "--configfile", file, "figures")
    print(f"{file}: dry run in {time.time() - started:.1f} s")
    configuration = load(["config/config.yaml", file])
    for name in configuration.root.run:
        experiment = configuration.experiments[name]
        assert f"results/{name}/tables/summary.csv" in printed
        assert f"results/{name}/figures/win_rate.pdf" in printed
        for policy in policies(experiment):
            assert f"results/{name}/{policy}/eval/responses.jsonl" in printed
        if not experiment.external:
            model = configuration.models[experiment.model]
            assert (model.source, model.dtype, len(model.revision)) == ("hub", "bfloat16", 40)
            assert experiment.sampling.sampler == experiment.evaluation.sampling.sampler == "vllm"
            if file in SAMI:
                assert experiment.sampling.temperature == 0
                assert experiment.train_counts() == [256, 512, 768]


def test_files_of_other_methods_are_those_of_their_whole(monkeypatch):
    monkeypatch.chdir(ROOT)
    whole = load(["config/config.yaml", OTHERS])
    files = yaml.safe_load(Path(OTHERS).read_text())["extends"]
    assert sorted([*SAMI, OTHERS, *files]) == sorted(map(str, Path("config/paper").glob("*.yaml")))
    alone = [load(["config/config.yaml", file]) for file in files]
    assert [name for one in alone for name in one.root.run] == whole.root.run
    for one in alone:
        for name in one.root.run:
            assert one.experiments[name] == whole.experiments[name]


@pytest.fixture(scope="module")
def finished(clone) -> Path:
    """The clone after all experiments have run in their small variants, which share models and cores that way."""
    snakemake(clone, "--configfile", ALL, CI)
    return clone


@pytest.mark.parametrize("file", SAMI, ids=lambda file: Path(file).stem)
def test_small_variant_runs_whole(finished, file, monkeypatch):
    assert "Nothing to be done" in snakemake(finished, "--dry-run", "--configfile", file, CI)
    monkeypatch.chdir(ROOT)
    configuration = load(["config/config.yaml", file, CI])
    for name in configuration.root.run:
        experiment, folder = configuration.experiments[name], finished / "results/ci" / name
        check_whole(folder, experiment, finished / "resources/ci/models" / experiment.model)
        if experiment.external:
            continue
        information = [row for row in rows(folder / "tables/information.csv") if row["policy"] != BASE]
        kinds = {row["principles"] for row in information}
        assert kinds == ({"training", "held-out"} if experiment.constitutions.held_out else {"training"})
        compared = {row["principles"] for row in rows(folder / "tables/generalisation.csv")}
        assert compared == ({"training", "held-out"} if experiment.constitutions.held_out else set())


def test_principles_are_written_again_when_a_file_they_extend_changes(finished):
    with (finished / "config/constitutions/tldr-diverse.yaml").open("a") as file:
        file.write("# changed\n")
    printed = snakemake(finished, "--dry-run", "--configfile", "config/paper/tldr-llama3-70b-diverse.yaml", CI)
    assert "tldr-diverse.yaml" in printed
    assert "rule write_principles" in printed
