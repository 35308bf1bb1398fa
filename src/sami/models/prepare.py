"""Models from a wheel, a path, the hub or a draw, made into folders of safetensors that `sami.models.pretrained` loads.

Weights are read from safetensors or GGUF only, never from pickled files.
"""

import importlib.metadata
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedModel

from sami.data.prompts import Conversation, chat_tokens
from sami.errors import UserError, listed, within
from sami.files import require_space
from sami.models import pretrained, weight_files
from sami.models.folders import SPECIFICATION
from sami.models.gguf_files import convert
from sami.models.random_weights import draw
from sami.models.wheels import wheel_files, whole
from sami.settings.models import Model

log = logging.getLogger(__name__)


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
    if model.licence is not None:
        log.info("%s: under the terms '%s', %s", where, model.licence.name, model.licence.terms)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:  # for a file that comes in parts
        _prepare(name, model, output, *_source(where, name, model, Path(folder)))
    tokenizer = pretrained.load_tokenizer(output)
    for conversation in conversations:
        if tokenizer.chat_template or conversation.required:
            chat_tokens(conversation.messages, tokenizer, conversation.settings, where)


def _prepare(name: str, model: Model, output: Path, source: Path | None, origin: str) -> None:
    """Makes the folder of a model of its source."""
    output.mkdir()
    kept = {"dtype", "trust_remote_code", "chat_template_kwargs", "chat_template_date"}
    kept |= {"licence"} if model.licence else set()
    specification = {**model.model_dump(mode="json", include=kept), "origin": origin}
    (output / SPECIFICATION).write_text(json.dumps(specification) + "\n")
    if source is None:
        draw(name, model, output)
    with within(f"model '{name}'"):
        if source is not None:
            _fill(source, model, output)
        pretrained.load_tokenizer(output)
        _require_finite(output)


def _source(where: str, name: str, model: Model, folder: Path) -> tuple[Path | None, str]:
    """The folder or GGUF file that a model is prepared from (None: it is drawn), and its origin in words.

    Args:
        folder: an empty one, for a file that is put together of parts.
    """
    if model.source == "wheel":
        version = importlib.metadata.version
        file = whole(wheel_files(where, model), model, where, folder)
        return file, f"{model.package}=={version(model.package)}: {model.file}"
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
    with pretrained.readable(source):
        weights, report = convert(source, getattr(torch, model.dtype), output)
    pretrained.require_complete(source, weights, report)
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
    with pretrained.readable(source):
        model = _empty(source, output)

        def report(rename: Callable[[str], str]) -> dict:
            held = {rename(name): torch.empty(entry["shape"], device="meta") for name, entry in tensors.items()}
            with pretrained.quiet("transformers"):
                return type(model).from_pretrained(
                    None, config=model.config, state_dict=held, device_map="meta", **pretrained.REPORT
                )[1]

        found, tied = report(str), getattr(model, "all_tied_weights_keys", None) or {}
        renamed = {weight_files.unwrapped(name) for name in tensors}
        if pretrained.absent_weights(model, found) and renamed != set(tensors) and len(renamed) == len(tensors):
            again = report(weight_files.unwrapped)
            if len(pretrained.absent_weights(model, again)) < len(pretrained.absent_weights(model, found)):
                pretrained.require_complete(source, model, again)
                _tell_unused(source, again)
                log.info(
                    "%s: weights are read without prefixes such as '%s'", source, sorted(set(tensors) - renamed)[0]
                )
                return weight_files.unwrapped, tied
    pretrained.require_complete(source, model, found)
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
            one, other = (_tensor(holder[name], name).to(pretrained.dtype_of(folder)) for name in pair)
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
    told = pretrained.config(folder)
    named = ", ".join(told.architectures or [told.model_type])
    message = (
        f"{source}: config.json describes {named}, expected a causal language model (...ForCausalLM), which writes "
        "text. Take another model; or, if its weights are those of a causal language model, mend 'architectures' there."
    )
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(told, **pretrained.trust(folder))
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
    largest = torch.finfo(pretrained.dtype_of(folder)).max
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
