"""Paths of a run, and the chunks in which responses are sampled."""

import json
import math
from pathlib import Path

import pytest
from configured import experiment, message
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from sami.settings.sampling import Sampling
from sami.workflow import layout
from sami.workflow.layout import Layout, all_chunks, chunks, finished_jobs, job_count, joined_file


@given(st.integers(1, 3000), st.integers(2, 16), st.integers(1, 400), st.integers(1, 2_000_000))
def test_jobs_are_as_few_as_the_tokens_allow(examples, responses, new_tokens, tokens_per_job):
    jobs = job_count(examples, responses, new_tokens, tokens_per_job)
    tokens = examples * responses * new_tokens
    assert jobs == 1 or (jobs - 1) * tokens_per_job < tokens
    # An example is not split, so a job may exceed the wanted tokens by less than one of them.
    largest = math.ceil(examples / jobs) * responses * new_tokens
    assert largest < tokens_per_job + responses * new_tokens or jobs == examples
    assert job_count(examples, responses, new_tokens, None) == 1


def test_file_of_a_shard():
    assert joined_file("x/responses/shard-03-of-64.jsonl") == "x/responses.jsonl"
    assert joined_file("x/responses.jsonl") == "x/responses.jsonl"


def test_path_is_the_pattern_with_its_names():
    paths = Layout("out/results", "shared")
    names = {"policy": "iteration-1", "judge": "checks", "comparator": "base"}
    path = paths.path(layout.VERDICTS, "one", **names)
    assert path == "out/results/one/iteration-1/eval/verdicts-checks-vs-base.jsonl"
    assert paths.pattern(layout.VERDICTS).format(experiment="one", **names) == path
    assert paths.model("tiny") == "shared/models/tiny"
    assert layout.log("train") == "logs/train-{iteration}.log"
    assert layout.log("build_new_examples-{iteration}") == "logs/build_new_examples-{iteration}.log"  # of a method
    assert layout.benchmark("tabulate") == "benchmarks/tabulate.tsv"


def test_rules_take_their_paths_from_the_layout():
    """No path of a result is written a second time in a rule."""
    for file in ROOT.glob("workflow/rules/*.smk"):
        for line in file.read_text().splitlines():
            assert not any(f"{name}" in line for name in ('.jsonl"', "/eval/", "logs/", "benchmarks/")) or (
                file.stem in ("plan", "sharing")
            ), line


SAMPLING = Sampling(responses=2, temperature=1.0, max_new_tokens=8, batch_size=1)


def test_finished_file_keeps_its_chunks(tmp_path):
    path = str(tmp_path / "responses.jsonl")
    files = [f"{tmp_path}/responses/shard-{k}-of-3.jsonl" for k in (1, 2, 3)]
    assert chunks(path, 5, SAMPLING, jobs=1) == []
    assert chunks(path, 5, SAMPLING, jobs=3) == files
    assert all_chunks(files) == f"{tmp_path}/responses/shard-*-of-3.jsonl"
    assert all_chunks([]) is None
    arguments = {"count": 5, "sampling": SAMPLING.model_dump()}
    record = {"arguments": arguments, "inputs": {"shards": {all_chunks(files): "digest"}}}
    Path(f"{path}.provenance.json").write_text(json.dumps(record))
    assert chunks(path, 5, SAMPLING, jobs=7) == files
    assert finished_jobs(path, (6, 2, 8)) is None  # of another size: it is sampled anew
    Path(f"{path}.provenance.json").write_text(json.dumps({"arguments": arguments, "inputs": {}}))
    assert chunks(path, 5, SAMPLING, jobs=7) == []
    Path(f"{path}.provenance.json").write_text("[]")
    assert finished_jobs(path, (5, 2, 8)) is None


def test_too_many_jobs(project):
    told = message(project.load, experiment("engine: {tokens_per_job: 1}\n    queries: {train: 1200}"))
    assert told.startswith("mine.yaml, line 2: experiments.quickstart: 'engine.tokens_per_job: 1' splits the sampling")
    assert "into 1200 jobs, expected at most 1000; raise it" in told


@pytest.mark.parametrize(("held_out", "examples"), [("", 48), (", held_out: tldr-diverse-held-out", 96)])
def test_held_out_principles_double_the_examples(project, held_out, examples):
    text = f"constitutions: {{principles: everyday{held_out}}}\n    engine: {{tokens_per_job: 64}}"
    settings = project.load(experiment(f"{text}\n    evaluation: {{sampling: {{max_new_tokens: 32}}}}"))
    assert layout.held_out_examples(settings.experiments["quickstart"]) == examples
    assert layout.evaluation_jobs(settings.experiments["quickstart"]) == examples  # 2 responses of 32 tokens each
