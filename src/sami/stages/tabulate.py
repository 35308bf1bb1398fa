"""Turns the records of all policies of an experiment into tables; every estimate comes with its interval over queries.

Reads   constitutions (Constitution), held-out queries (Query); the responses (Example) of every policy; verdicts
        (Verdict) on them; and of the policies that have them, log-probabilities (Scores) and training logs
Writes  a folder of CSV files: summary, win_rates, win_rates_by_principle, win_rates_by_length, generalisation,
        comparisons, agreement, length_bias, information, adherence, lengths, degeneration, training, samples; and of
        most of them Markdown and LaTeX files (`sami.analysis.table_files.PRINTED`)

    python -m sami.stages.tabulate --help
"""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from sami import records
from sami.analysis import table_files, tables
from sami.errors import UserError
from sami.judging.pairs import judged_responses
from sami.records import BASE, iteration_of, policy_name
from sami.settings.evaluation import Evaluation
from sami.stage import Stage

log = logging.getLogger(__name__)

SAMPLED_QUERIES = 6


def load_policies(
    names: list[str], responses: list[Path], information: list[Path], training: list[Path]
) -> list[tables.Policy]:
    """Reads what there is of each policy.

    Args:
        names, responses: the policies and their files, in one order; the base model is iteration-0.
        information: of the policies that were scored, in any order.
        training: of iterations 1, 2, ... as they come in `names`, or none at all.

    Raises:
        UserError: files or records are missing, or do not belong to these policies.
    """
    if len(names) != len(responses) or len(set(names)) < len(names) or BASE not in names:
        raise UserError(
            f"--policies: found {', '.join(names)}, expected one name of its own for each of the {len(responses)} "
            f"files of --responses, {BASE} (the base model) among them."
        )
    trained = [name for name in names if iteration_of(name)]
    if training and len(training) != len(trained):
        raise UserError(
            f"--training: found {len(training)} files, expected {len(trained)}, one for each of "
            f"{', '.join(trained) or 'no trained policy'}, in this order, or none."
        )
    examples = {name: records.read(records.Example, file) for name, file in zip(names, responses, strict=True)}
    for name, file in zip(names, responses, strict=True):
        check_examples(name, examples[name], examples[BASE], file)
    scores = scores_by_policy(information, [BASE, *trained])
    logs = dict(zip(trained, map(training_of, training), strict=False))
    return [
        tables.Policy(
            name,
            iteration_of(name),
            examples[name],
            *(scores_of(name, *scores[name], examples) if name in scores else ()),
            training=logs.get(name, ()),
        )
        for name in names
    ]


def check_examples(name: str, examples: list[records.Example], base: list[records.Example], file: Path) -> None:
    """Raises UserError where a file is of another policy, or of other queries than the base model's."""
    others = sorted({example.policy for example in examples} - {name})
    if others:
        raise UserError(
            f"{file}: found responses of the policy '{others[0]}', expected those of '{name}' by the order of "
            "--policies. Name the files of --responses in that order."
        )
    apart = sorted({example.key for example in base} ^ {example.key for example in examples})
    if not examples or apart:
        first = f"; first: query '{apart[0][0]}', set '{apart[0][1]}'" if apart else ""
        raise UserError(
            f"{file}: found {len(examples)} examples, expected those of the {len(base)} queries that the base model "
            f"answered ({len(apart)} differ{first}). Make the held-out responses of {BASE} and {name} again."
        )


def scores_by_policy(files: list[Path], iterations: list[str]) -> dict[str, tuple[Path, list[records.Scores]]]:
    """Policy -> the file of its log-probabilities and what is in it; the base model's holds nothing of another policy.

    Raises:
        UserError: a file is not of one of the iterations, or is the second of one.
    """
    found: dict[str, tuple[Path, list[records.Scores]]] = {}
    for file in files:
        scores = records.read(records.Scores, file)
        named = {name for record in scores for name in (record.scorer, record.responses_of)}
        (name, *others) = sorted(named - {BASE}) or [BASE]
        if not scores or others or name not in iterations or name in found:
            raise UserError(
                f"{file}: found log-probabilities of {', '.join(sorted(named)) or 'nothing'}"
                f"{f', which {found[name][0]} holds too' if name in found else ''}; expected those of one of "
                f"{', '.join(iterations)} and the base model, and one file for each. Check --information."
            )
        found[name] = file, scores
    return found


