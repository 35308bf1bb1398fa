"""One iteration's training, from files to files: load, train, recover, save."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch

from sami import records
from sami.distributed.processes import Processes
from sami.distributed.saving import save
from sami.errors import Resumable, within
from sami.files import remove, require_space
from sami.models import pretrained
from sami.models.folders import fingerprint
from sami.records import TrainingExample
from sami.scoring.layout import Item
from sami.scoring.load import load_scorer
from sami.scoring.scorer import Scorer
from sami.scoring.tokens import tokenize_training
from sami.settings.training import Engine, Training
from sami.spent import spend
from sami.training import adapters, losses
from sami.training.checkpoints import Checkpoints
from sami.training.loop import Diverged, Interrupted, train
from sami.training.policy import PolicyLearner
from sami.training.reference import ReferenceStates, compute_states, head_of
from sami.training.trackers import trackers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """Everything that one iteration's training is made of.

    start: model folder that training starts from.
    reference: model folder of the reference model of a KL term.
    examples: file of training examples.
    training, engine: how to train, and how to compute it.
    seed: of the order of examples.
    name: of the run, for experiment trackers.
    tensorboard: folder for TensorBoard events.
    checkpoints: folder for the state of an unfinished run.
    """

    start: Path
    reference: Path
    examples: Path
    training: Training
    engine: Engine
    seed: int
    name: str
    tensorboard: Path
    checkpoints: Path

    def execute(self, output: Path, metrics: Path, group: Processes) -> None:
        """Trains, or goes on where an unfinished run has saved its state, and writes the policy.

        Args:
            output: model folder to write.
            metrics: JSON Lines file of every step's metrics.
            group: the processes that share the work, all of which call this.

        Raises:
            Resumable: the system asked the run to end, and its state is saved.
            UserError: the input is wrong, the machine is too small, or training diverged; then the last sound policy is
                in the folder `model.last-good` beside the checkpoints.
        """
        examples = records.read(TrainingExample, self.examples)
        losses.check(self.training, examples, str(self.examples))
        torch.manual_seed(self.seed)  # adapters start at random
        # The weights themselves, and two checkpoints of weights and optimiser.
        require_space(output.parent, pretrained.size(self.start) * 5, "the trained policy and its checkpoints")
        if self.training.lora:
            adapters.check(group.size)
        head, states = self._reference(examples, group)
        policy = Policy(self, group, head)
        items = self._items(examples, policy.scorer, self.start)
        checkpoints = Checkpoints(self.checkpoints, self._identity(items, examples), group)
        last_good = self.checkpoints.with_name("model.last-good")
        if group.main:
            remove(self.tensorboard)
            remove(last_good)
        with self._log(metrics, group) as on_step:
            learner = PolicyLearner(policy.scorer, items, examples, self.training, states)
            try:
                train(learner, self.training, self.engine, self.seed, group, on_step, checkpoints)
            except Interrupted:
                raise Resumable("interrupted; the same command resumes from the last checkpoint") from None
            except Diverged:
                step = checkpoints.load_weights(policy.scorer.model)
                if step == 0:
                    policy.load()
                policy.save(last_good)
                checkpoints.clear()  # of settings that are to be changed now
                log.error("the last good state of the policy, after step %d, is in %s", step, last_good)
                raise
        policy.save(output)
        checkpoints.clear()

    def _items(self, examples: list[TrainingExample], scorer: Scorer, folder: Path) -> list[Item]:
        """The examples in the tokens of a model."""
        context = pretrained.context_length(scorer.model.config)
        tokenizer = pretrained.load_tokenizer(folder)
        with within(str(self.examples)):
            return tokenize_training(examples, tokenizer, context=context, end_token=self.training.score_end_token)

    def _reference(
        self, examples: list[TrainingExample], group: Processes
    ) -> tuple[torch.nn.Linear | None, ReferenceStates | None]:
        """The reference model's head and states for the KL term; nothing where its weight is 0."""
        if self.training.kl_weight == 0:
            return None, None
        folder = self.checkpoints / "reference"
        scorer = load_scorer(self.reference, group, self.training.precision, self.engine.scoring)
        own = [example.model_copy(update={"negatives": []}) for example in examples]  # no KL under other prompts
        items = self._items(own, scorer, self.reference)
        key = digest(fingerprint(self.reference), digest_of(items))
        compute_states(scorer, items, self.engine.tokens_per_pass, group, folder, key)
        return head_of(scorer), ReferenceStates(folder)

    def _identity(self, items: list[Item], examples: list[TrainingExample]) -> dict[str, Any]:
        """What a checkpoint belongs to, by name; without what is at its default, so that a new key fits an old one."""
        wanted = [(e.weights, [pair.model_dump() for pair in e.pairs]) for e in examples]
        return {
            "starting model": fingerprint(self.start),
            "examples": digest(digest_of(items), wanted),
            "seed": self.seed,
            **{
                f"training.{key}": value
                for key, value in self.training.model_dump(mode="json", exclude_defaults=True).items()
            },
        }

    @contextlib.contextmanager
    def _log(self, file: Path, group: Processes) -> Iterator[Callable[[dict], None]]:
        """A function that writes the metrics of a step to the file and to the trackers, in the main process alone."""
        names = self.engine.trackers if group.main else []
        flat = {key: str(value) for key, value in self.training.model_dump().items()}
        with (
            _opened(file, group) as lines,
            trackers(names, self.name, self.tensorboard, flat) as active,
        ):

            def on_step(metrics: dict) -> None:
                lines.write(json.dumps(metrics) + "\n")
                lines.flush()
                spend("trained", metrics["tokens"])
                for tracker in active:
                    tracker.log(metrics, step=metrics["step"])

            yield on_step


class Policy:
    """The policy in memory: loaded to be trained, with adapters where they are trained in its place."""

    def __init__(self, run: Run, group: Processes, reference_head: torch.nn.Linear | None):
        self.run, self.group, self.reference_head = run, group, reference_head
        self.adapters = adapters.Adapters(run.training.lora) if run.training.lora else None
        self.load()

    def load(self) -> None:
        """Loads it from where training starts."""
        options = {"adapt": self.adapters.insert} if self.adapters else {}
        self.scorer = load_scorer(
            self.run.start,
            self.group,
            self.run.training.precision,
            self.run.engine.scoring,
            activation_checkpointing=self.run.engine.activation_checkpointing,
            reference_head=self.reference_head,
            **options,
        )

    def save(self, folder: Path) -> None:
        """Writes a whole model, adapters merged."""
        model = self.adapters.merge() if self.adapters else self.scorer.model
        save(model, self.run.start, folder, self.group)


def digest(*values: Any) -> str:
    """Digest of anything that has an unambiguous text."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def digest_of(items: list[Item]) -> str:
    return digest([(item.prompts, item.responses, item.labels) for item in items])


def _opened(file: Path, group: Processes) -> TextIO:
    return file.open("w") if group.main else open("/dev/null", "w")
