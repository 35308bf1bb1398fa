"""Layouts: how the C x R pairs of prompts and responses of some queries become rows of tokens.

There are three, with equal results (`sami.scoring.scorer.LAYOUTS`):

`shared` encodes whatever pairs have in common once (`sami.scoring.trees`). The prompts of a query form a tree (their
common beginnings are its inner nodes), the responses hang behind every prompt, and the trees of several queries stand
in one row. For prompts that differ from their first token on, that is C x (prompt + all responses) tokens for a query.
`cached` encodes each prompt once and then the responses as a batch against the prompt's key-value cache.
`padded` encodes C x R plain sequences. It asks nothing of the architecture, so it also serves recurrent models. Both
are in `sami.scoring.sequences`.

Dimensions, here and in all of `sami.scoring`: Q queries (examples), C prompts and R responses of each; B rows, L tokens
of a row, padding included; N predicted tokens, those of every response under every prompt; M of these, under the
prompts that the responses were written for; H hidden size; D size of a head; V vocabulary.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from sami.errors import UserError


@dataclass(frozen=True)
class Item:
    """Token ids of one example: C prompts, R responses, and (R,) the constitution each response was written for."""

    name: str
    prompts: list[list[int]]
    responses: list[list[int]]
    labels: list[int]

    def __post_init__(self) -> None:
        if not all(self.responses):
            raise UserError(f"query '{self.name}': a response has no tokens, so it has no log-probability.")
        if not all(self.prompts):
            raise UserError(f"query '{self.name}': a prompt has no tokens, so nothing predicts a response's first one.")


@dataclass(frozen=True)
class Node:
    """A piece of a tree: tokens [start, stop) of the row, with all that descends from it in [stop, end)."""

    start: int
    stop: int
    end: int


@dataclass(frozen=True)
class Tree:
    """Visibility in a row of trees: a token sees itself, what precedes it in its node, and the nodes above.

    nodes: of all trees, each before its descendants.
    extent: (L,) the end of the node that a token belongs to: token i sees token j where j <= i < extent[j].
    positions: (L,) how many tokens a token has above it on its path from the root.
    longest: tokens on the longest path from a root to a leaf.
    """

    nodes: tuple[Node, ...]
    extent: torch.Tensor
    positions: torch.Tensor
    longest: int
    masks: dict = field(default_factory=dict, compare=False)  # of FlexAttention, made once for all layers

    @property
    def roots(self) -> list[Node]:
        """The nodes with nothing above them: what stands under one is unseen by the others."""
        roots: list[Node] = []
        for node in self.nodes:
            if not roots or node.start >= roots[-1].end:
                roots.append(node)
        return roots


@dataclass(frozen=True)
class Rows:
    """Rows of tokens, padded.

    input_ids: (B, L). position_ids: (B, L). mask: (B, L), True for tokens that are no padding.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class Layout:
    """Rows of tokens for Q examples, and where in them each response token is predicted.

    rows: of tokens; for `cached` those of the prompts.
    tree: for `shared`: which tokens of its only row see each other.
    behind: for `cached`: rows of responses, and (B',) the row of the prompt that each stands behind.
    place: (N,) position, in the flattened rows (then the flattened rows behind), that predicts token n of a response.
    target: (N,) the id of that token.
    entry: (N,) index of its matrix entry in (Q, C, R), flattened.
    own: (N,) True where the entry pairs a response with the constitution it was written for.
    shape: (Q, C, R), of the largest C and R where examples differ.
    """

    rows: Rows
    place: torch.Tensor
    target: torch.Tensor
    entry: torch.Tensor
    own: torch.Tensor
    shape: tuple[int, int, int]
    tree: Tree | None = None
    behind: tuple[Rows, torch.Tensor] | None = None

    @property
    def tokens(self) -> int:
        """Tokens that the model encodes, without padding."""
        return int(self.rows.mask.sum() + (self.behind[0].mask.sum() if self.behind else 0))

    def reduce(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums and means over the tokens of each response.

        Args:
            values: (N,) one value for each predicted token.

        Returns:
            sum (Q, C, R) and mean (Q, C, R); 0 where an example has fewer prompts or responses than another.
        """
        entry = self.entry.to(values.device)
        # (Q C R,): sum over the tokens n of response r of log p(y_r,n | x_q, c, y_r,<n), and how many there are.
        total = values.new_zeros(torch.Size(self.shape).numel()).index_add(0, entry, values)
        count = torch.bincount(entry, minlength=total.numel())
        mean = total / count.clamp(min=1)  # no tokens where there is no response
        return total.view(self.shape).clone(), mean.view(self.shape).clone()  # views trouble FSDP


def assemble(items: list[Item], rows: Rows, places: dict[tuple[int, int, int], list[int]], **parts: Any) -> Layout:
    """A layout of rows in which the positions of all predictions are known.

    Args:
        items: Q examples.
        rows: of their tokens.
        places: (q, c, r) -> for each token of the response the position that predicts it (see `Layout.place`).
        parts: further fields of the layout.
    """
    shape = len(items), max(len(item.prompts) for item in items), max(len(item.responses) for item in items)
    place, target, entry, own = [], [], [], []
    for (q, c, r), positions in sorted(places.items()):  # in the same order in every layout
        response = items[q].responses[r]
        place += positions
        target += response
        entry += [(q * shape[1] + c) * shape[2] + r] * len(response)
        own += [items[q].labels[r] == c] * len(response)
    return Layout(
        rows=rows,
        place=torch.tensor(place),
        target=torch.tensor(target),
        entry=torch.tensor(entry),
        own=torch.tensor(own),
        shape=shape,
        **parts,
    )