def scores_of(
    name: str, file: Path, scores: list[records.Scores], examples: dict[str, list[records.Example]]
) -> list[list[records.Scores]]:
    """The three groups of scores of a policy: of its responses, of the base model's, and of its own by the base.

    An example with an empty response has no scores.
    """
    groups = []
    for scorer, answered in ((name, name), (name, BASE), (BASE, name)):
        group = [record for record in scores if (record.scorer, record.responses_of) == (scorer, answered)]
        expected = sorted(e.key for e in examples[answered] if all(response.text for response in e.responses))
        if sorted((record.query_id, record.set_id) for record in group) != expected:
            raise UserError(
                f"{file}: found {len(group)} records with scorer '{scorer}' and responses_of '{answered}', expected "
                f"one for each of the {len(expected)} examples without an empty response. Estimate the information of "
                f"{name} again."
            )
        groups.append(group)
    return groups


def load_comparisons(
    files: list[Path],
    policies: list[tables.Policy],
    constitutions: dict[str, records.Constitution],
    evaluation: Evaluation,
) -> list[tables.Comparison]:
    """Reads verdicts, and orders them by comparator and judge as in the settings, and by policy.

    Raises:
        UserError: a file is not what one judge says of one policy's responses against one comparator's, all of them, or
            is the second of its kind.
    """
    by_name = {policy.name: policy for policy in policies}
    comparators = [name for name in map(policy_name, evaluation.comparators) if name in by_name]
    found: dict[tuple[int, int, int], tuple[Path, tables.Comparison]] = {}
    for file in files:
        verdicts = records.read(records.Verdict, file)
        kinds = sorted({(verdict.policy, verdict.comparator, verdict.judge) for verdict in verdicts})
        policy, comparator, judge = kinds[0] if len(kinds) == 1 else (None, None, None)
        if policy not in by_name or comparator not in comparators or judge not in evaluation.judges:
            raise UserError(
                f"{file}: found verdicts of (policy, comparator, judge) {kinds or 'none'}, expected those of one "
                f"policy among {', '.join(by_name)}, one comparator among {', '.join(comparators)} and one judge among "
                f"{', '.join(evaluation.judges)}. Check --verdicts, or judge these responses again."
            )
        check_verdicts(
            file, verdicts, *(texts_of(by_name[name], constitutions, evaluation.judged) for name in kinds[0][:2])
        )
        order = comparators.index(comparator), evaluation.judges.index(judge), list(by_name).index(policy)
        if order in found:
            raise UserError(
                f"{file}: found the verdicts of '{judge}' on {policy} against {comparator}, which {found[order][0]} "
                "holds too; expected one file of each. Check --verdicts."
            )
        found[order] = file, tables.Comparison(by_name[policy], comparator, judge, verdicts)
    return [comparison for _, (_, comparison) in sorted(found.items(), key=lambda item: item[0])]


def check_verdicts(file: Path, verdicts: list[records.Verdict], first: dict, second: dict) -> None:
    """Raises UserError where verdicts are not on these responses of a policy and a comparator, each pair once."""
    judged = {verdict.key: verdict for verdict in verdicts}
    if len(judged) < len(verdicts) or judged.keys() != first.keys():
        raise UserError(
            f"{file}: found {len(verdicts)} verdicts on {len(judged)} pairs, expected one on each of the {len(first)} "
            f"responses of {verdicts[0].policy}. Judge these responses again."
        )
    for key, verdict in judged.items():
        if (verdict.first, verdict.second) != (first[key], second.get(key)):
            raise UserError(
                f"{file}: query '{key[0]}', constitution '{key[2]}': the verdict is on other texts than the responses "
                f"of {verdict.policy} and {verdict.comparator} in --responses. Judge these responses again."
            )


