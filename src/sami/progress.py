"""Log and progress of a stage, for people at a terminal and for log files.

At a terminal: a tqdm bar with a rate and the remaining time. Anywhere else (a file, a Slurm log): a plain line at most
every `LOG_EVERY` seconds, so that logs stay readable.
"""

import logging
import os
import re
import sys
import time
import traceback
from pathlib import Path
from typing import Self, TextIO

from sami.errors import UserError

LOG_EVERY = 20.0
NOISY = (  # libraries that tell of every request or file
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "openai",
    "urllib3",
    "matplotlib",
    "fontTools",
    "datasets",
    "fsspec",
)

log = logging.getLogger(__name__)


def start_log(stage: str, file: str | None, rank: int) -> None:
    """Sends log messages to the screen and to a file; those of all processes but the first only if they are errors.

    Args:
        stage: its name, which stands in every line.
        file: the log file, which begins anew.
        rank: of this process.

    Raises:
        UserError: the file cannot be written.
    """
    if not sys.stderr.isatty():
        # Read when tqdm is imported: bars of the libraries would fill log files with control characters.
        os.environ.setdefault("TQDM_DISABLE", "1")
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if file:
        try:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(file, mode="w", encoding="utf-8"))
        except OSError as error:
            raise UserError(f"--log: {file}: cannot be written ({error.strerror}).") from None
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.ERROR,
        handlers=handlers,
        format=f"%(asctime)s {stage}{f' [{rank}]' if rank else ''}: %(message)s",
        datefmt="%H:%M:%S",
    )
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def log_traceback() -> None:
    """Writes the traceback of the exception that is handled to the log file, or where there is none, on the screen."""
    files = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    streams: list[TextIO | None] = [handler.stream for handler in files]
    for stream in streams or [sys.stderr]:
        traceback.print_exc(file=stream)


def last_error(log: str | Path) -> str | None:
    """The error that ended a stage, by its log file: "STAGE: error: ..."; None where it ended otherwise."""
    text = Path(log).read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^\d\d:\d\d:\d\d (\S+: error: .*(?:\n(?!\d\d:\d\d:\d\d ).*)*)", text, re.MULTILINE)
    return found[-1].rstrip() if found else None


class Progress:
    """Counts units of work. Use as a context manager and call `update`.

    Args:
        total: units of work in all.
        description: what is being done ("sampling").
        unit: name of one unit in the plural ("responses").
        done: units that an earlier run has already done.
    """

    def __init__(self, total: int, description: str, unit: str, done: int = 0):
        self.total, self.description, self.unit = total, description, unit
        self.before, self.done = done, 0
        self.started = self.logged = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm  # which reads TQDM_DISABLE when it is imported; so no stage imports it before its log

            self.bar = tqdm(
                total=total, initial=done, desc=description, unit=f" {unit}", dynamic_ncols=True, leave=False
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()
        if exception[0] is None:
            seconds = time.monotonic() - self.started
            rate = self.done / max(seconds, 1e-9)
            log.info("%s: %d %s in %.0f s (%.2f/s)", self.description, self.done, self.unit, seconds, rate)

    def update(self, count: int = 1, **values: float) -> None:
        """Adds `count` finished units and shows `values` (loss, win rate, ...) beside them."""
        self.done += count
        now = time.monotonic()
        if self.bar is not None:
            self.bar.set_postfix({name: _shown(value) for name, value in values.items()}, refresh=False)
            self.bar.update(count)
        elif now - self.logged >= LOG_EVERY and self.before + self.done < self.total:
            self.logged = now
            rate = self.done / (now - self.started)
            extra = "".join(f", {name} {_shown(value)}" for name, value in values.items())
            log.info(
                "%s: %d of %d %s, %.2f/s, %s left%s",
                self.description, self.before + self.done, self.total, self.unit, rate, self.remaining(), extra,
            )  # fmt: skip

    def remaining(self) -> str:
        """The time that the rest will take at the rate so far ("75 s", "12 min", "3 h 20 min")."""
        seconds = (self.total - self.before - self.done) * (time.monotonic() - self.started) / max(self.done, 1)
        minutes = round(seconds / 60)
        if seconds < 120:
            return f"{seconds:.0f} s"
        return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
