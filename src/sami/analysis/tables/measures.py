"""Measures of each policy, query by query: what runs with several seeds, and methods, are compared by.

Another measure is an entry of `MEASURES`, or of `OF_VERDICTS`; one that is to be joined over seeds stands in `JOINED`
of the catalogue, too.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pandas as pd

from sami.analysis.statistics.information import information
from sami.analysis.statistics.repetition import is_degenerate, repeated_ngram_share
from sami.analysis.tables.catalogue import OF_SUMMARY
from sami.analysis.tables.policies import of_own_constitution
from sami.analysis.tables.relevance import base_of, echoes
from sami.analysis.tables.relevance import measured as relevance_of
from sami.analysis.tables.rows import Case, Comparison, Policy, Row, by_query, constitution_of, words
from sami.analysis.tables.run import Run
from sami.analysis.tables.verdicts import relevant_preferences, unidentified_wins
from sami.judging import checks
from sami.records import Example, Response

Values = dict[str, list[float]]  # query id -> its values
ByCase = dict[Case, float]  # of the response in each place


def of_responses(value: Callable[[Run, Example, Response], float | None], run: Run, policy: Policy) -> Values:
    """A value of each response; those without one are left out."""
    found = ((example.query_id, value(run, example, response)) for example, response in policy.responses)
    return by_query((query_id, number) for query_id, number in found if number is not None)


def of_matrices(name: str, run: Run, policy: Policy) -> Values:
    """An attribute of `Information`, of the matrix of a policy's own responses to each query."""
    return by_query((s.query_id, getattr(information(s.mean, s.labels), name)) for s in policy.own)


def preferences(comparison: Comparison) -> Values:
    return by_query((verdict.query_id, verdict.preference) for verdict in comparison.verdicts)


def relevance(name: str, run: Run, policy: Policy) -> ByCase:
    """A measure of relevance, under the queries alone; empty responses have no log-probability."""
    return relevance_of(policy.relevance, "alone")[name]


def echo(run: Run, policy: Policy) -> ByCase:
    return echoes(run, policy)["echo"]


def of_cases(measure: Callable[[Run, Policy], ByCase], run: Run, policy: Policy) -> Values:
    """A measure of each response."""
    return by_query((case[0], value) for case, value in measure(run, policy).items())


def difference(measure: Callable[[Run, Policy], ByCase], run: Run, policy: Policy) -> Values:
    """A measure of each response less that of the base model's in its place; none of the base model itself."""
    base = base_of(run)
    if policy is base:
        return {}
    own, others = measure(run, policy), measure(run, base)
    return by_query((case[0], value - others[case]) for case, value in own.items() if case in others)


def is_loop(run: Run, example: Example, response: Response) -> bool:
    return is_degenerate(response.text, run.evaluation.degeneration.ngram, run.evaluation.degeneration.max_repeated)


def repeated_share(run: Run, example: Example, response: Response) -> float:
    return repeated_ngram_share(response.text, run.evaluation.degeneration.ngram)


def degree(held_out: bool, run: Run, example: Example, response: Response) -> float | None:
    """Mean degree to which a response follows its constitution; None where no statement has such a check."""
    found = checks.degrees(response.text, constitution_of(example, response, run.constitutions), held_out)
    return sum(found.values()) / len(found) if found else None


BY_CASE: dict[str, Callable[[Run, Policy], ByCase]] = {  # of which there are differences to the base model
    **{name: partial(relevance, name) for name in OF_SUMMARY},
    "echo": echo,
}
OF_VERDICTS: dict[str, Callable[[Comparison], Values]] = {  # of one judge on a policy and a comparator
    "win_rate": preferences,
    "relevant_win_rate": relevant_preferences,
    "unidentified_wins": unidentified_wins,
}
MEASURES: dict[str, Callable[[Run, Policy], Values]] = {  # name -> values by query
    "bound_nats": partial(of_matrices, "bound"),
    "row_accuracy": partial(of_matrices, "row_accuracy"),
    "column_accuracy": partial(of_matrices, "column_accuracy"),
    **{name: partial(of_cases, measure) for name, measure in BY_CASE.items()},
    "response_tokens": partial(of_responses, lambda run, example, response: response.tokens),
    "response_words": partial(of_responses, lambda run, example, response: words(response.text)),
    "degree": partial(of_responses, partial(degree, False)),
    "held_out_degree": partial(of_responses, partial(degree, True)),
    "degenerate_share": partial(of_responses, is_loop),
    "repeated_share": partial(of_responses, repeated_share),
    "base_log_probability": lambda run, policy: of_own_constitution(policy.by_base),
    "own_log_probability": lambda run, policy: of_own_constitution(policy.own),
    **{f"{name}_difference": partial(difference, measure) for name, measure in BY_CASE.items()},
}


def measures(run: Run) -> list[Row]:
    """One row a policy, measure and query that has values: how many there are, and their mean.

    The measures of verdicts have a row for each comparator and judge.
    """
    rows = []
    for policy in run.policies:
        for name, measure in MEASURES.items():
            rows += _rows(policy.names | {"measure": name}, measure(run, policy))
    for comparison in run.comparisons:
        for name, of_comparison in OF_VERDICTS.items():
            rows += _rows(comparison.names | {"measure": name}, of_comparison(comparison))
    return rows


def _rows(names: Row, values: Values) -> list[Row]:
    return [names | {"query_id": q, "n": len(of), "mean": float(sum(of) / len(of))} for q, of in values.items()]


class Measure(NamedTuple):
    """A measure of a policy; `comparator` and `judge` are empty where it is not of verdicts."""

    policy: str
    name: str
    comparator: str = ""
    judge: str = ""


def read(table: pd.DataFrame) -> dict[Measure, Values]:
    """The values of the table `measures`, by query; those of one query are alike, since only their mean is known.

    Means over queries, and how they vary from query to query, are those of the values themselves.
    """
    keys = ["policy", "measure", "comparator", "judge"]
    filled = table.assign(**{key: table[key].fillna("") for key in keys})
    return {
        Measure(*key): {q: [mean] * n for q, n, mean in zip(of["query_id"], of["n"], of["mean"], strict=True)}
        for key, of in filled.groupby(keys, sort=False)
    }
