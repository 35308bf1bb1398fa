"""Runs as tables and the page read them: policies, scores and verdicts, loaded and checked to belong together."""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sami import records
from sami.analysis.statistics.length_control import LengthControl
from sami.analysis.tables.length_control import length_control
from sami.analysis.tables.rows import Case, Comparison, Estimator, Policy, Row, cases_of, sets_by_kind
from sami.data.joined import read_by_id, read_examples
from sami.errors import UserError
from sami.judging.pairs import judged_responses
from sami.records import (
    BASE,
    CONTEXTS,
    Constitution,
    Context,
    Example,
    Query,
    Relevance,
    Scores,
    Verdict,
    iteration_of,
    policy_name,
)
from sami.settings.evaluation import Evaluation

OF_THE_MACHINE = ("tokens", "seconds", "flop_utilisation", "peak_memory_gib")  # of a training log: not in its table


@dataclass(frozen=True)
class Run:
    """Everything that the files of a run say, policies in the order of the rows, comparisons as the settings name them.

    `queries` and `constitutions` are by id; `seed` is that of the bootstrap and of the choice of samples, `split`
    the held-out queries of the task that these are.
    """

    policies: list[Policy]
    comparisons: list[Comparison]
    queries: dict[str, Query]
    constitutions: dict[str, Constitution]
    evaluation: Evaluation
    seed: int = 0
    split: str = "eval"

    @property
    def estimator(self) -> Estimator:
        return Estimator(self.evaluation.bootstrap_samples, self.evaluation.confidence, self.seed)

    @functools.cached_property
    def sets(self) -> dict[str, set[str]]:
        """Kind of principles -> ids of the sets that are made of them."""
        return sets_by_kind(self.constitutions)

    @functools.cached_property
    def members(self) -> dict[tuple[str, str], list[str]]:
        """Key of an example -> ids of all constitutions of its set, of which a file of responses may have but some."""
        found: dict[tuple[str, str], dict[str, None]] = {}
        for example in (example for policy in self.policies for example in policy.examples):
            found.setdefault(example.key, {}).update(dict.fromkeys(example.constitution_ids))
        return {key: list(of) for key, of in found.items()}

    @functools.cached_property
    def length_controls(self) -> list[LengthControl]:
        """The length-controlled win rate of each comparison: two tables show parts of these slow fits."""
        return length_control(self.comparisons, self.estimator)

    def under(self, set_ids: Collection[str]) -> "Run":
        """The run under the constitutions of some sets alone."""
        policies, comparisons = ([of.under(set_ids) for of in some] for some in (self.policies, self.comparisons))
        return replace(self, policies=policies, comparisons=comparisons)


def load(
    queries: Path,
    constitutions: Sequence[Path],
    responses: Mapping[str, Path],
    verdicts: Sequence[Path],
    evaluation: Evaluation,
    *,
    scores: Sequence[Path] = (),
    training: Sequence[Path] = (),
    relevance: Sequence[Path] = (),
    seed: int = 0,
) -> Run:
    """Reads what there is of a run.

    Args:
        queries, constitutions: the files of its held-out queries, and of constitutions.
        responses: policy -> its file, as `by_policy` makes it.
        verdicts: one file for each policy, comparator and judge, in any order.
        evaluation: how policies are compared.
        scores: of the policies that were scored, in any order.
        training: logs of iterations 1, 2, ... as they come among the policies, or none at all.
        relevance: of the policies that it was measured of, in any order.
        seed: of the bootstrap and of the choice of samples.

    Raises:
        UserError: files or records are missing, broken, or do not belong together.
    """
    texts = read_by_id(Query, queries), read_by_id(Constitution, *constitutions)
    policies = load_policies(
        responses, *texts, evaluation.judged, scores, training, relevance, contexts=evaluation.contexts
    )
    comparisons = load_comparisons(verdicts, policies, texts[1], evaluation)
    return Run(policies, comparisons, *texts, evaluation, seed)


def by_policy(names: Sequence[str], files: Sequence[Path]) -> dict[str, Path]:
    """Policy -> its file of responses. Raises UserError where names and files do not go together."""
    if len(names) != len(files) or len(set(names)) < len(names) or BASE not in names:
        raise UserError(
            f"--policies: found {', '.join(names)}, expected one name of its own for each of the {len(files)} "
            f"files of --responses, {BASE} (the base model) among them."
        )
    return dict(zip(names, files, strict=True))


