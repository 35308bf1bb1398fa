"""The tables of an experiment as data frames: what the records of its policies say, with intervals over queries.

Reads and writes no files; `sami.stages.tabulate` does. Each function takes the policies of iterations 0..T in order,
and an `Estimator` that makes every interval with the same draws, so that policies are compared on the same resamples.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from sami import records, settings, statistics
from sami.judging import checks
from sami.statistics import Interval

TRAINING_FIELDS = ["step", "loss", "bound", "row_accuracy", "column_accuracy", "kl", "gradient_norm", "learning_rate",
                   "queries", "tokens_per_second"]  # fmt: skip
NOTHING = Interval(math.nan, math.nan, math.nan)  # no values to estimate from: empty cells


@dataclass(frozen=True)
class Policy:
    """What the files say of the policy of one iteration; iteration 0 is the base model.

    `own`: its scores of its own responses. `on_base`: its scores of the base model's responses. `by_base`: the base
    model's scores of its responses. For the base model all three are the same. Scores exist for the examples whose
    responses are all non-empty.
    """

    iteration: int
    examples: list[records.Example]
    own: list[records.Scores]
    on_base: list[records.Scores]
    by_base: list[records.Scores]
    verdicts: list[records.Verdict]
    training: list[dict[str, Any]]

    @property
    def responses(self) -> list[tuple[records.Example, records.Response]]:
        return [(example, response) for example in self.examples for response in example.responses]


@dataclass(frozen=True)
class Estimator:
    """Estimates with bootstrap intervals, all from the same draws."""

    samples: int
    confidence: float
    seed: int

    def of(self, values: dict[str, list], statistic: statistics.Statistic = statistics.mean) -> Interval:
        """The statistic of query id -> values; NaN where there are none."""
        return statistics.bootstrap(values, statistic=statistic, **asdict(self)) if values else NOTHING

    def difference(self, first: dict[str, list], second: dict[str, list]) -> Interval:
        """Paired difference of means over the queries that both sides have; NaN where there are none."""
        shared = first.keys() & second.keys()
        first, second = ({query: side[query] for query in shared} for side in (first, second))
        return statistics.bootstrap_difference(first, second, **asdict(self)) if shared else NOTHING

    def win_rate(self, choices: dict[str, list[str]]) -> statistics.WinRate:
        """Win rate of query id -> choices."""
        return statistics.win_rate(choices, **asdict(self))


def by_query(pairs: Iterable[tuple[str, Any]]) -> dict[str, list]:
    """(query id, value) pairs as query id -> values."""
    grouped: dict[str, list] = {}
    for query_id, value in pairs:
        grouped.setdefault(query_id, []).append(value)
    return grouped


def columns(name: str, interval: Interval, stem: str | None = None) -> dict[str, float]:
    """Three cells: the estimate under `name`, its interval under {stem}_low and {stem}_high (default: the name)."""
    stem = stem or name
    return {name: interval.estimate, f"{stem}_low": interval.low, f"{stem}_high": interval.high}


def constitution_of(
    example: records.Example, response: records.Response, constitutions: dict[str, records.Constitution]
) -> records.Constitution:
    """The constitution a response was written for."""
    return constitutions[example.constitution_ids[response.constitution]]


# --- one function a table ---------------------------------------------------------------------------------------------


def information(policies: list[Policy], estimator: Estimator) -> pd.DataFrame:
    """Bound, losses and accuracies of each policy on its own responses and, from iteration 1, on the base model's.

    `max_bound` is log C; `difference` is the paired difference to the base model's bound on its own responses.
    """
    rows = []
    base = None
    for policy in policies:
        sources = {"own": policy.own} | ({"base": policy.on_base} if policy.iteration else {})
        for source, scores in sources.items():
            matrices = [(record.query_id, statistics.information(record.mean, record.labels)) for record in scores]
            bounds = by_query((query_id, matrix.bound) for query_id, matrix in matrices)
            base = bounds if base is None else base  # the first one: iteration 0
            row = {"iteration": policy.iteration, "responses": source}
            row |= columns("bound_nats", estimator.of(bounds), "bound")
            row["max_bound"] = float(np.mean([math.log(len(e.constitution_ids)) for e in policy.examples]))
            for name in ("row_loss", "column_loss", "row_accuracy", "column_accuracy"):
                row |= columns(name, estimator.of(by_query((q, getattr(matrix, name)) for q, matrix in matrices)))
            row |= columns("difference", estimator.difference(bounds, base) if policy.iteration else NOTHING)
            rows.append(row | {"n_queries": len(bounds), "n_matrices": len(matrices)})
    return pd.DataFrame(rows)


def win_rates(policies: list[Policy], estimator: Estimator) -> pd.DataFrame:
    """Wins, ties, losses and win rate of each trained policy against its comparator."""
    rows = []
    for policy in policies[1:]:
        verdict = policy.verdicts[0]
        result = estimator.win_rate(by_query((verdict.query_id, verdict.choice) for verdict in policy.verdicts))
        row = {"policy": verdict.policy, "comparator": verdict.comparator, "judge": verdict.judge}
        row |= {name: getattr(result, name) for name in ("wins", "ties", "losses", "invalid")}
        row |= columns("win_rate", result.rate, "win")
        names = ("wilson_low", "wilson_high", "sign_test_p", "n_queries", "n_verdicts")
        rows.append(row | {name: getattr(result, name) for name in names})
    return pd.DataFrame(rows)


def adherence(
    policies: list[Policy], constitutions: dict[str, records.Constitution], estimator: Estimator
) -> pd.DataFrame:
    """How far responses follow each statement of the constitution they were written for, by programmatic checks."""
    statements = [s for c in constitutions.values() for s in c.statements if s.check is not None]
    pairs = dict.fromkeys((s.principle, wanted) for s in statements for wanted in (True, False))  # in file order
    names = {checks.key(s): (s.principle, s.wanted) for s in statements}
    rows = []
    for policy in policies:
        found: dict[tuple[str, bool], list] = {pair: [] for pair in pairs}
        for example, response in policy.responses:
            degrees = checks.degrees(response.text, constitution_of(example, response, constitutions))
            for statement, degree in degrees.items():
                found[names[statement]].append((example.query_id, degree))
        for (principle, wanted), values in found.items():
            row = {"iteration": policy.iteration, "principle": principle}
            row["polarity"] = "wanted" if wanted else "opposite"
            row |= columns("degree", estimator.of(by_query(values)))
            rows += [row | {"n_responses": len(values)}] if values else []
    header = ["iteration", "principle", "polarity", "degree", "degree_low", "degree_high", "n_responses"]
    return pd.DataFrame(rows, columns=header)  # without checks: no rows, but a header


def lengths(
    policies: list[Policy], constitutions: dict[str, records.Constitution], estimator: Estimator
) -> pd.DataFrame:
    """Tokens and words of responses under the constitutions that want every principle, and under the others."""
    rows = []
    for policy in policies:
        for polarity in ("positive", "other"):
            chosen = [
                (example.query_id, response)
                for example, response in policy.responses
                if constitution_of(example, response, constitutions).positive == (polarity == "positive")
            ]
            row = {"iteration": policy.iteration, "polarity": polarity}
            for unit, length in (("tokens", lambda r: r.tokens), ("words", lambda r: len(r.text.split()))):
                values = by_query((query_id, length(response)) for query_id, response in chosen)
                row |= columns(f"mean_{unit}", estimator.of(values))
                row |= columns(f"median_{unit}", estimator.of(values, statistics.median))
            rows += [row | {"n_responses": len(chosen)}] if chosen else []
    return pd.DataFrame(rows)


def degeneration(policies: list[Policy], rule: settings.Degeneration, estimator: Estimator) -> pd.DataFrame:
    """Share of degenerate responses, and how likely responses are to the base model and to the policy itself.

    Log-probabilities are means per token under the constitution a response was written for, in nats. Responses that
    become unlikely to the base model, while the policy finds them likely, have left what the base model can say.
    """
    rows = []
    for policy in policies:
        texts = [(example.query_id, response.text) for example, response in policy.responses]
        degenerate = by_query((q, statistics.is_degenerate(text, rule.ngram, rule.max_repeated)) for q, text in texts)
        repeated = by_query((q, statistics.repeated_ngram_share(text, rule.ngram)) for q, text in texts)
        row = {"iteration": policy.iteration}
        row |= columns("degenerate_share", estimator.of(degenerate))
        row |= columns("repeated_share", estimator.of(repeated))
        row |= columns("base_log_probability", estimator.of(_of_own_constitution(policy.by_base)))
        row |= columns("own_log_probability", estimator.of(_of_own_constitution(policy.own)))
        rows.append(row | {"n_responses": len(policy.responses)})
    return pd.DataFrame(rows)


def _of_own_constitution(scores: list[records.Scores]) -> dict[str, list[float]]:
    """Query id -> entry of each response j at the row of the constitution it was written for."""
    return by_query((s.query_id, s.mean[label][j]) for s in scores for j, label in enumerate(s.labels))


def training(policies: list[Policy]) -> pd.DataFrame:
    """All optimiser steps of all iterations."""
    rows = [{"iteration": policy.iteration, **step} for policy in policies for step in policy.training]
    return pd.DataFrame(rows, columns=["iteration", *TRAINING_FIELDS])


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
        name = f"iteration_{policy.iteration}" if policy.iteration else "base"
        for example, response in policy.responses:
            if example.query_id in chosen:
                constitution = constitution_of(example, response, constitutions)
                row = rows.setdefault((example.key, constitution.id), {
                    "query_id": example.query_id,
                    "constitution_id": constitution.id,
                    "query": queries[example.query_id].text,
                    "constitution": "\n".join(statement.text for statement in constitution.statements),
                })  # fmt: skip
                row.setdefault(name, response.text)
    return pd.DataFrame(list(rows.values()))


def summary(
    policies: list[Policy], information: pd.DataFrame, win_rates: pd.DataFrame, degeneration: pd.DataFrame
) -> pd.DataFrame:
    """One row an iteration, of the other tables. The base model has no win rate: it would be judged against itself."""
    own = information[information["responses"] == "own"].set_index("iteration")
    shares = degeneration.set_index("iteration")["degenerate_share"]
    wins = ["win_rate", "win_low", "win_high"]
    rows = []
    for policy in policies:
        t = policy.iteration
        row = {"iteration": t}
        row |= own.loc[t, ["bound_nats", "bound_low", "bound_high", "row_accuracy", "column_accuracy"]].to_dict()
        row |= win_rates.iloc[t - 1][wins].to_dict() if t else dict.fromkeys(wins, math.nan)
        row["response_tokens"] = float(np.mean([response.tokens for _, response in policy.responses]))
        row["degenerate_share"] = shares[t]
        rows.append(row | {"n_queries": len({example.query_id for example in policy.examples})})
    return pd.DataFrame(rows)
