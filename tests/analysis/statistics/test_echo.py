"""Echo of constitutions in responses, by hand, and phrases by which responses talk about their instruction."""

import pytest

from sami.analysis.statistics.echo import (
    ABOUT_INSTRUCTION,
    bigrams,
    content_words,
    echo,
    talks_about_instruction,
    words_of,
)

SHORT, LONG = ["Answer in one short sentence."], ["Answer at length, in several sentences."]
POEM, STEPS = ["Write a poem."], ["Give numbered steps."]


def test_words_content_words_and_pairs():
    assert words_of("Don’t say “I'm”, it's a well-known list_item!") == [
        "don't", "say", "i'm", "it's", "a", "well", "known", "list", "item",
    ]  # fmt: skip
    assert content_words(SHORT) == {"answer", "one", "short", "sentence"}
    assert bigrams(SHORT) == {("answer", "in"), ("in", "one"), ("one", "short"), ("short", "sentence")}
    # No pair across two statements, whose order varies, and none of two words without content.
    assert bigrams(["Be kind.", "Be of the sea."]) == {("be", "kind"), ("the", "sea")}


def test_a_response_that_quotes_its_constitution():
    assert echo("Write a poem. Roses are red.", POEM, [STEPS]) == (1.0, 1.0)
    assert echo("Roses are red.", POEM, [STEPS]) == (0.0, 0.0)
    quoted = echo("You asked me to answer in one short sentence: it boils.", SHORT, [LONG])
    # "answer" is one of the four content words of the other constitution, too, and none of its pairs is here.
    assert quoted == pytest.approx((1 - 1 / 4, 1.0))
    assert quoted.mean == pytest.approx(7 / 8)


def test_a_response_that_quotes_another_constitution_of_its_set():
    assert echo("Give numbered steps.", POEM, [STEPS]) == (-1.0, -1.0)
    assert echo("Give numbered steps.", POEM, [STEPS, SHORT]) == (-0.5, -0.5)


def test_shares_by_hand():
    """Three of four content words and one of four pairs; of the other's words, "answer" alone."""
    found = echo("A short answer, short sentence.", SHORT, [LONG])
    assert found == pytest.approx((3 / 4 - 1 / 4, 1 / 4))
    assert echo("Yes, one.", SHORT, [LONG]) == pytest.approx((1 / 4, 0.0))
    # What all constitutions of a set share is no echo, and without others nothing is taken off.
    assert echo("My answer", SHORT, [SHORT]) == (0.0, 0.0)
    assert echo("My answer", SHORT, []) == (0.25, 0.0)


def test_texts_without_words():
    assert echo("", SHORT, [LONG]) == (0.0, 0.0)
    assert echo("Be it.", ["Be it."], [["Be that."]]) == (0.0, 0.0)  # a constitution without content


def test_other_scripts_have_words():
    assert echo("Отвечай кратко, друг.", ["Отвечай кратко."], [["Отвечай длинно."]]) == (0.5, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "This passage employs a deliberate and scholarly tone.",
        "I hope this response helps.",
        "The response should be calm.",
        "The statement is written in plain words.",
        "Following these instructions, I say no.",
        "As requested, a poem.",
        "As you have asked, here it comes.",
        "In one short sentence: it boils.",
        "Here’s a short, polite answer: no.",
        "I'll answer in a formal tone. Water boils.",
    ],
)
def test_talk_about_the_instruction(text):
    assert talks_about_instruction(text)
    assert talks_about_instruction(text.upper().replace("’", "'"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The answer is yes.",
        "With the passage of time, wood turns grey.",
        "Follow the instructions on the package.",
        "I will speak to them about the prompt payment.",
        "Here is a list of tools: a hammer, a wrench.",
        "The immune response is fast. It was written in one sentence of the law.",
        "The United States have a constitution.",
        "As you know, the text is long.",
    ],
)
def test_answers_are_no_talk_about_the_instruction(text):
    assert not talks_about_instruction(text)


def test_every_kind_of_phrase_is_found_by_its_own_example():
    for example in ABOUT_INSTRUCTION:
        assert talks_about_instruction(f"So {example} is."), example
