"""The training loop of one iteration: examples in, a trained policy in memory out; or lessons, and a reward model.

It knows steps, processes and checkpoints, but neither files nor iterations, and nothing of what is learned: what a pass
computes is told by a `Learner`.
"""

import contextlib
import logging
import math
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from sami.distributed.processes import Processes
from sami.errors import UserError
from sami.progress import Progress
from sami.scoring.passes import own_passes
from sami.settings.rewards import HeadTraining
from sami.settings.training import Engine, Training
from sami.training.checkpoints import Checkpoints
from sami.training.schedule import schedule
from sami.training.throughput import matrix_rate, peak_memory

log = logging.getLogger(__name__)


class Diverged(UserError):
    """The loss or the gradient left all bounds."""


class Interrupted(Exception):
    """The system asked the run to end; what was done is in a checkpoint."""


@dataclass(frozen=True)
class Passed:
    """Share of a pass in the loss, the gradient and the metrics of its step, which are means over the step's examples.

    loss: a number with its gradient.
    metrics: the loss first. Those of a learner have the same names in every pass.
    tokens: that were encoded. operations: floating-point operations of the forward and the backward pass.
    """

    loss: torch.Tensor
    metrics: dict[str, float]
    tokens: int
    operations: float


class Learner(ABC):
    """A model with what it learns, as the loop wants to know it.

    model: whose parameters are trained, those that require gradients.
    compute_dtype: of its passes.
    sizes: tokens of each example.
    max_loss: loss of a step above which training has diverged.
    """

    model: nn.Module
    compute_dtype: torch.dtype
    sizes: Sequence[int]
    max_loss: float

    @abstractmethod
    def __call__(self, members: list[int], batch: list[int]) -> Passed:
        """Runs a pass over the examples `members`, which are some of the examples `batch` of a step."""

    @abstractmethod
    def diverged(self, told: str) -> Diverged:
        """The error that says what has happened, as `told`, and what to change."""


