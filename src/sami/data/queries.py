"""Queries: loading them from files or public datasets, and keeping training and evaluation apart."""

import hashlib
import logging
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, takewhile, zip_longest
from pathlib import Path
from typing import Any

from sami.data.data_files import is_data_file, plain_row, rows
from sami.errors import UserError
from sami.records import Query
from sami.settings.tasks import Dataset

log = logging.getLogger(__name__)

_TURN = re.compile(r"\n\n(Human|Assistant):")  # of hh-rlhf; without the empty line before it, it is said in a turn


def load(dataset: Dataset, task: str, held_out: Sequence[Query] = ()) -> list[Query]:
    """Reads the first `dataset.count` distinct queries, in the order of the source; of several sources, in turn.

    Args:
        dataset: where they come from.
        task: its name, kept in the records.
        held_out: queries that are left out of a public dataset, whose splits share some.

    Raises:
        UserError: the source is missing or broken, lacks a field, or holds fewer queries than `count`.
    """
    convert = {
        "file": _from_fields,
        "hh-rlhf": _first_question,
        "summarize-from-feedback": _post,
    }[dataset.loader]
    own = dataset.loader == "file" and all(Path(path).is_file() for path in dataset.paths)  # its user can mend it
    queries: dict[str, Query] = {}
    left_out: dict[str, list[str]] = {}  # why -> where
    apart = {key for query in held_out for key in (query.id, normalised(query.text))}
    sources = " and ".join(dataset.paths)
    in_turn = zip_longest(*(_rows(dataset, path) for path in dataset.paths))
    for where, row in filter(None, chain.from_iterable(in_turn)):
        try:
            query = convert(row, dataset, task, where)
        except _NoQuery as reason:
            if own:
                raise UserError(f"{where}: {reason}. Write it or delete the row.") from None
            left_out.setdefault(str(reason), []).append(where)
            continue
        if dataset.loader != "file" and not apart.isdisjoint((query.id, normalised(query.text))):
            left_out.setdefault("the query is held out for evaluation", []).append(where)
            continue
        if query.id in queries and dataset.loader == "file":
            raise UserError(f"{where}: the id '{query.id}' is used twice; ids must be unique.")
        queries.setdefault(query.id, query)  # the public datasets repeat a query with each of its responses
        if len(queries) == dataset.count:
            break
    told = "; ".join(f"{len(places)} since {why} (the first: {places[0]})" for why, places in left_out.items())
    if told:
        log.info("%s: rows left out: %s", sources, told)
    if len(queries) == dataset.count:
        return list(queries.values())
    told = f" Rows left out: {told}." if told else ""
    if not queries:
        raise UserError(f"{sources}: there are no queries in it; expected at least {dataset.count}.{told}")
    raise UserError(
        f"{sources}: the task asks for {dataset.count} queries, but there are only {len(queries)}.{told} "
        f"Lower 'count' in the task '{task}', or add queries."
    )


def shuffled(queries: list[Query], seed: int) -> list[Query]:
    """The queries in an order drawn with the seed; iterations take consecutive slices of it."""
    return random.Random(f"queries-{seed}").sample(queries, len(queries))


def chosen_queries(queries: list[Query], first: int, count: int, path: str) -> list[Query]:
    """The slice of the queries that this iteration uses. Raises UserError where there are too few."""
    if first < 0 or count < 1:
        raise UserError(f"--first {first} --count {count}: expected --first of at least 0 and --count of at least 1.")
    if first + count > len(queries):
        raise UserError(
            f"{path}: {first + count} queries are asked for, but there are only {len(queries)}. "
            "Lower 'queries' in the experiment, or add queries and raise 'count' in the task."
        )
    return queries[first : first + count]


def other_queries(query: Query, queries: Iterable[Query], count: int, seed: int) -> list[Query]:
    """Other queries than a given one, with other texts, drawn with the seed; all there are where they are fewer.

    The same queries, in any order, give the same draw.
    """
    texts = {other.text: other for other in sorted(queries, key=lambda other: other.id)}
    others = [other for text, other in texts.items() if text != query.text]
    return random.Random(f"other-queries-{seed}-{query.id}").sample(others, min(count, len(others)))


def check_disjoint(train: list[Query], held_out: list[Query]) -> None:
    """Raises UserError where a query is in both, by id or by text.

    Args:
        train: what was learned or chosen from: the training queries, and before a test those of development, too.
        held_out: the queries that must be apart from them.
    """
    by_text = {normalised(query.text): query for query in train}
    ids = {query.id for query in train}
    for query in held_out:
        if query.id in ids or normalised(query.text) in by_text:
            other = query.id if query.id in ids else by_text[normalised(query.text)].id
            raise UserError(
                f"query '{query.id}' ({query.text[:60]!r}) is held out, but the query '{other}' of another split "
                "is the same. Remove it from one of the two."
            )


