"""Pairs of sampled responses with a label which is better, of which a reward model is trained: `labels` says by what.

`checks` follows SALMON (arXiv 2310.05910; `aggregate_synthetic_preference.py` of IBM/SALMON at commit d512401), with
degrees of checks where its judge's scores stand, so what comes of it is called `salmon-checks`. For each pair of
responses (a, b) a set of principles is drawn, as many as a geometric number with parameter 0.2, and each is negated
with probability one half. The score of a principle is degree(a) - degree(b), over the variance of its scores; negation
turns its sign. The largest absolute score alone decides which response is better; where it is 0 there is no comparison.

`contrast` is the label of RLCD (arXiv 2307.12950, section 3): the response under the constitution that wants every
principle is better than one under another.

On held-out queries no label is turned round. With `checks` they have a comparison for each pair and principle alone
that tells the responses apart, wanted and negated, so that one can see whether the model heeds what it reads.

No torch.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sami.errors import UserError
from sami.judging.checks import degree
from sami.records import Comparison, Constitution, Example, Principle, Query, Response, Statement
from sami.settings.rewards import LearnedReward

STOP = 0.2  # parameter of the geometric number of principles

Pair = tuple[Response, Response]


class Drawn(NamedTuple):
    """The pairs of responses to one query that are compared.

    held_out: whether the reward model is measured on them.
    """

    example: Example
    query: Query
    pairs: list[Pair]
    held_out: bool


def compare(
    examples: Sequence[Example],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    principles: Sequence[Principle],
    settings: LearnedReward,
    seed: int,
) -> list[Comparison]:
    """Comparisons of the responses of one iteration, query by query.

    Args:
        examples: of one policy.
        queries, constitutions: by id.
        principles: those with a check are read, where checks decide.
        settings: labels, and how many comparisons are drawn.
        seed: of all draws.

    Raises:
        UserError: there is nothing to compare, in training or on held-out queries, or nothing that decides.
    """
    kinds = {
        "checks": lambda drawn: _by_checks(drawn, principles, settings, seed),
        "contrast": lambda drawn: _by_contrast(drawn, settings, seed),
    }
    comparable = _differing if settings.labels == "checks" else _contrasted(constitutions)
    drawn = _draw(examples, queries, settings, seed, comparable)
    found = list(kinds[settings.labels](drawn))
    for held_out, name in ((False, "to train on"), (True, "on held-out queries")):
        if not any(comparison.held_out is held_out for comparison in found):
            pairs = sum(len(each.pairs) for each in drawn if each.held_out is held_out)
            raise UserError(
                f"found no comparison {name} for the reward model: {pairs} pairs of different responses to "
                f"{len({e.query_id for e in examples})} queries, which all are ties; expected responses that differ in "
                "what the labels read. Raise 'queries.train', sampling.responses, sampling.temperature or the reward's "
                f"'pairs' or 'held_out', or take other 'labels' than {settings.labels}."
            )
    return found


def held_out_queries(names: Sequence[str], share: float, seed: int) -> set[str]:
    """Queries on which a reward model is measured: one at least, and one at least is left to train on.

    Raises:
        UserError: there is a single query.
    """
    if len(names) < 2:
        raise UserError(
            f"found {len(names)} queries with responses that can be compared, expected two at least, one to train a "
            "reward model on and one to measure it on. Raise 'queries.train', sampling.responses or "
            "sampling.temperature."
        )
    count = min(max(1, round(share * len(names))), len(names) - 1)
    return set(random.Random(f"reward-held-out-{seed}").sample(list(names), count))


def _draw(
    examples: Sequence[Example],
    queries: Mapping[str, Query],
    settings: LearnedReward,
    seed: int,
    comparable: Callable[[Example], list[Pair]],
) -> list[Drawn]:
    """Pairs of responses of each example that has any."""
    possible = [(example, pairs) for example in examples if (pairs := comparable(example))]
    held_out = held_out_queries(
        list(dict.fromkeys(example.query_id for example, _ in possible)), settings.held_out, seed
    )
    drawn = []
    for example, pairs in possible:
        draw = random.Random(f"reward-pairs-{seed}-{example.query_id}-{example.set_id}")
        chosen = draw.sample(pairs, min(settings.pairs, len(pairs)))
        drawn.append(Drawn(example, queries[example.query_id], chosen, example.query_id in held_out))
    return drawn


def _differing(example: Example) -> list[Pair]:
    """All pairs of different responses that are not empty."""
    return [(a, b) for a, b in itertools.combinations(example.responses, 2) if a.text and b.text and a.text != b.text]


def _contrasted(constitutions: Mapping[str, Constitution]) -> Callable[[Example], list[Pair]]:
    """The same of those under the constitution that wants every principle, first, and under others."""

    def pairs(example: Example) -> list[Pair]:
        wanted, others = (
            [r for r in example.responses if constitutions[example.constitution_ids[r.constitution]].positive is side]
            for side in (True, False)
        )
        return [(a, b) for a, b in itertools.product(wanted, others) if a.text and b.text and a.text != b.text]

    return pairs


def _by_contrast(drawn: Sequence[Drawn], settings: LearnedReward, seed: int) -> Iterator[Comparison]:
    for each in drawn:
        draw = random.Random(f"reward-labels-{seed}-{each.example.query_id}-{each.example.set_id}")
        for better, worse in each.pairs:
            yield _comparison(each, better, worse, settings, draw)


def _by_checks(
    drawn: Sequence[Drawn], principles: Sequence[Principle], settings: LearnedReward, seed: int
) -> Iterator[Comparison]:
    checked = [principle for principle in principles if principle.check is not None]
    if not checked:
        raise UserError(
            "none of the principles has a check, expected one at least, since 'labels: checks' compares responses by "
            "them. Write a check in the file of principles, or take 'labels: contrast'."
        )
    variances = score_variances([pair for each in drawn for pair in each.pairs], checked)
    telling = [principle for principle in checked if variances[principle.id] > 0]
    for each in drawn:
        draw = random.Random(f"reward-labels-{seed}-{each.example.query_id}-{each.example.set_id}")
        for pair in each.pairs:
            if each.held_out:
                sets = [[(principle, wanted)] for principle in telling for wanted in (True, False)]
            else:
                sets = [principle_set(checked, settings.most_principles, draw) for _ in range(settings.draws)]
            for chosen in sets:
                signed = [
                    (1 if wanted else -1) * score(principle, pair) / (variances[principle.id] or 1)
                    for principle, wanted in chosen
                ]
                place = max(range(len(signed)), key=lambda i: abs(signed[i]))  # of equal ones the first
                if signed[place] == 0:
                    continue
                better, worse = pair if signed[place] > 0 else pair[::-1]
                told = {"decided_by": chosen[place][0].id, "margin": abs(signed[place])}
                yield _comparison(each, better, worse, settings, draw, statements(chosen), **told)


def score(principle: Principle, pair: Pair) -> float:
    """How much better the first response follows a principle than the second: the difference of degrees, -1 to 1."""
    assert principle.check is not None
    first, second = (degree(principle.check, response.text) for response in pair)
    return first - second


def score_variances(pairs: Sequence[Pair], principles: Sequence[Principle]) -> dict[str, float]:
    """Variance of each principle's scores, of pairs in both orders, whose mean is 0: by id."""
    return {p.id: sum(score(p, pair) ** 2 for pair in pairs) / max(1, len(pairs)) for p in principles}


