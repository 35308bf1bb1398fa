"""Responses of the sampler against the library's `generate`, one prompt at a time, and against themselves by key.

In float32. Sums are rounded otherwise in a batch, and two tokens can be so near to each other that this decides; that
may happen to one response in sixteen.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu_parts import made
from gpu_parts.cases import Case, Outcome, Place
from sami.models import pretrained
from sami.sampling.completion import completion
from sami.sampling.factory import open_sampler
from sami.sampling.sampler import Request
from sami.settings.sampling import Sampling

MAY_DIFFER = 1 / 16


def cases(place: Place) -> list[Case]:
    return [Case(kind, partial(_compare, kind, place)) for kind in made.ARCHITECTURES]


def _compare(kind: str, place: Place) -> Outcome:
    prompts = made.items(place.pick(8, 2), 2, place.pick(160, 24), 4, 256)
    requests = [
        Request(prompt[: len(prompt) - 7 * number], f"{item.name}, {c}")  # of different lengths
        for number, item in enumerate(prompts)
        for c, prompt in enumerate(item.prompts)
    ]
    with tempfile.TemporaryDirectory() as parent:
        folder = made.folder(kind, made.sizes(kind, place), Path(parent))
        tokenizer = pretrained.load_tokenizer(folder)
        sampler: Any = open_sampler("transformers", folder, tokenizer, max(len(r.prompt) for r in requests) + 32)
        greedy = Sampling(temperature=0, max_new_tokens=place.pick(32, 6), batch_size=len(requests))
        expected = [_generated(sampler.model, tokenizer, folder, request.prompt, greedy) for request in requests]
        drawing = greedy.model_copy(update={"temperature": 1.0})
        together = sampler.generate(requests, drawing, [])
        return Outcome(
            {
                "responses unlike generate's": (_unlike(sampler.generate(requests, greedy, []), expected), MAY_DIFFER),
                "drawn otherwise alone": (
                    _unlike([sampler.generate([request], drawing, [])[0] for request in requests], together),
                    MAY_DIFFER,
                ),
            }
        )


def _generated(model: Any, tokenizer: Any, folder: Path, prompt: list[int], sampling: Sampling) -> Any:
    ends = pretrained.end_tokens(folder, tokenizer)
    ids = torch.tensor([prompt], device=model.device)
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
    )
    return completion(output[0, len(prompt) :].tolist(), tokenizer, ends, [])


def _unlike(found: list, expected: list) -> float:
    """Share of responses with other tokens."""
    return sum(a.token_ids != b.token_ids for a, b in zip(found, expected, strict=True)) / len(expected)
