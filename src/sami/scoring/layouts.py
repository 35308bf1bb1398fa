"""Layouts: how the C x R pairs of prompts and responses become rows of tokens.

`shared` encodes each prompt once with all responses behind it: C rows of prompt + all responses for an example.
`padded` encodes plain sequences: C x R rows of prompt + response. Works with every architecture; for C = R = 2 it
costs twice as much, and more for larger sets.
"""

from dataclasses import dataclass

import torch

from sami.errors import UserError


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


@dataclass(frozen=True)
class Layout:
    """Rows of tokens for Q examples, and where in them each response token is predicted.

    input_ids: (B, L). position_ids: (B, L).
    attention_mask: (B, L), or (B, 1, L, L) where True lets a token see another.
    row, column: (N,) position whose hidden state predicts token n of a response.
    target: (N,) the id of that token.
    entry: (N,) index of its matrix entry in (Q, C, R), flattened.
    own: (N,) True where the entry pairs a response with the constitution it was written for.
    shape: (Q, C, R).
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    target: torch.Tensor
    entry: torch.Tensor
    own: torch.Tensor
    shape: tuple[int, int, int]

    @property
    def tokens(self) -> int:
        """Tokens that the model encodes, without padding."""
        diagonal = (
            self.attention_mask if self.attention_mask.ndim == 2 else self.attention_mask.diagonal(dim1=2, dim2=3)
        )
        return int(diagonal.sum())

    def reduce(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums and means over the tokens of each response.

        Args:
            values: (N,) one value for each predicted token.

        Returns:
            sum (Q, C, R) and mean (Q, C, R).
        """
        total = values.new_zeros(torch.Size(self.shape).numel()).index_add(0, self.entry, values)
        count = torch.bincount(self.entry, minlength=total.numel())
        return total.view(self.shape), (total / count).view(self.shape)


def shared(items: list[Item]) -> Layout:
    """One row for each example and constitution: its prompt, then all R responses.

    Each response sees the prompt and itself only, and its positions continue the prompt's, so every hidden state is
    the one that a plain sequence would have.
    """
    rows, places = [], []
    for q, item in enumerate(items):
        for c, prompt in enumerate(item.prompts):
            tokens, positions, segments = list(prompt), list(range(len(prompt))), [0] * len(prompt)
            for r, response in enumerate(item.responses):
                start = len(tokens)
                # The first token is predicted at the end of the prompt, each later one at the token before it.
                columns = [len(prompt) - 1, *range(start, start + len(response) - 1)]
                places.append(((q, c, r), len(rows), columns))
                tokens += response
                positions += range(len(prompt), len(prompt) + len(response))
                segments += [r + 1] * len(response)
            rows.append((tokens, positions, segments))
    segments = _pad([row[2] for row in rows], -1)
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    seen, seeing = segments[:, None, :], segments[:, :, None]
    mask = causal & ((seen == 0) | (seen == seeing)) & (seen >= 0)
    # A padding token sees the prompt (no row of the softmax is empty), but is no token of the model's input.
    mask &= (seeing >= 0) | (seen == 0)
    return _layout(items, [row[0] for row in rows], [row[1] for row in rows], mask[:, None], places)


def padded(items: list[Item]) -> Layout:
    """One plain sequence, padded on the right, for each example, constitution and response."""
    rows, places = [], []
    for q, item in enumerate(items):
        for c, prompt in enumerate(item.prompts):
            for r, response in enumerate(item.responses):
                places.append(((q, c, r), len(rows), list(range(len(prompt) - 1, len(prompt) + len(response) - 1))))
                rows.append(prompt + response)
    mask = _pad([[1] * len(row) for row in rows], 0)
    return _layout(items, rows, [list(range(len(row))) for row in rows], mask, places)


LAYOUTS = {"shared": shared, "padded": padded}


def _pad(rows: list[list[int]], value: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def _layout(items, tokens, positions, mask, places) -> Layout:
    shape = (len(items), len(items[0].prompts), len(items[0].responses))
    if any((len(item.prompts), len(item.responses)) != shape[1:] for item in items):
        raise ValueError(f"expected {shape[1]} prompts and {shape[2]} responses in every example of a batch")
    row, column, target, entry, own = [], [], [], [], []
    for (q, c, r), index, columns in places:
        response = items[q].responses[r]
        row += [index] * len(response)
        column += columns
        target += response
        entry += [(q * shape[1] + c) * shape[2] + r] * len(response)
        own += [items[q].labels[r] == c] * len(response)
    return Layout(
        input_ids=_pad(tokens, 0),
        position_ids=_pad(positions, 0),
        attention_mask=mask,
        row=torch.tensor(row),
        column=torch.tensor(column),
        target=torch.tensor(target),
        entry=torch.tensor(entry),
        own=torch.tensor(own),
        shape=shape,
    )
