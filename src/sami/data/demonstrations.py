"""Demonstrations: files in which a person responds to a few queries as a policy should.

JSON Lines with the fields `query` and `response`; others are the person's own. Ground floor: no torch.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sami.errors import UserError
from sami.json_files import read_json_lines
from sami.records import Query


class Demonstration(NamedTuple):
    """A response that a person wrote to a query, both without white space around them."""

    query: str
    response: str


def read(path: str | Path) -> list[Demonstration]:
    """The demonstrations of a file, in order; one query can have several.

    Raises:
        UserError: it is missing, empty or broken, a line lacks one of the fields, or two lines are the same; with file,
            line and field.
    """
    lines: dict[Demonstration, int] = {}
    for number, row in read_json_lines(path):
        where = f"{path}, line {number}"
        found = Demonstration(_text(row, "query", where), _text(row, "response", where))
        if found in lines:
            raise UserError(
                f"{where}: found the query and the response of line {lines[found]} again, expected each demonstration "
                "once. Delete one, or write another response."
            )
        lines[found] = number
    if not lines:
        raise UserError(f"{path}: found no demonstration, expected lines with the fields 'query' and 'response'.")
    return list(lines)


def queries(demonstrations: Iterable[Demonstration], task: str) -> list[Query]:
    """The different queries of demonstrations, in order, as records; their ids are numbers."""
    texts = dict.fromkeys(demonstration.query for demonstration in demonstrations)
    return [Query(id=f"demonstrated-{number:03}", task=task, text=text) for number, text in enumerate(texts, 1)]


def by_query(demonstrations: Iterable[Demonstration], asked: Sequence[Query], path: str | Path) -> dict[str, list[str]]:
    """Query id -> the responses that demonstrate it, in the order of the queries.

    Args:
        asked: the queries that `queries` has made of these demonstrations.
        path: of the demonstrations, for messages.

    Raises:
        UserError: queries and demonstrations are not of the same file.
    """
    found: dict[str, list[str]] = {query.id: [] for query in asked}
    identifiers = {query.text: query.id for query in asked}
    for query, response in demonstrations:
        if query not in identifiers:
            raise UserError(
                f"{path}: found the query {query[:60]!r}, which is not among those of --queries, expected the file "
                "that these were made of. Make the queries again."
            )
        found[identifiers[query]].append(response)
    for other in asked:
        if not found[other.id]:
            raise UserError(
                f"{path}: found no response to the query '{other.id}' ({other.text[:60]!r}) of --queries, expected the "
                "file that these were made of. Make the queries again."
            )
    return found


def _text(row: dict[str, Any], field: str, where: str) -> str:
    """A field's text, stripped. Raises UserError where there is none."""
    value = row.get(field)
    if isinstance(value, str) and value.strip():
        return value.strip()
    found = f"{value!r:.60}" if field in row else f"none; the fields are: {', '.join(row) or 'none'}"
    raise UserError(f"{where}: field '{field}': found {found}, expected a text. Write it, or delete the line.")
