"""Prepared models in memory: weights, tokenizer and configuration of a folder that `sami.models.prepare` has made.

    model, tokenizer = pretrained.load(folder), pretrained.load_tokenizer(folder)

Weights are read from safetensors only, never from pickled files.
"""

import errno
import functools
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from sami.errors import UserError, listed
from sami.models import weight_files
from sami.models.folders import SPECIFICATION, dated, declared_end_tokens, specification

REPORT: dict = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # all that do not fit, not the first


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a prepared model.

    It pads on the left, as sampling needs, and its chat template has the switches and the date of the model's entry.

    Raises:
        UserError: there is none that the library can read; it has no end token, so no response could end.
    """
    with readable(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", **trust(folder))
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"{folder}: the tokenizer has no end token ('eos_token'), so no response could end. "
            "Add it to tokenizer_config.json of the model."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked everywhere, so any token serves
    template = tokenizer.chat_template
    if isinstance(template, dict):  # of some tokenizers, one for each of several purposes
        template = template.get("default")
    if template:
        options = {**specification(folder)["chat_template_kwargs"], "chat_template": dated(template, folder)}
        tokenizer.apply_chat_template = functools.partial(tokenizer.apply_chat_template, **options)
    return tokenizer


def end_tokens(folder: Path, tokenizer: Any) -> list[int]:
    """Ids of the tokens that end a response: the tokenizer's end token first, and all that the model declares."""
    return [tokenizer.eos_token_id, *sorted(declared_end_tokens(folder) - {tokenizer.eos_token_id})]


def load(folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The weights of a prepared model, in the dtype it was prepared with or a given one, on the GPU if there is one.

    Raises:
        UserError: weights are missing; see `read`.
    """
    model = read(folder, dtype or dtype_of(folder))
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def read(folder: Path, dtype: torch.dtype, **options: Any) -> PreTrainedModel:
    """Loads a prepared model with `from_pretrained`, unless that would draw any of its weights at random.

    Args:
        options: further arguments of `from_pretrained`.

    Raises:
        UserError: weights are missing, cut short, or of another shape: links may lead to files that have changed.
    """
    weight_files.headers(weight_files.weights_of(folder))
    config(folder)  # a broken one is told plainly; loading itself is not, whose errors may be the machine's
    with quiet("transformers"):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, **REPORT, **trust(folder), **options
        )
    require_complete(folder, model, report)
    return model


def without_weights(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model of a prepared folder on the device `meta`: its modules and shapes, but no memory for its weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(folder, **trust(folder)), dtype=dtype, **trust(folder)
        ).eval()


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
    """The library's configuration of a prepared model. Raises UserError where it cannot be read."""
    with readable(folder):
        return AutoConfig.from_pretrained(folder, **trust(folder))


def context_length(config: PreTrainedConfig) -> int:
    """The most tokens a model can attend to; unlimited (a very large number) where its configuration sets none."""
    return getattr(config, "max_position_embeddings", None) or 1 << 40


def dtype_of(folder: Path) -> torch.dtype:
    """The dtype that a model was prepared with."""
    return getattr(torch, specification(folder)["dtype"])


def trust(folder: Path) -> dict:
    """Arguments of the library's loaders that allow a model's own code, where its configuration says so."""
    return {"trust_remote_code": specification(folder)["trust_remote_code"]}  # said, so that nobody is asked


def absent_weights(model: PreTrainedModel, report: dict) -> list[str]:
    """Weights that the library did not find, or found in another shape; buffers that it computes itself are none."""
    buffers = {name for name, _ in model.named_buffers()}
    return sorted({*report["missing_keys"]} - buffers | {name for name, *_ in report["mismatched_keys"]})


def require_complete(source: Path, model: PreTrainedModel, report: dict) -> None:
    """Refuses a model some of whose weights the library would draw at random.

    Args:
        report: the library's report of loading.
    """
    absent, unused = absent_weights(model, report), sorted(report["unexpected_keys"])
    adapters = [name for name in unused if "lora_" in name]
    if adapters:
        raise UserError(
            f"{source}: found weights of adapters ({listed(adapters, 3)}), expected those of the model alone. "
            "Merge them with peft's `merge_and_unload` and save the model again."
        )
    if absent:
        shapes = {name: f" (found {tuple(a)}, expected {tuple(b)})" for name, a, b in report["mismatched_keys"]}
        told = listed([name + shapes.get(name, "") for name in absent], 3)
        instead = f" Found others that it has no use for: {listed(unused, 3)}." if unused else ""
        raise UserError(
            f"{source}: {len(absent)} weights of the model that its configuration describes are missing or of another "
            f"shape: {told}.{instead} Save the whole model with `save_pretrained`, with its own config.json."
        )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Makes one message of whatever the library meets in a model's files: it has no kind of error of its own."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        if os.strerror(errno.ENOSPC) in said:  # no fault of the files
            raise
        if "trust_remote_code" in said:
            raise UserError(
                f"{path}: the model brings Python code of its own, which is not run. Read it; if you trust it, set "
                "trust_remote_code: true in the models file. Else take a model that transformers knows."
            ) from error
        if "conversion of the weights" in said:  # which the library's table, too long for a message, tells of
            said = "weights that belong together, such as those of a layer's experts, are missing or differ in shape"
        raise UserError(f"{path}: transformers cannot read it: {said:.400}. Mend it, or take another model.") from error


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Keeps a logger of the library from its table of missing and unused weights, where our words stand."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
