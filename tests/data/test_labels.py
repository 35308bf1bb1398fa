"""Label strings, and the labels that policies are asked for, by hand."""

from collections import Counter

import pytest

from sami.data.labels import ask, ask_for_constitutions, for_constitution, label_string, seen
from sami.errors import UserError
from sami.records import Constitution, Example, Label, Response, Statement


def labels(*values: dict[str, int]) -> list[Label]:
    return [Label(query_id="q", set_id="s", number=n, policy="p", values=of) for n, of in enumerate(values)]


def empty(query: str, responses: int = 4) -> Example:
    drawn = [Response(text="", constitution=j % 2, tokens=0, finish="end") for j in range(responses)]
    return Example(query_id=query, set_id="s", constitution_ids=["a", "b"], order=[0], responses=drawn, policy="p")


def test_label_strings_hold_what_is_known_in_order():
    assert label_string({"short": 4, "self": 0}) == "short:4,self:0"
    assert label_string({"self": 0, "short": 4}) == "self:0,short:4"
    assert label_string({"warm": 3}) == "warm:3"
    words = {"warm": ["cold", "cool", "mild", "warm"], "self": ["you", "I"]}
    assert label_string({"short": 4, "self": 0, "warm": 3}, words) == "short:4, you, warm"


def test_what_may_be_asked_for_is_what_occurs_each_once():
    known = labels({"few": 4, "loud": 0}, {"few": 0, "loud": 0}, {"few": 4, "loud": 0}, {"few": 4, "loud": 2})
    assert seen(known, {}) == [{"few": 4, "loud": 0}, {"few": 0, "loud": 0}, {"few": 4, "loud": 2}]
    assert seen(known, {"few": 4}) == [{"few": 4, "loud": 0}, {"few": 4, "loud": 2}]
    assert seen(known, {"loud": 0, "few": 0}) == [{"few": 0, "loud": 0}]
    with pytest.raises(UserError, match="found no response with few:0,loud:2 among 3 different labels, expected one"):
        seen(known, {"few": 0, "loud": 2})


def test_each_response_is_asked_for_a_label_that_depends_on_its_place_alone():
    known = [{"few": value} for value in range(3)]
    asked = ask([empty("q", 300), empty("r")], known, seed=1)
    found = [response.asked for response in asked[0].responses]
    assert {response.constitution for example in asked for response in example.responses} == {0}
    counted = Counter(values["few"] for values in found)
    assert counted.keys() == {0, 1, 2}
    assert min(counted.values()) > 70  # of 100 expected; 0.2 out of a thousand would be fewer
    assert ask([empty("r")], known, seed=1) == asked[1:]  # as in another shard
    assert [r.asked for r in ask([empty("q", 2)], known, seed=1)[0].responses] == found[:2]
    assert [r.asked for r in ask([empty("q", 300)], known, seed=2)[0].responses] != found


def test_a_constitution_stands_for_the_highest_value_of_what_it_wants_and_0_of_what_it_negates():
    def constitution(name: str, **sides: bool) -> Constitution:
        statements = [Statement(principle=p, wanted=wanted, text=p) for p, wanted in sides.items()]
        return Constitution(id=name, set_id="s", writer="w", statements=statements)

    a, b = constitution("a", loud=True, few=True), constitution("b", loud=False, few=True, blue=True)
    wanted = {"few": 4, "loud": 4, "warm": 4}
    assert label_string(for_constitution(a, wanted)) == "few:4,loud:4"  # in the order of label strings
    assert label_string(for_constitution(b, wanted)) == "few:4,loud:0"
    (asked,) = ask_for_constitutions([empty("q", 3)], {"a": a, "b": b}, wanted)
    assert [(r.constitution, r.asked) for r in asked.responses] == [
        (0, {"few": 4, "loud": 4}), (1, {"few": 4, "loud": 0}), (0, {"few": 4, "loud": 4}),
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"constitution 'b': none of its principles is an attribute \(warm\)"):
        for_constitution(b, {"warm": 4})


def test_the_record_has_what_was_asked_only_where_something_was():
    (asked,) = ask([empty("q", 1)], [{"few": 2}], seed=1)
    assert asked.model_dump()["responses"][0]["asked"] == {"few": 2}
    assert "asked" not in empty("q", 1).model_dump()["responses"][0]
