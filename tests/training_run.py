"""The files of one training job, and the stage `train` run on them as the workflow runs it."""

import json
import os
import random
import subprocess
from pathlib import Path

import warm
from conftest import ROOT

from sami import records
from sami.methods.sami import training_examples
from sami.settings.tasks import Filters, Prompts

TRAINING = {
    "objective": "sami",
    "start_from": "base",
    "precision": "float32",
    "lora": None,
    "normalisation": "mean",
    "score_end_token": False,
    "optimizer": "rmsprop",
    "learning_rate": 1e-4,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "queries_per_step": 4,
    "epochs": 2,
    "max_grad_norm": 1.0,
    "kl_weight": 0.0,
    "max_loss": None,
}
ENGINE = {
    "scoring": "auto",
    "tokens_per_pass": 4096,
    "activation_checkpointing": "none",
    "processes": 1,
    "checkpoint_steps": 1,
    "tokens_per_job": None,
    "trackers": ["tensorboard"],
}
PROMPTS = Prompts(
    style="plain",
    generation="{constitution}\n{query}\n",
    training="{constitution}\n{query}\n",
    without_constitution="{query}\n",
)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "slept", "until", "noon", "as", "rain", "fell", "all", "day"]


class TrainingRun:
    """A job with `count` queries of different lengths, two constitutions and two responses each."""

    def __init__(self, folder: Path, model: Path, count: int = 20):
        self.folder, self.model = folder, model
        folder.mkdir()
        draw = random.Random(1)
        words = lambda most: " ".join(draw.choices(WORDS, k=draw.randint(2, most)))  # noqa: E731
        queries = [records.Query(id=f"q{i}", task="t", text=words(25)) for i in range(count)]
        sides = [("p", True, "Answer briefly."), ("n", False, "Answer at length.")]
        constitutions = [
            records.Constitution(
                id=name,
                set_id="s",
                writer="human",
                statements=[records.Statement(principle="brief", wanted=wanted, text=text)],
            )
            for name, wanted, text in sides
        ]
        examples = [
            records.Example(
                query_id=query.id,
                set_id="s",
                constitution_ids=["p", "n"],
                order=[0],
                policy="iteration-0",
                responses=[
                    records.Response(text=words(6 + 9 * c), constitution=c, tokens=1, finish="end") for c in (0, 1)
                ],
            )
            for query in queries
        ]
        texts = {q.id: q for q in queries}, {c.id: c for c in constitutions}
        made, _ = training_examples(examples, *texts, PROMPTS, Filters(), "sami")
        files = {"queries": queries, "constitutions": constitutions, "responses": examples, "examples": made}
        for name, content in files.items():
            records.write(content, folder / f"{name}.jsonl")

    def command(self, training: dict | None = None, engine: dict | None = None, output: str = "model") -> list[str]:
        path = lambda name: str(self.folder / name)  # noqa: E731
        return [
            *warm.stage("train"), "--start", str(self.model), "--reference", str(self.model),
            "--examples", path("examples.jsonl"), "--training", json.dumps({**TRAINING, **(training or {})}),
            "--engine", json.dumps({**ENGINE, **(engine or {})}),
            "--seed", "1", "--run-name", "test", "--tensorboard", path(f"{output}-events"),
            "--checkpoints", path(f"{output}-checkpoints"), "--threads", "1",
            "--output", path(output), "--metrics", path(f"{output}.jsonl"),
        ]  # fmt: skip

    def start(self, *arguments, **options) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        return subprocess.Popen(
            self.command(*arguments, **options),
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments, expect: int = 0, **options) -> str:
        process = self.start(*arguments, **options)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == expect, printed
        return printed

    def steps(self, output: str = "model") -> list[dict]:
        return [json.loads(line) for line in (self.folder / f"{output}.jsonl").open()]

    def weights(self, output: str = "model") -> bytes:
        return b"".join(file.read_bytes() for file in sorted((self.folder / output).glob("*.safetensors")))
