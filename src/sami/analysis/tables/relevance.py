"""Tables of whether responses belong to their queries, and of how far they repeat their constitutions.

Each function takes a run and returns rows, in the order of its policies; those of relevance have none of the policies
that it was not measured of. What is measured, and what it is worth, is told in docs/relevance.md.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from sami.analysis.statistics import relevance as statistics
from sami.analysis.statistics.echo import echo as echo_of
from sami.analysis.statistics.echo import talks_about_instruction
from sami.analysis.tables.rows import NOTHING, Case, Estimator, Policy, Row, by_query, cases_of, cells
from sami.analysis.tables.run import Run
from sami.records import BASE, Context, Relevance

SHARES = ("identified", "about_instruction")  # measures that are yes or no
LENGTH_BINS = 4
Values = dict[Case, float]


def told(record: Relevance, context: Context = "alone") -> statistics.Relevance:
    """What a record says of its response: under the queries alone, or with the response's constitution."""
    return statistics.relevance(getattr(record, context), record.tokens)


def relevance(run: Run) -> list[Row]:
    """Identification, margin, bound on I(Y; X), and log-probability of each policy's responses, in each context.

    The differences are paired, to the base model, on the responses that both have; it has none to itself.
    """
    base = base_of(run).relevance
    rows = []
    for policy in run.policies:
        for context in run.evaluation.contexts if policy.relevance else []:
            own, others = measured(policy.relevance, context), measured(base, context)
            row = policy.names | {"context": context}
            row |= _estimates(run.estimator, own)
            row |= _differences(run.estimator, policy, own, others)
            row["max_bound"] = float(np.mean([math.log(len(r.candidates)) for r in policy.relevance.values()]))
            rows.append(row | _counts(policy.relevance))
    return rows


def relevance_by_length(run: Run) -> list[Row]:
    """Identification and margin in bins of the response's length in tokens, the same bins for all policies.

    They are made of the base model's lengths (`length_edges`). `tokens_low` to `tokens_high` are the lengths in a bin,
    of any policy; empty responses are in none. `margin_difference` is paired, to the base model, over the queries that
    have responses of both in this bin.
    """
    base, bins = base_of(run), _by_length(run)
    rows = []
    for policy in run.policies:
        for context, (number, of) in itertools.product(run.evaluation.contexts, enumerate(bins, 1)):
            if not of[policy.name]:
                continue
            lengths = [record.tokens for records in of.values() for record in records.values()]
            own, others = (measured(of[name], context) for name in (policy.name, base.name))
            row = policy.names | {"context": context, "bin": number}
            row |= {"tokens_low": min(lengths), "tokens_high": max(lengths)}
            row |= _estimates(run.estimator, {name: own[name] for name in ("identified", "margin")})
            pairs = (by_query((case[0], value) for case, value in side["margin"].items()) for side in (own, others))
            row |= cells("margin_difference", NOTHING if policy is base else run.estimator.difference(*pairs))
            rows.append(row | _counts(of[policy.name]))
    return rows


def _by_length(run: Run) -> list[dict[str, dict[Case, Relevance]]]:
    """For each bin of lengths: policy -> its records in it. No bins where the base model's relevance is unknown."""
    filled = {p.name: {case: r for case, r in p.relevance.items() if r.tokens} for p in run.policies}
    usual = [record.tokens for record in filled[base_of(run).name].values()]
    bins: list[dict[str, dict[Case, Relevance]]] = [{name: {} for name in filled} for _ in range(LENGTH_BINS)]
    if not usual:
        return []
    edges = length_edges(usual)
    for name, records in filled.items():
        for case, record in records.items():
            bins[np.searchsorted(edges, record.tokens)][name][case] = record
    return bins


def length_edges(lengths: Sequence[int]) -> np.ndarray:
    """(LENGTH_BINS - 1) longest lengths of the bins but the last, so that each bin has about equally many lengths.

    Where a limit of tokens gives many responses one length, the largest, the last bin is for it and for what is longer,
    and the other bins divide the shorter ones.
    """
    longest = max(lengths)
    shorter = [length for length in lengths if length < longest]
    if not shorter or len(shorter) > len(lengths) * (1 - 1 / LENGTH_BINS):
        return np.quantile(lengths, np.arange(1, LENGTH_BINS) / LENGTH_BINS)
    return np.array([*np.quantile(shorter, np.arange(1, LENGTH_BINS - 1) / (LENGTH_BINS - 1)), longest - 1])


def echo(run: Run) -> list[Row]:
    """Echo of the constitution, in words and in 2-grams, and the share of responses that talk about the instruction.

    The differences are paired, to the base model, on the responses that both have; it has none to itself.
    """
    found = {policy.name: echoes(run, policy) for policy in run.policies}
    rows = []
    for policy in run.policies:
        own, others = found[policy.name], found[base_of(run).name]
        shown = {name: own[name] for name in ("echo", "about_instruction")}
        row = policy.names | _estimates(run.estimator, own) | _differences(run.estimator, policy, shown, others)
        rows.append(row | _counts(own["echo"]))
    return rows


def echoes(run: Run, policy: Policy) -> dict[str, Values]:
    """Measure -> case -> its value, of the responses of a policy."""
    texts = {name: [s.text for s in constitution.statements] for name, constitution in run.constitutions.items()}
    found: dict[str, Values] = {name: {} for name in ("echo", "echo_words", "echo_bigrams", "about_instruction")}
    for example in policy.examples:
        for case, response in zip(cases_of(example), example.responses, strict=True):
            others = [texts[name] for name in run.members[example.key] if name != case[2]]
            of = echo_of(response.text, texts[case[2]], others)
            said = of.mean, of.words, of.bigrams, talks_about_instruction(response.text)
            for values, value in zip(found.values(), said, strict=True):
                values[case] = value
    return found


def base_of(run: Run) -> Policy:
    """The base model among the policies of a run."""
    return next(policy for policy in run.policies if policy.name == BASE)


def measured(records: Mapping[Case, Relevance], context: Context) -> dict[str, Values]:
    """Measure -> case -> its value; an empty response has no log-probability."""
    found = {case: told(record, context) for case, record in records.items()}
    return {
        "identified": {case: of.identified for case, of in found.items()},
        "margin": {case: of.margin for case, of in found.items()},
        "bound_nats": {case: of.bound for case, of in found.items()},
        "log_probability": {case: of.log_probability for case, of in found.items() if records[case].tokens},
    }


def _estimates(estimator: Estimator, measured: Mapping[str, Values]) -> Row:
    """Cells of the means of some measures."""
    row: Row = {}
    for name, values in measured.items():
        mean = estimator.share if name in SHARES else estimator.of
        row |= cells(name, mean(by_query((case[0], value) for case, value in values.items())))
    return row


def _differences(estimator: Estimator, policy: Policy, own: Mapping[str, Values], base: Mapping[str, Values]) -> Row:
    """Cells of the paired differences to the base model, on the responses that both have."""
    row: Row = {}
    for name, values in own.items():
        shared = [case for case in values if case in base[name]] if policy.name != BASE else []
        pairs = (by_query((case[0], side[case]) for case in shared) for side in (values, base[name]))
        row |= cells(f"{name}_difference", estimator.difference(*pairs))
    return row


def _counts(cases: Collection[Case]) -> Row:
    return {"n_queries": len({case[0] for case in cases}), "n_responses": len(cases)}
