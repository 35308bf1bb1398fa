"""Comparisons of responses: labels by hand, draws of principles, what is held out, and ties."""

import random
from collections import Counter

import pytest

from sami.errors import UserError
from sami.records import Check, Comparison, Constitution, Example, Principle, Query, Response, Statement
from sami.rewards.comparisons import compare, held_out_queries, principle_set, score, score_variances
from sami.settings.rewards import LearnedReward

PROMPT = "Read: {response} {query} {principles}"


def principle(name: str, check: Check | None) -> Principle:
    return Principle(id=name, text=f"Do {name}.", opposite=f"No {name}.", check=check, writer="w")


SHORT = principle("short", Check(measure="words", best=1, worst=5))
LOUD = principle("loud", Check(measure="matches", pattern="!", best=1, worst=0))
VAGUE = principle("vague", None)
CONSTITUTIONS = {
    name: Constitution(
        id=name, set_id="s", writer="w", statements=[Statement(principle="short", wanted=wanted, text="Do.")]
    )
    for name, wanted in (("c", True), ("-c", False))
}


def response(text: str, constitution: int = 0) -> Response:
    return Response(text=text, constitution=constitution, tokens=1, finish="end")


def example(query: str, *texts: str, labels: list[int] | None = None) -> Example:
    responses = [response(text, label) for text, label in zip(texts, labels or [0] * len(texts), strict=True)]
    return Example(
        query_id=query,
        set_id="s",
        constitution_ids=["c", "-c"],
        order=[0],
        responses=responses,
        policy="iteration-0",
    )


def reward(labels: str = "checks", **settings) -> LearnedReward:
    prompt = PROMPT if labels == "checks" else "Read: {query} {response}"
    settings = {"flipped": 0.0, "held_out": 0.2, "draws": 6, "pairs": 3, **settings}
    return LearnedReward(kind="learned", labels=labels, prompt=prompt, learning_rate=1e-4, **settings)


def made(examples: list[Example], settings: LearnedReward, principles=(SHORT, LOUD, VAGUE), seed: int = 1):
    queries = {e.query_id: Query(id=e.query_id, task="t", text=f"Text of {e.query_id}?") for e in examples}
    return compare(examples, queries, CONSTITUTIONS, principles, settings, seed)


def several(count: int = 10) -> list[Example]:
    """Queries to which the first response is loud and of five words, the second of one word and calm."""
    return [example(f"q{k}", f"a b c d {k}!", f"calm{k}") for k in range(count)]


def test_scores_are_differences_of_degrees():
    pair = response("one two three!"), response("one two three four five")
    assert score(SHORT, pair) == pytest.approx(0.5)
    assert score(SHORT, pair[::-1]) == pytest.approx(-0.5)
    assert score(LOUD, pair) == 1


def test_variances_are_those_of_both_orders():
    pairs = [(response("a"), response("a b c d e")), (response("a b c"), response("a b c!"))]  # scores 1 and 0
    both = [1, 0, -1, 0]
    assert score_variances(pairs, [SHORT, LOUD]) == {
        "short": sum(value**2 for value in both) / 4,
        "loud": sum(value**2 for value in (0, -1, 0, 1)) / 4,
    }


def test_the_largest_absolute_score_decides_and_negation_turns_it():
    """Both principles have the same variance; of equal scores the first of the set decides."""
    found = made(several(), reward())
    assert {len(c.statements) for c in found} == {1, 2}  # the one without a check is never read
    for comparison in found:
        first = comparison.statements[0]
        assert comparison.decided_by == first.principle
        loud_wins = (first.principle == "loud") is first.wanted
        assert ("!" in comparison.chosen) is loud_wins
        assert ("!" in comparison.rejected) is not loud_wins
        assert comparison.query == f"Text of {comparison.query_id}?"
        text = ("Do " if first.wanted else "No ") + f"{first.principle}."
        assert (first.text, first.check) == (text, None)


def test_a_larger_score_over_a_smaller_variance_decides():
    """Loudness tells one pair of ten apart, by 1: over its variance of a tenth that is 10; length has all, by 1/2."""
    examples = [example(f"q{k}", "a b c", "a b c d e") for k in range(9)] + [example("q9", "a b c", "a b c d e!")]
    found = [c for c in made(examples, reward(held_out=0.1), seed=3) if len(c.statements) == 2]
    loud = [c for c in found if c.query_id == "q9"]
    assert {c.decided_by for c in loud} == {"loud"}
    assert {round(c.margin, 9) for c in loud} == {10.0}
    others = [c for c in found if c.query_id != "q9"]
    assert {c.decided_by for c in others} == {"short"}
    assert {round(c.margin, 9) for c in others} == {2.0}


