"""Sharding: what a process holds, and whether the losses stay the same, against one process that holds everything.

    torchrun --nproc-per-node 2 benchmarks/sharding.py [--steps N]

Trains SmolLM2-135M for a few RMSprop steps on random queries, sharded over the processes of this run, and then the same
in a single process. The figures are bytes of parameters and of optimiser state that a process holds between steps, the
largest over all steps and processes. While it computes, a process also gathers the embeddings (which serve as the head)
and one or two layers at a time; that is printed beside.
"""

import argparse
import json
import logging
import os
import random
import subprocess
import sys

import common
import torch
from torch.distributed.tensor import DTensor

from sami.distributed.processes import processes
from sami.distributed.sharding import decoder_layers
from sami.records import TrainingExample, TrainingResponse
from sami.scoring.layout import Item
from sami.scoring.load import load_scorer
from sami.settings.training import Engine, Training
from sami.settings.yaml_files import read_yaml
from sami.training import loop
from sami.training.policy import PolicyLearner

DEFAULTS = read_yaml(common.ROOT / "config/config.yaml").data["defaults"]
SMALL = {"learning_rate": 1e-6, "warmup_steps": 0, "queries_per_step": 2, "max_loss": 100.0}
TRAINING = Training(**{**DEFAULTS["training"], **SMALL})
ENGINE = Engine(**{**DEFAULTS["engine"], "scoring": "shared", "trackers": []})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="optimiser steps (default: 4)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure(arguments.steps)))
        return
    found = measure(arguments.steps)
    if int(os.environ.get("RANK", 0)) > 0:
        return
    if found["processes"] == 1:
        sys.exit("error: nothing is sharded in one process; run torchrun --nproc-per-node 2 benchmarks/sharding.py")
    environment = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK")}
    command = [sys.executable, __file__, "--alone", "--steps", str(arguments.steps)]
    one = json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(common.machine())
    print(f"baseline: the same {arguments.steps} steps in one process\n")
    rows = [[d["processes"], d["held"], d["gathered"], *map(repr, d["losses"])] for d in (one, found)]
    print(
        common.table(["processes", "bytes held", "gathered", *(f"loss {i + 1}" for i in range(arguments.steps))], rows)
    )
    difference = max(abs(a - b) for a, b in zip(one["losses"], found["losses"], strict=True))
    print(f"\nsharded_parameters={found['sharded']}")
    print(f"largest_loss_difference={difference:.1e}")
    print(f"bytes_ratio_with_gathered={(found['held'] + found['gathered']) / one['held']:.3f}")
    print(f"bytes_ratio={found['held'] / one['held']:.3f}")


def measure(steps: int) -> dict:
    """Trains in the processes of this run; bytes are the largest of any of them."""
    logging.disable()
    draw = random.Random(0)
    tokens = lambda n: [draw.randrange(49_000) for _ in range(n)]  # noqa: E731
    items = [
        Item(str(i), [tokens(60), tokens(60)], [tokens(20), tokens(24)], [0, 1])
        for i in range(steps * TRAINING.queries_per_step)
    ]
    examples = [
        TrainingExample(
            query_id=item.name,
            prompts=["of tokens", "of tokens"],
            responses=[TrainingResponse(text="of tokens", ended=True, source="iteration-0")] * 2,
            labels=item.labels,
        )
        for item in items
    ]
    with processes() as group:
        if group.main:
            common.model_folder()  # prepared once, by one of them
        group.wait()
        scorer = load_scorer(common.model_folder(), group, "float32", "shared")
        optimizers, losses, held = [], [], []
        make = loop.make_optimizer  # the loop keeps its optimiser to itself; its state is half of what is measured
        loop.make_optimizer = lambda *a: optimizers.append(make(*a)) or optimizers[-1]

        def on_step(metrics: dict) -> None:
            losses.append(metrics["loss"])
            state = [value for entry in optimizers[0].state.values() for value in entry.values()]
            held.append(sum(map(local_bytes, [*scorer.model.parameters(), *state])))

        loop.train(PolicyLearner(scorer, items, examples, TRAINING), TRAINING, ENGINE, 1, group, on_step)
        parameters = list(scorer.model.parameters())
        sharded = [isinstance(p, DTensor) and p.placements[0].is_shard() for p in parameters]
        layer = sum(p.numel() * p.element_size() for p in decoder_layers(scorer.model)[0].parameters())
        root = sum(p.numel() * p.element_size() for p in parameters) - layer * len(decoder_layers(scorer.model))
        return {
            "processes": group.size,
            "held": max(group.everyone(max(held))),
            "gathered": root + 2 * layer if any(sharded) else 0,
            "sharded": f"{sum(sharded)}/{len(sharded)}",
            "losses": losses,
        }


def local_bytes(value) -> int:
    """Bytes of what this process holds of a tensor."""
    if not isinstance(value, torch.Tensor):
        return 0
    local = value.to_local() if isinstance(value, DTensor) else value
    return local.numel() * local.element_size()


if __name__ == "__main__":
    main()
