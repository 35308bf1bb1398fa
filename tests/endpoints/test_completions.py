"""Chat completions in the shapes in which services send them: answers, thoughts, tokens, log-probabilities."""

import math

import pytest

from sami.endpoints.completions import Completion, read


def body(finish="stop", usage=None, logprobs=None, **message) -> dict:
    return {"choices": [{"finish_reason": finish, "logprobs": logprobs, "message": message}], "usage": usage}


@pytest.mark.parametrize(
    ("message", "text", "thoughts"),
    [
        ({"content": "B"}, "B", ""),
        ({"content": None}, "", ""),
        ({}, "", ""),
        ({"content": ["B"]}, "B", ""),
        ({"content": [{"type": "text", "text": "Answer"}, {"type": "text", "text": ": B"}]}, "Answer: B", ""),
        ({"content": {"type": "output_text", "text": "B"}}, "B", ""),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Answer: A"}]},
                    {"type": "reference", "reference_ids": [1]},
                    {"type": "text", "text": "Answer: B"},
                ]
            },
            "Answer: B",
            "Answer: A",
        ),
        ({"content": [{"type": "thinking", "thinking": "A"}]}, "", "A"),
        ({"content": "B", "reasoning_content": "A"}, "B", "A"),
        ({"content": "B", "reasoning": "A", "reasoning_content": None}, "B", "A"),
        ({"content": None, "reasoning_content": "Answer: A"}, "", "Answer: A"),
        ({"content": "<think>A</think>B", "reasoning_content": ""}, "B", "A"),
        ({"content": "half \ud83d"}, "half \ufffd", ""),
    ],
)
def test_contents(message, text, thoughts):
    found = read(body(**message))
    assert (found.text, found.thoughts) == (text, thoughts)
    assert text in found.raw
    assert thoughts in found.raw
    assert not found.refusal


def test_a_refusal_is_a_text_of_its_own_kind():
    for message in ({"content": None, "refusal": "No."}, {"content": [{"type": "refusal", "refusal": "No."}]}):
        assert read(body(**message)).text == "No."
    assert read(body(content=None, refusal="No.")).refusal


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
        ({"prompt_tokens": 120, "completion_tokens": None}, (120, None)),
        ({"prompt_tokens": "7", "completion_tokens": -1}, (None, None)),
        ([], (None, None)),
    ],
)
def test_counts_of_tokens(usage, counts):
    found = read(body(content="B", usage=usage))
    assert (found.input_tokens, found.output_tokens) == counts
    assert read({"choices": [{"message": {"content": "B"}}]}) == Completion("B", raw="B")


def entry(token, **top) -> dict:
    return {"token": token, "top_logprobs": [{"token": name, "logprob": value} for name, value in top.items()]}


@pytest.mark.parametrize(
    ("logprobs", "top"),
    [
        (None, None),
        ({}, None),
        ({"content": None}, None),
        ({"content": []}, None),
        ({"content": [{"token": "B"}]}, None),
        ({"content": [{"token": "B", "top_logprobs": None}]}, None),
        ({"content": [entry("B")]}, None),
        ({"content": [entry("B", B=-0.1, A=-2)]}, {"B": -0.1, "A": -2.0}),
        ({"content": [{"token": "B", "top_logprobs": [{"token": "B", "logprob": None}]}]}, None),
        ({"content": [entry("B", B=-0.1, A=-math.inf)]}, {"B": -0.1, "A": -math.inf}),
    ],
)
def test_log_probabilities(logprobs, top):
    assert read(body(content="B", logprobs=logprobs)).top == top


def test_log_probabilities_are_those_behind_the_thoughts():
    content = [entry("<think>", A=-9), entry("A", A=-0.1), entry("</think>", A=-9), entry("\n\n"), entry("B", B=-0.3)]
    assert read(body(content="<think>A</think>\n\nB", logprobs={"content": content})).top == {"B": -0.3}
    assert read(body(content="B", reasoning="A", logprobs={"content": content})).top == {"B": -0.3}
    assert read(body(content="B", reasoning="A", logprobs={"content": content[:2]})).top is None


@pytest.mark.parametrize(
    ("finish", "cut_off", "withheld"),
    [
        ("stop", False, False),
        (None, False, False),
        ("length", True, False),
        ("model_length", True, False),
        ("content_filter", False, True),
        ("content_filter: PROHIBITED_CONTENT", False, True),
    ],
)
def test_why_it_ended(finish, cut_off, withheld):
    found = read(body(finish=finish, content=""))
    assert (found.cut_off, found.withheld) == (cut_off, withheld)


def test_what_a_filter_leaves():
    assert read({"choices": [{"finish_reason": "content_filter"}]}).withheld
    results = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": True, "severity": "high"}}}]
    assert read({"choices": [], "prompt_filter_results": results}).withheld
    fine = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}]
    assert not read({**body(content="B"), "prompt_filter_results": fine}).withheld
    with pytest.raises(ValueError, match="'choices' holds no answer"):
        read({"choices": [], "prompt_filter_results": fine})


@pytest.mark.parametrize(
    "nothing",
    [
        None, [], "x", 3, {}, {"choices": None}, {"choices": []}, {"choices": [None]}, {"choices": "x"},
        {"choices": [{"message": None}]}, {"choices": [{"message": "B"}]}, {"choices": [{"message": {"content": 3}}]},
    ],
)  # fmt: skip
def test_bodies_that_are_no_completion(nothing):
    with pytest.raises(ValueError, match="."):
        read(nothing)
