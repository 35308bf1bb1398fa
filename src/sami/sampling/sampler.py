"""The protocol of samplers: requests go in, completions come out in their order, whichever library draws them."""

from dataclasses import dataclass
from typing import Protocol

from sami.errors import UserError
from sami.sampling.completion import Completion
from sami.settings.sampling import Sampling


@dataclass(frozen=True)
class Request:
    """One response to draw: the prompt's token ids and the key of its random stream."""

    prompt: list[int]
    key: str


class Sampler(Protocol):
    """A prepared model that draws responses."""

    def generate(self, requests: list[Request], sampling: Sampling, stop: list[str]) -> list[Completion]:
        """Draws one response for each request, in their order.

        A response depends on its prompt, its key and the settings, and beyond the rounding of floating-point sums not
        on the other requests. Prompt and `sampling.max_new_tokens` must fit together into the model's context.
        """
        ...


def check_lengths(prompts: dict[str, list[int]], new_tokens: int, limit: int) -> None:
    """Raises UserError that names the first query whose prompt and response do not fit into the model's context."""
    for name, prompt in prompts.items():
        if len(prompt) + new_tokens > limit:
            raise UserError(
                f"query '{name}': its prompt has {len(prompt)} tokens; with max_new_tokens = {new_tokens} that is more "
                f"than the model's context of {limit}. Shorten the query or the prompt template, lower "
                "sampling.max_new_tokens, or use a model with a longer context."
            )
