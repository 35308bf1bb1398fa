"""The table of a comparison: several experiments side by side, from their tables and verdicts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from sami import records
from sami.analysis.statistics.significance import paired_difference
from sami.analysis.tables import files
from sami.analysis.tables.catalogue import COMPARED, OF_SUMMARY, PUBLISHED, TESTED, span
from sami.analysis.tables.rows import TRAINING, Estimator, Row, by_query, cells, cells_of, with_holm
from sami.data.joined import read_by_id
from sami.errors import UserError
from sami.records import Constitution, Query, Verdict, iteration_of, last_trained

Preferences = dict[tuple, float]  # what a pair is about, its query's text first -> preference for the policy's response

RATES = [*span("win_rate", "lc_win_rate"), *PUBLISHED]
WORDS = ["mean_words", "comparator_mean_words"]
BOUNDS, DEGENERATE = list(span("bound_nats")), list(span("degenerate_share"))
OF_RELEVANT, RELEVANCE, ECHO = (list(span(*names)) for names in (["relevant_win_rate"], OF_SUMMARY, ["echo"]))
NAMES = ["policy", "iteration", "comparator", "judge"]


@dataclass(frozen=True)
class Results:
    """The tables in `COMPARED` of one experiment, and verdicts on its last trained policy.

    `preferences`: (comparator, judge) -> preference on each pair, as `preferences` makes it.
    """

    name: str
    win_rates: pd.DataFrame
    information: pd.DataFrame
    degeneration: pd.DataFrame
    relevance: pd.DataFrame
    echo: pd.DataFrame
    preferences: dict[tuple[str, str], Preferences]

    @property
    def last(self) -> str:
        """The last trained policy."""
        return last_trained(self.win_rates["policy"])

    def of_relevance(self, policy: str) -> Row:
        """Cells of a policy's relevance under the queries alone, NaN where it was not measured, and of its echo."""
        alone = self.relevance[self.relevance["context"] == "alone"]
        return cells_of(alone, policy, RELEVANCE) | cells_of(self.echo, policy, ECHO)


def load(
    names: Sequence[str],
    tables: Sequence[Path],
    queries: Sequence[Path],
    constitutions: Sequence[Path],
    judged: Sequence[str],
    verdicts: Sequence[Path],
) -> list[Results]:
    """Reads what is compared of each experiment.

    Args:
        names: of the experiments.
        tables, queries, constitutions: their folders of tables, held-out queries and constitutions, in the same order.
        judged: the experiment of each file of verdicts.
        verdicts: on their last trained policies.

    Raises:
        UserError: names and files do not go together, or verdicts are of another run.
    """
    for flag, files_of in (("tables", tables), ("queries", queries), ("constitutions", constitutions)):
        if len(files_of) != len(names) or len(set(names)) < len(names):
            raise UserError(
                f"--{flag}: found {len(files_of)}, expected one for each of the experiments {', '.join(names)}, each "
                "named once, in this order."
            )
    if len(judged) != len(verdicts) or not set(judged) <= set(names):
        raise UserError(
            f"--judged: found {', '.join(judged)}, expected for each of the {len(verdicts)} files of --verdicts its "
            f"experiment, one of {', '.join(names)}."
        )
    return [
        _results(name, folder, texts, [file for of, file in zip(judged, verdicts, strict=True) if of == name])
        for name, folder, *texts in zip(names, tables, queries, constitutions, strict=True)
    ]


def _results(name: str, folder: Path, texts: Sequence[Path], verdicts: Sequence[Path]) -> Results:
    """Results of one experiment, `texts` being its files of queries and constitutions."""
    queries, constitutions = read_by_id(Query, texts[0]), read_by_id(Constitution, texts[1])
    found = {}
    for file in verdicts:
        of_file = records.read(Verdict, file)
        check_ids(file, of_file, queries, constitutions, texts)
        found[of_file[0].comparator, of_file[0].judge] = preferences(of_file, queries, constitutions)
    return Results(name, *(files.read(folder, table) for table in COMPARED), found)


