"""The stage `train` as a process, or several: sharding, kills, checkpoints and wrong use."""

import json
import math
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import warm
from conftest import make_tiny_llama
from safetensors import safe_open
from safetensors.torch import load_file
from training_run import ENGINE, PROMPTS, TRAINING, TrainingRun
from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig, MixtralForCausalLM

from sami import records
from sami.methods import rlcd, sft
from sami.models.prepare import prepare
from sami.settings.methods import Rlcd
from sami.settings.models import Model
from sami.settings.tasks import Filters

LONG = {"epochs": 16}  # 80 steps


@pytest.fixture
def job(tiny, tmp_path):
    return TrainingRun(tmp_path / "job", tiny)


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    """The long job, run in one process without a disturbance."""
    job = TrainingRun(tmp_path_factory.mktemp("undisturbed") / "job", tiny)
    job.run(LONG)
    return job


def losses(steps):
    return [step["loss"] for step in steps]


def newest(job, output="model"):
    return sorted((job.folder / f"{output}-checkpoints").glob("step-*"))[-1]


def wait_for_step(job, process, step, output="model"):
    """Returns as soon as the running job has made so many steps."""
    file = job.folder / f".{output}.jsonl.partial"
    while not (file.exists() and file.read_text().count("\n") >= step):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


def killed_at(job, step, *arguments, output="model"):
    process = job.start(*arguments, output=output)
    wait_for_step(job, process, step, output)
    process.kill()
    process.communicate()
    assert not (job.folder / output).exists()


# --- several processes ------------------------------------------------------------------------------------------------


