"""Queries: loading them from files or public datasets, and keeping training and evaluation apart."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from sami.errors import UserError
from sami.records import Query, read_json_lines
from sami.settings import Dataset

_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


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
        "hh-rlhf": _first_human_turn,
        "summarize-from-feedback": _post,
    }[dataset.loader]
    queries: dict[str, Query] = {}
    apart = {key for query in held_out for key in (query.id, normalised(query.text))}
    sources = " and ".join(dataset.paths)
    in_turn = zip_longest(*(_rows(dataset, path) for path in dataset.paths))
    for where, row in filter(None, chain.from_iterable(in_turn)):
        query = convert(row, dataset, task, where)
        if query is None or (dataset.loader != "file" and not apart.isdisjoint((query.id, normalised(query.text)))):
            continue
        if query.id in queries and dataset.loader == "file":
            raise UserError(f"{where}: the id '{query.id}' is used twice; ids must be unique.")
        queries.setdefault(query.id, query)  # the public datasets repeat a query with each of its responses
        if len(queries) == dataset.count:
            return list(queries.values())
    if not queries:
        raise UserError(f"{sources}: there are no queries in it; expected at least {dataset.count}.")
    raise UserError(
        f"{sources}: the task asks for {dataset.count} queries, but there are only {len(queries)}. "
        f"Lower 'count' in the task '{task}', or add queries."
    )


def shuffled(queries: list[Query], seed: int) -> list[Query]:
    """The queries in an order drawn with the seed; iterations take consecutive slices of it."""
    return random.Random(f"queries-{seed}").sample(queries, len(queries))


def check_disjoint(train: list[Query], held_out: list[Query]) -> None:
    """Raises UserError where a query is used for training and for evaluation, by id or by text."""
    by_text = {normalised(query.text): query for query in train}
    ids = {query.id for query in train}
    for query in held_out:
        if query.id in ids or normalised(query.text) in by_text:
            other = query.id if query.id in ids else by_text[normalised(query.text)].id
            raise UserError(
                f"query '{query.id}' ({query.text[:60]!r}) is held out for evaluation, but is also the training query "
                f"'{other}'. Remove it from one of the two."
            )


def normalised(text: str) -> str:
    """A text without differences in case and white space."""
    return " ".join(text.casefold().split())


def local(path: str) -> bool:
    """Whether a dataset's path is one on this machine, if it is a file at all."""
    return "://" not in path


def _rows(dataset: Dataset, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (where it stands, row)."""
    if local(path) and path.endswith((".jsonl", ".jsonl.gz")):  # read here, so that an error names the line
        for number, row in read_json_lines(path):
            yield f"{path}, line {number}", row
        return
    for number, row in enumerate(_with_datasets(dataset, path), 1):
        yield f"{path}, row {number}", row


def _with_datasets(dataset: Dataset, path: str) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet or JSON file, here or at an address, or of a dataset on the hub.

    They come one at a time, and no copy is kept in a cache.
    """
    from datasets import load_dataset

    format_of = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".gz": "json"}
    kind = format_of.get(Path(path).suffix)
    try:
        if kind is None:
            options = {"name": dataset.subset, "split": dataset.split, "revision": dataset.revision}
            yield from load_dataset(path, **options, streaming=True)
        elif local(path) and not Path(path).is_file():
            raise UserError(f"{path}: no such file.")
        else:
            yield from load_dataset(kind, data_files=path, split="train", streaming=True)
    except UserError:
        raise
    except Exception as error:  # whatever library fetches it has kinds of its own
        raise UserError(
            f"dataset '{path}' (subset {dataset.subset}, split {dataset.split}) could not be loaded: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}. Expected a .jsonl, "
            ".json or .parquet file, or a dataset on the hub and a connection to it."
        ) from None


def _field(row: dict[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise UserError(
            f"{where}: the field '{field}' should hold a text, found {value!r:.60}; the fields here are: "
            f"{', '.join(row)}."
        )
    return value


def _from_fields(row: dict[str, Any], dataset: Dataset, task: str, where: str) -> Query:
    reference = dataset.reference_field and _field(row, dataset.reference_field, where)
    known = {dataset.text_field, dataset.id_field, dataset.reference_field}
    return Query(
        id=_field(row, dataset.id_field, where),
        task=task,
        text=_field(row, dataset.text_field, where),
        reference=reference,
        meta={key: value for key, value in row.items() if key not in known},
    )


def _first_human_turn(row: dict[str, Any], dataset: Dataset, task: str, where: str) -> Query | None:
    """Anthropic/hh-rlhf: the first turn of the chosen transcript; its id is a digest, as the dataset has none."""
    transcript = _field(row, "chosen", where)
    if not transcript.startswith(_HUMAN):
        raise UserError(f"{where}: the field 'chosen' should begin with a 'Human:' turn, found {transcript[:40]!r}.")
    text = transcript[len(_HUMAN) :].split(_ASSISTANT)[0].split(_HUMAN)[0].strip()
    if not text:  # a handful of transcripts begin with an empty turn
        return None
    return Query(id=f"hh-{hashlib.sha256(normalised(text).encode()).hexdigest()[:16]}", task=task, text=text)


def _post(row: dict[str, Any], dataset: Dataset, task: str, where: str) -> Query:
    """openai/summarize_from_feedback, subset comparisons: the Reddit post, once for each id."""
    info = row.get("info")
    if not isinstance(info, dict):
        raise UserError(f"{where}: the field 'info' should hold the post's id and text, found {info!r:.60}.")
    meta = {key: info[key] for key in ("subreddit", "title") if info.get(key)}
    return Query(id=_field(info, "id", where), task=task, text=_field(info, "post", where).strip(), meta=meta)