def load_policies(
    responses: Mapping[str, Path],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    judged: str,
    scores: Sequence[Path] = (),
    training: Sequence[Path] = (),
    relevance: Sequence[Path] = (),
    contexts: Sequence[Context] = CONTEXTS,
) -> list[Policy]:
    """Policies in the order of their files of responses; see `load` and, for the contexts, `relevance_by_policy`."""
    trained = [name for name in responses if iteration_of(name)]
    if training and len(training) != len(trained):
        raise UserError(
            f"--training: found {len(training)} files, expected {len(trained)}, one for each of "
            f"{', '.join(trained) or 'no trained policy'}, in this order, or none."
        )
    examples = {name: read_examples(file, queries, constitutions, name) for name, file in responses.items()}
    for name, file in responses.items():
        _check_queries(name, examples[name], examples[BASE], file)
        _check_cases(examples[name], examples[BASE], constitutions, judged, file)
    scored = scores_by_policy(scores, [BASE, *trained])
    relevant = relevance_by_policy(relevance, examples, contexts)
    logs = dict(zip(trained, map(read_training, training), strict=False))
    return [
        Policy(
            name,
            iteration_of(name),
            examples[name],
            *(_groups_of_scores(name, *scored[name], examples) if name in scored else ()),
            training=logs.get(name, ()),
            relevance=relevant.get(name, {}),
        )
        for name in responses
    ]


def _check_queries(name: str, examples: list[Example], base: list[Example], file: Path) -> None:
    """Raises UserError where a policy answered other queries than the base model."""
    apart = sorted({example.key for example in base} ^ {example.key for example in examples})
    if apart:
        raise UserError(
            f"{file}: found {len(examples)} examples, expected those of the {len(base)} queries that the base model "
            f"answered ({len(apart)} differ; first: query '{apart[0][0]}', set '{apart[0][1]}'). Make the held-out "
            f"responses of {BASE} and {name} again."
        )


def _check_cases(
    examples: list[Example], base: list[Example], constitutions: Mapping[str, Constitution], judged: str, file: Path
) -> None:
    """Raises UserError where responses are under other constitutions than the base model's, or judged ones are missing.

    A policy that is a file of responses may lack those that are not judged.
    """
    found, known = ({case for example in some for case in cases_of(example)} for some in (examples, base))
    expected = {(*e.key, *which) for e in base for which in judged_responses(e, constitutions, judged)}
    apart = (found - known) | (expected - found)
    if apart:
        query, set_id, constitution, number = min(apart)
        raise UserError(
            f"{file}: found {len(found)} responses, expected those to the {len(expected)} cases of the base model that "
            f"are judged, and no others; {len(apart)} differ, the first of which is query '{query}', set '{set_id}', "
            f"constitution '{constitution}', number {number}. Make these responses again."
        )


def scores_by_policy(files: Sequence[Path], iterations: list[str]) -> dict[str, tuple[Path, list[Scores]]]:
    """Policy -> the file of its log-probabilities and what is in it; the base model's holds nothing of another policy.

    Raises:
        UserError: a file is not of one of the iterations, or is the second of one.
    """
    found: dict[str, tuple[Path, list[Scores]]] = {}
    for file in files:
        scores = records.read(Scores, file)
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


def _groups_of_scores(
    name: str, file: Path, scores: list[Scores], examples: Mapping[str, list[Example]]
) -> list[list[Scores]]:
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


def relevance_by_policy(
    files: Sequence[Path], examples: Mapping[str, list[Example]], contexts: Sequence[Context] = CONTEXTS
) -> dict[str, dict[Case, Relevance]]:
    """Policy -> the relevance of each of its responses.

    Args:
        files: one for each policy that it was measured of.
        examples: policy -> its examples.
        contexts: those that must have been measured.

    Raises:
        UserError: a file is not of one of these policies, is the second of one, has not one record for each response,
            lacks a context, or was measured by another model or with other queries than the file before it.
    """
    found: dict[str, tuple[Path, dict[Case, Relevance]]] = {}
    rules: dict[str, tuple[Path, tuple]] = {}  # query -> where its first record is, and how that was measured
    for file in files:
        read = records.read(Relevance, file)
        (name, *others) = sorted({record.policy for record in read})
        if others or name not in examples or name in found:
            raise UserError(
                f"{file}: found the relevance of {', '.join([name, *others])}"
                f"{f', which {found[name][0]} holds too' if name in found else ''}; expected that of one of "
                f"{', '.join(examples)}, and one file for each. Check --relevance."
            )
        found[name] = file, _relevance_of_cases(file, name, read, examples[name], contexts)
        for record in read:
            rule = record.scorer, record.candidates
            first, expected = rules.setdefault(record.query_id, (file, rule))
            if rule != expected:
                raise UserError(
                    f"{file}: query '{record.query_id}': found relevance by the model '{rule[0]}' among the queries "
                    f"{', '.join(rule[1])}, expected '{expected[0]}' and {', '.join(expected[1])} as in {first}: "
                    "policies are compared by one model and the same queries. Measure the relevance of all again."
                )
    return {name: of for name, (_, of) in found.items()}


