"""Relevance of a response against hand-computed values and a slow posterior."""

import math
import random

import pytest

from sami.analysis.statistics.relevance import relevance


def test_a_response_by_hand():
    """Its own query makes it e^2 times as likely as the next, in four tokens."""
    found = relevance([-6.0, -8.0, -10.0], tokens=4)
    assert found.identified
    assert found.margin == pytest.approx(2 / 4)
    assert found.log_probability == pytest.approx(-6 / 4)
    assert found.max_bound == pytest.approx(math.log(3))
    posterior = 1 / (1 + math.exp(-2) + math.exp(-4))
    assert found.bound == pytest.approx(math.log(posterior) + math.log(3))


def test_a_response_to_another_query_is_not_identified():
    found = relevance([-9.0, -8.0, -4.0], tokens=2)
    assert not found.identified
    assert found.margin == pytest.approx(-5 / 2)
    assert found.bound < 0  # such a response says less than nothing of its query


def test_a_tie_is_no_answer():
    found = relevance([-3.0, -3.0, -7.0], tokens=3)
    assert (found.identified, found.margin) == (False, 0.0)


def test_an_empty_response_says_nothing():
    found = relevance([0.0, 0.0, 0.0, 0.0], tokens=0)
    assert (found.identified, found.margin) == (False, 0.0)
    assert found.bound == pytest.approx(0.0)
    assert math.isnan(found.log_probability)


def test_the_bound_is_that_of_a_slow_posterior_and_never_above_its_limit():
    draw = random.Random(1)
    for count in (2, 3, 8):
        for _ in range(50):
            sums = [draw.uniform(-60, -1) for _ in range(count)]
            found = relevance(sums, tokens=draw.randint(1, 40))
            slow = sums[0] - math.log(math.fsum(math.exp(s) for s in sums)) + math.log(count)
            assert found.bound == pytest.approx(slow, abs=1e-9)
            assert found.bound <= found.max_bound == pytest.approx(math.log(count))
            assert found.identified == all(sums[0] > other for other in sums[1:])
    assert relevance([0.0, -1e4, -1e4], tokens=9).bound == pytest.approx(math.log(3))  # reached


@pytest.mark.parametrize(
    ("sums", "tokens", "message"),
    [
        ([-1.0], 3, "K at least 1"),
        ([-1.0, -2.0], -1, "found .*-1"),
        ([-1.0, math.nan], 3, "not finite"),
        ([-1.0, -math.inf], 3, "not finite"),
    ],
)
def test_what_is_no_relevance_is_refused(sums, tokens, message):
    with pytest.raises(ValueError, match=message):
        relevance(sums, tokens)
