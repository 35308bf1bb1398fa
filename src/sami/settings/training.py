"""One iteration's optimisation, and how it is computed."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from sami.settings.base import Count, Number, Settings, named_choice


class Lora(Settings):
    """Low-rank adapters that are trained in place of all weights (arXiv 2106.09685)."""

    rank: Count
    """Size of the adapters."""
    alpha: Annotated[Number, Field(gt=0)]
    """Weight of the adapters."""
    modules: str | list[str] = "all-linear"
    """Layers that get one, by name."""


class Contrast(Settings):
    """SAMI's cross-entropies over the matrix of an example's prompts and responses, or one of the two (2404.14313)."""

    name: Literal["sami", "sami-rows", "sami-columns"]
    """Both cross-entropies, or one of them."""


class Joint(Settings):
    """SAMI's rows, and columns over the prompts of other queries, too: a contrast of queries and constitutions."""

    name: Literal["sami-joint"]
    """Both cross-entropies, the one along columns also over other queries."""
    other_queries: Count = 1
    """Other training queries of the iteration whose prompts each response is scored under, drawn with the seed.

    Each comes under all constitutions of the example's set.
    """


class Likelihood(Settings):
    """Likelihood of responses to the prompts that they answer, weighted where the examples have weights."""

    name: Literal["supervised"]
    """Supervised fine-tuning."""


class Preference(Settings):
    """A pairwise loss on chosen and rejected responses against a reference model (DPO, 2305.18290; IPO, 2310.12036)."""

    name: Literal["preference"]
    """Pairs of a chosen and a rejected response."""
    beta: Annotated[Number, Field(gt=0)] = 0.1
    """Strength of the pull towards the reference model; DPO's authors advise 0.1 to 0.5."""
    label_smoothing: Annotated[Number, Field(ge=0, lt=0.5)] = 0.0
    """Probability that the label of a pair is wrong (conservative DPO)."""
    form: Literal["sigmoid", "ipo"] = "sigmoid"
    """Form of the loss: `sigmoid` (DPO) or `ipo`, which wants a margin of 1/(2 beta) and no more."""


OBJECTIVES: dict[str, type[Settings]] = {
    name: kind
    for kind in (Contrast, Joint, Likelihood, Preference)
    for name in get_args(kind.model_fields["name"].annotation)
}
Objective = Annotated[
    Contrast | Joint | Likelihood | Preference, Field(discriminator="name"), named_choice(OBJECTIVES, "objective")
]


