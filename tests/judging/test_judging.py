"""What judges are asked, what their answers say, and what a panel decides."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sami import records
from sami.endpoints import refusals, requests
from sami.endpoints.concurrent import pause
from sami.endpoints.requests import Request, reply
from sami.endpoints.transport import retry_after
from sami.errors import UserError
from sami.judging import panel
from sami.judging.pairs import Pair, verdict
from sami.judging.prompts import messages, of_policy, parse, preference


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Answer: A", "A"),
        ("Both are fine, but B is shorter.\n\nAnswer: B", "B"),
        ("**Final answer:** (B)", "B"),
        ("My verdict is Response A.", "A"),
        ("So the answer is **B**.", "B"),
        ("answer：A", "A"),
        ("The better one is clear.\nA", "A"),
        ("[[B]]", "B"),
        ("Answer: tie", "tie"),
        ("Answer: both", "tie"),
        ("Answer: neither\n", "tie"),
        ("Answer: A\nAnswer: A", "A"),
        ("Answer: A\nOn second thoughts:\nAnswer: B", "invalid"),
        ("Answer: A or B", "invalid"),
        ("Answer: A because it is shorter", "invalid"),
        ("A is better than B", "invalid"),
        ("A\nis the first letter", "invalid"),
        ("Answer:", "invalid"),
        ("I cannot help with that.", "invalid"),
        ("", "invalid"),
    ],
)
def test_verdict_of_an_answer_with_reasoning(text, said):
    assert parse(text, "reasoning") == said


@pytest.mark.parametrize(
    ("text", "said"), [("A", "A"), (" B.", "B"), ("(A)", "A"), ("a", "invalid"), ("A B", "invalid"), ("", "invalid")]
)
def test_verdict_of_a_letter(text, said):
    assert parse(text, "letter") == said


@given(st.text(alphabet="AB:*()\n answertiboh[]", max_size=60) | st.text(), st.sampled_from(["reasoning", "letter"]))
def test_every_text_has_a_verdict(text, style):
    assert parse(text, style) in {"A", "B", "tie", "invalid"}


@given(st.text(max_size=80).filter(lambda text: parse(text, "reasoning") == "invalid"), st.sampled_from("AB"))
def test_a_named_verdict_is_found_behind_any_reasoning(text, letter):
    assert parse(f"{text}\nAnswer: {letter}", "reasoning") == letter


def test_verdicts_are_turned_to_the_policy():
    assert [of_policy(said, "policy-first") for said in ("A", "B", "tie", "invalid")] == [
        "first", "second", "tie", "invalid",
    ]  # fmt: skip
    assert [of_policy(said, "comparator-first") for said in ("A", "B")] == ["second", "first"]


def test_preference_of_log_probabilities():
    assert preference({"A": -1.0, "B": -1.0}) == pytest.approx(0.5)
    assert preference({"A": -0.1, " A": -3.0, "C": -4.0}) == 1.0
    assert preference({"A": -1.0, " B": -2.0}) == pytest.approx(1 / (1 + 2.718281828459045**-1))
    assert preference({"The": -0.1}) is None


def pair(first: str = "one", second: str = "two") -> Pair:
    statements = [records.Statement(principle=p, wanted=True, text=f"Be {p}.") for p in ("x", "y")]
    constitution = records.Constitution(id="c", set_id="s", writer="w", statements=statements)
    return Pair(records.Query(id="q", task="t", text="Why {first}?"), "s", constitution, 0, "new", "old", first, second)


def test_texts_with_braces_are_only_data():
    prompt = "{constitution}|{query}|{first}|{second}"
    asked = messages(prompt, None, pair("{second} {query}", "{first}"), "comparator-first")
    assert asked == [{"role": "user", "content": "1. Be x.\n2. Be y.|Why {first}?|{first}|{second} {query}"}]
    assert messages(prompt, "Judge.", pair(), "policy-first")[0] == {"role": "system", "content": "Judge."}


def test_key_of_a_request_depends_on_all_of_it_but_not_on_the_order_of_its_fields():
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "temperature": 0.0}
    key = Request(body).key
    assert Request(dict(reversed(body.items()))).key == key
    for change in ({"model": "n"}, {"max_tokens": 6}, {"temperature": 0.1}, {"seed": 1}, {"messages": []}):
        assert Request(body | change).key != key


def completion(**message):
    return {"choices": [{"message": message}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


REQUEST = Request({"model": "m", "messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 5})


def test_replies():
    assert reply(REQUEST, completion(content="A")).text == "A"
    assert reply(REQUEST, completion(content=None, refusal="no")).text == "no"
    assert reply(REQUEST, completion(content=None)).text == ""
    assert reply(REQUEST, completion(content="\ud800")).text == "\ufffd"
    uncounted = reply(REQUEST, {"choices": [{"message": {"content": "word" * 5}}]})
    assert (uncounted.input_tokens, uncounted.output_tokens) == (14, 5)
    half = reply(REQUEST, completion(content="A") | {"usage": {"prompt_tokens": 7, "completion_tokens": None}})
    assert (half.input_tokens, half.output_tokens) == (7, 1)


@pytest.mark.parametrize(
    ("choice", "cut_off", "refused", "futile"),
    [
        ({"message": {"content": "A"}}, False, False, False),
        ({"message": {"content": ""}}, False, False, False),
        ({"message": {"content": ""}, "finish_reason": "length"}, True, False, True),
        ({"message": {"content": "<think>so"}, "finish_reason": "length"}, True, False, True),
        ({"message": {"content": "The first"}, "finish_reason": "length"}, True, False, False),
        ({"message": {"content": "word" * 5}}, True, False, False),  # as many tokens as there may be
        ({"message": {"content": None, "refusal": "no"}}, False, True, False),
        ({"finish_reason": "content_filter"}, False, True, True),
    ],
)
def test_answers_that_hold_no_verdict(choice, cut_off, refused, futile):
    found = reply(REQUEST, {"choices": [choice]})
    assert (found.cut_off, found.refused, found.futile) == (cut_off, refused, futile)


def test_a_refused_request_is_kept_like_an_answer():
    refusal = refusals.read(400, {"error": {"message": "flagged", "code": "invalid_prompt"}})
    body = json.loads(json.dumps(requests.refused(refusal)))
    assert requests.refusal_in(body) == refusal
    found = reply(REQUEST, body)
    assert (found.text, found.raw) == ("", "(the endpoint refused with HTTP status 400: flagged)")
    assert (found.input_tokens, found.output_tokens, found.refused, found.futile) == (0, 0, True, True)
    spent = refusals.read(400, {"error": {"message": "Could not finish the message because max_tokens ..."}})
    cut_off = reply(REQUEST, requests.refused(spent))
    assert (cut_off.output_tokens, cut_off.cut_off, cut_off.futile) == (5, True, True)


def test_pauses_grow_and_are_no_shorter_than_asked():
    assert all(0.05 <= pause(0, 0.0) <= 0.1 for _ in range(50))
    assert all(0.4 <= pause(3, 0.0) <= 0.8 for _ in range(50))
    assert 30 <= pause(1e9, 0.0) <= 60
    assert all(12.5 <= pause(9, 12.5) <= 13.75 for _ in range(50))
    assert 600 <= pause(0, 1e9) <= 660
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert retry_after({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}) == 0.0
    assert retry_after({"retry-after": "Fri, 31 Dec 2199 23:59:59 GMT"}) > 1e9
    assert retry_after({"retry-after": "soon"}) == retry_after({}) == 0.0


def answers(*choices: str) -> list[records.Answer]:
    points = {"first": 1.0, "second": 0.0, "tie": 0.5, "invalid": 0.5}
    orders = ("policy-first", "comparator-first")
    return [
        records.Answer(order=order, choice=choice, preference=points[choice])
        for order, choice in zip(orders, choices, strict=False)
    ]


@pytest.mark.parametrize(
    ("choices", "choice", "preferred"),
    [
        (("first", "first"), "first", 1.0),
        (("first", "second"), "tie", 0.5),
        (("first", "invalid"), "first", 0.75),
        (("second", "tie"), "second", 0.25),
        (("invalid", "invalid"), "invalid", 0.5),
        (("second",), "second", 0.0),
    ],
)
def test_what_answers_add_up_to(choices, choice, preferred):
    found = verdict(pair(), "j", answers(*choices))
    assert (found.choice, found.preference) == (choice, preferred)


def test_a_panel_decides_by_majority():
    votes = [[verdict(pair(), name, answers(choice))] for name, choice in zip("abc", ("first", "second", "first"))]  # noqa: B905
    (found,) = panel.majority(votes, ["a", "b", "c"], "panel")
    assert (found.choice, found.preference, found.judge) == ("first", 1.0, "panel")
    assert [(a.raw, a.choice) for a in found.answers] == [("a", "first"), ("b", "second"), ("c", "first")]
    (even,) = panel.majority(votes[:2], ["a", "b"], "panel")
    assert even.choice == "tie"
    silent = [[verdict(pair(), name, answers("invalid"))] for name in "ab"]
    assert panel.majority(silent, ["a", "b"], "panel")[0].choice == "invalid"
    other = [verdict(pair("another text"), "b", answers("first"))]
    with pytest.raises(UserError, match="b: these are not verdicts on the same pairs of responses as those in a"):
        panel.majority([votes[0], other], ["a", "b"], "panel")
