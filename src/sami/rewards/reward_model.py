"""Reward models: a language model with a linear head, whose A outputs score a text at its last token.

    model = RewardModel.from_base(folder, ["reward"], "float32", "auto", seed, group)
    train(model, lessons, settings, tokens_per_pass=1024, seed=1)
    model.save(output)
    scores(model, [Reading("a query", "How are you? Fine. ", ["Be brief.", "Be long."])])   # (2, 1) for that reading

A reading is a text with several endings; what is common is encoded once, by the layouts of `sami.scoring`: the endings
stand where responses stand there, each with one more token, which the state at the ending's last token predicts.

The folder of a reward model is that of a prepared model, with the trained body, and beside it the head as safetensors
and a file that names its outputs and the base model. The vocabulary's head stays as it was, and is not used.

Everything runs in one process, on the GPU if there is one. Left out: adapters, and shards over several processes.

Dimensions: E endings (of all readings), A outputs, H hidden size.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sami.data.prompts import plain_tokens
from sami.distributed.processes import Processes
from sami.distributed.saving import save
from sami.errors import UserError
from sami.models import pretrained
from sami.models.folders import fingerprint, specification
from sami.models.weight_files import read_mapping
from sami.progress import Progress
from sami.scoring.layout import Item
from sami.scoring.load import load_scorer
from sami.scoring.packing import pack
from sami.scoring.scorer import Scorer
from sami.settings.rewards import HeadTraining
from sami.spent import spend
from sami.training.schedule import schedule

HEAD = "head.safetensors"
DESCRIPTION = "reward_model.json"
LARGEST_GRADIENT = 1.0  # norm to which gradients are clipped


@dataclass(frozen=True)
class Reading:
    """A text that the model reads, with different endings.

    where: of which query it is, for messages.
    beginning: what all have in common; not empty.
    endings: one score, of A outputs, behind each.
    """

    where: str
    beginning: str
    endings: list[str]


@dataclass(frozen=True)
class Lesson:
    """What a model learns at a time, of one query.

    readings: texts.
    loss: of the (E, A) scores of all their endings, in order; a number with its gradient.
    """

    readings: list[Reading]
    loss: Callable[[torch.Tensor], torch.Tensor]


class RewardModel:
    """A body, its head, and the tokenizer by which they read.

    Attributes:
        scorer: with the body.
        head: H to A.
        outputs: names of the A outputs.
        folder: that the body was loaded from.
        base: fingerprint of the base model that it was trained from.
    """

    def __init__(self, scorer: Scorer, head: nn.Linear, outputs: Sequence[str], folder: Path, base: str):
        self.scorer, self.head, self.outputs, self.folder, self.base = scorer, head, list(outputs), folder, base
        self.tokenizer = pretrained.load_tokenizer(folder)
        self.context = pretrained.context_length(scorer.model.config)

    @classmethod
    def from_base(
        cls, folder: Path, outputs: Sequence[str], precision: str, scoring: str, seed: int, group: Processes
    ) -> "RewardModel":
        """A base model with a new head, to be trained.

        Weights of the head are normal with variance 1 / (H + 1), so that scores are neither all equal nor large, and
        its biases 0.

        Args:
            folder: the prepared base model.
            outputs: names of the A outputs.
            precision: a key of `sami.distributed.sharding.PRECISIONS`.
            scoring: layout of the passes; see `Scorer.select_layout`.
            seed: of the head.
            group: this process alone.
        """
        scorer = load_scorer(folder, group, precision, scoring)
        head = _head(scorer, len(outputs))
        draw = torch.Generator().manual_seed(seed)
        drawn = torch.randn(head.weight.shape, generator=draw) / math.sqrt(head.in_features + 1)
        with torch.no_grad():
            head.weight.copy_(drawn)
            head.bias.zero_()
        return cls(scorer, head, outputs, folder, fingerprint(folder))

    @classmethod
    def load(cls, folder: Path, base: Path, scoring: str, group: Processes) -> "RewardModel":
        """A trained reward model.

        Args:
            folder: that `save` has written.
            base: the base model of the experiment that it is used in.
            scoring, group: as for `from_base`.

        Raises:
            UserError: the folder holds none, or one of another base model.
        """
        told = read_mapping(folder / DESCRIPTION)
        outputs, trained_from = told.get("outputs"), told.get("base")
        if not isinstance(outputs, list) or not outputs or not isinstance(trained_from, str):
            raise UserError(
                f"{folder / DESCRIPTION}: expected 'outputs', a list of names, and 'base', the fingerprint of a model, "
                "as a trained reward model has them. Train the reward model again."
            )
        if trained_from != fingerprint(base):
            raise UserError(
                f"{folder}: found a reward model that was trained from another base model than {base} (fingerprint "
                f"{trained_from}, expected {fingerprint(base)}). Train it again, or name the model that it was trained "
                "from."
            )
        scorer = load_scorer(folder, group, specification(folder)["dtype"], scoring)
        head = _head(scorer, len(outputs))
        _fill(head, folder / HEAD)
        return cls(scorer, head, outputs, folder, trained_from)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What training changes: the body and the head."""
        return [p for p in (*self.scorer.model.parameters(), *self.head.parameters()) if p.requires_grad]

    def item(self, reading: Reading) -> Item:
        """The tokens of a reading.

        Raises:
            UserError: they are more than the model's context.
        """
        beginning = plain_tokens(reading.beginning, self.tokenizer)
        tokens = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in reading.endings]
        longest = len(beginning) + max(map(len, tokens))
        if longest >= self.context:
            raise UserError(
                f"{reading.where}: the text that the reward model reads has {longest} tokens, and its context is of "
                f"{self.context}, one of them kept free. Shorten the reward's 'prompt', or lower "
                "sampling.max_new_tokens."
            )
        last = [self.tokenizer.eos_token_id]  # whichever: what counts is the state that predicts it
        return Item(reading.where, [beginning], [ids + last for ids in tokens], [0] * len(tokens))

    def __call__(self, items: Sequence[Item]) -> torch.Tensor:
        """(E, A) scores of the endings of some readings, in order."""
        layout = self.scorer.layout(list(items))
        states = self.scorer(layout, only_states=True)  # (N, H): of the tokens of one ending after the other
        last = torch.ones_like(layout.entry, dtype=torch.bool)
        last[:-1] = layout.entry[1:] != layout.entry[:-1]
        return self.head(states[last.to(states.device)].to(self.head.weight))

    def save(self, output: Path, group: Processes) -> None:
        """Writes the folder of the reward model, in the dtype of its base model."""
        save(self.scorer.model, self.folder, output, group)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.head.state_dict().items()}
        save_file(tensors, output / HEAD, metadata={"format": "pt"})
        told = {"outputs": self.outputs, "base": self.base}
        (output / DESCRIPTION).write_text(json.dumps(told, indent=2) + "\n")