def normalised(text: str) -> str:
    """A text without differences in case and white space."""
    return " ".join(text.casefold().split())


class _NoQuery(Exception):
    """The row holds no query, as some rows of public datasets do not. Its text says why, the same for all such rows."""


def _rows(dataset: Dataset, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (where it stands, row)."""
    if is_data_file(path):
        yield from rows(path)
        return
    if Path(path).is_file():
        raise UserError(f"{path}: found a file of another kind, expected .jsonl, .jsonl.gz, .json or .parquet.")
    for number, row in enumerate(_on_the_hub(dataset, path), 1):
        where = f"{path}, row {number}"
        yield where, plain_row(row, where)


def _on_the_hub(dataset: Dataset, path: str) -> Iterator[dict[str, Any]]:
    """Rows of a dataset on the hub. They come one at a time, and no copy is kept in a cache."""
    from datasets import load_dataset

    options = {"name": dataset.subset, "split": dataset.split, "revision": dataset.revision}
    try:
        yield from load_dataset(path, **options, streaming=True)
    except Exception as error:  # whatever library fetches it has kinds of its own
        raise UserError(
            f"dataset '{path}' (subset {dataset.subset}, split {dataset.split}) could not be loaded: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}. Expected a .jsonl, "
            ".json or .parquet file, or a dataset on the hub and a connection to it."
        ) from None


def _text(row: dict[str, Any], field: str, where: str) -> str:
    """The text in a field. Raises _NoQuery where it is null or blank, UserError where it is no text."""
    value = row.get(field)
    if isinstance(value, str) and value.strip():
        return value
    if value is None or isinstance(value, str):
        raise _NoQuery(f"the field '{field}' should hold a text, found {'nothing' if value is None else 'a blank one'}")
    raise UserError(f"{where}: the field '{field}' should hold a text, found {value!r:.60}.")


def _identifier(row: dict[str, Any], field: str, where: str) -> str:
    """The text or whole number in a field, as text."""
    value = row.get(field)
    return str(value) if type(value) is int else _text(row, field, where)


def _require(row: dict[str, Any], field: str, where: str) -> None:
    if field not in row:
        raise UserError(f"{where}: there is no field '{field}'; the fields here are: {', '.join(row) or 'none'}.")


def _from_fields(row: dict[str, Any], dataset: Dataset, task: str, where: str) -> Query:
    known = [dataset.id_field, dataset.text_field, *filter(None, [dataset.reference_field])]
    for field in known:
        _require(row, field, where)
    return Query(
        id=_identifier(row, dataset.id_field, where),
        task=task,
        text=_text(row, dataset.text_field, where),
        reference=dataset.reference_field and _text(row, dataset.reference_field, where),
        meta={key: value for key, value in row.items() if key not in known},
    )


def _first_question(row: dict[str, Any], dataset: Dataset, task: str, where: str) -> Query:
    """Anthropic/hh-rlhf: what the person says in the chosen transcript before the assistant's first words.

    Turns in a row are one question, and empty ones do not count. The id is a digest, as the dataset has none.
    """
    _require(row, "chosen", where)
    before, *parts = _TURN.split("\n\n" + _text(row, "chosen", where).strip())
    turns = [(who, text.strip()) for who, text in zip(parts[::2], parts[1::2], strict=True) if text.strip()]
    text = "\n\n".join(text for _, text in takewhile(lambda turn: turn[0] == "Human", turns))
    if before or not text:
        raise _NoQuery("the field 'chosen' does not begin with words of 'Human:'")
    return Query(id=f"hh-{hashlib.sha256(normalised(text).encode()).hexdigest()[:16]}", task=task, text=text)


def _post(row: dict[str, Any], dataset: Dataset, task: str, where: str) -> Query:
    """openai/summarize_from_feedback, subset comparisons: the Reddit post, once for each id.

    The validation split has news articles between the posts.
    """
    _require(row, "info", where)
    info = row["info"]
    if info is None:
        raise _NoQuery("the field 'info' is null")
    if not isinstance(info, dict):
        raise UserError(f"{where}: the field 'info' should hold the post's id and text, found {info!r:.60}.")
    meta = {key: info[key] for key in ("subreddit", "title") if info.get(key)}
    text = _text(info, "post", where).strip()
    return Query(id=_identifier(info, "id", where), task=task, text=text, meta=meta)
