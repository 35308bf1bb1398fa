"""Label strings, and the labels that policies are asked for, by hand."""

from collections import Counter

import pytest

from sami.data.labels import ask, label_string, seen
from sami.errors import UserError
from sami.records import Example, Label, Response


def labels(*values: dict[str, int]) -> list[Label]:
    return [Label(query_id="q", set_id="s", number=n, policy="p", values=of) for n, of in enumerate(values)]


def empty(query: str, responses: int = 4) -> Example:
    drawn = [Response(text="", constitution=j % 2, tokens=0, finish="end") for j in range(responses)]
    return Example(query_id=query, set_id="s", constitution_ids=["a", "b"], order=[0], responses=drawn, policy="p")


def test_label_strings_hold_what_is_known_in_order():
    assert label_string({"short": 4, "self": 0}) == "short:4,self:0"
    assert label_string({"self": 0, "short": 4}) == "self:0,short:4"
    assert label_string({"warm": 3}) == "warm:3"


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


def test_the_record_has_what_was_asked_only_where_something_was():
    (asked,) = ask([empty("q", 1)], [{"few": 2}], seed=1)
    assert asked.model_dump()["responses"][0]["asked"] == {"few": 2}
    assert "asked" not in empty("q", 1).model_dump()["responses"][0]
