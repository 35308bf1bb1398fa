"""What the benchmarks share: the model, one measured pass of this package, the machine and its matrix product rate.

Everything runs on the CPU, in float32, with as many threads as torch chooses.
"""

import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from sami.distributed.processes import Processes
from sami.objectives import sami
from sami.scoring.layout import Item
from sami.scoring.load import load_scorer
from sami.scoring.scorer import Scorer
from sami.settings.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[1]
NAME = "smollm2-135m-instruct"

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the figures are about the CPU; `sami.models.pretrained.load` would take a GPU
disable_progress_bar()


def model_folder() -> Path:
    """SmolLM2-135M-Instruct where the workflow keeps it; prepared as the workflow does it if it is not there yet."""
    folder = ROOT / "resources" / "models" / NAME
    if not folder.is_dir():
        entry = json.dumps(read_yaml(ROOT / "config/models.yaml").data[NAME])
        stage = [sys.executable, "-m", "sami.stages.prepare_model"]
        subprocess.run([*stage, "--name", NAME, "--model", entry, "--output", folder], check=True)
    return folder


def own_scorer(checkpointing: str = "selective") -> Scorer:
    """This package's scorer with the model, which must have selected the layout that the benchmarks are about."""
    alone = Processes(0, 1, torch.device("cpu"))
    scorer = load_scorer(model_folder(), alone, "float32", "auto", checkpointing)
    if scorer.layout_name != "shared":
        sys.exit(f"error: the scorer has selected '{scorer.layout_name}', but these benchmarks measure 'shared'.")
    return scorer


def our_pass(scorer: Scorer, items: list[Item]) -> tuple[float, torch.Tensor]:
    """Forward and backward pass of the SAMI loss by this package, all `items` in one pass.

    Returns:
        the loss, averaged over the items, and (Q, C, R) its gradient by the scores.
    """
    scores = scorer(scorer.layout(items)).mean
    scores.retain_grad()
    loss = sami(scores, torch.tensor([item.labels for item in items])).loss.mean()
    loss.backward()
    return loss.item(), scores.grad


def timed(model: PreTrainedModel, run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that `run` takes, and what it returns. Gradients of earlier passes are dropped first."""
    model.zero_grad()
    gc.collect()
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def matmul_rates(shapes: list[tuple[int, int, int]]) -> dict[tuple[int, int, int], float]:
    """Best rate in FLOP/s of the float32 product (m, k) x (k, n) seen just now, for each shape (m, k, n)."""
    rates = {}
    for m, k, n in shapes:
        inputs, weight, output = torch.rand(m, k), torch.rand(n, k), torch.empty(m, n)
        times = []
        while sum(times) < 0.3 or len(times) < 5:
            start = time.perf_counter()
            torch.mm(inputs, weight.t(), out=output)  # as a linear layer has it
            times.append(time.perf_counter() - start)
        rates[m, k, n] = 2 * m * k * n / min(times)
    return rates


def machine() -> str:
    """One line on the processor, memory and library, since none of the figures means anything without them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    widest = torch.backends.cpu.get_cpu_capability()
    return (
        f"machine: {processor} ({widest}), {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.1f} GiB, "
        f"load {os.getloadavg()[0]:.1f} before the start; torch {torch.__version__}, {torch.get_num_threads()} threads"
    )


def say(text: str = "") -> None:
    """Prints beside a progress bar."""
    with tqdm.external_write_mode(sys.stdout):
        print(text, flush=True)


def table(header: list[str], rows: list[list[Any]]) -> str:
    """Right-aligned columns; floats with three decimals."""
    cells = [header] + [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)
