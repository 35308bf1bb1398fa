"""A prepared model as a scorer, sharded over processes where there are several."""

import functools
from collections.abc import Callable
from pathlib import Path

from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from sami.distributed.processes import Processes
from sami.distributed.sharding import PRECISIONS, checkpoint_layers, decoder_layers, load_shards, shard
from sami.models import pretrained
from sami.scoring.scorer import Scorer


def load_scorer(
    folder: Path,
    group: Processes,
    precision: str,
    layout_name: str,
    activation_checkpointing: str = "none",
    reference_head: nn.Linear | None = None,
    adapt: Callable[[PreTrainedModel], PreTrainedModel] = lambda model: model,
) -> Scorer:
    """A model, sharded over the processes of a group and ready to score.

    Args:
        folder: a prepared model.
        group: the processes; each reads only its shard of the weights.
        precision: a key of `PRECISIONS`.
        layout_name: how to score (see `Scorer.select_layout`).
        activation_checkpointing: `none`; `selective`: compute all but matrix products and attention again in the
            backward pass; `full`: keep only the inputs of decoder layers and compute the layers again.
        reference_head: of a KL term.
        adapt: receives the model before it is sharded, to freeze a part; in a single process, to put adapters in.
    """
    weights_dtype = PRECISIONS[precision][0]
    if group.size == 1:
        model = adapt(pretrained.load(folder, weights_dtype))
        return as_scorer(model, group, precision, layout_name, activation_checkpointing, reference_head)
    model = adapt(pretrained.without_weights(folder, weights_dtype))
    fill = functools.partial(load_shards, model, folder, weights_dtype, group)
    return as_scorer(model, group, precision, layout_name, activation_checkpointing, reference_head, fill)


def as_scorer(
    model: PreTrainedModel,
    group: Processes,
    precision: str,
    layout_name: str,
    activation_checkpointing: str = "none",
    reference_head: nn.Linear | None = None,
    fill: Callable[[], None] = lambda: None,
) -> Scorer:
    """A model in memory, changed in place, as `load_scorer` returns it.

    Args:
        fill: gives the model its weights, once it is sharded, where it has none yet.
    """
    layers, recomputes = decoder_layers(model), activation_checkpointing != "none"
    scorer = Scorer(model, reference_head, PRECISIONS[precision][1], recomputes)
    if recomputes:
        checkpoint_layers(layers, activation_checkpointing)
    shard(scorer, layers, precision, group)
    fill()
    scorer.select_layout(layout_name)
    if isinstance(scorer, FSDPModule):
        scorer.reshard()  # a pass without gradients leaves the root's parameters whole
    return scorer
