"""Prepared model folders: what can be told of one without reading its weights into memory.

Ground floor: no torch. `sami.models` makes and loads them.
"""

import hashlib
import json
from pathlib import Path

from sami.errors import UserError

SPECIFICATION = "sami_model.json"  # kept with the weights: dtype, trust_remote_code, and where they come from


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
        return {key: found[key] for key in ("dtype", "trust_remote_code", "origin")}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder / SPECIFICATION}: cannot be read ({error}), expected what the stage prepare_model writes. "
            "Make the model again."
        ) from None


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
