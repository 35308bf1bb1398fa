"""Rows of tables: policies and comparisons as the files have them, and cells of estimates with intervals."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from sami.analysis.statistics import bootstrap, win_rates
from sami.analysis.statistics.bootstrap import Interval, Statistic
from sami.analysis.statistics.significance import holm
from sami.analysis.tables.catalogue import span
from sami.records import Constitution, Example, Relevance, Response, Scores, Verdict

Row = dict[str, Any]
Case = tuple[str, str, str, int]  # a query, a set, a constitution of it, a number of a response: `Verdict.key`
NOTHING = Interval(math.nan, math.nan, math.nan)  # no values to estimate from: empty cells
TRAINING, HELD_OUT = "training", "held-out"  # kinds of principles


@dataclass(frozen=True)
class Policy:
    """One policy as its files have it: a trained one, `iteration` 0 being the base model, or another model.

    `own`: its scores of its own responses. `on_base`: its scores of the base model's responses. `by_base`: the base
    model's scores of its responses. For the base model all three are the same. Scores exist for the examples whose
    responses are all non-empty, and for policies that were scored at all; a training log for those trained here.
    `relevance`: of every response, where it was measured.
    """

    name: str
    iteration: int | None
    examples: list[Example]
    own: Sequence[Scores] = ()
    on_base: Sequence[Scores] = ()
    by_base: Sequence[Scores] = ()
    training: Sequence[Row] = ()
    relevance: Mapping[Case, Relevance] = field(default_factory=dict)

    @property
    def names(self) -> Row:
        """First cells of a row about this policy."""
        return {"policy": self.name, "iteration": self.iteration}

    @property
    def responses(self) -> list[tuple[Example, Response]]:
        return [(example, response) for example in self.examples for response in example.responses]

    def under(self, set_ids: Collection[str]) -> "Policy":
        """The policy under the constitutions of some sets alone."""
        names = ("examples", "own", "on_base", "by_base")
        records = {name: [r for r in getattr(self, name) if r.set_id in set_ids] for name in names}
        relevance = {case: record for case, record in self.relevance.items() if record.set_id in set_ids}
        return replace(self, **records, relevance=relevance)


@dataclass(frozen=True)
class Comparison:
    """The verdicts of one judge on a policy's responses against those of a comparator."""

    policy: Policy
    comparator: str
    judge: str
    verdicts: list[Verdict]

    @property
    def names(self) -> Row:
        """First cells of a row about this comparison."""
        return self.policy.names | {"comparator": self.comparator, "judge": self.judge}

    def under(self, set_ids: Collection[str]) -> "Comparison":
        """The verdicts on responses under the constitutions of some sets."""
        return replace(self, verdicts=[verdict for verdict in self.verdicts if verdict.set_id in set_ids])


@dataclass(frozen=True)
class Estimator:
    """Estimates with intervals over queries; what is drawn for them is drawn alike for all.

    So policies are compared on the same resamples.
    """

    samples: int
    confidence: float
    seed: int

    def of(self, values: dict[str, list], statistic: Statistic = bootstrap.mean) -> Interval:
        """The statistic of query id -> values, with a bootstrap interval; NaN where there are none."""
        return bootstrap.bootstrap(values, statistic=statistic, **asdict(self)) if values else NOTHING

    def share(self, values: dict[str, list]) -> Interval:
        """The mean of query id -> values from 0 to 1, with Wilson's interval; NaN where there are none."""
        return win_rates.wilson_by_query(values, self.confidence) if values else NOTHING

    def difference(self, first: dict[str, list], second: dict[str, list]) -> Interval:
        """Paired difference of means over the queries that both sides have; NaN where there are none."""
        shared = first.keys() & second.keys()
        first, second = ({query: side[query] for query in shared} for side in (first, second))
        return bootstrap.bootstrap_difference(first, second, **asdict(self)) if shared else NOTHING

    def win_rate(self, verdicts: Iterable[Verdict]) -> win_rates.WinRate:
        return win_rates.win_rate(by_query((v.query_id, (v.choice, v.preference)) for v in verdicts), **asdict(self))


def by_query(pairs: Iterable[tuple[str, Any]]) -> dict[str, list]:
    """(query id, value) pairs as query id -> values."""
    grouped: dict[str, list] = {}
    for query_id, value in pairs:
        grouped.setdefault(query_id, []).append(value)
    return grouped


def cells(name: str, interval: Interval) -> dict[str, float]:
    """Three cells: the estimate and its interval, under the columns of `span`."""
    return dict(zip(span(name), interval, strict=True))


def cells_of(table: pd.DataFrame, policy: str, names: list[str]) -> Row:
    """Cells of a table's first row about a policy; NaN where it has none."""
    of_policy = table[table["policy"] == policy]
    return of_policy.iloc[0][names].to_dict() if len(of_policy) else dict.fromkeys(names, math.nan)


def rate_cells(verdicts: list[Verdict], estimator: Estimator) -> Row:
    """Cells of a win rate over some verdicts."""
    result = estimator.win_rate(verdicts)
    names = ("p", "n_queries", "n_verdicts")
    return cells("win_rate", result.rate) | {name: getattr(result, name) for name in names}


def with_holm(rows: list[Row]) -> list[Row]:
    """Rows with the column p_holm: their p-values in `p`, adjusted for the number of rows that have one, else NaN."""
    adjusted = iter(holm([row["p"] for row in rows if not math.isnan(row["p"])]))
    return [row | {"p_holm": math.nan if math.isnan(row["p"]) else next(adjusted)} for row in rows]


def groups(values: Sequence[float], count: int) -> np.ndarray:
    """(N,) group 0, 1, ... of each value: about equally many in each, equal values together, so some can be empty."""
    edges = np.quantile(values, np.arange(1, count) / count)
    return np.searchsorted(edges, values, side="left")


def words(text: str) -> int:
    return len(text.split())


def polarity(wanted: bool) -> str:
    return "wanted" if wanted else "opposite"


def sets_by_kind(constitutions: dict[str, Constitution]) -> dict[str, set[str]]:
    """Kind of principles, TRAINING and, where there are some, HELD_OUT -> ids of the sets that are made of them."""
    found: dict[str, set[str]] = {TRAINING: set()}
    for constitution in constitutions.values():
        found.setdefault(HELD_OUT if constitution.held_out else TRAINING, set()).add(constitution.set_id)
    return found


def kinds_of_principles(constitutions: dict[str, Constitution]) -> dict[str, str]:
    """Principle -> TRAINING, or HELD_OUT where policies are never trained on it."""
    return {s.principle: HELD_OUT if c.held_out else TRAINING for c in constitutions.values() for s in c.statements}


def cases_of(example: Example) -> list[Case]:
    """The cases of an example, one a response."""
    return [
        (*example.key, example.constitution_ids[response.constitution], number)
        for number, response in enumerate(example.responses)
    ]


def constitution_of(example: Example, response: Response, constitutions: dict[str, Constitution]) -> Constitution:
    """The constitution a response was written for."""
    return constitutions[example.constitution_ids[response.constitution]]
