"""The format of the SAMI authors' runs: files of responses as queries and examples of an experiment.

Such a file (.json) holds the responses of one policy, one to each query: {"constitution": {i: text}, "question": {i:
text}, "response": {i: text}}, with the same indices i in all three (github.com/janphilippfranken/sami, folders
experiments/*/results/responses). Constitutions there are numbered lines, in either order; here they become one
constitution and the order of its statements. Questions and responses are kept as they are. The id of a query is made of
its text, so that files are imported one by one and still fit together.

Ground floor: no torch, no HTTP.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from sami.data.queries import normalised
from sami.errors import UserError, dotted
from sami.json_files import read_json
from sami.records import Constitution, Example, Query, Record, Response
from sami.settings.yaml_files import validate

_NUMBER = re.compile(r"\s*\d+[.)]\s")


class AuthorsFile(Record):
    """One file: three mappings from the same indices to texts."""

    constitution: dict[str, str]
    question: dict[str, Annotated[str, Field(min_length=1)]]
    response: dict[str, str]

    @model_validator(mode="after")
    def _same_indices(self) -> Self:
        for key in ("constitution", "response"):
            apart = sorted(self.question.keys() ^ getattr(self, key).keys())
            if apart:
                raise ValueError(
                    f"'question' and '{key}' have different indices: found {len(apart)} in one of the two only, the "
                    f"first of them '{apart[0]}', expected the same indices in both. Get the file again"
                )
        return self

    @property
    def indices(self) -> dict[str, str]:
        """Query id -> index, in file order. Where a question comes again, its first response counts."""
        found: dict[str, str] = {}
        for index, text in self.question.items():
            found.setdefault(f"text-{hashlib.sha256(normalised(text).encode()).hexdigest()[:16]}", index)
        return found


def read(path: str | Path) -> AuthorsFile:
    """Reads a file of the authors' format.

    Raises:
        UserError: the file is missing, not UTF-8 or not JSON, or has another shape; it names the key and the index.
    """
    return validate(read_json(path), AuthorsFile, lambda keys: ": ".join(filter(None, [str(path), dotted(keys)])))


def queries(path: str | Path, task: str, count: int) -> list[Query]:
    """The first `count` different questions of a file.

    Raises:
        UserError: see `read`; or there are fewer.
    """
    file = read(path)
    chosen = list(file.indices.items())[:count]
    if len(chosen) < count:
        raise UserError(
            f"{path}: found {len(chosen)} different questions, expected at least {count}, which is 'queries.eval' of "
            "the experiment. Lower it."
        )
    return [
        Query(id=identifier, task=task, text=file.question[index], meta={"index": index})
        for identifier, index in chosen
    ]


def examples(
    path: str | Path, queries: Sequence[Query], constitutions: Sequence[Constitution], policy: str
) -> list[Example]:
    """The responses of a file to some queries, one example with one constitution and one response a query.

    Args:
        path: the file.
        queries: what was asked, as `queries` makes it of this file or of another one about the same posts.
        constitutions: among which the file's are found, by the texts of their statements in any order.
        policy: whose responses these are, kept in the records.

    Raises:
        UserError: see `read`; or a query has no response, or a text is none of the constitutions.
    """
    file = read(path)
    indices, made = file.indices, []
    for query in queries:
        if query.id not in indices:
            raise UserError(
                f"{path}: found no response to the question {query.text[:60]!r}, which the base model's file has; "
                "expected the responses of all policies to the same questions. Name the files of one run."
            )
        index = indices[query.id]
        where = f"{path}: constitution.{index}"
        constitution, positions = _recognise(file.constitution[index], constitutions, where)
        made.append(
            Example(
                query_id=query.id,
                set_id=constitution.set_id,
                constitution_ids=[constitution.id],
                order=positions,
                responses=[response(file.response[index])],
                policy=policy,
            )
        )
    return made


def order(lines: Sequence[str], constitution: Constitution) -> list[int]:
    """Positions of lines of text among the statements of a constitution."""
    texts = [normalised(statement.text) for statement in constitution.statements]
    return [texts.index(normalised(line)) for line in lines]


def response(text: str) -> Response:
    """A response of a file, which does not say how many tokens it had, nor whether the policy ended it itself."""
    return Response(text=text, constitution=0, tokens=None, finish=None)


def lines(constitution: str) -> list[str]:
    """The statements of a constitution in a file, without their numbers."""
    return [_NUMBER.sub("", line, count=1) for line in constitution.split("\n") if line.strip()]


def _recognise(text: str, constitutions: Sequence[Constitution], where: str) -> tuple[Constitution, list[int]]:
    """The constitution whose statements are the lines of a text, and the order in which they stand there."""
    written = lines(text)
    found = [normalised(line) for line in written]
    known = set()
    for constitution in constitutions:
        texts = [normalised(statement.text) for statement in constitution.statements]
        if sorted(found) == sorted(texts):
            return constitution, order(written, constitution)
        known.update(texts)
    strange = [line for line, key in zip(written, found, strict=True) if key not in known]
    if strange:
        raise UserError(
            f"{where}: found the statement {strange[0]!r}, which is none of the principles and opposites that the "
            "experiment's constitutions are made of; expected their texts. Name another file of principles "
            "('constitutions.principles'), or add the statement to that file."
        )
    raise UserError(
        f"{where}: found {text!r}, whose statements stand together in none of the experiment's constitutions "
        f"({', '.join(constitution.id for constitution in constitutions)}). Change 'statements', 'per_set' or 'negate' "
        "of 'constitutions', so that this one is among them."
    )
