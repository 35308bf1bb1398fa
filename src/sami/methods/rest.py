"""Reinforced self-training (ReST, arXiv 2308.08998): a policy learns those of its own responses that a reward likes.

Grow: the policy draws several responses to each query, and a reward says how good each is. Improve: those above a
threshold become training examples, and the objective `supervised` raises their likelihood (Eq. 2 with the filter of
Eq. 3 and the loss of behavioural cloning). Several Improve steps with rising thresholds read the responses of one Grow
step, so that nothing is drawn or rewarded twice. With one Improve step, always from the base model, and a cap on the
responses of a query, it is ReST-EM (arXiv 2312.06585).

An example has one prompt and the responses to it that are kept; a query without any has none.

Left out: the dataset of people's answers that ReST keeps in the mixture, since there is none here (ReST-EM has none
either); the other losses that ReST tried (GOLD, V-MPO and the like), of which behavioural cloning had the highest
rewards; the end of an Improve step by the held-out reward, in place of which stands a number of epochs; weights by
reward, since with rewards of 0 or 1, as in ReST-EM, they are the filter, whatever the threshold.

Ground floor: no torch.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from sami.errors import UserError
from sami.methods.responses import told, usable
from sami.records import Constitution, Example, Response, Reward
from sami.settings.tasks import Filters

NOT_ABOVE = "reward not above the threshold"
OVER_CAP = "more than the cap of its query"

Rewarded = tuple[Response, float]


@dataclass(frozen=True)
class Choice:
    """Which of a query's responses are kept, by their rewards r: those with r > tau.

    threshold: tau, the same for all queries.
    per_query: tau is that quantile of the query's own rewards instead (a percentile, appendix A.7 of ReST).
    cap: the most of a query, those with the highest rewards; among equal ones the first. None for all.
    """

    threshold: float
    per_query: bool = False
    cap: int | None = None

    def tau(self, rewards: Sequence[float]) -> float:
        """The reward that must be exceeded, of a query with these rewards."""
        return quantile(rewards, self.threshold) if self.per_query else self.threshold


def quantile(values: Sequence[float], share: float) -> float:
    """Quantile of some values, interpolated linearly between neighbours (type 7 of Hyndman and Fan, as in numpy)."""
    ordered = sorted(values)
    position = round(share * (len(ordered) - 1), 9)  # 0.29 * 100 is a bit less than 29
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def best_responses(
    examples: Iterable[Example],
    rewards: Iterable[Reward],
    constitutions: Mapping[str, Constitution],
    filters: Filters,
    choice: Choice,
) -> tuple[list[Example], Counter[str], dict[str, Any]]:
    """The examples with the responses that are kept, in the order in which they were sampled.

    The task's filters come first: a quantile is of the rewards that they leave to a query.

    Args:
        examples: sampled from one policy.
        rewards: of every response.
        constitutions: by id.
        filters: which responses are never learned.
        choice: which of the others are kept.

    Returns:
        Examples with at least one response; counts, by reason, of the responses that are not used; and numbers of
        responses with their mean rewards, of all that were sampled and of those that are kept.

    Raises:
        UserError: there is no reward of a response, or nothing is above the threshold.
    """
    known = {record.place: record.reward for record in rewards}
    best, dropped = [], Counter[str]()
    every: list[float] = []
    kept: list[float] = []
    for example in examples:
        numbers = range(len(example.responses))
        found = [told(known, example, n, "reward", "Score the rewards of these responses again.") for n in numbers]
        every += found
        rewarded = [(example.responses[n], found[n]) for n, _ in usable(example, constitutions, filters, dropped)]
        left, counted = _choose(rewarded, choice)
        dropped.update(counted)
        kept += [reward for _, reward in left]
        if left:
            best.append(example.model_copy(update={"responses": [response for response, _ in left]}))
    if not kept:
        raise UserError(_nothing_left(every, dropped, choice))
    responses = {"responses": {"sampled": len(every), "kept": len(kept)}}
    return best, dropped, responses | {"mean_reward": {"sampled": fmean(every), "kept": fmean(kept)}}


def _choose(rewarded: Sequence[Rewarded], choice: Choice) -> tuple[list[Rewarded], Counter[str]]:
    """The responses of a query that are kept, in order, and counts of the others."""
    if not rewarded:
        return [], Counter()
    tau = choice.tau([reward for _, reward in rewarded])
    above = [number for number, (_, reward) in enumerate(rewarded) if reward > tau]  # F = 1[r > tau], Eq. 3
    best = sorted(above, key=lambda number: -rewarded[number][1])[: choice.cap]  # a stable order: ties stay in turn
    counted = {NOT_ABOVE: len(rewarded) - len(above), OVER_CAP: len(above) - len(best)}
    return [rewarded[number] for number in sorted(best)], Counter({name: n for name, n in counted.items() if n})


def _nothing_left(rewards: Sequence[float], dropped: Mapping[str, int], choice: Choice) -> str:
    """Message on a threshold that no response exceeds."""
    if choice.per_query:
        wanted = f"quantile {choice.threshold:g} of the rewards of its query"
    else:
        wanted = f"{choice.threshold:g}"
    found = f"lowest {min(rewards):.3g}, median {median(rewards):.3g}, highest {max(rewards):.3g}"
    return (
        f"none of {len(rewards)} responses is left (dropped: {dict(dropped)}): found rewards with {found}, expected "
        f"some above {wanted}. Lower 'method.thresholds', raise 'sampling.responses' or 'sampling.temperature', or "
        "take another reward."
    )
