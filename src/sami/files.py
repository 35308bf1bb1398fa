"""Files as a stage leaves them: whole or not at all, under a temporary name until then, and space for them."""

import os
import shutil
from pathlib import Path

from sami.errors import UserError


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require_space(folder: str | Path, needed: int, what: str) -> None:
    """Raises UserError where the disk of `folder` has fewer than `needed` bytes free."""
    existing = next(p for p in [Path(folder).absolute(), *Path(folder).absolute().parents] if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(
            f"{folder}: {free / 2**30:.2f} GiB free on this disk, but {what} will take about {needed / 2**30:.2f} GiB. "
            "Free some space, or set 'results' and 'resources' in the configuration to a larger disk."
        )


def partial(path: Path) -> Path:
    """The temporary name of an output, beside it."""
    return path.with_name(f".{path.name}.partial")


def clear(path: Path) -> None:
    """Makes room for an output's temporary file; removes what an earlier, killed run left there.

    Raises:
        UserError: a part of the path is a file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(partial(path))
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{path}: {error.filename} is no folder; choose another output, or move that away.") from None


def publish(path: Path) -> None:
    """Gives a finished output its real name."""
    if partial(path).is_dir():
        remove(path)  # a folder cannot be renamed onto another
    os.replace(partial(path), path)
