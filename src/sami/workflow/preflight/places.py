"""Folders that a run writes to: that they take files, are of this format, and have room for the weights to be made."""

import os
import tempfile
from collections import Counter
from pathlib import Path

from sami.errors import UserError
from sami.files import require_space
from sami.settings.experiment import Experiment, Root
from sami.settings.models import Model
from sami.workflow import layout
from sami.workflow.configuration import Configuration
from sami.workflow.plan.model_sizes import BYTES


def prepared(root: Root, model: str) -> bool:
    return (Path(root.resources) / "models" / model / "config.json").exists()


def _ancestor(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in [folder.absolute(), *folder.absolute().parents] if os.path.lexists(path))


def check_folder(folder: str, where: str) -> None:
    ancestor = _ancestor(Path(folder))
    if not ancestor.is_dir():
        raise UserError(f"{where}: {ancestor} is not a folder. Move it away or choose another folder.")
    try:
        # Permissions do not tell: the user may be root, the disk may be mounted for reading only.
        tempfile.TemporaryFile(dir=ancestor).close()
    except OSError as error:
        raise UserError(
            f"{where}: cannot write to {ancestor} ({error.strerror}), expected a folder that takes files. "
            "Change its permissions or choose another folder."
        ) from None


def check_format(configuration: Configuration) -> None:
    """The results that are there have the format that this package reads and writes."""
    root = configuration.root
    file = _format_file(root.results)
    found = file.read_text(errors="replace").strip() if file.is_file() else str(layout.FORMAT_VERSION)
    if found != str(layout.FORMAT_VERSION):
        raise UserError(
            f"{file}: these results have the format version {found}, expected {layout.FORMAT_VERSION}. "
            f"Move the folder {root.results} away, or choose another one "
            f"({configuration.sources.where(('results',))}), and they are made anew; prepared models are used again. "
            "There is nothing that converts them: to go on with them as they are, use the commit of this package that "
            "made them, which is 'git_commit' in their provenance records."
        )


def write_format_version(results: str) -> None:
    """Marks a folder of results with the format that this package writes."""
    Path(results).mkdir(parents=True, exist_ok=True)
    _format_file(results).write_text(f"{layout.FORMAT_VERSION}\n")


def _format_file(results: str) -> Path:
    return Path(results, ".format-version")


def check_space(configuration: Configuration, experiments: dict[str, Experiment], models: dict[str, Model]) -> None:
    """The weights still to be written must fit on the disks of the two folders."""
    root = configuration.root
    folders: dict[int, str] = {}
    needed: Counter[int] = Counter()

    def need(folder: str, model: Model, times: int) -> None:
        disk = _ancestor(Path(folder)).stat().st_dev
        folders.setdefault(disk, folder)
        needed[disk] += int(times * (model.parameters or 0) * BYTES[model.dtype])

    for name, experiment in experiments.items():
        policies = [Path(root.results) / name / f"iteration-{t}" / "model" for t in range(1, experiment.iterations + 1)]
        need(root.results, models[experiment.model], sum(not policy.exists() for policy in policies))
    for name, model in models.items():
        need(root.resources, model, not prepared(root, name))
    for disk, size in needed.items():
        require_space(folders[disk], size, "the weights of the models still to be made")
