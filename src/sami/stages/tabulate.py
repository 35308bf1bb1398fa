"""Turns the records of all policies of an experiment into tables; every estimate comes with its interval over queries.

Reads   constitutions (Constitution), held-out queries (Query); for each iteration 0..T responses (Example) and
        log-probabilities (Scores); for each iteration 1..T verdicts (Verdict) and the training log
Writes  a folder of CSV files: summary, information, win_rates, adherence, lengths, degeneration, training, samples

    python -m sami.stages.tabulate --help
"""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sami import records, settings, tables
from sami.errors import UserError
from sami.stage import Stage

log = logging.getLogger(__name__)

SAMPLED_QUERIES = 6
FORMATS = {"learning_rate": ".3e", "kl": ".3e", "sign_test_p": ".3g"}  # all other numbers: four decimals


def load(
    responses: list[str], information: list[str], verdicts: list[str], training: list[str], judge: str
) -> list[tables.Policy]:
    """Reads the files of the policies 0..T, in order. Raises UserError where files or records are missing."""
    last = len(responses) - 1
    for flag, files, expected in (
        ("--information", information, last + 1),
        ("--verdicts", verdicts, last),
        ("--training", training, last),
    ):
        if len(files) != expected:
            raise UserError(
                f"{flag}: found {len(files)} files, expected {expected} to go with {last + 1} files of --responses "
                "(--responses and --information: one for each iteration 0..T; --verdicts and --training: 1..T)."
            )
    policies, base = [], None
    for t, file in enumerate(responses):
        examples = records.read(records.Example, file)
        base = base or examples
        check_same_questions(examples, base, t, file)
        own, on_base, by_base = scores_of(information[t], t, examples, base)
        judged = verdicts_of(verdicts[t - 1], t, judge) if t else []
        trained = training_of(training[t - 1]) if t else []
        policies.append(tables.Policy(t, examples, own, on_base, by_base, judged, trained))
    return policies


def check_same_questions(examples: list[records.Example], base: list[records.Example], t: int, file: str) -> None:
    """Raises UserError where there are no examples, or policies answer other queries than the base model."""
    apart = sorted({example.key for example in base} ^ {example.key for example in examples})
    if not examples or apart:
        first = f"; first: query '{apart[0][0]}', set '{apart[0][1]}'" if apart else ""
        raise UserError(
            f"{file}: found {len(examples)} examples, expected those of the {len(base)} queries that the base model "
            f"answered ({len(apart)} differ{first}). Make the held-out responses of iteration 0 and {t} again."
        )


def scores_of(
    file: str, t: int, examples: list[records.Example], base: list[records.Example]
) -> list[list[records.Scores]]:
    """The three groups of scores of iteration t: of its responses, of the base model's, and of its own by the base.

    An example with an empty response has no scores.
    """
    scores = records.read(records.Scores, file)
    groups = []
    for scorer, answered, scored in ((t, t, examples), (t, 0, base), (0, t, examples)):
        names = f"iteration-{scorer}", f"iteration-{answered}"
        group = [record for record in scores if (record.scorer, record.responses_of) == names]
        expected = sorted(e.key for e in scored if all(response.text for response in e.responses))
        if sorted((record.query_id, record.set_id) for record in group) != expected:
            raise UserError(
                f"{file}: found {len(group)} records with scorer '{names[0]}' and responses_of '{names[1]}', expected "
                f"one for each of the {len(expected)} examples without an empty response. Estimate the information of "
                f"iteration {t} again."
            )
        groups.append(group)
    return groups


def verdicts_of(file: str, t: int, judge: str) -> list[records.Verdict]:
    """The verdicts of one judge on the policy of iteration t against one comparator."""
    verdicts = records.read(records.Verdict, file)
    kinds = {(verdict.policy, verdict.comparator, verdict.judge) for verdict in verdicts}
    if len(kinds) != 1 or (verdicts[0].policy, verdicts[0].judge) != (f"iteration-{t}", judge):
        raise UserError(
            f"{file}: found verdicts of (policy, comparator, judge) {sorted(kinds) or 'none'}, expected those on "
            f"iteration-{t} against one comparator by the judge '{judge}'. Judge these responses again."
        )
    return verdicts


