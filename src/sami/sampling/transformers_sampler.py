"""Sampling with the transformers library: sequences that end make room for others, reproducible response by response.

Every response draws from a random stream of its own, named by its key. So what is sampled does not depend on which
other prompts happen to share the batch, beyond the rounding of floating-point sums.
"""

import logging
import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sami.errors import UserError
from sami.models import pretrained
from sami.progress import Progress
from sami.sampling import library
from sami.sampling.completion import Completion, completion
from sami.sampling.draws import draw, uniforms
from sami.sampling.sampler import Request
from sami.sampling.slots import Slots, unfit
from sami.settings.sampling import Sampling

log = logging.getLogger(__name__)

TOKENS_AT_ONCE = 1024  # of prompts that are encoded in one pass
REFILLED = 4  # others enter when one in so many rows is free: a pass over few prompts is slow


@dataclass
class _Sequence:
    """A response under way."""

    number: int  # of its request
    points: torch.Tensor  # (T,) of its random stream
    tokens: list[int] = field(default_factory=list)


class TransformersSampler:
    """A prepared model in memory, on the GPU if there is one."""

    def __init__(self, folder: Path, tokenizer: Any):
        self.model: Any = pretrained.load(folder)  # whose class has `generate` from a mixin
        self.tokenizer = tokenizer
        self.ends = pretrained.end_tokens(folder, tokenizer)
        self.context = pretrained.context_length(self.model.config)
        self.unfit = unfit(self.model)
        if self.unfit:
            log.info("sampling by the library's own loop, since %s", self.unfit)

    @torch.inference_mode()
    def generate(self, requests: list[Request], sampling: Sampling, stop: list[str]) -> list[Completion]:
        """See `Sampler`.

        Long prompts go first, so that it shows at once whether memory suffices, and sequences have similar lengths.

        Raises:
            UserError: a prompt is empty or too long, or there is no memory for `sampling.batch_size` sequences.
        """
        if not requests:
            return []
        longest = max(len(request.prompt) for request in requests) + sampling.max_new_tokens
        self._check(requests, sampling)
        if self.unfit:
            return library.generate(self.model, self.tokenizer, self.ends, requests, sampling, stop)
        rows = min(sampling.batch_size, len(requests))
        self._check_memory(rows, longest)
        # Those with the same prompt stand together, so that it is encoded once.
        order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].prompt), requests[i].prompt))
        waiting, active, done = deque(order), list[_Sequence](), dict[int, Completion]()
        with Progress(len(requests), "sampling", "responses") as progress, Slots(self.model, rows, longest) as slots:
            while waiting or active:
                if waiting and (not active or rows - len(active) >= max(1, rows // REFILLED)):
                    active += self._enter(slots, requests, waiting, rows - len(active), sampling)
                else:
                    points = torch.stack([sequence.points[len(sequence.tokens)] for sequence in active])
                    logits = slots.step([sequence.tokens[-1] for sequence in active])
                    for sequence, token in zip(active, draw(logits, points, sampling).tolist(), strict=True):
                        sequence.tokens.append(token)
                ended = [row for row, sequence in enumerate(active) if self._ended(sequence, sampling, stop)]
                for row in reversed(ended):  # so that what moves into a row has not ended
                    sequence = active[row]
                    done[sequence.number] = completion(sequence.tokens, self.tokenizer, self.ends, stop)
                    slots.leave(row)
                    active[row] = active[-1]
                    active.pop()
                progress.update(len(ended))
        return [done[i] for i in range(len(requests))]

    def _enter(
        self, slots: Slots, requests: list[Request], waiting: deque[int], free: int, sampling: Sampling
    ) -> list[_Sequence]:
        """Encodes the prompts of those that are next, and draws the first token of each."""
        prompts: list[list[int]] = []
        entering: list[tuple[int, int]] = []  # (request, its prompt among `prompts`)
        while waiting and len(entering) < free:
            prompt = requests[waiting[0]].prompt
            if not prompts or prompts[-1] != prompt:
                if prompts and sum(map(len, prompts)) + len(prompt) > TOKENS_AT_ONCE:
                    break
                prompts.append(prompt)
            entering.append((waiting.popleft(), len(prompts) - 1))
        logits = slots.prefill(prompts)[[place for _, place in entering]]
        points = uniforms([requests[number].key for number, _ in entering], sampling.max_new_tokens)
        for _, place in entering:
            slots.enter(place)
        first = draw(logits, points[:, 0], sampling).tolist()
        return [
            _Sequence(number, row, [token]) for (number, _), row, token in zip(entering, points, first, strict=True)
        ]

    def _ended(self, sequence: _Sequence, sampling: Sampling, stop: list[str]) -> bool:
        if sequence.tokens[-1] in self.ends or len(sequence.tokens) == sampling.max_new_tokens:
            return True
        if not stop:
            return False
        text = self.tokenizer.decode(sequence.tokens, skip_special_tokens=True)
        return any(mark in text for mark in stop)

    def _check(self, requests: list[Request], sampling: Sampling) -> None:
        for request in requests:
            needed = len(request.prompt) + sampling.max_new_tokens
            if not request.prompt:
                raise UserError(f"request '{request.key}': its prompt has no tokens, so nothing predicts a response.")
            if needed > self.context:
                raise UserError(
                    f"request '{request.key}': its prompt has {len(request.prompt)} tokens; with max_new_tokens = "
                    f"{sampling.max_new_tokens} that is more than the model's context of {self.context}. Shorten it, "
                    "or lower max_new_tokens."
                )

    def _check_memory(self, rows: int, longest: int) -> None:
        """Raises UserError where the cache alone is larger than the memory of this machine."""
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        needed = 2 * config.num_hidden_layers * rows * heads * longest * size * self.model.dtype.itemsize
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > there:
            raise UserError(
                f"sampling.batch_size: {rows} sequences of {longest} tokens need a cache of {needed / 2**30:.1f} GiB, "
                f"and this machine has {there / 2**30:.1f} GiB of memory. Lower it ('sampling.batch_size', or "
                "'evaluation.sampling.batch_size')."
            )
