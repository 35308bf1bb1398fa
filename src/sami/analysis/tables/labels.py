"""Table of how far labels that a model predicts agree with those by the checks, for each attribute."""

from collections import Counter
from collections.abc import Iterable, Sequence

from sami.analysis.statistics.rank_correlation import spearman
from sami.analysis.tables.rows import Estimator, Row, by_query, cells
from sami.errors import UserError
from sami.records import Label

Pair = tuple[Label, Label]  # predicted, by the checks


def pairs(predicted: Iterable[Label], checked: Iterable[Label]) -> list[Pair]:
    """Both labels of each response that has one by the checks. Raises UserError where no other is predicted."""
    known = {label.place: label for label in predicted}
    found = []
    for label in checked:
        other = known.get(label.place)
        if other is None or other.values.keys() != label.values.keys():
            raise UserError(
                f"query '{label.query_id}', set '{label.set_id}': found no label of response {label.number} by "
                f"'{label.policy}' with the attributes {', '.join(label.values)}, expected one of each. Predict the "
                "labels of these responses again."
            )
        found.append((other, label))
    return found


def label_agreement(pairs: Sequence[Pair], estimator: Estimator) -> list[Row]:
    """Share of exact values, and rank correlation of predicted values and those by the checks, a row an attribute.

    `usual` is the share of the commonest value by the checks: what one would get right who says nothing else.
    """
    rows = []
    for name in pairs[0][1].values:
        both = [(checked.query_id, (predicted.values[name], checked.values[name])) for predicted, checked in pairs]
        exact = by_query((query, float(first == second)) for query, (first, second) in both)
        (_, usual), *_ = Counter(wanted for _, (_, wanted) in both).most_common(1)
        row = {"attribute": name} | cells("exact", estimator.share(exact)) | {"usual": usual / len(both)}
        row |= cells("correlation", estimator.of(by_query(both), spearman))
        rows.append(row | {"n_queries": len(exact), "n_responses": len(both)})
    return rows
