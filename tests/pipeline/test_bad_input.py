"""Every stage on bad input, from missing files to records of another run: one message that names what is bad.

A stage is run as its command line runs it, but in this process. Each of its inputs in turn is replaced by what a user
may name in its place; then its structured settings, and its outputs.
"""

import json
import logging
import runpy
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest
from conftest import ROOT
from pydantic import BaseModel
from tabulated import EVALUATION, write_experiment
from training_run import ENGINE, PROMPTS, TRAINING

from sami import records
from sami.data.joined import read_by_id
from sami.distributed.processes import processes
from sami.methods.sami import training_examples
from sami.rewards.reward_model import RewardModel
from sami.settings.tasks import Filters
from sami.settings.training import Engine
from sami.stage import Stage
from sami.workflow import configuration

STAGES = sorted(path.stem for path in (ROOT / "src/sami/stages").glob("[a-z]*.py"))
# Run on sound input first, so that what is told later is about what is bad.
SOUND = {"build_comparisons", "build_constitutions", "build_ditto_examples", "build_ditto_queries",
         "build_queries", "build_report", "build_rest_examples", "build_rlcd_examples", "build_salmon_examples",
         "build_sami_examples", "build_sft_examples", "build_steerlm_examples", "build_test_queries",
         "choose_best", "combine_verdicts", "compare_experiments", "compare_methods", "import_queries",
         "import_responses", "join_seeds", "judge_by_identification", "judge_by_reward_model",
         "judge_responses", "label_responses", "measure_reward_model", "plan", "sample_responses",
         "score_rewards", "select_principles", "tabulate_identification", "tabulate_labels",
         "tabulate_screening", "tabulate_steering", "write_principles"}  # fmt: skip
# Where records of several files go together by their ids.
JOINING = {"build_comparisons", "build_ditto_examples", "build_report", "build_rest_examples",
           "build_rlcd_examples", "build_salmon_examples", "build_sami_examples", "build_sft_examples",
           "build_steerlm_examples", "choose_best", "compare_experiments", "import_responses",
           "judge_by_identification", "judge_by_reward_model", "judge_responses", "label_responses",
           "predict_labels", "score_identification", "score_relevance", "score_responses", "score_rewards",
           "screen_principles", "tabulate", "tabulate_labels", "train_attribute_model"}  # fmt: skip
CATALOGUES = [
    *(f"{key}={ROOT}/config/{key}" for key in ("tasks", "constitutions", "writers", "judges", "rewards")),
    *(f"{key}={ROOT}/config/{key}.yaml" for key in ("models", "hardware")),
]
BAD = {  # name of a file in place of an input: its content
    "empty": b"",
    "binary": bytes(range(256)) * 8,
    "page": b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n",
    "other-records": b'{"colour": "green"}\n{"colour": "red"}\n',
    "list": b"[1, 2]\n",
    "number": b"7\n",
    "broken-line": b'{"id": "a", "te\n',
    "utf-16": '{"id": "a"}\n'.encode("utf-16"),
}
BAD_JSON = ["", "{", "[1]", "7", "null", '"x"', '{"colour": "green"}', '{"kind": "x"}', "\udcff", "<html>"]
# Where a folder is meant, a file in it is named, or the folder.
FOLDERS = {"model", "models", "start", "reference", "base-model", "tables", "figures"}
COPIED = {"original"}  # whatever is in it