class Training(Settings):
    """One iteration's optimisation."""

    objective: Objective
    """What training lowers.

    A mapping with the objective's `name` and its own keys; the name alone will do, too. `sami`: the paper's loss, the
    mean of the row cross-entropy (which response was written for this constitution?) and the column cross-entropy (for
    which constitution was this response written?); `sami-rows` and `sami-columns`: one of them alone. `sami-joint`: the
    column cross-entropy also runs over the prompts of other queries (for which query and constitution was this response
    written?), so that a response has to stay with its query. `supervised`: the negative log-probability of the
    responses to the prompts that they answer; without a contrast, it is the control that tells what the contrast is
    worth. `preference`: chosen against rejected responses.
    """
    start_from: Literal["base", "previous"]
    """The weights that an iteration's training starts from.

    `base`: the base model (expert iteration); `previous`: the policy of the previous iteration.
    """
    reference: Literal["base", "previous", "sft"] = "base"
    """The policy that a KL term compares with.

    `base`: the base model; `previous`: the policy of the previous iteration; `sft`: that of supervised fine-tuning, for
    methods that begin with it. The log-probabilities of a preference loss are those of the same policy.
    """
    precision: Literal["float32", "mixed", "bfloat16"]
    """Numbers of weights and passes.

    `mixed`: passes in bfloat16, weights and sums of gradients in float32, for GPUs. `bfloat16`: everything, with the
    least memory; small rates then lose small updates to rounding. The trained policy is saved in the `dtype` of its
    model.
    """
    lora: Lora | None
    """Or {rank: 16, alpha: 32}: train low-rank adapters instead of all weights.

    In one process (needs `pip install peft`); they are merged into the policy that is saved.
    """
    normalisation: Literal["mean", "sum"]
    """Mean or sum of log-probabilities over response tokens.

    That is an entry of the matrix; the paper uses the mean.
    """
    score_end_token: bool
    """Count the end token that was drawn as part of a response."""
    optimizer: Literal["rmsprop", "adamw"]
    """The paper uses RMSprop."""
    learning_rate: Annotated[Number, Field(gt=0)]
    """The paper uses 5e-7 for 7B models. If responses become gibberish, lower it."""
    warmup_steps: Annotated[int, Field(ge=0)]
    """Steps over which the rate rises linearly. RMSprop's first steps are large; some steps of warm-up tame them."""
    weight_decay: Annotated[Number, Field(ge=0)]
    """Pulls weights towards zero."""
    queries_per_step: Count
    """Queries whose gradients are averaged in one optimiser step."""
    epochs: Count
    """Passes over the examples of an iteration."""
    max_grad_norm: Annotated[Number, Field(gt=0)] | None
    """Clip the gradient to this norm; null = no clipping."""
    kl_weight: Annotated[Number, Field(ge=0)]
    """Weight of KL(policy, reference) in the loss.

    Raise it when the policy drifts; above 0 the base model's hidden states at all response tokens are computed first
    and kept on disk.
    """
    max_loss: Annotated[Number, Field(gt=0)] | None
    """Stop where a step's loss exceeds this; null = twice the loss of a guess.

    That is log C + log R (`sami`), 2 log R (`sami-rows`), 2 log C (`sami-columns`), log C + log R + log(1 +
    `other_queries`) (`sami-joint`), 2 log of the vocabulary (`supervised`); with `normalisation: sum`, 2 log of the
    vocabulary for each token of the longest response.
    """
    stop_at_loss: Number | None = None
    """End training after the first step whose loss is at most this; null = after all epochs.

    The loss of a step is that before its update, without a KL term. The policy that is kept has that update.
    """

    @property
    def other_queries(self) -> int:
        """Other queries whose prompts each training example holds."""
        return self.objective.other_queries if isinstance(self.objective, Joint) else 0


class Engine(Settings):
    """How scores and gradients are computed: speed and memory, but no result beyond rounding, depend on it."""

    scoring: Literal["auto", "shared", "cached", "padded"]
    """How the matrix of log-probabilities is computed.

    All give the same numbers. `shared` encodes what prompts have in common and each prompt once, with all responses
    behind it; `cached` lets the responses read a prompt's key-value cache; `padded` encodes a plain sequence for every
    pair. `auto` takes the first that fits the model, and the log says which.
    """
    tokens_per_pass: Count
    """Most tokens encoded in one forward and backward pass.

    Queries are packed into it. Lower it when memory runs out; raise it on GPUs until they are busy.
    """
    activation_checkpointing: Literal["none", "selective", "full"]
    """Less memory, more time.

    What the backward pass computes again instead of keeping it. `selective`: all but matrix products and attention, for
    about half the memory of activations and a few percent more time. `full`: whole layers, for the least memory and
    about a third more time.
    """
    processes: Count
    """Processes of training, among which the model is sharded; one for each GPU.

    They share weights, gradients and optimiser (FSDP2).
    """
    tensor_parallel: Count = 1
    """GPUs of one node among which the sampler `vllm` divides the model.

    As many as its weights need. Must divide the number of attention heads.
    """
    checkpoint_steps: Count
    """Optimiser steps between two checkpoints, from which a killed run resumes.

    SIGTERM and SIGUSR1 save one at once.
    """
    tokens_per_job: Count | None
    """Most tokens that one job of sampling generates; null = all of a policy in one job.

    Sampling a policy is split into so many jobs that each generates at most so many tokens (queries x responses x
    `max_new_tokens`), for clusters where they run side by side. A file of responses that is finished keeps its number
    of jobs until the number of its queries, responses or tokens changes.
    """
    trackers: list[Literal["tensorboard", "wandb", "trackio"]]
    """Where metrics go besides training.jsonl: tensorboard, wandb, trackio.

    The packages of the last two are installed by you, and their keys are read from their own environment variables.
    """
