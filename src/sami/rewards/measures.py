"""Measures of a reward model on comparisons that it was not trained on, with intervals over queries.

- `accuracy`: share of comparisons in which the better response scores higher; equal scores count half.
- `flips`: share of pairs of responses for which negating the only principle turns the choice round. A model that heeds
  nothing of what it reads of principles has 0 there, and an accuracy of one half.
- `shuffled`: the accuracy with the principles of another comparison in place of the own. One half is chance; more is
  what a model knows without them.

No torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sami.analysis.statistics.bootstrap import bootstrap
from sami.records import ScoredComparison

ByQuery = dict[str, list[float]]


def measures(scored: Sequence[ScoredComparison], samples: int, confidence: float, seed: int) -> dict[str, Any]:
    """Accuracy, flips and shuffled accuracy, each with its interval, and the accuracy for each principle that decides.

    Args:
        scored: held-out comparisons, one at least.
        samples: resamples of the bootstrap over queries.
        confidence: coverage of the intervals.
        seed: of the bootstrap.

    Returns:
        By name a mapping of `estimate`, `low`, `high`, `queries` and `count` (of comparisons, or pairs of them);
        `low` and `high` are null with a single query. What cannot be told, as flips without principles, is null.
    """

    def told(values: ByQuery) -> dict[str, Any] | None:
        if not values:
            return None
        found = bootstrap(values, samples=samples, confidence=confidence, seed=seed)
        low, high = (None, None) if len(values) < 2 else (found.low, found.high)
        return {
            "estimate": found.estimate,
            "low": low,
            "high": high,
            "queries": len(values),
            "count": sum(map(len, values.values())),
        }

    deciding = list(dict.fromkeys(s.comparison.decided_by for s in scored if s.comparison.decided_by))
    return {
        "accuracy": told(accuracy(scored)),
        "flips": told(flips(scored)),
        "shuffled": told(_by_query((s, right(*s.shuffled)) for s in scored if s.shuffled)),
        "by_principle": {
            name: told(accuracy(s for s in scored if s.comparison.decided_by == name)) for name in deciding
        },
    }


def right(chosen: float, rejected: float) -> float:
    """1 where the better response scores higher, 0 where the other does, one half where both are equal."""
    return 0.5 if chosen == rejected else float(chosen > rejected)


def accuracy(scored: Iterable[ScoredComparison]) -> ByQuery:
    """Whether each comparison is scored right, by query."""
    return _by_query((s, right(s.chosen, s.rejected)) for s in scored)


def flips(scored: Iterable[ScoredComparison]) -> ByQuery:
    """Whether the choice turns round as the only principle is negated, by query; pairs with both sides alone count."""
    sides: dict[tuple, dict[bool, ScoredComparison]] = {}
    for each in scored:
        of = each.comparison
        if len(of.statements) == 1:
            key = of.query_id, of.set_id, of.statements[0].principle, frozenset((of.chosen, of.rejected))
            sides.setdefault(key, {})[of.statements[0].wanted] = each
    return _by_query((both[True], _flipped(both)) for both in sides.values() if len(both) == 2)


def _flipped(both: Mapping[bool, ScoredComparison]) -> float:
    """1 where another response scores higher once the principle is negated; of equal scores none does."""
    wanted, negated = (_higher(both[side]) for side in (True, False))
    return float(None not in (wanted, negated) and wanted != negated)


def _higher(scored: ScoredComparison) -> str | None:
    """The response that scores higher; None where both are equal."""
    if scored.chosen == scored.rejected:
        return None
    return scored.comparison.chosen if scored.chosen > scored.rejected else scored.comparison.rejected


def _by_query(values: Iterable[tuple[ScoredComparison, float]]) -> ByQuery:
    found: ByQuery = {}
    for scored, value in values:
        found.setdefault(scored.comparison.query_id, []).append(value)
    return found