def texts_of(
    policy: tables.Policy, constitutions: dict[str, records.Constitution], judged: str
) -> dict[tuple[str, str, str, int], str]:
    """Key of the pair -> response, of all responses that are judged."""
    return {
        (*example.key, *which): response.text
        for example in policy.examples
        for which, response in judged_responses(example, constitutions, judged).items()
    }


def training_of(file: Path) -> list[dict[str, Any]]:
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
    if not steps:
        raise UserError(f"{file}: an empty file, expected one step of training a line. Train this iteration again.")
    return steps


def check_references(policies: list[tables.Policy], constitutions: dict, queries: dict, files: list[Path]) -> None:
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
    comparisons: list[tables.Comparison],
    constitutions: dict[str, records.Constitution],
    queries: dict[str, records.Query],
    evaluation: Evaluation,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """All tables by name, about learned principles but for those that say "principles" in a column."""
    estimator = tables.Estimator(evaluation.bootstrap_samples, evaluation.confidence, seed)
    sets = tables.sets_by_kind(constitutions)
    information = pd.concat(
        tables.information([policy.under(set_ids) for policy in policies], estimator).assign(principles=kind)
        for kind, set_ids in sets.items()
    )
    by_kind = {
        "win_rates_by_principle": tables.win_rates_by_principle(comparisons, constitutions, evaluation, estimator),
        "generalisation": tables.generalisation(comparisons, sets, evaluation, estimator),
        "information": information,
        "adherence": tables.adherence(policies, constitutions, estimator),
    }
    policies, comparisons = ([of.under(sets[tables.LEARNED]) for of in entries] for entries in (policies, comparisons))
    controlled = tables.length_control(comparisons, estimator)
    win_rates = tables.win_rates(comparisons, controlled, evaluation, estimator)
    degeneration = tables.degeneration(policies, evaluation.degeneration, estimator)
    return {
        "summary": tables.summary(policies, information, win_rates, degeneration),
        "win_rates": win_rates,
        "win_rates_by_length": tables.win_rates_by_length(comparisons, queries, estimator),
        "comparisons": tables.comparisons_of_policies(comparisons, estimator),
        "agreement": tables.agreement(comparisons, estimator),
        "length_bias": tables.length_bias(comparisons, controlled, estimator),
        "lengths": tables.lengths(policies, constitutions, estimator),
        "degeneration": degeneration,
        "training": tables.training(policies),
        "samples": tables.samples(policies, constitutions, queries, SAMPLED_QUERIES, seed),
        **by_kind,
    }


def main(arguments) -> None:
    constitutions = {c.id: c for c in records.read(records.Constitution, *arguments.constitutions)}
    queries = {query.id: query for query in records.read(records.Query, arguments.queries)}
    policies = load_policies(arguments.policies, arguments.responses, arguments.information, arguments.training)
    check_references(policies, constitutions, queries, arguments.responses)
    comparisons = load_comparisons(arguments.verdicts, policies, constitutions, arguments.evaluation)
    frames = tabulate(policies, comparisons, constitutions, queries, arguments.evaluation, arguments.seed)
    table_files.write(frames, arguments.output)
    log.info("%d policies on %d held-out queries: %d tables", len(policies), len(queries), len(frames))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.input("--queries", "held-out queries, one record a line")
    stage.setting("--policies", "names of the policies, iteration-0 (the base model) among them", nargs="+")
    stage.input("--responses", "their examples, in the same order", nargs="+")
    stage.input("--verdicts", "verdicts, one file for each policy, comparator and judge, in any order", nargs="+")
    stage.input("--information", "log-probabilities of the policies scored", nargs="*", required=False, default=[])
    stage.input("--training", "training logs of iteration 1, 2, ..., in order", nargs="*", required=False, default=[])
    stage.structured("--evaluation", Evaluation, "how policies are compared")
    stage.setting("--seed", "seed of the bootstrap and of the choice of samples", type=int)
    stage.output("--output", "folder of tables to write")
    stage.run(main)
