"""Layouts: how the C x R pairs of prompts and responses of some queries become rows of tokens.

There are three ways with equal results:

`shared` encodes whatever pairs have in common once. The prompts of a query form a tree (their common beginnings are its
inner nodes), the responses hang behind every prompt, and the trees of several queries stand in one row. For prompts
that differ from their first token on, that is C x (prompt + all responses) tokens for a query.
`cached` encodes each prompt once and then the responses as a batch against the prompt's key-value cache.
`padded` encodes C x R plain sequences. It asks nothing of the architecture, so it also serves recurrent models.
"""

from dataclasses import dataclass, field
from itertools import takewhile

import torch

from sami.errors import UserError
from sami.models.engine_limits import LEAST_SAVING


@dataclass(frozen=True)
class Item:
    """Token ids of one example: C prompts, R responses, and (R,) the constitution each response was written for."""

    name: str
    prompts: list[list[int]]
    responses: list[list[int]]
    labels: list[int]

    def __post_init__(self):
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
    """Who sees whom in a row of trees: a token sees itself, what precedes it in its node, and the nodes above.

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
    tree: for `shared`: who sees whom in its only row.
    behind: for `cached`: rows of responses, and (B',) the row of the prompt that each stands behind.
    place: (N,) position, in the flattened rows (then the flattened rows behind), that predicts token n of a response.
    target: (N,) the id of that token.
    entry: (N,) index of its matrix entry in (Q, C, R), flattened.
    own: (N,) True where the entry pairs a response with the constitution it was written for.
    shape: (Q, C, R).
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
            sum (Q, C, R) and mean (Q, C, R).
        """
        entry = self.entry.to(values.device)
        total = values.new_zeros(torch.Size(self.shape).numel()).index_add(0, entry, values)
        count = torch.bincount(entry, minlength=total.numel())
        return total.view(self.shape).clone(), (total / count).view(self.shape).clone()  # views trouble FSDP


def shared(items: list[Item]) -> Layout:
    """One row with the trees of all examples.

    A response sees its prompt and itself only, and positions follow the path from the root, so every hidden state is
    the one that a plain sequence would have.
    """
    row = _Row(items)
    extent = torch.empty(len(row.tokens), dtype=torch.long)
    for node in row.nodes:
        extent[node.start : node.stop] = node.end
    tree = Tree(tuple(row.nodes), extent, torch.tensor(row.positions), max(row.positions) + 1)
    rows = Rows(
        torch.tensor([row.tokens]), torch.tensor([row.positions]), torch.ones(1, len(row.tokens), dtype=torch.bool)
    )
    return _layout(items, rows, row.places, tree=tree)


def cached(items: list[Item]) -> Layout:
    """Prompts, padded on the left so that responses follow them at once, and the responses behind each prompt."""
    _shape(items)
    prompts = [prompt for item in items for prompt in item.prompts]
    responses = [(response, prompt) for item in items for prompt in item.prompts for response in item.responses]
    rows = _rows(prompts, left=True)
    behind = _rows([response for response, _ in responses], first=[len(prompt) for _, prompt in responses])
    parent = torch.arange(len(prompts)).repeat_interleave(len(items[0].responses))
    width, height = rows.input_ids.shape[1], rows.input_ids.numel()
    places, number = {}, 0
    for q, item in enumerate(items):
        for c in range(len(item.prompts)):
            for r, response in enumerate(item.responses):
                start = height + number * behind.input_ids.shape[1]
                end_of_prompt = (int(parent[number]) + 1) * width - 1
                places[q, c, r] = [end_of_prompt, *range(start, start + len(response) - 1)]
                number += 1
    return _layout(items, rows, places, behind=(behind, parent))


def padded(items: list[Item]) -> Layout:
    """One plain sequence, padded on the right, for each example, constitution and response."""
    pairs = {
        (q, c, r): (prompt, response)
        for q, item in enumerate(items)
        for c, prompt in enumerate(item.prompts)
        for r, response in enumerate(item.responses)
    }
    rows = _rows([prompt + response[:-1] for prompt, response in pairs.values()])
    places = {}
    for number, (entry, (prompt, response)) in enumerate(pairs.items()):
        start = number * rows.input_ids.shape[1] + len(prompt) - 1
        places[entry] = list(range(start, start + len(response)))
    return _layout(items, rows, places)


