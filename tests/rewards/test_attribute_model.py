"""Attribute models on a tiny Llama: losses by hand, what is learned of labelled responses, and what is predicted."""

import pytest
import torch
import training_run

from sami.distributed.processes import processes
from sami.records import Example, Label, Query, Response
from sami.rewards.attribute_model import lessons, means, predicted
from sami.rewards.reward_model import Reading, RewardModel, scores
from sami.rewards.training import HeadLearner, train
from sami.settings.rewards import HeadTraining
from sami.settings.training import Engine

PROMPT = "Query: {query}\nResponse: {response}"
ENGINE = Engine(**{**training_run.ENGINE, "tokens_per_pass": 200})
NAMES = ["few", "loud"]
QUERIES = {name: Query(id=name, task="t", text=f"why {name}?") for name in "abcdef"}


@pytest.fixture
def model(tiny):
    with processes() as group:
        yield RewardModel.from_base(tiny, NAMES, "float32", ENGINE, 1, group)


def example(query: str, *texts: str) -> Example:
    responses = [Response(text=text, constitution=0, tokens=1, finish="end") for text in texts]
    return Example(query_id=query, set_id="s", constitution_ids=["c"], order=[0], responses=responses, policy="p")


def label(query: str, number: int, **values: int) -> Label:
    return Label(query_id=query, set_id="s", number=number, policy="p", values=values)


def test_a_lesson_is_the_squared_error_of_the_known_values_of_all_responses():
    """Equal responses are read once and count twice; of the third, nothing is known of "loud"."""
    labels = [label("a", 0, few=1, loud=2), label("a", 1, few=2, loud=0), label("a", 2, few=4), label("b", 0, few=9)]
    (lesson,) = lessons([example("a", "yes", "yes", "no!")], labels, QUERIES, NAMES, PROMPT)
    assert lesson.readings == [Reading("query 'a'", "Query: why a?\nResponse:", [" yes", " no!"])]
    found = torch.tensor([[2.0, 1.0], [1.0, 50.0]], requires_grad=True)
    loss = lesson.loss(found)
    assert loss.item() == pytest.approx(((2 - 1) ** 2 + (1 - 2) ** 2 + (2 - 2) ** 2 + (1 - 0) ** 2 + (1 - 4) ** 2) / 5)
    loss.backward()
    assert torch.allclose(found.grad, torch.tensor([[2 * (2 - 1) / 5, 0.0], [2 * (1 - 4) / 5, 0.0]]))


def test_predictions_are_clipped_and_rounded_scores_of_each_response(model):
    examples = [example("a", "yes", "no", "yes", ""), example("b", "perhaps")]
    readings = [Reading("a", "Query: why a?\nResponse:", [" yes", " no", " "]),
                Reading("b", "Query: why b?\nResponse:", [" perhaps"])]  # fmt: skip
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([1.4, 4.0]))
    rows = [row for part in scores(model, readings, 1000) for row in part.tolist()]
    expected = [[min(4, max(0, round(value))) for value in rows[place]] for place in (0, 1, 0, 2, 3)]
    assert any(value > 4.5 for row in rows for value in row) or any(4 in row for row in expected)
    for tokens in (1, 1000):
        found = list(predicted(model, examples, QUERIES, PROMPT, 5, tokens))
        assert [list(each.values.values()) for each in found] == expected
        assert all(list(each.values) == NAMES for each in found)
    assert [(each.query_id, each.number, each.policy) for each in found] == [
        ("a", 0, "p"), ("a", 1, "p"), ("a", 2, "p"), ("a", 3, "p"), ("b", 0, "p"),
    ]  # fmt: skip


def test_it_starts_at_the_mean_of_what_is_known(tiny):
    found = means([label("a", 0, few=4), label("a", 1, few=1, loud=3), label("b", 0, few=1)], [*NAMES, "never"])
    assert found == [2.0, 3.0, 0.0]
    with processes() as group:
        model = RewardModel.from_base(tiny, NAMES, "float32", ENGINE, 1, group, found[:2])
        assert model.head.bias.tolist() == [2.0, 3.0]


def test_it_learns_which_response_has_which_value(tiny):
    """Values follow from the last word; on queries that were not learned they are then told, too."""
    values = {"calm day": (0, 3), "loud cry": (4, 0), "soft word": (2, 1)}
    examples = [example(query, *values) for query in "abcdef"]
    labels = [
        label(e.query_id, n, few=few, loud=loud) for e in examples for n, (few, loud) in enumerate(values.values())
    ]
    learned, held_out = examples[:4], examples[4:]
    how = HeadTraining(learning_rate=3e-3, epochs=30, queries_per_step=2)
    with processes() as group:
        model = RewardModel.from_base(tiny, NAMES, "float32", ENGINE, 1, group, means(labels, NAMES))
        learner = HeadLearner(model, lessons(learned, labels, QUERIES, NAMES, PROMPT))
        losses = train(learner, how, ENGINE, seed=1)
        assert losses[-1] < 0.2 < losses[0]
        found = list(predicted(model, held_out, QUERIES, PROMPT, 5, 200))
    assert [tuple(each.values.values()) for each in found] == [*values.values()] * 2
