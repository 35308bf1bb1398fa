"""The stage that samples: prompts with and without a constitution, and several jobs that join to what one writes."""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from sami import records
from sami.data.constitutions import build
from sami.data.principles import from_people
from sami.errors import UserError
from sami.models.pretrained import load, load_tokenizer
from sami.provenance import digest
from sami.sampling.shards import files, share, together
from sami.settings.principles import Constitutions, PrincipleFile
from sami.settings.sampling import Sampling
from sami.settings.tasks import Prompts
from sami.settings.yaml_files import load_yaml
from sami.stages import sample_responses

PROMPTS = Prompts(style="chat", generation="{constitution}\n\n{query}", training="{constitution}\n\n{query}")


@given(st.integers(1, 300), st.integers(1, 300))
def test_shards_hold_everything_once_and_in_order(count, jobs):
    names = files(together("folder", jobs))
    assert names == sorted(names)
    assert len(names) == jobs
    parts = [share(list(range(count)), re.fullmatch(r"folder/shard-(\d+-of-\d+)\.jsonl", name)[1]) for name in names]
    assert [item for part in parts for item in part] == list(range(count)) == share(list(range(count)), None)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.fixture
def stage(tiny, tmp_path):
    """A function that runs the sampling stage for nine queries into a folder, with other arguments or as one shard."""
    pairs = load_yaml(ROOT / "config/constitutions/everyday.yaml", PrincipleFile)
    settings = Constitutions(writer="human", principles="everyday", per_set=2, statements=2, negate="any")
    records.write(build(from_people(pairs, "human"), settings, seed=1), tmp_path / "constitutions.jsonl")
    rows = [json.loads(line) for line in (ROOT / "config/queries/everyday-train.jsonl").open()]
    queries = [records.Query(id=row["id"], task="everyday", text=row["text"]) for row in rows[:20]]
    records.write(queries, tmp_path / "queries.jsonl")

    def run(folder, **changes):
        folder.mkdir(exist_ok=True)
        values = {
            "model": tiny,
            "queries": tmp_path / "queries.jsonl",
            "constitutions": [tmp_path / "constitutions.jsonl"],
            "prompts": PROMPTS,
            "template": None,
            "stop": ["u"],
            "under": "all",
            "every_set": False,
            "first_response": 0,
            "labels": None,
            "asked": [],
            "attributes": [],
            "sampling": Sampling(temperature=0.8, max_new_tokens=10, batch_size=4),
            "engine": None,
            "policy": "iteration-0",
            "first": 5,
            "count": 9,
            "seed": 1,
            "shuffle": True,
            "shard": None,
            "shards": None,
            "output": folder / "responses.jsonl",
            "counts": folder / "sampling.json",
        }
        sample_responses.main(argparse.Namespace(**values | changes))

    return run


