"""Table of the agreement of predicted labels with those by the checks, against numbers by hand."""

import pytest
from scipy.stats import spearmanr

from sami.analysis.statistics.win_rates import wilson_by_query
from sami.analysis.tables import build
from sami.analysis.tables.catalogue import TABLES
from sami.analysis.tables.labels import pairs
from sami.analysis.tables.rows import Estimator
from sami.errors import UserError
from sami.records import Label

ESTIMATOR = Estimator(samples=300, confidence=0.9, seed=1)
CHECKED = {"a": [(0, 0), (4, 0), (0, 0)], "b": [(2, 0), (0, 0)]}  # query -> values of "few" and "loud"
PREDICTED = {"a": [(0, 1), (3, 0), (1, 0)], "b": [(2, 0), (0, 0)]}


def labels(of_queries: dict) -> list[Label]:
    return [
        Label(query_id=query, set_id="s", number=number, policy="p", values={"few": few, "loud": loud})
        for query, values in of_queries.items()
        for number, (few, loud) in enumerate(values)
    ]


def test_agreement_by_hand():
    others = [Label(query_id="c", set_id="s", number=0, policy="p", values={"few": 1, "loud": 1})]  # was learned from
    both = pairs(labels(PREDICTED) + others, labels(CHECKED))
    rows = build.rows_of(TABLES["label_agreement"], both, ESTIMATOR)
    shown = build.frame(TABLES["label_agreement"], rows).set_index("attribute")
    few, loud = shown.loc["few"], shown.loc["loud"]
    assert (few["exact"], few["usual"], few["n_queries"], few["n_responses"]) == (pytest.approx(3 / 5), 3 / 5, 2, 5)
    exact = wilson_by_query({"a": [1.0, 0.0, 0.0], "b": [1.0, 1.0]}, 0.9)
    assert (few["exact_low"], few["exact_high"]) == pytest.approx((exact.low, exact.high))
    assert few["correlation"] == pytest.approx(spearmanr([0, 3, 1, 2, 0], [0, 4, 0, 2, 0]).statistic)
    assert few["correlation_low"] <= few["correlation"] <= few["correlation_high"]
    assert (loud["exact"], loud["usual"]) == (pytest.approx(4 / 5), 1.0)
    assert loud["correlation"] != loud["correlation"]  # nothing is correlated where all are equal


def test_a_response_without_a_predicted_label_is_told():
    with pytest.raises(
        UserError, match="query 'b', set 's': found no label of response 1 by 'p' with the attributes few"
    ):
        pairs(labels(PREDICTED)[:-1], labels(CHECKED))
    fewer = [label.model_copy(update={"values": {"few": 1}}) for label in labels(PREDICTED)]
    with pytest.raises(UserError, match="query 'a', set 's': found no label of response 0"):
        pairs(fewer, labels(CHECKED))
