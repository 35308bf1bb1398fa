import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sami.data.constitutions import assign, build, by_set, order
from sami.data.prompts import constitution_text, fill
from sami.errors import UserError
from sami.records import Principle
from sami.settings.principles import Constitutions
from sami.settings.tasks import Prompts


def principles(count):
    return [Principle(id=f"p{i}", text=f"Do {i}.", opposite=f"Avoid {i}.", writer="human") for i in range(count)]


def how(per_set, statements, negate, max_sets=None):
    return Constitutions(
        writer="w", principles="p", per_set=per_set, statements=statements, negate=negate, max_sets=max_sets
    )


@given(st.data())
def test_sets_are_whole_distinct_and_reproducible(data):
    k = data.draw(st.integers(1, 3))
    per_set = data.draw(st.integers(2, 2**k))
    count = data.draw(st.integers(k, 6))
    negate, seed = data.draw(st.sampled_from(["all", "any", "each"])), data.draw(st.integers(0, 9))
    built = build(principles(count), how(per_set, k, negate), seed)
    assert built == build(principles(count), how(per_set, k, negate), seed)
    for members in by_set(built).values():
        assert len(members) == per_set
        assert len({c.id for c in members}) == len({tuple(s.text for s in c.statements) for c in members}) == per_set
        assert members[0].positive
        assert not any(c.positive for c in members[1:])
        assert len({tuple(s.principle for s in c.statements) for c in members}) == 1
        for statement in (s for c in members for s in c.statements):
            assert statement.text.startswith("Do" if statement.wanted else "Avoid")
    if negate == "all":
        assert all(not any(s.wanted for s in m[1].statements) for m in by_set(built).values())


def test_any_draws_every_negation():
    built = build(principles(9), how(2, 2, "any", None), 3)
    patterns = {tuple(s.wanted for s in members[1].statements) for members in by_set(built).values()}
    assert patterns == {(True, False), (False, True), (False, False)}


def test_each_negation_has_a_set():
    built = by_set(build(principles(3), how(2, 2, "each"), 0))
    groups = {}
    for set_id, members in built.items():
        assert set_id == "/".join(constitution.id for constitution in members)
        assert members[0].positive
        patterns = tuple(tuple(s.wanted for s in c.statements) for c in members)
        groups.setdefault(members[0].id, []).append(patterns)
    assert set(groups) == {"p0+p1", "p0+p2", "p1+p2"}
    for patterns in groups.values():
        assert sorted(patterns) == [
            ((True, True), pattern) for pattern in [(False, False), (False, True), (True, False)]
        ]
    # With more constitutions in a set, every choice of them: 3 of the 3 that negate something, or 2 of them.
    assert len(by_set(build(principles(2), how(4, 2, "each"), 0))) == 1
    assert len(by_set(build(principles(2), how(3, 2, "each"), 0))) == 3
    some = by_set(build(principles(3), how(2, 2, "each", 5), 0))
    assert len(some) == 5
    assert built | some == built


def test_max_sets():
    assert len(by_set(build(principles(6), how(2, 2, "all", 4), 0))) == 4


def test_equal_texts_are_refused():
    same = Principle(id="same", text="Be brief.", opposite="be  BRIEF.", writer="human")
    with pytest.raises(UserError, match="set 'same': the constitutions 'same' and '-same' have the same text"):
        build([same], how(2, 1, "all", None), 0)


def test_equal_texts_in_a_group_are_refused():
    # "A and not B" reads like "B and not A" where B is the opposite of A in other words.
    pair = [
        Principle(id="a", text="Be brief.", opposite="Be long.", writer="human"),
        Principle(id="b", text="Be long.", opposite="Be brief.", writer="human"),
    ]
    with pytest.raises(UserError, match="same text"):
        build(pair, how(4, 2, "all", None), 0)


def test_too_few_principles():
    with pytest.raises(UserError, match="constitutions.statements is 3, but there are only 2 principles"):
        build(principles(2), how(2, 3, "all", None), 0)


@given(st.integers(1, 60), st.integers(1, 7), st.integers(0, 5))
def test_assignment_is_balanced(queries, sets, seed):
    names = [f"s{i}" for i in range(sets)]
    assigned = assign([f"q{i}" for i in range(queries)], names, seed)
    counts = collections.Counter(assigned.values())
    assert len(assigned) == queries
    assert max(counts.values()) - min(counts.get(name, 0) for name in names) <= 1


def test_order_depends_on_query_and_seed_only():
    orders = {tuple(order(4, f"q{i}", 1, True)) for i in range(50)}
    assert len(orders) > 5
    assert order(4, "q", 1, True) == order(4, "q", 1, True)
    assert order(4, "q", 1, False) == [0, 1, 2, 3]


def test_prompt_text():
    prompts = Prompts(
        style="plain",
        statement="{number}. {statement}",
        separator="\n",
        generation="{constitution}|{query}",
        training="{query}|{constitution}",
    )
    members = build(principles(2), how(2, 2, "all", None), 0)
    assert constitution_text(members[1], [1, 0], prompts) == "1. Avoid 1.\n2. Avoid 0."
    assert fill(prompts.training, constitution="C {query}", query="Q {constitution}") == "Q {constitution}|C {query}"
    assert fill(prompts.generation, constitution="C {query}", query="Q {constitution}") == "C {query}|Q {constitution}"
