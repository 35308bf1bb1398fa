"""What all samplers share: requests go in, completions come out in their order, whichever library draws them."""

import functools
import importlib.util
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sami.errors import UserError
from sami.sampling.responses import clean, shown_tokens, whole_characters
from sami.settings import Sampling


@dataclass(frozen=True)
class Request:
    """One response to draw: the prompt's token ids and the key of its random stream."""

    prompt: list[int]
    key: str


@dataclass(frozen=True)
class Completion:
    """A drawn response.

    text: what people and judges see: without stop strings and what is behind them, and without white space around it.
    finish: why it ended: an end token ("end"), a stop string ("stop") or the token limit ("length").
    token_ids: the drawn tokens. Where the model ended the response itself, all of them with the end token; else up to
        the last one that has a part in the text, and never with half a character.
    """

    text: str
    finish: str
    token_ids: list[int]

    @property
    def tokens(self) -> int:
        """Number of tokens without the end token."""
        return len(self.token_ids) - (self.finish == "end")


class Sampler(Protocol):
    """A prepared model that draws responses."""

    def generate(self, requests: list[Request], sampling: Sampling, stop: list[str]) -> list[Completion]:
        """Draws one response for each request, in their order.

        A response depends on its prompt, its key and the settings, and beyond the rounding of floating-point sums not
        on the other requests. Prompt and `sampling.max_new_tokens` must fit together into the model's context.
        """
        ...


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
    from sami.sampling.vllm_sampler import VllmSampler

    return VllmSampler(folder, tokenizer, longest, tensor_parallel)


def check_lengths(prompts: dict[str, list[int]], new_tokens: int, limit: int) -> None:
    """Raises UserError that names the first query whose prompt and response do not fit into the model's context."""
    for name, prompt in prompts.items():
        if len(prompt) + new_tokens > limit:
            raise UserError(
                f"query '{name}': its prompt has {len(prompt)} tokens; with max_new_tokens = {new_tokens} that is more "
                f"than the model's context of {limit}. Shorten the query or the prompt template, lower "
                "sampling.max_new_tokens, or use a model with a longer context."
            )


def completion(tokens: list[int], tokenizer: Any, ends: Collection[int], stop: list[str]) -> Completion:
    """The completion that drawn tokens are.

    Args:
        tokens: as drawn; what follows a first end token does not count.
        ends: ids of the end tokens (`sami.models.end_tokens`).
        stop: stop strings.
    """
    decode = functools.partial(tokenizer.decode, skip_special_tokens=True)
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    body = tokens[:end]
    if any(mark in decode(body) for mark in stop):
        finish, kept = "stop", shown_tokens(body, decode, stop)
    elif end is not None:
        finish, kept = "end", tokens[: end + 1]
    else:
        finish, kept = "length", shown_tokens(whole_characters(body, decode), decode, stop)
    return Completion(clean(decode(kept[: len(body)]), stop), finish, kept)
