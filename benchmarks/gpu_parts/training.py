"""The training loop: sharded by FSDP2 in one process (over NCCL on a GPU), and resumed from a checkpoint.

In `mixed` precision a single process is sharded, too. Its losses must be those of float32, but for bfloat16 passes. A
run that breaks off and resumes must end where an undisturbed one does; some kernels of a GPU sum in any order, which
RMSprop enlarges where a gradient is nearly 0, so the weights may differ by a hundredth of what training changed.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from gpu_parts import made
from gpu_parts.cases import Case, Outcome, Place, distance
from sami.distributed.processes import Processes, processes
from sami.distributed.saving import whole
from sami.scoring.load import load_scorer
from sami.settings.training import Engine, Training
from sami.settings.yaml_files import read_yaml
from sami.training import loop
from sami.training.checkpoints import Checkpoints
from sami.training.policy import PolicyLearner

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = read_yaml(ROOT / "config/config.yaml").data["defaults"]
STEPS, BREAKS_AT = 5, 4  # a checkpoint every two steps
LOSSES, WEIGHTS = 2e-2, 1e-2


def settings(**changes: Any) -> Training:
    """Those of the quickstart, with changes."""
    return Training(**{**DEFAULTS["training"], "warmup_steps": 0, "max_loss": None, **changes})


def engine(**changes: Any) -> Engine:
    return Engine(**{**DEFAULTS["engine"], "scoring": "shared", "trackers": [], "checkpoint_steps": 2, **changes})


def cases(place: Place) -> list[Case]:
    return [
        Case("sharded by FSDP2 in one process", partial(_sharded, place)),
        *(Case(f"resumed from a checkpoint, {name}", partial(_resumed, name, place)) for name in ("float32", "mixed")),
    ]


class _Broken(Exception):
    """The end of a run in the middle."""


def _sharded(place: Place) -> Outcome:
    with tempfile.TemporaryDirectory() as parent, processes() as group:
        folder = made.folder("llama", made.sizes("llama", place), Path(parent))
        expected, _ = _train(folder, group, "float32", place)
        losses, model = _train(folder, group, "mixed", place)
        whole_ones = sum(not isinstance(parameter, DTensor) for parameter in model.parameters())
        difference = max(abs(a - b) / abs(b) for a, b in zip(losses, expected, strict=True))
        return Outcome({"losses": (difference, LOSSES), "weights that are not sharded": (whole_ones, 0)})


def _resumed(precision: str, place: Place) -> Outcome:
    with tempfile.TemporaryDirectory() as parent, processes() as group:
        folder = made.folder("llama", made.sizes("llama", place), Path(parent))
        start = _weights(load_scorer(folder, group, precision, "shared").model)
        expected, model = _train(folder, group, precision, place)
        undisturbed = _weights(model)
        kept = Path(parent) / "checkpoints"
        try:
            _train(folder, group, precision, place, Checkpoints(kept, {}, group), breaks=True)
        except _Broken:
            saved = sorted(path.name for path in kept.iterdir())
        losses, model = _train(folder, group, precision, place, Checkpoints(kept, {}, group))
        difference = max(abs(a - b) / abs(b) for a, b in zip(losses, expected, strict=True))
        weights = distance(_weights(model) - start, undisturbed - start)
        return Outcome({"losses": (difference, WEIGHTS), "weights": (weights, WEIGHTS)}, note=f"from {saved[-1]}")


def _train(
    folder: Path,
    group: Processes,
    precision: str,
    place: Place,
    checkpoints: Checkpoints | None = None,
    breaks: bool = False,
) -> tuple[list[float], torch.nn.Module]:
    """Losses of all steps, and the model."""
    queries = made.items(2 * STEPS, 2, place.pick(200, 24), place.pick(40, 6), 256)
    how = settings(precision=precision, learning_rate=1e-4, queries_per_step=2, epochs=1)
    scorer = load_scorer(folder, group, precision, "shared")
    losses: list[float] = []

    def on_step(metrics: dict) -> None:
        losses.append(metrics["loss"])
        if breaks and len(losses) == BREAKS_AT:
            raise _Broken

    loop.train(
        PolicyLearner(scorer, queries, made.examples(queries), how), how, engine(), 1, group, on_step, checkpoints
    )
    return losses, scorer.model


def _weights(model: torch.nn.Module) -> torch.Tensor:
    """All of them, as one vector."""
    parts = (whole(parameter, torch.float32, keep=True) for parameter in model.parameters())
    return torch.cat([part.flatten() for part in parts if part is not None])
