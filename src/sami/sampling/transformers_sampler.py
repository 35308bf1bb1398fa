"""Sampling with the transformers library: batched, sorted by length, and reproducible response by response.

Every response draws from a random stream of its own, named by its key. So what is sampled does not depend on which
other prompts happen to share the batch, beyond the rounding of floating-point sums.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from sami.models import pretrained
from sami.progress import Progress
from sami.sampling.completion import Completion, completion
from sami.sampling.sampler import Request
from sami.settings.sampling import Sampling


class InverseTransform(LogitsProcessor):
    """Draws each row's next token by inverting its cumulative distribution at a given uniform number.

    The library's own sampling draws a random number for every entry of the vocabulary, which takes a fifth of the
    time of a small model on a CPU, and from one stream for the whole batch.

    Args:
        uniforms: (B, T) numbers in [0, 1), one for each row and step.
        prompt_length: tokens before the first sampled one.
        temperature: above 0.
        top_p: mass of the most likely tokens that are kept.
    """

    def __init__(self, uniforms: torch.Tensor, prompt_length: int, temperature: float, top_p: float):
        self.uniforms, self.prompt_length = uniforms, prompt_length
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Returns scores (B, V) whose only maximum is the drawn token."""
        probabilities = torch.softmax(scores.float() / self.temperature, dim=-1)
        if self.top_p < 1:
            ordered, _ = probabilities.sort(dim=-1, descending=True)
            above = ordered.cumsum(-1) - ordered < self.top_p  # the token that crosses the limit is kept
            threshold = torch.where(above, ordered, torch.inf).amin(-1, keepdim=True)
            probabilities = torch.where(probabilities >= threshold, probabilities, 0)
        cumulative = probabilities.cumsum(-1)
        step = input_ids.shape[1] - self.prompt_length
        point = self.uniforms[:, step, None] * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, point, right=True).clamp_(max=scores.shape[-1] - 1)
        # The library annotates tensors by the names of old constructors, which no function of torch returns.
        return torch.full_like(scores, -1.0).scatter_(1, drawn, 1.0)  # type: ignore[return-value]


def uniforms(keys: list[str], steps: int) -> torch.Tensor:
    """(B, steps) uniform numbers; row b is the stream named by keys[b]."""
    rows = (np.random.default_rng(list(sha256(key.encode()).digest())).random(steps) for key in keys)
    return torch.tensor(np.stack(list(rows)), dtype=torch.float32).clamp_(max=1 - 2**-24)


class TransformersSampler:
    """A prepared model in memory, on the GPU if there is one."""

    def __init__(self, folder: Path, tokenizer: Any):
        self.model: Any = pretrained.load(folder)  # whose class has `generate` from a mixin
        self.tokenizer = tokenizer
        self.ends = pretrained.end_tokens(folder, tokenizer)

    @torch.inference_mode()
    def generate(self, requests: list[Request], sampling: Sampling, stop: list[str]) -> list[Completion]:
        """See `Sampler`.

        Long prompts go first, so that the largest batch shows at once whether memory suffices, and prompts in a batch
        have similar lengths.
        """
        completions: dict[int, Completion] = {}
        by_length = sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt))
        with Progress(len(requests), "sampling", "responses") as progress:
            for start in range(0, len(requests), sampling.batch_size):
                indices = by_length[start : start + sampling.batch_size]
                batch = self._generate_batch([requests[i] for i in indices], sampling, stop)
                completions.update(zip(indices, batch, strict=True))
                progress.update(len(indices))
        return [completions[i] for i in range(len(requests))]

    def _generate_batch(self, requests: list[Request], sampling: Sampling, stop: list[str]) -> list[Completion]:
        model, tokenizer = self.model, self.tokenizer
        inputs = tokenizer.pad({"input_ids": [r.prompt for r in requests]}, return_tensors="pt").to(model.device)
        prompt_length = inputs["input_ids"].shape[1]
        options: dict[str, Any] = {"stop_strings": stop, "tokenizer": tokenizer} if stop else {}
        if sampling.temperature > 0:
            points = uniforms([r.key for r in requests], sampling.max_new_tokens).to(model.device)
            draw = InverseTransform(points, prompt_length, sampling.temperature, sampling.top_p)
            options["logits_processor"] = LogitsProcessorList([draw])
        output = model.generate(
            **inputs,
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,  # InverseTransform has drawn already; without it, this is greedy decoding
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=self.ends,
            cache_implementation="static",  # a growing cache is copied at every step
            disable_compile=True,
            **options,
        )
        return [completion(tokens, tokenizer, self.ends, stop) for tokens in output[:, prompt_length:].tolist()]
