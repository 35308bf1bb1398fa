"""Tables of verdicts: win rates and what tells how far to trust them, comparisons, agreement, length bias.

Each function takes a run and returns rows, in the order of its comparisons.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from sami.analysis.statistics.agreement import agreement as agreement_of
from sami.analysis.statistics.significance import paired_difference
from sami.analysis.statistics.win_rates import queries_needed as queries_for_width
from sami.analysis.tables.catalogue import PUBLISHED
from sami.analysis.tables.relevance import told
from sami.analysis.tables.rows import (
    NOTHING,
    TRAINING,
    Comparison,
    Estimator,
    Row,
    by_query,
    cells,
    groups,
    with_holm,
    words,
)
from sami.analysis.tables.run import Run
from sami.judging.pairs import POINTS
from sami.records import Answer, Verdict
from sami.settings.evaluation import Evaluation

LENGTH_BINS = 5


def win_rates(run: Run) -> list[Row]:
    """Win rate of each policy against each comparator by each judge, and what tells how far to trust it."""
    counts = ["wins", "ties", "losses", "invalid"]
    details = ["standard_error", "p", "n_queries", "n_verdicts"]
    rows = []
    for comparison, control in zip(run.comparisons, run.length_controls, strict=True):
        verdicts = comparison.verdicts
        result = run.estimator.win_rate(verdicts)
        answers = [answer for verdict in verdicts for answer in verdict.answers]
        row = comparison.names | {name: getattr(result, name) for name in counts}
        row |= cells("win_rate", result.rate)
        row |= {name: getattr(result, name) for name in details}
        row["win_rate_without_invalid"] = result.rate_without_invalid
        row |= cells("lc_win_rate", control.rate)
        row |= of_relevant(comparison, run.estimator)
        row["position_consistency"] = position_consistency(verdicts)
        row["first_shown_share"] = first_shown_share(answers)
        row["mean_words"] = float(np.mean([words(verdict.first) for verdict in verdicts]))
        row["comparator_mean_words"] = float(np.mean([words(verdict.second) for verdict in verdicts]))
        row["queries_needed"] = queries_needed(verdicts, run.evaluation)
        row["invalid_answers"] = sum(answer.choice == "invalid" for answer in answers)
        row["input_tokens"] = sum(answer.input_tokens for answer in answers)
        row["output_tokens"] = sum(answer.output_tokens for answer in answers)
        rows.append(row | {"cost": cost(verdicts)} | published(comparison, run.evaluation, TRAINING))
    return with_holm(rows)


def of_relevant(comparison: Comparison, estimator: Estimator) -> Row:
    """Cells with the win rate where the policy's response is identified, and the share of wins where it is not.

    Under the query alone. Whether the comparator's response is identified is not asked, so that all policies are judged
    on what they write themselves. NaN where relevance was not measured, no response is identified, or none wins.
    """
    won = [value for of_query in unidentified_wins(comparison).values() for value in of_query]
    return cells("relevant_win_rate", estimator.share(relevant_preferences(comparison))) | {
        "unidentified_wins": float(np.mean(won)) if won else math.nan
    }


def relevant_preferences(comparison: Comparison) -> dict[str, list[float]]:
    """Query id -> preferences for the policy's responses that are identified."""
    return by_query((v.query_id, v.preference) for v, identified in _identified(comparison) if identified)


def unidentified_wins(comparison: Comparison) -> dict[str, list[float]]:
    """Query id -> of each win, 1 where the policy's response is not identified, else 0."""
    return by_query((v.query_id, not identified) for v, identified in _identified(comparison) if v.choice == "first")


def _identified(comparison: Comparison) -> list[tuple[Verdict, bool]]:
    """Each verdict, and whether the policy's response is identified; none where relevance was not measured."""
    relevance = comparison.policy.relevance
    return [(v, v.key in relevance and told(relevance[v.key]).identified) for v in comparison.verdicts if relevance]


def queries_needed(verdicts: Iterable[Verdict], evaluation: Evaluation) -> int | None:
    """Number of queries like those of the verdicts that give a win rate's interval the width that is wanted."""
    preferences = by_query((v.query_id, v.preference) for v in verdicts)
    return queries_for_width(preferences, evaluation.wanted_width, evaluation.confidence)


def cost(verdicts: Iterable[Verdict]) -> float:
    """Dollars that the answers behind verdicts have cost; NaN where none has a price."""
    costs = [answer.cost for verdict in verdicts for answer in verdict.answers if answer.cost is not None]
    return sum(costs) if costs else math.nan


def published(comparison: Comparison, evaluation: Evaluation, principles: str) -> dict[str, float]:
    """Cells with the lowest and the highest published win rate of trained policies; NaN where there is none."""
    trained = comparison.policy.iteration
    known = evaluation.published_range(comparison.comparator, principles) if trained else NOTHING[1:]
    return dict(zip(PUBLISHED, known, strict=True))


