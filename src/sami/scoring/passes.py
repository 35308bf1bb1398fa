"""The passes that cover examples within a budget of tokens, in step with the other processes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from sami.distributed.processes import Processes
from sami.progress import Progress
from sami.scoring.layout import Item
from sami.scoring.packing import passes
from sami.scoring.scorer import Scorer
from sami.spent import spend

Matrix = list[list[float]]  # C x R


class Pass(NamedTuple):
    """Examples that are scored together.

    members: their indices, at least one.
    counts: False where this process has nothing left to score but must keep the others company, which gather sharded
        weights together with it. Then what comes out is to be ignored.
    """

    members: list[int]
    counts: bool


def own_passes(batch: Sequence[int], sizes: Sequence[int], budget: int, group: Processes) -> list[Pass]:
    """This process's passes over the examples `batch`; all processes have the same number of them.

    Args:
        batch: indices of examples.
        sizes: tokens of every example of the run.
        budget: most tokens of a pass.
        group: the processes that share the work.
    """
    plan = passes(batch, sizes, budget, group.size)[group.rank]
    return [Pass(members or [batch[0]], bool(members)) for members in plan]


def token_counts(scorer: Scorer, items: Sequence[Item]) -> list[int]:
    """Tokens that the scorer's model encodes for each example by itself."""
    return [scorer.layout([item]).tokens for item in items]


@torch.no_grad()
def matrices(
    scorer: Scorer, items: Sequence[Item], budget: int, group: Processes, doing: str
) -> list[tuple[Matrix, Matrix]]:
    """Sums and means of the log-probabilities of each example, as in `Scored`; every process gets all of them.

    Args:
        budget: most tokens of a pass.
        doing: what the bar of progress says.
    """
    found: dict[int, tuple[Matrix, Matrix]] = {}
    sizes = token_counts(scorer, items)
    spend("scored", sum(sizes))
    with Progress(len(items), doing, "queries") as progress:
        for members, counts in own_passes(range(len(items)), sizes, budget, group):
            scored = scorer(scorer.layout([items[i] for i in members]))
            if counts:
                found |= zip(members, zip(scored.sum.tolist(), scored.mean.tolist(), strict=True), strict=True)
                progress.update(len(members))
    shares = group.everyone(found)
    return [next(share[i] for share in shares if i in share) for i in range(len(items))]
