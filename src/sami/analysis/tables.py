"""The tables of an experiment as data frames: what the records of its policies say, with intervals over queries.

Reads and writes no files; `sami.stages.tabulate` does. Each function takes the policies, or the comparisons that judges
made of them, in the order of the rows, and an `Estimator` that makes every interval with the same draws, so that
policies are compared on the same resamples. What the columns mean is told in docs/statistics.md.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sami import records
from sami.analysis import statistics
from sami.analysis.statistics import Interval, Judged
from sami.judging import checks
from sami.judging.pairs import POINTS
from sami.settings.evaluation import Degeneration, Evaluation

TRAINING_FIELDS = ["step", "loss", "bound", "row_accuracy", "column_accuracy", "kl", "gradient_norm", "learning_rate",
                   "queries", "tokens_per_second"]  # fmt: skip
PUBLISHED = ["published_low", "published_high"]
NOTHING = Interval(math.nan, math.nan, math.nan)  # no values to estimate from: empty cells
LENGTH_BINS = 5
THIRDS = ("short", "medium", "long")
LEARNED, HELD_OUT = "learned", "held-out"  # kinds of principles


@dataclass(frozen=True)
class Policy:
    """What the files say of one policy: a trained one, `iteration` 0 being the base model, or another model.

    `own`: its scores of its own responses. `on_base`: its scores of the base model's responses. `by_base`: the base
    model's scores of its responses. For the base model all three are the same. Scores exist for the examples whose
    responses are all non-empty, and for policies that were scored at all; a training log for those trained here.
    """

    name: str
    iteration: int | None
    examples: list[records.Example]
    own: Sequence[records.Scores] = ()
    on_base: Sequence[records.Scores] = ()
    by_base: Sequence[records.Scores] = ()
    training: Sequence[dict[str, Any]] = ()

    @property
    def names(self) -> dict[str, Any]:
        """First cells of a row about this policy."""
        return {"policy": self.name, "iteration": self.iteration}

    @property
    def responses(self) -> list[tuple[records.Example, records.Response]]:
        return [(example, response) for example in self.examples for response in example.responses]

    def under(self, set_ids: Collection[str]) -> "Policy":
        """What there is of it under the constitutions of some sets."""
        names = ("examples", "own", "on_base", "by_base")
        return replace(self, **{name: [r for r in getattr(self, name) if r.set_id in set_ids] for name in names})


@dataclass(frozen=True)
class Comparison:
    """The verdicts of one judge on a policy's responses against those of a comparator."""

    policy: Policy
    comparator: str
    judge: str
    verdicts: list[records.Verdict]

    @property
    def names(self) -> dict[str, Any]:
        """First cells of a row about this comparison."""
        return self.policy.names | {"comparator": self.comparator, "judge": self.judge}

    def under(self, set_ids: Collection[str]) -> "Comparison":
        """The verdicts on responses under the constitutions of some sets."""
        return replace(self, verdicts=[verdict for verdict in self.verdicts if verdict.set_id in set_ids])


@dataclass(frozen=True)
class Estimator:
    """Estimates with intervals over queries; what is drawn for them is drawn alike for all."""

    samples: int
    confidence: float
    seed: int

    def of(self, values: dict[str, list], statistic: statistics.Statistic = statistics.mean) -> Interval:
        """The statistic of query id -> values, with a bootstrap interval; NaN where there are none."""
        return statistics.bootstrap(values, statistic=statistic, **asdict(self)) if values else NOTHING

    def share(self, values: dict[str, list]) -> Interval:
        """The mean of query id -> values from 0 to 1, with Wilson's interval; NaN where there are none."""
        return statistics.wilson_by_query(values, self.confidence) if values else NOTHING

    def difference(self, first: dict[str, list], second: dict[str, list]) -> Interval:
        """Paired difference of means over the queries that both sides have; NaN where there are none."""
        shared = first.keys() & second.keys()
        first, second = ({query: side[query] for query in shared} for side in (first, second))
        return statistics.bootstrap_difference(first, second, **asdict(self)) if shared else NOTHING

    def win_rate(self, verdicts: Iterable[records.Verdict]) -> statistics.WinRate:
        return statistics.win_rate(by_query((v.query_id, (v.choice, v.preference)) for v in verdicts), **asdict(self))


