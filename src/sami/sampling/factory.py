"""The sampler that the settings name, with a prepared model."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from sami.errors import UserError
from sami.sampling.sampler import Sampler


def open_sampler(name: str, folder: Path, tokenizer: Any, longest: int, tensor_parallel: int = 1) -> Sampler:
    """Loads a prepared model.

    Args:
        name: `sampling.sampler` of the settings.
        longest: most tokens that a prompt and its response will have together.
        tensor_parallel: number of GPUs that share the model (vLLM only).

    Raises:
        UserError: the library or the GPUs are missing, or the model does not fit.
    """
    if name == "transformers":
        from sami.sampling.transformers_sampler import TransformersSampler

        return TransformersSampler(folder, tokenizer)
    if not importlib.util.find_spec("vllm"):
        raise UserError(
            "sampling.sampler: the package vllm is not installed. pip install vllm, or set it to transformers."
        )
    # Read when vLLM is imported. With the scheduler in this process, what shares a batch does not depend on the
    # machine's moods, so a rerun rounds alike; and its errors come to us.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # otherwise it tells its makers what it runs on
    from sami.sampling.vllm_sampler import VllmSampler

    return VllmSampler(folder, tokenizer, longest, tensor_parallel)
