"""Experiment trackers, through accelerate: TensorBoard files by default, other services where configured."""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sami.errors import UserError

PROJECT = "sami"


@contextmanager
def trackers(names: Sequence[str], run: str, folder: Path, settings: dict[str, Any]) -> Iterator[list]:
    """The trackers of a run, which end with the block. Keys of services come from their own environment variables.

    Args:
        names: of accelerate's trackers.
        run: name of the run.
        folder: for trackers that write files.
        settings: kept with the run, flat.

    Raises:
        UserError: a tracker's package is not installed.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    missing = [name for name in names if not importlib.util.find_spec(name)]
    if missing:
        raise UserError(
            f"engine.trackers names '{missing[0]}', which is not installed: pip install {missing[0]}, or leave it out."
        )
    with ExitStack() as stack:
        active = []
        for name in names:
            kind = LOGGER_TYPE_TO_CLASS[name]
            if kind.requires_logging_directory:
                folder.parent.mkdir(parents=True, exist_ok=True)
                tracker = kind(folder.name, logging_dir=folder.parent)
            else:
                tracker = kind(PROJECT, name=run)
            tracker.start()
            stack.callback(tracker.finish)
            tracker.store_init_configuration(settings)
            active.append(tracker)
        yield active
