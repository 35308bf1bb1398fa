"""The scorer: log-probabilities of every response under every constitution, by any causal language model.

    scorer = Scorer(model).select_layout()
    layout = scorer.layout([Item("a query", prompts, responses, labels)])  # token ids
    scorer(layout).mean                                                    # (Q, C, R), with gradients

The model is lent for a pass: its attention and its dropout are afterwards what they were before.

Dimensions: see `sami.scoring.layout`.
"""

import inspect
import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedModel

from sami.errors import UserError
from sami.objectives import kl_divergence
from sami.scoring import tree_attention
from sami.scoring.head import chunk_size, logits, soft_cap, token_log_probabilities
from sami.scoring.layout import Item, Layout, Rows
from sami.scoring.sequences import cached, padded
from sami.scoring.trees import shared

log = logging.getLogger(__name__)

LAYOUTS = {"shared": shared, "cached": cached, "padded": padded}  # what encodes fewer tokens comes first


@dataclass(frozen=True)
class Scored:
    """Result of a pass over a layout.

    sum, mean: (Q, C, R) log-probability of each response under each constitution, in nats: its sum and its mean over
        the response's tokens.
    kl: KL(policy, reference) summed over the tokens of responses under the constitutions they were written for; None
        where no reference was given.
    """

    sum: torch.Tensor
    mean: torch.Tensor
    kl: torch.Tensor | None = None


