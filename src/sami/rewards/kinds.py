"""The kinds of rewards, and how each rewards.

A kind is named in its settings class (`sami.settings.rewards`) and has its function here. It takes all responses at
once, so that one that runs a model can load it once.
"""

import math
from collections.abc import Callable, Sequence

from sami.analysis.statistics.relevance import relevance
from sami.errors import UserError
from sami.judging import checks
from sami.records import Constitution
from sami.rewards.candidates import Candidate, Means, Value
from sami.settings.base import Settings
from sami.settings.rewards import ChecksReward, JudgeReward, LearnedReward, RelevanceReward, SumReward


def values(candidates: Sequence[Candidate], name: str, means: Means) -> list[Value]:
    """Rewards of responses by a reward of any kind, one each, in their order.

    Args:
        candidates: the responses.
        name: of the reward.
        means: what it rewards with.

    Raises:
        UserError: a response lacks what the reward reads, or the run; or a judge gives no verdicts.
    """
    return KINDS[type(means.rewards[name])](candidates, means.rewards[name], means)


def _by_checks(candidates: Sequence[Candidate], settings: ChecksReward, means: Means) -> list[Value]:
    """Mean degrees; the parts are the degrees by statement."""
    for constitution in {id(c.constitution): c.constitution for c in candidates}.values():
        _require_checks(constitution)
    found = [checks.degrees(candidate.text, candidate.constitution) for candidate in candidates]
    return [Value(sum(degrees.values()) / len(degrees), degrees) for degrees in found]


def _require_checks(constitution: Constitution) -> None:
    """Raises UserError where a statement has no check."""
    for statement in constitution.statements:
        if statement.check is None:
            raise UserError(
                f"constitution '{constitution.id}': the statement {statement.text!r} of the principle "
                f"'{statement.principle}' has no check, expected one, since a reward of kind checks is the mean of "
                "their degrees. Write a check in the file of principles, or take another reward."
            )


def _by_relevance(candidates: Sequence[Candidate], settings: RelevanceReward, means: Means) -> list[Value]:
    """Margins on a scale from 0 to 1; the part is the margin in nats per token."""
    found = []
    for candidate in candidates:
        if candidate.relevance is None:
            raise UserError(
                f"{candidate.where}: found no relevance of the response, expected a record of each, which a reward of "
                "kind relevance reads. Score the relevance of these responses again."
            )
        found.append(relevance(candidate.relevance.alone, candidate.relevance.tokens).margin)
    return [Value(min(1.0, max(0.0, nats / settings.full_margin)), {"margin": nats}) for nats in found]


def _by_judge(candidates: Sequence[Candidate], settings: JudgeReward, means: Means) -> list[Value]:
    from sami.rewards import judged

    return judged.values(candidates, settings, means)


def _by_reward_model(candidates: Sequence[Candidate], settings: LearnedReward, means: Means) -> list[Value]:
    """The logistic function of the scores, which are the parts.

    Training sets the differences of scores and not their level, so these rewards compare responses to one query.
    """
    from sami.rewards.learned import Answer, response_scores

    if means.reward_model is None or means.base_model is None or means.engine is None:
        raise UserError(
            "found no reward model, expected its folder (--reward-model), the base model that it was trained from "
            "(--base-model) and how to compute it (--engine), since a reward of kind learned is its score. Name them."
        )
    answers = [Answer(c.where, c.query.text, c.text, c.constitution.statements) for c in candidates]
    scores = response_scores(answers, settings.prompt, means.reward_model, means.base_model, means.engine)
    return [Value(logistic(score), {"score": score}) for score in scores]


def logistic(score: float) -> float:
    """1 / (1 + exp(-score)), also where the exponential would be too large for a number."""
    return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))


def _by_sum(candidates: Sequence[Candidate], settings: SumReward, means: Means) -> list[Value]:
    """Weighted means; the parts are the members' rewards."""
    members = {member: values(candidates, member, means) for member in settings.members}
    total = sum(settings.weights.values())
    found = []
    for place in range(len(candidates)):
        parts = {member: rewarded[place].reward for member, rewarded in members.items()}
        found.append(Value(sum(settings.weights[member] * part for member, part in parts.items()) / total, parts))
    return found


KINDS: dict[type[Settings], Callable[..., list[Value]]] = {
    ChecksReward: _by_checks,
    RelevanceReward: _by_relevance,
    JudgeReward: _by_judge,
    LearnedReward: _by_reward_model,
    SumReward: _by_sum,
}
