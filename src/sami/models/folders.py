"""Prepared model folders: what can be told of one without reading its weights into memory.

Ground floor: no torch. `sami.models.prepare` makes them, `sami.models.pretrained` loads them.
"""

import datetime
import hashlib
import json
from pathlib import Path

from sami.errors import UserError
from sami.settings.models import TEMPLATE_DATE

SPECIFICATION = "sami_model.json"  # kept with the weights: how to load them, and where they come from


def require(folder: Path | None, user: str) -> Path:
    """The folder, where it holds a prepared model.

    Raises:
        UserError: it holds none. `user` says what needs one ("a writer of kind 'local'").
    """
    if folder is None or not (folder / SPECIFICATION).is_file():
        raise UserError(
            f"--model: found {folder or 'nothing'}, expected a prepared model folder, which {user} needs. Make one "
            "with the stage prepare_model."
        )
    return folder


def specification(folder: Path) -> dict:
    """The mapping of `SPECIFICATION`. Raises UserError where it is missing or broken."""
    try:
        found = json.loads((folder / SPECIFICATION).read_bytes())
        required = {key: found[key] for key in ("dtype", "trust_remote_code", "origin")}
        usual = {"chat_template_kwargs": {}, "chat_template_date": TEMPLATE_DATE.isoformat()}  # of older folders
        return usual | required | {key: found[key] for key in usual if key in found}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder / SPECIFICATION}: cannot be read ({error}), expected what the stage prepare_model writes. "
            "Make the model again."
        ) from None


def declared_end_tokens(folder: Path) -> set[int]:
    """Ids of the end tokens that a model declares beside its tokenizer's: in generation_config.json, or config.json.

    Chat models often have several: Llama 3 ends a turn with <|eot_id|>, Gemma with <end_of_turn>, while the tokenizer
    names only the end of a text.
    """
    for name in ("generation_config.json", "config.json"):
        file = folder / name
        try:
            declared = json.loads(file.read_bytes()).get("eos_token_id") if file.is_file() else None
        except (ValueError, AttributeError) as error:
            raise UserError(
                f"{file}: cannot be read ({error}), expected a mapping in JSON. Fetch it again, and prepare the model."
            ) from None
        if declared is not None:
            return set(declared) if isinstance(declared, list) else {declared}
    return set()


def chat_template(folder: Path) -> str | None:
    """The chat template that a folder holds, None where it holds none or one for each of several purposes."""
    file = folder / "chat_template.jinja"  # it counts before the other place
    if file.is_file():
        return file.read_text(encoding="utf-8")
    configuration = folder / "tokenizer_config.json"
    told = json.loads(configuration.read_text(encoding="utf-8")) if configuration.is_file() else {}
    return told.get("chat_template") if isinstance(told.get("chat_template"), str) else None


def dated(template: str, folder: Path) -> str:
    """A chat template for which it is always the day that the model's entry gives.

    Templates that write today's date (Llama 3.1, gpt-oss) call `strftime_now`, which looks at the clock in the library:
    with it the same query would have another prompt tomorrow. A macro of that name takes its place.
    """
    day = datetime.date.fromisoformat(specification(folder)["chat_template_date"])
    midnight = datetime.datetime.combine(day, datetime.time())
    directives = [f"%{padding}{letter}" for padding in ("-", "") for letter in "aAbBcdDeFGHIjmMpRSTuUVwWxXyYzZ"]
    replaced = "".join(f"|replace('{directive}', '{midnight.strftime(directive)}')" for directive in directives)
    macro = "{% macro strftime_now(format) %}{{ format" + replaced + "|replace('%%', '%') }}{% endmacro %}{{ '' }}"
    return macro + template if "strftime_now" in template else template


def check_tensor_parallel(folder: Path, gpus: int) -> None:
    """Raises UserError where the attention heads of a model cannot be divided evenly among so many GPUs."""
    config = json.loads((folder / "config.json").read_text())
    config = config.get("text_config", config)
    heads = config.get("num_attention_heads", gpus)
    shared = config.get("num_key_value_heads") or heads

    def even(count: int) -> bool:
        return heads % count == 0 and (shared % count == 0 or count % shared == 0)

    if not even(gpus):
        fitting = ", ".join(str(count) for count in range(1, heads + 1) if even(count))
        raise UserError(
            f"{folder}: {heads} attention heads, {shared} of them for keys and values, cannot be divided evenly among "
            f"{gpus} GPUs: found engine.tensor_parallel = {gpus}, expected one of {fitting}."
        )


def fingerprint(folder: Path) -> str:
    """Tells a model from others, at little cost: digest of its configuration and of samples of its weights."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        length = path.stat().st_size
        digest.update(f"{path.name} {length}".encode())
        with path.open("rb") as file:
            for start in range(0, length, max(1, length // 64)):
                file.seek(start)
                digest.update(file.read(1 << 14))
    return digest.hexdigest()[:16]
