"""The schedule of a run: which examples make an optimiser step."""

import random


def schedule(count: int, queries_per_step: int, epochs: int, seed: int) -> list[list[int]]:
    """Indices of the examples of each optimiser step, in an order drawn anew in every epoch."""
    steps = []
    for epoch in range(epochs):
        order = random.Random(f"epoch-{seed}-{epoch}").sample(range(count), count)
        steps += [order[start : start + queries_per_step] for start in range(0, count, queries_per_step)]
    return steps
