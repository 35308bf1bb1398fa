"""Sets of constitutions made from principles and their opposites.

A group of k principles has 2^k patterns of "wanted" and "negated". A set holds C constitutions over the same group:
the first wants every principle, the others negate some or all. Contrasting them is what SAMI learns from.
"""

import itertools
import random
from collections.abc import Sequence
from typing import Any

from sami.data.queries import normalised
from sami.errors import UserError
from sami.records import Constitution, Example, Principle, Response, Statement
from sami.settings.principles import Constitutions


def build(principles: list[Principle], settings: Constitutions, seed: int) -> list[Constitution]:
    """Makes sets of constitutions for every group of k = `settings.statements` principles.

    A set has C = `settings.per_set` constitutions. Those after the first negate the most principles (`negate: all`;
    with C = 2, all of them), or are drawn among all patterns that negate at least one (`negate: any`); or there is a
    set for every choice of them (`negate: each`; with C = 2 and k = 2, three sets, as in the paper's files). At most
    `settings.max_sets` sets are kept.

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
    wanted, *negating = sorted(itertools.product([True, False], repeat=size), key=sum, reverse=True)
    count = settings.per_set - 1
    choices: dict[str, Sequence[Any]] = {
        "all": [negating[::-1][:count]],
        "any": [None],  # drawn for each set
        "each": list(itertools.combinations(negating, count)),
    }
    sets = list(itertools.product(groups, choices[settings.negate]))
    if settings.max_sets is not None and settings.max_sets < len(sets):
        sets = [sets[i] for i in sorted(draw.sample(range(len(sets)), settings.max_sets))]
    built: list[Constitution] = []
    for group, others in sets:
        patterns = [wanted, *(others or draw.sample(negating, count))]
        contrasted = patterns if settings.negate == "each" else [wanted]  # what tells the sets of a group apart
        set_id = "/".join(_identifier(group, pattern) for pattern in contrasted)
        built.extend(_constitution(set_id, group, pattern) for pattern in patterns)
    for constitutions in by_set(built).values():
        _check_distinct(constitutions)
    return built


def by_set(constitutions: list[Constitution]) -> dict[str, list[Constitution]]:
    """Groups constitutions by `set_id`, in file order."""
    sets: dict[str, list[Constitution]] = {}
    for constitution in constitutions:
        sets.setdefault(constitution.set_id, []).append(constitution)
    return sets


def draw_sets(query_ids: list[str], sets: dict[str, list[Constitution]], seed: int) -> list[tuple[str, str]]:
    """(query id, set id) of every example: a query has one set of training and, where there are any, a held-out one."""
    training = [set_id for set_id, members in sets.items() if not members[0].held_out]
    held_out = [set_id for set_id in sets if set_id not in training]
    # Draws of their own, so that a set of training does not always meet the same held-out one.
    kinds = [assign(query_ids, ids, of) for ids, of in ((training, seed), (held_out, f"held-out-{seed}")) if ids]
    return [(query_id, set_of[query_id]) for query_id in query_ids for set_of in kinds]


def empty_examples(
    query_ids: list[str],
    sets: dict[str, list[Constitution]],
    responses: int | None,
    policy: str,
    seed: int,
    shuffle: bool,
    positive: bool = False,
    every_set: bool = False,
) -> list[Example]:
    """Examples whose responses are still to be drawn: which set, which order, which constitution for which response.

    Args:
        query_ids: of the queries that the policy is asked.
        sets: set id -> constitutions, as `by_set` makes it.
        responses: how many to a query and set; None for one under each constitution.
        policy: kept in the records.
        seed: of sets and order.
        shuffle: whether to shuffle the statements.
        positive: whether all responses are drawn under the first constitution of a set, which wants every principle.
        every_set: whether each query meets every set, in place of one that is drawn.
    """

    def used(set_id: str) -> int:
        """Constitutions of a set under which responses are drawn, the first ones."""
        return 1 if positive else len(sets[set_id])

    return [
        Example(
            query_id=query_id,
            set_id=set_id,
            constitution_ids=[constitution.id for constitution in sets[set_id]],
            order=order(len(sets[set_id][0].statements), query_id, seed, shuffle),
            responses=[
                Response(text="", constitution=j % used(set_id), tokens=0, finish="end")
                for j in range(responses or used(set_id))
            ],
            policy=policy,
        )
        for query_id, set_id in (itertools.product(query_ids, sets) if every_set else draw_sets(query_ids, sets, seed))
    ]


def build_held_out(
    principles: list[Principle], training: list[Principle], settings: Constitutions, seed: int
) -> list[Constitution]:
    """As `build`, of principles on which no policy is trained. Raises UserError where one is of training, too."""
    check_held_out(*({p.id: [p.text, p.opposite] for p in side} for side in (training, principles)))
    return [constitution.model_copy(update={"held_out": True}) for constitution in build(principles, settings, seed)]


def check_held_out(training: dict[str, list[str]], held_out: dict[str, list[str]]) -> None:
    """Raises UserError where a held-out principle is of training, too: by id or, but for case and white space, a text.

    Args:
        training, held_out: id -> texts of a principle: itself and its opposite, or what a model is to write it about.
    """
    by_text = {normalised(text): identifier for identifier, texts in training.items() for text in texts}
    for identifier, texts in held_out.items():
        shared = next((text for text in texts if normalised(text) in by_text), None)
        if identifier in training or shared is not None:
            same = f"has its text {shared!r}" if shared is not None else "has the same id"
            other = by_text[normalised(shared)] if shared is not None else identifier
            raise UserError(
                f"found the held-out principle '{identifier}', but the principle '{other}', on which policies are "
                f"trained, {same}; expected principles that training never sees. Remove or rename one of the two."
            )


def assign(query_ids: list[str], set_ids: list[str], seed: int | str) -> dict[str, str]:
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
            held_out_check=principle.held_out_check if wanted else principle.opposite_held_out_check,
        )
        for principle, wanted in zip(group, pattern, strict=True)
    ]
    return Constitution(id=_identifier(group, pattern), set_id=set_id, writer=group[0].writer, statements=statements)


def _identifier(group: tuple[Principle, ...], pattern: tuple[bool, ...]) -> str:
    return "+".join(("" if wanted else "-") + principle.id for principle, wanted in zip(group, pattern, strict=True))


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
