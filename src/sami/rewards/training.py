"""Training of reward models, by the loop that trains policies: sharded over processes, resumed from checkpoints.

    learner = HeadLearner(model, lessons)
    train(learner, settings, engine, seed, made_checkpoints(folder, model, settings, precision, seed, comparisons))

AdamW at a constant rate lowers the mean loss of the lessons of a step, by all weights of body and head.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from sami.errors import Resumable, UserError
from sami.files import require_space
from sami.models import pretrained
from sami.rewards.reward_model import Lesson, RewardModel
from sami.settings.rewards import HeadTraining
from sami.settings.training import Engine
from sami.spent import spend
from sami.training import loop
from sami.training.checkpoints import Checkpoints
from sami.training.loop import Diverged, Interrupted, Learner, Passed
from sami.training.run import digest
from sami.training.throughput import Arithmetic

log = logging.getLogger(__name__)


class HeadLearner(Learner):
    """A reward model and its lessons, one a query.

    Raises:
        UserError: there is no lesson, or a text is too long.
    """

    max_loss = math.inf

    def __init__(self, model: RewardModel, lessons: Sequence[Lesson]):
        if not lessons:
            raise UserError("found nothing that a reward model could learn, expected one lesson at least.")
        self.model, self.lessons, self.compute_dtype = model, lessons, model.scorer.compute_dtype
        self.items = [[model.item(reading) for reading in lesson.readings] for lesson in lessons]
        self.sizes = [sum(model.scorer.layout([item]).tokens for item in of_lesson) for of_lesson in self.items]
        self.arithmetic = Arithmetic(model.scorer)

    def __call__(self, members: list[int], batch: list[int]) -> Passed:
        found = self.model([item for i in members for item in self.items[i]])  # (E, A)
        parts = found.split([sum(len(item.responses) for item in self.items[i]) for i in members])
        each = [self.lessons[i].loss(part) for i, part in zip(members, parts, strict=True)]
        loss = torch.stack(each).sum() / len(batch)
        tokens = sum(self.sizes[i] for i in members)
        return Passed(loss, {"loss": loss.item()}, tokens, self.arithmetic.of_body(tokens))

    def diverged(self, told: str) -> Diverged:
        return Diverged(f"{told} Lower the 'learning_rate' by which this model learns.")


def require_room(base: Path, output: Path, what: str) -> None:
    """Raises UserError unless a model (`what`) of the size of its base fits beside its output, with its checkpoints."""
    # The weights themselves, and two checkpoints of weights and optimiser.
    require_space(output.parent, pretrained.size(base) * 7, f"{what} and its checkpoints")


def made_checkpoints(
    folder: Path, model: RewardModel, settings: HeadTraining, precision: str, seed: int, *learned: object
) -> Checkpoints:
    """The checkpoints of one training, in a folder.

    Args:
        model, settings, precision, seed: it is made of.
        learned: what its lessons are made of, besides; as text, it tells them apart.
    """
    told = {f"settings.{k}": v for k, v in settings.model_dump(mode="json", exclude_defaults=True).items()}
    of_model = {"base model": model.base, "outputs": model.outputs, "precision": precision}
    return Checkpoints(folder, {**of_model, "lessons": digest(*learned), "seed": seed, **told}, model.group)


def train(
    learner: HeadLearner, settings: HeadTraining, engine: Engine, seed: int, checkpoints: Checkpoints | None = None
) -> list[float]:
    """Trains body and head in place, and returns the loss of each step.

    The same lessons, settings and seed give the same model, whether it was interrupted or not; up to rounding also in
    any number of processes, all of which call this.

    Args:
        learner: whose model is trained.
        settings: epochs, rate, lessons of a step.
        engine: how it is computed.
        seed: of the order of lessons.
        checkpoints: where to resume from; they stay there until they are cleared.

    Raises:
        Resumable: the system asked the run to end, and its state is saved.
        UserError: training diverged, or as `sami.training.loop.train`.
    """
    losses: list[float] = []

    def on_step(metrics: dict) -> None:
        losses.append(metrics["loss"])
        spend("trained", metrics["tokens"])

    try:
        loop.train(learner, settings, engine, seed, learner.model.group, on_step, checkpoints)
    except Interrupted:
        raise Resumable("interrupted; the same command resumes from the last checkpoint") from None
    except Diverged:
        if checkpoints:
            checkpoints.clear()  # of settings that are to be changed now
        raise
    log.info("%d steps, loss of the first %.3f, of the last %.3f", len(losses), losses[0], losses[-1])
    return losses