def by_query(pairs: Iterable[tuple[str, Any]]) -> dict[str, list]:
    """(query id, value) pairs as query id -> values."""
    grouped: dict[str, list] = {}
    for query_id, value in pairs:
        grouped.setdefault(query_id, []).append(value)
    return grouped


def span(name: str, stem: str | None = None) -> list[str]:
    """Columns of an estimate with its interval, {stem}_low and {stem}_high (default: the name)."""
    return [name, f"{stem or name}_low", f"{stem or name}_high"]


def columns(name: str, interval: Interval, stem: str | None = None) -> dict[str, float]:
    """Three cells: the estimate and its interval, under the columns of `span`."""
    return dict(zip(span(name, stem), interval, strict=True))


def frame(rows: list[dict[str, Any]], header: list[str]) -> pd.DataFrame:
    """Rows as a table, with its header even where there are none; whole numbers stay whole beside empty cells."""
    table = pd.DataFrame(rows, columns=header)
    whole = [name for name in ("iteration", "queries_needed") if name in header]
    return table.astype(dict.fromkeys(whole, "Int64"))


def with_holm(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the column p_holm: their p-values in `p`, adjusted for the number of rows that have one, else NaN."""
    adjusted = iter(statistics.holm([row["p"] for row in rows if not math.isnan(row["p"])]))
    return [row | {"p_holm": math.nan if math.isnan(row["p"]) else next(adjusted)} for row in rows]


def groups(values: Sequence[float], count: int) -> np.ndarray:
    """(N,) group 0, 1, ... of each value: about equally many in each, equal values together, so some can be empty."""
    edges = np.quantile(values, np.arange(1, count) / count)
    return np.searchsorted(edges, values, side="left")


def words(text: str) -> int:
    return len(text.split())


def sets_by_kind(constitutions: dict[str, records.Constitution]) -> dict[str, set[str]]:
    """Kind of principles, LEARNED and, where there are some, HELD_OUT -> ids of the sets that are made of them."""
    found: dict[str, set[str]] = {LEARNED: set()}
    for constitution in constitutions.values():
        found.setdefault(HELD_OUT if constitution.held_out else LEARNED, set()).add(constitution.set_id)
    return found


def kinds_of_principles(constitutions: dict[str, records.Constitution]) -> dict[str, str]:
    """Principle -> LEARNED, or HELD_OUT where policies are never trained on it."""
    return {s.principle: HELD_OUT if c.held_out else LEARNED for c in constitutions.values() for s in c.statements}


def constitution_of(
    example: records.Example, response: records.Response, constitutions: dict[str, records.Constitution]
) -> records.Constitution:
    """The constitution a response was written for."""
    return constitutions[example.constitution_ids[response.constitution]]


# --- tables of policies -----------------------------------------------------------------------------------------------


def information(policies: list[Policy], estimator: Estimator) -> pd.DataFrame:
    """Bound, losses and accuracies of each scored policy on its own and, if trained, on the base model's responses.

    `max_bound` is log C; `difference` is the paired difference to the base model's bound on its own responses.
    """
    details = ("row_loss", "column_loss", "row_accuracy", "column_accuracy")
    header = ["policy", "iteration", "responses", *span("bound_nats", "bound"), "max_bound"]
    header += [column for name in (*details, "difference") for column in span(name)] + ["n_queries", "n_matrices"]
    base = by_query(
        (record.query_id, statistics.information(record.mean, record.labels).bound)
        for policy in policies
        if policy.iteration == 0
        for record in policy.own
    )
    rows = []
    for policy in policies:
        sources = {"own": policy.own} | ({"base": policy.on_base} if policy.iteration else {})
        for source, scores in sources.items():
            if not scores:
                continue
            matrices = [(record.query_id, statistics.information(record.mean, record.labels)) for record in scores]
            bounds = by_query((query_id, matrix.bound) for query_id, matrix in matrices)
            row = policy.names | {"responses": source}
            row |= columns("bound_nats", estimator.of(bounds), "bound")
            row["max_bound"] = float(np.mean([math.log(len(e.constitution_ids)) for e in policy.examples]))
            for name in details:
                values = by_query((q, getattr(matrix, name)) for q, matrix in matrices)
                row |= columns(name, (estimator.share if name.endswith("accuracy") else estimator.of)(values))
            row |= columns("difference", estimator.difference(bounds, base) if policy.iteration else NOTHING)
            rows.append(row | {"n_queries": len(bounds), "n_matrices": len(matrices)})
    return frame(rows, header)


def adherence(
    policies: list[Policy], constitutions: dict[str, records.Constitution], estimator: Estimator
) -> pd.DataFrame:
    """How far responses follow each statement of the constitution they were written for, by programmatic checks."""
    statements = [s for c in constitutions.values() for s in c.statements if s.check is not None]
    pairs = dict.fromkeys((s.principle, wanted) for s in statements for wanted in (True, False))  # in file order
    names = {checks.key(s): (s.principle, s.wanted) for s in statements}
    kinds = kinds_of_principles(constitutions)
    rows = []
    for policy in policies:
        found: dict[tuple[str, bool], list] = {pair: [] for pair in pairs}
        for example, response in policy.responses:
            degrees = checks.degrees(response.text, constitution_of(example, response, constitutions))
            for statement, degree in degrees.items():
                found[names[statement]].append((example.query_id, degree))
        for (principle, wanted), values in found.items():
            row = policy.names | {"principle": principle, "polarity": polarity(wanted)}
            row |= columns("degree", estimator.share(by_query(values)))
            rows += [row | {"n_responses": len(values), "principles": kinds[principle]}] if values else []
    return frame(rows, ["policy", "iteration", "principle", "polarity", *span("degree"), "n_responses", "principles"])


def polarity(wanted: bool) -> str:
    return "wanted" if wanted else "opposite"


def lengths(
    policies: list[Policy], constitutions: dict[str, records.Constitution], estimator: Estimator
) -> pd.DataFrame:
    """Tokens and words of responses under the constitutions that want every principle, and under the others."""
    units: dict[str, Callable[[records.Response], int | None]] = {
        "tokens": lambda response: response.tokens,
        "words": lambda response: words(response.text),
    }
    header = ["policy", "iteration", "polarity"]
    header += [c for unit in units for name in ("mean", "median") for c in span(f"{name}_{unit}")] + ["n_responses"]
    rows = []
    for policy in policies:
        for kind in ("positive", "other"):
            chosen = [
                (example.query_id, response)
                for example, response in policy.responses
                if constitution_of(example, response, constitutions).positive == (kind == "positive")
            ]
            row = policy.names | {"polarity": kind}
            for unit, length in units.items():
                values = by_query((q, length(response)) for q, response in chosen if length(response) is not None)
                row |= columns(f"mean_{unit}", estimator.of(values))
                row |= columns(f"median_{unit}", estimator.of(values, statistics.median))
            rows += [row | {"n_responses": len(chosen)}] if chosen else []
    return frame(rows, header)


def degeneration(policies: list[Policy], rule: Degeneration, estimator: Estimator) -> pd.DataFrame:
    """Share of degenerate responses, and how likely responses are to the base model and to the policy itself.

    Log-probabilities are means per token under the constitution a response was written for, in nats. Responses that
    become unlikely to the base model, while the policy finds them likely, have left what the base model can say.
    """
    names = ("degenerate_share", "repeated_share", "base_log_probability", "own_log_probability")
    rows = []
    for policy in policies:
        texts = [(example.query_id, response.text) for example, response in policy.responses]
        values = (
            by_query((q, statistics.is_degenerate(text, rule.ngram, rule.max_repeated)) for q, text in texts),
            by_query((q, statistics.repeated_ngram_share(text, rule.ngram)) for q, text in texts),
            _of_own_constitution(policy.by_base),
            _of_own_constitution(policy.own),
        )
        row = policy.names
        for name, found in zip(names, values, strict=True):
            row |= columns(name, (estimator.share if name.endswith("share") else estimator.of)(found))
        rows.append(row | {"n_responses": len(texts)})
    return frame(rows, ["policy", "iteration", *(c for name in names for c in span(name)), "n_responses"])


def _of_own_constitution(scores: Sequence[records.Scores]) -> dict[str, list[float]]:
    """Query id -> entry of each response j at the row of the constitution it was written for."""
    return by_query((s.query_id, s.mean[label][j]) for s in scores for j, label in enumerate(s.labels))


def training(policies: list[Policy]) -> pd.DataFrame:
    """All optimiser steps of all iterations."""
    rows = [policy.names | step for policy in policies for step in policy.training]
    return frame(rows, ["policy", "iteration", *TRAINING_FIELDS])


def samples(
    policies: list[Policy],
    constitutions: dict[str, records.Constitution],
    queries: dict[str, records.Query],
    count: int,
    seed: int,
) -> pd.DataFrame:
    """The first response of every policy to `count` queries drawn with the seed: one row a query and constitution."""
    answered = list(dict.fromkeys(example.query_id for example in policies[0].examples))
    drawn = np.random.default_rng(seed).choice(len(answered), size=min(count, len(answered)), replace=False)
    chosen = {answered[i] for i in drawn}
    rows: dict[tuple, dict] = {}
    for policy in policies:
        for example, response in policy.responses:
            if example.query_id in chosen:
                constitution = constitution_of(example, response, constitutions)
                row = rows.setdefault((example.key, constitution.id), {
                    "query_id": example.query_id,
                    "constitution_id": constitution.id,
                    "query": queries[example.query_id].text,
                    "constitution": "\n".join(statement.text for statement in constitution.statements),
                })  # fmt: skip
                row.setdefault(f"response_{policy.name}", response.text)
    return pd.DataFrame(list(rows.values()))


# --- tables of verdicts -----------------------------------------------------------------------------------------------


def length_control(comparisons: list[Comparison], estimator: Estimator) -> list[statistics.LengthControl]:
    """The length-controlled win rate of each comparison, and the fit behind it.

    A query's difficulty is what the other policies' verdicts on it say, by the same judge against the same comparator;
    it is used where there are at least two others, and centred, so that zero is the average query.
    """
    fits = []
    for comparison in comparisons:
        others = [
            other
            for other in comparisons
            if other.policy is not comparison.policy
            and (other.comparator, other.judge) == (comparison.comparator, comparison.judge)
        ]
        hard = _difficulties(others) if len(others) >= 2 else {}
        centre = float(np.mean([hard.get(v.query_id, 0.0) for v in comparison.verdicts]))
        judged = by_query(
            (v.query_id, Judged(v.preference, len(v.first) - len(v.second), hard.get(v.query_id, centre) - centre))
            for v in comparison.verdicts
        )
        fits.append(statistics.length_controlled(judged, **asdict(estimator)))
    return fits


def _difficulties(comparisons: list[Comparison]) -> dict[str, float]:
    """Query id -> its difficulty, from all verdicts on it."""
    preferences = by_query((v.query_id, v.preference) for comparison in comparisons for v in comparison.verdicts)
    return {query_id: statistics.difficulty(values) for query_id, values in preferences.items()}


def win_rates(
    comparisons: list[Comparison],
    length_controlled: list[statistics.LengthControl],
    evaluation: Evaluation,
    estimator: Estimator,
) -> pd.DataFrame:
    """Win rate of each policy against each comparator by each judge, and what tells how far to trust it."""
    counts = ["wins", "ties", "losses", "invalid"]
    details = ["standard_error", "p", "n_queries", "n_verdicts"]
    rows = []
    for comparison, control in zip(comparisons, length_controlled, strict=True):
        verdicts = comparison.verdicts
        result = estimator.win_rate(verdicts)
        answers = [answer for verdict in verdicts for answer in verdict.answers]
        row = comparison.names | {name: getattr(result, name) for name in counts}
        row |= columns("win_rate", result.rate, "win")
        row |= {name: getattr(result, name) for name in details}
        row["win_rate_without_invalid"] = result.rate_without_invalid
        row |= columns("lc_win_rate", control.rate, "lc")
        row["position_consistency"] = position_consistency(verdicts)
        row["first_shown_share"] = first_shown_share(answers)
        row["mean_words"] = float(np.mean([words(verdict.first) for verdict in verdicts]))
        row["comparator_mean_words"] = float(np.mean([words(verdict.second) for verdict in verdicts]))
        row["queries_needed"] = queries_needed(verdicts, evaluation)
        row["invalid_answers"] = sum(answer.choice == "invalid" for answer in answers)
        row["input_tokens"] = sum(answer.input_tokens for answer in answers)
        row["output_tokens"] = sum(answer.output_tokens for answer in answers)
        rows.append(row | {"cost": cost(verdicts)} | published(comparison, evaluation, LEARNED))
    header = ["policy", "iteration", "comparator", "judge", *counts, *span("win_rate", "win"), "standard_error"]
    header += ["win_rate_without_invalid", *span("lc_win_rate", "lc")]
    header += ["position_consistency", "first_shown_share", "mean_words", "comparator_mean_words", "p", "p_holm"]
    header += ["queries_needed", "invalid_answers", "input_tokens", "output_tokens", "cost", "n_queries", "n_verdicts"]
    return frame(with_holm(rows), [*header, *PUBLISHED])


def queries_needed(verdicts: Iterable[records.Verdict], evaluation: Evaluation) -> int | None:
    """How many queries like those of the verdicts give a win rate's interval the width that is wanted."""
    preferences = by_query((v.query_id, v.preference) for v in verdicts)
    return statistics.queries_needed(preferences, evaluation.wanted_width, evaluation.confidence)


def cost(verdicts: Iterable[records.Verdict]) -> float:
    """Dollars that the answers behind verdicts have cost; NaN where none has a price."""
    costs = [answer.cost for verdict in verdicts for answer in verdict.answers if answer.cost is not None]
    return sum(costs) if costs else math.nan


def published(comparison: Comparison, evaluation: Evaluation, principles: str) -> dict[str, float]:
    """Cells with the lowest and the highest published win rate of trained policies; NaN where there is none."""
    trained = comparison.policy.iteration
    known = evaluation.published_range(comparison.comparator, principles) if trained else NOTHING[1:]
    return dict(zip(PUBLISHED, known, strict=True))


def position_consistency(verdicts: Iterable[records.Verdict]) -> float:
    """Share of pairs whose two answers, one an order and both valid, say the same; NaN without such pairs."""
    alike = []
    for verdict in verdicts:
        said = {answer.order: answer.choice for answer in verdict.answers if answer.choice != "invalid"}
        if len(said) == 2:
            alike.append(len(set(said.values())) == 1)
    return float(np.mean(alike)) if alike else math.nan


def first_shown_share(answers: Iterable[records.Answer]) -> float:
    """Share of valid answers that the response shown first wins, a tie counting half.

    NaN where pairs are shown in one order only: there the first response is always the same policy's.
    """
    valid = [answer for answer in answers if answer.choice != "invalid"]
    if len({answer.order for answer in valid}) < 2:
        return math.nan
    points = [POINTS[a.choice] if a.order == "policy-first" else 1 - POINTS[a.choice] for a in valid]
    return float(np.mean(points))


def win_rates_by_principle(
    comparisons: list[Comparison],
    constitutions: dict[str, records.Constitution],
    evaluation: Evaluation,
    estimator: Estimator,
) -> pd.DataFrame:
    """Win rates of the last trained policy under the constitutions that hold a principle, its opposite, and either.

    A verdict under a constitution of several statements counts for each. The row with all verdicts on a principle has
    the p-value, corrected for the principles of its kind under the same comparator and judge; the polarities apart are
    descriptions, which cost no correction. Where no policy was trained, all have rows, and corrections of their own.
    """
    of_kind: dict[str, list[str]] = {}
    for principle, kind in kinds_of_principles(constitutions).items():
        of_kind.setdefault(kind, []).append(principle)
    rows = []
    for comparison, (kind, principles) in itertools.product(of_last_trained(comparisons), of_kind.items()):
        family = []
        for principle in principles:
            verdicts = by_polarity(comparison.verdicts, principle, constitutions)
            for number, (name, chosen) in enumerate(verdicts.items()):
                row = comparison.names | {"principle": principle, "polarity": name, "principles": kind}
                row |= _rate(chosen, estimator) | {"queries_needed": queries_needed(chosen, evaluation)}
                family.append(row | ({"p": math.nan} if number else {}))
        rows += with_holm(family)
    header = ["policy", "iteration", "comparator", "judge", "principle", "polarity", *span("win_rate", "win"), "p"]
    return frame(rows, [*header, "p_holm", "queries_needed", "n_queries", "n_verdicts", "principles"])


def of_last_trained(comparisons: list[Comparison]) -> list[Comparison]:
    """The comparisons of the last trained policy; all where none was trained."""
    last = max(comparison.policy.iteration or 0 for comparison in comparisons)
    return [comparison for comparison in comparisons if comparison.policy.iteration == last] if last else comparisons


def by_polarity(
    verdicts: list[records.Verdict], principle: str, constitutions: dict[str, records.Constitution]
) -> dict[str, list[records.Verdict]]:
    """Verdicts under the constitutions that hold a principle: all of them first, then, where both occur, by polarity.

    The first is called "both", or as the only polarity that occurs; there are none where no verdict holds it.
    """
    apart: dict[str, list[records.Verdict]] = {}
    for name in (polarity(True), polarity(False)):
        chosen = [v for v in verdicts if (principle, name) in _held(constitutions[v.constitution_id])]
        apart |= {name: chosen} if chosen else {}
    every = [v for v in verdicts if principle in {held for held, _ in _held(constitutions[v.constitution_id])}]
    return {"both": every, **apart} if len(apart) == 2 else apart


def _held(constitution: records.Constitution) -> set[tuple[str, str]]:
    """(principle, polarity) of each statement."""
    return {(statement.principle, polarity(statement.wanted)) for statement in constitution.statements}


def generalisation(
    comparisons: list[Comparison],
    sets: dict[str, set[str]],
    evaluation: Evaluation,
    estimator: Estimator,
) -> pd.DataFrame:
    """Win rates under learned and under held-out principles; no rows where none is held out.

    `difference` is learned minus held-out, paired by query; it stands in the row of the held-out ones.
    """
    rows = []
    for comparison in comparisons if HELD_OUT in sets else []:
        verdicts = {kind: comparison.under(sets[kind]).verdicts for kind in (LEARNED, HELD_OUT)}
        preferences = [by_query((v.query_id, v.preference) for v in of_kind) for of_kind in verdicts.values()]
        differences = {LEARNED: NOTHING, HELD_OUT: estimator.difference(*preferences)}
        for kind, of_kind in verdicts.items():
            row = comparison.names | {"principles": kind} | _rate(of_kind, estimator)
            row |= columns("difference", differences[kind]) | {"cost": cost(of_kind)}
            rows.append(row | published(comparison, evaluation, kind))
    header = ["policy", "iteration", "comparator", "judge", "principles", *span("win_rate", "win")]
    header += [*span("difference"), "cost", "n_queries", "n_verdicts", *PUBLISHED]
    return frame(rows, header)


def win_rates_by_length(
    comparisons: list[Comparison], queries: dict[str, records.Query], estimator: Estimator
) -> pd.DataFrame:
    """Win rates on the shortest, middle and longest third of the queries; `words_low` to `words_high` bound a third."""
    rows = []
    for comparison in comparisons:
        judged = list(dict.fromkeys(verdict.query_id for verdict in comparison.verdicts))
        size = {query_id: words(queries[query_id].text) for query_id in judged}
        third = dict(zip(judged, groups([size[q] for q in judged], len(THIRDS)), strict=True))
        for number, name in enumerate(THIRDS):
            chosen = [verdict for verdict in comparison.verdicts if third[verdict.query_id] == number]
            if chosen:
                found = [size[verdict.query_id] for verdict in chosen]
                row = comparison.names | {"third": name, "words_low": min(found), "words_high": max(found)}
                rows.append(row | _rate(chosen, estimator))
    header = ["policy", "iteration", "comparator", "judge", "third", "words_low", "words_high"]
    return frame(rows, [*header, *span("win_rate", "win"), "n_queries", "n_verdicts"])


def _rate(verdicts: list[records.Verdict], estimator: Estimator) -> dict[str, Any]:
    """Cells of a win rate over some of the verdicts."""
    result = estimator.win_rate(verdicts)
    names = ("p", "n_queries", "n_verdicts")
    return columns("win_rate", result.rate, "win") | {name: getattr(result, name) for name in names}


def comparisons_of_policies(comparisons: list[Comparison], estimator: Estimator) -> pd.DataFrame:
    """Paired difference in win rate, `policy` minus `other_policy`, on the pairs that both were judged on."""
    rows = []
    for earlier, later in itertools.combinations(comparisons, 2):
        if (earlier.comparator, earlier.judge) != (later.comparator, later.judge):
            continue
        first, second = ({v.key: v.preference for v in side.verdicts} for side in (later, earlier))
        shared = [key for key in first if key in second]
        if not shared:
            continue
        values = (by_query((key[0], side[key]) for key in shared) for side in (first, second))
        found = statistics.paired_difference(*values, **asdict(estimator))
        row = {"policy": later.policy.name, "other_policy": earlier.policy.name}
        row |= {"comparator": later.comparator, "judge": later.judge}
        row |= columns("difference", found.interval) | {"p": found.p}
        rows.append(row | {"n_queries": len({key[0] for key in shared}), "n_verdicts": len(shared)})
    header = ["policy", "other_policy", "comparator", "judge", *span("difference"), "p", "p_holm"]
    return frame(with_holm(rows), [*header, "n_queries", "n_verdicts"])


def agreement(comparisons: list[Comparison], estimator: Estimator) -> pd.DataFrame:
    """How far every two judges agree, and all together where there are three, on each comparison and on all.

    A panel is made of the verdicts of other judges, so it is left out of all together. No rows with a single judge.
    """
    said: dict[str, dict[tuple, str]] = {}  # judge -> (policy, comparator, key of the pair) -> choice
    for comparison in comparisons:
        for v in comparison.verdicts:
            said.setdefault(comparison.judge, {})[comparison.policy.name, comparison.comparator, v.key] = v.choice
    panels = {c.judge for c in comparisons if _is_panel(c, said.keys())}
    teams = [(*pair, "cohen") for pair in itertools.combinations(said, 2)]
    members = tuple(judge for judge in said if judge not in panels)
    teams += [(*members, "fleiss")] if len(members) > 2 else []
    rows = []
    for policy, comparator in [*dict.fromkeys((c.policy.name, c.comparator) for c in comparisons), (None, None)]:
        for *judges, measure in teams:
            pairs = [key for key in said[judges[0]] if policy is None or key[:2] == (policy, comparator)]
            pairs = [key for key in pairs if all(key in said[judge] for judge in judges)]
            labels = by_query((key[2][0], [said[judge][key] for judge in judges]) for key in pairs)
            found = statistics.agreement(labels, **asdict(estimator))
            # Names of policies and judges hold no space.
            row = {"policy": policy or "all policies", "comparator": comparator or "all comparators"}
            row |= {"judge": judges[0], "other_judge": judges[1]} if measure == "cohen" else {"judge": "all judges"}
            row |= {"measure": measure, "agreement": found.share, **columns("kappa", found.kappa)}
            if pairs:
                rows.append(row | {"n_queries": found.n_queries, "n_verdicts": found.n_verdicts})
    header = ["policy", "comparator", "judge", "other_judge", "measure", "agreement", *span("kappa")]
    return frame(rows, [*header, "n_queries", "n_verdicts"])


def _is_panel(comparison: Comparison, judges: Iterable[str]) -> bool:
    """True where the answers name other judges: a panel keeps its members' verdicts as answers."""
    named = {answer.raw for verdict in comparison.verdicts for answer in verdict.answers}
    return len(named) > 1 and named <= set(judges) - {comparison.judge}


def length_bias(
    comparisons: list[Comparison], length_controlled: list[statistics.LengthControl], estimator: Estimator
) -> pd.DataFrame:
    """Mean preference by how much longer the policy's response is, in bins of equal size, with the fit of all of them.

    Lengths are in characters, `standardised` in units of `scale`, the standard deviation of the differences. The fit is
    the log odds intercept + coefficient * tanh(standardised) of a query of average difficulty.
    """
    rows = []
    for comparison, control in zip(comparisons, length_controlled, strict=True):
        differences = [len(verdict.first) - len(verdict.second) for verdict in comparison.verdicts]
        bins = groups(differences, LENGTH_BINS)
        for number in np.unique(bins):
            chosen = [(v, d) for v, d, b in zip(comparison.verdicts, differences, bins, strict=True) if b == number]
            within = [difference for _, difference in chosen]
            row = comparison.names | {"bin": int(number) + 1}
            row |= {"difference_low": min(within), "difference_high": max(within)}
            row["standardised"] = float(np.mean(within)) / control.scale
            row |= columns("preference", estimator.share(by_query((v.query_id, v.preference) for v, _ in chosen)))
            row |= {"intercept": control.intercept, "coefficient": control.coefficient, "scale": control.scale}
            rows.append(row | {"n_verdicts": len(chosen)})
    header = ["policy", "iteration", "comparator", "judge", "bin", "difference_low", "difference_high", "standardised"]
    return frame(rows, [*header, *span("preference"), "intercept", "coefficient", "scale", "n_verdicts"])


# --- the short table --------------------------------------------------------------------------------------------------


def summary(
    policies: list[Policy], information: pd.DataFrame, win_rates: pd.DataFrame, degeneration: pd.DataFrame
) -> pd.DataFrame:
    """One row a policy, of the other tables; the win rate is that by the first judge against the first comparator.

    The comparator has no win rate: it would be judged against itself.
    """
    bounds = [*span("bound_nats", "bound"), "row_accuracy", "column_accuracy"]
    wins = span("win_rate", "win")
    own = information[(information["responses"] == "own") & (information["principles"] == LEARNED)]
    first = win_rates[(win_rates[["comparator", "judge"]] == win_rates.iloc[0][["comparator", "judge"]]).all(axis=1)]
    rows = []
    for policy in policies:
        row = {"iteration": policy.iteration, "policy": policy.name}
        for table, names in ((own, bounds), (first, [*wins, "lc_win_rate"]), (degeneration, ["degenerate_share"])):
            of_policy = table[table["policy"] == policy.name]
            row |= of_policy.iloc[0][names].to_dict() if len(of_policy) else dict.fromkeys(names, math.nan)
        tokens = [response.tokens for _, response in policy.responses if response.tokens is not None]
        row["response_tokens"] = float(np.mean(tokens)) if tokens else math.nan
        rows.append(row | {"n_queries": len({example.query_id for example in policy.examples})})
    header = ["iteration", *bounds, *wins, "response_tokens", "degenerate_share", "n_queries", "policy", "lc_win_rate"]
    return frame(rows, header)
