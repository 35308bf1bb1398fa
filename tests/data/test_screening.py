"""Screening of principles: bounds and overlaps against numbers by hand, and which pairs are kept."""

import math

import pytest

from sami.analysis.statistics.bootstrap import bootstrap
from sami.data.screening import explained, kept, measure, queries_needed, select
from sami.errors import UserError
from sami.records import Principle, Scores, Screened

HOW = 500, 0.95, 1


def pair(name: str) -> Principle:
    return Principle(id=name, text=f"Be {name}.", opposite=f"Never be {name}.", writer="w")


def scores(name: str, gaps: list[tuple[float, float]]) -> list[Scores]:
    """Matrices whose responses are likelier by a gap under their own side: one row of gaps a query."""
    return [
        Scores(
            query_id=f"q{n}", set_id=name, scorer="m", responses_of="m", labels=[0, 1], tokens=[5, 5],
            mean=[[-1 + first, -1.0], [-1.0, -1 + second]], sum=[[0.0, 0.0], [0.0, 0.0]],
        )
        for n, (first, second) in enumerate(gaps)
    ]  # fmt: skip


def bound(first: float, second: float) -> float:
    """The bound of one 2 x 2 matrix, slowly: log 2 less the mean of two cross-entropies along rows and columns."""
    matrix = [[-1 + first, -1.0], [-1.0, -1 + second]]
    loss = 0.0
    for j in (0, 1):
        loss -= math.log(math.exp(matrix[j][j]) / (math.exp(matrix[j][0]) + math.exp(matrix[j][1]))) / 4
        loss -= math.log(math.exp(matrix[j][j]) / (math.exp(matrix[0][j]) + math.exp(matrix[1][j]))) / 4
    return math.log(2) - loss


def test_bounds_and_recognised_sides_by_hand():
    gaps = [(0.5, 0.3), (0.4, -0.1), (0.6, 0.2)]
    (found,) = measure([pair("a")], scores("a", gaps), *HOW)
    assert found.bounds == pytest.approx({f"q{n}": bound(*gap) for n, gap in enumerate(gaps)})
    assert found.bound == pytest.approx(sum(bound(*gap) for gap in gaps) / 3)
    told = bootstrap({q: [b] for q, b in found.bounds.items()}, samples=500, confidence=0.95, seed=1)
    assert (found.low, found.high) == (told.low, told.high)
    assert (found.principle_recognised, found.opposite_recognised) == (1.0, pytest.approx(2 / 3))
    assert (found.text, found.opposite, found.fate, found.heard) == ("Be a.", "Never be a.", "not heard", True)


def test_a_pair_that_means_nothing_is_not_heard():
    gaps = [(0.2, 0.1), (-0.2, -0.1), (0.3, -0.1), (-0.1, -0.2), (0.1, 0.3), (-0.1, -0.1)]
    (found,) = measure([pair("a")], scores("a", gaps), *HOW)
    assert found.low < 0 < found.high
    assert not found.heard
    for few in ([], [(0.5, 0.5)]):  # no interval, so nothing is known
        (found,) = measure([pair("a")], scores("a", few), *HOW)
        assert found.low is None
        assert not found.heard


def test_overlap_is_the_explained_share_whichever_way_round():
    own = {f"q{n}": bound(0.8, 0.8) for n in range(3)}
    assert explained(own, scores("b", [(0.8, 0.8)] * 3)) == pytest.approx(1)
    assert explained(own, scores("b", [(0.3, 0.3)] * 3)) == pytest.approx(bound(0.3, 0.3) / bound(0.8, 0.8))
    turned = [r.model_copy(update={"mean": r.mean[::-1]}) for r in scores("b", [(0.8, 0.8)] * 3)]
    assert explained(own, turned) == pytest.approx(1)
    assert explained(own, scores("b", [(0.0, 0.0)] * 3)) == pytest.approx(0, abs=1e-12)


def heard(name: str, height: float, low: float = 0.01) -> Screened:
    return Screened(
        id=name, text=f"Be {name}.", opposite=f"Never be {name}.", bounds={"q0": height - 0.1, "q1": height + 0.1},
        bound=height, low=low, high=height + 0.2, principle_recognised=1.0, opposite_recognised=1.0, fate="not heard",
    )  # fmt: skip


PAIRS = [heard("deaf", 0.9, low=-0.1), heard("b", 0.3), heard("a", 0.5), heard("a2", 0.45), heard("c", 0.2)]


def chosen(keep: int | None, most: float = 0.5) -> tuple[dict[str, Screened], list[tuple[str, str]]]:
    asked = []

    def overlap(first: str, second: str) -> float:
        asked.append((first, second))
        return {("a", "a2"): 0.8, ("a", "b"): 0.4, ("a", "c"): 0.1, ("b", "c"): 0.3}[first, second]

    found = select(PAIRS, keep, most, overlap)
    return {record.id: record for record in found}, asked


def test_the_best_that_differ_are_kept():
    found, asked = chosen(2)
    assert {name: r.fate for name, r in found.items()} == {
        "a": "kept", "b": "kept", "deaf": "not heard", "a2": "says the same", "c": "beyond the number kept",
    }  # fmt: skip
    assert list(found) == ["a", "b", "deaf", "a2", "c"]
    assert asked == [("a", "a2"), ("a", "b")]  # no more than needed
    assert (found["a2"].like, found["a2"].overlap) == ("a", 0.8)
    assert (found["a"].like, found["b"].overlap) == (None, 0.4)


def test_without_a_number_all_that_differ_are_kept():
    found, _ = chosen(None)
    assert [name for name, r in found.items() if r.fate == "kept"] == ["a", "b", "c"]
    assert (found["c"].like, found["c"].overlap) == ("b", 0.3)


def test_fewer_than_are_wanted_are_told_with_what_would_help():
    found, _ = chosen(None)
    pairs = [pair(record.id) for record in PAIRS]
    assert [p.id for p in kept(list(found.values()), pairs, 3, "file")] == ["a", "b", "c"]
    with pytest.raises(UserError) as caught:
        kept(list(found.values()), pairs, 4, "screened.jsonl")
    for part in (
        "screened.jsonl: 3 of 5 pairs (a, b, c) are heard by the base model and differ, expected 4",
        "'a2' says the same as 'a'", "1 are not heard, the best of which, 'deaf', has a bound of 0.900 [-0.100, 1.100]",
        "on 2 queries", "Set 'keep' to 3, or reword", "'screen_queries'",
    ):  # fmt: skip
        assert part in str(caught.value)
    deaf = [PAIRS[0], heard("e", -0.2, low=-0.3)]
    with pytest.raises(UserError, match=r"f: 0 of 2 pairs are heard .* expected 1 .* Reword what is not heard"):
        kept(deaf, pairs, 1, "f")


def test_queries_needed_by_hand():
    # mean 0.2, standard deviation 0.1 * sqrt(2): (1.96 * 0.1414 / 0.2)^2 = 1.92, and at least 2
    assert queries_needed({"a": 0.1, "b": 0.3}) == 2
    # mean 0.05, standard deviation 0.25 * sqrt(2): (1.96 * 0.35355 / 0.05)^2 = 192.08
    assert queries_needed({"a": 0.3, "b": -0.2}) == 193
    assert queries_needed({"a": -0.1, "b": 0.1}) is None
    assert queries_needed({"a": 0.5}) is None