def training_of(file: str) -> list[dict[str, Any]]:
    """The steps of one training log, in the order of `tables.TRAINING_FIELDS`."""
    steps = []
    for number, step in records.read_json_lines(file):
        for field in tables.TRAINING_FIELDS:
            if not isinstance(step.get(field), int | float):
                found = repr(step[field]) if field in step else "nothing"
                raise UserError(
                    f"{file}, line {number}: field '{field}': found {found:.80}, expected a number. "
                    "Train this iteration again."
                )
        steps.append({field: step[field] for field in tables.TRAINING_FIELDS})
    return steps


def check_references(policies: list[tables.Policy], constitutions: dict, queries: dict, files: list[str]) -> None:
    """Raises UserError where responses name a query or a constitution that is not known."""
    for policy, file in zip(policies, files, strict=True):
        for example in policy.examples:
            if example.query_id not in queries or not constitutions.keys() >= set(example.constitution_ids):
                raise UserError(
                    f"{file}: query '{example.query_id}', set '{example.set_id}': the query or one of the "
                    f"constitutions {example.constitution_ids} is not in the files of --queries and --constitutions, "
                    "which are of another run. Make the responses again."
                )


def tabulate(
    policies: list[tables.Policy],
    constitutions: dict[str, records.Constitution],
    queries: dict[str, records.Query],
    evaluation: settings.Evaluation,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """All tables by name."""
    estimator = tables.Estimator(evaluation.bootstrap_samples, evaluation.confidence, seed)
    information = tables.information(policies, estimator)
    win_rates = tables.win_rates(policies, estimator)
    degeneration = tables.degeneration(policies, evaluation.degeneration, estimator)
    return {
        "summary": tables.summary(policies, information, win_rates, degeneration),
        "information": information,
        "win_rates": win_rates,
        "adherence": tables.adherence(policies, constitutions, estimator),
        "lengths": tables.lengths(policies, constitutions, estimator),
        "degeneration": degeneration,
        "training": tables.training(policies),
        "samples": tables.samples(policies, constitutions, queries, SAMPLED_QUERIES, seed),
    }


def cell(value: Any, column: str) -> Any:
    """Text of a cell: the same bytes for the same number on every machine; empty for a missing number."""
    if not isinstance(value, float | np.floating):
        return value
    if math.isnan(value):
        return ""
    text = format(value, FORMATS.get(column, ".4f"))
    return text.removeprefix("-") if float(text) == 0 else text  # no "-0.0000"


def write(frames: dict[str, pd.DataFrame], folder: Path) -> None:
    """Writes each table as {name}.csv."""
    folder.mkdir(parents=True)
    for name, frame in frames.items():
        text = pd.DataFrame({column: [cell(value, column) for value in frame[column]] for column in frame})
        text.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")


def main(arguments) -> None:
    constitutions = {c.id: c for c in records.read(records.Constitution, arguments.constitutions)}
    queries = {query.id: query for query in records.read(records.Query, arguments.queries)}
    policies = load(arguments.responses, arguments.information, arguments.verdicts, arguments.training, arguments.judge)
    check_references(policies, constitutions, queries, arguments.responses)
    frames = tabulate(policies, constitutions, queries, arguments.evaluation, arguments.seed)
    write(frames, arguments.output)
    log.info("%d policies on %d held-out queries: %d tables", len(policies), len(queries), len(frames))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--constitutions", "constitutions, one record a line")
    stage.input("--queries", "held-out queries, one record a line")
    stage.input("--responses", "examples of iteration 0, 1, ..., T, in order", nargs="+")
    stage.input("--information", "log-probabilities of iteration 0, 1, ..., T, in order", nargs="+")
    stage.input("--verdicts", "verdicts on iteration 1, ..., T, in order", nargs="+")
    stage.input("--training", "training logs of iteration 1, ..., T, in order", nargs="+")
    stage.setting("--judge", "name of the judge of the verdicts")
    stage.structured("--evaluation", settings.Evaluation, "how policies are compared")
    stage.setting("--seed", "seed of the bootstrap and of the choice of samples", type=int)
    stage.output("--output", "folder of tables to write")
    stage.run(main)