class Scorer(nn.Module):
    """A model with the layout in which it scores.

    It is a module so that everything happens inside one forward pass, as sharding needs it: parameters are whole only
    during that pass and its backward pass.

    Dropout is off during a pass, since a matrix of noise teaches nothing, and with it the library's own gradient
    checkpointing.

    Args:
        model: a causal language model. Its scores are those of plain sequences (`padded`) until `select_layout` has
            found a layout that takes fewer tokens, once the weights are there.
        reference_head: the vocabulary head of the reference model of a KL term.
        compute_dtype: of the passes, where it is not that of the weights.
        recomputes: whether layers run again in the backward pass. They need the attention of the pass then, too, so the
            model keeps it until the next pass.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        reference_head: nn.Linear | None = None,
        compute_dtype: torch.dtype | None = None,
        recomputes: bool = False,
    ):
        super().__init__()
        self.model = model
        self.reference_head = reference_head
        self.compute_dtype = compute_dtype or model.dtype
        self.recomputes = recomputes
        self.layout_name = "padded"
        self._changes = ExitStack()  # of the model, which closing it takes back

    def select_layout(self, name: str = "auto") -> "Scorer":
        """Selects the layout in which this model scores: the named one, or the first of `LAYOUTS` that fits it.

        A layout fits if the model has what it needs and if, on a small random example, its scores are those that the
        model's own logits of plain sequences give.

        Raises:
            UserError: the named layout does not fit, or none does.
        """
        reasons: list[str] = []
        for candidate in LAYOUTS if name == "auto" else [name]:
            reason = self._missing_feature(candidate) or self._deviation(candidate)
            if reason is None:
                self.layout_name = candidate
                log.info("scoring: %s%s", candidate, "".join(f" ({reason})" for reason in reasons))
                return self
            reasons.append(f"not {candidate}, because {reason}")
        raise UserError(
            f"{type(self.model).__name__} cannot be scored: {'; '.join(reasons)}. "
            + ("Choose another engine.scoring, or 'auto'." if name != "auto" else "This architecture needs support.")
        )

    def _missing_feature(self, layout_name: str) -> str | None:
        """A feature that a layout needs and the model lacks; None where there is none."""
        forward = inspect.signature(self.model.base_model.forward).parameters
        if layout_name == "shared":
            return tree_attention.missing_feature(self.model)
        if layout_name == "cached" and tree_attention.other_layers(self.model):
            return "not all of its layers are attention"
        if layout_name == "cached" and "past_key_values" not in forward:
            return "it keeps no key-value cache"
        if layout_name == "cached" and self.recomputes:
            return "layers that run again (engine.activation_checkpointing) would fill the cache twice"
        return None

    def _deviation(self, layout_name: str) -> str | None:
        """Distance of a layout's scores from those of the library's own logits, in words; None where it is small."""
        draw = torch.Generator().manual_seed(0)
        vocabulary: Any = self.model.get_input_embeddings().num_embeddings
        one, two, three, four = (torch.randint(vocabulary, (n,), generator=draw).tolist() for n in (24, 3, 5, 1))
        # Prompts with a common beginning, so that a tree has an inner node; a response of one token has none.
        probe = [Item("probe", [one + two, one + three], [three, four], [0, 1])]
        try:
            with torch.no_grad():
                found = self(LAYOUTS[layout_name](probe)).sum
                expected = self(padded(probe), library_logits=True).sum
        except Exception as error:  # whatever a model may raise that was not made for this
            return str(error) or type(error).__name__
        tolerance = 2e-2 if self.compute_dtype.itemsize < 4 else 2e-3
        difference = float(((found - expected) / expected).abs().max())
        if difference < tolerance:  # false for not-a-number, too
            return None
        return f"on a small example it differs from plain sequences by {difference:.1%}"

    def layout(self, items: list[Item]) -> Layout:
        """Lays examples out as `select_layout` has found best."""
        return LAYOUTS[self.layout_name](items)

    def forward(
        self,
        layout: Layout,
        reference_states: torch.Tensor | None = None,
        library_logits: bool = False,
        only_states: bool = False,
    ) -> Scored | torch.Tensor:
        """Scores the pairs of a layout.

        Args:
            layout: made by `self.layout`.
            reference_states: (M, H) the reference model's states at the tokens that `layout.own` marks.
            library_logits: use the library's own logits at every position of a `padded` layout, which costs the most.
            only_states: return the (N, H) last hidden states that predict the response tokens instead of scores.
        """
        self._prepare_model(layout)
        try:
            if library_logits:
                return self._score_by_library(layout)
            states = self._states(layout)  # (N, H)
            if only_states:
                return states
            values = token_log_probabilities(self.model, states, layout.target.to(states.device))  # (N,)
            total, mean = layout.reduce(values)
            if reference_states is None:
                return Scored(total, mean)
            return Scored(total, mean, self._kl(states[layout.own.to(states.device)], reference_states.to(states)))
        finally:
            if not self.recomputes:
                self._changes.close()

    def _prepare_model(self, layout: Layout) -> None:
        """Switches the model's dropout off and, for trees, its attention; what the pass before left is taken back."""
        self._changes.close()
        noisy = [module for module in self.model.modules() if module.training]
        for module in noisy:
            module.training = False
            self._changes.callback(setattr, module, "training", True)
        if layout.tree is not None:
            self._changes.enter_context(tree_attention.instead_of_own(self.model))

    def _score_by_library(self, layout: Layout) -> Scored:
        place = layout.place.to(self.model.device)  # (N,)
        values = self._call(self.model, layout.rows).logits.flatten(0, 1)[place].float().log_softmax(-1)  # (N, V)
        return Scored(*layout.reduce(values.gather(1, layout.target.to(values.device)[:, None]).squeeze(1)))

    def _states(self, layout: Layout) -> torch.Tensor:
        """(N, H) last hidden states that predict the response tokens."""
        if layout.behind is not None:
            states = self._states_behind(layout.rows, *layout.behind)
        else:
            special = {} if layout.tree is None else {"attention_mask": None, "tree": layout.tree}
            states = self._call(self.model.base_model, layout.rows, **special).last_hidden_state.flatten(0, 1)
        return states[layout.place.to(states.device)]  # the head sees no other positions

    def _call(self, model: nn.Module, rows: Rows, **special: Any) -> Any:
        """The output of the model, or its body, for rows of tokens. Arguments that it does not know are left out."""
        device = self.model.device
        known = inspect.signature(model.forward).parameters
        usual = {
            "attention_mask": rows.mask.long().to(device),
            "position_ids": rows.position_ids.to(device),  # unknown to recurrent models, for example
            "use_cache": False,
        }
        arguments = {name: value for name, value in usual.items() if name in known} | special
        return model(input_ids=rows.input_ids.to(device), **arguments)

    def _states_behind(self, rows: Rows, behind: Rows, parent: torch.Tensor) -> torch.Tensor:
        """(B L + B' L', H) states of the prompts, then of the responses that read the prompts' cache."""
        cache = DynamicCache()
        body = self.model.base_model
        prompts = self._call(body, rows, past_key_values=cache, use_cache=True).last_hidden_state  # (B, L, H)
        cache.batch_select_indices(parent.to(prompts.device))  # each response reads a copy of its prompt's
        mask = torch.cat([rows.mask[parent], behind.mask], dim=1).long().to(prompts.device)  # (B', L + L')
        responses = self._call(body, behind, attention_mask=mask, past_key_values=cache, use_cache=True)
        return torch.cat([prompts.flatten(0, 1), responses.last_hidden_state.flatten(0, 1)])

    def _kl(self, states: torch.Tensor, reference_states: torch.Tensor) -> torch.Tensor:
        """Sum over M tokens of KL(policy, reference), of whole distributions; states are (M, H)."""
        head, cap, reference_head = self.model.get_output_embeddings(), soft_cap(self.model), self.reference_head
        assert reference_head is not None, "states of a reference model need its head"

        def part(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
            one, other = logits(head, policy, cap), logits(reference_head, reference, cap)
            return kl_divergence(one.log_softmax(-1), other.log_softmax(-1)).sum()

        size = max(1, chunk_size(reference_head.weight) // 4)  # several such tensors are alive at a time
        parts = zip(states.split(size), reference_states.split(size), strict=True)
        return torch.stack([checkpoint(part, *chunk, use_reentrant=False) for chunk in parts]).sum()
