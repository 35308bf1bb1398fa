"""Everything that a result was made of, by the provenance records that its files have: the cost of a policy, say.

A copy that experiments share leads on to what its original was made of.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sami.errors import UserError
from sami.spent import PASSES

Record = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """What it took to make a result.

    tokens: by kind of work (`sami.spent`).
    seconds: of the stages that ran a model, one after the other.
    """

    tokens: dict[str, int]
    seconds: float

    @property
    def forward_tokens(self) -> int:
        """Tokens, each counted by the forward passes that cost as much: sampled + scored + 3 trained."""
        return sum(PASSES[work] * self.tokens.get(work, 0) for work in PASSES)


def cost(result: str | Path) -> Cost:
    """What everything took that a result was made of, each job once; see `lineage`."""
    jobs = {json.dumps(record["command"]): record for record in lineage(result).values() if record.get("tokens")}
    tokens = {work: sum(record["tokens"].get(work, 0) for record in jobs.values()) for work in PASSES}
    return Cost(tokens, sum(record["wall_seconds"] for record in jobs.values()))


def lineage(result: str | Path) -> dict[str, Record]:
    """Path -> provenance record of a result and of all that it was made of, as far back as there are records.

    Raises:
        UserError: an input is gone with its record, so that nothing is known of it.
    """
    found: dict[str, Record] = {}
    left = [(os.path.normpath(result), "")]
    while left:
        path, reader = left.pop()
        if path in found:
            continue
        record = read(path)
        if record is None and not _is_input_alone(path):
            raise UserError(
                f"{path}: neither the file nor its provenance record is there, expected the record, by which it is "
                f"known what {reader or 'it'} was made of. Make the file again."
            )
        if record is not None:
            found[path] = record
            left += [(other, path) for other in inputs(record)]
    return found


def provenance_record(output: str | Path) -> Path:
    """The record beside an output, or in it, where that is a folder."""
    return Path(output, "provenance.json") if Path(output).is_dir() else Path(f"{output}.provenance.json")


def read(path: str | Path) -> Record | None:
    """The provenance record of a file or folder; None where it has none."""
    record = provenance_record(path)
    return json.loads(record.read_bytes()) if record.is_file() else None


def inputs(record: Record) -> Iterator[str]:
    """Paths of the files that a result was made of."""
    for files in record["inputs"].values():
        yield from map(os.path.normpath, files)


def _is_input_alone(path: str) -> bool:
    """Whether a path without a record is a file that people wrote, or stands for chunks that have been joined."""
    return os.path.exists(path) or "*" in os.path.basename(path)
