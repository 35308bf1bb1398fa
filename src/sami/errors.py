"""Errors that are meant for people, and the wording that their messages share."""

import difflib
import errno
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Keys = tuple[Hashable, ...]  # the keys (and list positions, from 0) that lead to a value


class UserError(ValueError):
    """Something in the configuration, the input files or the machine that the user can mend.

    The message names the file, the key or line, what was found, what was expected and how to mend it. Stages print it
    without a traceback and end with exit status 2.
    """


class Resumable(Exception):
    """The stage ends before its time, and the same command goes on where it was."""


@contextmanager
def within(where: str) -> Iterator[None]:
    """Prefixes errors with the setting or the files that they are about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def unexpected(error: Exception, outputs: Iterable[Path], log_file: str | None) -> str:
    """The message for an exception that is not meant for people: the machine's limits, or else a bug of ours.

    Args:
        error: the exception.
        outputs: the files that were being written.
        log_file: where its traceback was written; None for the screen.
    """
    if os.strerror(errno.ENOSPC) in str(error):  # libraries wrap it in errors of their own
        return (
            f"no space left on the device while writing {', '.join(map(str, outputs))}. Free some space, or set "
            "'results' and 'resources' in the configuration to a larger disk, and run the same command again."
        )
    found = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's own
        return (
            f"out of memory ({found}). Lower 'batch_size' of 'sampling' or of the judge, or "
            "'engine.tokens_per_pass' where a model is trained or scored; or use a machine with more memory."
        )
    if isinstance(error, OSError) and error.filename and error.strerror:
        return (
            f"{error.filename2 or error.filename}: cannot be read or written ({error.strerror}). See whether this "
            "is the right path, and what its permissions are."
        )
    where = f"{log_file}, to which its traceback was written" if log_file else "the traceback above"
    return f"this is a bug of ours: {found}. Please report it with {where}."


def dotted(keys: Keys) -> str:
    """Keys as people write them: a.b[0].c."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message, not too many of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def nearest(name: Hashable, names: Sequence[str]) -> str | None:
    """The name that looks most like `name`, or begins with it; None where none does."""
    longer = [other for other in names if name and other.startswith(str(name))]
    return next(iter([*difflib.get_close_matches(str(name), names, n=1), *longer]), None)


def plain(value: Any) -> str:
    """A value and its type in plain words: '"three" (text)', '0 (a whole number)', 'nothing'."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, dict):
        return f"a mapping with the keys {', '.join(map(str, value))}"[:100] if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, bool):
        return f"{str(value).lower()} (a truth value)"
    if isinstance(value, str):
        return f'"{value if len(value) <= 60 else value[:57] + "..."}" (text)' if value else "empty text"
    return f"{value} ({'a whole number' if isinstance(value, int) else 'a number'})"
