"""Queries, constitutions and responses of a run, joined by their ids, and checked for belonging together.

Training, scoring, judging and analysis read the files of a run through these functions, so that files of two runs are
told apart in one place. Ground floor: no torch, no HTTP.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from sami import records
from sami.errors import UserError
from sami.records import Constitution, Example, Query

R = TypeVar("R", Query, Constitution)


def read_by_id(kind: type[R], *files: str | Path) -> dict[str, R]:
    """Queries or constitutions of some files, by id, in file order.

    A constitution may stand in several sets (`negate: each`), where it has the same statements.

    Raises:
        UserError: a file is missing, broken or empty, or two different records have one id.
    """
    found: dict[str, R] = {}
    for record in records.read(kind, *files):
        other = found.get(record.id)
        if other is not None and not _stands_again(record, other):
            raise UserError(
                f"{', '.join(map(str, files))}: found two records with the id '{record.id}', expected one; ids must be "
                "unique. Delete the other, or name files of one run."
            )
        found[record.id] = record
    return found


def _stands_again(record: Query | Constitution, other: Query | Constitution) -> bool:
    """Whether both are one constitution, in two sets."""
    if not isinstance(record, Constitution) or not isinstance(other, Constitution):
        return False
    return record.statements == other.statements


def read_examples(
    file: str | Path,
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    policy: str | None = None,
) -> list[Example]:
    """The examples of a file of responses, each of a query and constitutions of the same run.

    Args:
        queries, constitutions: by id.
        policy: whose responses they must be (default: anyone's).

    Raises:
        UserError: as `records.read`, `check_policy`, `check_once` and `check_known`.
    """
    examples = records.read(Example, file)
    if policy is not None:
        check_policy(examples, file, policy)
    check_once(examples, file)
    check_known(examples, file, queries, constitutions)
    return examples


def check_policy(examples: Iterable[Example], file: str | Path, policy: str) -> None:
    """Raises UserError where an example holds responses of another policy."""
    others = sorted({example.policy for example in examples} - {policy})
    if others:
        raise UserError(
            f"{file}: found responses of the policy '{others[0]}', expected those of '{policy}'. Name the file of this "
            "policy, or delete the file and sample it again."
        )


def check_once(examples: Iterable[Example], file: str | Path) -> None:
    """Raises UserError where two examples are of the same query and set of constitutions."""
    for key, count in Counter(example.key for example in examples).items():
        if count > 1:
            raise UserError(
                f"{file}: found {count} examples of query '{key[0]}' and set '{key[1]}', expected one; ids must be "
                "unique. Delete the others, or sample the responses again."
            )


def check_known(
    examples: Iterable[Example],
    file: str | Path,
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    texts: Sequence[str | Path] = (),
    remedy: str = "Make the responses again.",
) -> None:
    """Raises UserError where an example names a query or a constitution that is not among those of the run.

    Args:
        texts: the files of queries and constitutions (default: those of the flags).
        remedy: what to do.
    """
    named = ", ".join(map(str, texts)) or "the files of --queries and --constitutions"
    for example in examples:
        if example.query_id not in queries or not constitutions.keys() >= set(example.constitution_ids):
            raise UserError(
                f"{file}: query '{example.query_id}', set '{example.set_id}': the query or one of the constitutions "
                f"{', '.join(example.constitution_ids)} is not in {named}, which are of another run. {remedy}"
            )