@dataclass
class Step:
    """Sums over the passes of one optimiser step: those of this process, and then of all.

    metrics: those of the learner. Every process has the same names, also where its passes are all empty.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    tokens: float = 0.0
    operations: float = 0.0

    def add(self, passed: Passed, counts: bool) -> None:
        # An empty pass names the metrics all the same, so that every process sums the same ones.
        for name, value in passed.metrics.items():
            self.metrics[name] = self.metrics.get(name, 0.0) + (value if counts else 0.0)
        if counts:
            self.tokens += passed.tokens
            self.operations += passed.operations

    def over(self, group: Processes) -> "Step":
        """The sums over all processes."""
        *sums, tokens, operations = group.sum([*self.metrics.values(), self.tokens, self.operations])
        return Step(dict(zip(self.metrics, sums, strict=True)), tokens, operations)


def make_optimizer(parameters: list[torch.nn.Parameter], settings: Training | HeadTraining) -> torch.optim.Optimizer:
    """RMSprop (as in the paper) or AdamW."""
    options = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    kind = {"rmsprop": torch.optim.RMSprop, "adamw": torch.optim.AdamW}[settings.optimizer]
    return kind(parameters, **options)


def train(
    learner: Learner,
    settings: Training | HeadTraining,
    engine: Engine,
    seed: int,
    group: Processes,
    on_step: Callable[[dict], None],
    checkpoints: Checkpoints | None = None,
) -> None:
    """Optimises the learner's model in place.

    Args:
        learner: the model and what it learns. The same in every process.
        settings: of the optimisation.
        engine: how it is computed.
        seed: of the order of the examples.
        group: the processes that share the work.
        on_step: receives the metrics of each optimiser step, also of those that a checkpoint remembers.
        checkpoints: where to resume from, and where to save the state every `engine.checkpoint_steps` steps and when
            the system asks the run to end.

    Raises:
        Diverged: a loss or gradient is not finite, or a loss exceeds the learner's `max_loss`.
        Interrupted: SIGTERM or SIGUSR1 came, and the state is saved.
        UserError: a checkpoint belongs to another run, or the memory does not suffice.
    """
    with _signals() as signals:
        _Run(learner, settings, engine, group, on_step, checkpoints, signals).run(seed)


class _Run:
    """What the steps of a run share."""

    def __init__(
        self,
        learner: Learner,
        settings: Training | HeadTraining,
        engine: Engine,
        group: Processes,
        on_step: Callable[[dict], None],
        checkpoints: Checkpoints | None,
        signals: list[int],
    ):
        self.learner, self.settings, self.engine, self.group = learner, settings, engine, group
        self.on_step, self.checkpoints, self.signals = on_step, checkpoints, signals
        self.parameters = [p for p in learner.model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.parameters, settings)
        self.metrics: list[dict] = []

    def run(self, seed: int) -> None:
        settings, group = self.settings, self.group
        steps = schedule(len(self.learner.sizes), settings.queries_per_step, settings.epochs, seed)
        done = 0
        if self.checkpoints:
            done, self.metrics = self.checkpoints.load(self.learner.model, self.optimizer)
        for metrics in self.metrics:
            self.on_step(metrics)
        rate = matrix_rate(group.device, self.learner.compute_dtype) * group.size
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
                    self.checkpoints.save(number - 1, self.learner.model, self.optimizer, self.metrics)
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
                        "gradient_norm": norm,
                        "learning_rate": learning_rate,
                        "queries": len(batch),
                        "tokens": round(step.tokens),
                        "seconds": seconds,
                        "tokens_per_second": step.tokens / seconds,
                        "flop_utilisation": step.operations / seconds / rate,
                        "peak_memory_gib": max(group.everyone(peak_memory(group.device))) / 2**30,
                    }
                )
                self.on_step(self.metrics[-1])
                progress.update(len(batch), **dict(islice(step.metrics.items(), 2)))
                told = ", ".join(f"{name.replace('_', ' ')} {v:.4f}" for name, v in islice(step.metrics.items(), 2))
                log.info(
                    f"step {number} of {len(steps)}: {told}, gradient norm {norm:.3f}, "
                    f"{step.tokens / seconds:.0f} tokens/s, {progress.remaining()} left"
                )

    def _gradients(self, number: int, batch: list[int]) -> tuple[Step, float]:
        """Forward and backward passes of one step: gradients and metrics are means over the queries of the batch.

        Returns:
            the metrics, summed over all processes, and the norm of the gradient before clipping.
        """
        step, sizes = Step(), self.learner.sizes
        for members, counts in own_passes(batch, sizes, self.engine.tokens_per_pass, self.group):
            self._end_if_asked(number)
            try:
                passed = self.learner(members, batch)
                # Gradients are averaged over processes, whose losses are to be summed. An empty pass adds nothing.
                (passed.loss * (self.group.size if counts else 0)).backward()
                step.add(passed, counts)
            except (MemoryError, RuntimeError) as error:  # on GPUs a kind of RuntimeError of its own, elsewhere none
                if "memory" not in str(error) and not isinstance(error, MemoryError):
                    raise
                tokens = sum(sizes[i] for i in members)
                raise UserError(
                    f"out of memory at step {number}, in a pass over {tokens} tokens of {len(members)} queries: "
                    f"{str(error).splitlines()[0]} Lower engine.tokens_per_pass (now {self.engine.tokens_per_pass}), "
                    "set engine.activation_checkpointing, add processes (engine.processes), or train a policy by "
                    "training.lora."
                ) from None
        self._end_if_asked(number)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm or math.inf)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        return step.over(self.group), float(norm)

    def _check(self, number: int, steps: int, loss: float, norm: float) -> None:
        for what, value, most in (("loss", loss, self.learner.max_loss), ("gradient norm", norm, math.inf)):
            if not math.isfinite(value) or value > most:
                raise self.learner.diverged(
                    f"training stopped at step {number} of {steps}: the {what} is {value:.4g} (limit {most:.4g})."
                )

    def _low_enough(self) -> bool:
        """Whether the last step, of this run or of one that it resumes, had the loss at which training ends."""
        stop = self.settings.stop_at_loss
        return stop is not None and bool(self.metrics) and self.metrics[-1]["loss"] <= stop

    def _end_if_asked(self, number: int) -> None:
        """Saves the state before this step, and ends the run, where the system has asked any process to."""
        if not self.checkpoints or not self.group.any(bool(self.signals)):
            return
        if number > 1:
            self.checkpoints.save(number - 1, self.learner.model, self.optimizer, self.metrics)
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
