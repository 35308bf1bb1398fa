"""Reward models: a language model with a linear head, whose A outputs score a text at its last token.

    model = RewardModel.from_base(folder, ["reward"], "float32", engine, seed, group)
    scores(model, [Reading("a query", "How are you? Fine. ", ["Be brief.", "Be long."])], 1024)  # one (2, 1) tensor
    model.save(output)

A reading is a text with several endings; what is common is encoded once, by the layouts of `sami.scoring`: the endings
stand where responses stand there, each with one more token, which the state at the ending's last token predicts.

The folder of a reward model is that of a prepared model, with the trained body, and beside it the head as safetensors
and a file that names its outputs and the base model. The vocabulary's head stays as it was, and is not used.

Body and head are sharded over the processes of a group, all of which call the same functions. `sami.rewards.training`
trains them. Left out: adapters.

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
from transformers import PreTrainedModel

from sami.data.prompts import plain_tokens
from sami.distributed.processes import Processes
from sami.distributed.saving import save, whole
from sami.distributed.sharding import shard_beside
from sami.errors import UserError
from sami.models import pretrained
from sami.models.folders import fingerprint, specification
from sami.models.weight_files import read_mapping
from sami.progress import Progress
from sami.scoring.layout import Item
from sami.scoring.load import load_scorer
from sami.scoring.passes import own_passes
from sami.scoring.scorer import Scorer
from sami.settings.training import Engine
from sami.spent import spend

HEAD = "head.safetensors"
DESCRIPTION = "reward_model.json"


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


class RewardModel(nn.Module):
    """A body, its head, and the tokenizer by which they read.

    Attributes:
        scorer: with the body.
        head: H to A, in float32.
        outputs: names of the A outputs.
        folder: that the body was loaded from.
        base: fingerprint of the base model that it was trained from.
        group: the processes that share it.
    """

    def __init__(
        self, scorer: Scorer, head: nn.Linear, outputs: Sequence[str], folder: Path, base: str, group: Processes
    ):
        super().__init__()
        shard_beside(scorer, head, group)
        self.scorer, self.head, self.outputs, self.folder, self.base = scorer, head, list(outputs), folder, base
        self.group = group
        self.tokenizer = pretrained.load_tokenizer(folder)
        self.context = pretrained.context_length(scorer.model.config)

    @classmethod
    def from_base(
        cls,
        folder: Path,
        outputs: Sequence[str],
        precision: str,
        engine: Engine,
        seed: int,
        group: Processes,
        biases: Sequence[float] | None = None,
    ) -> "RewardModel":
        """A base model with a new head, to be trained.

        Weights of the head are normal with variance 1 / (H + 1), so that scores are neither all equal nor large.

        Args:
            folder: the prepared base model.
            outputs: names of the A outputs.
            precision: a key of `sami.distributed.sharding.PRECISIONS`.
            engine: how passes are computed.
            seed: of the head.
            group: the processes that share it.
            biases: of the A outputs; None for 0.
        """
        how = engine.scoring, engine.activation_checkpointing
        scorer = load_scorer(folder, group, precision, *how, adapt=_without_vocabulary)
        head = _head(scorer, len(outputs), group)
        draw = torch.Generator().manual_seed(seed)
        drawn = torch.randn(head.weight.shape, generator=draw) / math.sqrt(head.in_features + 1)
        with torch.no_grad():
            head.weight.copy_(drawn)
            head.bias.copy_(torch.tensor(biases or [0.0] * len(outputs)))
        return cls(scorer, head, outputs, folder, fingerprint(folder), group)

    @classmethod
    def load(cls, folder: Path, base: Path, scoring: str, group: Processes) -> "RewardModel":
        """A trained reward model.

        Args:
            folder: that `save` has written.
            base: the base model of the experiment that it is used in.
            scoring: layout of the passes; see `Scorer.select_layout`.
            group: the processes that share it.

        Raises:
            UserError: there is no such base model, or the folder holds no reward model, or one of another base model.
        """
        if not (base / "config.json").is_file():
            raise UserError(f"{base}: found no config.json in it, expected the folder of a prepared model.")
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
        head = _head(scorer, len(outputs), group)
        _fill(head, folder / HEAD)
        return cls(scorer, head, outputs, folder, trained_from, group)

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

    def forward(self, items: Sequence[Item]) -> torch.Tensor:
        """(E, A) scores of the endings of some readings, in order."""
        layout = self.scorer.layout(list(items))
        states = self.scorer(layout, only_states=True)  # (N, H): of the tokens of one ending after the other
        last = torch.ones_like(layout.entry, dtype=torch.bool)
        last[:-1] = layout.entry[1:] != layout.entry[:-1]
        return self.head(states[last.to(states.device)].float())

    def save(self, output: Path) -> None:
        """Writes the folder of the reward model, in the dtype of its base model. The main process writes."""
        save(self.scorer.model, self.folder, output, self.group)
        keep = self.group.main
        gathered = {name: whole(tensor, torch.float32, keep) for name, tensor in self.head.state_dict().items()}
        if keep:
            tensors = {name: tensor.contiguous() for name, tensor in gathered.items() if tensor is not None}
            save_file(tensors, output / HEAD, metadata={"format": "pt"})
            told = {"outputs": self.outputs, "base": self.base}
            (output / DESCRIPTION).write_text(json.dumps(told, indent=2) + "\n")
        self.group.wait()


def _head(scorer: Scorer, outputs: int, group: Processes) -> nn.Linear:
    embeddings: Any = scorer.model.get_output_embeddings()
    return nn.Linear(embeddings.weight.shape[1], outputs, dtype=torch.float32, device=group.device)


def _without_vocabulary(model: PreTrainedModel) -> PreTrainedModel:
    """Freezes the vocabulary's head, where it has weights of its own: no score depends on it."""
    embeddings, vocabulary = model.get_input_embeddings(), model.get_output_embeddings()
    for parameter in vocabulary.parameters():
        parameter.requires_grad_(parameter is embeddings.weight)
    return model


def _fill(head: nn.Linear, file: Path) -> None:
    """Reads the weights of a head. Raises UserError where there are none, or of another shape."""
    try:
        head.load_state_dict(load_file(file))
    except Exception as error:  # safetensors has kinds of errors of its own
        raise UserError(
            f"{file}: cannot be read as the head of a reward model ({' '.join(str(error).split()):.200}), expected "
            f"its weights {tuple(head.weight.shape)} and biases. Train the reward model again."
        ) from None


@torch.no_grad()
def scores(model: RewardModel, readings: Sequence[Reading], tokens_per_pass: int) -> list[torch.Tensor]:
    """Scores of each reading, (endings, A), on the processor. Processes share the work, and each gets all of them.

    Args:
        tokens_per_pass: most tokens that are encoded at once; a reading with more of them is encoded alone. Scores
            depend on it by no more than rounding.
    """
    items = [model.item(reading) for reading in readings]
    sizes = [model.scorer.layout([item]).tokens for item in items]
    spend("scored", sum(sizes))
    own: dict[int, torch.Tensor] = {}
    with Progress(len(items), "scoring by the reward model", "texts") as progress:
        for members, counts in own_passes(range(len(items)), sizes, tokens_per_pass, model.group):
            parts = model([items[i] for i in members]).cpu().split([len(items[i].responses) for i in members])
            if counts:
                own |= zip(members, parts, strict=True)
                progress.update(len(members))
    found = {i: part for share in model.group.everyone(own) for i, part in share.items()}
    return [found[i] for i in range(len(items))]