def principle_set(principles: Sequence[Principle], most: int, draw: random.Random) -> list[tuple[Principle, bool]]:
    """Different principles in random order, each with whether it is wanted or negated.

    Their number is geometric, drawn again where there are not so many or `most` is exceeded.
    """
    most = min(most, len(principles))
    while (count := _geometric(draw)) > most:
        pass
    return [(principle, draw.random() < 0.5) for principle in draw.sample(list(principles), count)]


def _geometric(draw: random.Random) -> int:
    """Trials until the first success, of probability `STOP` each."""
    count = 1
    while draw.random() >= STOP:
        count += 1
    return count


def statements(chosen: Sequence[tuple[Principle, bool]]) -> list[Statement]:
    """The lines that the model reads of some principles."""
    return [
        Statement(principle=principle.id, wanted=wanted, text=principle.text if wanted else principle.opposite)
        for principle, wanted in chosen
    ]


def _comparison(
    drawn: Drawn,
    better: Response,
    worse: Response,
    settings: LearnedReward,
    draw: random.Random,
    read: Sequence[Statement] = (),
    **told,
) -> Comparison:
    """A record, with the label turned round now and then where a model is trained on it."""
    flipped = not drawn.held_out and draw.random() < settings.flipped
    chosen, rejected = (worse, better) if flipped else (better, worse)
    return Comparison(
        query_id=drawn.example.query_id,
        set_id=drawn.example.set_id,
        query=drawn.query.text,
        chosen=chosen.text,
        rejected=rejected.text,
        statements=list(read),
        flipped=flipped,
        held_out=drawn.held_out,
        **told,
    )
