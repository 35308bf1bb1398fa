"""Proof that a change leaves results as they are: a small experiment by two versions of the code, value by value.

python tests/golden.py COMMIT               the experiment at a commit, and as the code is here
python tests/golden.py COMMIT --keep FOLDER with the files of both kept there

A random model of 100,000 parameters goes through two iterations, held-out principles, a KL term and another model
beside the policies. Compared are responses, training logs without times and memory, scores, verdicts and tables. A file
that one side lacks is listed and is no difference; neither is a column that one side lacks.
Floating-point numbers depend on the machine, so both sides run on this one. It takes some minutes.
"""

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from conftest import ROOT, make_tiny_llama

SETTINGS = {
    "run": ["golden"],
    "experiments": {
        "golden": {
            "model": "tiny",
            "iterations": 2,
            "constitutions": {"held_out": "more"},
            "queries": {"train": 6, "eval": 4},
            "sampling": {"max_new_tokens": 12, "batch_size": 8},
            "training": {"queries_per_step": 2, "learning_rate": 1e-3, "kl_weight": 0.1, "start_from": "previous"},
            "engine": {"trackers": []},
            "evaluation": {
                "sampling": {"max_new_tokens": 12, "batch_size": 8},
                "bootstrap_samples": 200,
                "policies": {"other": "other"},
                "comparators": ["base", "other"],
            },
        }
    },
}
HELD_OUT = {
    "pairs": [{"id": "plain", "principle": {"text": "Use plain words."}, "opposite": {"text": "Use rare words."}}]
}
RENAMED = {"information.jsonl": "scores.jsonl"}  # files that have had other names
SAME = {"learned": "training"}  # values that have had other names
UNEQUAL = {"seconds", "tokens_per_second", "flop_utilisation", "peak_memory_gib"}  # by nature


def run(code: Path, folder: Path, models: dict[str, Path]) -> Path:
    """Runs the experiment by the code of a checkout in a folder of its own. Returns the folder of its results."""
    folder.mkdir(parents=True)
    for part in ("Snakefile", "workflow", "profiles", "envs", "src"):
        (folder / part).symlink_to(code / part)
    (folder / "config").mkdir()
    for part in (code / "config").iterdir():
        if part.name not in ("models.yaml", "constitutions"):
            (folder / "config" / part.name).symlink_to(part)
    entries = {name: {"source": "path", "path": str(path)} for name, path in models.items()}
    shipped = (code / "config/models.yaml").read_text()
    (folder / "config/models.yaml").write_text(shipped + yaml.safe_dump(entries))
    (folder / "config/constitutions").mkdir()
    for part in (code / "config/constitutions").iterdir():
        (folder / "config/constitutions" / part.name).symlink_to(part)
    (folder / "config/constitutions/more.yaml").write_text(yaml.safe_dump(HELD_OUT))
    (folder / "golden.yaml").write_text(yaml.safe_dump(SETTINGS))
    threads = ["--set-threads", *(f"{rule}=1" for rule in ("sample_responses", "sample_evaluation", "train"))]
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *threads, "--configfile", "golden.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(code / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{code}: the experiment failed.\n{(done.stdout + done.stderr)[-4000:]}")
    return folder / "results/golden"


def contents(folder: Path) -> dict[str, list[dict] | bytes]:
    """What is compared, by name: rows of records and tables, other files as they are."""
    found: dict[str, list[dict] | bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder).with_name(RENAMED.get(path.name, path.name)))
        if path.suffix == ".jsonl":
            found[name] = [json.loads(line) for line in path.read_text().splitlines()]
        elif path.suffix == ".csv":
            found[name] = list(csv.DictReader(io.StringIO(path.read_text())))
        elif path.suffix == ".safetensors":  # Markdown and LaTeX say what CSV says
            found[name] = path.read_bytes()
    return found


def difference(old: list[dict] | bytes, new: list[dict] | bytes) -> str | None:
    """How two contents differ, but for columns that one of them lacks; None where they do not."""
    if isinstance(old, bytes) or isinstance(new, bytes):
        return None if old == new else "other bytes"
    if len(old) != len(new):
        return f"{len(old)} and {len(new)} rows"
    for number, (one, other) in enumerate(zip(old, new, strict=True), 1):
        for key in (one.keys() & other.keys()) - UNEQUAL:
            if SAME.get(str(one[key]), one[key]) != other[key]:
                return f"row {number}, {key}: {one[key]!s:.60} and {other[key]!s:.60}"
    return None


def columns(rows: list[dict] | bytes) -> set[str]:
    return set() if isinstance(rows, bytes) else {key for row in rows for key in row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the version to compare with")
    parser.add_argument("--keep", type=Path, help="keep both results in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary).absolute()
        models = {name: make_tiny_llama(folder / name, seed=seed) for seed, name in enumerate(("tiny", "other"))}
        worktree = folder / "code"
        subprocess.run(
            ["git", "worktree", "add", "--detach", "--quiet", worktree, arguments.commit], cwd=ROOT, check=True
        )
        try:
            sides = [contents(run(code, folder / side, models)) for side, code in (("old", worktree), ("new", ROOT))]
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", worktree], cwd=ROOT, check=True)
    old, new = sides
    differ = 0
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            print(f"{name}: only in the {'old' if name in old else 'new'} results")
            continue
        found = difference(old[name], new[name])
        gone, added = (columns(a) - columns(b) for a, b in ((old[name], new[name]), (new[name], old[name])))
        notes = [f"{word} {', '.join(sorted(names))}" for word, names in (("without", gone), ("new", added)) if names]
        print(f"{name}: {found or 'the same'}{''.join(f' ({note})' for note in notes)}")
        differ += found is not None
    print(f"{len(old.keys() & new.keys())} files in both, {differ} differ")
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
