"""The processes of a training run: one, or several that torchrun (or accelerate launch) has started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Processes:
    """This process among the others.

    rank: its number, 0 ... size - 1. size: how many there are. device: where its tensors live.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Sums over all processes, in double precision."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.sum([float(flag)])[0] > 0

    def everyone(self, value: Any) -> list[Any]:
        """A list of a picklable value of each process."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Waits until all processes are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def processes() -> Iterator[Processes]:
    """Joins the processes of this run, over NCCL on GPUs and gloo on processors, and leaves them at the end.

    The variables RANK, WORLD_SIZE and LOCAL_RANK are those that torchrun and accelerate launch set.
    """
    size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    # A single process needs a group, too: mixed precision is a matter of sharding, over however many.
    alone: dict[str, Any] = {}
    if size == 1:
        store = dist.HashStore()  # type: ignore[attr-defined]  # documented; torch does not declare it as exported
        alone = {"store": store, "rank": 0, "world_size": 1}
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", **alone)
    try:
        yield Processes(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()
