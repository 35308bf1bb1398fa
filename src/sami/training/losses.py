"""What an objective is told of training examples, beside their log-probabilities: labels, weights, pairs.

Dimensions: Q examples of a pass, C prompts, M prompts of other queries, R responses, P pairs; C and R are the largest
of the pass.
"""

from collections.abc import Sequence

import torch

from sami import objectives
from sami.errors import UserError
from sami.metrics import own_and_other
from sami.objectives import Outcome
from sami.records import TrainingExample
from sami.scoring.layout import Item
from sami.scoring.scorer import Scored
from sami.settings.training import Contrast, Joint, Likelihood, Objective, Preference, Training

CONTRASTS = {
    "sami": (objectives.sami, objectives.sami_guess),
    "sami-rows": (objectives.sami_rows, objectives.sami_rows_guess),
    "sami-columns": (objectives.sami_columns, objectives.sami_columns_guess),
}


def evaluate(training: Training, scored: Scored, examples: Sequence[TrainingExample], items: Sequence[Item]) -> Outcome:
    """Losses and metrics of the Q examples of a pass.

    Args:
        training: with the objective, and whether it takes means or sums of log-probabilities.
        scored: (Q, C + M, R) each, own prompts first.
        examples: the same Q examples.
        items: the same Q examples as tokens.
    """
    objective = training.objective
    scores = scored.mean if training.normalisation == "mean" else scored.sum
    if isinstance(objective, Contrast | Joint):
        return _contrast(objective, scores, scored, examples)
    if isinstance(objective, Likelihood):
        return objectives.likelihood(_of_labels(scores, examples), _weights(scores, examples))
    outcomes = [_preference(objective, training, *one) for one in zip(scores, examples, items, strict=True)]
    losses, metrics = zip(*outcomes, strict=True)
    return Outcome(torch.cat(losses), {name: torch.cat([m[name] for m in metrics]) for name in metrics[0]})


def _contrast(
    objective: Contrast | Joint, scores: torch.Tensor, scored: Scored, examples: Sequence[TrainingExample]
) -> Outcome:
    labels = torch.tensor([example.labels for example in examples], device=scores.device)  # (Q, R)
    own = len(examples[0].prompts)  # C, the same for all, as `check` knows
    if isinstance(objective, Joint):
        outcome = objectives.sami_joint(scores[:, :own], scores[:, own:], labels)
    else:
        outcome = CONTRASTS[objective.name][0](scores, labels)
    if scores is scored.mean:
        return outcome
    # Log-probabilities are logged as means, which are of one size whatever the lengths.
    return Outcome(outcome.loss, outcome.metrics | own_and_other(scored.mean[:, :own], labels))


def _of_labels(scores: torch.Tensor, examples: Sequence[TrainingExample]) -> torch.Tensor:
    """(Q, R) log-probability of each response under the prompt that it answers; 0 where an example has fewer."""
    labels = [example.labels + [0] * (scores.shape[2] - len(example.labels)) for example in examples]
    return scores.gather(1, torch.tensor(labels, device=scores.device)[:, None, :]).squeeze(1)


def _weights(scores: torch.Tensor, examples: Sequence[TrainingExample]) -> torch.Tensor:
    """(Q, R) weights of the responses; 0 where an example has fewer, so that nothing depends on what is not there."""
    rows = [example.weights or [1.0] * len(example.responses) for example in examples]
    return scores.new_tensor([row + [0.0] * (scores.shape[2] - len(row)) for row in rows])


def _preference(
    objective: Preference, training: Training, scores: torch.Tensor, example: TrainingExample, item: Item
) -> Outcome:
    """Outcome of one example, (1,), of its scores, (C, R)."""
    pairs = example.pairs
    prompt, chosen, rejected = (
        torch.tensor([getattr(pair, name) for pair in pairs], device=scores.device)
        for name in ("prompt", "chosen", "rejected")
    )
    reference = scores.new_tensor([pair.reference for pair in pairs])  # (P, 2), sums over tokens
    if training.normalisation == "mean":
        lengths = [[len(item.responses[place]) for place in (pair.chosen, pair.rejected)] for pair in pairs]
        reference = reference / reference.new_tensor(lengths)
    return objectives.preference(
        scores[prompt, chosen][None], scores[prompt, rejected][None], reference[None, :, 0], reference[None, :, 1],
        objective.beta, objective.label_smoothing, objective.form,
    )  # fmt: skip


def guess(objective: Objective, example: TrainingExample, vocabulary: int) -> float:
    """Loss of mean log-probabilities where every prompt, response or, without a contrast, token is equally likely."""
    if isinstance(objective, Contrast):
        return CONTRASTS[objective.name][1](len(example.prompts), len(example.responses))
    if isinstance(objective, Joint):
        return objectives.sami_joint_guess(len(example.prompts), len(example.responses), len(example.negatives))
    if isinstance(objective, Likelihood):
        return objectives.likelihood_guess(vocabulary)
    return objectives.preference_guess(objective.beta, objective.form)


def check(training: Training, examples: Sequence[TrainingExample], file: str) -> None:
    """Raises UserError where examples are none that the objective can learn from."""
    objective, first = training.objective, examples[0]
    for number, example in enumerate(examples, 1):
        where = f"{file}, line {number}: query '{example.query_id}'"
        if isinstance(objective, Contrast | Joint):
            _check_contrast(example, first, where)
        _check_negatives(example, training, where)
        if isinstance(objective, Preference):
            _check_pairs(example, where)


def _check_contrast(example: TrainingExample, first: TrainingExample, where: str) -> None:
    shape, expected = ((len(e.prompts), len(e.responses)) for e in (example, first))
    if shape != expected:
        raise UserError(
            f"{where}: {shape[0]} constitutions and {shape[1]} responses, but the examples before have {expected[0]} "
            f"and {expected[1]}. Sample all responses with the same settings."
        )
    if min(shape) < 2:
        raise UserError(
            f"{where}: {shape[0]} prompt(s) and {shape[1]} response(s), expected at least two of each to contrast. "
            "Choose the objective supervised, or make the examples of another method."
        )


def _check_negatives(example: TrainingExample, training: Training, where: str) -> None:
    found, others = len(example.negatives), training.other_queries
    expected = others * len(example.prompts)
    if found != expected:
        reason = f"{others} other queries under each of its {len(example.prompts)} constitutions" if others else "none"
        raise UserError(
            f"{where}: {found} prompts of other queries ('negatives'), but the objective {training.objective.name} "
            f"contrasts with {expected} ({reason}). Make the examples with the settings that they are trained with."
        )


def _check_pairs(example: TrainingExample, where: str) -> None:
    if not example.pairs:
        raise UserError(f"{where}: no pairs of responses, which the objective preference learns from. Leave it out.")
    for number, pair in enumerate(example.pairs):
        if pair.reference is None:
            raise UserError(
                f"{where}: 'pairs[{number}]' has no log-probabilities under the reference model ('reference'), which "
                "the objective preference compares with. Score the pairs with the reference model first."
            )