def test_processes_checkpointing_and_accumulation_change_nothing(job):
    """Ten steps, also with a KL term: the losses agree to 1e-5, however the work is divided."""
    job.run({"kl_weight": 0.5}, output="one")
    variants = {
        "two": {"processes": 2},
        "two-small": {"processes": 2, "tokens_per_pass": 150, "activation_checkpointing": "full"},
        "two-selective": {"processes": 2, "activation_checkpointing": "selective"},
        "three-padded": {"processes": 3, "scoring": "padded"},
        "two-cached": {"processes": 2, "scoring": "cached"},
    }
    assert len(job.steps("one")) == 10
    assert job.steps("one")[-1]["kl"] > 1e-3
    for name, engine in variants.items():
        printed = job.run({"kl_weight": 0.5}, engine, output=name)
        assert f"10 steps on {engine['processes']} process(es)" in printed
        assert losses(job.steps(name)) == pytest.approx(losses(job.steps("one")), abs=1e-5)
        for key in ("kl", "gradient_norm", "own_log_probability"):
            found, expected = ([step[key] for step in job.steps(n)] for n in (name, "one"))
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_scores_of_a_sharded_model_are_those_of_a_whole_one(job):
    """Three queries that share two processes unequally, so that one of them has an empty pass."""
    files = {name: str(job.folder / f"{name}.jsonl") for name in ("responses", "queries", "constitutions")}
    few = "".join((job.folder / "responses.jsonl").read_text().splitlines(keepends=True)[:3])
    (job.folder / "responses.jsonl").write_text(few)
    found = {}
    for count in (1, 2):
        output = job.folder / f"scores-{count}.jsonl"
        command = [*warm.stage("score_responses"), "--output", str(output)]
        command += ["--policy", "iteration-1", "--base", "iteration-0", "--prompts", PROMPTS.model_dump_json()]
        command += ["--model", str(job.model), "--base-model", str(job.model), "--base-responses", files["responses"]]
        command += [part for name, file in files.items() for part in (f"--{name}", file)]
        command += ["--engine", json.dumps(ENGINE | {"tokens_per_pass": 1}), "--processes", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found[count] = [json.loads(line) for line in output.open()]
    assert len(found[1]) == 9  # of the policy and of the base model, on each other's responses
    for one, two in zip(found[1], found[2], strict=True):
        assert [one.pop(key) for key in ("query_id", "scorer", "responses_of")] == [
            two.pop(key) for key in ("query_id", "scorer", "responses_of")
        ]
        for key in ("mean", "sum"):
            assert np.allclose(one[key], two[key], rtol=1e-5)


WORKER = """
import json, sys, torch
from pathlib import Path
from torch.distributed.tensor import DTensor
from sami.distributed.processes import processes
from sami.scoring.load import load_scorer
from sami.training.loop import make_optimizer
from sami.settings.training import Training

with processes() as group:
    scorer = load_scorer(Path(sys.argv[1]), group, sys.argv[2], "auto")
    parameters = list(scorer.model.parameters())
    optimizer = make_optimizer(parameters, Training(**json.loads(sys.argv[3])))
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    held = parameters + [v for state in optimizer.state.values() for v in state.values() if v.ndim]
    local = [t.to_local() if isinstance(t, DTensor) else t for t in held]
    facts = {
        "sharded": all(isinstance(p, DTensor) and p.placements[0].is_shard() for p in parameters),
        "bytes": sum(t.numel() * t.element_size() for t in local),
        "dtypes": sorted({str(t.dtype) for t in local}),
    }
    everyone = group.everyone(facts)
    if group.main:
        print("FACTS " + json.dumps(everyone))
"""


def sampled(job):
    """The job's responses, with their queries and constitutions by id, as methods read them."""
    read = lambda kind, name: list(records.read(kind, job.folder / f"{name}.jsonl"))  # noqa: E731
    queries, constitutions = read(records.Query, "queries"), read(records.Constitution, "constitutions")
    return read(records.Example, "responses"), {q.id: q for q in queries}, {c.id: c for c in constitutions}


def score_reference(job, count):
    """Pairs of the job's responses, with their log-probabilities by its model in so many processes."""
    pairs = rlcd.pair_examples(
        *sampled(job), PROMPTS, PROMPTS.without_constitution, Filters(), Rlcd(name="rlcd"), seed=1
    ).examples
    records.write(pairs, job.folder / "pairs.jsonl")
    output = job.folder / f"pairs-{count}.jsonl"
    command = [*warm.stage("score_reference"), "--model", str(job.model), "--pairs", str(job.folder / "pairs.jsonl")]
    command += ["--precision", "float32", "--engine", json.dumps(ENGINE | {"tokens_per_pass": 150})]
    done = subprocess.run(
        [*command, "--processes", str(count), "--output", str(output)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return list(records.read(records.TrainingExample, output))


def compare_processes(job, training, metrics):
    """The same losses, metrics and weights of one process and of two, which share passes and model."""
    job.run(training, output="one")
    printed = job.run(training, {"processes": 2, "tokens_per_pass": 150}, output="two")
    assert "10 steps on 2 process(es)" in printed
    one, two = job.steps("one"), job.steps("two")
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert losses(one)[-1] < losses(one)[0]
    for key in (*metrics, "gradient_norm"):
        assert [step[key] for step in two] == pytest.approx([step[key] for step in one], rel=1e-3, abs=1e-4), key
    alone, shared = (load_file(job.folder / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in alone.items():
        assert torch.allclose(tensor, shared[name], atol=1e-4), name


def test_pairs_are_scored_and_learned_by_two_processes_as_by_one(job):
    one, two = score_reference(job, 1), score_reference(job, 2)
    references = [[pair.reference for example in examples for pair in example.pairs] for examples in (one, two)]
    assert len(references[0]) == 20
    for alone, shared in zip(*references, strict=True):
        assert shared == pytest.approx(alone, rel=1e-5)
    records.write(two, job.folder / "examples.jsonl")
    training = {"objective": {"name": "preference", "beta": 0.5}, "normalisation": "sum"}
    compare_processes(job, training, ("margin", "chosen_log_probability", "rejected_log_probability"))
    assert job.steps("two")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_examples_with_different_numbers_of_responses_are_learned_by_two_processes_as_by_one(job):
    examples, *texts = sampled(job)
    for example in examples[::3]:  # both responses are learned
        example.responses[1] = example.responses[1].model_copy(update={"constitution": 0})
    made, _ = sft.own_examples(examples, *texts, PROMPTS, PROMPTS.without_constitution, Filters())
    assert {len(example.responses) for example in made} == {1, 2}
    records.write(made, job.folder / "examples.jsonl")
    compare_processes(job, {"objective": "supervised"}, ("log_probability", "weight"))


def facts(tmp_path, model, count, precision="float32"):
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command += [str(tmp_path / "worker.py"), str(model), precision, json.dumps(TRAINING)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    line = next((x for x in printed.stdout.splitlines() if x.startswith("FACTS ")), None)
    assert line, printed.stderr
    return json.loads(line.removeprefix("FACTS "))


def test_parameters_and_optimiser_are_really_sharded(tiny, tmp_path):
    alone = facts(tmp_path, tiny, 1)[0]
    assert not alone["sharded"]
    both = facts(tmp_path, tiny, 2)
    assert all(part["sharded"] for part in both)
    assert all(part["bytes"] <= 0.55 * alone["bytes"] for part in both)
    assert sum(part["bytes"] for part in both) >= alone["bytes"]
    mixed = facts(tmp_path, tiny, 1, "mixed")[0]
    assert mixed["dtypes"] == ["torch.float32"]  # the weights that the optimiser updates


@pytest.mark.parametrize("processes", [1, 2])
def test_mixed_precision_trains_like_full_precision(job, processes):
    job.run({"learning_rate": 1e-3}, output="full")
    job.run({"precision": "mixed", "learning_rate": 1e-3}, {"processes": processes}, output="mixed")
    assert losses(job.steps("mixed")) == pytest.approx(losses(job.steps("full")), abs=0.05)
    assert losses(job.steps("mixed")) != losses(job.steps("full"))
    with safe_open(job.folder / "mixed/model.safetensors", "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float32}  # noqa: SIM118


def test_saved_policy_has_the_names_and_files_of_its_source(tiny_source, tmp_path, monkeypatch):
    """A mixture of experts, whose weights the library keeps under other names in memory, in several files."""
    source = tmp_path / "source"
    tokenizer = AutoTokenizer.from_pretrained(tiny_source)
    tokenizer.save_pretrained(source)
    torch.manual_seed(0)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}
    MixtralForCausalLM(MixtralConfig(**sizes, **heads, max_position_embeddings=256)).save_pretrained(source)
    prepare("moe", Model(source="path", path=str(source)), tmp_path / "moe")
    job = TrainingRun(tmp_path / "job", tmp_path / "moe")
    gentle = {"learning_rate": 1e-6}  # rounding decides which expert a token goes to where two are nearly equal
    job.run(gentle, output="one")
    job.run(gentle, {"processes": 2}, output="two")
    assert losses(job.steps("two")) == pytest.approx(losses(job.steps("one")), abs=1e-5)
    keys = {}
    for name, folder in (("source", source), ("one", job.folder / "one"), ("two", job.folder / "two")):
        with safe_open(folder / "model.safetensors", "pt") as file:
            keys[name] = sorted(file.keys())
    assert keys["one"] == keys["two"] == keys["source"]
    assert any("experts.3.w2" in key for key in keys["source"])
    one, two = (AutoModelForCausalLM.from_pretrained(job.folder / name) for name in ("one", "two"))
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    assert not list(job.folder.rglob("*.bin")) + list(job.folder.rglob("*.pt"))


def test_large_models_are_saved_in_several_files(tiny, tmp_path, monkeypatch):
    from sami.distributed import saving
    from sami.distributed.processes import Processes

    monkeypatch.setattr(saving, "FILE_BYTES", 60_000)
    model = AutoModelForCausalLM.from_pretrained(tiny)
    saving.save(model, tiny, tmp_path / "saved", Processes(0, 1, torch.device("cpu")))
    files = sorted(file.name for file in (tmp_path / "saved").glob("*.safetensors"))
    assert len(files) == 3
    assert files[0] == "model-00001-of-00003.safetensors"
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    for mine, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_adapters_are_merged_into_a_whole_model(job, tiny):
    training = {"lora": {"rank": 4, "alpha": 8.0}, "learning_rate": 1e-2}
    job.run(training)
    with (
        safe_open(tiny / "model.safetensors", "pt") as before,
        safe_open(job.folder / "model/model.safetensors", "pt") as after,
    ):
        names = list(before.keys())
        assert names == list(after.keys())
        changed = {name for name in names if not torch.equal(before.get_tensor(name), after.get_tensor(name))}
    assert any("q_proj" in name for name in changed)
    assert not any("norm" in name or "embed" in name for name in changed)
    killed_at(job, 3, training, output="again")
    assert "resuming after step" in job.run(training, output="again")
    assert job.weights("again") == job.weights()
    printed = job.run(training, {"processes": 2}, output="two", expect=1)
    assert "training.lora trains in one process, but there are 2" in printed


# --- kills ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_any_step_it_ends_with_the_same_weights(job, undisturbed, processes):
    engine = {"processes": processes}
    if processes > 1:  # sums over processes round otherwise than sums in one
        undisturbed = TrainingRun(job.folder.with_name("undisturbed"), job.model)
        undisturbed.run(LONG, engine)
    for _ in range(3 - processes):
        killed_at(job, random.randrange(2, 75), LONG, engine)
    printed = job.run(LONG, engine)
    assert "resuming after step" in printed
    assert job.weights() == undisturbed.weights()
    assert len(job.steps()) == 80
    assert losses(job.steps()) == losses(undisturbed.steps())
    assert not (job.folder / "model-checkpoints").exists()


def test_killed_before_a_low_loss_it_ends_after_the_same_step(job, undisturbed):
    whole = losses(undisturbed.steps())
    stop = min(whole[:60])
    last = whole.index(stop) + 1
    assert last > 20
    killed_at(job, 5, {**LONG, "stop_at_loss": stop})
    printed = job.run({**LONG, "stop_at_loss": stop})
    assert "resuming after step" in printed
    assert f"the loss is at most {stop:g}: ended before step {last + 1}" in printed
    assert losses(job.steps()) == whole[:last]


def test_resumes_on_another_number_of_processes(job, undisturbed):
    killed_at(job, 40, LONG)
    printed = job.run(LONG, {"processes": 2})
    assert "resuming after step" in printed
    assert losses(job.steps()) == pytest.approx(losses(undisturbed.steps()), abs=1e-5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_saves_a_checkpoint(job, undisturbed, number):
    process = job.start(LONG, {"checkpoint_steps": 1000})
    wait_for_step(job, process, 20)
    process.send_signal(number)
    sent = time.monotonic()
    printed, _ = process.communicate(timeout=60)
    assert time.monotonic() - sent < 30
    assert process.returncode == 75, printed
    assert f"{number.name} received: saving a checkpoint" in printed
    assert int(newest(job).name.removeprefix("step-")) >= 20
    assert not (job.folder / "model").exists()
    job.run(LONG, {"checkpoint_steps": 1000})
    assert job.weights() == undisturbed.weights()


def test_signal_reaches_all_processes(job):
    process = job.start(LONG, {"processes": 2, "checkpoint_steps": 1000})
    wait_for_step(job, process, 20)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None), printed
    assert int(newest(job).name.removeprefix("step-")) >= 20
    assert "resuming after step" in job.run(LONG, {"processes": 2})


# --- wrong use --------------------------------------------------------------------------------------------------------


def test_damaged_checkpoint_falls_back_to_the_one_before(job, undisturbed):
    killed_at(job, 30, LONG)
    file = max(newest(job).glob("*.distcp"), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    damaged = int(newest(job).name.removeprefix("step-"))
    printed = job.run(LONG)
    assert f"step-{damaged:06} is damaged ({file.name} is not what was written); falling back" in printed
    assert f"resuming after step {damaged - 1}" in printed
    assert job.weights() == undisturbed.weights()


def test_unreadable_checkpoints_start_again(job):
    killed_at(job, 10, LONG)
    for folder in (job.folder / "model-checkpoints").glob("step-*"):
        (folder / "state.json").write_text("{")
    printed = job.run(LONG)
    assert printed.count("is damaged (state.json cannot be read") == 2
    assert len(job.steps()) == 80


def test_checkpoint_of_another_configuration_or_model(job, tmp_path):
    killed_at(job, 10, LONG)
    kept = newest(job)
    printed = job.run({**LONG, "learning_rate": 5e-4}, expect=2)
    assert "is a checkpoint of another run: its training.learning_rate is 0.0001, that of this run is 0.0005" in printed
    assert f"Remove {job.folder / 'model-checkpoints'}" in printed
    other = make_tiny_llama(tmp_path / "source", seed=1)
    prepare("other", Model(source="path", path=str(other)), tmp_path / "other")
    job.model, before = tmp_path / "other", job.model
    assert "is a checkpoint of another run: its starting model is" in job.run(LONG, expect=2)
    job.model = before
    assert kept.exists()
    assert "resuming after step" in job.run(LONG)


def test_diverged_run_keeps_the_last_sound_state(job):
    """The policy of the last checkpoint, which the next step's loss has shown to be sound."""
    printed = job.run({"learning_rate": 0.3, "optimizer": "adamw", "max_grad_norm": None, "max_loss": 1.0}, expect=2)
    assert "training stopped at step" in printed
    folder = job.folder / "model.last-good"
    assert f"is in {folder}" in printed
    AutoModelForCausalLM.from_pretrained(folder)
    assert not (job.folder / "model").exists()
    job.run()  # with settings that are sound
    assert len(job.steps()) == 10


def test_tracker_that_is_not_installed(job):
    printed = job.run(None, {"trackers": ["wandb"]}, expect=2)
    assert "engine.trackers names 'wandb', which is not installed: pip install wandb" in printed


def test_examples_of_different_shapes(job):
    file = job.folder / "examples.jsonl"
    lines = file.read_text().splitlines()
    example = json.loads(lines[3])
    example["responses"].append(example["responses"][0])
    example["labels"].append(0)
    lines[3] = json.dumps(example)
    file.write_text("\n".join(lines) + "\n")
    printed = job.run(expect=2)
    assert "query 'q3': 2 constitutions and 3 responses, but the examples before have 2 and 2" in printed
