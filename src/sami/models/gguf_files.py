"""Models in GGUF files, of one part or several, become safetensors.

The library de-quantises them, but reads one file alone, and draws what is in other parts at random.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from sami.errors import UserError
from sami.models import weight_files

log = logging.getLogger(__name__)


def convert(file: Path, dtype: torch.dtype, output: Path) -> tuple[PreTrainedModel, dict]:
    """Writes the tokenizer of a GGUF file to the folder `output`, and de-quantises its weights.

    Args:
        file: any part of a split file stands for all.

    Returns:
        the model, and the library's report of what it found no weights for.

    Raises:
        UserError: gguf is not installed, or parts are missing or do not belong together.
    """
    log.info("converting %s (once)", file.name)
    # In a folder of its own, and by its full path: else files beside it, or of its name here, are taken for it.
    with tempfile.TemporaryDirectory(dir=output.absolute()) as folder:
        whole = Path(folder) / "model.gguf"
        join(weight_files.parts(file), whole)
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=str(whole), dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
        report["unexpected_keys"] = _unused(whole, model)
        AutoTokenizer.from_pretrained(folder, gguf_file=str(whole)).save_pretrained(output)
    # The weights are plain floats now, but the library still marks the model as quantised and refuses to save it.
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    del model.config.quantization_config
    return model, report


def join(files: Sequence[Path], output: Path) -> None:
    """Makes one GGUF file of the parts that llama.cpp splits one into; links to a file of one part.

    Raises:
        UserError: gguf is not installed, a file is not whole, or the parts are not those of one file.
    """
    try:
        import gguf
    except ImportError:
        raise UserError(f"{files[0]}: GGUF files need the package gguf: pip install 'sami[quickstart]'.") from None
    readers = []
    for number, file in enumerate(files):
        weight_files.beginning(file)
        try:
            readers.append(gguf.GGUFReader(file))
        except (ValueError, LookupError, UnicodeDecodeError) as error:  # what it meets where bytes are missing
            raise UserError(f"{file}: not a whole GGUF file ({error}). {weight_files.AGAIN}") from None
        found = [_number(readers[-1], key, usual) for key, usual in (("split.no", 0), ("split.count", 1))]
        if found != [number, len(files)] and [number, *found] != [0, 0, 0]:
            raise UserError(
                f"{file}: this is part {found[0] + 1} of {found[1]} by its own metadata, but its name says part "
                f"{number + 1} of {len(files)}. Name the parts NAME-00001-of-{found[1]:05}.gguf, ..., in one folder."
            )
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    total = _number(readers[0], "split.tensors.count", len(tensors))
    if len({tensor.name for tensor in tensors}) != len(tensors) or total != len(tensors):
        raise UserError(
            f"{files[0]}: found {len(tensors)} weights in {len(files)} parts, expected {total} different ones. The "
            "parts are not those of one model."
        )
    if len(files) == 1:
        output.symlink_to(files[0].resolve())
        return
    writer = gguf.GGUFWriter(output, readers[0].get_field("general.architecture").contents())
    for field in readers[0].fields.values():
        if not field.name.startswith(("GGUF.", "split.", "general.architecture")):
            kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for tensor in tensors:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for reader in readers:
        for tensor in reader.tensors:
            writer.write_tensor_data(tensor.data, tensor_endianess=reader.endianess)
    writer.close()


def _number(reader, key: str, usual: int) -> int:
    field = reader.get_field(key)
    return int(field.contents()) if field else usual


def _unused(file: Path, model: PreTrainedModel) -> set[str]:
    """Weights of a GGUF file that the library passes over without a word, since the model has no such ones."""
    import gguf
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

    reader = gguf.GGUFReader(file)
    architecture = reader.get_field("general.architecture").contents()
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=model.config.to_dict())
    return {tensor.name for tensor in reader.tensors} - set(get_gguf_hf_weights_map(model, processor))
