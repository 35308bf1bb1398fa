"""Attention in which every token of a row of trees sees its own path only, as transformers' attention `sami-tree`.

A dense mask would spend most of its arithmetic on pairs that are masked. Here the visible pairs are computed as blocks:
a causal one for each node, and a full one of all that descends from a node against that node. Partial softmaxes are
merged by their log-sum-exps, exactly as flash attention merges its own tiles (arXiv 2205.14135, section 3.1), and the
backward pass of a block with the merged output and log-sum-exp gives that block's share of the gradient.

On CUDA, FlexAttention does the same with a block mask. What neither supports is computed densely, tree by tree.

Dimensions: one row of L tokens, heads (of queries; keys and values may have fewer, which are shared), D size of a head.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from sami.scoring.layout import Tree

NAME = "sami-tree"


# What layers pass along that changes nothing here, besides the two features that are supported.
HARMLESS = {"position_ids", "use_cache", "cache_position", "output_attentions", "dropout", "is_causal",
            "output_router_logits"}  # fmt: skip


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: int | None,
    scaling: float | None = None,
    tree: Tree | None = None,
    **features: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of a layer of a transformers model, over one row of trees.

    Args:
        query: (1, heads, L, D). key, value: (1, key-value heads, L, D).
        attention_mask: the range that the library's own mask would have (see `_mask`).
        tree: which tokens see each other.
        features: what else the layer asks for: `sliding_window` (tokens) and `softcap` are supported. Dropout is left
            out, since policies are trained without.

    Returns:
        (1, L, heads, D), and None for the attention weights.

    Raises:
        NotImplementedError: the layer asks for something else, or `tree` did not reach it.
    """
    window, softcap = supported(attention_mask, features)
    if tree is None:
        raise NotImplementedError(
            f"the attention {NAME} needs a tree, which `Scorer` passes to the model; for other uses of the model, call "
            "model.set_attn_implementation('sdpa')"
        )
    if window is not None and window >= tree.longest:
        window = None  # nothing is further away than that
    if query.is_cuda:
        output = flex(query, key, value, scaling, tree, window, softcap, compiled=True)
    elif window is None and softcap is None and query.shape[-1] == value.shape[-1]:
        blocks = [(node.start, node.stop, node.end) for node in tree.nodes]
        output = _Blocks.apply(query, key, value, blocks, scaling)
    else:
        output = dense(query, key, value, scaling, tree, window, softcap)
    return output.transpose(1, 2).contiguous(), None


def supported(attention_mask: int | None, features: Mapping[str, Any]) -> tuple[int | None, float | None]:
    """Window and soft cap of a layer's attention.

    Args:
        attention_mask: as `no_mask` gives it.
        features: what else the layer passes along.

    Raises:
        NotImplementedError: it asks for something else that changes results.
    """
    unknown = {name for name, value in features.items() if value is not None} - {"sliding_window", "softcap"} - HARMLESS
    window = features.get("sliding_window")
    if unknown:
        raise NotImplementedError(f"its attention has a feature of its own: {', '.join(sorted(unknown))}")
    if attention_mask is not None and attention_mask != window:
        raise NotImplementedError(f"its attention is limited to {attention_mask} tokens by its mask alone")
    return window, features.get("softcap")


def no_mask(*_: Any, local_size: int | None = None, **__: Any) -> int | None:
    """In place of a mask: how far the library's would let a token see. The tree says the rest."""
    return local_size


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, no_mask)


def missing_feature(model: PreTrainedModel) -> str | None:
    """What a model lacks for an attention of another's making; None where nothing is known to be in the way."""
    forward = inspect.signature(model.base_model.forward).parameters
    if other_layers(model):
        return "not all of its layers are attention"
    if not (model._supports_attention_backend and "position_ids" in forward):
        return "its attention cannot be replaced"
    return None


