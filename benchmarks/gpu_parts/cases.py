"""Cases of a part, run one after the other, and the row of each; one that fails keeps no other from running.

A row is a mapping: `part`, `case`, `seconds`, and where there are any `checks` (name -> difference, allowed), `figures`
(name -> number) and `note`; `error` says what was raised.
"""

import gc
import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Place:
    """The device that everything runs on. small: whether it is a processor, for which all is made tiny."""

    device: torch.device
    small: bool

    def pick(self, large: Any, small: Any) -> Any:
        """The size for this place."""
        return small if self.small else large


@dataclass(frozen=True)
class Outcome:
    """What a case has found.

    checks: differences with the largest that is allowed. figures: what was measured. note: what a reader should know.
    """

    checks: dict[str, tuple[float, float]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Case:
    """Something that is checked or timed by itself."""

    name: str
    run: Callable[[], Outcome]


def here() -> Place:
    """The first GPU, or the processor where there is none."""
    there = torch.cuda.is_available()
    return Place(torch.device("cuda", 0) if there else torch.device("cpu"), small=not there)


def machine(place: Place) -> dict[str, Any]:
    """What the figures were made on."""
    found: dict[str, Any] = {"device": platform.processor() or platform.machine()}
    if place.device.type == "cuda":
        properties = torch.cuda.get_device_properties(place.device)
        found = {"device": properties.name, "memory_gib": properties.total_memory / 2**30, "cuda": torch.version.cuda}
    for package in ("torch", "transformers", "triton", "cut-cross-entropy", "peft"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def rows(part: str, cases: Iterable[Case], place: Place) -> Iterator[dict[str, Any]]:
    """Runs cases, and yields the row of each."""
    for case in cases:
        print(f"{part}: {case.name}", file=sys.stderr, flush=True)
        row: dict[str, Any] = {"part": part, "case": case.name}
        started = time.monotonic()
        try:
            row |= {name: value for name, value in asdict(case.run()).items() if value}
        except Exception as error:  # whatever it is, it belongs into the table
            row["error"] = f"{type(error).__name__}: {' '.join(str(error).split()):.600}"
        yield row | {"seconds": time.monotonic() - started}
        # Kernels of another case are of no use, and torch compiles a function for a few kinds of arguments only.
        torch.compiler.reset()
        gc.collect()
        if place.device.type == "cuda":
            torch.cuda.empty_cache()


def distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Norm of the difference of two tensors, over that of the second."""
    return float((found.double() - exact.double()).norm() / exact.double().norm())
