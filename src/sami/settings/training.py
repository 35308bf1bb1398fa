"""One iteration's optimisation, and how it is computed."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from sami.settings.base import Count, Number, Settings, named_choice


class Lora(Settings):
    """Low-rank adapters that are trained in place of all weights (arXiv 2106.09685)."""

    rank: Count
    alpha: Annotated[Number, Field(gt=0)]
    modules: str | list[str] = "all-linear"


class Contrast(Settings):
    """SAMI's cross-entropies over the matrix of an example's prompts and responses, or one of the two (2404.14313)."""

    name: Literal["sami", "sami-rows", "sami-columns"]


class Likelihood(Settings):
    """Likelihood of responses to the prompts that they answer, weighted where the examples have weights."""

    name: Literal["supervised"]


class Preference(Settings):
    """A pairwise loss on chosen and rejected responses against a reference model (DPO, 2305.18290; IPO, 2310.12036)."""

    name: Literal["preference"]
    beta: Annotated[Number, Field(gt=0)] = 0.1
    label_smoothing: Annotated[Number, Field(ge=0, lt=0.5)] = 0.0
    form: Literal["sigmoid", "ipo"] = "sigmoid"


OBJECTIVES: dict[str, type[Settings]] = {
    name: kind for kind in (Contrast, Likelihood, Preference) for name in get_args(kind.model_fields["name"].annotation)
}
Objective = Annotated[
    Contrast | Likelihood | Preference, Field(discriminator="name"), named_choice(OBJECTIVES, "objective")
]


class Training(Settings):
    """One iteration's optimisation."""

    objective: Objective
    start_from: Literal["base", "previous"]
    reference: Literal["base", "previous", "sft"] = "base"
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
