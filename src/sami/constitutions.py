"""Sets of constitutions made from principles and their opposites.

A group of k principles has 2^k patterns of "wanted" and "negated". A set holds C constitutions over the same group:
the first wants every principle, the others negate some or all. Contrasting them is what SAMI learns from.
"""

import itertools
import random

from sami.errors import UserError
from sami.records import Constitution, Principle, Statement
from sami.settings import Constitutions


def build(principles: list[Principle], settings: Constitutions, seed: int) -> list[Constitution]:
    """Makes one set of constitutions for every group of k = `settings.statements` principles.

    A set has C = `settings.per_set` constitutions. Those after the first negate the most principles (`negate: all`;
    with C = 2, all of them), or are drawn among all patterns that negate at least one (`negate: any`, as in the
    paper's files). At most `settings.max_sets` sets are kept.

    Args:
        principles: at least k of them.
        settings: how to build the sets.
        seed: of the draws.

    Returns:
        The constitutions, set by set; within a set the first one wants every principle.

    Raises:
        UserError: too few principles, or two constitutions of a set have equal texts.
    """
    size = settings.statements
    if len(principles) < size:
        raise UserError(
            f"constitutions.statements is {size}, but there are only {len(principles)} principles "
            f"({', '.join(p.id for p in principles)}). Lower it, or add principles."
        )
    draw = random.Random(f"constitutions-{seed}")
    groups = list(itertools.combinations(principles, size))
    if settings.max_sets is not None and settings.max_sets < len(groups):
        groups = [groups[i] for i in sorted(draw.sample(range(len(groups)), settings.max_sets))]
    wanted, *negating = sorted(itertools.product([True, False], repeat=size), key=sum, reverse=True)
    built = []
    for group in groups:
        count = settings.per_set - 1
        others = negating[::-1][:count] if settings.negate == "all" else draw.sample(negating, count)
        set_id = "+".join(principle.id for principle in group)
        built.extend(_constitution(set_id, group, pattern) for pattern in [wanted, *others])
    for constitutions in by_set(built).values():
        _check_distinct(constitutions)
    return built


def by_set(constitutions: list[Constitution]) -> dict[str, list[Constitution]]:
    """Groups constitutions by `set_id`, in file order."""
    sets: dict[str, list[Constitution]] = {}
    for constitution in constitutions:
        sets.setdefault(constitution.set_id, []).append(constitution)
    return sets


def assign(query_ids: list[str], set_ids: list[str], seed: int) -> dict[str, str]:
    """Gives each query one set, in shuffled rounds, so that every set is used equally often (to within one)."""
    rounds: list[str] = []
    draw = random.Random(f"assign-{seed}")
    while len(rounds) < len(query_ids):
        rounds.extend(draw.sample(set_ids, len(set_ids)))
    return dict(zip(query_ids, rounds, strict=False))


def order(count: int, query_id: str, seed: int, shuffle: bool) -> list[int]:
    """Order of a constitution's statements in the prompt of one query; the same for all constitutions of the set."""
    indices = list(range(count))
    if shuffle:
        random.Random(f"order-{seed}-{query_id}").shuffle(indices)
    return indices


def _constitution(set_id: str, group: tuple[Principle, ...], pattern: tuple[bool, ...]) -> Constitution:
    statements = [
        Statement(
            principle=principle.id,
            wanted=wanted,
            text=principle.text if wanted else principle.opposite,
            check=principle.check if wanted else principle.opposite_check,
        )
        for principle, wanted in zip(group, pattern, strict=True)
    ]
    identifier = "+".join(("" if s.wanted else "-") + s.principle for s in statements)
    return Constitution(id=identifier, set_id=set_id, writer=group[0].writer, statements=statements)


def _check_distinct(constitutions: list[Constitution]) -> None:
    seen: dict[tuple[str, ...], str] = {}
    for constitution in constitutions:
        text = tuple(sorted(" ".join(s.text.split()).casefold() for s in constitution.statements))
        if text in seen:
            raise UserError(
                f"set '{constitution.set_id}': the constitutions '{seen[text]}' and '{constitution.id}' have the same "
                f"text ({' '.join(text)!r}), so no response can tell them apart. Mend the principles they are made of."
            )
        seen[text] = constitution.id