def other_layers(model: PreTrainedModel) -> bool:
    """Whether not all layers of a model are attention to all tokens or to a window of them."""
    layers = set(getattr(model.config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    return bool(model._is_stateful or layers)


@contextmanager
def instead_of_own(model: PreTrainedModel, name: str = NAME) -> Iterator[None]:
    """Gives a model this attention, or another of `name`, for a while, and then each of its parts the one it had."""
    configs = {id(part.config): part.config for part in model.modules() if isinstance(part, PreTrainedModel)}
    for config in list(configs.values()):
        for key in config.sub_configs:
            if (of_part := getattr(config, key)) is not None:
                configs[id(of_part)] = of_part
    # Setting it on a configuration sets it on those of its parts, so these come later.
    before = [(config, config._attn_implementation) for config in configs.values()]
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation


class _Blocks(torch.autograd.Function):
    """Exact attention from blocks (start, stop, end): tokens [start, stop) causally, and [stop, end) to all of them."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        blocks: Sequence[tuple[int, int, int]],
        scale: float | None,
    ) -> torch.Tensor:
        ctx.heads = key.shape[1]
        key, value = _for_each_head(key, query), _for_each_head(value, query)
        output = torch.empty_like(query)  # (1, heads, L, D)
        # (1, heads, L): log of the sum of exp(score) over what a token has seen so far.
        lse = query.new_empty(query.shape[:3], dtype=torch.promote_types(query.dtype, torch.float32))
        run = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        for start, stop, _ in blocks:
            own = slice(start, stop)
            seen = key[:, :, own], value[:, :, own]
            output[:, :, own], lse[:, :, own] = run(query[:, :, own], *seen, 0.0, True, scale=scale)
        # Nodes come before their descendants, and a softmax may be merged in any order.
        for start, stop, end in blocks:
            if stop < end:
                own, below = slice(start, stop), slice(stop, end)
                part, part_lse = run(query[:, :, below], key[:, :, own], value[:, :, own], 0.0, False, scale=scale)
                # The softmax over both sets of keys: each part weighs exp(its lse - lse of both).
                merged = torch.logaddexp(lse[:, :, below], part_lse)
                output[:, :, below] *= (lse[:, :, below] - merged).exp_().unsqueeze(-1)
                output[:, :, below] += part * (part_lse - merged).exp_().unsqueeze(-1)
                lse[:, :, below] = merged
        ctx.save_for_backward(query, key, value, output, lse)
        ctx.blocks, ctx.scale = blocks, scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, output, lse = ctx.saved_tensors
        by_query, by_key, by_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        run = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

        def share(seeing: slice, seen: slice, causal: bool) -> tuple[torch.Tensor, ...]:
            # The library's backward pass recovers a block's weights as exp(score - lse). With the lse of the whole row
            # these are the weights of the whole softmax, so that the block's share of the gradient comes out.
            parts = (tensor[:, :, seeing] for tensor in (output, lse))
            inputs = query[:, :, seeing], key[:, :, seen], value[:, :, seen]
            return run(gradient[:, :, seeing], *inputs, *parts, 0.0, causal, scale=ctx.scale)

        for start, stop, _ in ctx.blocks:
            own = slice(start, stop)
            by_query[:, :, own], by_key[:, :, own], by_value[:, :, own] = share(own, own, True)
        for start, stop, end in ctx.blocks:
            if stop < end:
                own, below = slice(start, stop), slice(stop, end)
                for total, place, part in zip(
                    (by_query, by_key, by_value), (below, own, own), share(below, own, False), strict=True
                ):
                    total[:, :, place] += part
        return by_query, _for_each_group(by_key, ctx.heads), _for_each_group(by_value, ctx.heads), None, None


def _for_each_head(tensor: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Repeats key-value heads so that each query head has its own (grouped-query attention)."""
    groups = query.shape[1] // tensor.shape[1]
    return tensor if groups == 1 else tensor.repeat_interleave(groups, dim=1)


def _for_each_group(gradient: torch.Tensor, heads: int) -> torch.Tensor:
    """Sums the gradients of repeated heads: the reverse of `_for_each_head`."""
    return gradient if gradient.shape[1] == heads else gradient.unflatten(1, (heads, -1)).sum(2)


def flex(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    tree: Tree,
    window: int | None,
    softcap: float | None,
    compiled: bool,
) -> torch.Tensor:
    """FlexAttention (torch.nn.attention.flex_attention) with the tree as its block mask."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    if window not in tree.masks:  # the same for all layers
        extent, positions = tree.extent.to(query.device), tree.positions.to(query.device)
        wide = None if window is None else _captured(window, query)

        def visible(batch: torch.Tensor, head: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
            # The law of `Tree`; a window counts positions, not places in the row.
            seen = (j <= i) & (i < extent[j])
            return seen if wide is None else seen & (positions[i] - positions[j] < wide)

        tree.masks[window] = create_block_mask(visible, None, None, query.shape[2], query.shape[2], device=query.device)
    run: Callable[..., torch.Tensor] = flex_attention
    if compiled:
        run = _compiled_flex()
    return run(
        query,
        key,
        value,
        score_mod=None if softcap is None else _capped(_captured(softcap, query)),
        block_mask=tree.masks[window],
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _captured(number: float, query: torch.Tensor) -> torch.Tensor:
    """A number that FlexAttention's functions hold, () where the queries are.

    With dynamic shapes, a compiled function makes a symbol of a Python number that it captures, which FlexAttention
    cannot put into its kernel; and another number would compile it again.
    """
    return torch.full((), number, device=query.device)


def _capped(softcap: torch.Tensor) -> Callable[..., torch.Tensor]:
    """The cap of scores, as FlexAttention calls it."""

    def capped(
        score: torch.Tensor, batch: torch.Tensor, head: torch.Tensor, i: torch.Tensor, j: torch.Tensor
    ) -> torch.Tensor:
        return softcap * torch.tanh(score / softcap)

    return capped


@functools.cache
def _compiled_flex() -> Callable[..., torch.Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def dense(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    tree: Tree,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Plain attention under a mask, for each tree by itself."""
    key, value = _for_each_head(key, query), _for_each_head(value, query)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling  # torch's own default, as in the other two
    outputs = []
    for root in tree.roots:
        part = slice(root.start, root.end)  # of T tokens
        index = torch.arange(root.start, root.end)
        i, j = index[:, None], index[None, :]  # (T, 1), (1, T)
        visible = (j <= i) & (i < tree.extent[j])
        if window is not None:
            visible &= tree.positions[i] - tree.positions[j] < window
        scores = query[:, :, part] @ key[:, :, part].transpose(2, 3) * scale  # (1, heads, T, T)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        scores = scores.masked_fill(~visible.to(scores.device), -torch.inf)
        weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)
        outputs.append(weights @ value[:, :, part])
    return torch.cat(outputs, dim=2)
