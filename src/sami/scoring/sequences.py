"""The layouts `cached` and `padded`: sequences in a batch, with or without the prompts in a key-value cache.

Dimensions: see `sami.scoring.layout`.
"""

from typing import Any

import torch

from sami.scoring.layout import Item, Layout, Rows, assemble


def cached(items: list[Item]) -> Layout:
    """Prompts, padded on the left so that responses follow them at once, and the responses behind each prompt."""
    prompts = [prompt for item in items for prompt in item.prompts]
    responses = [(response, prompt) for item in items for prompt in item.prompts for response in item.responses]
    rows = _rows(prompts, left=True)  # Q C rows
    # Q C R rows. Positions go on where the prompt ends, whatever its padding.
    behind = _rows([response for response, _ in responses], first=[len(prompt) for _, prompt in responses])
    behind_each = torch.tensor([len(item.responses) for item in items for _ in item.prompts])
    parent = torch.arange(len(prompts)).repeat_interleave(behind_each)
    width, height = rows.input_ids.shape[1], rows.input_ids.numel()  # flattened, the rows behind begin at `height`
    places, number = {}, 0
    for q, item in enumerate(items):
        for c in range(len(item.prompts)):
            for r, response in enumerate(item.responses):
                start = height + number * behind.input_ids.shape[1]
                # Padding stands on the left, so a prompt's last token is the last of its row. It predicts the
                # response's first token, and each token of the response the next one.
                end_of_prompt = (int(parent[number]) + 1) * width - 1
                places[q, c, r] = [end_of_prompt, *range(start, start + len(response) - 1)]
                number += 1
    return assemble(items, rows, places, behind=(behind, parent))


def padded(items: list[Item]) -> Layout:
    """One plain sequence, padded on the right, for each example, constitution and response."""
    pairs = {
        (q, c, r): (prompt, response)
        for q, item in enumerate(items)
        for c, prompt in enumerate(item.prompts)
        for r, response in enumerate(item.responses)
    }
    # Q C R rows. The last token of a response predicts nothing that is asked for, so it is not encoded.
    rows = _rows([prompt + response[:-1] for prompt, response in pairs.values()])
    places = {}
    for number, (entry, (prompt, response)) in enumerate(pairs.items()):
        start = number * rows.input_ids.shape[1] + len(prompt) - 1
        places[entry] = list(range(start, start + len(response)))
    return assemble(items, rows, places)


def _rows(rows: list[list[int]], first: list[int] | None = None, left: bool = False) -> Rows:
    """Pads rows. `first` is the position of each row's first token (0 where not given)."""
    side: dict[str, Any] = {"batch_first": True, "padding_value": 0, "padding_side": "left" if left else "right"}
    pad = lambda values: torch.nn.utils.rnn.pad_sequence([torch.tensor(v) for v in values], **side)  # noqa: E731
    starts = first or [0] * len(rows)
    positions = [list(range(start, start + len(row))) for row, start in zip(rows, starts, strict=True)]
    return Rows(pad(rows), pad(positions), pad([[1] * len(row) for row in rows]).bool())