def position_consistency(verdicts: Iterable[Verdict]) -> float:
    """Share of pairs whose two answers, one an order and both valid, say the same; NaN without such pairs."""
    alike = []
    for verdict in verdicts:
        said = {answer.order: answer.choice for answer in verdict.answers if answer.choice != "invalid"}
        if len(said) == 2:
            alike.append(len(set(said.values())) == 1)
    return float(np.mean(alike)) if alike else math.nan


def first_shown_share(answers: Iterable[Answer]) -> float:
    """Share of valid answers that the response shown first wins, a tie counting half.

    NaN where pairs are shown in one order only: there the first response is always the same policy's.
    """
    valid = [answer for answer in answers if answer.choice != "invalid"]
    if len({answer.order for answer in valid}) < 2:
        return math.nan
    points = [POINTS[a.choice] if a.order == "policy-first" else 1 - POINTS[a.choice] for a in valid]
    return float(np.mean(points))


def comparisons(run: Run) -> list[Row]:
    """Paired difference in win rate, `policy` minus `other_policy`, on the pairs that both were judged on."""
    rows = []
    for earlier, later in itertools.combinations(run.comparisons, 2):
        if (earlier.comparator, earlier.judge) != (later.comparator, later.judge):
            continue
        first, second = ({v.key: v.preference for v in side.verdicts} for side in (later, earlier))
        shared = [key for key in first if key in second]
        if not shared:
            continue
        values = (by_query((key[0], side[key]) for key in shared) for side in (first, second))
        found = paired_difference(*values, **asdict(run.estimator))
        row = {"policy": later.policy.name, "other_policy": earlier.policy.name}
        row |= {"comparator": later.comparator, "judge": later.judge}
        row |= cells("difference", found.interval) | {"p": found.p}
        rows.append(row | {"n_queries": len({key[0] for key in shared}), "n_verdicts": len(shared)})
    return with_holm(rows)


def agreement(run: Run) -> list[Row]:
    """Agreement of every two judges, and of all together where there are three, on each comparison and on all.

    A panel is made of the verdicts of other judges, so it is left out of all together. No rows with a single judge.
    """
    said: dict[str, dict[tuple, str]] = {}  # judge -> (policy, comparator, key of the pair) -> choice
    for comparison in run.comparisons:
        for v in comparison.verdicts:
            said.setdefault(comparison.judge, {})[comparison.policy.name, comparison.comparator, v.key] = v.choice
    panels = {c.judge for c in run.comparisons if _is_panel(c, said.keys())}
    teams = [(*pair, "cohen") for pair in itertools.combinations(said, 2)]
    members = tuple(judge for judge in said if judge not in panels)
    teams += [(*members, "fleiss")] if len(members) > 2 else []
    rows = []
    for policy, comparator in [*dict.fromkeys((c.policy.name, c.comparator) for c in run.comparisons), (None, None)]:
        for *judges, measure in teams:
            pairs = [key for key in said[judges[0]] if policy is None or key[:2] == (policy, comparator)]
            pairs = [key for key in pairs if all(key in said[judge] for judge in judges)]
            labels = by_query((key[2][0], [said[judge][key] for judge in judges]) for key in pairs)
            found = agreement_of(labels, **asdict(run.estimator))
            # Names of policies and judges hold no space.
            row = {"policy": policy or "all policies", "comparator": comparator or "all comparators"}
            row |= {"judge": judges[0], "other_judge": judges[1]} if measure == "cohen" else {"judge": "all judges"}
            row |= {"measure": measure, "agreement": found.share, **cells("kappa", found.kappa)}
            if pairs:
                rows.append(row | {"n_queries": found.n_queries, "n_verdicts": found.n_verdicts})
    return rows


def _is_panel(comparison: Comparison, judges: Iterable[str]) -> bool:
    """True where the answers name other judges: a panel keeps its members' verdicts as answers."""
    named = {answer.raw for verdict in comparison.verdicts for answer in verdict.answers}
    return len(named) > 1 and named <= set(judges) - {comparison.judge}


def length_bias(run: Run) -> list[Row]:
    """Mean preference by how much longer the policy's response is, in bins of equal size, with the fit of all of them.

    Lengths are in characters, `standardised` in units of `scale`, the standard deviation of the differences. The fit is
    the log odds intercept + coefficient * tanh(standardised) of a query of average difficulty.
    """
    rows = []
    for comparison, control in zip(run.comparisons, run.length_controls, strict=True):
        differences = [len(verdict.first) - len(verdict.second) for verdict in comparison.verdicts]
        bins = groups(differences, LENGTH_BINS)
        for number in np.unique(bins):
            chosen = [(v, d) for v, d, b in zip(comparison.verdicts, differences, bins, strict=True) if b == number]
            within = [difference for _, difference in chosen]
            row = comparison.names | {"bin": int(number) + 1}
            row |= {"difference_low": min(within), "difference_high": max(within)}
            row["standardised"] = float(np.mean(within)) / control.scale
            row |= cells("preference", run.estimator.share(by_query((v.query_id, v.preference) for v, _ in chosen)))
            row |= {"intercept": control.intercept, "coefficient": control.coefficient, "scale": control.scale}
            rows.append(row | {"n_verdicts": len(chosen)})
    return rows
