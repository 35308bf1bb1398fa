"""Speed of training steps and of sampling, with random weights in the shapes of models of 135M, 1B and 7B.

A step is one pass of the loop over queries with two prompts of 400 tokens and two responses of 60, the update included.
`ratio` is to the naive matrix: four padded sequences a query with logits of the whole vocabulary at every position, by
the same model and its usual attention, four queries a pass, without an update.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu_parts import made
from gpu_parts.cases import Case, Outcome, Place
from gpu_parts.training import engine, settings
from sami.distributed.processes import processes
from sami.models import pretrained
from sami.objectives import sami
from sami.sampling.factory import open_sampler
from sami.sampling.sampler import Request
from sami.scoring.layout import Item
from sami.scoring.load import as_scorer
from sami.scoring.scorer import Scorer
from sami.scoring.sequences import padded
from sami.settings.sampling import Sampling
from sami.settings.training import Lora
from sami.training import adapters, loop
from sami.training.policy import PolicyLearner
from sami.training.throughput import peak_memory

SHAPES: dict[str, dict[str, Any]] = {  # of SmolLM2-135M, Llama 3.2 1B and Mistral 7B
    "135M": {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49_152, "tie_word_embeddings": True,
    },
    "1B": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128_256, "tie_word_embeddings": True,
    },
    "7B": {
        "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 32_000, "tie_word_embeddings": False,
    },
}  # fmt: skip
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 300}  # fmt: skip
STEPS = 6
NAIVE_QUERIES, NAIVE_PASSES = 4, 2


@dataclass(frozen=True)
class Training:
    """How a shape is trained.

    held: bytes a weight of weights, gradients, optimiser and what an update needs beside them.
    """

    shape: str
    precision: str
    queries: int
    held: int
    checkpointing: str = "selective"
    lora: bool = False

    @property
    def name(self) -> str:
        return f"{self.shape}, {'LoRA' if self.lora else 'all weights'}, {self.precision}"


TRAININGS = (
    Training("135M", "mixed", 16, held=18),
    Training("1B", "mixed", 16, held=18),
    Training("7B", "bfloat16", 8, held=2, checkpointing="full", lora=True),
    Training("7B", "bfloat16", 8, held=10, checkpointing="full"),
)
BESIDE = 16 << 30  # bytes of activations and logits


def cases(place: Place) -> list[Case]:
    trained = [Case(training.name, partial(_train, training, place)) for training in TRAININGS]
    return [*trained, Case("135M, sampling, bfloat16", partial(_sample, place))]


def _train(training: Training, place: Place) -> Outcome:
    sizes = SHAPES[training.shape] | place.pick({}, TINY)
    if place.device.type == "cuda":
        needed = training.held * _parameters(sizes) + BESIDE
        free, _ = torch.cuda.mem_get_info(place.device)
        if needed > free:
            return Outcome(note=f"left out: it needs about {needed / 2**30:.0f} GiB, and {free / 2**30:.0f} are free")
        torch.cuda.reset_peak_memory_stats(place.device)
    dtype = torch.float32 if training.precision == "mixed" else torch.bfloat16
    model = made.drawn("llama", sizes, dtype, place.device)
    if training.lora:
        model = adapters.Adapters(Lora(rank=16, alpha=32)).insert(model)
    queries = place.pick(training.queries, 2)
    steps = place.pick(STEPS, 2)
    items = made.items(queries * steps, 2, place.pick(400, 24), place.pick(60, 6), sizes["vocab_size"])
    how = settings(precision=training.precision, learning_rate=1e-6, queries_per_step=queries, epochs=1)
    with processes() as group:
        scorer = as_scorer(model, group, training.precision, "shared", training.checkpointing)
        metrics: list[dict] = []
        learner = PolicyLearner(scorer, items, made.examples(items), how)
        loop.train(learner, how, engine(tokens_per_pass=1 << 20), 1, group, metrics.append)
        later = metrics[1:]  # the first one compiles
        median = lambda name: statistics.median(step[name] for step in later)  # noqa: E731
        figures = {
            "tokens_per_second": median("tokens_per_second"),
            "utilisation": median("flop_utilisation"),
            "peak_gib": later[-1]["peak_memory_gib"],
        }
        return _against_naive(figures, median("seconds") / queries, scorer, items, place)


def _against_naive(figures: dict, seconds: float, scorer: Scorer, items: list[Item], place: Place) -> Outcome:
    """The figures with those of the naive matrix. seconds: of a query, ours."""
    if place.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(place.device)
    try:
        naive = _naive(scorer, items[:NAIVE_QUERIES], place)
    except torch.OutOfMemoryError:
        return Outcome(figures=figures, note="the naive matrix does not fit")
    return Outcome(figures=figures | {"ratio": naive / seconds, "naive_gib": peak_memory(place.device) / 2**30})


def _naive(scorer: Scorer, items: list[Item], place: Place) -> float:
    """Seconds of a query, in the best of a few passes after the first."""
    labels = torch.tensor([item.labels for item in items], device=place.device)
    layout = padded(items)

    def run() -> None:
        sami(scorer(layout, library_logits=True).mean, labels).loss.mean().backward()
        scorer.zero_grad()

    run()
    return min(_seconds(run, place) for _ in range(NAIVE_PASSES)) / len(items)


def _sample(place: Place) -> Outcome:
    """Tokens a second of 64 prompts of 128 tokens, with 128 drawn after each."""
    sizes = SHAPES["135M"] | place.pick({}, TINY)
    del sizes["vocab_size"]  # is the tokenizer's
    with tempfile.TemporaryDirectory() as parent:
        folder = made.folder("llama", sizes, Path(parent), "bfloat16")
        tokenizer = pretrained.load_tokenizer(folder)
        count, length = place.pick(64, 4), place.pick(128, 8)
        sampler = open_sampler("transformers", folder, tokenizer, 2 * length)
        prompts = made.items(count, 1, length, 4, 256)
        requests = [Request(item.prompts[0], item.name) for item in prompts]
        how = Sampling(temperature=1.0, max_new_tokens=length, batch_size=count)
        sampler.generate(requests[:2], how.model_copy(update={"max_new_tokens": 4}), [])
        drawn: list = []
        seconds = _seconds(lambda: drawn.extend(sampler.generate(requests, how, [])), place)
        return Outcome(figures={"tokens_per_second": sum(len(one.token_ids) for one in drawn) / seconds})


def _parameters(sizes: dict[str, Any]) -> int:
    model = made.drawn("llama", sizes, torch.bfloat16, torch.device("meta"))
    return sum(parameter.numel() for parameter in model.parameters())


def _seconds(run: Callable[[], Any], place: Place) -> float:
    wait = torch.cuda.synchronize if place.device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - started
