"""A panel of judges: the verdict of the majority on each pair."""

from collections.abc import Sequence
from pathlib import Path

from sami.errors import UserError
from sami.judging.pairs import POINTS, choice
from sami.records import Answer, Verdict


def majority(votes: Sequence[Sequence[Verdict]], files: Sequence[str | Path], name: str) -> list[Verdict]:
    """One verdict a pair: the side with more votes; a tie where there are equally many.

    Votes for neither side (ties, invalid verdicts) count for none. A pair on which every member is invalid is invalid.
    Each member's verdict is kept as an answer, its judge in the answer's `raw`.

    Args:
        votes: the verdicts of each member on the same pairs.
        files: where they come from, for messages.
        name: of the panel, kept in the records.

    Raises:
        UserError: the members did not judge the same pairs of the same responses.
    """
    tables = [{verdict.key: verdict for verdict in verdicts} for verdicts in votes]
    for file, verdicts, table in zip(files, votes, tables, strict=True):
        same = table.keys() == tables[0].keys() and len(table) == len(verdicts)
        if not same or any((v.first, v.second) != (tables[0][k].first, tables[0][k].second) for k, v in table.items()):
            raise UserError(
                f"{file}: these are not verdicts on the same pairs of responses as those in {files[0]}. "
                "Judge both again."
            )
    combined = []
    for key, pattern in tables[0].items():
        members = [table[key] for table in tables]
        difference = sum((vote.choice == "first") - (vote.choice == "second") for vote in members)
        winner = choice([vote.choice for vote in members], 0.5 + difference)
        answers = [
            Answer(
                order="policy-first",
                choice=vote.choice,
                preference=vote.preference,
                raw=vote.judge,
                input_tokens=sum(answer.input_tokens for answer in vote.answers),
                output_tokens=sum(answer.output_tokens for answer in vote.answers),
                cost=_total([answer.cost for answer in vote.answers]),
            )
            for vote in members
        ]
        changes = {"judge": name, "choice": winner, "preference": POINTS[winner], "answers": answers}
        combined.append(pattern.model_copy(update=changes))
    return combined


def _total(costs: Sequence[float | None]) -> float | None:
    """A sum of dollars; None where nothing has a price."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None