LAYOUTS = {"shared": shared, "cached": cached, "padded": padded}


def _shape(items: list[Item]) -> tuple[int, int, int]:
    """(Q, C, R), if it is the same for all."""
    shape = (len(items), len(items[0].prompts), len(items[0].responses))
    if any((len(item.prompts), len(item.responses)) != shape[1:] for item in items):
        raise ValueError(f"expected {shape[1]} prompts and {shape[2]} responses in every example of a batch")
    return shape


class _Row:
    """A row under construction: the trees of some examples, one behind the other."""

    def __init__(self, items: list[Item]):
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.nodes: list[Node] = []
        self.places: dict[tuple[int, int, int], list[int]] = {}
        for q, item in enumerate(items):
            self._prompts(q, item, range(len(item.prompts)), depth=0)

    def _prompts(self, q: int, item: Item, members: range | list[int], depth: int) -> None:
        """Adds the prompts `members`, which have their first `depth` tokens in common, in as few nodes as pay."""
        while members:
            first = item.prompts[members[0]]
            group = [c for c in members if c == members[0] or _common(first, item.prompts[c], depth) >= LEAST_SAVING]
            members = [c for c in members if c not in group]
            if len(group) == 1:
                self._responses(q, item, group[0], depth)
                continue
            # The last token stays out, so that each prompt keeps a node whose end predicts its responses.
            length = min(_common(first, item.prompts[c], depth, keep=1) for c in group[1:])
            with self._node(first[depth : depth + length], depth):
                self._prompts(q, item, group, depth + length)

    def _responses(self, q: int, item: Item, c: int, depth: int) -> None:
        prompt = item.prompts[c]
        with self._node(prompt[depth:], depth):
            end_of_prompt = len(self.tokens) - 1
            for r, response in enumerate(item.responses):
                start = len(self.tokens)
                # The first token is predicted at the end of the prompt, each later one at the token before it. The
                # last one predicts nothing that is asked for, so it is not encoded.
                with self._node(response[:-1], len(prompt)):
                    self.places[q, c, r] = [end_of_prompt, *range(start, len(self.tokens))]

    def _node(self, tokens: list[int], position: int) -> "_Open":
        return _Open(self, tokens, position)


class _Open:
    """A node that is open for descendants while its `with` block runs."""

    def __init__(self, row: _Row, tokens: list[int], position: int):
        self.row, self.start = row, len(row.tokens)
        row.tokens += tokens
        row.positions += range(position, position + len(tokens))
        self.stop, self.number = len(row.tokens), len(row.nodes)

    def __enter__(self):
        self.row.nodes.append(Node(self.start, self.stop, self.stop))

    def __exit__(self, *_):
        if self.stop == self.start:
            del self.row.nodes[self.number]  # a response of one token has nothing to encode
        else:
            self.row.nodes[self.number] = Node(self.start, self.stop, len(self.row.tokens))


def _common(one: list[int], other: list[int], depth: int, keep: int = 0) -> int:
    """How many tokens from `depth` on two prompts have in common; of the shorter one `keep` tokens do not count."""
    pairs = zip(one[depth : len(one) - keep], other[depth : len(other) - keep], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _rows(rows: list[list[int]], first: list[int] | None = None, left: bool = False) -> Rows:
    """Pads rows. `first` is the position of each row's first token (0 where not given)."""
    side = {"batch_first": True, "padding_value": 0, "padding_side": "left" if left else "right"}
    pad = lambda values: torch.nn.utils.rnn.pad_sequence([torch.tensor(v) for v in values], **side)  # noqa: E731
    starts = first or [0] * len(rows)
    positions = [list(range(start, start + len(row))) for row, start in zip(rows, starts, strict=True)]
    return Rows(pad(rows), pad(positions), pad([[1] * len(row) for row in rows]).bool())


def _layout(items: list[Item], rows: Rows, places: dict[tuple[int, int, int], list[int]], **parts) -> Layout:
    shape = _shape(items)
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
