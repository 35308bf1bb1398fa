"""Sampling by the library's own loop: a batch of padded prompts, each as long as its longest response.

It asks nothing of the architecture, so it serves what has no slots (`sami.sampling.slots`): recurrent layers, attention
of other kinds, and GPUs.
"""

from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from sami.progress import Progress
from sami.sampling.completion import Completion, completion
from sami.sampling.draws import draw, uniforms
from sami.sampling.sampler import Request
from sami.settings.sampling import Sampling


class InverseTransform(LogitsProcessor):
    """Draws each row's next token by inverting its cumulative distribution at a given uniform number.

    The library's own sampling draws a random number for every entry of the vocabulary, which takes a fifth of the
    time of a small model on a CPU, and from one stream for the whole batch.

    Args:
        uniforms: (B, T) numbers in [0, 1), one for each row and step.
        prompt_length: tokens before the first sampled one.
        sampling: temperature (above 0) and top_p.
    """

    def __init__(self, uniforms: torch.Tensor, prompt_length: int, sampling: Sampling):
        self.uniforms, self.prompt_length, self.sampling = uniforms, prompt_length, sampling

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Returns scores (B, V) whose only maximum is the drawn token."""
        drawn = draw(scores, self.uniforms[:, input_ids.shape[1] - self.prompt_length], self.sampling)
        # The library annotates tensors by the names of old constructors, which no function of torch returns.
        return torch.full_like(scores, -1.0).scatter_(1, drawn[:, None], 1.0)  # type: ignore[return-value]


@torch.inference_mode()
def generate(
    model: Any, tokenizer: Any, ends: list[int], requests: list[Request], sampling: Sampling, stop: list[str]
) -> list[Completion]:
    """See `sami.sampling.sampler.Sampler`.

    Long prompts go first, so that the largest batch shows at once whether memory suffices, and prompts in a batch
    have similar lengths.

    Args:
        ends: ids of the tokens that end a response.
    """
    completions: dict[int, Completion] = {}
    by_length = sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt))
    with Progress(len(requests), "sampling", "responses") as progress:
        for start in range(0, len(requests), sampling.batch_size):
            indices = by_length[start : start + sampling.batch_size]
            batch = _batch(model, tokenizer, ends, [requests[i] for i in indices], sampling, stop)
            completions.update(zip(indices, batch, strict=True))
            progress.update(len(indices))
    return [completions[i] for i in range(len(requests))]


def _batch(
    model: Any, tokenizer: Any, ends: list[int], requests: list[Request], sampling: Sampling, stop: list[str]
) -> list[Completion]:
    inputs = tokenizer.pad({"input_ids": [r.prompt for r in requests]}, return_tensors="pt").to(model.device)
    prompt_length = inputs["input_ids"].shape[1]
    options: dict[str, Any] = {"stop_strings": stop, "tokenizer": tokenizer} if stop else {}
    if sampling.temperature > 0:
        points = uniforms([r.key for r in requests], sampling.max_new_tokens).to(model.device)
        options["logits_processor"] = LogitsProcessorList([InverseTransform(points, prompt_length, sampling)])
    output = model.generate(
        **inputs,
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,  # InverseTransform has drawn already; without it, this is greedy decoding
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
        cache_implementation="static",  # a growing cache is copied at every step
        disable_compile=True,
        **options,
    )
    return [completion(tokens, tokenizer, ends, stop) for tokens in output[:, prompt_length:].tolist()]
