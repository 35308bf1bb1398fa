"""Thoughts in the marks of many models, and what stands behind them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sami.data.thoughts import split_thoughts


@pytest.mark.parametrize(
    ("text", "thoughts", "answer"),
    [
        ("Answer: B", "", "Answer: B"),
        ("  Answer: B\n", "", "  Answer: B\n"),
        ("", "", ""),
        ("<think>\nAnswer: A\n</think>\n\nAnswer: B", "Answer: A", "Answer: B"),
        ("<think></think>\nAnswer: B", "", "Answer: B"),
        ("Answer: A, at first.</think>\n\nAnswer: B", "Answer: A, at first.", "Answer: B"),
        ("</think>\n\nB", "", "B"),
        ("<think>\nAnswer: A", "Answer: A", ""),
        ("\n <think>\nAnswer: A", "Answer: A", ""),
        ("<think>one</think>Two.<think>three</think>Answer: B", "one\n\nthree", "Two.Answer: B"),
        ("<think>a <think> b</think> c</think>\nB", "a <think> b\n\nc", "B"),
        ("one</think>two</think>B", "one\n\ntwo", "B"),
        ("B says <think> and never ends it.\nAnswer: A", "", "B says <think> and never ends it.\nAnswer: A"),
        ("<THINKING>x</THINKING>B", "x", "B"),
        ("<thought>x</thought>B", "x", "B"),
        ("<reasoning>x</reasoning>B", "x", "B"),
        ("<seed:think>x</seed:think>B", "x", "B"),
        ("[THINK]x[/THINK]B", "x", "B"),
        ("\u25c1think\u25b7x\u25c1/think\u25b7B", "x", "B"),
        ("<|START_THINKING|>x<|END_THINKING|>B", "x", "B"),
        ("<|begin_of_thought|>x<|end_of_thought|>B", "x", "B"),
        ("<|channel>thought\nx<channel|>B", "x", "B"),
        (
            "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>B",
            "x",
            "B",
        ),
        ("<think>x</think>\n<answer>\nB\n</answer>", "x", "B"),
        ("I think so: 1 < 2 > 0 [thinking]", "", "I think so: 1 < 2 > 0 [thinking]"),
    ],
)
def test_thoughts_are_set_apart(text, thoughts, answer):
    assert split_thoughts(text) == (thoughts, answer)


PIECES = st.sampled_from(["<think>", "</think>", "[/THINK]", "A", "\n", " ", "Answer: B"])


@given(st.lists(PIECES).map("".join), st.text(alphabet="AB: \n", max_size=9))
def test_what_stands_behind_the_last_mark_is_the_answer(before, after):
    assert split_thoughts(f"<think>{before}</think>{after}")[1].endswith(after.strip())


def test_a_model_that_repeats_a_mark_takes_no_time():
    assert split_thoughts("<think>" * 100_000)[1] == ""
