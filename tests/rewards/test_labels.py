"""Labels of responses by checks, by hand."""

from sami.records import Check, Example, Response
from sami.rewards.labels import by_checks

CHECKS = {
    "few": Check(measure="words", best=1, worst=5),
    "loud": Check(measure="matches", pattern="!", best=2, worst=0),
}


def test_responses_are_labelled_by_the_checks_of_all_attributes():
    """Of 1 to 5 words the degree falls from 1 to 0; an opposite has no say, nor has the constitution."""
    texts = [("one", 1), ("one two! three!", 0), ("a b c d e !", 0), ("", 0)]
    responses = [Response(text=text, constitution=number, tokens=1, finish="end") for text, number in texts]
    sampled = Example(
        query_id="q", set_id="s", constitution_ids=["few", "-few"], order=[0], responses=responses, policy="p"
    )
    found = list(by_checks([sampled], CHECKS, 5))
    assert [record.values for record in found] == [
        {"few": 4, "loud": 0},
        {"few": 2, "loud": 4},
        {"few": 0, "loud": 2},
        {"few": 0, "loud": 0},
    ]
    assert [(r.query_id, r.set_id, r.number, r.policy) for r in found] == [("q", "s", n, "p") for n in range(4)]
    assert [record.values["few"] for record in by_checks([sampled], CHECKS, 2)] == [1, 0, 0, 0]
