"""A policy that learns: the loss of a pass over training examples, by the objective and the KL term."""

import math
from collections.abc import Sequence
from typing import Any

from sami.records import TrainingExample
from sami.scoring.layout import Item
from sami.scoring.passes import token_counts
from sami.scoring.scorer import Scorer
from sami.settings.training import Training
from sami.training.loop import Diverged, Learner, Passed
from sami.training.losses import evaluate, guess
from sami.training.reference import ReferenceStates
from sami.training.throughput import Arithmetic


class PolicyLearner(Learner):
    """A policy and its training examples.

    Args:
        scorer: with the policy.
        items: the examples as tokens.
        examples: the same examples, with what is wanted of them, as `losses.check` allows them.
        settings: with the objective, and the weight of the KL term.
        reference: for the KL term; None where its weight is 0.
    """

    def __init__(
        self,
        scorer: Scorer,
        items: Sequence[Item],
        examples: Sequence[TrainingExample],
        settings: Training,
        reference: ReferenceStates | None = None,
    ):
        self.scorer, self.items, self.examples = scorer, items, examples
        self.settings, self.reference = settings, reference
        self.model, self.compute_dtype = scorer.model, scorer.compute_dtype
        self.sizes = token_counts(scorer, items)
        self.max_loss = settings.max_loss if settings.max_loss is not None else self._usual_limit()
        self.arithmetic = Arithmetic(scorer)

    def __call__(self, members: list[int], batch: list[int]) -> Passed:
        items = [self.items[i] for i in members]
        layout = self.scorer.layout(items)
        states = None if self.reference is None else self.reference[members]
        scored = self.scorer(layout, states)
        outcome = evaluate(self.settings, scored, [self.examples[i] for i in members], items)
        loss = outcome.loss.sum() / len(batch)
        each = {"loss": outcome.loss, **outcome.metrics}
        metrics = {name: value.sum().item() / len(batch) for name, value in each.items()} | {"kl": 0.0}
        if scored.kl is not None:  # a mean over the response tokens of the step
            tokens = sum(len(response) for i in batch for response in self.items[i].responses)
            loss = loss + self.settings.kl_weight * scored.kl / tokens
            metrics["kl"] = scored.kl.item() / tokens
        return Passed(loss, metrics, layout.tokens, self.arithmetic.of(layout))

    def diverged(self, told: str) -> Diverged:
        return Diverged(
            f"{told} Lower training.learning_rate, add training.warmup_steps or training.kl_weight, or clip harder "
            "with training.max_grad_norm."
        )

    def _usual_limit(self) -> float:
        """Twice the loss of a guess. In a contrast of sums, a difference in length alone can cost a guess a token."""
        vocabulary: Any = self.scorer.model.get_input_embeddings().num_embeddings
        if self.settings.normalisation == "sum":
            return 2 * math.log(vocabulary) * max(len(r) for item in self.items for r in item.responses)
        return 2 * guess(self.settings.objective, self.examples[0], vocabulary)
