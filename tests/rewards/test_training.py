"""Training of reward and attribute models as processes: sharding, mixed precision, kills, checkpoints, and labels."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import warm
from conftest import ROOT, make_tiny_llama
from safetensors.torch import load_file
from training_run import ENGINE

from sami import records
from sami.models.prepare import prepare
from sami.records import Check, Comparison, Constitution, Example, Principle, Query, Response, Statement
from sami.rewards.reward_model import HEAD
from sami.settings.models import Model

TEXTS = ["all day long", "the cat slept until noon", "rain", "a mat and a cat sat"]
REWARD = {
    "kind": "learned",
    "labels": "checks",
    "prompt": "Answer: {response}\nQuery: {query}\nWanted: {principles}",
    "learning_rate": 1e-3,
    "queries_per_step": 3,
    "epochs": 8,
}
METHOD = {"name": "steerlm", "labels": "model", "attribute_model": {"learning_rate": 1e-3, "queries_per_step": 2}}
STEPS = 8 * 3  # seven queries, three a step


def prepared(folder: Path, tied: bool) -> Path:
    """A model whose vocabulary's head is its embeddings, or has weights of its own, which nothing trains."""
    make_tiny_llama(folder / "source", tie_word_embeddings=tied)
    prepare("tiny", Model(source="path", path=str(folder / "source")), folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return prepared(tmp_path_factory.mktemp("untied"), tied=False)


class Job:
    """The files of a stage that trains a reward model, and the stage."""

    def __init__(self, folder: Path, model: Path):
        self.folder, self.model = folder, model
        folder.mkdir()
        made = []
        for k in range(9):
            one, other = TEXTS[k % 4], " ".join([TEXTS[(k + 1) % 4]] * (k % 3 + 1))
            for wanted in (True, False):
                read = [Statement(principle="p", wanted=wanted, text="all" if wanted else "none")]
                pair = (one, other) if wanted else (other, one)
                told = {"query": f"q{k}?", "chosen": pair[0], "rejected": pair[1], "held_out": k > 6}
                made.append(Comparison(query_id=f"q{k}", set_id="s", statements=read, **told))
        records.write(made, folder / "comparisons.jsonl")

    def command(self, engine: dict, output: str, precision: str, reward: dict) -> list[str]:
        path = lambda name: str(self.folder / name)  # noqa: E731
        return [
            *warm.stage("train_reward_model"), "--model", str(self.model), "--comparisons", path("comparisons.jsonl"),
            "--reward", json.dumps(REWARD | reward), "--engine", json.dumps(ENGINE | engine), "--precision", precision,
            "--seed", "1", "--checkpoints", path(f"{output}-checkpoints"), "--threads", "1", "--output", path(output),
            "--scored", path(f"{output}.jsonl"),
        ]  # fmt: skip

    def start(self, engine=None, output="model", precision="float32", **reward) -> subprocess.Popen:
        return started(self.command(engine or {}, output, precision, reward))

    def run(self, *arguments, expect: int = 0, **options) -> str:
        process = self.start(*arguments, **options)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == expect, printed
        return printed

    def killed(self, engine=None, output="model") -> None:
        """Kills the stage after a few steps."""
        process = self.start(engine, output)
        self.wait_for_step(process, 3, output)
        process.kill()
        process.communicate()
        assert not (self.folder / output).exists()

    def wait_for_step(self, process: subprocess.Popen, step: int, output="model") -> None:
        while not (self.folder / f"{output}-checkpoints/step-{step:06}").exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.002)

    def weights(self, output="model") -> dict[str, torch.Tensor]:
        return tensors(self.folder / output)

    def scores(self, output="model") -> list[float]:
        scored = records.read(records.ScoredComparison, self.folder / f"{output}.jsonl")
        return [value for s in scored for value in (s.chosen, s.rejected, *s.shuffled)]


def started(command: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors") | load_file(folder / HEAD)


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory) -> Job:
    """Trained by one process, and by two, which share each step's passes and the model."""
    job = Job(tmp_path_factory.mktemp("undisturbed") / "job", model)
    assert f"{STEPS} steps on 1 process(es)" in job.run()
    assert f"{STEPS} steps on 2 process(es)" in job.run({"processes": 2}, output="two")
    return job


@pytest.fixture
def job(model, tmp_path) -> Job:
    return Job(tmp_path / "job", model)


def assert_alike(job: Job, output: str, expected: str) -> None:
    assert job.scores(output) == pytest.approx(job.scores(expected), abs=2e-3)
    one, other = job.weights(output), job.weights(expected)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], atol=2e-3), name


def test_it_learns_in_one_process_and_in_two_alike(undisturbed):
    """All weights but those of the vocabulary's head, and the comparisons that it has not seen are told."""
    before, after = load_file(undisturbed.model / "model.safetensors"), undisturbed.weights()
    assert {name for name, tensor in before.items() if torch.equal(tensor, after[name])} == {"lm_head.weight"}
    assert len(undisturbed.scores()) == 4 * 4
    assert_alike(undisturbed, "two", "model")
    assert not list(undisturbed.folder.glob("*checkpoints"))


def test_a_model_whose_embeddings_are_its_vocabulary_in_small_passes_with_layers_that_run_again(tmp_path):
    job = Job(tmp_path / "job", prepared(tmp_path, tied=True))
    job.run()
    job.run({"processes": 2, "tokens_per_pass": 60, "activation_checkpointing": "full"}, output="two")
    assert_alike(job, "two", "model")


