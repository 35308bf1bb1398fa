"""Measures of a reward model by hand."""

import pytest

from sami.records import Comparison, ScoredComparison, Statement
from sami.rewards.measures import accuracy, flips, measures, right


def scored(query: str, scores: tuple[float, float], wanted: bool | None = True, shuffled=(0.0, 1.0), by="p"):
    """The first response is better where the principle is wanted, the second where it is negated."""
    chosen, rejected = ("a", "b") if wanted is not False else ("b", "a")
    read = [] if wanted is None else [Statement(principle=by, wanted=wanted, text="Do." if wanted else "Do not.")]
    told = {"statements": read, "decided_by": by if read else None, "margin": 1.0 if read else None}
    return ScoredComparison(
        comparison=Comparison(
            query_id=query, set_id="s", query="?", chosen=chosen, rejected=rejected, held_out=True, **told
        ),
        chosen=scores[0],
        rejected=scores[1],
        shuffled=shuffled if read else None,
    )


HEEDS = [scored("q1", (1.0, 0.0)), scored("q1", (0.5, 0.2), wanted=False)]
IGNORES = [scored("q2", (1.0, 0.0), shuffled=(1.0, 0.0)), scored("q2", (0.0, 1.0), wanted=False)]
TIED = [scored("q3", (1.0, 1.0)), scored("q3", (2.0, 1.0), wanted=False)]
WRONG_TWICE = [scored("q4", (0.0, 1.0)), scored("q4", (0.0, 1.0), wanted=False)]


@pytest.mark.parametrize(("scores", "value"), [((1, 0), 1.0), ((0, 1), 0.0), ((2, 2), 0.5)])
def test_what_is_right(scores, value):
    assert right(*scores) == value


def test_accuracy_and_flips_of_pairs():
    everything = HEEDS + IGNORES + TIED + WRONG_TWICE
    assert accuracy(everything) == {"q1": [1, 1], "q2": [1, 0], "q3": [0.5, 1], "q4": [0, 0]}
    # A model that is wrong on both sides turns its choice round, too.
    assert flips(everything) == {"q1": [1], "q2": [0], "q3": [0], "q4": [1]}
    assert flips(HEEDS[:1]) == {}


def test_principles_and_responses_of_a_pair_belong_together():
    other = [scored("q1", (1.0, 0.0), by="p"), scored("q1", (0.0, 1.0), wanted=False, by="r")]
    assert flips(other) == {}


def test_measures_have_intervals_over_queries():
    found = measures(HEEDS + IGNORES + TIED, samples=500, confidence=0.9, seed=1)
    assert found["accuracy"]["estimate"] == pytest.approx(4.5 / 6)
    assert (found["accuracy"]["queries"], found["accuracy"]["count"]) == (3, 6)
    assert 0.5 <= found["accuracy"]["low"] < 0.75 < found["accuracy"]["high"] <= 1
    assert found["flips"]["estimate"] == pytest.approx(1 / 3)
    assert found["shuffled"]["estimate"] == pytest.approx(1 / 6)
    assert list(found["by_principle"]) == ["p"]
    assert found["by_principle"]["p"] == found["accuracy"]


def test_what_cannot_be_told_is_null():
    found = measures([scored("q1", (1.0, 0.0), wanted=None)], samples=10, confidence=0.9, seed=1)
    assert found["flips"] is found["shuffled"] is None
    assert found["by_principle"] == {}
    assert (found["accuracy"]["estimate"], found["accuracy"]["low"]) == (1.0, None)
