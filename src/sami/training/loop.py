"""The training loop of one iteration: examples in, a trained policy in memory out.

It knows the objective and the layouts, but neither files nor iterations.
"""

import contextlib
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from sami.distributed.processes import Processes
from sami.errors import UserError
from sami.progress import Progress
from sami.records import TrainingExample
from sami.scoring.layout import Item
from sami.scoring.passes import own_passes, token_counts
from sami.scoring.scorer import Scorer
from sami.settings.training import Engine, Training
from sami.training.checkpoints import Checkpoints
from sami.training.losses import evaluate, guess
from sami.training.reference import ReferenceStates
from sami.training.schedule import schedule
from sami.training.throughput import Arithmetic, matrix_rate, peak_memory

log = logging.getLogger(__name__)


class Diverged(UserError):
    """The loss or the gradient left all bounds."""


class Interrupted(Exception):
    """The system asked the run to end; what was done is in a checkpoint."""


@dataclass
class Step:
    """Sums of one optimiser step, over the queries of this process and then of all.

    metrics: those of the objective. Every process has the same names, also where its passes are all empty.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("kl", "tokens", "operations"), 0.0))

    def add(self, metrics: Mapping[str, float], **others: float) -> None:
        for name, value in metrics.items():
            self.metrics[name] = self.metrics.get(name, 0.0) + value
        for name, value in others.items():
            self.others[name] += value

    def over(self, group: Processes) -> "Step":
        """The sums over all processes."""
        sums = iter(group.sum([*self.metrics.values(), *self.others.values()]))
        return Step(dict(zip(self.metrics, sums, strict=False)), dict(zip(self.others, sums, strict=True)))


def make_optimizer(parameters: list[torch.nn.Parameter], settings: Training) -> torch.optim.Optimizer:
    """RMSprop (as in the paper) or AdamW."""
    options = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    kind = {"rmsprop": torch.optim.RMSprop, "adamw": torch.optim.AdamW}[settings.optimizer]
    return kind(parameters, **options)


def train(
    scorer: Scorer,
    items: list[Item],
    examples: Sequence[TrainingExample],
    settings: Training,
    engine: Engine,
    seed: int,
    group: Processes,
    on_step: Callable[[dict], None],
    checkpoints: Checkpoints | None = None,
    reference: ReferenceStates | None = None,
) -> None:
    """Optimises the scorer's model in place.

    Args:
        scorer: with the policy.
        items: the examples as tokens. The same in every process.
        examples: the same examples, with what is wanted of them, as `losses.check` allows them.
        settings: of the optimisation.
        engine: how it is computed.
        seed: of the order of the examples.
        group: the processes that share the work.
        on_step: receives the metrics of each optimiser step, also of those that a checkpoint remembers.
        checkpoints: where to resume from, and where to save the state every `engine.checkpoint_steps` steps and when
            the system asks the run to end.
        reference: for the KL term; None where its weight is 0.

    Raises:
        Diverged: a loss or gradient is not finite, or a loss exceeds `max_loss`.
        Interrupted: SIGTERM or SIGUSR1 came, and the state is saved.
        UserError: a checkpoint belongs to another run, or the memory does not suffice.
    """
    with _signals() as signals:
        _Run(scorer, items, examples, settings, engine, group, on_step, checkpoints, reference, signals).run(seed)


class _Run:
    """What the steps of a run share."""

    def __init__(
        self,
        scorer: Scorer,
        items: list[Item],
        examples: Sequence[TrainingExample],
        settings: Training,
        engine: Engine,
        group: Processes,
        on_step: Callable[[dict], None],
        checkpoints: Checkpoints | None,
        reference: ReferenceStates | None,
        signals: list[int],
    ):
        self.scorer, self.items, self.settings, self.engine, self.group = scorer, items, settings, engine, group
        self.examples = examples
        self.on_step, self.checkpoints, self.reference, self.signals = on_step, checkpoints, reference, signals
        self.parameters = [p for p in scorer.model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.parameters, settings)
        self.max_loss = settings.max_loss if settings.max_loss is not None else self._usual_limit()
        self.sizes = token_counts(scorer, items)
        self.arithmetic = Arithmetic(scorer)
        self.metrics: list[dict] = []

    def run(self, seed: int) -> None:
        settings, group = self.settings, self.group
        steps = schedule(len(self.items), settings.queries_per_step, settings.epochs, seed)
        done = 0
        if self.checkpoints:
            done, self.metrics = self.checkpoints.load(self.scorer.model, self.optimizer)
        for metrics in self.metrics:
            self.on_step(metrics)
        rate = matrix_rate(group.device, self.scorer.compute_dtype) * group.size
        log.info("%d steps on %d process(es), %.3g FLOP/s in matrix products", len(steps), group.size, rate)
        with Progress(sum(map(len, steps)), "training", "queries", done=sum(map(len, steps[:done]))) as progress:
            for number, batch in enumerate(steps[done:], done + 1):
                if self._low_enough():
                    log.info("the loss is at most %g: ended before step %d", settings.stop_at_loss, number)
                    break
                started = time.monotonic()
                step, norm = self._gradients(number, batch)
                self._check(number, len(steps), step.metrics["loss"], norm)
                # The loss has just shown that the weights after the step before are sound.
                if self.checkpoints and (number - 1) % self.engine.checkpoint_steps == 0 and number - 1 > done:
                    self.checkpoints.save(number - 1, self.scorer.model, self.optimizer, self.metrics)
                learning_rate = settings.learning_rate * min(1.0, number / (settings.warmup_steps + 1))
                for parameters in self.optimizer.param_groups:
                    parameters["lr"] = learning_rate
                self.optimizer.step()
                self.optimizer.zero_grad()
                seconds = time.monotonic() - started
                self.metrics.append(
                    {
                        "step": number,
                        **step.metrics,
                        "kl": step.others["kl"],
                        "gradient_norm": norm,
                        "learning_rate": learning_rate,
                        "queries": len(batch),
                        "tokens": round(step.others["tokens"]),
                        "seconds": seconds,
                        "tokens_per_second": step.others["tokens"] / seconds,
                        "flop_utilisation": step.others["operations"] / seconds / rate,
                        "peak_memory_gib": max(group.everyone(peak_memory(group.device))) / 2**30,
                    }
                )
                self.on_step(self.metrics[-1])
                progress.update(len(batch), **dict(islice(step.metrics.items(), 2)))
                told = ", ".join(f"{name.replace('_', ' ')} {v:.4f}" for name, v in islice(step.metrics.items(), 2))
                log.info(
                    f"step {number} of {len(steps)}: {told}, gradient norm {norm:.3f}, "
                    f"{step.others['tokens'] / seconds:.0f} tokens/s, {progress.remaining()} left"
                )

    def _gradients(self, number: int, batch: list[int]) -> tuple[Step, float]:
        """Forward and backward passes of one step: gradients and metrics are means over the queries of the batch.

        Returns:
            the metrics, summed over all processes, and the norm of the gradient before clipping.
        """
        step = Step()
        response_tokens = sum(len(response) for i in batch for response in self.items[i].responses)
        for members, counts in own_passes(batch, self.sizes, self.engine.tokens_per_pass, self.group):
            self._end_if_asked(number)
            try:
                self._pass(members, counts, len(batch), response_tokens, step)
            except (MemoryError, RuntimeError) as error:  # on GPUs a kind of RuntimeError of its own, elsewhere none
                if "memory" not in str(error) and not isinstance(error, MemoryError):
                    raise
                tokens = sum(self.sizes[i] for i in members)
                raise UserError(
                    f"out of memory at step {number}, in a pass over {tokens} tokens of {len(members)} queries: "
                    f"{str(error).splitlines()[0]} Lower engine.tokens_per_pass (now {self.engine.tokens_per_pass}), "
                    "set engine.activation_checkpointing, use training.lora, or add processes (engine.processes)."
                ) from None
        self._end_if_asked(number)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm or math.inf)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        return step.over(self.group), float(norm)

    def _pass(self, members: list[int], counts: bool, batch: int, response_tokens: int, step: Step) -> None:
        items = [self.items[i] for i in members]
        layout = self.scorer.layout(items)
        states = None if self.reference is None else self.reference[members]
        scored = self.scorer(layout, states)
        outcome = evaluate(self.settings, scored, [self.examples[i] for i in members], items)
        loss = outcome.loss.sum() / batch
        if scored.kl is not None:
            loss = loss + self.settings.kl_weight * scored.kl / response_tokens
        # Gradients are averaged over processes, whose losses are to be summed. An empty pass adds nothing.
        (loss * (self.group.size if counts else 0)).backward()
        # An empty pass names the metrics all the same, so that every process sums the same ones.
        each = {"loss": outcome.loss, **outcome.metrics}
        step.add({name: value.sum().item() / batch if counts else 0.0 for name, value in each.items()})
        if counts:
            step.add({}, tokens=layout.tokens, operations=self.arithmetic.of(layout))
            if scored.kl is not None:
                step.add({}, kl=scored.kl.item() / response_tokens)

    def _check(self, number: int, steps: int, loss: float, norm: float) -> None:
        for what, value, most in (("loss", loss, self.max_loss), ("gradient norm", norm, math.inf)):
            if not math.isfinite(value) or value > most:
                raise Diverged(
                    f"training stopped at step {number} of {steps}: the {what} is {value:.4g} (limit {most:.4g}). "
                    "Lower training.learning_rate, add training.warmup_steps or training.kl_weight, or clip harder "
                    "with training.max_grad_norm."
                )

    def _low_enough(self) -> bool:
        """Whether the last step, of this run or of one that it resumes, had the loss at which training ends."""
        stop = self.settings.stop_at_loss
        return stop is not None and bool(self.metrics) and self.metrics[-1]["loss"] <= stop

    def _usual_limit(self) -> float:
        """Twice the loss of a guess. In a contrast of sums, a difference in length alone can cost a guess a token."""
        vocabulary: Any = self.scorer.model.get_input_embeddings().num_embeddings
        if self.settings.normalisation == "sum":
            return 2 * math.log(vocabulary) * max(len(r) for item in self.items for r in item.responses)
        return 2 * guess(self.settings.objective, self.examples[0], vocabulary)

    def _end_if_asked(self, number: int) -> None:
        """Saves the state before this step, and ends the run, where the system has asked any process to."""
        if not self.checkpoints or not self.group.any(bool(self.signals)):
            return
        if number > 1:
            self.checkpoints.save(number - 1, self.scorer.model, self.optimizer, self.metrics)
        raise Interrupted


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGUSR1 (of which Slurm sends either before a time limit) while the block runs."""
    received: list[int] = []

    def receive(number: int, _: FrameType | None) -> None:
        log.warning("%s received: saving a checkpoint", signal.Signals(number).name)
        received.append(number)

    kinds = (signal.SIGTERM, signal.SIGUSR1)
    before = [signal.signal(kind, receive) for kind in kinds]
    try:
        yield received
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
