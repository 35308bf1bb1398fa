"""Files of a model as others hand them over: which of them belong together, and whether each is whole.

Ground floor: no torch. Names, shapes and lengths are read, never weights, so that a model of any size takes no time.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sami.errors import UserError, listed

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PART = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.safetensors|\.gguf)")
COPIED = {".json", ".jinja", ".model", ".txt", ".py"}  # what belongs to a model beside its weights
MAPPINGS = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
FLOATS = {"F64", "F32", "F16", "BF16"}
# What compiling, sharding, recomputing, data parallelism, adapters and value heads put into the names of weights.
WRAPPERS = re.compile(
    r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_fpw_module|_checkpoint_wrapped_module|_forward_module|module"
    r"|base_model\.model|base_layer|pretrained_model)\."
)
LONGEST_HEADER = 100_000_000  # bytes; the format allows no more
AGAIN = "Copy or download it again."


def check(path: Path) -> None:
    """Refuses a model that cannot be prepared, as far as that can be told without reading its weights.

    Args:
        path: a model folder or a GGUF file, as somebody has made it.

    Raises:
        UserError: a file is missing, cut short, or something else (a pointer of git-lfs, a web page); or the folder
            holds no plain weights, but an adapter or quantised ones.
    """
    if path.suffix == ".gguf" and not path.is_dir():
        for part in parts(path):
            if beginning(part)[:4] != b"GGUF":
                raise UserError(f"{part}: this is no GGUF file. {AGAIN}")
        return
    files = [file for file in path.iterdir() if file.suffix in COPIED] if path.is_dir() else []
    adapter = next((path / name for name in ADAPTERS if _there(path / name)), None)
    if adapter:
        raise UserError(
            f"{adapter}: found an adapter (LoRA or the like), expected a whole model. Merge it into its base with "
            f"peft: AutoPeftModelForCausalLM.from_pretrained('{path}').merge_and_unload().save_pretrained(FOLDER); "
            "save the tokenizer there, too, and give that folder. If the weights beside it are merged ones already, "
            "move the adapter's files elsewhere."
        )
    for file in files:
        beginning(file, empty=file.name not in MAPPINGS)
    weights = weights_of(path)
    if not (path / "config.json").is_file():
        raise _no_folder(path)
    mappings = {file.name: read_mapping(file) for file in files if file.name in MAPPINGS}
    _check_plain(path, mappings["config.json"], headers(weights))


def _check_plain(path: Path, config: dict[str, Any], tensors: dict[str, dict[str, Any]]) -> None:
    """Raises UserError where weights are quantised: the library would need packages of others, or read noise."""
    told = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    whole = [name for name, entry in tensors.items() if name.endswith("weight") and entry["dtype"] not in FLOATS]
    if told or whole:
        kind = told.get("quant_method", "quantised") if isinstance(told, dict) else tensors[whole[0]]["dtype"]
        where = "config.json: quantization_config" if told else f"the weight {whole[0]}"
        raise UserError(
            f"{path}: found quantised weights ({kind}; {where}), expected plain floating-point numbers, which can be "
            "trained. Take the model that they were made from, a GGUF file of it, or save it again after "
            "`model.dequantize()`, without that key."
        )


def weights_of(folder: Path) -> list[Path]:
    """The safetensors files that make up the model of a folder, as the library chooses them; also parts without index.

    Raises:
        UserError: there are none, or some are missing.
    """
    if _there(folder / WEIGHTS):
        return [folder / WEIGHTS]
    index = folder / INDEX
    if _there(index):
        names = read_mapping(index).get("weight_map")
        if not isinstance(names, dict) or not names or any(Path(str(name)).name != name for name in names.values()):
            raise UserError(f"{index}: expected 'weight_map', a mapping from weights to files beside it. {AGAIN}")
        return _all_there(index, [folder / name for name in sorted(set(names.values()))])
    matches = [match for file in folder.glob("*.safetensors") if (match := PART.fullmatch(file.name))]
    families = {(match["stem"], match["count"]): folder / match.string for match in matches}
    if len(families) != 1:
        raise _no_folder(folder)
    return parts(*families.values())


def parts(file: Path) -> list[Path]:
    """All parts of a split file (NAME-00001-of-00003.gguf), of which any is given, in order; or the file alone.

    Raises:
        UserError: a part is missing.
    """
    match = PART.fullmatch(file.name)
    if not match:
        return [file]
    numbers = range(1, int(match["count"]) + 1)
    names = [f"{match['stem']}-{number:05}-of-{match['count']}{match['suffix']}" for number in numbers]
    return _all_there(file, [file.with_name(name) for name in names])


def headers(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Tensors of safetensors files: name -> its `dtype` (F32, BF16, ...) and `shape`, as their headers tell.

    Raises:
        UserError: a file is cut short or no safetensors file, or two hold the same tensor.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        for name, entry in _header(file)[0].items():
            if name in found:
                raise UserError(f"{file}: the weight {name} stands in another part, too. Keep the right one's file.")
            found[name] = entry
    return found


def _header(file: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The tensors of a file, and the byte at which their data begins."""
    beginning(file)
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if 8 + length <= size and length <= LONGEST_HEADER else b""
    try:
        tensors = json.loads(text)
        tensors.pop("__metadata__", None)
        expected = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, AttributeError, LookupError, TypeError):
        raise UserError(
            f"{file}: this is no safetensors file, or only the beginning of one ({size} bytes). {AGAIN}"
        ) from None
    if size != expected:
        raise UserError(f"{file}: found {size} bytes, expected {expected}: the file is not whole. {AGAIN}")
    return tensors, 8 + length