# Files of a prepared model: what stands in their place.
BROKEN = {
    "config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b"\xff",
    "model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "sami_model.json": b"<html>",
}
LEARNED = {"kind": "learned", "labels": "contrast", "prompt": "Read: {query} {response}", "learning_rate": 1e-4}
# What only some stages take: the arguments, and what the message must name.
MORE = {
    "score_rewards": [
        (
            {
                "reward": "learned",
                "rewards": json.dumps({"learned": LEARNED}),
                "reward-model": path,
                "base-model": path,
                "engine": json.dumps(ENGINE),
            },
            (path, "--reward-model"),
        )
        for path in ("nowhere", str(ROOT), __file__)
    ],
    "build_queries": [
        ({"train-dataset": json.dumps({"loader": "file", "path": f"{path}", "count": 1})}, (path,))
        for path in ("nowhere.jsonl", "nowhere.parquet", "nowhere/none", "", "/dev/null", __file__)
    ],
    "fetch_responses": [
        ({"address": address}, (address,)) for address in ("http://127.0.0.1:1/y.json", "http://[", "x")
    ],
    "judge_responses": [
        (
            {
                "judge": '{"kind": "likelihood", "model": "m", "prompt": "{constitution} {query} {first} {second}"}',
                "model": path,
            },
            (path,),
        )
        for path in ("nowhere", str(ROOT), __file__)
    ],
    "prepare_model": [
        ({"model": json.dumps({"source": "path", "path": path})}, (path,))
        for path in ("", ".", "/dev/null", __file__, str(ROOT / "tests"))
    ]
    + [
        ({"model": json.dumps({"source": "wheel", "package": "pytest", "file": "x.gguf"})}, ("x.gguf",)),
        (
            {"model": json.dumps({"source": "wheel", "package": "no-such-package", "file": "x.gguf"})},
            ("no-such-package",),
        ),
        ({"model": json.dumps({"source": "random", "architecture": {"model_type": "llamma"}})}, ("llamma",)),
        (
            {"model": json.dumps({"source": "random", "architecture": {"model_type": "llama", "hidden_size": "x"}})},
            ("m",),
        ),
    ],
    "sample_responses": [
        ({"shards": "nowhere/shard-*-of-2.jsonl"}, ("nowhere/shard-",)),
        ({"shards": "nowhere"}, ("nowhere",)),
        *(({"shard": shard}, (shard,)) for shard in ("3-of-2", "x", "0-of-2", "1-of-0")),
        ({"count": 99}, ("queries.jsonl",)),
        ({"first": -9}, ("-9",)),
        ({"stop": ["x", ""]}, ("--stop",)),
    ],
    "write_principles": [
        (
            {"writer": json.dumps({"kind": "local", "model": "m", "prompt": "{behaviour}"})},
            ("everyday.yaml", "--model"),
        ),
    ],
}


REWARDS = {
    "both": {"kind": "sum", "weights": {"strict": 1, "lenient": 1}},
    "strict": {"kind": "relevance", "others": 1, "full_margin": 4},
    "lenient": {"kind": "relevance", "others": 1, "full_margin": 2},
}


ATTRIBUTE_MODEL = '{"name": "steerlm", "labels": "model", "attribute_model": {"learning_rate": 1e-5}}'
STEERED = [
    records.Steered(query_id=f"q{n}", policy="iteration-0", attribute="p", value=value, asked={"p": value}, text="Yes.",
                    tokens=2, degrees={"p": value / 4})
    for n in range(3)
    for value in (0, 4)
]  # fmt: skip


def recognised_of(examples: list[records.Example]) -> list[records.Recognised]:
    return [
        records.Recognised(query_id=e.query_id, set_id=e.set_id, number=n, policy=e.policy, scorer="m",
                           means=[-1.0, -1.5], own=r.constitution)
        for e in examples
        for n, r in enumerate(e.responses)
    ]  # fmt: skip


