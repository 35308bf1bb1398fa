"""The judge behind an endpoint: real requests to a small real server that fails as servers do."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import judged
import pytest
from judge_server import ANSWERED, judge_server, requests_of
from judged import JUDGE

from sami import records
from sami.errors import UserError
from sami.judging import endpoint
from sami.judging.pairs import Pair
from sami.settings.endpoints import Limits
from sami.settings.judges import EndpointJudge

KEY = "sk-test-0123456789"


@pytest.fixture
def flags(tmp_path) -> list[str]:
    return judged.write_responses(tmp_path / "in", 12)


def verdicts(folder: Path, name: str = "verdicts.jsonl") -> list[records.Verdict]:
    return records.read(records.Verdict, folder / name)


def answered(log: Path) -> Counter:
    """How often each question was answered, and so had to be paid for."""
    return Counter(line["key"] for line in requests_of(log) if line["kind"] in ANSWERED)


def test_both_orders_are_asked_and_the_second_run_asks_nothing(flags, tmp_path):
    log = tmp_path / "log"
    with judge_server(log) as url:
        judge = {**JUDGE, "base_url": url}
        price = {"input": 10.0, "output": 20.0}
        done = judged.run(tmp_path, flags, judge, price=price)
        assert done.returncode == 0, done.stderr
    for i, verdict in enumerate(verdicts(tmp_path)):
        assert verdict.key == (f"q{i}", "p", "p", 0)
        assert [answer.order for answer in verdict.answers] == ["policy-first", "comparator-first"]
        # The policy's response has 3, 4 or 5 words, the comparator's 4, and the server prefers the longer one, else B.
        assert verdict.choice == ("second", "tie", "first")[i % 3]
        assert verdict.preference == (0.0, 0.5, 1.0)[i % 3]
        assert [answer.choice for answer in verdict.answers] == [
            ["second", "second"], ["second", "first"], ["first", "first"]
        ][i % 3]  # fmt: skip
        assert {(a.input_tokens, a.output_tokens, a.tries) for a in verdict.answers} == {(100, 10, 1)}
        assert [a.cost for a in verdict.answers] == pytest.approx([(100 * 10 + 10 * 20) / 1e6] * 2)
    assert "24 requests to make" in done.stderr
    assert "24 answers bought for $0.0288" in done.stderr
    assert set(answered(log).values()) == {1}
    assert len(answered(log)) == 24
    # The server is gone and so is the key: all is kept.
    again = judged.run(tmp_path, flags, judge, output="again.jsonl", key=None, price=price)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "verdicts.jsonl").read_bytes()


def test_random_order_is_drawn_for_each_pair_and_does_not_change(flags, tmp_path):
    with judge_server(tmp_path / "log") as url:
        judge = {**JUDGE, "base_url": url, "orders": "random"}
        assert judged.run(tmp_path, flags, judge).returncode == 0
    shown = [[answer.order for answer in verdict.answers] for verdict in verdicts(tmp_path)]
    assert all(len(orders) == 1 for orders in shown)
    assert {order for orders in shown for order in orders} == {"policy-first", "comparator-first"}
    assert len(answered(tmp_path / "log")) == 12


def test_a_thousand_verdicts_of_a_failing_server_and_a_kill(tmp_path):
    """No answer is paid for twice but those that were under way when the process was killed."""
    flags, log, concurrency = judged.write_responses(tmp_path / "in", 1000), tmp_path / "log", 32
    with judge_server(log, latency=0.05, faults=0.3) as url:
        judge = {**JUDGE, "base_url": url, "orders": "random"}
        limits = {"concurrency": concurrency, "timeout_seconds": 2.0, "retries": 20}
        first = subprocess.Popen(
            judged.command(tmp_path, flags, judge, **limits), env=judged.environment(KEY), stderr=subprocess.DEVNULL
        )
        while len(answered(log)) < 300:
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert not (tmp_path / "verdicts.jsonl").exists()
        time.sleep(0.3)  # until the server has written down what was under way
        before = answered(log)
        done = judged.run(tmp_path, flags, judge, **limits)
        assert done.returncode == 0, done.stderr
    assert f"of {1000} questions were answered in earlier runs" in done.stderr
    assert [verdict.query_id for verdict in verdicts(tmp_path)] == [f"q{i}" for i in range(1000)]
    twice = [key for key, count in answered(log).items() if count > 1]
    assert set(twice) <= before.keys()
    assert len(twice) <= concurrency
    assert max(line["under_way"] for line in requests_of(log)) <= concurrency
    kinds = Counter(line["kind"] for line in requests_of(log))
    assert len(kinds) == 10, kinds  # every fault has occurred
    assert not any(verdict.choice == "invalid" and verdict.answers[0].tries < 3 for verdict in verdicts(tmp_path))
    assert max(len(answer.raw) for verdict in verdicts(tmp_path) for answer in verdict.answers) == 20_000


def test_terminated_run_waits_for_what_is_under_way_and_pays_nothing_twice(tmp_path):
    flags, log = judged.write_responses(tmp_path / "in", 100), tmp_path / "log"
    with judge_server(log, latency=0.3) as url:
        judge = {**JUDGE, "base_url": url}
        running = subprocess.Popen(
            judged.command(tmp_path, flags, judge, concurrency=20), env=judged.environment(KEY),
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while len(answered(log)) < 40:
            time.sleep(0.01)
        running.send_signal(signal.SIGTERM)
        _, printed = running.communicate()
        assert running.returncode == 75, printed
        assert "all answers that have arrived are kept" in printed
        assert 40 <= len(answered(log)) <= 100
        done = judged.run(tmp_path, flags, judge, concurrency=20)
        assert done.returncode == 0, done.stderr
    assert len(answered(log)) == 200
    assert set(answered(log).values()) == {1}


def test_an_endpoint_that_goes_down_and_comes_back(tmp_path):
    """A short outage is waited out, a long one ends the run, and another server goes on where it was."""
    flags, log = judged.write_responses(tmp_path / "in", 60), tmp_path / "log"
    limits = {"concurrency": 4, "retries": 2, "down_after_seconds": 2.0}
    with judge_server(log, latency=0.05) as url:
        judge = {**JUDGE, "base_url": url}
        running = subprocess.Popen(
            judged.command(tmp_path, flags, judge, **limits), env=judged.environment(KEY),
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while len(answered(log)) < 20:
            time.sleep(0.01)
    time.sleep(0.8)
    before = len(answered(log))
    with judge_server(log, latency=0.05, port=url.split(":")[2].split("/")[0]):
        while len(answered(log)) < before + 20:
            time.sleep(0.01)
    _, printed = running.communicate()
    assert running.returncode == 2, printed
    assert "seconds since its last answer, the last because the connection failed" in printed
    with judge_server(log) as url:
        done = judged.run(tmp_path, flags, {**JUDGE, "base_url": url}, **limits)
    assert done.returncode == 0, done.stderr
    assert len(answered(log)) == 120
    twice = [key for key, count in answered(log).items() if count > 1]
    assert len(twice) <= 2 * 4  # those under way when a server died


def test_two_runs_share_the_answers(flags, tmp_path):
    with judge_server(tmp_path / "log", latency=0.02, faults=0.2, kinds="500,429") as url:
        judge = {**JUDGE, "base_url": url}
        commands = [judged.command(tmp_path, flags, judge, output=f"{i}.jsonl") for i in range(3)]
        running = [subprocess.Popen(command, env=judged.environment(KEY)) for command in commands]
        assert [process.wait() for process in running] == [0, 0, 0]
    outputs = {(tmp_path / f"{i}.jsonl").read_bytes() for i in range(3)}
    assert len(outputs) == 1
    database = sqlite3.connect(tmp_path / "answers.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("SELECT COUNT(*) FROM answers").fetchone() == (24,)


def test_answers_without_a_verdict_are_asked_for_again_and_count_as_half(flags, tmp_path):
    with judge_server(tmp_path / "log", faults=1.0, kinds="refusal") as url:
        done = judged.run(tmp_path, flags, {**JUDGE, "base_url": url, "tries": 2})
    assert done.returncode == 0, done.stderr
    for verdict in verdicts(tmp_path):
        assert (verdict.choice, verdict.preference) == ("invalid", 0.5)
        assert [(a.choice, a.tries, a.raw) for a in verdict.answers] == [("invalid", 2, "I cannot help with that.")] * 2
    assert len(answered(tmp_path / "log")) == 48  # the second question is another one: it has the reminder


# --- endpoints that answer in other ways, judged in this process -----------------------------------------------------


def pairs(count: int) -> list[Pair]:
    constitution = records.Constitution(
        id="p", set_id="p", writer="w", statements=[records.Statement(principle="p", wanted=True, text="Be brief.")]
    )
    return [
        Pair(records.Query(id=f"q{i}", task="t", text=f"Question {i}?"), "p", constitution, 0, "new", "base", "a", "b")
        for i in range(count)
    ]


@pytest.fixture
def ask(tmp_path, scripted):
    """Judges pairs by a server with a script, or once more by the same; returns (verdicts, server)."""

    def judge_by(*script, count=8, server=None, limits=None, **changes):
        server = server or scripted(*script)
        judge = EndpointJudge(**{**JUDGE, "base_url": server.url, **changes})
        limits = Limits(concurrency=4, retries=2, **limits or {})
        options = {"answers": tmp_path / "answers.sqlite", "account": "a", "server": None, "seed": 1}
        return endpoint.judge(pairs(count), "judge", judge, limits, **options), server

    return judge_by


def completed(content, finish="stop", **more) -> tuple[int, dict]:
    return 200, {"choices": [{"finish_reason": finish, "message": {"content": content}, **more}]}


def answers_of(verdicts) -> Counter:
    """Counts (choice in letters, why there is no verdict) of all answers."""
    letters = {("first", "policy-first"): "A", ("second", "comparator-first"): "A"}
    return Counter(
        ("AB"[(answer.choice, answer.order) not in letters] if answer.fault is None else answer.choice, answer.fault)
        for verdict in verdicts
        for answer in verdict.answers
    )


def flagged(query: str, message="flagged", code="invalid_prompt"):
    """A server that refuses whatever holds a text."""

    def answer(number, body):
        if query in str(body["messages"]):
            return 400, {"error": {"message": message, "code": code}}
        return completed("Answer: B")

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        completed("<think>\nAnswer: A\n</think>\n\nAnswer: B"),
        completed([{"type": "thinking", "thinking": "Answer: A"}, {"type": "text", "text": "Answer: B"}]),
        (200, {"choices": [{"message": {"content": "Answer: B", "reasoning_content": "Answer: A"}}], "usage": None}),
    ],
)
def test_thoughts_are_no_verdicts_but_are_kept(ask, answer):
    verdicts, server = ask(answer, count=2)
    assert answers_of(verdicts) == {("B", None): 4}
    assert all("Answer: A" in answer.raw for verdict in verdicts for answer in verdict.answers)
    assert len(server.asked) == 4


@pytest.mark.parametrize("text", [None, "<think>\nFirst,"])
def test_answers_that_the_limit_ends_stop_the_run_early_and_are_kept(ask, text):
    """A larger limit is another question; the same one is not bought again."""
    with pytest.raises(UserError, match=r"1\d of 1\d answers were cut off at the limit of max_tokens = 200") as caught:
        ask(completed(text, finish="length"), count=40, limits={"price": {"input": 1.0, "output": 1.0}})
    assert "Raise 'max_tokens'" in str(caught.value)
    with pytest.raises(UserError, match="cut off at the limit"):
        ask((500, {}), count=40)  # nothing is asked
    assert answers_of(ask(completed("Answer: A"), count=40, max_tokens=4000)[0]) == {("A", None): 80}


def test_few_answers_that_the_limit_ends_are_told_by_their_reason(ask, caplog):
    def answer(number, body):
        return completed("", finish="length") if "Question 1?" in str(body["messages"]) else completed("Answer: B")

    verdicts, server = ask(answer)
    assert answers_of(verdicts) == {("B", None): 14, ("invalid", "cut off"): 2}
    assert len(server.asked) == 16  # the same question with the same limit is not asked again
    assert "2 of 16 answers hold no verdict and count as half a win each: 2 cut off" in caplog.text
    assert "max_tokens" in caplog.text


def test_a_beginning_that_the_limit_ends_is_reminded_of_the_form(ask):
    def answer(number, body):
        return completed("Answer: B") if len(body["messages"]) > 1 else completed("The first one", finish="length")

    verdicts, server = ask(answer)
    assert answers_of(verdicts) == {("B", None): 16}
    assert len(server.asked) == 32


def test_a_letter_has_no_room_for_thoughts(ask):
    with pytest.raises(UserError, match="'style: reasoning', which leaves room for thoughts"):
        ask(completed("<think>\nOkay", finish="length"), style="letter", max_tokens=5)
    assert answers_of(ask(completed("A", finish="length"), style="letter", max_tokens=1)[0]) == {("A", None): 16}


@pytest.mark.parametrize(("message", "code"), [("flagged", "invalid_prompt"), ("Bad Request", None)])
def test_one_pair_that_is_refused_does_not_end_the_others(ask, caplog, message, code):
    verdicts, server = ask(flagged("Question 1?", message, code))
    assert answers_of(verdicts) == {("B", None): 14, ("invalid", "refused"): 2}
    assert len(server.asked) == 16
    assert "2 of 16 answers hold no verdict and count as half a win each: 2 refused" in caplog.text
    assert "query 'q1'" in caplog.text
    assert message in caplog.text
    again, _ = ask(server=server)
    assert again == verdicts
    assert len(server.asked) == 16


def test_a_refusal_that_is_left_over_from_a_killed_run_is_about_one_pair(ask):
    ask(completed("Answer: B"), count=8)
    refused = flagged("Question 8?", "Bad Request", None)
    assert answers_of(ask(refused, count=9)[0]) == {("B", None): 16, ("invalid", "refused"): 2}


@pytest.mark.parametrize("code", ["invalid_prompt", None])
def test_what_the_first_dozen_is_refused_for_ends_the_run_and_is_not_kept(ask, scripted, code):
    server = scripted(flagged("Question", "so not", code))
    with pytest.raises(UserError, match=r"status 400: so not.*ended the last \d+ request") as caught:
        ask(server=server, count=40)
    assert "model 'judge-1' at http" in str(caught.value)
    assert 12 <= len(server.asked) < 12 + 4
    assert answers_of(ask(completed("Answer: B"), count=40)[0]) == {("B", None): 80}


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ({"param": "max_tokens", "message": "Use 'max_completion_tokens'"}, "'token_limit: max_completion_tokens'"),
        ({"param": "temperature", "message": "Only the default"}, "'temperature: null'"),
    ],
)
def test_a_setting_that_is_refused_ends_the_run_at_once(ask, scripted, said, remedy):
    server = scripted((400, {"error": said}))
    with pytest.raises(UserError, match=remedy):
        ask(server=server)
    assert len(server.asked) < 3 + 4


def test_an_error_inside_an_answer_is_repeated_like_the_status_it_carries(ask):
    statuses = [429, 503]

    def answer(number, body):
        return (200, {"error": {"code": statuses.pop(), "message": "x"}}) if statuses else completed("Answer: B")

    verdicts, server = ask(answer, count=2)
    assert answers_of(verdicts) == {("B", None): 4}
    assert len(server.asked) == 6


def test_an_answer_that_the_endpoint_withholds_is_not_asked_for_again(ask):
    verdicts, server = ask(
        (200, {"choices": [{"finish_reason": "content_filter"}], "prompt_filter_results": []}), count=2
    )
    assert answers_of(verdicts) == {("invalid", "refused"): 4}
    assert len(server.asked) == 4


LETTER = {"style": "letter", "max_tokens": 1, "top_logprobs": 2}


def graded(letter: str) -> tuple[int, dict]:
    top = [{"token": letter, "logprob": -0.2}, {"token": "AB"[letter == "A"], "logprob": -1.7}]
    return completed(letter, logprobs={"content": [{"token": letter, "logprob": -0.2, "top_logprobs": top}]})


@pytest.mark.parametrize("logprobs", [None, {"content": None}, {"content": []}, {"content": [{"token": "B"}]}])
def test_an_endpoint_without_log_probabilities(ask, logprobs):
    for _ in range(2):  # what was kept does not change what is said
        with pytest.raises(UserError, match="answers without log-probabilities, which 'top_logprobs' asks for"):
            ask(completed("B", logprobs=logprobs), **LETTER)


def test_where_single_log_probabilities_are_missing_the_letter_counts(ask, caplog):
    def answer(number, body):
        return completed("B") if "Question 1?" in str(body["messages"]) else graded("B")

    verdicts, _ = ask(answer, **LETTER)
    assert {answer.preference for answer in verdicts[1].answers} == {0.0, 1.0}
    assert 0 < verdicts[0].answers[0].preference < 1
    assert "2 answers came without log-probabilities: their letters count" in caplog.text


def test_a_batch_with_requests_that_are_refused(ask, tmp_path):
    with judge_server(tmp_path / "log", flagged="Question 1?") as url:
        limits = {"batch": True, "poll_seconds": 0.01}
        verdicts, _ = ask(server=SimpleNamespace(url=url), limits=limits)
        assert answers_of(verdicts) == {("B", None): 14, ("invalid", "refused"): 2}
        assert ask(server=SimpleNamespace(url=url), limits=limits)[0] == verdicts
        batches = [line["key"] for line in requests_of(tmp_path / "log") if line["kind"] == "batch"]
        assert batches == ["batch-0"]
        with pytest.raises(UserError, match=r"status 400: flagged.*ended the last 16 request"):
            ask(server=SimpleNamespace(url=url), limits=limits, prompt=JUDGE["prompt"] + "Question 1?")


def test_further_fields_of_a_request(ask):
    _, server = ask(completed("Answer: B"), count=1, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    assert {json.dumps(body["chat_template_kwargs"]) for _, _, body in server.asked} == {'{"enable_thinking": false}'}


# --- log-probabilities, costs, rates ----------------------------------------------------------------------------------


def test_graded_preference_from_log_probabilities(flags, tmp_path):
    letter = {**JUDGE, "style": "letter", "max_tokens": 1, "top_logprobs": 2}
    with judge_server(tmp_path / "log") as url:
        assert judged.run(tmp_path, flags, {**letter, "base_url": url}).returncode == 0
    likely = 1 / (1 + 2.718281828459045 ** (-1.7 + 0.2))
    for i, verdict in enumerate(verdicts(tmp_path)):
        assert verdict.preference == pytest.approx((1 - likely, 0.5, likely)[i % 3])
        assert verdict.choice == ("second", "tie", "first")[i % 3]
    with judge_server(tmp_path / "log", faults=1.0, kinds="refusal") as url:  # gives no log-probabilities
        other = {**letter, "base_url": url, "model": "other"}
        assert "without log-probabilities" not in judged.run(tmp_path, flags, other).stderr


def test_the_cost_limit_stops_before_and_during_a_run(flags, tmp_path):
    log, price = tmp_path / "log", {"input": 1000.0, "output": 1000.0}
    with judge_server(log) as url:
        judge = {**JUDGE, "base_url": url}
        before = judged.run(tmp_path, flags, judge, price=price, max_cost=1.0)
        assert before.returncode == 2
        assert "may cost $" in before.stderr
        assert "Nothing has been asked" in before.stderr
        assert requests_of(log) == []
        # The server counts 0.11 dollars an answer, more than the estimate of so short questions and answers.
        short = {**judge, "max_tokens": 2}
        during = judged.run(tmp_path, flags, short, price=price, max_cost=1.5, concurrency=1)
        assert during.returncode == 2, during.stderr
        assert (
            "have been spent on experiment/judge, more than the $1.5 that may be; 10 questions are left"
            in during.stderr
        )
        assert len(answered(log)) == 14
        assert not (tmp_path / "verdicts.jsonl").exists()
        assert judged.run(tmp_path, flags, short, price=price, max_cost=9).returncode == 0
    assert len(answered(log)) == 24
    assert set(answered(log).values()) == {1}


def test_retry_after_is_honoured(flags, tmp_path):
    log = tmp_path / "log"
    with judge_server(log, faults=0.3, kinds="429", retry_after=0.7, seed=1) as url:
        assert judged.run(tmp_path, flags, {**JUDGE, "base_url": url}).returncode == 0
    lines = sorted(requests_of(log), key=lambda line: line["at"])
    waits = [
        later["at"] - line["at"]
        for i, line in enumerate(lines)
        for later in [next((x for x in lines[i + 1 :] if x["key"] == line["key"]), None)]
        if line["kind"] == "429"
    ]
    assert waits
    assert min(waits) >= 0.69


def test_rates_are_kept(flags, tmp_path):
    with judge_server(tmp_path / "log") as url:
        judge = {**JUDGE, "base_url": url}
        assert judged.run(tmp_path, flags, judge, requests_per_minute=300).returncode == 0
    times = sorted(line["at"] for line in requests_of(tmp_path / "log"))
    assert len(times) == 24
    # 5 at once, then 5 a second. On a busy machine the server reads a request up to half a second late.
    for count in (10, 20, 23):
        assert min(late - early for early, late in zip(times, times[count:], strict=False)) > (count - 5) / 5 - 0.5


def test_a_reminder_may_be_longer_than_the_rate_of_tokens_was_made_for(tmp_path):
    flags = judged.write_responses(tmp_path / "in", 2)
    with judge_server(tmp_path / "log", faults=1.0, kinds="refusal") as url:
        judge = {**JUDGE, "base_url": url, "tries": 2, "max_tokens": 20}
        done = judged.run(tmp_path, flags, judge, tokens_per_minute=3_600)
    assert done.returncode == 0, done.stderr
    times = sorted(line["at"] for line in requests_of(tmp_path / "log"))
    assert len(times) == 8
    assert times[-1] - times[0] >= 5  # some 500 tokens, 60 a second


@pytest.mark.parametrize("style", ["online", "batch"])
def test_a_key_that_is_refused_and_quoted_appears_nowhere(flags, tmp_path, style):
    with judge_server(tmp_path / "log", status=401, said=f"wrong key {KEY}") as url:
        done = judged.run(tmp_path, flags, {**JUDGE, "base_url": url}, batch=style == "batch")
    assert done.returncode == 2
    assert "refused with HTTP status 401" in done.stderr
    assert "OPENAI_API_KEY" in done.stderr
    assert len(requests_of(tmp_path / "log")) <= 16  # those under way; nothing is repeated
    assert_secret(done, tmp_path)


def assert_secret(done, folder: Path) -> None:
    assert KEY not in done.stdout + done.stderr
    for path in folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_the_key_appears_in_no_file_of_a_run(flags, tmp_path):
    with judge_server(tmp_path / "log", faults=0.3, kinds="500,truncated") as url:
        done = judged.run(tmp_path, [*flags, "--log", str(tmp_path / "stage.log")], {**JUDGE, "base_url": url})
    assert done.returncode == 0
    assert (tmp_path / "verdicts.jsonl.provenance.json").exists()
    assert_secret(done, tmp_path)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, "status 400: no. See whether the server knows this 'model'"),
        (404, "no. See whether the server has a model of this name"),
        (
            503,
            "10 requests in a row have failed in the 0 seconds since the start, the last because it refused with HTTP",
        ),
    ],
)
def test_an_endpoint_that_refuses(flags, tmp_path, status, told):
    with judge_server(tmp_path / "log", status=status) as url:
        done = judged.run(tmp_path, flags, {**JUDGE, "base_url": url}, concurrency=4)
    assert done.returncode == 2
    assert told in done.stderr
    assert f"refused with HTTP status {status}" in done.stderr
    assert "Traceback" not in done.stderr
    asked = len(requests_of(tmp_path / "log"))
    first = {400: 12, 404: 1, 503: 10}[status]  # a 400 may be about one request until a dozen have it
    assert first <= asked < first + 4


def test_a_busy_server_is_given_time(flags, tmp_path):
    with judge_server(tmp_path / "log", status=429) as url:
        done = judged.run(tmp_path, flags, {**JUDGE, "base_url": url}, down_after_seconds=1.5)
    assert done.returncode == 2
    assert re.search(r"requests in a row have failed in the [2-9] seconds since the start, .* status 429", done.stderr)
    assert len(requests_of(tmp_path / "log")) > 16


def test_an_address_where_no_endpoint_is(flags, tmp_path):
    with judge_server(tmp_path / "log", page=1) as url:
        done = judged.run(tmp_path, flags, {**JUDGE, "base_url": url})
    assert done.returncode == 2
    assert "the answer is no chat completion" in done.stderr
    assert "it usually ends in /v1" in done.stderr
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    done = judged.run(tmp_path, flags, {**JUDGE, "base_url": f"http://127.0.0.1:{port}/v1"})
    assert done.returncode == 2
    assert "the connection failed" in done.stderr
    done = judged.run(tmp_path, flags, {**JUDGE, "base_url": "nonsense"})
    assert done.returncode == 2
    assert "the connection failed" in done.stderr or "found the address 'nonsense'" in done.stderr


def test_no_key(flags, tmp_path):
    done = judged.run(tmp_path, flags, JUDGE, key=None)
    assert done.returncode == 2
    assert "the environment variable OPENAI_API_KEY is not set" in done.stderr


def test_a_file_that_is_no_database(flags, tmp_path):
    (tmp_path / "answers.sqlite").write_text("these are my notes, and no database at all\n" * 9)
    done = judged.run(tmp_path, flags, JUDGE)
    assert done.returncode == 2
    assert "found something that cannot be used as the database of answers" in done.stderr
    assert (tmp_path / "answers.sqlite").read_text().startswith("these are my notes")


def test_batches_are_submitted_once_collected_and_mended(flags, tmp_path):
    log = tmp_path / "log"
    with judge_server(log, faults=0.3, polls=9, seed=3) as url:
        judge, limits = {**JUDGE, "base_url": url}, {"batch": True, "poll_seconds": 0.1}
        running = subprocess.Popen(
            judged.command(tmp_path, flags, judge, **limits), env=judged.environment(KEY), stderr=subprocess.DEVNULL
        )
        while not requests_of(log):
            time.sleep(0.01)
        time.sleep(0.4)
        running.send_signal(signal.SIGKILL)
        running.wait()
        done = judged.run(tmp_path, flags, judge, **limits)
        assert done.returncode == 0, done.stderr
    assert "batch batch-0 of an earlier run is" in done.stderr
    assert [verdict.preference for verdict in verdicts(tmp_path)] == [0.0, 0.5, 1.0] * 4
    assert len(answered(log)) == 24
    assert set(answered(log).values()) == {1}
    batches = [line["key"] for line in requests_of(log) if line["kind"] == "batch"]
    assert batches[:2] == ["batch-0", "batch-1"]  # the first one before the kill, the second for what failed in it
    assert len(batches) <= 4


def test_an_endpoint_without_batches(flags, tmp_path):
    with judge_server(tmp_path / "log", status=404) as url:
        done = judged.run(tmp_path, flags, {**JUDGE, "base_url": url}, batch=True)
    assert done.returncode == 2
    assert "the batch API refused with HTTP status 404" in done.stderr
    assert "'batch: false'" in done.stderr


# --- files that do not fit together -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[:-1], "hold responses to different queries or sets of constitutions: 1 are in one of them"),
        (lambda rows: [*rows, rows[3]], "found 2 examples of query 'q3' and set 'p', expected one; ids must be unique"),
        (lambda rows: [], "an empty file, expected example records"),
        (
            lambda rows: [*rows[:-1], {**rows[-1], "constitution_ids": ["other"]}],
            "query 'q11', set 'p': found responses under the constitutions p, but in ",
        ),
    ],
)
def test_responses_that_do_not_fit_together(flags, tmp_path, change, told):
    path = tmp_path / "in/comparator-responses.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))
    done = judged.run(tmp_path, flags, {"kind": "checks"})
    assert done.returncode == 2
    assert told in done.stderr
    assert os.path.basename(path) in done.stderr
    assert "Traceback" not in done.stderr
