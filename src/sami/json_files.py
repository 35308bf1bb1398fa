"""Text and JSON files as people, editors and other programs leave them.

A byte order mark is skipped. Half of a character (an emoji that was cut in two, as `\\ud83d` in JSON) is read as
U+FFFD, so that whatever was read can be written. NaN, which several libraries write for a missing number, is null. A
key that stands twice in an object is refused, since one of its values would be lost without a word.
"""

import gzip
import io
import json
import logging
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from sami.errors import UserError

log = logging.getLogger(__name__)

_BYTE_ORDER_MARK = "\ufeff"
UNPACKING = (gzip.BadGzipFile, EOFError, zlib.error)  # what gzip raises on a damaged file
_MAYBE_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of a half, or of the first half of a whole character
_NO_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of a byte that is no UTF-8


def whole(value: Any) -> Any:
    """A value with U+FFFD in place of each half of a surrogate pair in its texts and keys; two halves become one."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {whole(key): whole(entry) for key, entry in value.items()}
    return [whole(entry) for entry in value] if isinstance(value, list) else value


def read_text(path: str | Path) -> str:
    """A file's text, without a byte order mark.

    Raises:
        UserError: the file cannot be read, or is not UTF-8; it names the encoding or the line.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Mend the path or create the file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a file of text. Mend the path.") from None
    return decode(content, str(path))


def decode(content: bytes, name: str) -> str:
    """The text of a file's bytes; see `read_text`."""
    _require_utf8(content, name)
    try:
        return content.decode("utf-8").lstrip(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _not_utf8(name, line, content[error.start]) from None


def read_json(path: str | Path) -> Any:
    """The value in a JSON file. Raises UserError that names file and line, see `read_text` and `parse_json`."""
    return parse_json(read_text(path), str(path))


def parse_json(text: str, name: str) -> Any:
    """The value that a JSON text stands for.

    Args:
        text: of one value, over any number of lines.
        name: of the file, which begins the message.

    Raises:
        UserError: it is not JSON, or has a key twice in one object.
    """
    value, mended = _parsed(text, name)
    if mended:
        log.info("%s: holds halves of characters; they are read as U+FFFD", name)
    return value


def read_json_lines(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number, object) of a JSON Lines file, plain or .gz; blank lines are skipped.

    Raises:
        UserError: the file is missing or not UTF-8, or a line is not a JSON object.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            unpacked = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            yield from json_lines(cast(BinaryIO, unpacked), str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a JSON Lines file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a JSON Lines file.") from None


def json_lines(file: BinaryIO, name: str) -> Iterator[tuple[int, dict]]:
    """Yields (line number, object) of an open file; see `read_json_lines`. `name` begins the messages."""
    number, told = 0, False
    try:
        start = io.BufferedReader(cast(io.RawIOBase, file))
        _require_utf8(start.peek(4), name)
        for number, line in enumerate(io.TextIOWrapper(start, encoding="utf-8", errors="surrogateescape"), 1):
            if not line.isascii():
                if wrong := _NO_UTF8.search(line):
                    raise _not_utf8(name, number, ord(wrong[0]) - 0xDC00)
                line = line.lstrip(_BYTE_ORDER_MARK)  # within a file, too: several may have been put together
            if not line.strip():
                continue
            value, mended = _parsed(line, name, number)
            if mended and not told:
                log.info("%s, line %d: holds half of a character; U+FFFD stands in its place, later too", name, number)
                told = True
            if not isinstance(value, dict):
                raise UserError(
                    f"{name}, line {number}: found {type(value).__name__}, expected a JSON object "
                    '({"key": value, ...}). Mend or delete the line.'
                )
            yield number, value
    except UNPACKING as error:
        raise UserError(f"{name}, after line {number}: cannot be unpacked ({error}). Get the file again.") from None


def _parsed(text: str, name: str, line: int | None = None) -> tuple[Any, bool]:
    """A JSON value, and whether it held halves of characters. `line` is that of a JSON Lines file, if it is one."""
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:  # ValueError without a place: a key twice, too many digits
        place, what = line, str(error)
        if isinstance(error, json.JSONDecodeError):
            place, what = line or error.lineno, f"{error.msg} at column {error.colno}"
        where = f"{name}, line {place}" if place else name
        expected = "one JSON object a line (or, in a .json file, an array)" if line else "one JSON value"
        raise UserError(
            f"{where}: not valid JSON ({what}); expected {expected}. Mend or delete what is wrong."
        ) from None
    if not _MAYBE_HALF.search(text):
        return value, False
    mended = whole(value)
    return mended, mended != value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_constant={"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}.get,
)


def _require_utf8(start: bytes, name: str) -> None:
    """Raises UserError where the first bytes of a file are those of UTF-16 or UTF-32."""
    encoding = json.detect_encoding(start[:4])
    if not encoding.startswith("utf-8"):
        raise UserError(f"{name}: found text in {encoding.upper()}, expected UTF-8. Save the file as UTF-8.")


def _not_utf8(name: str, line: int, byte: int) -> UserError:
    return UserError(f"{name}, line {line}: not UTF-8 text (found the byte 0x{byte:02x}). Save the file as UTF-8.")