def unwrapped(name: str) -> str:
    """The name of a weight without what wrappers of its model have put into it."""
    return WRAPPERS.sub("", name)


def rename(file: Path, output: Path, name: Callable[[str], str]) -> None:
    """Copies a safetensors file under other names of its tensors: a new header before the same data."""
    tensors, start = _header(file)
    header = {"__metadata__": {"format": "pt"}, **{name(key): entry for key, entry in tensors.items()}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # data are aligned
    with file.open("rb") as source, output.open("wb") as target:
        source.seek(start)
        target.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(source, target, 1 << 24)


def write_index(folder: Path, files: Iterable[Path]) -> None:
    """Writes the index that the library needs where weights are in several files."""
    names = {name: file.name for file in files for name in _header(file)[0]}
    size = sum(file.stat().st_size for file in files)
    content = {"metadata": {"total_size": size}, "weight_map": names}
    (folder / INDEX).write_text(json.dumps(content, indent=2) + "\n")


def read_mapping(file: Path) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        UserError: there is none.
    """
    beginning(file)
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"{file}: this is no JSON ({error}). {AGAIN}") from None
    if not isinstance(found, dict):
        raise UserError(f"{file}: found {type(found).__name__}, expected a JSON mapping. {AGAIN}")
    return found


def beginning(file: Path, empty: bool = False) -> bytes:
    """The first bytes of a file.

    Args:
        empty: whether it may be empty.

    Raises:
        UserError: it cannot be read, or something else stands in its place.
    """
    if file.is_symlink() and not file.exists():
        raise UserError(f"{file}: this is a link to {file.readlink()}, which is not there. Put it back, or link anew.")
    try:
        with file.open("rb") as stream:
            first = stream.read(256)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}). Mend the path or the file's permissions."
        ) from None
    if first.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{file}: found a pointer of git-lfs in place of the file. Fetch it: run `git lfs install`, then "
            f"`git lfs pull` in {file.parent}; or download the file itself."
        )
    if first.lstrip().lower().startswith((b"<!doctype", b"<html")) and file.suffix not in {".jinja", ".txt", ".py"}:
        raise UserError(f"{file}: found a web page in place of the file. Download the file itself.")
    if not first and not empty:
        raise UserError(f"{file}: the file is empty. {AGAIN}")
    return first


def _there(file: Path) -> bool:
    return file.exists() or file.is_symlink()  # a link that leads nowhere is told of when it is read


def _all_there(told_by: Path, files: list[Path]) -> list[Path]:
    absent = [file.name for file in files if not _there(file)]
    if absent:
        raise UserError(
            f"{told_by}: {len(absent)} of the {len(files)} files that belong together are missing: "
            f"{listed(absent, 3)}. Put them into {told_by.parent}."
        )
    return files


def _no_folder(path: Path) -> UserError:
    return UserError(
        f"{path} is no model folder; expected config.json and {WEIGHTS} (or its parts, {INDEX}) in it, or the path of "
        "a .gguf file. Pickled weights (*.bin, *.pt) are not read: save them with `save_pretrained` first."
    )
