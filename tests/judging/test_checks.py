import json
import re

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from sami.data.constitutions import build
from sami.data.principles import from_people, load
from sami.judging.checks import choose, degree, degrees, value
from sami.records import Check, Constitution, Statement
from sami.settings.principles import Constitutions

TEXT = "Dear friend! I like lists:\n\n1. One thing.\n2) Another thing?\n- A third."


@pytest.mark.parametrize(
    ("measure", "pattern", "expected"),
    [
        ("words", None, 14),
        ("sentences", None, 4),
        ("list_items", None, 3),
        ("matches", "thing", 2),
        ("matches", "DEAR", 1),
        ("letters_per_word", None, 48 / 13),  # numbers of list items count
    ],
)
def test_values(measure, pattern, expected):
    assert value(Check(measure=measure, pattern=pattern, best=1, worst=0), TEXT) == expected


@pytest.mark.parametrize(
    ("words", "best", "worst", "expected"),
    [
        (10, 10, 40, 1),
        (5, 10, 40, 1),
        (25, 10, 40, 0.5),
        (40, 10, 40, 0),
        (90, 10, 40, 0),
        (25, 40, 10, 0.5),
        (0, 10, 40, 0),
    ],
)
def test_degrees_by_hand(words, best, worst, expected):
    assert degree(Check(measure="words", best=best, worst=worst), "w " * words) == pytest.approx(expected)


@given(st.text(), st.integers(-5, 50), st.integers(-5, 50))
def test_degree_is_a_share_and_the_opposite_mirrors_it(text, best, worst):
    if best == worst:
        return
    one = degree(Check(measure="words", best=best, worst=worst), text)
    other = degree(Check(measure="words", best=worst, worst=best), text)
    assert 0 <= one <= 1
    assert one + other == pytest.approx(1 if text.strip() else 0)


def test_choice():
    assert choose({"a": 1.0, "b": 0.0}, {"a": 0.2, "b": 0.2}, 0.0) == "first"
    assert choose({"a": 0.0}, {"a": 0.2}, 0.0) == "second"
    assert choose({"a": 0.3, "b": 0.1}, {"a": 0.1, "b": 0.3}, 0.0) == "tie"
    assert choose({"a": 0.3}, {"a": 0.2}, 0.1) == "tie"
    assert choose({"a": 0.31}, {"a": 0.2}, 0.1) == "first"
    assert choose({}, {}, 0.0) == "invalid"


def test_only_checked_statements_count():
    check = Check(measure="words", best=1, worst=9)
    statements = [
        Statement(principle="s", wanted=False, text="x", check=check),
        Statement(principle="u", wanted=True, text="y"),
    ]
    constitution = Constitution(id="c", set_id="c", writer="w", statements=statements)
    assert degrees("one", constitution) == {"-s": 1.0}
    assert degrees("one", constitution, held_out=True) == {}


def test_held_out_checks_count_something_else_than_the_others():
    friend = load(ROOT / "config/constitutions/everyday-friend.yaml")
    built = build(from_people(friend, "human"), Constitutions(writer="human", principles="", per_set=2, statements=3,
                                                             negate="all"), seed=1)  # fmt: skip
    lines = (ROOT / "config/demonstrations/everyday-friend.jsonl").read_text().splitlines()
    demonstrations = [json.loads(line)["response"] for line in lines]
    wanted, opposite = built
    for held_out in (False, True):
        for text in demonstrations:  # which show what is wanted
            good, bad = (sum(degrees(text, c, held_out).values()) for c in (wanted, opposite))
            assert good > 1.7 > 1.2 > bad, (text, held_out, good, bad)
    counted = [(s.check.pattern, s.held_out_check.pattern) for s in wanted.statements if s.principle == "warm"]
    vocabulary = set(re.findall(r"\w+", " ".join(demonstrations) + "happy glad hello thanks you we oh please sure"))
    for word in vocabulary:
        assert not all(re.search(pattern, word, re.IGNORECASE) for pattern in counted[0]), word


def test_shipped_principles_have_checks_on_both_sides():
    principles = from_people(load(ROOT / "config/constitutions/everyday.yaml"), "human")
    assert len(principles) >= 6
    assert all(p.check and p.opposite_check for p in principles)
    for p in principles:  # a principle and its opposite must not be satisfied by the same text
        for text in ("", "word " * 50, "I was warm! " * 5, "You and your\n" * 6):
            assert degree(p.check, text) + degree(p.opposite_check, text) <= 1.7, (p.id, text)
