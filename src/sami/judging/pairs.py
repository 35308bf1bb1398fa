"""Pairs of responses, a policy's and a comparator's, and the verdict that judges' answers about one add up to.

Ground floor: no torch, no HTTP.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sami.data.joined import check_known, check_once, read_by_id
from sami.errors import UserError
from sami.records import Answer, Choice, Constitution, Example, Query, Response, Verdict, read

POINTS = {"first": 1.0, "tie": 0.5, "invalid": 0.5, "second": 0.0}
ROUNDING = 1e-9  # of a mean of preferences


@dataclass(frozen=True)
class Pair:
    """Two responses to one query, written for one constitution; `first` is the policy's."""

    query: Query
    set_id: str
    constitution: Constitution
    number: int  # of the response in its example
    policy: str
    comparator: str
    first: str
    second: str


def pairs_of_files(
    policy: Path, comparator: Path, queries: Path, constitutions: Sequence[Path], judged: str = "all"
) -> list[Pair]:
    """The pairs of two policies' examples in files, with files of queries and constitutions; see `read_pairs`."""
    examples = read(Example, policy), read(Example, comparator)
    known = read_by_id(Query, queries), read_by_id(Constitution, *constitutions)
    return read_pairs(policy, comparator, *examples, *known, judged)


def read_pairs(
    policy_file: str | Path,
    comparator_file: str | Path,
    policy: Sequence[Example],
    comparator: Sequence[Example],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    judged: str = "all",
) -> list[Pair]:
    """The pairs of two policies' examples, in the order of the first one's.

    Args:
        policy_file, comparator_file: where the examples come from, for messages.
        policy, comparator: examples with responses to the same queries under the same constitutions.
        queries, constitutions: by id.
        judged: under which constitutions there are pairs (`judged_responses`); both policies must have them.

    Raises:
        UserError: the files do not fit together: no examples, duplicates, other queries, sets or constitutions, other
            numbers of responses.
    """
    for file, examples in ((policy_file, policy), (comparator_file, comparator)):
        if not examples:
            raise UserError(f"{file}: there are no responses in it, expected one example a line. Sample them again.")
        check_once(examples, file)
    others = {example.key: example for example in comparator}
    _require_same_keys(policy_file, comparator_file, policy, others)
    for example in policy:
        where = f"{policy_file}, query '{example.query_id}', set '{example.set_id}'"
        ours, theirs = (judged_responses(side, constitutions, judged) for side in (example, others[example.key]))
        if ours.keys() != theirs.keys():
            raise UserError(
                f"{where}: found responses under the constitutions {_names(ours)}, but in {comparator_file} under "
                f"{_names(theirs)}; expected the same. Sample both again, or judge only what both have "
                "('evaluation.judged')."
            )
        check_known([example], policy_file, queries, constitutions)
    pairs = [
        pair for example in policy for pair in _pairs_of(example, others[example.key], queries, constitutions, judged)
    ]
    if not pairs:
        raise UserError(
            f"{policy_file}: none of the responses is for a constitution that wants every principle, which alone are "
            "judged. Set 'evaluation.judged' to all."
        )
    return pairs


def _require_same_keys(
    policy_file: str | Path,
    comparator_file: str | Path,
    policy: Sequence[Example],
    others: Mapping[tuple[str, str], Example],
) -> None:
    """Raises UserError where two files are not about the same queries and sets."""
    apart = sorted({example.key for example in policy} ^ others.keys())
    if apart:
        raise UserError(
            f"{policy_file} and {comparator_file} hold responses to different queries or sets of constitutions: "
            f"{len(apart)} are in one of them only, the first of which is query '{apart[0][0]}', set '{apart[0][1]}'; "
            "expected the same in both. Sample both with the same queries and constitutions."
        )


def _pairs_of(
    example: Example,
    other: Example,
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    judged: str,
) -> list[Pair]:
    """The pairs of an example of the policy and the comparator's."""
    ours, theirs = (judged_responses(side, constitutions, judged) for side in (example, other))
    return [
        Pair(
            queries[example.query_id],
            example.set_id,
            constitutions[identifier],
            number,
            example.policy,
            other.policy,
            first.text,
            theirs[identifier, number].text,
        )
        for (identifier, number), first in ours.items()
    ]


def judged_responses(
    example: Example, constitutions: Mapping[str, Constitution], judged: str
) -> dict[tuple[str, int], Response]:
    """The responses of an example that judges compare: (constitution id, number of the response) -> response.

    Args:
        constitutions: by id.
        judged: "all", or "positive" for those written for a constitution that wants every principle.
    """
    return {
        (identifier, number): response
        for number, response in enumerate(example.responses)
        for identifier in [example.constitution_ids[response.constitution]]
        if judged == "all" or getattr(constitutions.get(identifier), "positive", False)
    }


def _names(responses: Mapping[tuple[str, int], Response]) -> str:
    return ", ".join(identifier for identifier, _ in responses) or "none"


def verdict(pair: Pair, judge: str, answers: Sequence[Answer], margin: float = 0.0, **details: Any) -> Verdict:
    """Verdict of a judge's answers about one pair: the mean preference, and on which side of one half it lies.

    Args:
        margin: a preference that is no further from one half is a tie.
        details: further fields of the record.
    """
    preference = sum(answer.preference for answer in answers) / len(answers)
    return Verdict(
        query_id=pair.query.id,
        set_id=pair.set_id,
        constitution_id=pair.constitution.id,
        number=pair.number,
        policy=pair.policy,
        comparator=pair.comparator,
        first=pair.first,
        second=pair.second,
        judge=judge,
        choice=choice([answer.choice for answer in answers], preference, margin),
        preference=preference,
        answers=list(answers),
        **details,
    )


def choice(choices: Sequence[str], preference: float, margin: float = 0.0) -> Choice:
    """The side of one half on which the preference lies; "invalid" where all choices are."""
    return "invalid" if all(choice == "invalid" for choice in choices) else side(preference, margin)


def side(preference: float, margin: float = 0.0) -> Choice:
    """ "first" or "second" where the preference is above or below one half by more than the margin, else "tie"."""
    if abs(preference - 0.5) <= margin + ROUNDING:
        return "tie"
    return "first" if preference > 0.5 else "second"
