"""How long Snakemake takes to plan many jobs: the dry run of E experiments x T iterations x S shards.

    python benchmarks/dag.py                    # 50 x 5 x 64, after smaller ones, to see how time and memory grow
    python benchmarks/dag.py --experiments 2 --iterations 2 --shards 3
    python benchmarks/dag.py --finished         # also when every output is there, which takes long to arrange

The configuration is the quickstart's with another number of experiments, iterations and jobs, and it is planned by the
real `snakemake --dry-run` in a copy of the checkout. Nothing is sampled or trained; with `--finished`, outputs are
empty files, which `snakemake --touch` takes for results.
"""

import argparse
import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
TOKENS = 48  # of a response


def write_project(folder: Path, experiments: int, iterations: int, shards: int) -> None:
    """A copy of the workflow with a configuration of so many experiments; a shard draws the responses to one query."""
    for part in ("workflow", "config", "profiles", "envs"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "Snakefile", folder)
    task = yaml.safe_load((folder / "config/tasks/everyday.yaml").read_text())
    for part, count in (("train", shards * iterations), ("eval", math.ceil(shards / 12))):  # the paper's 3,000 and 250
        path = folder / f"{part}.jsonl"
        path.write_text("".join(json.dumps({"id": f"{part}-{i}", "text": f"{part} {i}"}) + "\n" for i in range(count)))
        task[part] |= {"path": path.name, "count": count}
    (folder / "config/tasks/everyday.yaml").write_text(yaml.safe_dump(task))
    sampling = {"responses": 2, "max_new_tokens": TOKENS}
    names = [f"run-{i:02}" for i in range(experiments)]
    settings = {
        "run": names,
        "defaults": {
            "iterations": iterations,
            "queries": {"train": shards, "eval": task["eval"]["count"]},
            "sampling": sampling,
            "evaluation": {"sampling": sampling},
            "engine": {"tokens_per_job": 2 * TOKENS},
        },
        "experiments": {name: {"seed": i} for i, name in enumerate(names)},
    }
    (folder / "many.yaml").write_text(yaml.safe_dump(settings))


def snakemake(folder: Path, *arguments: str) -> tuple[str, dict[str, float]]:
    """Runs Snakemake; returns what it printed, and seconds, and peak GiB of all its processes together."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, "--configfile", "many.yaml"]
    start, before, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN), 0
    with tempfile.TemporaryFile("w+") as output:
        running = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        tree = psutil.Process(running.pid)
        while running.poll() is None:
            try:
                peak = max(peak, sum(process.memory_info().rss for process in [tree, *tree.children(recursive=True)]))
            except psutil.NoSuchProcess:
                continue  # one ended while it was looked at
            time.sleep(0.05)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        output.seek(0)
        printed = output.read()
    if running.returncode != 0:
        sys.exit(f"error: {' '.join(command)}\n{printed[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return printed, {"seconds": seconds, "cpu_seconds": cpu, "memory_gib": peak / 2**30}


def finish(folder: Path) -> None:
    """Makes every output of the plan, and lets Snakemake take them for results."""
    printed, _ = snakemake(folder, "--dry-run")
    for rule, outputs in re.findall(r"^(?:local)?rule (\S+):\n(?:    .*\n)*?    output: (.*)$", printed, re.MULTILINE):
        for path in map(folder.joinpath, outputs.split(", ")):
            path.parent.mkdir(parents=True, exist_ok=True)
            if rule == "prepare_model" or path.name == "model":
                path.mkdir(exist_ok=True)
            else:
                path.touch()
    snakemake(folder, "--touch", "--quiet")


def line(name: str, figures: dict[str, float]) -> str:
    return f"{name}: " + " ".join(f"{key}={round(value, 2):g}" for key, value in figures.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, nargs="+", default=[6, 12, 25, 50])
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--finished", action="store_true", help="also plan when every output is there")
    arguments = parser.parse_args()
    print(f"load before the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for experiments in arguments.experiments:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_project(folder, experiments, arguments.iterations, arguments.shards)
            printed, figures = snakemake(folder, "--dry-run", "--quiet", "rules")
            table = re.findall(r"^(\w+) +(\d+)$", printed[printed.rindex("Job stats:") :], re.MULTILINE)
            jobs = {rule: int(count) for rule, count in table}
            print(line(f"{experiments} experiments", {"jobs": jobs.pop("total"), **figures}))
            print(line("  of these", jobs), flush=True)
            if arguments.finished:
                finish(folder)
                printed, figures = snakemake(folder, "--dry-run", "--quiet", "rules")
                if "Nothing to be done" not in printed:
                    sys.exit(f"error: something is to be done where everything is there\n{printed[-4000:]}")
                print(line("  with every output there", figures), flush=True)


if __name__ == "__main__":
    main()
