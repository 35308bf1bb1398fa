"""Sampling with vLLM: batches that never wait for their longest response, and shared beginnings computed once.

`sami.sampling.factory` sets what vLLM reads from the environment when it is imported, before it imports this.
What is called here was checked against the source of vLLM 0.33.0; docs/environments.md says with what it was run.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from vllm import LLM, SamplingParams
from vllm.platforms import current_platform

from sami.errors import UserError
from sami.models import pretrained, weight_files
from sami.models.engine_limits import VLLM_SHARE
from sami.models.folders import check_tensor_parallel, specification
from sami.progress import Progress
from sami.sampling.completion import Completion, completion
from sami.sampling.sampler import Request
from sami.settings.sampling import Sampling

# For weights, activations and cache: of each GPU; of the main memory, which others use too, where vLLM was built for
# processors.
MEMORY_SHARE = 0.3 if current_platform.is_cpu() else VLLM_SHARE


class VllmSampler:
    """A prepared model on one GPU or several. See `sami.sampling.factory`."""

    def __init__(self, folder: Path, tokenizer: Any, longest: int, tensor_parallel: int):
        self.tokenizer, self.ends = tokenizer, pretrained.end_tokens(folder, tokenizer)
        check_tensor_parallel(folder, tensor_parallel)
        _check_gpus(folder, tensor_parallel)
        # That files are whole; vLLM itself refuses a model of which weights are missing.
        weight_files.headers(weight_files.weights_of(folder))
        told = specification(folder)
        try:
            self.engine = LLM(
                str(folder),
                # A folder may hold the same model in Mistral's own format, too.
                config_format="hf",
                tokenizer_mode="hf",
                load_format="safetensors",
                generation_config="vllm",  # no defaults of the model's authors
                dtype=told["dtype"],
                trust_remote_code=told["trust_remote_code"],
                tensor_parallel_size=tensor_parallel,
                gpu_memory_utilization=MEMORY_SHARE,
                max_model_len=longest,
                enable_prefix_caching=True,
            )
        except (ValueError, torch.OutOfMemoryError) as error:
            raise UserError(
                f"{folder}: vLLM cannot run this model with engine.tensor_parallel = {tensor_parallel}: "
                f"{' '.join(str(error).split())} Raise engine.tensor_parallel, take GPUs that nobody else uses, lower "
                "sampling.max_new_tokens, or set sampling.sampler to transformers."
            ) from error

    def generate(self, requests: list[Request], sampling: Sampling, stop: list[str]) -> list[Completion]:
        """See `Sampler`. Prompts that begin alike best follow one another, so that their beginning is still at hand."""
        if not requests:
            return []
        self.engine.enqueue(
            [{"prompt_token_ids": request.prompt} for request in requests],
            [self._parameters(request, sampling, stop) for request in requests],
            use_tqdm=False,
        )
        engine, drawn = self.engine.llm_engine, {}
        with Progress(len(requests), "sampling", "responses") as progress:
            while engine.has_unfinished_requests():
                for output in filter(lambda output: output.finished, engine.step()):
                    drawn[int(output.request_id)] = list(output.outputs[0].token_ids)
                    progress.update()
        return [completion(drawn[number], self.tokenizer, self.ends, stop) for number in sorted(drawn)]

    def _parameters(self, request: Request, sampling: Sampling, stop: list[str]) -> SamplingParams:
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=seed(request.key),
            max_tokens=sampling.max_new_tokens,
            stop=stop,
            detokenize=bool(stop),  # else there is nothing to look for in the text
            # The same end tokens as with the other sampler, and none that vLLM would find by itself.
            ignore_eos=True,
            stop_token_ids=self.ends,
        )


def seed(key: str) -> int:
    """The seed (63 bits) of the random stream with this name."""
    return int.from_bytes(sha256(key.encode()).digest()[:8]) >> 1


def _check_gpus(folder: Path, count: int) -> None:
    """Raises UserError where there are too few GPUs, or their memory is smaller than the weights."""
    if current_platform.is_cpu():  # vLLM's builds for processors
        return
    there = torch.cuda.device_count()
    if there < count:
        lower = f"Set it to {there}" if there else "Set the sampler to transformers"
        raise UserError(
            f"sampling.sampler is vllm, with engine.tensor_parallel = {count}: found {there or 'no'} GPUs on this "
            f"machine, expected at least {count}. {lower}, or ask for more (resources.sample.gpus on a cluster)."
        )
    size, memory = pretrained.size(folder), MEMORY_SHARE * current_platform.get_device_total_memory()
    if size > count * memory:
        raise UserError(
            f"{folder}: its weights take {size / 2**30:.1f} GiB, but vLLM has {memory / 2**30:.1f} GiB on each of "
            f"{count} GPUs. Raise engine.tensor_parallel, prepare the model in bfloat16 ('dtype' in the models file), "
            "or take larger GPUs."
        )
