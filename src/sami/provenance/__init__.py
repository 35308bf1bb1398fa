"""Provenance: the record that is written beside every output, and the digest that marks code as changed."""

import functools
import hashlib
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sami.provenance.digests import Package

SOURCE = Path(__file__).parents[1]
PACKAGES = [
    "torch",
    "transformers",
    "vllm",
    "datasets",
    "accelerate",
    "snakemake",
    "openai",
    "numpy",
    "pandas",
    "pydantic",
]


def digest(path: Path) -> str:
    """SHA-256 of a file; of the provenance record inside, where the input is a folder (model weights).

    Of the digests of all files, where the name is a pattern for several (shards): a record has one line for them.
    """
    if "*" in path.name and not path.exists():
        return hashlib.sha256("".join(map(digest, sorted(path.parent.glob(path.name)))).encode()).hexdigest()
    if path.is_dir():
        record = path / "provenance.json"
        return digest(record) if record.exists() else "folder without provenance record"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(stage: str, without: tuple[str, ...] = ()) -> str:
    """Digest of the code that can change what a stage writes, as it was when this process first asked.

    The workflow passes it to the rule as a parameter, so that editing the code makes the outputs of the stages that use
    it out of date, and no others.

    Args:
        stage: its name.
        without: modules ("sampling.vllm_sampler") that the settings do not let it use.
    """
    return _package().digest(stage, without)


@functools.cache
def _package() -> Package:
    return Package(SOURCE)


def _git_commit() -> str:
    """Commit of the checkout this package runs from, marked where files differ from it; "unknown" outside git."""
    command = ["git", "-C", str(SOURCE), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def record(stage: str, arguments: dict[str, Any], inputs: dict[str, Any], started: float) -> dict[str, Any]:
    """Everything needed to say how an output was made.

    Args:
        stage: name of the stage module.
        arguments: its settings and seed, as given.
        inputs: flag -> path(s) of its input files.
        started: `time.time()` at the start.
    """
    versions = {}
    for package in PACKAGES:
        if package in sys.modules:  # only what this stage really used
            versions[package] = sys.modules[package].__version__
    paths = {flag: value if isinstance(value, list) else [value] for flag, value in inputs.items() if value}
    return {
        "stage": stage,
        "command": ["python", "-m", f"sami.stages.{stage}", *sys.argv[1:]],
        "arguments": arguments,
        "inputs": {flag: {str(path): digest(path) for path in values} for flag, values in paths.items()},
        "code": code_digest(stage),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "wall_seconds": round(time.time() - started, 2),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **_gpu_memory(),
    }


def _gpu_memory() -> dict[str, int]:
    """Most memory of a GPU that this process has taken, where it has taken any."""
    cuda = sys.modules["torch"].cuda if "torch" in sys.modules else None
    if cuda is None or not cuda.is_initialized():
        return {}
    return {"peak_gpu_memory_mib": round(cuda.max_memory_allocated() / 2**20)}


def write(output: Path, written: Path, content: dict[str, Any]) -> None:
    """Writes the record of an output as JSON: into it where it is a folder, else beside it.

    Args:
        output: the output's name.
        written: where it stands so far, under a temporary name.
        content: of the record.
    """
    path = written / "provenance.json" if written.is_dir() else Path(f"{output}.provenance.json")
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
