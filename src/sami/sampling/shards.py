"""Sampling in several jobs: the responses that each of them draws, and the files that hold them.

Each of N jobs draws one shard, FOLDER/shard-03-of-64.jsonl, and one more joins them. All shards together have the name
FOLDER/shard-*-of-64.jsonl. The examples of a shard follow those of the shard before it, so that the joined file is the
one that a single job would have written.
"""

import re
from pathlib import Path
from typing import TypeVar

from sami.errors import UserError

T = TypeVar("T")


def together(folder: str, jobs: int) -> str:
    """The name of all shards together."""
    return f"{folder}/shard-*-of-{jobs}.jsonl"


def files(shards: str | Path) -> list[str]:
    """The files behind the name of all shards, in order."""
    named = re.search(r"shard-\*-of-(\d+)\.jsonl$", str(shards))
    if not named:
        raise UserError(f"--shards: found '{shards}', expected FOLDER/shard-*-of-64.jsonl, for example.")
    count = named[1]
    return [str(shards).replace("shard-*", f"shard-{k:0{len(count)}}") for k in range(1, int(count) + 1)]


def share(items: list[T], shard: str | None) -> list[T]:
    """The items of one shard, named like "03-of-64", or all without a name; sizes differ by at most one."""
    named = re.fullmatch(r"(\d+)-of-(\d+)", shard or "1-of-1")
    position, count = map(int, named.groups()) if named else (0, 0)
    if not 1 <= position <= count:
        raise UserError(f"--shard: found '{shard}', expected a number and how many there are: 03-of-64, for example.")
    return items[len(items) * (position - 1) // count : len(items) * position // count]
