"""Slots: rows of a key-value cache in which sequences grow by a token each, and which others take when they end.

    with Slots(model, rows=64, longest=200) as slots:
        logits = slots.prefill(prompts)        # (P, V), what follows each prompt
        slots.enter(number)                    # prompt `number` takes the next row
        logits = slots.step(tokens)            # (n, V), one token of each row in use
        slots.leave(row)                       # the last row moves into this one

Prompts are encoded as a tree (`sami.scoring.trees`): what they have in common at their beginnings is encoded once. A
step reads the cache as far as its longest sequence reaches and no further, and asks for one row of logits of each.

Dimensions: n rows in use, T tokens of the longest of them, P prompts, V vocabulary, D size of a head.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from sami.scoring import tree_attention
from sami.scoring.layout import Item
from sami.scoring.trees import shared

NAME = "sami-slots"
CLOSE = 1e-3  # most that logits of a step may differ from those of a plain pass, in the probe


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: int | None,
    scaling: float | None = None,
    tree: Any = None,
    slots: "Slots | None" = None,
    **features: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of a layer: of prompts as a tree, or of one token of each sequence to those before it.

    Args:
        query: (n, heads, 1, D). key, value: (n, key-value heads, T, D), the filled part of the cache.
        attention_mask, features: as in `sami.scoring.tree_attention.attention`, which does the former.
        slots: whose step it is.

    Raises:
        NotImplementedError: the layer asks for something else than a window or a soft cap.
    """
    if slots is None:
        return tree_attention.attention(module, query, key, value, attention_mask, scaling, tree, **features)
    window, softcap = tree_attention.supported(attention_mask, features)
    n, heads, _, size = query.shape
    grouped = query.view(n, key.shape[1], heads // key.shape[1], size)  # query heads beside the key head they share
    scores = grouped @ key.transpose(2, 3)  # (n, key-value heads, group, T)
    scores *= size**-0.5 if scaling is None else scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores += slots.hidden(window, scores.dtype)
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)
    return (weights @ value).reshape(n, 1, heads, value.shape[-1]), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, tree_attention.no_mask)


