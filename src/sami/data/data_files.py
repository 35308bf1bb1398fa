"""Rows of data files (.jsonl, .json, .parquet, and the first two as .gz), on this machine or at an address.

A path is a path: none of its characters makes a pattern of it. Values are those of JSON, as `records` holds them; what
Parquet has besides becomes text: dates, times and durations in ISO 8601, decimal numbers in digits, bytes as UTF-8 or
else base64.
"""

import base64
import gzip
import io
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from pydantic_core import PydanticSerializationError, to_jsonable_python

from sami.errors import UserError
from sami.json_files import UNPACKING, decode, json_lines, parse_json, whole
from sami.settings.explain import plain

Row = dict[str, Any]


def local(path: str) -> bool:
    """Whether a path is one on this machine."""
    return "://" not in path


def is_data_file(path: str) -> bool:
    """Whether a path or an address is that of a file in one of the formats, by its ending."""
    return _format(path) in (".jsonl", ".json", ".parquet")


def rows(path: str | Path) -> Iterator[tuple[str, Row]]:
    """Yields (where it stands, row) of a data file.

    Args:
        path: of a file on this machine, or its address (`https://...`, or what fsspec opens: `hf://...`).

    Raises:
        UserError: the file is missing or damaged, or a row is no mapping of names to values; it names file and row.
    """
    name = str(path)
    with _opened(name) as opened:
        file: Any = gzip.GzipFile(fileobj=opened) if _is_packed(name) else opened
        if _format(name) == ".parquet":
            yield from _parquet(file, name)
        elif _format(name) == ".json":
            yield from _json(file, name)
        else:
            yield from _lines(file, name)


def plain_row(row: Row, where: str) -> Row:
    """A row with values of JSON alone. Raises UserError that begins with `where` and names the column."""
    return {whole(name): _plain(value, name, where) for name, value in row.items()}


def _format(path: str) -> str:
    return Path(_file(path).removesuffix(".gz")).suffix


def _is_packed(path: str) -> bool:
    return _file(path).endswith(".gz")


def _file(path: str) -> str:
    """A path or address without what may follow the file's name on the web (`?download=true`)."""
    return (urlsplit(path).path if _on_the_web(path) else path).lower()


def _on_the_web(path: str) -> bool:
    return path.startswith(("http://", "https://"))


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """An open file. Whatever goes wrong in reading it, too, is one clear error."""
    try:
        with _open(path) as file:
            yield file
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Mend the path or create the file.") from None
    except Exception as error:  # file systems at addresses have kinds of their own
        if local(path) and not isinstance(error, OSError):
            raise
        raise _unreadable(path, error) from None


def _open(path: str) -> IO[bytes]:
    if local(path):
        return Path(path).open("rb")
    if _on_the_web(path):
        return _downloaded(path)
    import fsspec

    system, inside = fsspec.core.url_to_fs(path)
    return system.open(inside, "rb")


def _downloaded(address: str) -> IO[bytes]:
    """A copy of a file on the web, which is gone when it is closed: what breaks off is told before a row is used."""
    from sami.data.downloads import download  # a library for the web, which jobs that read local files need not load

    file: Any = tempfile.NamedTemporaryFile()  # noqa: SIM115
    download(address, Path(file.name))
    return file


def _unreadable(name: str, error: Exception) -> UserError:
    what = getattr(error, "strerror", None) or (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(f"{name}: cannot be read ({what}). Mend the path, or get the file again.")


def _lines(file: IO[bytes], name: str) -> Iterator[tuple[str, Row]]:
    for number, row in json_lines(file, name):
        yield f"{name}, line {number}", row


def _json(file: IO[bytes], name: str) -> Iterator[tuple[str, Row]]:
    """An array of objects; or JSON Lines, as pandas and others name them, too."""
    try:
        content = file.read()
    except UNPACKING as error:
        raise _unreadable(name, error) from None
    text = decode(content, name)
    if not text.lstrip().startswith("["):
        yield from _lines(io.BytesIO(content), name)
        return
    for number, row in enumerate(parse_json(text, name), 1):
        if not isinstance(row, dict):
            raise UserError(f"{name}, row {number}: found {plain(row)}, expected an object. Mend or delete it.")
        yield f"{name}, row {number}", row


def _parquet(file: IO[bytes], name: str) -> Iterator[tuple[str, Row]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        parquet = ParquetFile(file)
        columns = parquet.schema_arrow.names
        if twice := [column for column in columns if columns.count(column) > 1]:
            raise UserError(f"{name}: found the column '{twice[0]}' twice. Rename or delete one.")
        for batch in parquet.iter_batches(1000):
            for index in range(batch.num_rows):
                number += 1
                where = f"{name}, row {number}"
                values = zip(columns, (column[index] for column in batch.columns), strict=True)
                yield where, {whole(column): _plain(value, column, where) for column, value in values}
    except (ArrowException, OSError) as error:
        raise _unreadable(f"{name}, after row {number}" if number else name, error) from None


def _plain(value: Any, column: str, where: str) -> Any:
    """A value of JSON for one of Python or Arrow. Some have none: the year 10000, a picture."""
    try:
        return _json_value(value.as_py(maps_as_pydicts="strict") if hasattr(value, "as_py") else value)
    except (LookupError, ValueError, TypeError, OverflowError, PydanticSerializationError) as error:
        raise UserError(
            f"{where}: column '{column}': cannot be read as JSON ({str(error).splitlines()[0]}). Mend the value, or "
            "delete the column."
        ) from None


def _json_value(value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case str():
            return whole(value)
        case float():
            return None if math.isnan(value) else value
        case dict():
            return {whole(str(key)): _json_value(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_json_value(entry) for entry in value]
        case bytes():
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:
                return base64.b64encode(value).decode("ascii")
    return value.isoformat() if hasattr(value, "isoformat") else to_jsonable_python(value)