@pytest.mark.parametrize("processes", [1, 2])
def test_mixed_precision_learns_like_full_precision(job, undisturbed, processes):
    job.run({"processes": processes}, precision="mixed")
    assert job.scores() == pytest.approx(undisturbed.scores(), abs=0.5)
    assert job.scores() != undisturbed.scores()
    assert {tensor.dtype for tensor in job.weights().values()} == {torch.float32}


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_it_ends_with_the_same_model(job, undisturbed, processes):
    engine, whole = {"processes": processes}, ["model", "two"][processes - 1]  # sums over processes round otherwise
    job.killed(engine)
    assert "resuming after step" in job.run(engine)
    expected = undisturbed.weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in job.weights().items())
    assert job.scores() == undisturbed.scores(whole)
    assert not (job.folder / "model-checkpoints").exists()


def test_resumes_on_another_number_of_processes(job, undisturbed):
    job.killed({"processes": 2})
    assert "resuming after step" in job.run()
    assert job.scores() == pytest.approx(undisturbed.scores(), abs=2e-3)


def test_a_signal_saves_a_checkpoint(job, undisturbed):
    often = {"checkpoint_steps": 3}
    process = job.start(often)
    job.wait_for_step(process, 3)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 75, printed
    assert "interrupted; the same command resumes from the last checkpoint" in printed
    assert "resuming after step" in job.run(often)
    assert all(torch.equal(tensor, undisturbed.weights()[name]) for name, tensor in job.weights().items())


def test_a_checkpoint_of_other_lessons_or_settings_is_refused(job):
    job.killed()
    printed = job.run(learning_rate=1e-4, expect=2)
    assert "is a checkpoint of another run: its settings.learning_rate is 0.001, that of this run is 0.0001" in printed
    file = job.folder / "comparisons.jsonl"
    text = file.read_text()
    file.write_text(text.replace("q0?", "q9?"))
    assert "is a checkpoint of another run: its lessons is" in job.run(expect=2)
    file.write_text(text)
    assert "resuming after step" in job.run()


def test_settings_that_diverge_leave_no_checkpoint(job):
    printed = job.run(learning_rate=1e30, expect=2)
    assert "training stopped at step" in printed
    assert "Lower the 'learning_rate' by which this model learns." in printed
    assert not (job.folder / "model-checkpoints").exists()
    job.run()


def test_an_attribute_model_learns_and_labels_in_two_processes_as_in_one(model, tmp_path):
    """Two outputs, which start at the means of the labels; labels are those of one process."""
    queries = [Query(id=f"q{k}", task="t", text=f"why {k}?") for k in range(8)]
    statement = Statement(principle="short", wanted=True, text="Be short.")
    constitution = Constitution(id="c", set_id="s", writer="w", statements=[statement])
    examples = [
        Example(query_id=query.id, set_id="s", constitution_ids=["c"], order=[0], policy="iteration-0", responses=[
            Response(text=" ".join(TEXTS[(k + n) % 4].split() * (n + 1)), constitution=0, tokens=1, finish="end")
            for n in range(k % 3 + 1)
        ])
        for k, query in enumerate(queries)
    ]  # fmt: skip
    checks = {
        "short": Check(measure="words", best=1, worst=12),
        "plain": Check(measure="letters_per_word", best=2.5, worst=4.5),
    }
    principles = [Principle(id=n, text="Be.", opposite="Be not.", writer="w", check=c) for n, c in checks.items()]
    files = {"queries": queries, "constitutions": [constitution], "responses": examples, "principles": principles}
    for name, content in files.items():
        records.write(content, tmp_path / f"{name}.jsonl")
    given = {name: str(tmp_path / f"{name}.jsonl") for name in files}
    common = ["--method", json.dumps(METHOD), "--policy", "iteration-0", "--threads", "1"]
    for count in (1, 2):
        folder, labels = tmp_path / f"model-{count}", tmp_path / f"labels-{count}.jsonl"
        engine = ["--engine", json.dumps(ENGINE | {"processes": count, "tokens_per_pass": 60})]
        train = [*warm.stage("train_attribute_model"), "--model", str(model), *common, *engine]
        train += [part for name, file in given.items() for part in (f"--{name}", file)]
        train += ["--precision", "float32", "--seed", "1", "--checkpoints", str(tmp_path / "checkpoints")]
        predict = [*warm.stage("predict_labels"), "--attribute-model", str(folder), "--base", str(model), *common]
        predict += [part for name in (*files,)[:3] for part in (f"--{name}", given[name])]
        predict += [*engine, "--processes", str(count), "--output", str(labels)]
        for command in ([*train, "--output", str(folder)], predict):
            process = started(command)
            printed, _ = process.communicate(timeout=300)
            assert process.returncode == 0, printed
    alone, shared = (tensors(tmp_path / f"model-{count}") for count in (1, 2))
    assert alone["weight"].shape == shared["weight"].shape == (2, 32)
    assert all(torch.allclose(tensor, shared[name], atol=1e-4) for name, tensor in alone.items())
    one, two = (list(records.read(records.Label, tmp_path / f"labels-{count}.jsonl")) for count in (1, 2))
    assert len(one) == sum(len(example.responses) for example in examples)
    assert one == two
