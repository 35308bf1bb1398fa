"""Tables of several seeds: runs that differ in nothing else, side by side, and joined."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sami.analysis.statistics.bootstrap import bootstrap_over_seeds
from sami.analysis.tables import files
from sami.analysis.tables.catalogue import JOINED
from sami.analysis.tables.measures import OF_VERDICTS, Measure, Values
from sami.analysis.tables.measures import read as read_measures
from sami.analysis.tables.rows import NOTHING, Estimator, Row, cells
from sami.data.joined import read_by_id
from sami.errors import UserError
from sami.records import Query, iteration_of

Measured = dict[str, dict[str, Values]]  # policy -> measure -> values, of one run


def load(seeds: Sequence[int], queries: Sequence[Path], tables: Sequence[Path]) -> dict[int, Measured]:
    """Seed -> the measures of each policy, those of verdicts by the first judge against the first comparator.

    Args:
        seeds: of the runs.
        queries, tables: held-out queries and folder of tables of each run, in the same order.

    Raises:
        UserError: there is not one of each for each seed, or runs have other held-out queries than the first.
    """
    check_runs(seeds, queries, tables)
    return {
        seed: _of_first(read_measures(files.read(folder, "measures")))
        for seed, folder in zip(seeds, tables, strict=True)
    }


def check_runs(seeds: Sequence[int], queries: Sequence[Path], tables: Sequence[Path]) -> None:
    """Raises UserError where runs are not one a seed, or do not have the held-out queries of the first."""
    if len(set(seeds)) < len(seeds) or not len(seeds) == len(queries) == len(tables):
        raise UserError(
            f"--seeds: found {' '.join(map(str, seeds))}, {len(queries)} files of --queries and {len(tables)} folders "
            "of --tables; expected each seed once, and one of both for each seed, in this order."
        )
    check_same_queries(queries)


def check_same_queries(queries: Sequence[Path]) -> None:
    """Raises UserError where a file has other held-out queries than the first."""
    asked: dict[str, str] = {}
    for file in queries:
        texts = {query_id: query.text for query_id, query in read_by_id(Query, file).items()}
        if asked and texts != asked:
            raise UserError(
                f"{file}: found other held-out queries than in {queries[0]}, expected the same: runs that are joined "
                "differ in their seed alone. Make the queries of both again."
            )
        asked = texts


def _of_first(found: Mapping[Measure, Values]) -> Measured:
    """Policy -> measure -> values, of the verdicts by the first judge against the first comparator alone."""
    first = next(((of.comparator, of.judge) for of in found if of.name in OF_VERDICTS), None)
    measured: Measured = {}
    for of, values in found.items():
        if of.name not in OF_VERDICTS or (of.comparator, of.judge) == first:
            measured.setdefault(of.policy, {})[of.name] = values
    return measured


def seeds(runs: Mapping[int, Measured], estimator: Estimator, split: str = "eval") -> list[Row]:
    """Means of each seed, one row a seed and policy."""
    return [
        {"seed": seed}
        | _names(policy)
        | {name: _mean(values.get(name, {})) for name in JOINED}
        | {"n_queries": _query_count([values]), "split": split}
        for seed, run in runs.items()
        for policy, values in run.items()
    ]


def joined(runs: Mapping[int, Measured], estimator: Estimator, split: str = "eval") -> list[Row]:
    """Means over seeds with intervals over seeds and queries, one row a policy; none where a seed has no values."""
    rows = []
    for policy in next(iter(runs.values())):
        row = _names(policy)
        for name in JOINED:
            values = {seed: run[policy].get(name, {}) for seed, run in runs.items()}
            known = all(values.values())
            row |= cells(name, bootstrap_over_seeds(values, **asdict(estimator)) if known else NOTHING)
        asked = _query_count([run[policy] for run in runs.values()])
        rows.append(row | {"n_seeds": len(runs), "n_queries": asked, "split": split})
    return rows


def _names(policy: str) -> Row:
    return {"policy": policy, "iteration": iteration_of(policy)}


def _mean(values: Values) -> float:
    return float(np.mean([value for of_query in values.values() for value in of_query])) if values else math.nan


def _query_count(found: Iterable[dict[str, Values]]) -> int:
    """Number of queries that have a response."""
    return len({query_id for values in found for query_id in values["response_words"]})
