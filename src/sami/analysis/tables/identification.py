"""Table of what another model tells of the policies' responses: for which constitution each was written."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sami import records
from sami.analysis.tables.rows import Estimator, Row, by_query, cells
from sami.errors import UserError
from sami.records import BASE, Recognised, iteration_of

OfJudges = Mapping[str, Mapping[str, Sequence[Recognised]]]  # judge -> policy -> its responses


def load(judges: Sequence[str], policies: Sequence[str], files: Sequence[Path]) -> dict[str, dict[str, list]]:
    """Reads what each judge makes of each policy.

    Args:
        judges, policies: names.
        files: of the first judge and each policy, then of the second one, ...

    Raises:
        UserError: a file is missing, broken or of another policy.
    """
    if len(files) != len(judges) * len(policies):
        raise UserError(
            f"--recognised: found {len(files)} files, expected {len(judges) * len(policies)}: one for each of the "
            f"judges {', '.join(judges)} and of the policies {', '.join(policies)}."
        )
    found: dict[str, dict[str, list]] = {judge: {} for judge in judges}
    pairs = [(judge, policy) for judge in judges for policy in policies]
    for (judge, policy), file in zip(pairs, files, strict=True):
        found[judge][policy] = records.read(Recognised, file)
        others = sorted({record.policy for record in found[judge][policy]} - {policy})
        if others:
            raise UserError(
                f"{file}: found responses of the policy '{others[0]}', expected those of '{policy}'. Name the file of "
                "this policy, or score it again."
            )
    return found


def identification(of_judges: OfJudges, estimator: Estimator) -> list[Row]:
    """Share of responses that are recognised, and their margin, with the differences to the base model's.

    A response is recognised if its own constitution is the only likeliest one of its set: empty ones are not.
    """
    rows = []
    for judge, of_policies in of_judges.items():
        for policy, told in of_policies.items():
            base = of_policies[BASE]
            row: Row = {"policy": policy, "iteration": iteration_of(policy), "judge": judge}
            row |= cells("recognised", estimator.share(_recognised(told)))
            row |= cells("recognised_margin", estimator.of(_margins(told)))
            other = policy != BASE
            row |= cells("recognised_difference", estimator.difference(*_both(_recognised, told, base, other)))
            row |= cells("margin_difference", estimator.difference(*_both(_margins, told, base, other)))
            rows.append(row | {"n_queries": len({r.query_id for r in told}), "n_responses": len(told)})
    return rows


def _both(values, told: Sequence[Recognised], base: Sequence[Recognised], other: bool) -> tuple[dict, dict]:
    return (values(told), values(base)) if other else ({}, {})


def _recognised(told: Sequence[Recognised]) -> dict[str, list[float]]:
    return by_query((r.query_id, float(r.margin is not None and r.margin > 0)) for r in told)


def _margins(told: Sequence[Recognised]) -> dict[str, list[float]]:
    return by_query((r.query_id, r.margin) for r in told if r.margin is not None)
