"""Chat completions: against `transformers serve` with SmolLM2, and against a server that misbehaves on purpose."""

import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sami import records
from sami.data import principles
from sami.endpoints import chat
from sami.endpoints.completions import Completion
from sami.endpoints.writer import endpoint_writer
from sami.errors import UserError
from sami.settings.principles import Behaviour
from sami.settings.writers import Writer

KEY = "sk-test-3b1f0c7a9d5e"
CONFIG = Path(__file__).parents[2] / "config"
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(autouse=True)
def only_our_settings(monkeypatch):
    """No key, endpoint or proxy of the person who runs the tests."""
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def complete(base_url: str | None, model="m", timeout_seconds=60.0, **changes) -> Completion:
    parameters = {"temperature": 0.0, "max_tokens": 8, "seed": 1} | changes
    return chat.complete(
        MESSAGES,
        model=model,
        base_url=base_url,
        key_variable="TEST_KEY",
        parameters={name: value for name, value in parameters.items() if value is not None},
        timeout_seconds=timeout_seconds,
    )


def ask(*arguments, **changes) -> str:
    return complete(*arguments, **changes).text


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- a real server ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(smollm2, tmp_path_factory):
    """(URL, model name) of `transformers serve`. It answers on the port before it has a model, so that is enough."""
    pytest.importorskip("uvicorn", reason="needs pip install 'transformers[serving]'")
    port = free_port()
    output = tmp_path_factory.mktemp("serve") / "log"
    command = [Path(sys.executable).with_name("transformers"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with output.open("w") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
        )
    try:
        for _ in range(240):
            assert server.poll() is None, output.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.25)
        yield f"http://127.0.0.1:{port}/v1", str(smollm2)
    finally:
        server.terminate()
        server.wait(30)


def test_a_real_server_answers(served):
    url, model = served
    answer = ask(url, model=model, max_tokens=24)
    assert "Paris" in answer
    assert ask(url, model=model, max_tokens=24) == answer  # temperature 0, same seed


def test_a_real_server_heeds_limits(served):
    url, model = served
    whole = ask(url, model=model, max_tokens=24)
    assert whole.startswith(ask(url, model=model, max_tokens=2))
    assert ask(url, model=model, max_tokens=24, stop=["Paris"]).endswith("Paris")  # this server keeps the stop string


def test_a_real_server_without_the_model(served, monkeypatch, caplog):
    monkeypatch.setenv("TEST_KEY", KEY)
    for name in (None, "openai", "httpx2"):  # whatever level they were given before
        caplog.set_level(logging.DEBUG, logger=name)
    url, _ = served
    with pytest.raises(UserError) as caught:
        ask(url, model="no/such-model")
    message = str(caught.value)
    assert "'no/such-model'" in message
    assert url in message
    assert "server's log" in message
    assert caplog.records, "the client's own log was not looked at"
    assert KEY not in message + caplog.text


def test_a_model_writer_behind_a_real_server(served, tmp_path):
    url, model = served
    writer = yaml.safe_load((CONFIG / "writers/smollm2.yaml").read_text())
    writer = Writer(**{**writer, "kind": "endpoint", "model": model, "base_url": url})
    behaviour = principles.load(CONFIG / "constitutions/everyday-behaviours.yaml").behaviours[0]
    subject = principles.about_behaviour(behaviour, writer.prompt, 1)
    written = principles.write(subject, endpoint_writer(writer, seed=1), writer.prompt, 8, "served")
    records.write(written, tmp_path / "principles.jsonl")
    assert records.read(records.Principle, tmp_path / "principles.jsonl") == [written]
    assert not principles.faults(written.text, written.opposite, behaviour.about, writer.prompt)


# --- a server that misbehaves -----------------------------------------------------------------------------------------


def answer(content: str | None) -> dict:
    message = {"role": "assistant", "content": content}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"message": message}]}


