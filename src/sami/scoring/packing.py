"""Packing: which examples are scored together, and by which process."""

from collections.abc import Sequence


def pack(sizes: list[int], budget: int) -> list[list[int]]:
    """Groups examples so that each group stays within a budget of tokens, in as few groups as first-fit finds.

    Args:
        sizes: tokens of each example.
        budget: most tokens of a group; an example that exceeds it stands alone.

    Returns:
        groups of indices, largest examples first.
    """
    groups: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        fitting = next((g for g, free in enumerate(room) if free >= sizes[index]), None)
        if fitting is None:
            groups.append([])
            room.append(budget)
            fitting = len(groups) - 1
        groups[fitting].append(index)
        room[fitting] -= sizes[index]
    return groups


def divide(sizes: list[int], parts: int) -> list[list[int]]:
    """Divides examples among `parts` processes so that their tokens are balanced: largest first, to the least busy.

    Returns:
        indices of each part, in ascending order. A part is empty where there are fewer examples than parts.
    """
    shares: list[list[int]] = [[] for _ in range(parts)]
    load = [0] * parts
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        least = load.index(min(load))
        shares[least].append(index)
        load[least] += sizes[index]
    return [sorted(share) for share in shares]


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
