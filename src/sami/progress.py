"""Progress for people at a terminal and for log files.

At a terminal: a tqdm bar with a rate and the remaining time. Anywhere else (a file, a Slurm log): a plain line at most
every `LOG_EVERY` seconds, so that logs stay readable.
"""

import logging
import sys
import time
from typing import Self

from tqdm import tqdm

LOG_EVERY = 20.0

log = logging.getLogger(__name__)


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
        self.bar = (
            tqdm(total=total, initial=done, desc=description, unit=f" {unit}", dynamic_ncols=True, leave=False)
            if sys.stderr.isatty()
            else None
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
