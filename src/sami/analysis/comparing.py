"""What several experiments say side by side: the table of a comparison, from their tables and verdicts.

Reads and writes no files; `sami.stages.compare_experiments` does. What the columns mean is told in docs/statistics.md.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from sami import records
from sami.analysis import statistics
from sami.analysis.tables import LEARNED, PUBLISHED, Estimator, by_query, columns, frame, span, with_holm
from sami.records import iteration_of, last_trained

Preferences = dict[tuple, float]  # what a pair is about, its query's text first -> preference for the policy's response

RATES = [*span("win_rate", "win"), *span("lc_win_rate", "lc"), *PUBLISHED]
WORDS = ["mean_words", "comparator_mean_words"]
BOUNDS, DEGENERATE = span("bound_nats", "bound"), span("degenerate_share")
NAMES = ["experiment", "policy", "iteration", "comparator", "judge"]


@dataclass(frozen=True)
class Results:
    """What is compared of one experiment: three of its tables, and verdicts on its last trained policy.

    `preferences`: (comparator, judge) -> preference on each pair, as `preferences` makes it.
    """

    name: str
    win_rates: pd.DataFrame
    information: pd.DataFrame
    degeneration: pd.DataFrame
    preferences: dict[tuple[str, str], Preferences]

    @property
    def last(self) -> str:
        """The last trained policy."""
        return last_trained(self.win_rates["policy"])


def preferences(
    verdicts: Iterable[records.Verdict],
    queries: dict[str, records.Query],
    constitutions: dict[str, records.Constitution],
) -> Preferences:
    """Verdicts by what they are about: names and texts, since other experiments may call other texts by these names.

    Those under other constitutions than the given ones are left out.
    """
    texts = {c.id: tuple(statement.text for statement in c.statements) for c in constitutions.values()}
    return {
        (queries[verdict.query_id].text, texts[verdict.constitution_id], *verdict.key): verdict.preference
        for verdict in verdicts
        if verdict.constitution_id in texts
    }


def comparison(experiments: Sequence[Results], estimator: Estimator) -> pd.DataFrame:
    """Win rates by each experiment's first judge, one row an experiment and policy, grouped by comparator.

    The policies are an experiment's last trained one, and those that are no iterations. `difference` is the last
    trained policy's win rate minus that of the first experiment's, on the pairs that the same judge compared with the
    same comparator's response in both: the same query under the same constitution. `shared_pairs` counts them.
    """
    rows = [row for results in experiments for row in _rows(results)]
    comparators = list(dict.fromkeys(row["comparator"] for row in rows))
    rows.sort(key=lambda row: comparators.index(row["comparator"]))  # stable: keeps the order of the experiments
    first, others = experiments[0], {results.name: results for results in experiments[1:]}
    tested = []
    for row in rows:
        other = others.get(row["experiment"])
        if other and row["policy"] == other.last:
            kind = row["comparator"], row["judge"]
            row |= _difference(other.preferences.get(kind, {}), first.preferences.get(kind, {}), estimator)
            tested += [row] if "p" in row else []
    for row, adjusted in zip(tested, with_holm(tested), strict=True):
        row |= adjusted
    header = [*NAMES, *RATES, *BOUNDS, *WORDS, *DEGENERATE, *span("difference"), "p", "p_holm", "shared_pairs"]
    return frame(rows, [*header, "n_queries", "n_verdicts"]).astype({"shared_pairs": "Int64"})


def _rows(results: Results) -> Iterable[dict[str, Any]]:
    """Cells of one experiment, from its tables."""
    rates = results.win_rates[results.win_rates["judge"] == results.win_rates["judge"].iloc[0]]
    information = results.information
    own = information[(information["responses"] == "own") & (information["principles"] == LEARNED)]
    for _, rate in rates.iterrows():
        if rate["policy"] == results.last or iteration_of(rate["policy"]) is None:
            row = {"experiment": results.name} | rate[[*NAMES[1:], *RATES, *WORDS, "n_queries", "n_verdicts"]].to_dict()
            for table, names in ((own, BOUNDS), (results.degeneration, DEGENERATE)):
                of_policy = table[table["policy"] == rate["policy"]]
                row |= of_policy.iloc[0][names].to_dict() if len(of_policy) else dict.fromkeys(names, math.nan)
            yield row


def _difference(policy: Preferences, other: Preferences, estimator: Estimator) -> dict[str, Any]:
    """Cells of a paired difference; none where no pair is shared."""
    shared = [pair for pair in policy if pair in other]
    if not shared:
        return {}
    values = (by_query((pair[0], side[pair]) for pair in shared) for side in (policy, other))
    found = statistics.paired_difference(*values, **asdict(estimator))
    return columns("difference", found.interval) | {"p": found.p, "shared_pairs": len(shared)}
