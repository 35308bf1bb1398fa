"""How responses are drawn."""

from typing import Annotated, Literal

from pydantic import Field

from sami.settings.base import Count, Number, Settings


class Sampling(Settings):
    """How responses are drawn."""

    sampler: Literal["transformers", "vllm"] = "transformers"
    responses: Count | None = None
    temperature: Annotated[Number, Field(ge=0)]
    top_p: Annotated[Number, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count
    batch_size: Count
