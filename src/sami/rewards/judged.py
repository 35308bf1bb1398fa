"""A judge as a reward: the share of comparisons with other responses to the same query that a response wins.

Judges compare two responses, and a reward is about one. So each response meets others of its query that are rewarded
for the same constitution: all of them, or `opponents` of them. Its reward is the mean preference for it, as win rates
are: a tie is half a win, and so is an invalid verdict. Of two equal texts neither is better, so these are a tie that no
judge is asked about. One verdict counts for both responses.

Left out: a comparison with one fixed response, such as the base model's first, which would cost R comparisons a query
in place of R (R - 1) / 2 and put all queries on one scale, but says nothing of two responses that both win. Also left
out are strengths by Bradley and Terry, which order a full round as these shares do.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

from sami.judging import panel
from sami.judging.kinds import Means as JudgesMeans
from sami.judging.kinds import judge
from sami.judging.pairs import Pair
from sami.records import Verdict
from sami.rewards.candidates import Candidate, Means, Value
from sami.settings.endpoints import Limits
from sami.settings.judges import PanelJudge
from sami.settings.rewards import JudgeReward

TIE = 0.5


def values(candidates: Sequence[Candidate], settings: JudgeReward, means: Means) -> list[Value]:
    """Win shares; the parts are the number of comparisons, and of those that the judge gave no valid verdict on.

    Args:
        candidates: all responses, of any queries; those of one query and constitution are compared.
        settings: which judge, and how many comparisons.
        means: the judge itself, and what it judges with.

    Raises:
        UserError: see the judge's module.
    """
    together = defaultdict(list)
    for place, candidate in enumerate(candidates):
        together[candidate.query.id, candidate.constitution.id].append(place)
    meetings = [
        (members[first], members[second])
        for (query, constitution), members in together.items()
        for first, second in pairs(len(members), settings.opponents, f"{means.seed}-{query}-{constitution}")
    ]
    unlike = [(a, b) for a, b in meetings if candidates[a].text != candidates[b].text]
    asked = _asked([(candidates[a], candidates[b]) for a, b in unlike])
    verdicts = dict(zip(unlike, _verdicts(asked, settings.judge, means) if asked else [], strict=True))
    points: list[list[float]] = [[] for _ in candidates]
    invalid = [0] * len(candidates)
    for a, b in meetings:
        verdict = verdicts.get((a, b))
        preference = TIE if verdict is None else verdict.preference
        for place, won in ((a, preference), (b, 1 - preference)):
            points[place].append(won)
            invalid[place] += verdict is not None and verdict.choice == "invalid"
    return [
        Value(sum(won) / len(won) if won else TIE, {"comparisons": float(len(won)), "invalid": float(without)})
        for won, without in zip(points, invalid, strict=True)
    ]


def pairs(count: int, opponents: int | None, seed: str) -> Iterator[tuple[int, int]]:
    """Pairs of `count` responses that are compared, by their numbers; the lower one first.

    Args:
        opponents: even number of others that each meets; None for all.
        seed: of the order on the circle, on which each meets its nearest neighbours.
    """
    if opponents is None or opponents >= count - 1:
        yield from combinations(range(count), 2)
        return
    circle = random.Random(f"opponents-{seed}").sample(range(count), count)
    for at, distance in ((at, distance) for at in range(count) for distance in range(1, opponents // 2 + 1)):
        first, second = sorted((circle[at], circle[(at + distance) % count]))
        yield first, second


def _asked(pairs: Sequence[tuple[Candidate, Candidate]]) -> list[Pair]:
    """Comparisons as judges read them; those of a query are numbered, so that none depends on other queries."""
    numbers: Counter[tuple[str, str]] = Counter()
    found = []
    for first, second in pairs:
        query, constitution = first.query, first.constitution
        number = numbers[query.id, constitution.id]
        numbers[query.id, constitution.id] += 1
        of = query, constitution.set_id, constitution, number, "candidate", "candidate"
        found.append(Pair(*of, first.text, second.text))
    return found


def _verdicts(asked: Sequence[Pair], name: str, means: Means) -> list[Verdict]:
    """Verdicts of a judge of any kind, or of the majority of a panel."""
    settings = means.judges[name]
    if isinstance(settings, PanelJudge):
        votes = [_verdicts(asked, member, means) for member in settings.members]
        return panel.majority(votes, settings.members, name)
    given = JudgesMeans(
        seed=means.seed,
        model=next((means.models.get(model) for model in settings.local_models), None),
        limits=means.limits.get(name, Limits()),
        answers=means.answers,
        account=f"{means.account}/{name}",
    )
    return judge(asked, name, settings, given)
