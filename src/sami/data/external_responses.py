"""Responses that were made elsewhere, as a policy of an experiment that trains.

They are a file in the SAMI authors' format (`sami.data.authors_format`), or held-out responses of another experiment
(.jsonl). What an experiment asks is found in it by texts, since other experiments may give other ids: by the text of
the query (without the "POST: " that the authors put before it) and by those of the constitution's statements, in any
order.

Ground floor: no torch, no HTTP.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sami import records
from sami.data import authors_format
from sami.data.joined import check_known, read_by_id
from sami.data.queries import normalised
from sami.errors import UserError
from sami.records import Constitution, Example, Query, Response

_POST = "post: "  # before the authors' questions


@dataclass(frozen=True)
class ExternalResponse:
    """A response with the texts it belongs to."""

    question: str
    statements: list[str]  # in the order in which the model saw them
    response: Response

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        return _key(self.question, self.statements)


def _key(question: str, statements: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The key by which responses are found: texts without differences in case, white space and order."""
    return normalised(question).removeprefix(_POST), tuple(sorted(map(normalised, statements)))


def read(path: str | Path, texts: Sequence[str | Path] | None = None) -> list[ExternalResponse]:
    """All responses of a file.

    Args:
        path: a file in the authors' format (.json), or one of our records (.jsonl).
        texts: for records, the files of queries and of constitutions that their ids are of (default: `text_files`).

    Raises:
        UserError: see `authors_format.read` and `records.read`; or an id of a record is not in the files of texts.
    """
    if Path(path).suffix == ".json":
        file = authors_format.read(path)
        return [
            ExternalResponse(
                file.question[i],
                authors_format.lines(file.constitution[i]),
                authors_format.response(file.response[i]),
            )
            for i in file.question
        ]
    asked, *others = texts or text_files(path)
    queries, constitutions = read_by_id(Query, asked), read_by_id(Constitution, *others)
    examples = records.read(Example, path)
    expected = "Leave the responses in the folder of the experiment that made them."
    check_known(examples, path, queries, constitutions, [asked, *others], expected)
    found = []
    for example in examples:
        for response in example.responses:
            statements = _texts(constitutions[example.constitution_ids[response.constitution]])
            ordered = [statements[i] for i in example.order]
            found.append(ExternalResponse(queries[example.query_id].text, ordered, response))
    return found


def experiment_of(path: str | Path, results: str | Path) -> str | None:
    """Name of the experiment that has a file of held-out responses in its folder of `results`, if one has."""
    folder = _experiment_folder(path)
    return folder.name if folder.parent == Path(os.path.normpath(results)) else None


def _experiment_folder(path: str | Path) -> Path:
    """The folder of the experiment that made a file of held-out responses, {folder}/{policy}/eval/responses.jsonl."""
    return Path(os.path.normpath(Path(path, "../../..")))


def text_files(path: str | Path) -> list[Path]:
    """The files of queries and constitutions that the ids in a file of records are of.

    Raises:
        UserError: they are not where an experiment has them.
    """
    folder = _experiment_folder(path)
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
    responses: Sequence[ExternalResponse],
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
    by_key: dict[tuple, list[ExternalResponse]] = {}
    for response in responses:
        by_key.setdefault(response.key, []).append(response)

    def under(example: Example, label: int) -> list[ExternalResponse]:
        constitution = constitutions[example.constitution_ids[label]]
        return by_key.get(_key(queries[example.query_id].text, _texts(constitution)), [])

    there = [{label: under(example, label) for label in dict.fromkeys(example.labels)} for example in asked]
    _require_judged(path, responses, asked, there, queries, constitutions, judged)
    return [
        _matched(example, of_example, constitutions, policy) for example, of_example in zip(asked, there, strict=True)
    ]


def _require_judged(
    path: str | Path,
    responses: Sequence[ExternalResponse],
    asked: Sequence[Example],
    there: Sequence[Mapping[int, list[ExternalResponse]]],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    judged: str,
) -> None:
    """Raises UserError where responses that are to be judged are missing.

    Args:
        there: of each example of `asked`, number of a constitution -> responses under it.
    """
    missing = [
        (queries[example.query_id], constitution, f"{len(of_example[label])} of {count}")
        for example, of_example in zip(asked, there, strict=True)
        for label, count in Counter(example.labels).items()
        for constitution in [constitutions[example.constitution_ids[label]]]
        if len(of_example[label]) < count and (judged == "all" or constitution.positive)
    ]
    if not missing:
        return
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


def _matched(
    example: Example,
    there: Mapping[int, list[ExternalResponse]],
    constitutions: Mapping[str, Constitution],
    policy: str,
) -> Example:
    """An example with the responses of a file in place of its own, where it has enough of them."""
    counts = Counter(example.labels)
    kept = [label for label, responses in there.items() if len(responses) >= counts[label]]
    turns = {label: iter(there[label]) for label in kept}
    taken = [(label, next(turns[label])) for label in example.labels if label in turns]
    first_label, first = taken[0]
    return Example(
        query_id=example.query_id,
        set_id=example.set_id,
        constitution_ids=[example.constitution_ids[label] for label in kept],
        order=authors_format.order(first.statements, constitutions[example.constitution_ids[first_label]]),
        responses=[
            # Tokens are those of another model's tokenizer.
            chosen.response.model_copy(update={"constitution": kept.index(label), "token_ids": None})
            for label, chosen in taken
        ],
        policy=policy,
    )


def _texts(constitution: Constitution) -> list[str]:
    return [statement.text for statement in constitution.statements]
