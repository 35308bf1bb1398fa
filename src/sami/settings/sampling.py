"""How responses are drawn."""

from typing import Annotated, Literal

from pydantic import Field

from sami.settings.base import Count, Number, Settings


class Sampling(Settings):
    """How responses are drawn."""

    sampler: Literal["transformers", "vllm"] = "transformers"
    """What draws responses.

    `vllm`: on GPUs, many times faster; `pip install vllm` (docs/engine.md#samplers). Both draw from the same
    distribution, but not the same responses.
    """
    responses: Count | None = None
    """R, responses per query, spread evenly over the constitutions; null = one under each."""
    temperature: Annotated[Number, Field(ge=0)]
    """Of the draws; 0 takes the most likely token every time."""
    top_p: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """Draw among the most likely tokens that have this much probability together."""
    max_new_tokens: Count
    """Most tokens of a response. Raise it for longer answers; time and memory grow with it."""
    batch_size: Count
    """Responses drawn at once by `transformers`; vLLM makes its own batches.

    Larger is faster until memory runs out; what is drawn does not depend on it.
    """