def test_what_is_sent(scripted, monkeypatch):
    monkeypatch.setenv("TEST_KEY", f"  {KEY}\n")  # as `export TEST_KEY=$(cat file)` may leave it
    server = scripted((200, answer("Paris")))
    assert ask(server.url, temperature=0.5, seed=0, stop=["\n"]) == "Paris"
    [(path, headers, body)] = server.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "m", "messages": MESSAGES, "temperature": 0.5, "max_tokens": 8, "seed": 0, "stop": ["\n"]
    }  # fmt: skip
    ask(server.url, seed=None)
    assert set(server.asked[-1][2]) == {"model", "messages", "temperature", "max_tokens"}


@pytest.mark.parametrize(
    ("content", "text"), [(None, ""), ("", ""), ("Grüße", "Grüße"), ("half \ud83d", "half \ufffd")]
)
def test_texts_are_returned_as_they_are(scripted, content, text):
    assert ask(scripted((200, answer(content))).url) == text


def test_no_key_is_needed_for_a_server_of_ones_own(scripted):
    server = scripted((200, answer("Paris")))
    assert ask(server.url) == "Paris"
    assert server.asked[0][1]["Authorization"] == "Bearer none"


def test_no_key_for_the_service():
    with pytest.raises(UserError, match=r"TEST_KEY is not set.*export TEST_KEY="):
        ask(None)


@pytest.mark.parametrize("key", [f"{KEY}\nX-Header: 1", f"“{KEY}”"])
def test_a_key_that_is_none(key, monkeypatch, scripted):
    monkeypatch.setenv("TEST_KEY", key)
    server = scripted((200, answer("Paris")))
    with pytest.raises(UserError, match="TEST_KEY holds characters") as caught:
        ask(server.url)
    assert KEY not in str(caught.value)
    assert server.asked == []


def test_nobody_listens():
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(UserError, match="cannot connect") as caught:
        ask(url, model="some-model")
    assert url in str(caught.value)
    assert "'some-model'" in str(caught.value)
    assert "'base_url'" in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:port/v1", "localhost:8000/v1"])
def test_an_address_that_leads_nowhere(url):
    with pytest.raises(UserError, match="'base_url'"):
        ask(url)


