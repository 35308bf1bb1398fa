"""Sharding with FSDP2: wrapping modules that no process holds whole, and filling them with weights.

With one process in one precision there is nothing to shard, and a module stays as it is.
"""

import functools
from pathlib import Path

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from transformers import PreTrainedModel

from sami.distributed.processes import Processes
from sami.models import engine_limits, pretrained

# precision -> dtypes of the weights that the optimiser updates, of the passes, and of summed gradients
PRECISIONS = {name: tuple(getattr(torch, kind) for kind in kinds) for name, kinds in engine_limits.PRECISIONS.items()}
PRODUCTS = {  # what selective checkpointing keeps
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.higher_order.flex_attention,
}


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The blocks that a model repeats: the members of its longest list of modules."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    longest = max(lists, key=len, default=nn.ModuleList())
    return list(longest)


def checkpoint_layers(layers: list[nn.Module], how: str) -> None:
    """Has layers compute again in the backward pass what the forward pass does not keep.

    Args:
        how: `selective`: all but matrix products and attention; `full`: all but the layers' inputs.
    """
    again: dict = {"use_reentrant": False}
    if how == "selective":
        again["context_fn"] = functools.partial(create_selective_checkpoint_contexts, _keep_products)
    for layer in layers:  # inside the sharded layer, so that its weights are gathered once for both
        layer.forward = functools.partial(checkpoint, layer.forward, **again)


def shard(module: nn.Module, layers: list[nn.Module], precision: str, group: Processes) -> None:
    """Shards a module in place, where there is anything to shard: each of its layers, and the rest as the root.

    Everything must then happen inside the module's own forward pass, in which its parameters are gathered.

    Args:
        layers: parts of the module that run one after the other.
        precision: a key of `PRECISIONS`.
        group: the processes.
    """
    weights_dtype, compute_dtype, reduce_dtype = PRECISIONS[precision]
    if group.size == 1 and weights_dtype == compute_dtype:
        return
    mesh = init_device_mesh(group.device.type, (group.size,))
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=reduce_dtype, cast_forward_inputs=False)
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    # The root holds the embeddings, the last norm and the head: they stay whole from the forward to the backward pass.
    fully_shard(module, mesh=mesh, mp_policy=policy)


def shard_beside(body: nn.Module, module: nn.Module, group: Processes) -> None:
    """Shards a small module in place, in its own dtype, where the body that it is trained with is sharded.

    An optimiser and the norm of a gradient take shards, or whole tensors, but not both.
    """
    if isinstance(body, FSDPModule):
        fully_shard(module, mesh=init_device_mesh(group.device.type, (group.size,)))


def _keep_products(context: object, operation: object, *_: object, **__: object) -> CheckpointPolicy:
    """Keeps matrix products and attention in selective checkpointing: they take nearly all of the time."""
    keep = operation in PRODUCTS
    return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE


def load_shards(model: PreTrainedModel, folder: Path, dtype: torch.dtype, group: Processes) -> None:
    """Fills a sharded model on the device `meta` with the weights of a folder, of which each process reads its shards.

    The library reads shards, and translates names and shapes of checkpoints, under a wrapping of its own (a second
    model, whose parameters this one then takes over).
    """
    from transformers.distributed.configuration_utils import DistributedConfig

    source = pretrained.read(folder, dtype, distributed_config=DistributedConfig(fsdp_size=group.size))
    shards = source.state_dict()
    model.load_state_dict(
        {name: _like(shards[name], parameter) for name, parameter in model.state_dict().items()}, assign=True
    )
    model.tie_weights()  # `assign` has replaced the parameters that were tied
    for name, buffer in source.named_buffers():  # those that no file holds, such as the frequencies of positions
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, buffer)
    # For saving under the names of the files.
    model._weight_conversions = getattr(source, "_weight_conversions", None)  # type: ignore[assignment]  # no parameter


def _like(shard: DTensor, parameter: DTensor) -> DTensor:
    """The same shard on the mesh of our own wrapping."""
    if shard.placements != parameter.placements:
        shard = shard.redistribute(placements=parameter.placements)
    return DTensor.from_local(
        shard.to_local(),
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
