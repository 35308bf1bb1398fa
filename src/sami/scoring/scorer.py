"""The scorer: log-probabilities of every response under every constitution, by any causal language model."""

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedModel

from sami.errors import UserError
from sami.objectives import kl_divergence
from sami.scoring import tree_attention
from sami.scoring.head import chunk_size, logits, soft_cap, token_log_probabilities
from sami.scoring.layout import LAYOUTS, Item, Layout, Rows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What a pass over a layout gives.

    sum, mean: (Q, C, R) log-probability of each response under each constitution, in nats: its sum and its mean over
        the response's tokens.
    kl: KL(policy, reference) summed over the tokens of responses under the constitutions they were written for; None
        where no reference was given.
    """

    sum: torch.Tensor
    mean: torch.Tensor
    kl: torch.Tensor | None = None


class Scorer(nn.Module):
    """A model with the way in which it scores.

    It is a module so that everything happens inside one forward pass, as sharding needs it: parameters are whole only
    during that pass and its backward pass.

    Args:
        model: a causal language model. Call `choose` once its weights are there.
        reference_head: the vocabulary head of the reference model of a KL term.
        compute_dtype: of the passes, where it is not that of the weights.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        reference_head: nn.Linear | None = None,
        compute_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.model = model
        self.reference_head = reference_head
        self.compute_dtype = compute_dtype or model.dtype
        self.way = "padded"
        self.recomputes = False  # whether layers run again in the backward pass
        usual = model.config._attn_implementation
        self._usual_attention = "sdpa" if usual == tree_attention.NAME else usual

    def choose(self, way: str = "auto") -> "Scorer":
        """Decides how this model scores: in the given way, or in the first of `LAYOUTS` that fits it.

        A way fits if the model has what it needs and if, on a small random example, it gives what the model itself
        says about plain sequences.

        Raises:
            UserError: the given way does not fit, or none does.
        """
        self.eval()  # without dropout: a matrix of noise teaches nothing
        reasons = []
        for candidate in LAYOUTS if way == "auto" else [way]:
            reason = self._lacks(candidate) or self._deviates(candidate)
            if reason is None:
                log.info("scoring: %s%s", candidate, "".join(f" ({reason})" for reason in reasons))
                return self
            reasons.append(f"not {candidate}, because {reason}")
        raise UserError(
            f"{type(self.model).__name__} cannot be scored: {'; '.join(reasons)}. "
            + ("Choose another engine.scoring, or 'auto'." if way != "auto" else "This architecture needs support.")
        )

    def _lacks(self, way: str) -> str | None:
        """What `way` needs and the model does not have."""
        forward = inspect.signature(self.model.base_model.forward).parameters
        layers = set(getattr(self.model.config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
        if way != "padded" and (self.model._is_stateful or layers):
            return "not all of its layers are attention"
        if way == "shared" and not (self.model._supports_attention_backend and "position_ids" in forward):
            return "its attention cannot be replaced"
        if way == "cached" and "past_key_values" not in forward:
            return "it keeps no key-value cache"
        if way == "cached" and self.recomputes:
            return "layers that run again (engine.activation_checkpointing) would fill the cache twice"
        return None

    def _deviates(self, way: str) -> str | None:
        """Sets the way, and says whether its scores differ from those of the library's own logits."""
        self._set(way)
        draw = torch.Generator().manual_seed(0)
        vocabulary = self.model.get_input_embeddings().num_embeddings
        one, two, three, four = (torch.randint(vocabulary, (n,), generator=draw).tolist() for n in (24, 3, 5, 1))
        probe = [Item("probe", [one + two, one + three], [three, four], [0, 1])]
        try:
            with torch.no_grad():
                found = self(self.layout(probe)).sum
                self._set("padded")
                expected = self(LAYOUTS["padded"](probe), plainly=True).sum
        except Exception as error:  # whatever a model may raise that was not made for this
            return str(error) or type(error).__name__
        self._set(way)
        tolerance = 2e-2 if self.compute_dtype.itemsize < 4 else 2e-3
        difference = float(((found - expected) / expected).abs().max())
        if difference < tolerance:  # false for not-a-number, too
            return None
        return f"on a small example it differs from plain sequences by {difference:.1%}"

    def _set(self, way: str) -> None:
        self.way = way
        self.model.set_attn_implementation(tree_attention.NAME if way == "shared" else self._usual_attention)

    @property
    def layout(self) -> Callable[[list[Item]], Layout]:
        """Lays examples out in this scorer's way."""
        return LAYOUTS[self.way]

    def forward(
        self,
        layout: Layout,
        reference_states: torch.Tensor | None = None,
        plainly: bool = False,
        only_states: bool = False,
    ) -> Scored | torch.Tensor:
        """Scores the pairs of a layout.

        Args:
            layout: made by `self.layout`.
            reference_states: (M, H) the reference model's states at the tokens that `layout.own` marks.
            plainly: use the library's own logits at every position, which costs the most.
            only_states: return the (N, H) last hidden states that predict the response tokens instead of scores.
        """
        if plainly:
            rows, place = layout.rows, layout.place.to(self.model.device)
            values = self._call(self.model, rows).logits.flatten(0, 1)[place].float().log_softmax(-1)
            target = layout.target.to(values.device)
            return Scored(*layout.reduce(values.gather(1, target[:, None]).squeeze(1)))
        states = self._states(layout)
        if only_states:
            return states
        total, mean = layout.reduce(token_log_probabilities(self.model, states, layout.target.to(states.device)))
        if reference_states is None:
            return Scored(total, mean)
        return Scored(total, mean, self._kl(states[layout.own.to(states.device)], reference_states.to(states)))

    def _states(self, layout: Layout) -> torch.Tensor:
        if layout.behind is not None:
            states = self._behind(layout)
        else:
            special = {} if layout.tree is None else {"attention_mask": None, "tree": layout.tree}
            states = self._call(self.model.base_model, layout.rows, **special).last_hidden_state.flatten(0, 1)
        return states[layout.place.to(states.device)]

    def _call(self, model: nn.Module, rows: Rows, **special):
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

    def _behind(self, layout: Layout) -> torch.Tensor:
        """(positions, H) states of the prompts, then of the responses that read the prompts' cache."""
        behind, parent = layout.behind
        cache = DynamicCache()
        body = self.model.base_model
        prompts = self._call(body, layout.rows, past_key_values=cache, use_cache=True).last_hidden_state
        for layer in cache.layers:
            index = parent.to(layer.keys.device)
            layer.keys, layer.values = layer.keys[index], layer.values[index]
        mask = torch.cat([layout.rows.mask[parent], behind.mask], dim=1).long().to(prompts.device)
        responses = self._call(body, behind, attention_mask=mask, past_key_values=cache, use_cache=True)
        return torch.cat([prompts.flatten(0, 1), responses.last_hidden_state.flatten(0, 1)])

    def _kl(self, states: torch.Tensor, reference_states: torch.Tensor) -> torch.Tensor:
        head, cap = self.model.get_output_embeddings(), soft_cap(self.model)

        def part(policy, reference):
            one, other = logits(head, policy, cap), logits(self.reference_head, reference, cap)
            return kl_divergence(one.log_softmax(-1), other.log_softmax(-1)).sum()

        size = max(1, chunk_size(self.reference_head.weight) // 4)  # several such tensors are alive at a time
        parts = zip(states.split(size), reference_states.split(size), strict=True)
        return torch.stack([checkpoint(part, *chunk, use_reentrant=False) for chunk in parts]).sum()
