"""One iteration's optimisation, and how it is computed."""

from typing import Annotated, Literal

from pydantic import Field

from sami.settings.base import Count, Number, Settings


class Lora(Settings):
    """Low-rank adapters that are trained in place of all weights (arXiv 2106.09685)."""

    rank: Count
    alpha: Annotated[Number, Field(gt=0)]
    modules: str | list[str] = "all-linear"


class Training(Settings):
    """One iteration's optimisation."""

    objective: Literal["sami", "sami-rows", "sami-columns", "supervised"]
    start_from: Literal["base", "previous"]
    precision: Literal["float32", "mixed", "bfloat16"]
    lora: Lora | None
    normalisation: Literal["mean", "sum"]
    score_end_token: bool
    optimizer: Literal["rmsprop", "adamw"]
    learning_rate: Annotated[Number, Field(gt=0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    weight_decay: Annotated[Number, Field(ge=0)]
    queries_per_step: Count
    epochs: Count
    max_grad_norm: Annotated[Number, Field(gt=0)] | None
    kl_weight: Annotated[Number, Field(ge=0)]
    max_loss: Annotated[Number, Field(gt=0)] | None


class Engine(Settings):
    """How scores and gradients are computed: speed and memory, but no result beyond rounding, depend on it."""

    scoring: Literal["auto", "shared", "cached", "padded"]
    tokens_per_pass: Count
    activation_checkpointing: Literal["none", "selective", "full"]
    processes: Count
    tensor_parallel: Count = 1
    checkpoint_steps: Count
    tokens_per_job: Count | None
    trackers: list[Literal["tensorboard", "wandb", "trackio"]]