def check_ids(
    file: str | Path,
    verdicts: Sequence[Verdict],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    texts: Sequence[str | Path],
) -> None:
    """Raises UserError where verdicts are about queries of another run, or all about constitutions of another one.

    Some may be about held-out constitutions, which are not compared.
    """
    strange = next((verdict for verdict in verdicts if verdict.query_id not in queries), None)
    if strange is None and not any(verdict.constitution_id in constitutions for verdict in verdicts):
        strange = verdicts[0]
    if strange is not None:
        raise UserError(
            f"{file}: query '{strange.query_id}' or constitution '{strange.constitution_id}' is not in "
            f"{texts[0]} and {texts[1]}, which are of another run. Name files of one experiment."
        )


def preferences(
    verdicts: Iterable[Verdict],
    queries: dict[str, Query],
    constitutions: dict[str, Constitution],
) -> Preferences:
    """Verdicts by what they are about: names and texts, since other experiments may call other texts by these names.

    Those under other constitutions than the given ones are left out.
    """
    texts = {c.id: tuple(statement.text for statement in c.statements) for c in constitutions.values()}
    return {
        (queries[verdict.query_id].text, texts[verdict.constitution_id], *verdict.key): verdict.preference
        for verdict in verdicts
        if verdict.constitution_id in texts
    }


def comparison(experiments: Sequence[Results], estimator: Estimator) -> list[Row]:
    """Win rates by each experiment's first judge, one row an experiment and policy, grouped by comparator.

    The policies are an experiment's last trained one, and those that are no iterations. `difference` is the last
    trained policy's win rate minus that of the first experiment's, on the pairs that the same judge compared with the
    same comparator's response in both: the same query under the same constitution. `shared_pairs` counts them.
    """
    rows = [row for results in experiments for row in _rows(results)]
    comparators = list(dict.fromkeys(row["comparator"] for row in rows))
    rows.sort(key=lambda row: comparators.index(row["comparator"]))  # stable: keeps the order of the experiments
    first, others = experiments[0], {results.name: results for results in experiments[1:]}
    tested = []
    for row in rows:
        other = others.get(row["experiment"])
        if other and row["policy"] == other.last:
            kind = row["comparator"], row["judge"]
            row |= _difference(other.preferences.get(kind, {}), first.preferences.get(kind, {}), estimator)
            tested += [row] if "p" in row else []
    for row, adjusted in zip(tested, with_holm(tested), strict=True):
        row |= adjusted
    return rows


def _rows(results: Results) -> Iterable[Row]:
    """Cells of one experiment, from its tables."""
    rates = results.win_rates[results.win_rates["judge"] == results.win_rates["judge"].iloc[0]]
    information = results.information
    own = information[(information["responses"] == "own") & (information["principles"] == TRAINING)]
    for _, rate in rates.iterrows():
        if rate["policy"] == results.last or iteration_of(rate["policy"]) is None:
            row = {"experiment": results.name} | rate[[*NAMES, *RATES, *OF_RELEVANT, *WORDS, *TESTED]].to_dict()
            row |= cells_of(own, rate["policy"], BOUNDS) | results.of_relevance(rate["policy"])
            yield row | cells_of(results.degeneration, rate["policy"], DEGENERATE)


def frontier(experiments: Sequence[Results]) -> list[Row]:
    """All policies of all experiments: win rates by the first judge against the first comparator, relevance and echo.

    The comparator itself has a row without a win rate.
    """
    rows = []
    for results in experiments:
        rates = results.win_rates
        first = rates.iloc[0][["comparator", "judge"]]
        judged = rates[(rates[["comparator", "judge"]] == first).all(axis=1)]
        for policy in results.echo["policy"]:
            row = {"experiment": results.name, "policy": policy, "iteration": iteration_of(policy)} | first.to_dict()
            row |= cells_of(judged, policy, [*span("win_rate"), *OF_RELEVANT])
            rows.append(row | results.of_relevance(policy))
    return rows


def _difference(policy: Preferences, other: Preferences, estimator: Estimator) -> Row:
    """Cells of a paired difference; none where no pair is shared."""
    shared = [pair for pair in policy if pair in other]
    if not shared:
        return {}
    values = (by_query((pair[0], side[pair]) for pair in shared) for side in (policy, other))
    found = paired_difference(*values, **asdict(estimator))
    return cells("difference", found.interval) | {"p": found.p, "shared_pairs": len(shared)}