def _relevance_of_cases(
    file: Path, name: str, read: list[Relevance], examples: list[Example], contexts: Sequence[Context]
) -> dict[Case, Relevance]:
    """Case -> its record. Raises UserError where they are not one for each response, of its query and its tokens."""
    by_key = {(record.query_id, record.set_id, record.number): record for record in read}
    cases = {
        (*example.key, number): (case, response)
        for example in examples
        for number, (case, response) in enumerate(zip(cases_of(example), example.responses, strict=True))
    }
    if len(by_key) < len(read) or by_key.keys() != cases.keys():
        raise UserError(
            f"{file}: found {len(read)} records on {len(by_key)} responses, expected one on each of the {len(cases)} "
            f"responses of {name}. Measure the relevance of {name} again."
        )
    for (query_id, set_id, number), record in by_key.items():
        _, response = cases[query_id, set_id, number]
        if record.with_constitution is None and "with_constitution" in contexts:
            raise UserError(
                f"{file}: query '{query_id}': 'with_constitution' is null, expected log-probabilities, since relevance "
                f"of held-out responses is told in both contexts. Measure the relevance of {name} again."
            )
        # How many tokens a text has is the scorer's to say, whose tokenizer may be another than the policy's.
        if record.candidates[0] != query_id or bool(record.tokens) != bool(response.text):
            raise UserError(
                f"{file}: query '{query_id}', set '{set_id}', number {number}: found a response of {record.tokens} "
                f"tokens to the query '{record.candidates[0]}', expected one of {'some' if response.text else 'no'} "
                f"tokens to '{query_id}', as in --responses. Measure the relevance of {name} again."
            )
    return {case: by_key[key] for key, (case, _) in cases.items()}


def read_training(file: Path) -> list[Row]:
    """The steps of a training log, with all its metrics but `OF_THE_MACHINE`.

    Raises:
        UserError: a line has no step or no loss, lacks a field of the first one, or has something else than a number
            (or null, for a metric that is not defined there).
    """
    steps: list[Row] = []
    for number, step in records.read_json_lines(file):
        for field in dict.fromkeys(["step", "loss", *(steps[0] if steps else step)]):
            undefined = field in step and step[field] is None and field not in ("step", "loss")
            if not undefined and not isinstance(step.get(field), int | float):
                found = repr(step[field]) if field in step else "nothing"
                raise UserError(
                    f"{file}, line {number}: field '{field}': found {found:.80}, expected a number. "
                    "Train this iteration again."
                )
        steps.append({field: value for field, value in step.items() if field not in OF_THE_MACHINE})
    if not steps:
        raise UserError(f"{file}: an empty file, expected one step of training a line. Train this iteration again.")
    return steps


def load_comparisons(
    files: Sequence[Path],
    policies: list[Policy],
    constitutions: Mapping[str, Constitution],
    evaluation: Evaluation,
) -> list[Comparison]:
    """Reads verdicts, and orders them by comparator and judge as in the settings, and by policy.

    Raises:
        UserError: a file is not what one judge says of one policy's responses against one comparator's, all of them, or
            is the second of its kind.
    """
    by_name = {policy.name: policy for policy in policies}
    comparators = [name for name in map(policy_name, evaluation.comparators) if name in by_name]
    found: dict[tuple[int, int, int], tuple[Path, Comparison]] = {}
    for file in files:
        verdicts = records.read(Verdict, file)
        kinds = sorted({(verdict.policy, verdict.comparator, verdict.judge) for verdict in verdicts})
        policy, comparator, judge = kinds[0] if len(kinds) == 1 else (None, None, None)
        if policy not in by_name or comparator not in comparators or judge not in evaluation.judges:
            raise UserError(
                f"{file}: found verdicts of (policy, comparator, judge) {kinds or 'none'}, expected those of one "
                f"policy among {', '.join(by_name)}, one comparator among {', '.join(comparators)} and one judge among "
                f"{', '.join(evaluation.judges)}. Check --verdicts, or judge these responses again."
            )
        sides = (_judged_texts(by_name[name].examples, constitutions, evaluation.judged) for name in kinds[0][:2])
        _check_verdicts(file, verdicts, *sides)
        order = comparators.index(comparator), evaluation.judges.index(judge), list(by_name).index(policy)
        if order in found:
            raise UserError(
                f"{file}: found the verdicts of '{judge}' on {policy} against {comparator}, which {found[order][0]} "
                "holds too; expected one file of each. Check --verdicts."
            )
        found[order] = file, Comparison(by_name[policy], comparator, judge, verdicts)
    return [comparison for _, (_, comparison) in sorted(found.items(), key=lambda item: item[0])]


def _judged_texts(examples: list[Example], constitutions: Mapping[str, Constitution], judged: str) -> dict[Case, str]:
    """Case -> response, of all responses that are judged."""
    return {
        (*example.key, *which): response.text
        for example in examples
        for which, response in judged_responses(example, constitutions, judged).items()
    }


def _check_verdicts(file: Path, verdicts: list[Verdict], first: Mapping[Case, str], second: Mapping[Case, str]) -> None:
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