class Stages:
    """The arguments of every stage on the sound files of a small experiment, and places with bad ones."""

    def __init__(self, folder: Path, model: Path):
        self.folder = folder
        settings = configuration.load([ROOT / "config/config.yaml"], CATALOGUES).experiments["quickstart"]
        evaluation = {**EVALUATION, "judges": ["checks"], "comparators": ["base"], "policies": {}, "published": []}
        run = write_experiment(folder / "run", 4, 1, others=(), judges=["checks"])
        records.write(relevance_of(records.read(records.Example, run["responses"][0])), folder / "run/relevance.jsonl")
        records.write(rewards_of(records.read(records.Example, run["responses"][0])), folder / "run/rewards.jsonl")
        records.write(labels_of(records.read(records.Example, run["responses"][0])), folder / "run/labels.jsonl")
        drawn = records.read(records.Example, run["responses"][0])
        candidates = [example.model_copy(update={"responses": example.responses * 2}) for example in drawn]
        records.write(candidates, folder / "run/candidates.jsonl")
        records.write(rewards_of(candidates), folder / "run/candidate-rewards.jsonl")
        shutil.copytree(folder / "run", folder / "other")  # the same records, with the ids of another run
        for path in (folder / "other").rglob("*.jsonl"):
            text = path.read_text().replace('"q0', '"z0').replace('"short+', '"y+').replace('"-short+', '"-y+')
            path.write_text(text)
        self.broken_models = []
        for file, content in BROKEN.items():
            self.broken_models.append(folder / f"broken-{file}")
            shutil.copytree(model, self.broken_models[-1])
            (self.broken_models[-1] / file).unlink()
            (self.broken_models[-1] / file).write_bytes(content)
        principle = records.Principle(id="p", writer="human", text="Be brief.", opposite="Be long.")
        records.write([principle], folder / "run/principles.jsonl")
        check = records.Check(measure="words", best=5, worst=20)
        checked = principle.model_copy(update={"check": check})
        records.write([checked], folder / "run/checked-principles.jsonl")
        records.write(STEERED, folder / "run/steering.jsonl")
        heard = records.Screened(id="p", text="Be brief.", opposite="Be long.", bounds={"q0": 0.5, "q1": 0.6},
                                 bound=0.55, low=0.5, high=0.6, principle_recognised=1.0, opposite_recognised=1.0,
                                 fate="kept")  # fmt: skip
        records.write([heard], folder / "run/screened.jsonl")
        for name, responses in zip(("base", "policy"), run["responses"], strict=True):
            told = recognised_of(records.read(records.Example, responses))
            records.write(told, folder / f"run/{name}-recognised.jsonl")
        released = {key: {"0": f"{key} 1?"} for key in ("constitution", "question", "response")}
        (folder / "run/released.json").write_text(json.dumps(released))
        for name in ("bad", "out"):
            (folder / name).mkdir()
        for name, content in BAD.items():
            (folder / "bad" / name).write_bytes(content)
        (folder / "bad/folder").mkdir()
        queries, constitutions, verdicts = (run[key][0] for key in ("queries", "constitutions", "verdicts"))
        base, policy = run["responses"]
        texts = {"queries": queries, "constitutions": constitutions}
        prompts, engine = {"prompts": PROMPTS.model_dump_json()}, {"engine": json.dumps(ENGINE)}
        dataset = {"loader": "file", "path": str(folder / "held-out.jsonl"), "count": 1}
        Path(dataset["path"]).write_text('{"id": "h", "text": "held out"}\n')
        test = {**dataset, "path": str(folder / "test.jsonl")}
        Path(test["path"]).write_text('{"id": "n", "text": "never seen"}\n')
        evaluated = {**run, "evaluation": json.dumps(evaluation)}
        pages = {"tables": folder / "tables", "figures": folder / "figures", "title": "t"}
        by_id = (
            read_by_id(kind, file) for kind, file in ((records.Query, queries), (records.Constitution, constitutions))
        )
        made, _ = training_examples(records.read(records.Example, base), *by_id, PROMPTS, Filters(), "sami")
        records.write(made, folder / "run/examples.jsonl")
        trained = folder / "run/trained"
        trained.mkdir()
        (trained / "provenance.json").write_text('{"command": ["train"], "inputs": {}, "wall_seconds": 1}')
        preferred = [records.Preference(chosen=0, rejected=1, kind="contrast")]
        records.write([e.model_copy(update={"pairs": preferred}) for e in made], folder / "run/pairs.jsonl")
        shown = [
            {"query": query.text, "response": f"I do {query.id}."} for query in records.read(records.Query, queries)
        ]
        demonstrations = folder / "demonstrations.jsonl"
        demonstrations.write_text("".join(json.dumps(line) + "\n" for line in shown))
        held_out = folder / "run/held-out-queries.jsonl"
        records.write([records.Query(id="h", task="t", text="held out")], held_out)
        compared = [
            records.Comparison(query_id=f"q{n}", set_id="s", query="?", chosen="a", rejected="b", held_out=n > 2)
            for n in range(4)
        ]
        records.write(compared, folder / "run/comparisons.jsonl")
        told = [records.ScoredComparison(comparison=compared[-1], chosen=1.0, rejected=0.0)]
        records.write(told, folder / "run/scored.jsonl")
        with processes() as alone:
            reward_model = RewardModel.from_base(model, ["reward"], "float32", Engine(**ENGINE), 1, alone)
            reward_model.save(folder / "run/reward-model")
        self.given = {
            "build_comparisons": {"responses": base, **texts, "principles": folder / "run/checked-principles.jsonl",
                                  "reward": json.dumps(LEARNED), "policy": "iteration-0"},
            "build_constitutions": {"principles": folder / "run/principles.jsonl",
                                    "settings": settings.constitutions.model_copy(update={"statements": 1})},
            "build_ditto_examples": {"demonstrations": demonstrations, "responses": [base], "policies": ["iteration-0"],
                                     **texts, **prompts, "filters": "{}", "template": "{query}", "shares": "{}"},
            "build_ditto_queries": {"demonstrations": demonstrations, "held-out": held_out, "task": "t"},
            "build_queries": {"train-dataset": json.dumps({**dataset, "path": queries}), "eval-count": 1, "task": "t",
                              "eval-dataset": json.dumps(dataset)},
            "build_report": {key: value for key, value in (evaluated | pages).items()
                             if key not in ("information", "training")}
                            | {"tables": [folder / "tables"], "figures": [folder / "figures"]},
            "build_rlcd_examples": {"responses": base, **texts, **prompts, "filters": "{}", "template": "{query}",
                                    "method": '{"name": "rlcd"}', "policy": "iteration-0"},
            "build_sami_examples": {"responses": base, **texts, **prompts, "filters": "{}", "objective": "sami",
                                    "policy": "iteration-0", "relevance": folder / "run/relevance.jsonl",
                                    "relevant": '{"others": 1, "least_margin": 0.5}'},
            "build_rest_examples": {"responses": base, "rewards": folder / "run/rewards.jsonl", **texts, **prompts,
                                    "filters": "{}", "template": "{query}", "policy": "iteration-0", "iteration": 1,
                                    "threshold": 0.5, "cap": 1},
            "build_salmon_examples": {"responses": base, "rewards": folder / "run/rewards.jsonl", **texts, **prompts,
                                      "filters": "{}", "template": "{query}", "policy": "iteration-0"},
            "build_sft_examples": {"responses": base, "queries": queries, "constitutions": [constitutions], **prompts,
                                   "filters": "{}", "template": "{query}", "policy": "iteration-0"},
            "build_steerlm_examples": {"responses": base, "labels": folder / "run/labels.jsonl", **texts, **prompts,
                                       "filters": "{}", "template": "{query} {attributes}", "policy": "iteration-0",
                                       "method": '{"name": "steerlm"}'},
            "build_test_queries": {"test-dataset": json.dumps(test), "test-count": 1, "task": "t",
                                   "eval-dataset": json.dumps(dataset), "train": queries},
            "choose_best": {"candidates": folder / "run/candidates.jsonl", **texts, "policy": "iteration-0",
                            "rewards": folder / "run/candidate-rewards.jsonl", "count": 2},
            "combine_verdicts": {"members": [verdicts], "judge-name": "panel"},
            "compare_experiments": {"experiments": ["a", "b"], "tables": [folder / "tables"] * 2,
                                    **{flag: [file] * 2 for flag, file in texts.items()}, "judged": ["a", "b"],
                                    "verdicts": [verdicts] * 2, "samples": 200, "confidence": 0.95},
            "compare_methods": {"experiments": ["a", "b"], "methods": ["sami", "sft"], "seeds": [1],
                                "questions": ["steerability", "internalising"], "tables": [folder / "tables"] * 2,
                                "queries": [queries] * 2, "models": [trained] * 2, "samples": 200, "confidence": 0.95},
            "score_responses": {"model": model, "base-model": model, "responses": policy, "base-responses": base,
                                     **texts, **prompts, **engine, "policy": "iteration-1", "base": "iteration-0"},
            "score_relevance": {"model": model, "responses": policy, **texts, **prompts, **engine, "others": 1,
                                "policy": "iteration-1", "scorer": "m"},
            "score_reference": {"model": model, "pairs": folder / "run/pairs.jsonl", **engine, "precision": "float32"},
            "fetch_responses": {"address": "http://127.0.0.1:1/x.json"},
            "import_queries": {"released": folder / "run/released.json", "count": 1, "task": "t"},
            "import_responses": {"given": policy, "asked": base, "texts": [queries, constitutions], **texts,
                                 "policy": "x"},
            "join_seeds": {"seeds": [1], "queries": queries, "tables": folder / "tables",
                           "evaluation": json.dumps(EVALUATION)},
            "judge_responses": {"responses": policy, "comparator-responses": base, **texts,
                                "judge": '{"kind": "checks"}', "judge-name": "checks"},
            "judge_by_reward_model": {"responses": policy, "comparator-responses": base, **texts, **engine,
                                      "judge": '{"kind": "learned"}', "judge-name": "j", "reward": json.dumps(LEARNED),
                                      "reward-model": folder / "run/reward-model", "base": model},
            "judge_by_identification": {"responses": policy, "comparator-responses": base, **texts, "judge-name": "j",
                                        "judge": '{"kind": "identification", "model": "m"}',
                                        "recognised": folder / "run/policy-recognised.jsonl",
                                        "comparator-recognised": folder / "run/base-recognised.jsonl"},
            "score_identification": {"model": model, "responses": policy, **texts, **prompts, **engine,
                                     "policy": "iteration-1", "scorer": "m"},
            "tabulate_identification": {"judges": ["j"], "policies": ["iteration-0"], "samples": 200,
                                        "recognised": [folder / "run/base-recognised.jsonl"], "confidence": 0.95},
            "label_responses": {"responses": base, **texts, "principles": folder / "run/checked-principles.jsonl",
                                "method": '{"name": "steerlm"}', "policy": "iteration-0"},
            "predict_labels": {"attribute-model": model, "base": model, "responses": base, **texts, **engine,
                               "method": ATTRIBUTE_MODEL, "policy": "iteration-0"},
            "measure_reward_model": {"scored": folder / "run/scored.jsonl", "samples": 200, "confidence": 0.95},
            "plan": {"files": [ROOT / "config/config.yaml"], "experiments": ["quickstart"],
                     "command-line": CATALOGUES},
            "plot_figures": pages | {"figures": ["win_rate"]},
            "prepare_model": {"name": "m", "model": '{"source": "path", "path": "nowhere"}'},
            "sample_responses": {"model": model, **texts, **prompts, "sampling": settings.sampling,
                                 "policy": "iteration-0", "count": 1},
            "sample_steering": {"model": model, "queries": queries, "labels": folder / "run/labels.jsonl", **prompts,
                                "principles": folder / "run/checked-principles.jsonl",
                                "method": '{"name": "steerlm"}', "template": "{query} {attributes}",
                                "sampling": settings.sampling, "policy": "iteration-0"},
            "share_results": {"original": base},
            "score_rewards": {"responses": base, **texts, "policy": "iteration-0", "reward": "both",
                              "relevance": folder / "run/relevance.jsonl", "rewards": json.dumps(REWARDS),
                              "judges": json.dumps({"checks": {"kind": "checks"}}), "limits": "{}"},
            "screen_principles": {"model": model, "principles": folder / "run/principles.jsonl", "responses": base,
                                  **texts, **prompts, **engine, "policy": "iteration-0", "most-overlap": 0.5,
                                  "samples": 200, "confidence": 0.95},
            "select_principles": {"principles": folder / "run/principles.jsonl",
                                  "screened": folder / "run/screened.jsonl", "keep": 1},
            "serve_model": {"model": model, "server": folder / "out/server.json", "server-log": folder / "out/log"},
            "tabulate": evaluated,
            "tabulate_labels": {"responses": base, **texts, "labels": folder / "run/labels.jsonl",
                                "principles": folder / "run/checked-principles.jsonl", "method": ATTRIBUTE_MODEL,
                                "policy": "iteration-0", "samples": 200, "confidence": 0.95},
            "train_attribute_model": {"model": model, "responses": base, **texts, **engine, "precision": "float32",
                                      "principles": folder / "run/checked-principles.jsonl",
                                      "method": ATTRIBUTE_MODEL, "policy": "iteration-0",
                                      "checkpoints": folder / "out/checkpoints"},
            "tabulate_screening": {"screened": folder / "run/screened.jsonl"},
            "tabulate_steering": {"policies": ["iteration-0"], "steered": [folder / "run/steering.jsonl"],
                                  "samples": 200, "confidence": 0.95},
            "train_reward_model": {"model": model, "comparisons": folder / "run/comparisons.jsonl", **engine,
                                   "reward": json.dumps(LEARNED), "precision": "float32",
                                   "checkpoints": folder / "out/checkpoints"},
            "train": {"start": model, "reference": model, "examples": folder / "run/examples.jsonl", **engine,
                      "training": json.dumps({**TRAINING, "kl_weight": 0.1}), "run-name": "r",
                      "tensorboard": folder / "out/events", "checkpoints": folder / "out/checkpoints"},
            "write_principles": {"principles": ROOT / "config/constitutions/everyday.yaml",
                                 "writer": '{"kind": "human"}', "writer-name": "human"},
        }  # fmt: skip

    def arguments(self, name: str, stage: Stage) -> dict:
        """Flag -> sound value, outputs included."""
        flags = flags_of(stage)
        outputs = {flags[output]: self.folder / "out" / name / output for output in stage.outputs}
        return {**self.given[name], **({"seed": 1} if "seed" in flags else {}), **outputs}