def in_shards(stage, folder, jobs, **changes):
    """The same in several jobs and one that joins them."""
    for file in files(together(f"{folder}/responses", jobs)):
        shard = re.search(r"\d+-of-\d+", file)[0]
        (folder / "responses").mkdir(parents=True, exist_ok=True)
        stage(folder, shard=shard, output=file, counts=None, **changes)
    stage(folder, shards=together(f"{folder}/responses", jobs), **changes)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_shards_join_to_what_a_single_job_writes(stage, tmp_path, temperature):
    sampling = Sampling(temperature=temperature, max_new_tokens=10, batch_size=4)
    stage(tmp_path / "one", sampling=sampling)
    counts = json.loads((tmp_path / "one/sampling.json").read_text())
    assert counts["sampled"] == 9
    assert 0 < counts["tokens"] < 9 * 2 * 10
    for jobs in (2, 4, 9):
        in_shards(stage, tmp_path / f"in-{jobs}", jobs, sampling=sampling)
        for name in ("responses.jsonl", "sampling.json"):
            assert (tmp_path / f"in-{jobs}" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_a_template_without_a_constitution_puts_the_query_alone(stage, tiny, tmp_path):
    more = {"sampling": Sampling(temperature=0.0, max_new_tokens=10, batch_size=4), "under": "positive", "stop": []}
    stage(tmp_path / "alone", template="Say: {query}", **more)
    stage(tmp_path / "asked", **more)
    alone, asked = (records.read(records.Example, tmp_path / f"{name}/responses.jsonl") for name in ("alone", "asked"))
    texts = {query.id: query.text for query in records.read(records.Query, tmp_path / "queries.jsonl")}
    tokenizer, model = load_tokenizer(tiny), load(tiny).cpu()
    for example in alone:
        (response,) = example.responses
        shown = f"<|im_start|>user\nSay: {texts[example.query_id]}<|im_end|>\n<|im_start|>assistant\n"
        tokens = tokenizer(shown, add_special_tokens=False)["input_ids"]
        for drawn in response.token_ids:  # one forward pass for each, the most likely token
            with torch.inference_mode():
                assert model(torch.tensor([tokens])).logits[0, -1].argmax().item() == drawn
            tokens.append(drawn)
        assert response.token_ids
    empty = [example.model_copy(update={"responses": []}) for example in alone]
    assert empty == [example.model_copy(update={"responses": []}) for example in asked]
    assert all(example.labels == [0] for example in (*alone, *asked))
    assert [e.responses for e in alone] != [e.responses for e in asked]


def test_labels_are_asked_for_in_place_of_constitutions(stage, tiny, tmp_path):
    """The most likely tokens behind the prompt with query and label string, the same in several jobs."""
    values = [{"few": 4, "loud": 0}, {"few": 0, "loud": 2}, {"few": 4, "loud": 2}]
    place = {"query_id": "q", "set_id": "s", "policy": "p"}
    known = [records.Label(**place, number=number, values=of) for number, of in enumerate(values)]
    records.write(known, tmp_path / "labels.jsonl")
    more = {"sampling": Sampling(temperature=0.0, max_new_tokens=6, batch_size=4), "stop": [], "asked": ["few:4"],
            "labels": tmp_path / "labels.jsonl", "template": "{query} ({attributes})", "words": None}  # fmt: skip
    stage(tmp_path / "one", **more)
    in_shards(stage, tmp_path / "several", 4, **more)
    assert (tmp_path / "one/responses.jsonl").read_bytes() == (tmp_path / "several/responses.jsonl").read_bytes()
    drawn = records.read(records.Example, tmp_path / "one/responses.jsonl")
    responses = [(example.query_id, response) for example in drawn for response in example.responses]
    assert len(responses) == 9 * 2
    assert {response.constitution for _, response in responses} == {0}
    assert {tuple(response.asked.values()) for _, response in responses} == {(4, 0), (4, 2)}
    texts = {query.id: query.text for query in records.read(records.Query, tmp_path / "queries.jsonl")}
    tokenizer, model = load_tokenizer(tiny), load(tiny).cpu()
    for query, response in responses[:4]:
        few, loud = response.asked.values()
        shown = f"<|im_start|>user\n{texts[query]} (few:{few},loud:{loud})<|im_end|>\n<|im_start|>assistant\n"
        tokens = tokenizer(shown, add_special_tokens=False)["input_ids"]
        for token in response.token_ids:
            with torch.inference_mode():
                assert model(torch.tensor([tokens])).logits[0, -1].argmax().item() == token
            tokens.append(token)
    with pytest.raises(UserError, match="labels.jsonl: found no response with few:1 among 3 different labels"):
        stage(tmp_path / "none", **more | {"asked": ["few:1"]})
    with pytest.raises(UserError, match="found the label 'few', expected an attribute and its value: short:4"):
        stage(tmp_path / "none", **more | {"asked": ["few"]})


def test_shards_without_any_response_are_an_error_when_joined(stage, tmp_path):
    with pytest.raises(UserError, match="iteration-0: all responses of 9 examples are empty. Look at 'stop'"):
        in_shards(stage, tmp_path / "in-2", 2, stop=[chr(c) for c in (*range(1, 0x500), 0xFFFD)])
    assert (tmp_path / "in-2/responses/shard-1-of-2.jsonl").exists()
    assert not (tmp_path / "in-2/responses.jsonl").exists()


def test_all_shards_have_one_digest(tmp_path):
    shards = [Path(file) for file in files(together(str(tmp_path), 12))]
    for position, file in enumerate(shards):
        file.write_text(str(position))
    before = digest(tmp_path / "shard-*-of-12.jsonl")
    assert digest(tmp_path / "shard-*-of-12.jsonl") == before
    shards[7].write_text("changed")
    assert digest(tmp_path / "shard-*-of-12.jsonl") != before


def test_many_jobs_are_planned():
    """The benchmark of planning, scaled down: all shards of all iterations, a job that joins each, and so on."""
    command = [sys.executable, "benchmarks/dag.py", "--experiments", "2", "--iterations", "3", "--shards", "13"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", printed)}
    assert found["sample_responses_shard"] == 2 * 3 * 13
    assert found["sample_responses"] == found["train"] == 2 * 3
    assert found["sample_evaluation_shard"] == 2 * 4 * 2
    assert found["sample_evaluation"] == found["score_responses"] == 2 * 4
    assert found["memory_gib"] > 0
