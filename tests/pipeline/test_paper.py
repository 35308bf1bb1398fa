"""The paper's experiments: each can be planned from a fresh clone, and runs whole on tiny random models."""

import csv
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import warm
from conftest import ROOT

from sami.records import BASE, policy_name
from sami.workflow.configuration import load
from sami.workflow.policies import comparisons, policies

PAPER = sorted(path.relative_to(ROOT) for path in (ROOT / "config/paper").glob("*.yaml"))
EACH = pytest.mark.parametrize("file", PAPER, ids=lambda file: file.stem)
CI = "config/paper/common/ci.yaml"
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


@EACH
def test_dry_run_from_a_fresh_clone(clone, file, monkeypatch):
    monkeypatch.chdir(ROOT)
    started = time.time()
    printed = snakemake(clone, "--dry-run", "--configfile", str(file), "figures")
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
            assert (experiment.sampling.sampler, experiment.sampling.temperature) == ("vllm", 0)
            assert experiment.train_counts() == [256, 512, 768]


@pytest.fixture(scope="module")
def finished(clone) -> Path:
    """The clone after all experiments have run in their small variants, which share models and cores that way."""
    snakemake(clone, "--configfile", "config/paper/all.yaml", CI)
    return clone


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@EACH
def test_small_variant_runs_whole(finished, file, monkeypatch):
    assert "Nothing to be done" in snakemake(finished, "--dry-run", "--configfile", str(file), CI)
    monkeypatch.chdir(ROOT)
    configuration = load(["config/config.yaml", file, CI])
    for name in configuration.root.run:
        experiment, folder = configuration.experiments[name], finished / "results/ci" / name
        summary = {row["policy"]: row for row in rows(folder / "tables/summary.csv")}
        assert list(summary) == policies(experiment)
        assert all(float(row["response_tokens"] or 1) > 0 for row in summary.values())
        verdicts = rows(folder / "tables/win_rates.csv")
        compared = {(row["policy"], row["comparator"]) for row in verdicts}
        assert compared == {(policy, policy_name(comparator)) for policy, _, comparator in comparisons(experiment)}
        for row in verdicts:
            assert 0 <= float(row["win_low"]) <= float(row["win_rate"]) <= float(row["win_high"]) <= 1
            assert int(row["n_verdicts"]) > int(row["invalid"])
        if experiment.external:
            continue
        # The random policies have learned, and differ from the base model.
        information = [row for row in rows(folder / "tables/information.csv") if row["policy"] != BASE]
        assert {row["policy"] for row in information} == {f"iteration-{t}" for t in range(1, experiment.iterations + 1)}
        kinds = {row["principles"] for row in information}
        assert kinds == ({"training", "held-out"} if experiment.constitutions.held_out else {"training"})
        compared = {row["principles"] for row in rows(folder / "tables/generalisation.csv")}
        assert compared == ({"training", "held-out"} if experiment.constitutions.held_out else set())
        base = (finished / "resources/ci/models" / experiment.model / "model.safetensors").read_bytes()
        weights = [folder / f"iteration-{t}/model/model.safetensors" for t in range(1, experiment.iterations + 1)]
        assert len({base, *(policy.read_bytes() for policy in weights)}) == 1 + experiment.iterations


def test_principles_are_written_again_when_a_file_they_extend_changes(finished):
    with (finished / "config/constitutions/tldr-diverse.yaml").open("a") as file:
        file.write("# changed\n")
    printed = snakemake(finished, "--dry-run", "--configfile", "config/paper/tldr-llama3-70b-diverse.yaml", CI)
    assert "tldr-diverse.yaml" in printed
    assert "rule write_principles" in printed