def test_held_out_queries_have_each_telling_principle_alone_on_both_sides():
    examples = several()
    found = [c for c in made(examples, reward(flipped=0.4)) if c.held_out]
    names = {c.query_id for c in found}
    assert len(names) == 2
    assert Counter((c.query_id, s.principle, s.wanted) for c in found for s in c.statements) == Counter(
        (query, name, wanted) for query in names for name in ("short", "loud") for wanted in (True, False)
    )
    assert not any(c.flipped for c in found)
    assert not names & {c.query_id for c in made(examples, reward(flipped=0.4)) if not c.held_out}


def test_labels_are_turned_round_at_their_share():
    straight, turned = (made(several(100), reward(flipped=share)) for share in (0.0, 0.25))
    assert not any(c.flipped for c in straight)
    trained = [c for c in turned if not c.held_out]
    assert 0.2 < sum(c.flipped for c in trained) / len(trained) < 0.3
    for comparison in trained:
        first = comparison.statements[0]
        loud_wins = (first.principle == "loud") is first.wanted
        assert ("!" in comparison.chosen) is (loud_wins is not comparison.flipped)


def test_draws_go_by_the_seed():
    assert made(several(), reward()) == made(several(), reward())
    assert made(several(), reward()) != made(several(), reward(), seed=2)


def test_as_many_pairs_as_there_are_and_no_more():
    examples = [example(f"q{k}", "a", "b c!", "d e f", "", "a") for k in range(5)]
    trained = [c for c in made(examples, reward(pairs=50, draws=30)) if not c.held_out]
    pairs = {c.query_id: set() for c in trained}
    for c in trained:
        pairs[c.query_id].add(frozenset((c.chosen, c.rejected)))
    assert set(map(len, pairs.values())) == {3}  # of different texts that are not empty
    one = [c for c in made(examples, reward(pairs=1, draws=30)) if not c.held_out]
    for query in pairs:
        assert len({frozenset((c.chosen, c.rejected)) for c in one if c.query_id == query}) <= 1


def test_the_number_of_principles_is_geometric_up_to_the_most():
    many = [principle(f"p{k}", LOUD.check) for k in range(12)]
    draw = random.Random(1)
    sets = [principle_set(many, 8, draw) for _ in range(20_000)]
    sizes = Counter(map(len, sets))
    whole = sum(0.2 * 0.8 ** (k - 1) for k in range(1, 9))
    for size in range(1, 9):
        assert sizes[size] / 20_000 == pytest.approx(0.2 * 0.8 ** (size - 1) / whole, abs=0.015)
    assert max(sizes) == 8
    assert all(len({p.id for p, _ in chosen}) == len(chosen) for chosen in sets)
    wanted = [wanted for chosen in sets for _, wanted in chosen]
    assert sum(wanted) / len(wanted) == pytest.approx(0.5, abs=0.01)
    assert {len(principle_set(many[:2], 8, draw)) for _ in range(50)} == {1, 2}


def test_contrast_prefers_the_response_under_what_is_wanted():
    examples = [example(f"q{k}", "bad", "good", "worse", labels=[1, 0, 1]) for k in range(5)]
    found = made(examples, reward("contrast"), principles=())
    assert {(c.chosen, c.rejected) for c in found} == {("good", "bad"), ("good", "worse")}
    assert len(found) == 10
    assert all(not c.statements and c.decided_by is None and c.margin is None for c in found)
    assert sum(c.held_out for c in found) == 2


@pytest.mark.parametrize(("count", "share", "expected"), [(10, 0.25, 2), (3, 0.01, 1), (2, 0.9, 1), (8, 0.5, 4)])
def test_how_many_queries_are_held_out(count, share, expected):
    assert len(held_out_queries([f"q{k}" for k in range(count)], share, 1)) == expected


@pytest.mark.parametrize(
    ("examples", "settings", "part"),
    [
        (
            [example(f"q{k}", "a b", "c d") for k in range(4)],
            reward(),
            "found no comparison to train on for the reward",
        ),
        ([example(f"q{k}", "same", "same") for k in range(4)], reward(), "found 0 queries with responses that can be"),
        ([example("q", "a", "b c!")], reward(), "found 1 queries with responses that can be compared, expected two"),
        (
            [example(f"q{k}", "a", "b", labels=[0, 0]) for k in range(4)],
            reward("contrast"),
            "found 0 queries with responses that can be compared",
        ),
    ],
)
def test_ties_are_told(examples, settings, part):
    with pytest.raises(UserError, match=part):
        made(examples, settings)


def test_principles_without_checks_are_told():
    with pytest.raises(UserError, match="none of the principles has a check, expected one at least"):
        made(several(), reward(), principles=[VAGUE])


def test_a_comparison_of_equal_texts_is_refused():
    with pytest.raises(ValueError, match="both responses are 'x', so neither can be better"):
        Comparison(query_id="q", set_id="s", query="?", chosen="x", rejected="x")
