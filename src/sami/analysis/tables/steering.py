"""Tables of what policies make of attributes that they are asked for: achieved degrees, rank correlation, leakage.

Each function takes policies, their responses and an estimator, and returns rows in the order of the policies.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sami import records
from sami.analysis.statistics.rank_correlation import spearman
from sami.analysis.tables.rows import Estimator, Row, by_query, cells
from sami.errors import UserError
from sami.records import Steered, iteration_of

OfPolicies = Mapping[str, Sequence[Steered]]  # policy -> its responses


def load(policies: Sequence[str], files: Sequence[Path]) -> dict[str, list[Steered]]:
    """Reads the responses of each policy.

    Args:
        policies: names.
        files: of each, in the same order.

    Raises:
        UserError: a file is missing, broken, of another policy, or was asked for other things than the first one.
    """
    if len(policies) != len(files) or len(set(policies)) < len(policies):
        raise UserError(
            f"--policies: found {', '.join(policies)}, expected one name of its own for each of the {len(files)} files "
            "of --steered."
        )
    found: dict[str, list[Steered]] = {}
    for name, file in zip(policies, files, strict=True):
        found[name] = records.read(Steered, file)
        others = sorted({record.policy for record in found[name]} - {name})
        if others:
            raise UserError(
                f"{file}: found responses of the policy '{others[0]}', expected those of '{name}'. Name the file of "
                "this policy, or sample it again."
            )
        if _asked(found[name]) != _asked(found[policies[0]]):
            raise UserError(
                f"{file}: found other questions than in {files[0]}, expected the same for all policies, which are "
                "compared. Sample the responses of both again."
            )
    return found


def _asked(steered: Sequence[Steered]) -> list[tuple]:
    """What was asked, in order, and what was measured."""
    return sorted((r.query_id, r.attribute, r.value, *r.asked.items(), *r.degrees) for r in steered)


def steering(of_policies: OfPolicies, estimator: Estimator) -> list[Row]:
    """Mean degree of an attribute in the responses that were asked for each of its values.

    `wanted` is the degree that a value stands for, from 0 to 1.
    """
    rows = []
    for name, steered in of_policies.items():
        for attribute, values in _values(steered).items():
            for value in values:
                asked = [r for r in steered if (r.attribute, r.value) == (attribute, value)]
                row = _names(name) | {"attribute": attribute, "value": value, "wanted": value / values[-1]}
                row |= cells("degree", estimator.share(by_query((r.query_id, r.degrees[attribute]) for r in asked)))
                rows.append(row | _counts(asked))
    return rows


def steering_summary(of_policies: OfPolicies, estimator: Estimator) -> list[Row]:
    """Each attribute that was asked for against each that was measured: the leakage matrix, a row an entry.

    `correlation` is Spearman's of values asked for and degrees measured; `difference` is the mean degree where the
    highest value was asked for, less that where the lowest was, paired by query.
    """
    rows = []
    for name, steered in of_policies.items():
        for attribute, values in _values(steered).items():
            asked = [r for r in steered if r.attribute == attribute]
            for measured in asked[0].degrees:
                pairs = by_query((r.query_id, (r.value, r.degrees[measured])) for r in asked)
                ends = (by_query((r.query_id, r.degrees[measured]) for r in asked if r.value == value)
                        for value in (values[-1], values[0]))  # fmt: skip
                row = _names(name) | {"attribute": attribute, "measured": measured}
                row |= cells("correlation", estimator.of(pairs, spearman))
                rows.append(row | cells("difference", estimator.difference(*ends)) | _counts(asked))
    return rows


def _values(steered: Sequence[Steered]) -> dict[str, list[int]]:
    """Attribute -> the values that were asked of it, rising; attributes in the order in which they were asked."""
    found: dict[str, set[int]] = {}
    for record in steered:
        found.setdefault(record.attribute, set()).add(record.value)
    return {attribute: sorted(values) for attribute, values in found.items()}


def _names(policy: str) -> Row:
    return {"policy": policy, "iteration": iteration_of(policy)}


def _counts(steered: Sequence[Steered]) -> Row:
    return {"n_queries": len({record.query_id for record in steered}), "n_responses": len(steered)}
