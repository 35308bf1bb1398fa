"""Tables of policies: information, adherence, lengths, degeneration, training, samples, and the summary.

Each function takes a run and returns rows, in the order of its policies.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from sami.analysis.statistics import bootstrap
from sami.analysis.statistics.information import information as information_of
from sami.analysis.statistics.repetition import is_degenerate, repeated_ngram_share
from sami.analysis.tables.catalogue import DEGENERATION, OF_SUMMARY, span
from sami.analysis.tables.rows import (
    NOTHING,
    TRAINING,
    Row,
    by_query,
    cells,
    cells_of,
    constitution_of,
    kinds_of_principles,
    polarity,
    words,
)
from sami.analysis.tables.run import Run
from sami.judging import checks
from sami.records import Response, Scores

SAMPLED_QUERIES = 6
LOSSES_AND_ACCURACIES = ("row_loss", "column_loss", "row_accuracy", "column_accuracy")


def information(run: Run) -> list[Row]:
    """Bound, losses and accuracies of each scored policy on its own and, if trained, on the base model's responses.

    `max_bound` is log C; `difference` is the paired difference to the base model's bound on its own responses.
    """
    return [
        row | {"principles": kind} for kind, set_ids in run.sets.items() for row in _information(run.under(set_ids))
    ]


def _information(run: Run) -> list[Row]:
    base = by_query(
        (record.query_id, information_of(record.mean, record.labels).bound)
        for policy in run.policies
        if policy.iteration == 0
        for record in policy.own
    )
    rows = []
    for policy in run.policies:
        sources = {"own": policy.own} | ({"base": policy.on_base} if policy.iteration else {})
        for source, scores in sources.items():
            if not scores:
                continue
            matrices = [(record.query_id, information_of(record.mean, record.labels)) for record in scores]
            bounds = by_query((query_id, matrix.bound) for query_id, matrix in matrices)
            row = policy.names | {"responses": source} | cells("bound_nats", run.estimator.of(bounds))
            row["max_bound"] = float(np.mean([math.log(len(e.constitution_ids)) for e in policy.examples]))
            for name in LOSSES_AND_ACCURACIES:
                values = by_query((q, getattr(matrix, name)) for q, matrix in matrices)
                row |= cells(name, (run.estimator.share if name.endswith("accuracy") else run.estimator.of)(values))
            row |= cells("difference", run.estimator.difference(bounds, base) if policy.iteration else NOTHING)
            rows.append(row | {"n_queries": len(bounds), "n_matrices": len(matrices)})
    return rows


def adherence(run: Run) -> list[Row]:
    """Degrees to which responses follow each statement of their constitution, by programmatic checks."""
    statements = [s for c in run.constitutions.values() for s in c.statements if s.check is not None]
    pairs = dict.fromkeys((s.principle, wanted) for s in statements for wanted in (True, False))  # in file order
    names = {checks.key(s): (s.principle, s.wanted) for s in statements}
    kinds = kinds_of_principles(run.constitutions)
    rows = []
    for policy in run.policies:
        found: dict[tuple[str, bool], list] = {pair: [] for pair in pairs}
        for example, response in policy.responses:
            degrees = checks.degrees(response.text, constitution_of(example, response, run.constitutions))
            for statement, degree in degrees.items():
                found[names[statement]].append((example.query_id, degree))
        for (principle, wanted), values in found.items():
            row = policy.names | {"principle": principle, "polarity": polarity(wanted)}
            row |= cells("degree", run.estimator.share(by_query(values)))
            rows += [row | {"n_responses": len(values), "principles": kinds[principle]}] if values else []
    return rows


def lengths(run: Run) -> list[Row]:
    """Tokens and words of responses under the constitutions that want every principle, and under the others."""
    units: dict[str, Callable[[Response], int | None]] = {
        "tokens": lambda response: response.tokens,
        "words": lambda response: words(response.text),
    }
    rows = []
    for policy in run.policies:
        for kind in ("positive", "other"):
            chosen = [
                (example.query_id, response)
                for example, response in policy.responses
                if constitution_of(example, response, run.constitutions).positive == (kind == "positive")
            ]
            row = policy.names | {"polarity": kind}
            for unit, length in units.items():
                values = by_query((q, length(response)) for q, response in chosen if length(response) is not None)
                row |= cells(f"mean_{unit}", run.estimator.of(values))
                row |= cells(f"median_{unit}", run.estimator.of(values, bootstrap.median))
            rows += [row | {"n_responses": len(chosen)}] if chosen else []
    return rows


def degeneration(run: Run) -> list[Row]:
    """Share of degenerate responses, and how likely responses are to the base model and to the policy itself.

    Log-probabilities are means per token under the constitution a response was written for, in nats. Responses that
    become unlikely to the base model, while the policy finds them likely, have left what the base model can say.
    """
    rule = run.evaluation.degeneration
    rows = []
    for policy in run.policies:
        texts = [(example.query_id, response.text) for example, response in policy.responses]
        values = (
            by_query((q, is_degenerate(text, rule.ngram, rule.max_repeated)) for q, text in texts),
            by_query((q, repeated_ngram_share(text, rule.ngram)) for q, text in texts),
            of_own_constitution(policy.by_base),
            of_own_constitution(policy.own),
        )
        row = policy.names
        for name, found in zip(DEGENERATION, values, strict=True):
            row |= cells(name, (run.estimator.share if name.endswith("share") else run.estimator.of)(found))
        rows.append(row | {"n_responses": len(texts)})
    return rows


def of_own_constitution(scores: Sequence[Scores]) -> dict[str, list[float]]:
    """Query id -> entry of each response j at the row of the constitution it was written for."""
    return by_query((s.query_id, s.mean[label][j]) for s in scores for j, label in enumerate(s.labels))


def training(run: Run) -> list[Row]:
    """All optimiser steps of all iterations, with the metrics that their logs have."""
    return [policy.names | step for policy in run.policies for step in policy.training]


def samples(run: Run) -> list[Row]:
    """The first response of every policy to some queries drawn with the seed: one row a query and constitution."""
    answered = list(dict.fromkeys(example.query_id for example in run.policies[0].examples))
    random = np.random.default_rng(run.seed)
    drawn = random.choice(len(answered), size=min(SAMPLED_QUERIES, len(answered)), replace=False)
    chosen = {answered[i] for i in drawn}
    rows: dict[tuple, Row] = {}
    for policy in run.policies:
        for example, response in policy.responses:
            if example.query_id in chosen:
                constitution = constitution_of(example, response, run.constitutions)
                row = rows.setdefault((example.key, constitution.id), {
                    "query_id": example.query_id,
                    "constitution_id": constitution.id,
                    "query": run.queries[example.query_id].text,
                    "constitution": "\n".join(statement.text for statement in constitution.statements),
                })  # fmt: skip
                row.setdefault(f"response_{policy.name}", response.text)
    return list(rows.values())


def summary(
    run: Run,
    information: pd.DataFrame,
    win_rates: pd.DataFrame,
    degeneration: pd.DataFrame,
    relevance: pd.DataFrame,
    echo: pd.DataFrame,
) -> list[Row]:
    """One row a policy, of the other tables; the win rate is that by the first judge against the first comparator.

    The comparator has no win rate: it would be judged against itself. Relevance is that under the queries alone.
    """
    own = information[(information["responses"] == "own") & (information["principles"] == TRAINING)]
    first = win_rates[(win_rates[["comparator", "judge"]] == win_rates.iloc[0][["comparator", "judge"]]).all(axis=1)]
    rows = []
    for policy in run.policies:
        row = policy.names
        row |= cells_of(own, policy.name, [*span("bound_nats"), "row_accuracy", "column_accuracy"])
        row |= cells_of(first, policy.name, [*span("win_rate", "relevant_win_rate"), "lc_win_rate"])
        row |= cells_of(degeneration, policy.name, ["degenerate_share"])
        row |= cells_of(relevance[relevance["context"] == "alone"], policy.name, [*span(*OF_SUMMARY)])
        row |= cells_of(echo, policy.name, [*span("echo")])
        tokens = [response.tokens for _, response in policy.responses if response.tokens is not None]
        row["response_tokens"] = float(np.mean(tokens)) if tokens else math.nan
        asked = {example.query_id for example in policy.examples}
        rows.append(row | {"n_queries": len(asked), "split": run.split})
    return rows
