"""Data of the browser of responses: every response with every verdict on it, each text once.

A *case* is what a verdict is about (`Verdict.key`): a query, a constitution of one set, and the number of the response
in its example. All policies answer the cases that are judged, most of them all cases. Texts, queries, constitutions and
responses stand in lists and are referred to by position, so that the data are hardly larger than the texts.

Ground floor: no torch, no HTTP.
"""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from sami.analysis.statistics.repetition import is_degenerate
from sami.analysis.tables.relevance import echoes, told
from sami.analysis.tables.rows import Case, Comparison, Policy, cases_of
from sami.analysis.tables.run import Run
from sami.judging import checks
from sami.judging.prompts import ORDERS
from sami.records import BASE, Choice, Constitution, Response
from sami.settings.evaluation import Degeneration

CHOICES = get_args(Choice)  # the page knows them, and ORDERS, by position


class Index(dict):
    """Numbers for different things, in the order in which they come."""

    def __missing__(self, thing) -> int:
        self[thing] = len(self)
        return self[thing]


def data(run: Run) -> dict[str, Any]:
    """All that the page's script reads of a run, as plain values.

    Returns:
        - policies, judges: names; base: the position of the base model.
        - texts: every different text once; other entries hold positions in it.
        - queries: [id, text, reference or null].
        - constitutions: [id, [[principle, wanted, text] of each statement]].
        - responses: [text, tokens or null, words, cut off, degenerate]; the last two are 0 or 1.
        - cases: [query, constitution, number, [response of each policy], [degrees of each policy], [measures of each
          policy]]; the degrees are those of the statements, null without a programmatic check; the measures are
          [identified (0 or 1), margin, echo, talks about its instruction (0 or 1)], the first two null where relevance
          was not measured. All are null where a policy has no response.
        - comparisons: for each policy, comparator and judge {policy, comparator, judge, choices, preferences, answers};
          the last three hold an entry a case: a digit (position in CHOICES), a number, and a list of [order (position
          in ORDERS), choice, preference, text]; of a case that is not judged "-", null, and none.
    """
    answered = {policy.name: _by_case(policy) for policy in run.policies}
    measured = [_measures(run, policy) for policy in run.policies]
    texts, queries, shown, responses, judges = Index(), Index(), Index(), Index(), Index()
    cases = []
    for case in answered[BASE]:
        query_id, _, constitution_id, number = case
        given = [of.get(case) for of in answered.values()]
        numbers = [r and responses[texts[r.text], r.tokens, r.finish == "length"] for r in given]
        degrees = [r and _degrees(r.text, run.constitutions[constitution_id]) for r in given]
        measures = [of.get(case) for of in measured]
        cases.append([queries[query_id], shown[constitution_id], number, numbers, degrees, measures])
    names = list(answered)
    comparisons = [_comparison(comparison, answered[BASE], names, judges, texts) for comparison in run.comparisons]
    statements = {i: run.constitutions[i].statements for i in shown}
    known = run.queries
    return {
        "policies": names,
        "base": names.index(BASE),
        "judges": list(judges),
        "queries": [[i, texts[known[i].text], _optional(known[i].reference, texts)] for i in queries],
        "constitutions": [[i, [[s.principle, int(s.wanted), texts[s.text]] for s in statements[i]]] for i in shown],
        "responses": _responses(responses, list(texts), run.evaluation.degeneration),
        "cases": cases,
        "comparisons": comparisons,
        "texts": list(texts),
    }


def _by_case(policy: Policy) -> dict[Case, Response]:
    """Case -> response, in the order of the examples."""
    return {
        case: response
        for example in policy.examples
        for case, response in zip(cases_of(example), example.responses, strict=True)
    }


def _measures(run: Run, policy: Policy) -> dict[Case, list[float | None]]:
    """Case -> identification and margin, where they were measured, echo, and whether it talks about its instruction."""
    echo = echoes(run, policy)
    found: dict[Case, list[float | None]] = {}
    for case, share in echo["echo"].items():
        of = told(policy.relevance[case]) if case in policy.relevance else None
        relevance = [int(of.identified), round(of.margin, 3)] if of else [None, None]
        found[case] = [*relevance, round(share, 3), int(echo["about_instruction"][case])]
    return found


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


def _optional(text: str | None, texts: Index) -> int | None:
    return texts[text] if text else None


def _comparison(
    comparison: Comparison, cases: Iterable[Case], names: list[str], judges: Index, texts: Index
) -> dict[str, Any]:
    """The verdicts of a comparison, in the order of the cases."""
    by_case = {verdict.key: verdict for verdict in comparison.verdicts}
    ordered = [by_case.get(case) for case in cases]
    return {
        "policy": names.index(comparison.policy.name),
        "comparator": names.index(comparison.comparator),
        "judge": judges[comparison.judge],
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
