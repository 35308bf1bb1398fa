"""Checkpoints inside an iteration: everything that a killed run needs to end with the same weights.

A checkpoint is a folder `step-N` with the policy and the optimiser as `torch.distributed.checkpoint` writes them (each
process its shards, readable by any other number of processes) and `state.json`: the step, the metrics so far, random
states, what the run was made of, and digests of all files. It is written under another name and renamed when whole.
"""

import hashlib
import json
import logging
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from sami.distributed.processes import Processes
from sami.errors import UserError
from sami.files import remove

log = logging.getLogger(__name__)

KEEP = 2  # the one before the newest serves where that is damaged
STATE = "state.json"
OPTIONS = StateDictOptions(ignore_frozen_params=True)


@dataclass
class Checkpoints:
    """The checkpoints of one training run.

    folder: where they are.
    identity: what the run is made of (name -> value or digest); a checkpoint of another run is refused.
    group: the processes, all of which call every method.
    """

    folder: Path
    identity: dict[str, Any]
    group: Processes
    saved: int = field(default=0, init=False)  # step of the newest

    def save(self, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, metrics: list[dict]) -> None:
        """Writes the state after `step` steps."""
        if step == self.saved:
            return
        partial = self.folder / f".step-{step:06}.partial"
        if self.group.main:
            remove(partial)
            partial.mkdir(parents=True)
        self.group.wait()
        weights, state = get_state_dict(model, optimizer, options=OPTIONS)
        state_dict_saver.save({"model": weights, "optimizer": state}, checkpoint_id=partial)
        own = [partial / name for name in _files_of(partial, self.group)]
        digests = {file.name: _digest(file) for file in own}
        content = {
            "step": step,
            "identity": self.identity,
            "metrics": metrics,
            "random": self.group.everyone(_random_state()),
            "files": {name: value for part in self.group.everyone(digests) for name, value in part.items()},
        }
        if self.group.main:
            (partial / STATE).write_text(json.dumps(content))
            final = self.folder / f"step-{step:06}"
            remove(final)
            os.replace(partial, final)
            for old in self._all()[KEEP:]:
                remove(old)
        self.group.wait()
        self.saved = step
        log.info("checkpoint after step %d in %s", step, self.folder)

    def load(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, list[dict]]:
        """Restores the newest checkpoint that is whole.

        Returns:
            how many steps it stands for, and their metrics; 0 and nothing where there is no checkpoint.

        Raises:
            UserError: the checkpoint belongs to another run.
        """
        content = self._read(model, optimizer)
        if content is None:
            return 0, []
        if len(content["random"]) == self.group.size:
            _set_random_state(content["random"][self.group.rank])
        self.saved = content["step"]
        log.info("resuming after step %d", self.saved)
        return self.saved, content["metrics"]

    def load_weights(self, model: torch.nn.Module) -> int:
        """Restores only the policy of the newest checkpoint that is whole; returns its step, 0 where there is none."""
        content = self._read(model, None)
        return content["step"] if content else 0

    def _read(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None) -> dict | None:
        for folder in self._all():
            problem = self._damage(folder)
            if problem:
                log.warning("checkpoint %s is damaged (%s); falling back to the one before", folder, problem)
                continue
            content = json.loads((folder / STATE).read_text())
            self._same_run(folder, content["identity"])
            optimizers = [optimizer] if optimizer else []
            weights, state = get_state_dict(model, optimizers, options=OPTIONS)
            target: dict[str, Any] = {"model": weights} | ({"optimizer": state} if optimizer else {})
            state_dict_loader.load(target, checkpoint_id=folder)
            set_state_dict(
                model,
                optimizers,
                model_state_dict=target["model"],
                optim_state_dict=target.get("optimizer", {}),
                options=StateDictOptions(ignore_frozen_params=True, strict=False),
            )
            return content
        return None

    def clear(self) -> None:
        """Removes all checkpoints, once the trained policy is written."""
        self.group.wait()
        if self.group.main:
            remove(self.folder)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)

    def _damage(self, folder: Path) -> str | None:
        """What is wrong with the files of a checkpoint. Processes share the reading."""
        problem = None
        try:
            files = json.loads((folder / STATE).read_text())["files"]
            for name in sorted(files)[self.group.rank :: self.group.size]:
                if not (folder / name).is_file():
                    problem = f"{name} is missing"
                elif _digest(folder / name) != files[name]:
                    problem = f"{name} is not what was written"
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"{STATE} cannot be read: {error}"
        return next(filter(None, self.group.everyone(problem)), None)

    def _same_run(self, folder: Path, identity: dict[str, Any]) -> None:
        keys = [key for key in self.identity | identity if identity.get(key) != self.identity.get(key)]
        if keys:
            key = keys[0]
            raise UserError(
                f"{folder} is a checkpoint of another run: its {key} is {identity.get(key)}, that of this run is "
                f"{self.identity.get(key)}. Remove {self.folder} to train from the start, or restore what was changed."
            )


def _files_of(folder: Path, group: Processes) -> list[str]:
    """The files that this process has written; the main one also counts the index."""
    own = f"__{group.rank}_"
    return [f.name for f in folder.iterdir() if f.name.startswith(own) or (group.main and f.name == ".metadata")]


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()


def _random_state() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    state = {"python": [version, list(numbers), gauss], "torch": torch.get_rng_state().tolist()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state().tolist()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.tensor(state["cuda"], dtype=torch.uint8))