def labels_of(examples: list[records.Example]) -> list[records.Label]:
    """Labels of all responses: of the first to a query the value 0, of the second 1."""
    return [
        records.Label(query_id=e.query_id, set_id=e.set_id, number=number, policy=e.policy, values={"p": number})
        for e in examples
        for number in range(len(e.responses))
    ]


def relevance_of(examples: list[records.Example]) -> list[records.Relevance]:
    """Relevance of all responses, each of which belongs to its query."""
    told = {"scorer": "m", "candidates": ["a", "b"], "with_constitution": [-1.0, -9.0], "tokens": 4}
    return [
        records.Relevance(
            query_id=example.query_id,
            set_id=example.set_id,
            number=number,
            policy=example.policy,
            alone=[-1.0 - number, -9.0],
            **told,
        )
        for example in examples
        for number in range(len(example.responses))
    ]


def rewards_of(examples: list[records.Example]) -> list[records.Reward]:
    """Rewards of all responses: 1 for the first to a query, 0 for the others."""
    return [
        records.Reward(query_id=e.query_id, set_id=e.set_id, number=number, policy=e.policy, reward=float(number == 0))
        for e in examples
        for number in range(len(e.responses))
    ]


def flags_of(stage: Stage) -> dict[str, str]:
    """Name of an argument in the stage -> its flag, without the dashes."""
    return {action.dest: action.option_strings[0].removeprefix("--") for action in stage.parser._actions}


