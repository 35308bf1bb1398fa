"""Length-controlled win rates of comparisons, with difficulties of queries from the other policies' verdicts."""

from dataclasses import asdict

import numpy as np

from sami.analysis.statistics.length_control import Judged, LengthControl, difficulty, length_controlled
from sami.analysis.tables.rows import Comparison, Estimator, by_query


def length_control(comparisons: list[Comparison], estimator: Estimator) -> list[LengthControl]:
    """The length-controlled win rate of each comparison, and the fit behind it.

    A query's difficulty is what the other policies' verdicts on it say, by the same judge against the same comparator;
    it is used where there are at least two others, and centred, so that zero is the average query.
    """
    fits = []
    for comparison in comparisons:
        others = [
            other
            for other in comparisons
            if other.policy is not comparison.policy
            and (other.comparator, other.judge) == (comparison.comparator, comparison.judge)
        ]
        hard = _difficulties(others) if len(others) >= 2 else {}
        centre = float(np.mean([hard.get(v.query_id, 0.0) for v in comparison.verdicts]))
        judged = by_query(
            (v.query_id, Judged(v.preference, len(v.first) - len(v.second), hard.get(v.query_id, centre) - centre))
            for v in comparison.verdicts
        )
        fits.append(length_controlled(judged, **asdict(estimator)))
    return fits


def _difficulties(comparisons: list[Comparison]) -> dict[str, float]:
    """Query id -> its difficulty, from all verdicts on it."""
    preferences = by_query((v.query_id, v.preference) for comparison in comparisons for v in comparison.verdicts)
    return {query_id: difficulty(values) for query_id, values in preferences.items()}