def _head(scorer: Scorer, outputs: int) -> nn.Linear:
    embeddings: Any = scorer.model.get_output_embeddings()
    return nn.Linear(embeddings.weight.shape[1], outputs, dtype=torch.float32, device=scorer.model.device)


def _fill(head: nn.Linear, file: Path) -> None:
    """Reads the weights of a head. Raises UserError where there are none, or of another shape."""
    try:
        head.load_state_dict(load_file(file))
    except Exception as error:  # safetensors has kinds of errors of its own
        raise UserError(
            f"{file}: cannot be read as the head of a reward model ({' '.join(str(error).split()):.200}), expected "
            f"its weights {tuple(head.weight.shape)} and biases. Train the reward model again."
        ) from None


def train(
    model: RewardModel,
    lessons: Sequence[Lesson],
    settings: HeadTraining,
    tokens_per_pass: int,
    seed: int,
) -> list[float]:
    """Trains body and head by AdamW at a constant rate, and returns the loss of each step.

    A step lowers the mean loss of its lessons. The same lessons, settings and seed give the same model.

    Args:
        model: changed in place.
        lessons: one a query.
        settings: epochs, rate, lessons of a step.
        tokens_per_pass: most tokens that are encoded at once; a lesson with more of them is encoded alone.
        seed: of the order of lessons.

    Raises:
        UserError: there is no lesson, a text is too long, or training diverged.
    """
    if not lessons:
        raise UserError("found nothing that a reward model could learn, expected one lesson at least.")
    items = [[model.item(reading) for reading in lesson.readings] for lesson in lessons]
    sizes = [sum(model.scorer.layout([item]).tokens for item in of_lesson) for of_lesson in items]
    optimizer = torch.optim.AdamW(model.parameters, lr=settings.learning_rate, weight_decay=0.0)
    steps = schedule(len(lessons), settings.queries_per_step, settings.epochs, seed)
    spend("trained", sum(sizes[i] for batch in steps for i in batch))
    losses: list[float] = []
    with Progress(sum(map(len, steps)), "training the reward model", "queries") as progress:
        for number, batch in enumerate(steps, 1):
            total = 0.0
            for members in pack([sizes[i] for i in batch], tokens_per_pass):
                chosen = [batch[place] for place in members]
                found = model([item for i in chosen for item in items[i]])
                parts = found.split([sum(len(item.responses) for item in items[i]) for i in chosen])
                each = [lessons[i].loss(part) for i, part in zip(chosen, parts, strict=True)]
                loss = torch.stack(each).sum() / len(batch)
                loss.backward()
                total += loss.item()
            norm = float(torch.nn.utils.clip_grad_norm_(model.parameters, LARGEST_GRADIENT))
            if not math.isfinite(total) or not math.isfinite(norm):
                raise UserError(
                    f"training of the reward model stopped at step {number} of {len(steps)}: found the loss "
                    f"{total:.4g} and a gradient of norm {norm:.4g}, expected finite numbers. Lower the reward's "
                    "'learning_rate'."
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(total)
            progress.update(len(batch), loss=total)
    return losses


@torch.no_grad()
def scores(model: RewardModel, readings: Sequence[Reading], tokens_per_pass: int) -> list[torch.Tensor]:
    """Scores of each reading, (endings, A), on the processor.

    Args:
        tokens_per_pass: as for `train`; scores depend on it by no more than rounding.
    """
    items = [model.item(reading) for reading in readings]
    sizes = [model.scorer.layout([item]).tokens for item in items]
    spend("scored", sum(sizes))
    groups = pack(sizes, tokens_per_pass)
    found: dict[int, torch.Tensor] = {}
    with Progress(len(items), "scoring by the reward model", "texts") as progress:
        for members in groups:
            parts = model([items[i] for i in members]).cpu().split([len(items[i].responses) for i in members])
            found |= zip(members, parts, strict=True)
            progress.update(len(members))
    return [found[i] for i in range(len(items))]