def stage_of(name: str) -> Stage:
    """The stage as its module builds it."""
    built = []
    with mock.patch.object(Stage, "run", lambda stage, *arguments, **options: built.append(stage)):
        runpy.run_module(f"sami.stages.{name}", run_name="__main__")
    return built[0]


def words(values: dict) -> list[str]:
    """The command line of a stage."""
    line = [sys.argv[0]]
    for flag, value in values.items():
        line.append(f"--{flag}")
        for each in value if isinstance(value, list) else [value]:
            line.append(each.model_dump_json() if isinstance(each, BaseModel) else str(each))
    return line


def run(name: str, values: dict, capsys, caplog) -> tuple[int, str]:
    """Exit status of a stage, and all that it told."""
    caplog.clear()
    status = 0
    with mock.patch.object(sys, "argv", words(values)):
        try:
            runpy.run_module(f"sami.stages.{name}", run_name="__main__")
        except SystemExit as ended:
            status = ended.code
    printed = capsys.readouterr()
    return status, caplog.text + printed.err


def alike(path: Path, sound):
    """The path, as often as there are sound ones."""
    return [path] * len(sound) if isinstance(sound, list) else path


def of_another_run(stages: Stages, sound):
    """The file of another run in place of the first sound one; None where that has none."""
    path = Path(sound[0] if isinstance(sound, list) else sound)
    if not path.is_relative_to(stages.folder / "run") or path.name == "training.jsonl":
        return None
    other = stages.folder / "other" / path.relative_to(stages.folder / "run")
    return [other, *sound[1:]] if isinstance(sound, list) else other