class _Layer(CacheLayerMixin):
    """Keys and values of one layer: (rows, key-value heads, longest, D)."""

    def __init__(self, slots: "Slots"):
        super().__init__()
        self.slots = slots
        self.prompts: tuple[torch.Tensor, torch.Tensor] | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys, self.values = (
            states.new_zeros(self.slots.rows, states.shape[1], self.slots.longest, states.shape[3])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        slots = self.slots
        if slots.filling:
            self.prompts = key_states, value_states  # (1, key-value heads, L, D), of the whole tree
            return key_states, value_states
        n, filled = slots.used, slots.filled
        places = torch.arange(n), slice(None), slots.lengths[:n]
        assert self.keys is not None
        assert self.values is not None
        self.keys[places], self.values[places] = key_states[:, :, 0], value_states[:, :, 0]
        return self.keys[:n, :, :filled], self.values[:n, :, :filled]

    def take(self, row: int, path: torch.Tensor) -> None:
        """Copies what was encoded along a path of the tree into a row."""
        assert self.prompts is not None
        if not self.is_initialized:
            self.lazy_initialization(*self.prompts)
        for cache, states in zip((self.keys, self.values), self.prompts, strict=True):
            cache[row, :, : len(path)] = states[0, :, path]  # type: ignore[index]

    def move(self, source: int, target: int, length: int) -> None:
        for cache in (self.keys, self.values):
            cache[target, :, :length] = cache[source, :, :length]  # type: ignore[index]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0  # of a mask that nobody makes

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return self.slots.longest


class Slots:
    """Rows of a cache for the sequences of one model, which is lent for the time of a `with` block.

    Args:
        model: a causal language model on this machine's processor.
        rows: most sequences at once.
        longest: most tokens of a sequence, with its prompt.
    """

    def __init__(self, model: PreTrainedModel, rows: int, longest: int):
        self.model, self.rows, self.longest = model, rows, longest
        self.used, self.filling = 0, False
        self.lengths = torch.zeros(rows, dtype=torch.long)  # tokens that stand in each row
        layers = model.config.get_text_config().num_hidden_layers
        self.layers = [_Layer(self) for _ in range(layers)]
        self.cache = Cache(layers=self.layers)  # type: ignore[arg-type]
        self.paths: list[torch.Tensor] = []
        self._lent = ExitStack()
        self._hidden: dict[Any, torch.Tensor] = {}

    def __enter__(self) -> "Slots":
        self._lent.enter_context(tree_attention.instead_of_own(self.model, NAME))
        return self

    def __exit__(self, *error: Any) -> None:
        self._lent.close()

    @property
    def filled(self) -> int:
        """T, how far the longest sequence in use reaches with the token of this step."""
        return int(self.lengths[: self.used].max()) + 1

    def hidden(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """(n, 1, 1, T): minus infinity where a row holds nothing yet or what is beyond the window, else 0."""
        if window not in self._hidden:
            own, place = self.lengths[: self.used, None], torch.arange(self.filled)[None, :]
            seen = place <= own
            if window is not None:
                seen &= place > own - window
            mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)
            self._hidden[window] = mask[:, None, None, :]
        return self._hidden[window]

    def prefill(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """(P, V) logits of what follows each of some different prompts, which can then enter."""
        layout = shared([Item("prompts", list(prompts), [[0]], [0])])  # a response of one token encodes nothing
        tree, rows = layout.tree, layout.rows
        assert tree is not None
        self.paths = [
            torch.cat([torch.arange(node.start, min(node.stop, end + 1)) for node in tree.nodes
                       if node.start <= end < node.end])
            for end in layout.place.tolist()
        ]  # fmt: skip
        self.filling = True
        try:
            output = self._forward(rows.input_ids, rows.position_ids, tree=tree, logits_to_keep=layout.place)
        finally:
            self.filling = False
        return output[0]

    def enter(self, number: int) -> None:
        """Prompt `number` of those that were last encoded takes the next row."""
        path = self.paths[number]
        for layer in self.layers:
            layer.take(self.used, path)
        self.lengths[self.used] = len(path)
        self.used += 1

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """(n, V) logits of what follows, when each row in use goes on with a token."""
        self._hidden.clear()
        positions = self.lengths[: self.used, None].clone()
        logits = self._forward(torch.tensor(tokens)[:, None], positions, slots=self, logits_to_keep=1)[:, -1]
        self.lengths[: self.used] += 1
        return logits

    def leave(self, row: int) -> None:
        """Frees a row; the last one in use moves into it."""
        self.used -= 1
        if row != self.used:
            length = int(self.lengths[self.used])
            for layer in self.layers:
                layer.move(self.used, row, length)
            self.lengths[row] = length

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, **how: Any) -> torch.Tensor:
        output = self.model(input_ids=ids, position_ids=positions, past_key_values=self.cache, use_cache=True, **how)
        return output.logits


@torch.inference_mode()
def unfit(model: PreTrainedModel) -> str | None:
    """Why a model cannot be sampled from in slots; None where its logits are those of a plain pass."""
    if model.device.type != "cpu":
        return "it is on a GPU"
    if reason := tree_attention.missing_feature(model):
        return reason
    vocabulary = model.config.get_text_config().vocab_size
    sequences = [[(7 * i + 3 * j + 1) % vocabulary for j in range(6 + i)] for i in range(3)]
    sequences[1][:4] = sequences[0][:4]
    try:
        with Slots(model, 3, 16) as slots:
            found = [slots.prefill([sequence[:-2] for sequence in sequences])]
            for number in range(3):
                slots.enter(number)
            found += [slots.step([sequence[-2] for sequence in sequences])]
            slots.leave(0)  # the last one is the first now
            found += [slots.step([sequences[2][-1], sequences[1][-1]])]
        for number, sequence in enumerate(sequences):
            plain = model(torch.tensor([sequence])).logits[0].float()
            told = [found[0][number], found[1][number]]
            told += [found[2][2 - number]] if number else []
            for logits, expected in zip(told, plain[-3:], strict=False):
                if not torch.allclose(logits.float().softmax(-1), expected.softmax(-1), atol=CLOSE):
                    return "its logits are others than those of a plain pass"
    except (NotImplementedError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        return f"it cannot ({type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''})"
    return None
