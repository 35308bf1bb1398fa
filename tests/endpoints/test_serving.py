"""Model servers: a real one with a tiny model, how it ends, and the workflow that starts them for writer and judge."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from transformers import AutoTokenizer
from workflow_project import TINY, Project

from sami.endpoints import chat, serving
from sami.endpoints.model_server import sampling_folder
from sami.errors import UserError
from sami.workflow.configuration import load
from sami.workflow.preflight import check

ABSENT = {"source": "path", "path": "nowhere"}

pytest.importorskip("uvicorn", reason="needs pip install 'transformers[serving]'")


@pytest.fixture(autouse=True)
def proxy_that_is_none(monkeypatch):
    """A proxy in the environment must not stand between a job and its server."""
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    chat._client.cache_clear()


@contextlib.contextmanager
def stage(model: Path, folder: Path):
    """The running stage; it is killed at the end, whatever happens."""
    command = [sys.executable, "-m", "sami.stages.serve_model", "--threads", "1", "--model", model]
    command += ["--server", folder / "server.json", "--server-log", folder / "server.log"]
    (folder / "server.json").touch()  # as the workflow does
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def ask(base_url: str, model: str, temperature: float, seed: int) -> str:
    return chat.complete(
        [{"role": "user", "content": "How is an egg boiled?"}], model=model, base_url=base_url,
        key_variable="NO_SUCH_KEY", timeout_seconds=60,
        parameters={"temperature": temperature, "max_tokens": 12, "seed": seed},
    ).text  # fmt: skip


def test_server_answers_samples_and_stops(tiny, tmp_path):
    with stage(tiny, tmp_path) as running:
        base_url, model = serving.wait(tmp_path / "server.json")
        assert re.fullmatch(rf"{tiny.name}-[0-9a-f]{{16}}", model)  # the weights, and no path of this machine
        likeliest = ask(base_url, model, 0.0, seed=1)
        assert likeliest == ask(base_url, model, 0.0, seed=2)
        drawn = [ask(base_url, model, 1.0, seed) for seed in (1, 1, 2, 3)]
        assert drawn[0] == drawn[1]
        assert len(set(drawn)) == 3
        child = psutil.Process(running.pid).children()[0]
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=10) == 0
    assert not child.is_running()
    assert not (tmp_path / "server.json").exists()
    with pytest.raises(UserError, match="server.json: there is no such file, so the model server has been stopped"):
        serving.wait(tmp_path / "server.json")


@pytest.mark.parametrize("within", ["chat_template.jinja", "tokenizer_config.json"])
def test_served_template_has_the_date_of_the_entry(tiny, tmp_path, within):
    model = shutil.copytree(tiny, tmp_path / "model")
    template = "{{ strftime_now('%-d %b %Y') }}" + (model / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").unlink()
    if within == "tokenizer_config.json":
        told = json.loads((model / within).read_text())
        template = json.dumps({**told, "chat_template": template})
    (model / within).write_text(template)
    place = tmp_path / "served"
    place.mkdir()
    served = AutoTokenizer.from_pretrained(place / sampling_folder(model, place))
    conversation = [{"role": "user", "content": "Hi"}]
    assert served.apply_chat_template(conversation, tokenize=False).startswith("26 Jul 2024<|im_start|>user\nHi")


def test_killed_stage_takes_its_server_with_it(tiny, tmp_path):
    with stage(tiny, tmp_path) as running:
        serving.wait(tmp_path / "server.json")
        child = psutil.Process(running.pid).children()[0]
        running.kill()
        running.wait()
        with pytest.raises(UserError, match=f"the model server has ended. See what it says in {tmp_path}/server.log"):
            serving.wait(tmp_path / "server.json")
    _, alive = psutil.wait_procs([child], timeout=10)
    assert not alive


def test_model_that_cannot_be_loaded_leads_to_the_log(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "broken")
    (tmp_path / "broken/model.safetensors").unlink()
    (tmp_path / "broken/model.safetensors").write_bytes(b"no weights")
    with stage(tmp_path / "broken", tmp_path) as running:
        with pytest.raises(UserError, match="has ended. See what it says in .*server.log"):
            serving.wait(tmp_path / "server.json")
        assert running.wait(timeout=10) == 2
        assert "error: the model server of" in running.stderr.read()
    assert "safetensors" in (tmp_path / "server.log").read_text()


def test_waiting_ends(tmp_path):
    (tmp_path / "server.json").touch()
    started = time.monotonic()
    with pytest.raises(UserError, match="has not answered within 0.5 seconds"):
        serving.wait(tmp_path / "server.json", seconds=0.5)
    assert time.monotonic() - started < 5


def test_folder_that_holds_no_model(tmp_path):
    with stage(tmp_path / "nowhere", tmp_path) as running:
        assert running.wait(timeout=30) == 2
        assert "expected a prepared model folder" in running.stderr.read()


def test_workflow_serves_writer_and_judge(tiny_source, smollm2, tmp_path):
    """SmolLM2 writes the principles and judges, through a server each time; nothing need be trained for that."""
    experiment = {
        "model": "tiny",
        "queries": {"train": 4, "eval": 2},
        "evaluation": {**TINY["defaults"]["evaluation"], "policies": {"smollm2": "smollm2-135m-instruct"}},
    }
    project = Project(tmp_path / "served", tiny_source, {"experiments": {"served": experiment}})
    prepared = project.folder / "resources/models/smollm2-135m-instruct"
    shutil.copytree(smollm2, prepared, copy_function=os.symlink)
    folder = project.folder / "results/served"
    judges = ("checks", "smollm2-likelihood", "smollm2-served")
    targets = [f"results/served/smollm2/eval/verdicts-{judge}-vs-base.jsonl" for judge in judges]
    project.run(*targets)
    principles = [json.loads(line) for line in (folder / "principles.jsonl").open()]
    assert {p["writer"] for p in principles} == {"smollm2-served"}
    behaviours = yaml.safe_load((project.folder / "config/constitutions/everyday-behaviours.yaml").read_text())
    assert [p["id"] for p in principles] == [b["id"] for b in behaviours["behaviours"]]
    checks, likelihood, served = ([json.loads(line) for line in (project.folder / target).open()] for target in targets)
    for verdicts in zip(checks, likelihood, served, strict=True):
        assert len({(v["query_id"], v["constitution_id"], v["first"], v["second"]) for v in verdicts}) == 1
    assert len(served) == 4
    assert any(answer["choice"] != "invalid" for v in served for answer in v["answers"])
    assert all(0 < answer["preference"] < 1 for v in likelihood for answer in v["answers"])
    logs = list((folder / "servers").iterdir())
    assert {log.name for log in logs} == {"writer.log", "judge-smollm2-served-smollm2-vs-base.log"}
    for log in logs:
        assert not psutil.pid_exists(int(re.search(r"Started server process \[(\d+)\]", log.read_text())[1]))
    assert "Nothing to be done" in project.run(*targets)


def test_one_core_is_too_few(tiny_source, tmp_path):
    project = Project(tmp_path / "narrow", tiny_source, {})
    command = project.command("results/served/principles.jsonl", "--dry-run")
    command[command.index("--cores") + 1] = "1"
    done = subprocess.run(command, cwd=project.folder, env=project.environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is served while another job asks it, which takes two cores: found --cores 1" in done.stdout + done.stderr


@pytest.mark.parametrize("user", ["policy", "likelihood", "served", "member"])
def test_models_of_judges_and_policies_are_looked_for_before_the_run(user, tiny_source, tmp_path, monkeypatch):
    project = Project(tmp_path / "early", tiny_source, {})
    monkeypatch.chdir(project.folder)
    project.write("config/models.yaml", {"tiny": {"source": "path", "path": str(tiny_source)}, "absent": ABSENT})
    texts = "{constitution} {query} {first} {second}"
    project.write("config/judges/likelihood.yaml", {"kind": "likelihood", "model": "absent", "prompt": texts})
    project.write(
        "config/judges/served.yaml",
        {"kind": "openai", "serve": "absent", "style": "letter", "max_tokens": 1, "prompt": texts},
    )
    project.write("config/judges/member.yaml", {"kind": "panel", "members": ["checks", "likelihood"]})
    changed = {"policies": {"other": "absent"}} if user == "policy" else {"judges": ["checks", user]}
    config = yaml.safe_load(Path("config/config.yaml").read_text())
    config["experiments"] = {"quickstart": {"model": "tiny", "evaluation": changed}}
    project.write("config/config.yaml", config)
    with pytest.raises(UserError, match="config/models.yaml: absent.path: found .nowhere. .text., but"):
        check(load(["config/config.yaml"]), ["quickstart"])
