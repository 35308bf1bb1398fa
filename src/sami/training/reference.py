"""The reference model of the KL term: its hidden states at every response token, computed once and kept on disk.

KL(policy, reference) compares whole distributions over the vocabulary, so log-probabilities of the responses do not
suffice. Hidden states do, with the reference model's head, and take H numbers a token instead of V. After this the
reference model's layers need no memory.
"""

import json
import logging
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor

from sami.distributed.processes import Processes
from sami.files import remove
from sami.progress import Progress
from sami.scoring.layout import Item
from sami.scoring.passes import own_passes, token_counts
from sami.scoring.scorer import Scorer
from sami.spent import spend

log = logging.getLogger(__name__)


class ReferenceStates:
    """Hidden states of the reference model, read from disk as they are needed."""

    def __init__(self, folder: Path):
        files = [safe_open(file, framework="pt") for file in sorted(folder.glob("*.safetensors"))]
        self._file_of = {key: file for file in files for key in file.keys()}  # noqa: SIM118 (it is no dict)

    def __getitem__(self, indices: list[int]) -> torch.Tensor:
        """(M, H) states of the examples, in the order in which a layout of them has its own tokens."""
        return torch.cat([self._file_of[str(index)].get_tensor(str(index)) for index in indices])


def head_of(scorer: Scorer) -> nn.Linear:
    """A frozen copy of a model's vocabulary head."""
    head = scorer.model.get_output_embeddings()
    copy = nn.Linear(head.in_features, head.out_features, bias=head.bias is not None, device="meta")
    for name, parameter in head.named_parameters():
        whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        setattr(copy, name, nn.Parameter(whole.detach().clone(), requires_grad=False))
    return copy


def compute_states(scorer: Scorer, items: list[Item], budget: int, group: Processes, folder: Path, key: str) -> None:
    """Writes the states of all examples, unless a run with the same `key` already has.

    Args:
        scorer: of the reference model.
        items: the examples.
        budget: most tokens of a pass.
        group: the processes; each writes a file.
        folder: where to.
        key: digest of what the states depend on.
    """
    sizes = token_counts(scorer, items)
    spend("scored", sum(sizes))  # also where a run that was killed has done it
    if is_complete(folder, key):
        log.info("states of the reference model: found in %s", folder)
        return
    partial = folder.with_name(f".{folder.name}.partial")
    if group.main:
        remove(partial)
        partial.mkdir(parents=True)
    group.wait()
    own: dict[str, torch.Tensor] = {}
    with torch.no_grad(), Progress(len(items), "scoring by the reference model", "queries") as progress:
        for members, counts in own_passes(range(len(items)), sizes, budget, group):
            layout = scorer.layout([items[i] for i in members])
            states = scorer(layout, only_states=True)[layout.own.to(group.device)].cpu()
            if counts:
                lengths = [sum(map(len, items[i].responses)) for i in members]
                own |= {str(i): part.clone() for i, part in zip(members, states.split(lengths), strict=True)}
                progress.update(len(members))
    save_file(own, partial / f"{group.rank}.safetensors")
    group.wait()
    if group.main:
        (partial / "complete.json").write_text(json.dumps({"key": key}))
        remove(folder)
        os.replace(partial, folder)
    group.wait()


def is_complete(folder: Path, key: str) -> bool:
    """Whether the folder holds the states that `key` stands for."""
    file = folder / "complete.json"
    return file.exists() and json.loads(file.read_text()) == {"key": key}
