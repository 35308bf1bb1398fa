"""Responses that were made elsewhere, as records of an experiment: files of the SAMI authors' runs, or our own records.

A released file (.json) holds the responses of one policy, one to each query: {"constitution": {i: text},
"question": {i: text}, "response": {i: text}}, with the same indices i in all three (github.com/janphilippfranken/sami,
folders experiments/*/results/responses). Constitutions there are numbered lines, in either order; here they become one
constitution and the order of its statements. Questions and responses are kept as they are. The id of a query is made of
its text, so that files are imported one by one and still fit together.

An experiment that trains can have such a file, or a file of our records (.jsonl) that another experiment made, as one
of its policies. Responses are then found by texts, since other experiments may give other ids: by the text of the query
(without the "POST: " that the authors put before it) and by those of the constitution's statements, in any order.

Ground floor: no torch, no HTTP.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from sami import records
from sami.data.joined import check_known, read_by_id
from sami.data.queries import normalised
from sami.errors import UserError
from sami.json_files import read_json
from sami.records import Constitution, Example, Query, Record, Response
from sami.settings.explain import dotted
from sami.settings.yaml_files import validate

_NUMBER = re.compile(r"\s*\d+[.)]\s")
_POST = "post: "  # before the authors' questions


class Released(Record):
    """One released file: three mappings from the same indices to texts."""

    constitution: dict[str, str]
    question: dict[str, Annotated[str, Field(min_length=1)]]
    response: dict[str, str]

    @model_validator(mode="after")
    def _same_indices(self):
        for key in ("constitution", "response"):
            apart = sorted(self.question.keys() ^ getattr(self, key).keys())
            if apart:
                raise ValueError(
                    f"'question' and '{key}' have different indices: found {len(apart)} in one of the two only, the "
                    f"first of them '{apart[0]}', expected the same indices in both. Get the file again"
                )
        return self

    def indices(self) -> dict[str, str]:
        """Query id -> index, in file order. Where a question comes again, its first response counts."""
        found: dict[str, str] = {}
        for index, text in self.question.items():
            found.setdefault(f"text-{hashlib.sha256(normalised(text).encode()).hexdigest()[:16]}", index)
        return found


def read(path: str | Path) -> Released:
    """Reads a released file.

    Raises:
        UserError: the file is missing, not UTF-8 or not JSON, or has another shape; it names the key and the index.
    """
    return validate(read_json(path), Released, lambda keys: ": ".join(filter(None, [str(path), dotted(keys)])))


def queries(path: str | Path, task: str, count: int) -> list[Query]:
    """The first `count` different questions of a released file.

    Raises:
        UserError: see `read`; or there are fewer.
    """
    released = read(path)
    chosen = list(released.indices().items())[:count]
    if len(chosen) < count:
        raise UserError(
            f"{path}: found {len(chosen)} different questions, expected at least {count}, which is 'queries.eval' of "
            "the experiment. Lower it."
        )
    return [
        Query(id=identifier, task=task, text=released.question[index], meta={"index": index})
        for identifier, index in chosen
    ]


def examples(
    path: str | Path, queries: Sequence[Query], constitutions: Sequence[Constitution], policy: str
) -> list[Example]:
    """The responses of a released file to some queries, one example with one constitution and one response a query.

    Args:
        path: the file.
        queries: what was asked, as `queries` makes it of this file or of another one about the same posts.
        constitutions: among which the file's are found, by the texts of their statements in any order.
        policy: whose responses these are, kept in the records.

    Raises:
        UserError: see `read`; or a query has no response, or a text is none of the constitutions.
    """
    released = read(path)
    indices = released.indices()
    made = []
    for query in queries:
        if query.id not in indices:
            raise UserError(
                f"{path}: found no response to the question {query.text[:60]!r}, which the base model's file has; "
                "expected the responses of all policies to the same questions. Name the files of one run."
            )
        index = indices[query.id]
        where = f"{path}: constitution.{index}"
        constitution, order = _recognised(released.constitution[index], constitutions, where)
        made.append(
            Example(
                query_id=query.id,
                set_id=constitution.set_id,
                constitution_ids=[constitution.id],
                order=order,
                responses=[_response(released.response[index])],
                policy=policy,
            )
        )
    return made


@dataclass(frozen=True)
class Given:
    """A response with the texts it belongs to."""

    question: str
    statements: list[str]  # in the order in which the model saw them
    response: Response

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        return _key(self.question, self.statements)


def _key(question: str, statements: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """What responses are found by: texts without differences in case, white space and order."""
    return normalised(question).removeprefix(_POST), tuple(sorted(map(normalised, statements)))


def given(path: str | Path, texts: Sequence[str | Path] | None = None) -> list[Given]:
    """All responses of a file.

    Args:
        path: a released file (.json), or one of our records (.jsonl).
        texts: for records, the files of queries and of constitutions that their ids are of (default: `texts_beside`).

    Raises:
        UserError: see `read` and `records.read`; or an id of a record is not in the files of texts.
    """
    if Path(path).suffix == ".json":
        released = read(path)
        return [
            Given(released.question[i], _lines(released.constitution[i]), _response(released.response[i]))
            for i in released.question
        ]
    asked, *others = texts or texts_beside(path)
    queries, constitutions = read_by_id(Query, asked), read_by_id(Constitution, *others)
    examples = records.read(Example, path)
    expected = "Leave the responses in the folder of the experiment that made them."
    check_known(examples, path, queries, constitutions, [asked, *others], expected)
    found = []
    for example in examples:
        for response in example.responses:
            statements = _texts(constitutions[example.constitution_ids[response.constitution]])
            found.append(Given(queries[example.query_id].text, [statements[i] for i in example.order], response))
    return found


def made_by(path: str | Path, results: str | Path) -> str | None:
    """Name of the experiment that has a file of held-out responses in its folder of `results`, if one has."""
    folder = _experiment(path)
    return folder.name if folder.parent == Path(os.path.normpath(results)) else None


def _experiment(path: str | Path) -> Path:
    """The folder of the experiment that made a file of held-out responses, {folder}/{policy}/eval/responses.jsonl."""
    return Path(os.path.normpath(Path(path, "../../..")))


def texts_beside(path: str | Path) -> list[Path]:
    """The files of queries and constitutions that the ids in a file of records are of.

    Raises:
        UserError: they are not where an experiment has them.
    """
    folder = _experiment(path)
    files = [folder / "queries/eval.jsonl", folder / "constitutions.jsonl"]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{path}: found no {' and no '.join(missing)}, which say what the ids in this file stand for; expected "
            "it where an experiment has it, as {policy}/eval/responses.jsonl in the experiment's folder. Leave it "
            "there, or copy the two other files, too."
        )
    held_out = folder / "held-out/constitutions.jsonl"
    return [*files, held_out] if held_out.is_file() else files


def match(
    path: str | Path,
    responses: Sequence[Given],
    asked: Sequence[Example],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    policy: str,
    judged: str,
) -> list[Example]:
    """The responses of a file to what an experiment asks of its own policies.

    Args:
        path: the file, for messages.
        responses: what is in it.
        asked: the experiment's examples, of any policy.
        queries, constitutions: the experiment's, by id.
        policy: whose responses these are, kept in the records.
        judged: under which constitutions there must be responses (`evaluation.judged`); others are taken where found.

    Returns:
        One example for each of `asked`, with those of its constitutions that the file has responses for.

    Raises:
        UserError: responses that are to be judged are missing.
    """
    by_key: dict[tuple, list[Given]] = {}
    for response in responses:
        by_key.setdefault(response.key, []).append(response)
    made, missing = [], []
    for example in asked:
        query, found = queries[example.query_id], {}  # number of a constitution -> responses
        for label, count in Counter(example.labels).items():
            constitution = constitutions[example.constitution_ids[label]]
            there = by_key.get(_key(query.text, _texts(constitution)), [])
            if len(there) >= count:
                found[label] = there
            elif judged == "all" or constitution.positive:
                missing.append((query, constitution, f"{len(there)} of {count}"))
        if not missing:
            kept, turns = list(found), {label: iter(there) for label, there in found.items()}
            taken = [(label, next(turns[label])) for label in example.labels if label in turns]
            made.append(
                Example(
                    query_id=example.query_id,
                    set_id=example.set_id,
                    constitution_ids=[example.constitution_ids[label] for label in kept],
                    order=_order(taken[0][1].statements, constitutions[example.constitution_ids[taken[0][0]]]),
                    # Tokens are those of another model's tokenizer.
                    responses=[
                        r.response.model_copy(update={"constitution": kept.index(i), "token_ids": None})
                        for i, r in taken
                    ],
                    policy=policy,
                )
            )
    if missing:
        query, constitution, count = missing[0]
        question, _ = _key(query.text, [])
        others = [" | ".join(other.statements) for other in responses if other.key[0] == question]
        instead = f"one for this question is under {others[0]!r}" if others else "it does not have this question"
        kind = "every constitution" if judged == "all" else "the constitution that wants every principle"
        raise UserError(
            f"{path}: lacks responses to {len(missing)} of what the experiment asks, first of all to the question "
            f"{query.text[:60]!r} under the constitution '{constitution.id}': found {count} ({instead}); expected as "
            f"many as the experiment's own policies give under {kind} ('evaluation.judged: {judged}'). Name a file "
            "about the same queries and principles."
        )
    return made


def _texts(constitution: Constitution) -> list[str]:
    return [statement.text for statement in constitution.statements]


def _order(lines: Sequence[str], constitution: Constitution) -> list[int]:
    """Positions of lines of text among the statements of a constitution."""
    texts = list(map(normalised, _texts(constitution)))
    return [texts.index(normalised(line)) for line in lines]


def _response(text: str) -> Response:
    """A released response: how many tokens it had, and whether the policy ended it itself, the files do not say."""
    return Response(text=text, constitution=0, tokens=None, finish=None)


def _lines(constitution: str) -> list[str]:
    """The statements of a released constitution, without their numbers."""
    return [_NUMBER.sub("", line, count=1) for line in constitution.split("\n") if line.strip()]


def _recognised(text: str, constitutions: Sequence[Constitution], where: str) -> tuple[Constitution, list[int]]:
    """The constitution whose statements are the lines of a text, and the order in which they stand there."""
    lines = _lines(text)
    found = [normalised(line) for line in lines]
    known = set()
    for constitution in constitutions:
        texts = [normalised(line) for line in _texts(constitution)]
        if sorted(found) == sorted(texts):
            return constitution, _order(lines, constitution)
        known.update(texts)
    strange = [line for line, key in zip(lines, found, strict=True) if key not in known]
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
