"""Responses to read: some held-out ones of every iteration side by side, with what each measure says of them.

    python -m sami.analysis.reading results/quickstart --count 10 > docs/reading.md

Nobody picks them, or one would see the best or the worst alone: the responses of the last iteration are sorted by their
margin, and taken at equally spaced ranks. It reads the files that the record of the experiment's tables names, so run
it where the workflow ran.
"""

import argparse
import html
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sami.analysis.report.page import read_provenance
from sami.analysis.tables import run as runs
from sami.analysis.tables.relevance import echoes, told
from sami.analysis.tables.rows import Case, Comparison, Policy, cases_of
from sami.analysis.tables.run import Run
from sami.analysis.text import MISSING, number
from sami.errors import UserError
from sami.records import Response, policy_name
from sami.settings.evaluation import Evaluation

WORDS = {"first": "win", "second": "loss", "tie": "tie", "invalid": "invalid"}  # of a verdict, for the policy
_MARKS = re.compile(r"([\\`*_\[\]|~#$])")  # mean something in Markdown
_INTRODUCTION = """# Responses to read

`{title}`: {count} of the {responses} held-out responses of iteration {last}, to {queries} queries of the task's
`{split}`. They are chosen by a rule, not by hand: all of them are sorted by their margin, the least relevant first, and
taken at equally spaced ranks, both ends included. Each stands below the responses of the iterations before it to the
same query under the same constitution; iteration 0 is the base model. They are output of models: nobody has checked
what they say.

- **{judges}**: whether the judge finds that the response follows the constitution better than that of
  `{comparator}`.
- **tokens**: length of the response.
- **identified**: whether the response is likelier under its own query than under each of {others} others, without any
  constitution, by `{scorer}`.
- **margin**: by how much it is likelier than under the best of these others, in nats per token.
- **log-probability**: of the response under its own query alone by the same model, in nats per token.
- **echo**: share of its constitution that the response repeats, beyond that of the other constitutions of its set.
- **about**: whether it talks about its instruction, in place of an answer.
"""


def load(folder: Path) -> Run:
    """The run that the tables of an experiment's folder were made of.

    Raises:
        UserError: it has no tables, or files are missing or do not belong together.
    """
    (record,) = read_provenance([folder / "tables"])
    try:
        arguments = record["arguments"]
        files = {flag: [Path(path) for path in paths] for flag, paths in record["inputs"].items()}
        given = files["queries"][0], files["constitutions"], arguments["policies"], files["responses"]
        evaluation = Evaluation.model_validate(arguments["evaluation"])
        split = arguments["split"]
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder}/tables: its record lacks or breaks {error}. Make the tables again.") from None
    queries, constitutions, policies, responses = given
    loaded = runs.load(
        queries,
        constitutions,
        runs.by_policy(policies, responses),
        files.get("verdicts", []),
        evaluation,
        relevance=files.get("relevance", []),
    )
    return replace(loaded, split=split)


def chosen(margins: Mapping[Case, float], count: int) -> list[tuple[int, Case]]:
    """(rank from 1, case) at equally spaced ranks of the margins, the lowest and the highest among them.

    Raises:
        UserError: there are fewer cases, or fewer than two are wanted.
    """
    if not 2 <= count <= len(margins):
        raise UserError(f"--count {count}: expected 2 to {len(margins)}, as many as there are responses with a margin.")
    ranked = sorted(margins, key=lambda case: (margins[case], case))
    positions = [i * (len(ranked) - 1) // (count - 1) for i in range(count)]
    return [(position + 1, ranked[position]) for position in positions]


def page(run: Run, title: str, count: int) -> str:
    """The page, in Markdown.

    Args:
        run: with relevance of its trained policies.
        title: name of the experiment.
        count: how many responses of the last iteration to show.

    Raises:
        UserError: relevance was not measured, or there are fewer responses.
    """
    policies = [policy for policy in run.policies if policy.iteration is not None]
    last = policies[-1]
    if not all(policy.relevance for policy in policies):
        raise UserError(
            f"{title}: relevance was not measured, by which responses are chosen; expected it of every iteration. Set "
            "'evaluation.relevance', and make the experiment again."
        )
    comparator = policy_name(run.evaluation.comparators[0])
    judged = [comparison for comparison in run.comparisons if comparison.comparator == comparator]
    judges = list(dict.fromkeys(comparison.judge for comparison in judged))
    rows = {policy.name: _rows(run, policy, judged, judges) for policy in policies}
    some = next(iter(last.relevance.values()))
    introduction = _INTRODUCTION.format(
        title=title,
        count=count,
        responses=len(last.relevance),
        queries=len({case[0] for case in last.relevance}),
        last=last.iteration,
        split=run.split,
        judges="**, **".join(judges) or "no judge",
        comparator=comparator,
        others=len(some.candidates) - 1,
        scorer=some.scorer,
    )
    heading = ["iteration", "response", *judges, "tokens", "identified", "margin", "log-probability", "echo", "about"]
    parts = [introduction]
    margins = {case: told(record).margin for case, record in last.relevance.items()}
    for place, (rank, case) in enumerate(chosen(margins, count), 1):
        statements = " ".join(statement.text for statement in run.constitutions[case[2]].statements)
        shown = [heading, ["---"] * len(heading), *(rows[policy.name][case] for policy in policies)]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in shown)
        parts.append(
            f"## {place}. Rank {rank} of {len(last.relevance)}\n\n**Query**: {plain(run.queries[case[0]].text)}\n\n"
            f"**Constitution**: {plain(statements)}\n\n{table}\n"
        )
    return "\n".join(parts)


def _rows(run: Run, policy: Policy, judged: list[Comparison], judges: list[str]) -> dict[Case, list[str]]:
    """Case -> the cells of a policy's response."""
    said = {
        (comparison.judge, verdict.key): WORDS[verdict.choice]
        for comparison in judged
        if comparison.policy.name == policy.name
        for verdict in comparison.verdicts
    }
    echo = echoes(run, policy)
    responses = {
        case: response
        for example in policy.examples
        for case, response in zip(cases_of(example), example.responses, strict=True)
    }
    return {
        case: [
            str(policy.iteration),
            plain(response.text),
            *(said.get((judge, case), MISSING) for judge in judges),
            *_measures(policy, case, response),
            number(100 * echo["echo"][case], ".0f") + "%",
            "yes" if echo["about_instruction"][case] else "no",
        ]
        for case, response in responses.items()
    }


def _measures(policy: Policy, case: Case, response: Response) -> list[str]:
    """Cells of tokens and relevance of a response."""
    of = told(policy.relevance[case])
    tokens = MISSING if response.tokens is None else str(response.tokens)
    identified = "yes" if of.identified else "no"
    return [tokens, identified, number(of.margin, ".2f"), number(of.log_probability, ".2f")]


def plain(text: str) -> str:
    """A text as Markdown shows it, in one line: nothing in it is a mark, a tag, or the end of a cell."""
    marked = _MARKS.sub(r"\\\1", html.escape(text.strip(), quote=False))
    return "<br>".join(line.strip() for line in marked.splitlines()) or "(empty)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sami.analysis.reading", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of a finished experiment")
    parser.add_argument("--count", type=int, default=10, help="how many responses of the last iteration (default: 10)")
    arguments = parser.parse_args()
    try:
        print(page(load(arguments.folder), arguments.folder.name, arguments.count), end="")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
