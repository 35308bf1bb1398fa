"""SAMI's training examples: what is kept of the sampled responses, and what becomes of it."""

from collections import Counter

import pytest
from conftest import ROOT

from sami.errors import UserError
from sami.methods.sami import NO_POSITIVE, reason_to_drop, training_examples
from sami.records import Constitution, Example, Message, Query, Response, Statement
from sami.settings.tasks import Filters, Prompts, Task
from sami.settings.yaml_files import load_yaml

QUERIES = {"q": Query(id="q", task="t", text="Why?")}
PROMPTS = Prompts(style="plain", generation="{constitution} {query}", training="{constitution}\n{query}\n")
CONSTITUTIONS = {
    i: Constitution(id=i, set_id="s", writer="w", statements=[Statement(principle="s", wanted=w, text=i)])
    for i, w in (("s", True), ("-s", False))
}


def example(*texts):
    responses = [Response(text=t, constitution=j % 2, tokens=1, finish="end") for j, t in enumerate(texts)]
    return Example(query_id="q", set_id="s", constitution_ids=["s", "-s"], order=[0], responses=responses, policy="p")


ORIGINAL = Filters(forbidden=["[insert", "[]", "]", "Response"], positive_ends_with=".", distinct=True)


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (("One.", "Two"), None),  # only the response under the positive constitution must end in a full stop
        (("One", "Two."), "does not end with '.'"),
        (("One [insert name].", "Two."), "forbidden mark"),
        (("One.", "Response: two"), "forbidden mark"),
        (("Same.", "Same."), "equal responses"),
        (("One.", ""), "empty response"),
        (("One.", "Two", "One.", "Three"), None),  # equal, but for the same constitution
        (("One.", "Two", "Two.", "One."), "equal responses"),
    ],
)
def test_filters_of_the_original(texts, reason):
    assert reason_to_drop(example(*texts), CONSTITUTIONS, ORIGINAL) == reason


def made(*examples, objective="sami", prompts=PROMPTS, filters=ORIGINAL):
    return training_examples(examples, QUERIES, CONSTITUTIONS, prompts, filters, objective)


def test_drops_are_counted():
    examples = [example("One.", "Two"), example("Same.", "Same."), example("", "x"), example("", "")]
    kept, dropped = made(*examples)
    assert [[response.text for response in e.responses] for e in kept] == [["One.", "Two"]]
    assert dropped == Counter({"empty response": 2, "equal responses": 1})


def test_an_example_holds_the_training_prompts_and_the_responses_as_they_were_drawn():
    sampled = example("One.", "Two")
    sampled.responses[1] = sampled.responses[1].model_copy(update={"finish": "length", "token_ids": [7, 8]})
    ((found,), _) = made(sampled)
    assert found.prompts == ["s\nWhy?\n", "-s\nWhy?\n"]
    assert found.labels == [0, 1]
    assert [(r.text, r.ended, r.token_ids, r.source) for r in found.responses] == [
        ("One.", True, None, "p"),
        ("Two", False, [7, 8], "p"),
    ]
    assert (found.query_id, found.set_id, found.weights, found.pairs) == ("q", "s", None, [])


def test_prompts_of_a_chat_are_conversations():
    ((found,), _) = made(example("One.", "Two"), prompts=PROMPTS.model_copy(update={"style": "chat", "system": "Hm."}))
    system = Message(role="system", content="Hm.")
    assert found.prompts[1] == [system, Message(role="user", content="-s\nWhy?\n")]


def test_without_a_contrast_only_the_positive_part_is_left():
    kept, dropped = made(example("One.", "Two", "Three.", "Four"), objective="supervised")
    assert [r.text for r in kept[0].responses] == ["One.", "Three."]
    assert (kept[0].prompts, kept[0].labels) == (["s\nWhy?\n"], [0, 0])
    negative = example("One.", "Two")
    negative.responses.pop(0)
    assert made(negative, objective="supervised") == ([], Counter({NO_POSITIVE: 1}))
    assert not dropped


def test_what_belongs_to_another_run_is_told():
    with pytest.raises(UserError, match="an example names query 'other'"):
        made(example("One.", "Two").model_copy(update={"query_id": "other"}))


def test_shipped_tasks_have_the_filters_of_the_original():
    for name in ("tldr", "hh-rlhf"):
        assert load_yaml(ROOT / f"config/tasks/{name}.yaml", Task).filters == ORIGINAL
