"""Sharding with FSDP2: loading, wrapping and saving models that no process holds whole.

With one process in one precision there is nothing to shard, and the model stays as the library loads it.
"""

import functools
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from sami.distributed.processes import Processes
from sami.models import engine_limits, pretrained
from sami.scoring.scorer import Scorer

# precision -> dtypes of the weights that the optimiser updates, of the passes, and of summed gradients
PRECISIONS = {name: tuple(getattr(torch, kind) for kind in kinds) for name, kinds in engine_limits.PRECISIONS.items()}
PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.higher_order.flex_attention,
}
FILE_BYTES = 4 << 30  # of a file of saved weights, and so of what the main process gathers at a time


def load_scorer(
    folder: Path,
    group: Processes,
    precision: str,
    way: str,
    activation_checkpointing: str = "none",
    reference_head: nn.Linear | None = None,
    adapt=lambda model: model,
) -> Scorer:
    """A model, sharded over the processes of a group and ready to score.

    Args:
        folder: a prepared model.
        group: the processes; each reads only its shard of the weights.
        precision: a key of `PRECISIONS`.
        way: how to score (see `Scorer.choose`).
        activation_checkpointing: `none`; `selective`: compute all but matrix products and attention again in the
            backward pass; `full`: keep only the inputs of decoder layers and compute the layers again.
        reference_head: of a KL term.
        adapt: receives the model before it is sharded, to put adapters into it.
    """
    weights_dtype, compute_dtype, _ = PRECISIONS[precision]
    if group.size == 1:
        model = adapt(pretrained.load(folder, weights_dtype))
        scorer = _wrap(Scorer(model, reference_head, compute_dtype), precision, group, activation_checkpointing)
    else:
        scorer = _load_sharded(folder, group, precision, activation_checkpointing, reference_head)
    scorer.choose(way)
    if isinstance(scorer, FSDPModule):
        scorer.reshard()  # a pass without gradients leaves the root's parameters whole
    return scorer


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The blocks that a model repeats: the members of its longest list of modules."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=len)) if lists else []


def _wrap(scorer: Scorer, precision: str, group: Processes, activation_checkpointing: str) -> Scorer:
    layers = decoder_layers(scorer.model)
    if activation_checkpointing != "none":
        scorer.recomputes = True
        again: dict = {"use_reentrant": False}
        if activation_checkpointing == "selective":
            again["context_fn"] = functools.partial(create_selective_checkpoint_contexts, _keep_products)
        for layer in layers:  # inside the sharded layer, so that its weights are gathered once for both
            layer.forward = functools.partial(checkpoint, layer.forward, **again)
    weights_dtype, compute_dtype, reduce_dtype = PRECISIONS[precision]
    if group.size == 1 and weights_dtype == compute_dtype:
        return scorer
    mesh = init_device_mesh(group.device.type, (group.size,))
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=reduce_dtype, cast_forward_inputs=False)
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    # The root holds the embeddings, the last norm and the head: they stay whole from the forward to the backward pass.
    return fully_shard(scorer, mesh=mesh, mp_policy=policy)


def _keep_products(context, operation, *_, **__) -> CheckpointPolicy:
    """What selective checkpointing keeps: matrix products and attention, which take nearly all of the time."""
    keep = operation in PRODUCTS
    return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE


def _load_sharded(folder, group, precision, activation_checkpointing, reference_head) -> Scorer:
    """Builds the model without memory, shards that, and fills in the shards, of which each process reads its own."""
    from transformers.distributed import DistributedConfig

    weights_dtype, compute_dtype, _ = PRECISIONS[precision]
    trust = pretrained.trust(folder)
    with torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, **trust)
        model = AutoModelForCausalLM.from_config(config, dtype=weights_dtype, **trust).eval()
    scorer = _wrap(Scorer(model, reference_head, compute_dtype), precision, group, activation_checkpointing)
    # The library reads shards, and translates names and shapes of checkpoints, under a wrapping of its own.
    source = pretrained.read(folder, weights_dtype, distributed_config=DistributedConfig(fsdp_size=group.size))
    shards = source.state_dict()
    model.load_state_dict(
        {name: _like(shards[name], parameter) for name, parameter in model.state_dict().items()}, assign=True
    )
    model.tie_weights()
    for name, buffer in source.named_buffers():  # those that no file holds, such as the frequencies of positions
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, buffer)
    model._weight_conversions = getattr(source, "_weight_conversions", None)
    return scorer


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


def save(model: PreTrainedModel, source: Path, output: Path, group: Processes) -> None:
    """Writes a trained policy as a folder like `source`, the prepared model that it was trained from.

    Weights are gathered and written a file at a time, in the dtype of `source`, as safetensors under the names that
    `from_pretrained` and other tools know. Every process must call this; the main one writes.
    """
    dtype = pretrained.dtype_of(source)
    state = model.state_dict()
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    names = [name for name in state if name not in tied]
    files = _files({name: state[name].numel() * dtype.itemsize for name in names}, model)
    if group.main:
        output.mkdir(exist_ok=True)
    index = {}
    for number, members in enumerate(files, 1):
        file = f"model-{number:05}-of-{len(files):05}.safetensors" if len(files) > 1 else "model.safetensors"
        tensors = {name: _whole(state[name], dtype, keep=group.main) for name in members}
        if group.main:
            tensors = revert_weight_conversion(model, tensors)
            save_file({name: t.contiguous() for name, t in tensors.items()}, output / file, metadata={"format": "pt"})
            index |= dict.fromkeys(tensors, file)
    if group.main:
        if len(files) > 1:
            size = sum(state[name].numel() * dtype.itemsize for name in names)
            content = {"metadata": {"total_size": size}, "weight_map": index}
            (output / "model.safetensors.index.json").write_text(json.dumps(content, indent=2) + "\n")
        pretrained.save_description(model, source, output)
    group.wait()


def _whole(tensor: torch.Tensor, dtype: torch.dtype, keep: bool) -> torch.Tensor | None:
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()  # all processes take part
    return tensor.detach().to("cpu", dtype, copy=True) if keep else None


def _files(sizes: dict[str, int], model: PreTrainedModel) -> list[list[str]]:
    """Names for each file: whole decoder layers (what is renamed together stays together), up to `FILE_BYTES`."""
    layers = set(map(id, decoder_layers(model)))
    prefixes = [f"{name}." for name, module in model.named_modules() if id(module) in layers]
    units: dict[str, list[str]] = {}
    for name in sizes:
        unit = next((prefix for prefix in prefixes if name.startswith(prefix)), name)
        units.setdefault(unit, []).append(name)
    files: list[list[str]] = [[]]
    for members in units.values():
        if files[-1] and sum(sizes[name] for name in files[-1] + members) > FILE_BYTES:
            files.append([])
        files[-1] += members
    return files
