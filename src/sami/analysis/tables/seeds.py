"""Tables of several seeds: runs that differ in nothing else, side by side, and joined.

Another measure is a name in `JOINED` of the catalogue and its values in `MEASURES`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from sami.analysis.statistics.bootstrap import bootstrap_over_seeds
from sami.analysis.statistics.information import information
from sami.analysis.statistics.repetition import is_degenerate, repeated_ngram_share
from sami.analysis.tables import run as runs
from sami.analysis.tables.catalogue import JOINED, OF_SUMMARY
from sami.analysis.tables.policies import of_own_constitution
from sami.analysis.tables.relevance import base_of, echoes
from sami.analysis.tables.relevance import measured as relevance_of
from sami.analysis.tables.rows import (
    NOTHING,
    TRAINING,
    Case,
    Comparison,
    Estimator,
    Policy,
    Row,
    by_query,
    cells,
    words,
)
from sami.analysis.tables.run import Run
from sami.analysis.tables.verdicts import relevant_preferences, unidentified_wins
from sami.errors import UserError
from sami.records import Response, iteration_of
from sami.settings.evaluation import Evaluation

Values = dict[str, list[float]]  # query id -> its values
ByCase = dict[Case, float]  # of the response in each place
Measured = dict[str, dict[str, Values]]  # policy -> measure -> values, of one run


def of_responses(value: Callable[[Run, Response], float | None], run: Run, policy: Policy) -> Values:
    """A value of each response; those without one are left out."""
    found = ((example.query_id, value(run, response)) for example, response in policy.responses)
    return by_query((query_id, number) for query_id, number in found if number is not None)


def of_matrices(name: str, run: Run, policy: Policy) -> Values:
    """An attribute of `Information`, of the matrix of a policy's own responses to each query."""
    return by_query((s.query_id, getattr(information(s.mean, s.labels), name)) for s in policy.own)


def of_verdicts(values: Callable[[Comparison], Values], run: Run, policy: Policy) -> Values:
    """Values of the first judge's verdicts on a policy against the first comparator; none of the comparator itself."""
    first = run.comparisons[0]
    for found in run.comparisons:
        if (found.policy.name, found.comparator, found.judge) == (policy.name, first.comparator, first.judge):
            return values(found)
    return {}


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


def is_loop(run: Run, response: Response) -> bool:
    return is_degenerate(response.text, run.evaluation.degeneration.ngram, run.evaluation.degeneration.max_repeated)


def repeated_share(run: Run, response: Response) -> float:
    return repeated_ngram_share(response.text, run.evaluation.degeneration.ngram)


BY_CASE: dict[str, Callable[[Run, Policy], ByCase]] = {  # of which there are differences to the base model
    **{name: partial(relevance, name) for name in OF_SUMMARY},
    "echo": echo,
}
MEASURES: dict[str, Callable[[Run, Policy], Values]] = {  # column -> values by query, of which it is the mean
    "bound_nats": partial(of_matrices, "bound"),
    "row_accuracy": partial(of_matrices, "row_accuracy"),
    "column_accuracy": partial(of_matrices, "column_accuracy"),
    "win_rate": partial(of_verdicts, preferences),
    "relevant_win_rate": partial(of_verdicts, relevant_preferences),
    "unidentified_wins": partial(of_verdicts, unidentified_wins),
    **{name: partial(of_cases, measure) for name, measure in BY_CASE.items()},
    "response_tokens": partial(of_responses, lambda run, response: response.tokens),
    "response_words": partial(of_responses, lambda run, response: words(response.text)),
    "degenerate_share": partial(of_responses, is_loop),
    "repeated_share": partial(of_responses, repeated_share),
    "base_log_probability": lambda run, policy: of_own_constitution(policy.by_base),
    "own_log_probability": lambda run, policy: of_own_constitution(policy.own),
    **{f"{name}_difference": partial(difference, measure) for name, measure in BY_CASE.items()},
}


def load(
    seeds: Sequence[int],
    policies: Sequence[str],
    evaluation: Evaluation,
    *,
    queries: Sequence[Path],
    constitutions: Sequence[Path],
    responses: Sequence[Path],
    verdicts: Sequence[Path],
    scores: Sequence[Path],
    relevance: Sequence[Path],
) -> dict[int, Measured]:
    """Reads the runs one after the other, and keeps of each the values that are joined.

    Args:
        seeds: of the runs.
        policies: names of their policies, the same in all.
        evaluation: how policies are compared, the same in all.
        queries, constitutions, responses, verdicts, scores, relevance: files of the runs, equally many of each, those
            of the first run first; see `sami.analysis.tables.run.load`.

    Returns:
        Seed -> values, under the principles of training.

    Raises:
        UserError: files are missing, or do not belong together, or runs have other held-out queries than the first.
    """
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds: found {' '.join(map(str, seeds))}, expected each seed once.")
    files = {"queries": queries, "constitutions": constitutions, "responses": responses, "verdicts": verdicts}
    files |= {"information": scores, "relevance": relevance}
    shares = {flag: _shares(flag, paths, len(seeds)) for flag, paths in files.items()}
    found: dict[int, Measured] = {}
    asked: dict[str, str] = {}
    for number, seed in enumerate(seeds):
        of_run = {flag: share[number] for flag, share in shares.items()}
        run = runs.load(
            of_run["queries"][0],
            of_run["constitutions"],
            runs.by_policy(policies, of_run["responses"]),
            of_run["verdicts"],
            evaluation,
            scores=of_run["information"],
            relevance=of_run["relevance"],
            seed=seed,
        )
        texts = {query_id: query.text for query_id, query in run.queries.items()}
        if found and texts != asked:
            raise UserError(
                f"{of_run['queries'][0]}: found other held-out queries than in {queries[0]}, expected the same: runs "
                "that are joined differ in their seed alone. Make the queries of both again."
            )
        asked = texts
        found[seed] = measured(run)
    return found


def _shares(flag: str, files: Sequence[Path], count: int) -> list[Sequence[Path]]:
    """Equal shares of files, one a run. Raises UserError where they cannot be divided so."""
    size, left = divmod(len(files), count)
    if left:
        raise UserError(
            f"--{flag}: found {len(files)} files, expected equally many for each of the {count} seeds, those of the "
            "first seed first."
        )
    return [files[size * number : size * (number + 1)] for number in range(count)]


def measured(run: Run) -> Measured:
    """The values of all measures that a run has, under the principles of training."""
    shown = run.under(run.sets[TRAINING])
    return {policy.name: {name: MEASURES[name](shown, policy) for name in JOINED} for policy in shown.policies}


def seeds(runs: Mapping[int, Measured], estimator: Estimator, split: str = "eval") -> list[Row]:
    """Means of each seed, one row a seed and policy."""
    return [
        {"seed": seed}
        | _names(policy)
        | {name: _mean(of_query) for name, of_query in values.items()}
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
            values = {seed: run[policy][name] for seed, run in runs.items()}
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
