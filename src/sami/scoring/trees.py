"""The layout `shared`: a tree for each example, in which whatever its pairs have in common stands once.

Dimensions: see `sami.scoring.layout`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile

import torch

from sami.models.engine_limits import LEAST_SAVING
from sami.scoring.layout import Item, Layout, Node, Rows, Tree, assemble


def shared(items: list[Item]) -> Layout:
    """One row with the trees of all examples.

    A response sees its prompt and itself only, and positions follow the path from the root, so every hidden state is
    the one that a plain sequence would have.
    """
    row = _Row(items)
    extent = torch.empty(len(row.tokens), dtype=torch.long)  # (L,)
    for node in row.nodes:
        extent[node.start : node.stop] = node.end
    tree = Tree(tuple(row.nodes), extent, torch.tensor(row.positions), max(row.positions) + 1)
    rows = Rows(  # (1, L) each
        torch.tensor([row.tokens]), torch.tensor([row.positions]), torch.ones(1, len(row.tokens), dtype=torch.bool)
    )
    return assemble(items, rows, row.places, tree=tree)


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

    @contextmanager
    def _node(self, tokens: list[int], position: int) -> Iterator[None]:
        """Appends a node whose first token has a position; what is appended in the `with` block descends from it."""
        start, number = len(self.tokens), len(self.nodes)
        self.tokens += tokens
        self.positions += range(position, position + len(tokens))
        stop = len(self.tokens)
        if tokens:  # a response of one token has nothing to encode
            self.nodes.append(Node(start, stop, stop))  # now, since nodes come before their descendants
        yield
        if tokens:
            self.nodes[number] = Node(start, stop, len(self.tokens))


def _common(one: list[int], other: list[int], depth: int, keep: int = 0) -> int:
    """Number of tokens that two prompts share from `depth` on; of the shorter one `keep` tokens do not count."""
    pairs = zip(one[depth : len(one) - keep], other[depth : len(other) - keep], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
