"""The plan of a run: which examples make an optimiser step, and which process scores which of them in which pass."""

import random
from collections.abc import Sequence

from sami.scoring.packing import divide, pack


def schedule(count: int, queries_per_step: int, epochs: int, seed: int) -> list[list[int]]:
    """Indices of the examples of each optimiser step, in an order drawn anew in every epoch."""
    steps = []
    for epoch in range(epochs):
        order = random.Random(f"epoch-{seed}-{epoch}").sample(range(count), count)
        steps += [order[start : start + queries_per_step] for start in range(0, count, queries_per_step)]
    return steps


def passes(batch: Sequence[int], sizes: Sequence[int], budget: int, processes: int) -> list[list[list[int]]]:
    """The passes of each process for one step: groups of examples that are scored together.

    Every process makes the same number of passes, because sharded parameters are gathered by all at once; a process
    with nothing left to score gets an empty pass.

    Args:
        batch: indices of the step's examples.
        sizes: tokens of every example of the run.
        budget: most tokens of a pass.
        processes: how many there are.
    """
    own = [[batch[i] for i in share] for share in divide([sizes[i] for i in batch], processes)]
    groups = [[[share[i] for i in group] for group in pack([sizes[i] for i in share], budget)] for share in own]
    most = max(map(len, groups))
    return [group + [[]] * (most - len(group)) for group in groups]
