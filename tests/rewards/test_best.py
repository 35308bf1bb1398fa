"""Best of N: which candidate is kept, ties, both polarities, and what does not fit together."""

import pytest

from sami.errors import UserError
from sami.records import Example, Response, Reward
from sami.rewards.best import best_responses


def candidates(*labels: int, query: str = "q") -> Example:
    """An example whose responses say their number; `labels` are the constitutions that they were drawn under."""
    responses = [
        Response(text=f"{query}{number}", constitution=label, tokens=number + 1, finish="end")
        for number, label in enumerate(labels)
    ]
    return Example(
        query_id=query, set_id="s", constitution_ids=["c", "-c"], order=[0], responses=responses, policy="best"
    )


def rewards(*values: float, query: str = "q", policy: str = "best") -> list[Reward]:
    return [
        Reward(query_id=query, set_id="s", number=number, policy=policy, reward=value)
        for number, value in enumerate(values)
    ]


def kept(example: Example, told: list[Reward], count: int) -> list[str]:
    (best,) = best_responses([example], told, count)
    assert best.model_copy(update={"responses": example.responses}) == example
    assert all(response in example.responses for response in best.responses)
    return [response.text for response in best.responses]


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.1, 0.9, 0.5, 0.2], "q1"),
        ([0.9, 0.9, 0.5, 0.9], "q0"),  # the first drawn of equal ones
        ([0.2, 0.3, 0.7, 0.7], "q2"),
        ([0.0, 0.0, 0.0, 0.0], "q0"),
    ],
)
def test_the_highest_reward_is_kept(values, best):
    assert kept(candidates(0, 0, 0, 0), rewards(*values), 4) == [best]


def test_each_polarity_has_a_best_of_its_own():
    # Candidates in turn under the constitution and its opposite, rewarded for their own: two responses, three each.
    told = rewards(0.1, 0.4, 0.8, 0.9, 0.3, 0.9)
    example = candidates(0, 1, 0, 1, 0, 1)
    (best,) = best_responses([example], told, 3)
    assert [(r.text, r.constitution) for r in best.responses] == [("q2", 0), ("q3", 1)]


def test_several_responses_to_a_prompt_have_candidates_of_their_own():
    # Two responses with the constitution left out: candidates 0, 2, 4 of the first, 1, 3, 5 of the second.
    assert kept(candidates(*[0] * 6), rewards(0.1, 0.2, 0.9, 0.1, 0.3, 0.8), 3) == ["q2", "q5"]


def test_queries_are_apart():
    told = rewards(0.1, 0.9, query="a") + rewards(0.9, 0.1, query="b")
    best = best_responses([candidates(0, 0, query="b"), candidates(0, 0, query="a")], told, 2)
    assert [example.responses[0].text for example in best] == ["b0", "a1"]


@pytest.mark.parametrize(
    ("labels", "told", "count", "part"),
    [
        ([0, 0, 0], rewards(1, 0, 0), 2, "query 'q', set 's': found 3 candidates for the best of 2, expected a mul"),
        ([0, 0], rewards(1, 0), 4, "found 2 candidates for the best of 4"),
        ([0, 0], rewards(1, 0), 1, "found 2 candidates for the best of 1"),
        ([0, 0], rewards(1, 0), 0, "found 2 candidates for the best of 0"),
        ([0, 1], rewards(1, 0), 2, "found candidates of response 0 under different constitutions, expected one"),
        ([0, 0], rewards(1), 2, "found no reward of response 1 by 'best', expected a record of each"),
        ([0, 0], rewards(1, 0, policy="other"), 2, "found no reward of response 0 by 'best'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_told(labels, told, count, part):
    with pytest.raises(UserError, match=part):
        best_responses([candidates(*labels)], told, count)