@pytest.mark.parametrize(
    ("status", "tries", "remedy"),
    [
        (400, 1, "accepts the settings"),
        (401, 1, "TEST_KEY"),
        (403, 1, "TEST_KEY"),
        (404, 1, "has a model of this name"),
        (422, 1, "accepts the settings"),
        (429, 1 + chat.RETRIES, "Wait"),
        (500, 1 + chat.RETRIES, "server's log"),
        (503, 1 + chat.RETRIES, "server's log"),
    ],
)
def test_refusals(scripted, monkeypatch, caplog, status, tries, remedy):
    monkeypatch.setenv("TEST_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    server = scripted((status, {"error": {"message": f"no, not with the key {KEY}!"}}))
    with pytest.raises(UserError) as caught:
        ask(server.url)
    message = str(caught.value)
    assert server.url in message
    assert "'m'" in message
    assert f"status {status}" in message
    assert remedy in message
    assert len(server.asked) == tries
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert KEY not in message + caplog.text


def test_a_failure_that_passes(scripted):
    server = scripted((500, {"error": "?"}), (429, {"error": "?"}), (200, answer("Paris")))
    assert ask(server.url) == "Paris"
    assert len(server.asked) == 3


@pytest.mark.parametrize("body", ["<html>Welcome</html>", {"choices": []}, {"error": None}, [], {"choices": None}])
def test_an_answer_that_is_no_completion(scripted, body):
    with pytest.raises(UserError, match="no chat completion"):
        ask(scripted((200, body)).url)


def test_a_busy_service_inside_an_answer_is_asked_again(scripted):
    server = scripted((200, {"error": {"code": 429, "message": "slow down"}}), (200, answer("Paris")))
    assert ask(server.url) == "Paris"
    assert len(server.asked) == 2


def test_a_refusal_for_the_texts_and_one_for_a_setting(scripted):
    flagged = {"error": {"code": "content_filter", "message": "The prompt was filtered."}}
    with pytest.raises(chat.Refused, match="The prompt was filtered"):
        ask(scripted((400, flagged)).url)
    wanted = {"error": {"message": "Use 'max_completion_tokens' instead.", "param": "max_tokens"}}
    with pytest.raises(UserError, match="'token_limit: max_completion_tokens'") as caught:
        ask(scripted((400, wanted)).url)
    assert not isinstance(caught.value, chat.Refused)


def writer_at(url: str, **changes) -> Writer:
    given = {"kind": "endpoint", "model": "m", "base_url": url, "prompt": "About {behaviour}", "tries": 4} | changes
    return Writer(**given)


BEHAVIOUR = Behaviour(id="short", description="short answers", about=["short", "long"])
PAIR = "Principle: Give short answers.\nOpposite: Give long answers."


def write(writer: Writer) -> records.Principle:
    subject = principles.about_behaviour(BEHAVIOUR, writer.prompt, 1)
    return principles.write(subject, endpoint_writer(writer, seed=1), writer.prompt, writer.tries, "w")[0]


@pytest.mark.parametrize(
    "message",
    [
        {"content": f"<think>\nPrinciple: Be long.\nOpposite: Be short.\n</think>\n\n{PAIR}"},
        {"content": PAIR, "reasoning_content": "Principle: Be long.\nOpposite: Be short."},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Principle: Be long."}]},
                     {"type": "text", "text": PAIR}]},
    ],
)  # fmt: skip
def test_a_writers_thoughts_are_no_principles_but_are_kept(scripted, message):
    written = write(writer_at(scripted((200, {"choices": [{"message": message}]})).url))
    assert (written.text, written.opposite) == ("Give short answers.", "Give long answers.")
    assert len(written.raw) == 1
    assert "Principle: Be long." in written.raw[0]


def test_a_writer_whose_thoughts_spend_the_limit_is_soon_given_up(scripted):
    spent = {"choices": [{"finish_reason": "length", "message": {"content": "<think>\nFirst,"}}]}
    server = scripted((200, spent))
    with pytest.raises(UserError, match=r"none of 2 answers.*max_tokens.*finish_reason: length"):
        write(writer_at(server.url, tries=8))
    assert len(server.asked) == principles.MOST_CUT_OFF
    once = scripted((200, spent), (200, answer(PAIR)))
    assert write(writer_at(once.url)).raw == ["<think>\nFirst,", PAIR]


def test_what_a_writer_sends_is_set_as_for_a_judge(scripted):
    server = scripted((200, answer(PAIR)))
    extra = {"reasoning_effort": "low"}
    write(
        writer_at(server.url, temperature=None, token_limit="max_completion_tokens", send_seed=False, extra_body=extra)
    )
    [(_, _, body)] = server.asked
    assert body.keys() - {"messages"} == {"model", "max_completion_tokens", "reasoning_effort"}
    azure = writer_at(server.url.removesuffix("/v1"), api_version="2026-01-01")
    write(azure)
    assert server.asked[-1][0] == "/openai/deployments/m/chat/completions?api-version=2026-01-01"


def test_no_answer_in_time(scripted):
    with pytest.raises(UserError, match=r"no answer within 0\.2 seconds, 4 times"):
        ask(scripted((200, answer("late")), wait_seconds=0.6).url, timeout_seconds=0.2)


def test_a_password_in_the_address_is_not_shown(scripted):
    server = scripted((404, {}))
    with pytest.raises(UserError) as caught:
        ask(server.url.replace("//", "//user:secret-word@"))
    assert "secret-word" not in str(caught.value)


def test_starting_up_imports_neither_the_client_nor_torch():
    code = "import sys, sami.endpoints.chat, sami.data.principles; "
    code += "sys.exit(bool({'openai', 'torch', 'transformers'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
