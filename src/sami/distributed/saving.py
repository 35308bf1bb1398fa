"""Saving models that no process holds whole, as folders of safetensors."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from sami.distributed.processes import Processes
from sami.distributed.sharding import decoder_layers
from sami.models import pretrained

FILE_BYTES = 4 << 30  # of a file of saved weights, and so of what the main process gathers at a time


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
    index: dict[str, str] = {}
    for number, members in enumerate(files, 1):
        file = f"model-{number:05}-of-{len(files):05}.safetensors" if len(files) > 1 else "model.safetensors"
        gathered = ((name, whole(state[name], dtype, keep=group.main)) for name in members)
        kept = {name: tensor for name, tensor in gathered if tensor is not None}
        if group.main:
            tensors = revert_weight_conversion(model, kept)
            save_file({name: t.contiguous() for name, t in tensors.items()}, output / file, metadata={"format": "pt"})
            index |= dict.fromkeys(tensors, file)
    if group.main:
        if len(files) > 1:
            size = sum(state[name].numel() * dtype.itemsize for name in names)
            content = {"metadata": {"total_size": size}, "weight_map": index}
            (output / "model.safetensors.index.json").write_text(json.dumps(content, indent=2) + "\n")
        pretrained.save_description(model, source, output)
    group.wait()


def whole(tensor: torch.Tensor, dtype: torch.dtype, keep: bool) -> torch.Tensor | None:
    """A copy, on the processor, of a tensor that may be sharded; None where it is not to be kept. All must call it."""
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
