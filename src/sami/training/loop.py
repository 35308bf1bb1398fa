"""The training loop of one iteration: examples in, a trained policy in memory out.

It knows the objective and the layouts, but neither files nor iterations.
"""

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from sami.errors import UserError
from sami.objective import kl_divergence, sami
from sami.progress import Progress
from sami.scoring.layouts import LAYOUTS, Item, Layout
from sami.scoring.score import hidden_states, logits, token_log_probabilities
from sami.settings import Training

log = logging.getLogger(__name__)

State = dict[str, torch.Tensor]


class Diverged(UserError):
    """The loss or the gradient left all bounds. `state` is the last good state of the policy."""

    def __init__(self, message: str, state: State):
        super().__init__(message)
        self.state = state


@dataclass
class Step:
    """Sums over the queries of one optimiser step."""

    queries: int = 0
    tokens: int = 0
    loss: float = 0.0
    bound: float = 0.0
    row_accuracy: float = 0.0
    column_accuracy: float = 0.0
    kl: float = 0.0


def make_optimizer(model: PreTrainedModel, settings: Training) -> torch.optim.Optimizer:
    """RMSprop (as in the paper) or AdamW over all parameters."""
    options = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    kind = {"rmsprop": torch.optim.RMSprop, "adamw": torch.optim.AdamW}[settings.optimizer]
    return kind(model.parameters(), **options)


def schedule(items: list[Item], settings: Training, seed: int) -> Iterator[list[Item]]:
    """The examples of each optimiser step, in an order drawn anew in every epoch."""
    for epoch in range(settings.epochs):
        order = random.Random(f"epoch-{seed}-{epoch}").sample(items, len(items))
        for start in range(0, len(order), settings.queries_per_step):
            yield order[start : start + settings.queries_per_step]


def train(
    policy: PreTrainedModel,
    reference: PreTrainedModel | None,
    items: list[Item],
    settings: Training,
    seed: int,
    on_step: Callable[[dict], None],
) -> None:
    """Optimises `policy` in place.

    Args:
        policy: the model to train.
        reference: the frozen model of the KL term; None where its weight is 0.
        items: the examples, each with the same C and R.
        settings: of the optimisation.
        seed: of the order of the examples.
        on_step: receives the metrics of each optimiser step.

    Raises:
        Diverged: a loss or gradient is not finite, or a loss exceeds `max_loss`.
    """
    chance = (math.log(len(items[0].prompts)) + math.log(len(items[0].responses))) / 2
    limit = settings.max_loss if settings.max_loss is not None else 2 * chance
    optimizer = make_optimizer(policy, settings)
    steps = math.ceil(len(items) / settings.queries_per_step) * settings.epochs
    good: State = {}
    with Progress(len(items) * settings.epochs, "training", "queries") as progress:
        for number, batch in enumerate(schedule(items, settings, seed), 1):
            started = time.monotonic()
            step = _accumulate(policy, reference, batch, settings)
            norm = float(torch.nn.utils.clip_grad_norm_(policy.parameters(), settings.max_grad_norm or math.inf))
            if not math.isfinite(step.loss) or step.loss > limit:
                # The weights before the last update are the latest ones that are known to have had a sound loss.
                raise Diverged(_message(number, steps, "loss", step.loss, limit), good or _copy(policy))
            if not math.isfinite(norm):
                raise Diverged(_message(number, steps, "gradient norm", norm, math.inf), _copy(policy))
            good = _copy(policy)
            rate = settings.learning_rate * min(1.0, number / (settings.warmup_steps + 1))
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
            metrics = {
                "step": number,
                "loss": step.loss,
                "bound": step.bound,
                "row_accuracy": step.row_accuracy,
                "column_accuracy": step.column_accuracy,
                "kl": step.kl,
                "gradient_norm": norm,
                "learning_rate": rate,
                "queries": step.queries,
                "tokens_per_second": step.tokens / (time.monotonic() - started),
            }
            on_step(metrics)
            log.info(
                "step %d of %d: loss %.4f, bound %.4f, gradient norm %.3f", number, steps, step.loss, step.bound, norm
            )
            progress.update(len(batch), loss=step.loss, bound=step.bound)


def _accumulate(
    policy: PreTrainedModel, reference: PreTrainedModel | None, batch: list[Item], settings: Training
) -> Step:
    """Forward and backward passes of one step. Gradients and metrics are means over the queries of the batch."""
    step = Step(queries=len(batch))
    for start in range(0, len(batch), settings.queries_per_pass):
        items = batch[start : start + settings.queries_per_pass]
        layout = LAYOUTS[settings.scoring](items)
        states = hidden_states(policy, layout)
        total, mean = layout.reduce(token_log_probabilities(policy, states, layout.target))
        labels = torch.tensor([item.labels for item in items], device=total.device)
        result = sami(mean if settings.normalisation == "mean" else total, labels)
        loss = result.loss.sum() / len(batch)
        if reference is not None:
            kl = _kl(policy, states, reference, layout) * len(items) / len(batch)
            (loss + settings.kl_weight * kl).backward()
            step.kl += kl.item()
        else:
            loss.backward()
        step.tokens += layout.tokens
        step.loss += loss.item()
        for name in ("bound", "row_accuracy", "column_accuracy"):
            setattr(step, name, getattr(step, name) + getattr(result, name).sum().item() / len(batch))
    return step


def _kl(policy: PreTrainedModel, states: torch.Tensor, reference: PreTrainedModel, layout: Layout) -> torch.Tensor:
    """Mean KL(policy, reference) over the tokens of responses under the constitutions they were written for."""
    own = layout.own.to(states.device)
    with torch.no_grad():
        target = logits(reference, hidden_states(reference, layout)[own]).log_softmax(-1)
    return kl_divergence(logits(policy, states[own]).log_softmax(-1), target).mean()


def _copy(model: PreTrainedModel) -> State:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _message(number: int, steps: int, what: str, value: float, limit: float) -> str:
    return (
        f"training stopped at step {number} of {steps}: the {what} is {value:.4g} (limit {limit:.4g}). Lower "
        "training.learning_rate, add training.warmup_steps or training.kl_weight, or clip harder with "
        "training.max_grad_norm."
    )
