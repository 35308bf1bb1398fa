"""What the browser of responses knows: every response with every verdict on it, each text once.

A *case* is what a verdict is about (`Verdict.key`): a query, a constitution of one set, and the number of the response
in its example. All policies answer the cases that are judged, most of them all cases. Texts, queries, constitutions and
responses stand in lists and are referred to by position, so that the data are hardly larger than the texts.

Ground floor: no torch, no HTTP.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sami.analysis.statistics import is_degenerate
from sami.errors import UserError
from sami.judging import checks
from sami.judging.pairs import judged_responses
from sami.records import BASE, Constitution, Example, Query, Response, Verdict
from sami.settings.evaluation import Degeneration

CHOICES = ("first", "second", "tie", "invalid")  # the page knows them by position
ORDERS = ("policy-first", "comparator-first")

Key = tuple[str, str, str, int]


class Numbers(dict):
    """Gives every different thing a number, in the order in which they come."""

    def __missing__(self, thing) -> int:
        self[thing] = len(self)
        return self[thing]


def by_case(examples: Sequence[Example], file: str) -> dict[Key, Response]:
    """Case -> response, in the order of the examples. Raises UserError where an example comes twice."""
    cases = {}
    for example in examples:
        for number, response in enumerate(example.responses):
            key = (*example.key, example.constitution_ids[response.constitution], number)
            if key in cases:
                raise UserError(
                    f"{file}: found two examples of query '{key[0]}' and set '{key[1]}', expected one. Make these "
                    "responses again."
                )
            cases[key] = response
    return cases


def check_policies(policies: Mapping[str, Sequence[Example]], files: Mapping[str, str]) -> None:
    """Raises UserError where there is no base model, or a file holds no responses or those of another policy."""
    if BASE not in policies:
        raise UserError(f"--policies: found {', '.join(policies)}, expected '{BASE}', the base model, among them.")
    for policy, examples in policies.items():
        found = sorted({example.policy for example in examples})
        if found != [policy]:
            raise UserError(
                f"{files[policy]}: found responses of {', '.join(found) or 'no policy'}, expected those of '{policy}'. "
                "Name the policies in the order of --responses."
            )


def check_cases(found: Collection[Key], expected: Collection[Key], apart: set[Key], file: str, what: str) -> None:
    """Raises UserError where something is not about the cases that it should be about: where any are `apart`."""
    if apart:
        query, set_id, constitution, number = min(apart)
        raise UserError(
            f"{file}: found {what} on {len(found)} cases, expected the {len(expected)} that the base model answered, "
            f"as far as they are judged; {len(apart)} are in one of them only, the first of which is query '{query}', "
            f"set '{set_id}', constitution '{constitution}', number {number}. Make this file again."
        )


def data(
    policies: Mapping[str, Sequence[Example]],
    files: Mapping[str, str],
    verdicts: Mapping[str, Sequence[Verdict]],
    constitutions: Mapping[str, Constitution],
    queries: Mapping[str, Query],
    rule: Degeneration,
    judged: str = "all",
) -> dict[str, Any]:
    """All that the page's script reads, as plain values.

    Args:
        policies: name -> examples, in the order of the page; "iteration-0" is the base model.
        files: policy -> the file of its examples, for messages.
        verdicts: file -> its verdicts, those of one judge on one policy against one comparator.
        constitutions, queries: by id.
        rule: when a response counts as degenerate.
        judged: under which constitutions there are verdicts (`sami.judging.pairs.judged_responses`).

    Returns:
        - policies, judges: names; base: the position of the base model.
        - texts: every different text once; other entries hold positions in it.
        - queries: [id, text, reference or null].
        - constitutions: [id, [[principle, wanted, text] of each statement]].
        - responses: [text, tokens or null, words, cut off, degenerate]; the last two are 0 or 1.
        - cases: [query, constitution, number, [response of each policy], [degrees of each policy]]; the degrees are
          those of the statements, null without a programmatic check. Both are null where a policy has no response.
        - comparisons: for each file of verdicts {policy, comparator, judge, choices, preferences, answers}; the last
          three hold an entry a case: a digit (position in CHOICES), a number, and a list of [order (position in
          ORDERS), choice, preference, text]; of a case that is not judged "-", null, and none.

    Raises:
        UserError: the files do not fit together.
    """
    check_policies(policies, files)
    answered = {policy: by_case(examples, files[policy]) for policy, examples in policies.items()}
    known = answered[BASE]
    texts, asked, shown, responses = Numbers(), Numbers(), Numbers(), Numbers()
    judged_cases = {
        (*example.key, *which)
        for example in policies[BASE]
        for which in judged_responses(example, constitutions, judged)
    }
    for policy, cases in answered.items():
        apart = (cases.keys() - known.keys()) | (judged_cases - cases.keys())
        check_cases(cases, known if judged == "all" else judged_cases, apart, files[policy], "responses")
    cases = []
    for key in known:
        query_id, _, constitution_id, number = key
        if query_id not in queries or constitution_id not in constitutions:
            raise UserError(
                f"{files[BASE]}: query '{query_id}' or constitution '{constitution_id}' is not in the files of "
                "--queries and --constitutions, which are of another run. Make the responses again."
            )
        given = [of.get(key) for of in answered.values()]
        numbers = [r and responses[texts[r.text], r.tokens, r.finish == "length"] for r in given]
        degrees = [r and _degrees(r.text, constitutions[constitution_id]) for r in given]
        cases.append([asked[query_id], shown[constitution_id], number, numbers, degrees])
    names, judges = list(policies), Numbers()
    comparisons = [_comparison(file, of, answered, judged_cases, names, judges, texts) for file, of in verdicts.items()]
    _check_once(comparisons, list(verdicts))
    statements = {i: constitutions[i].statements for i in shown}
    return {
        "policies": names,
        "base": names.index(BASE),
        "judges": list(judges),
        "queries": [[i, texts[queries[i].text], _optional(queries[i].reference, texts)] for i in asked],
        "constitutions": [[i, [[s.principle, int(s.wanted), texts[s.text]] for s in statements[i]]] for i in shown],
        "responses": _responses(responses, list(texts), rule),
        "cases": cases,
        "comparisons": comparisons,
        "texts": list(texts),
    }


def _responses(responses: Iterable[tuple], texts: Sequence[str], rule: Degeneration) -> list[list[int | None]]:
    """Each response with what is counted in its text."""
    rows = []
    for number, tokens, cut in responses:
        text = texts[number]
        degenerate = is_degenerate(text, rule.ngram, rule.max_repeated)
        rows.append([number, tokens, len(text.split()), int(cut), int(degenerate)])
    return rows


def _degrees(text: str, constitution: Constitution) -> list[float | None]:
    """Degree of each statement of a constitution; None without a programmatic check."""
    checked = [statement.check for statement in constitution.statements]
    return [None if check is None else round(checks.degree(check, text), 2) for check in checked]


def _optional(text: str | None, texts: Numbers) -> int | None:
    return texts[text] if text else None


def _comparison(
    file: str,
    verdicts: Sequence[Verdict],
    answered: Mapping[str, Mapping[Key, Response]],
    judged: Collection[Key],
    names: list[str],
    judges: Numbers,
    texts: Numbers,
) -> dict[str, Any]:
    """The verdicts of one file, in the order of the cases."""
    kinds = sorted({(verdict.policy, verdict.comparator, verdict.judge) for verdict in verdicts})
    if len(kinds) != 1 or not {kinds[0][0], kinds[0][1]} <= answered.keys():
        raise UserError(
            f"{file}: found verdicts of (policy, comparator, judge) {kinds or 'none'}, expected those of one judge on "
            f"one of the policies {', '.join(answered)} against another. Judge these responses again."
        )
    policy, comparator, judge = kinds[0]
    by_key = {verdict.key: verdict for verdict in verdicts}
    first, second = answered[policy], answered[comparator]
    check_cases(by_key, judged, by_key.keys() ^ judged, file, "verdicts")
    for key, verdict in by_key.items():
        if (verdict.first, verdict.second) != (first[key].text, second[key].text):
            raise UserError(
                f"{file}: the verdict on query '{key[0]}', constitution '{key[2]}', number {key[3]} is about other "
                f"responses than those of '{policy}' and '{comparator}' in --responses. Judge these responses again."
            )
    ordered = [by_key.get(key) for key in answered[BASE]]
    return {
        "policy": names.index(policy),
        "comparator": names.index(comparator),
        "judge": judges[judge],
        "choices": "".join(str(CHOICES.index(verdict.choice)) if verdict else "-" for verdict in ordered),
        "preferences": [verdict and round(verdict.preference, 4) for verdict in ordered],
        "answers": [
            [
                [ORDERS.index(a.order), CHOICES.index(a.choice), round(a.preference, 4), _optional(a.raw, texts)]
                for a in (verdict.answers if verdict else [])
            ]
            for verdict in ordered
        ],
    }


def _check_once(comparisons: Sequence[Mapping[str, Any]], files: Sequence[str]) -> None:
    """Raises UserError where two files hold verdicts of the same judge on the same policies."""
    seen: dict[tuple, str] = {}
    for comparison, file in zip(comparisons, files, strict=True):
        names = tuple(comparison[name] for name in ("policy", "comparator", "judge"))
        if names in seen:
            raise UserError(
                f"{file} and {seen[names]}: found verdicts of the same judge on the same policies in both, expected "
                "them in one. Name one of the files."
            )
        seen[names] = file
