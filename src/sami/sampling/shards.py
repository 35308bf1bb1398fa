"""Sampling in several jobs: how many, which responses each of them draws, and the files that hold them.

Each of N jobs draws one shard, FOLDER/shard-03-of-64.jsonl, and one more joins them. All shards together have the name
FOLDER/shard-*-of-64.jsonl. The examples of a shard follow those of the shard before it, so that the joined file is the
one that a single job would have written.
"""

import json
import math
import re
from pathlib import Path
from typing import TypeVar

from sami.errors import UserError

T = TypeVar("T")

MOST_JOBS = 1000  # all their files stand in one command, and a scheduler should live


def job_count(examples: int, responses: int, max_new_tokens: int, tokens_per_job: int | None) -> int:
    """Number of jobs in which `responses` responses of at most `max_new_tokens` tokens to each example are drawn.

    `tokens_per_job` is the most that one job generates, None for a single job. An example is never split.
    """
    if tokens_per_job is None:
        return 1
    return min(examples, math.ceil(examples * responses * max_new_tokens / tokens_per_job))


def together(folder: str, jobs: int) -> str:
    """The name of all shards together."""
    return f"{folder}/shard-*-of-{jobs}.jsonl"


def joined_file(path: str) -> str:
    """The file of which a path is a shard; other paths as they are."""
    return re.sub(r"/shard-\d+-of-\d+(\.jsonl)$", r"\1", path)


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


def finished_jobs(responses: str | Path, size: tuple[int, int | None, int]) -> int | None:
    """Number of jobs in which a file was sampled, by its provenance record.

    None where there is no such file, or one of another size: queries, `responses` and `max_new_tokens` of the settings.
    """
    try:
        record = json.loads(Path(f"{responses}.provenance.json").read_bytes())
        arguments, joined = record["arguments"], record["inputs"].get("shards")
        found = arguments["count"], arguments["sampling"]["responses"], arguments["sampling"]["max_new_tokens"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # none, or none of ours
        return None
    if size != found:
        return None
    return len(files(next(iter(joined)))) if joined else 1
