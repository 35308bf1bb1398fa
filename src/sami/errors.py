"""The one exception that is meant for people."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something in the configuration, the input files or the machine that the user can mend.

    The message names the file, the key or line, what was found, what was expected and how to mend it. Stages print it
    without a traceback and end with exit status 2.
    """


@contextmanager
def within(where: str) -> Iterator[None]:
    """Prefixes errors with the setting or the files that they are about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
