"""A copy of the project in a temporary folder, in which tests run the real workflow."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import warm
import yaml
from conftest import ROOT

TINY = {
    "defaults": {
        "model": "tiny",
        "queries": {"train": 4, "eval": 4},
        "sampling": {"max_new_tokens": 12, "batch_size": 8},
        "training": {"queries_per_step": 2, "learning_rate": 1e-3},
        "evaluation": {"sampling": {"max_new_tokens": 12, "batch_size": 8}, "bootstrap_samples": 200},
    },
    "experiments": {"quickstart": {"model": "tiny", "iterations": 3, "queries": {"train": 4}}},
}


def unread_model(folder: Path) -> Path:
    """A folder that stands for a model where nothing runs, so that nothing reads it."""
    model = folder / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_text("{}")
    return model


class Project:
    """The copy, with an override file that makes the quickstart tiny."""

    def __init__(self, folder: Path, model: Path, overrides: dict = TINY):
        self.folder = folder
        for part in ("workflow", "config", "profiles", "envs", "src"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copy(ROOT / "Snakefile", folder)
        shutil.copy(ROOT / "slurm", folder, follow_symlinks=False)
        with (folder / "config/models.yaml").open("a") as file:
            yaml.safe_dump({"tiny": {"source": "path", "path": str(model)}}, file)
        self.overrides = self.write("tiny.yaml", overrides)

    def write(self, name: str, content: dict) -> str:
        (self.folder / name).write_text(yaml.safe_dump(content))
        return name

    def command(self, *arguments: str) -> list[str]:
        models_run = ("sample_responses", "sample_evaluation", "train", "score_responses", "score_relevance")
        models_run += ("sample_responses_shard", "sample_evaluation_shard")
        models_run += ("score_training_relevance", "score_reference", "sample_steering")
        models_run += ("sample_candidates", "sample_candidates_shard", "score_candidate_relevance")
        models_run += ("score_rewards_by_model", "score_candidate_rewards_by_model")
        models_run += ("train_attribute_model", "predict_labels")
        models_run += ("train_reward_model", "judge_by_reward_model")
        models_run += ("sample_screening", "screen_principles", "score_identification")
        one_thread = [f"{rule}=1" for rule in models_run]
        options = ["--cores", "2", "--set-threads", *one_thread, "--configfile", self.overrides]
        return [
            warm.interpreter(),
            "-m",
            "snakemake",
            *arguments,
            *options,
        ]  # --configfile would take a target after it

    @property
    def environment(self) -> dict[str, str]:
        # The copy of the package comes before the installed one.
        return {**os.environ, "PYTHONPATH": str(self.folder / "src"), "OMP_WAIT_POLICY": "PASSIVE"}

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Runs snakemake; returns what it printed. Fails where the exit status is not the expected one."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        printed = done.stdout + done.stderr
        assert done.returncode == expect, printed[-6000:]
        return printed

    def planned(self, *arguments: str) -> set[tuple[str, str]]:
        """(rule, iteration) of the jobs in a dry run."""
        jobs, rule = set(), None
        for line in self.run("--dry-run", *arguments).splitlines():
            if line.startswith(("rule ", "localrule ")):
                rule, iteration = line.split()[1].rstrip(":"), ""
                jobs.add((rule, iteration))
            elif line.strip().startswith("wildcards:") and (found := re.search(r"iteration[=-](\d+)", line)):
                jobs.discard((rule, ""))
                jobs.add((rule, found[1]))
        return jobs

    def dry_run(self, *arguments: str) -> set[tuple[str, str]]:
        """(rule, output below the results) of the jobs in a dry run, one for each output."""
        return self.outputs(self.run("--dry-run", *arguments))

    @staticmethod
    def outputs(printed: str) -> set[tuple[str, str]]:
        """The same, of what a dry run has printed."""
        blocks = re.findall(r"^(?:local)?rule (\S+):\n(?:    .*\n)*?    output: (.*)$", printed, re.MULTILINE)
        return {(rule, path.removeprefix("results/")) for rule, paths in blocks for path in paths.split(", ")}

    def finish(self, outputs: set[tuple[str, str]], *targets: str) -> None:
        """Makes an empty file of every output of a dry run of targets, and lets Snakemake take them for results."""
        for rule, path in outputs:
            output = self.folder / (path if rule == "prepare_model" else f"results/{path}")
            output.parent.mkdir(parents=True, exist_ok=True)
            if rule == "prepare_model" or output.name == "model":
                output.mkdir(exist_ok=True)
                (output / "config.json").write_text("{}")
            else:
                output.touch()
        self.run(*targets, "--touch")

    def results(self) -> dict[str, bytes]:
        """Contents of everything that must be the same in two runs: records, tables, figures and weights."""
        wanted = {".jsonl", ".csv", ".safetensors", ".png", ".pdf"}
        files = sorted((self.folder / "results").rglob("*"))
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in files
            if path.suffix in wanted
            and path.name not in {"training.jsonl", "training.csv", "training.png", "training.pdf"}
        }