@pytest.fixture(scope="module")
def stages(tmp_path_factory, tiny) -> Stages:
    return Stages(tmp_path_factory.mktemp("stages"), tiny)


@pytest.fixture(scope="module")
def pages(stages):
    """The tables and figures of the small experiment, as the stages make them."""
    for name, output in (("tabulate", "tables"), ("plot_figures", "figures")):
        arguments = stages.arguments(name, stage_of(name)) | {"output": stages.folder / output}
        with mock.patch.object(sys, "argv", words(arguments)):
            runpy.run_module(f"sami.stages.{name}", run_name="__main__")


@pytest.mark.parametrize("name", STAGES)
def test_bad_input_is_one_message(name, stages, pages, capsys, caplog):
    caplog.set_level(logging.INFO)
    stage, bad = stage_of(name), stages.folder / "bad"
    flags, sound = flags_of(stage), stages.arguments(name, stage)
    if name in SOUND:
        assert run(name, sound, capsys, caplog)[0] == 0
    trials = []  # (what is replaced by what, what the message must name)
    for flag in [flags[dest] for dest in stage.inputs if flags[dest] in sound]:
        kinds = ["folder", "missing", "page"] if flag in FOLDERS else ["folder", "missing", *BAD]
        for kind in kinds if flag not in COPIED else ["folder", "missing"]:
            if (flag, kind) != ("figures", "folder"):  # a page without figures is one, too
                trials.append(({flag: alike(bad / kind, sound[flag])}, (kind,)))
        if flag in ("model", "start", "reference", "base-model"):
            broken = stages.broken_models[-1:] if name == "serve_model" else stages.broken_models  # it takes its time
            trials += [({flag: folder}, (folder.name,)) for folder in broken]
        if name in JOINING and (other := of_another_run(stages, sound[flag])):
            trials.append(({flag: other}, (Path(other[0] if isinstance(other, list) else other).name, f"--{flag}")))
    for flag in [flags[dest] for dest in stage.settings if flags[dest] in sound]:
        trials += [({flag: text}, (f"--{flag}",)) for text in BAD_JSON]
    trials += MORE.get(name, [])
    for output in stage.outputs:
        trials.append(({flags[output]: bad / "empty" / "x"}, ("bad/empty",)))
    wrong = []
    for changed, named in trials:
        status, told = run(name, {**sound, **changed}, capsys, caplog)
        one_message = "error: " in told and any(n in told for n in named)
        if status in (0, None) or "Traceback" in told or "bug of ours" in told or not one_message:
            wrong.append(f"{changed} [{status}]: {told[-1500:]}")
    assert not wrong, f"{len(wrong)} of {len(trials)}\n" + "\n\n".join(wrong)
