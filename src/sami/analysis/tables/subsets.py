"""Tables of verdicts on parts of an experiment: by principle, by kind of principles, by length of the query.

Each function takes a run and returns rows, in the order of its comparisons.
"""

import itertools
import math

from sami.analysis.tables.rows import (
    HELD_OUT,
    NOTHING,
    TRAINING,
    Comparison,
    Row,
    by_query,
    cells,
    groups,
    kinds_of_principles,
    polarity,
    rate_cells,
    with_holm,
    words,
)
from sami.analysis.tables.run import Run
from sami.analysis.tables.verdicts import cost, published, queries_needed
from sami.records import Constitution, Verdict

THIRDS = ("short", "medium", "long")


def win_rates_by_principle(run: Run) -> list[Row]:
    """Win rates of the last trained policy under the constitutions that hold a principle, its opposite, and either.

    A verdict under a constitution of several statements counts for each. The row with all verdicts on a principle has
    the p-value, corrected for the principles of its kind under the same comparator and judge; the polarities apart are
    descriptions, which cost no correction. Where no policy was trained, all have rows, and corrections of their own.
    """
    of_kind: dict[str, list[str]] = {}
    for principle, kind in kinds_of_principles(run.constitutions).items():
        of_kind.setdefault(kind, []).append(principle)
    rows = []
    for comparison, (kind, principles) in itertools.product(of_last_trained(run.comparisons), of_kind.items()):
        family = []
        for principle in principles:
            verdicts = by_polarity(comparison.verdicts, principle, run.constitutions)
            for number, (name, chosen) in enumerate(verdicts.items()):
                row = comparison.names | {"principle": principle, "polarity": name, "principles": kind}
                row |= rate_cells(chosen, run.estimator)
                row["queries_needed"] = queries_needed(chosen, run.evaluation)
                family.append(row | ({"p": math.nan} if number else {}))
        rows += with_holm(family)
    return rows


def of_last_trained(comparisons: list[Comparison]) -> list[Comparison]:
    """The comparisons of the last trained policy; all where none was trained."""
    last = max(comparison.policy.iteration or 0 for comparison in comparisons)
    return [comparison for comparison in comparisons if comparison.policy.iteration == last] if last else comparisons


def by_polarity(
    verdicts: list[Verdict], principle: str, constitutions: dict[str, Constitution]
) -> dict[str, list[Verdict]]:
    """Verdicts under the constitutions that hold a principle: all of them first, then, where both occur, by polarity.

    The first is called "both", or as the only polarity that occurs; there are none where no verdict holds it.
    """
    apart: dict[str, list[Verdict]] = {}
    for name in (polarity(True), polarity(False)):
        chosen = [v for v in verdicts if (principle, name) in _held(constitutions[v.constitution_id])]
        apart |= {name: chosen} if chosen else {}
    every = [v for v in verdicts if principle in {held for held, _ in _held(constitutions[v.constitution_id])}]
    return {"both": every, **apart} if len(apart) == 2 else apart


def _held(constitution: Constitution) -> set[tuple[str, str]]:
    """(principle, polarity) of each statement."""
    return {(statement.principle, polarity(statement.wanted)) for statement in constitution.statements}


def generalisation(run: Run) -> list[Row]:
    """Win rates under the principles of training and under held-out ones; no rows where none is held out.

    `difference` is training minus held-out, paired by query; it stands in the row of the held-out ones.
    """
    rows = []
    for comparison in run.comparisons if HELD_OUT in run.sets else []:
        verdicts = {kind: comparison.under(run.sets[kind]).verdicts for kind in (TRAINING, HELD_OUT)}
        preferences = [by_query((v.query_id, v.preference) for v in of_kind) for of_kind in verdicts.values()]
        differences = {TRAINING: NOTHING, HELD_OUT: run.estimator.difference(*preferences)}
        for kind, of_kind in verdicts.items():
            row = comparison.names | {"principles": kind} | rate_cells(of_kind, run.estimator)
            row |= cells("difference", differences[kind]) | {"cost": cost(of_kind)}
            rows.append(row | published(comparison, run.evaluation, kind))
    return rows


def win_rates_by_length(run: Run) -> list[Row]:
    """Win rates on the shortest, middle and longest third of the queries; `words_low` to `words_high` bound a third."""
    rows = []
    for comparison in run.comparisons:
        judged = list(dict.fromkeys(verdict.query_id for verdict in comparison.verdicts))
        size = {query_id: words(run.queries[query_id].text) for query_id in judged}
        third = dict(zip(judged, groups([size[q] for q in judged], len(THIRDS)), strict=True))
        for number, name in enumerate(THIRDS):
            chosen = [verdict for verdict in comparison.verdicts if third[verdict.query_id] == number]
            if chosen:
                found = [size[verdict.query_id] for verdict in chosen]
                row = comparison.names | {"third": name, "words_low": min(found), "words_high": max(found)}
                rows.append(row | rate_cells(chosen, run.estimator))
    return rows
