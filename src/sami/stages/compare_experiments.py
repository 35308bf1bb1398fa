"""Puts several experiments side by side in one table, with paired differences to the first of them.

Reads   of each experiment a folder of tables as `tabulate` writes it, its queries (Query) and constitutions
        (Constitution), and verdicts (Verdict) on its last trained policy
Writes  a folder with the table `comparison` as CSV, Markdown and LaTeX

    python -m sami.stages.compare_experiments --help
"""

import logging

from sami import records
from sami.analysis import comparing, table_files
from sami.analysis.tables import Estimator
from sami.errors import UserError
from sami.stage import Stage

log = logging.getLogger(__name__)


def load(arguments) -> list[comparing.Results]:
    """Reads what is compared of each experiment. Raises UserError where names and files do not go together."""
    names = arguments.experiments
    for flag in ("tables", "queries", "constitutions"):
        if len(getattr(arguments, flag)) != len(names) or len(set(names)) < len(names):
            raise UserError(
                f"--{flag}: found {len(getattr(arguments, flag))}, expected one for each of the experiments "
                f"{', '.join(names)}, each named once, in this order."
            )
    if len(arguments.judged) != len(arguments.verdicts) or not set(arguments.judged) <= set(names):
        raise UserError(
            f"--judged: found {', '.join(arguments.judged)}, expected for each of the {len(arguments.verdicts)} files "
            f"of --verdicts its experiment, one of {', '.join(names)}."
        )
    loaded = []
    for name, tables, *files in zip(names, arguments.tables, arguments.queries, arguments.constitutions, strict=True):
        queries = {query.id: query for query in records.read(records.Query, files[0])}
        constitutions = {c.id: c for c in records.read(records.Constitution, files[1])}
        preferences = {}
        for experiment, file in zip(arguments.judged, arguments.verdicts, strict=True):
            if experiment == name:
                verdicts = records.read(records.Verdict, file)
                check_ids(file, verdicts, queries, constitutions, files)
                kind = verdicts[0].comparator, verdicts[0].judge
                preferences[kind] = comparing.preferences(verdicts, queries, constitutions)
        frames = (table_files.read(tables, table) for table in ("win_rates", "information", "degeneration"))
        loaded.append(comparing.Results(name, *frames, preferences))
    return loaded


def check_ids(file, verdicts, queries, constitutions, texts) -> None:
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


def main(arguments) -> None:
    estimator = Estimator(arguments.samples, arguments.confidence, arguments.seed)
    table = comparing.comparison(load(arguments), estimator)
    table_files.write({"comparison": table}, arguments.output)
    log.info("%d experiments: %d rows, %d paired differences", len(arguments.experiments), len(table),
             table["difference"].notna().sum())  # fmt: skip


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.setting("--experiments", "names of the experiments; differences are to the first", nargs="+")
    stage.input("--tables", "their folders of tables, in the same order", nargs="+")
    stage.input("--queries", "their held-out queries, in the same order", nargs="+")
    stage.input("--constitutions", "their constitutions, in the same order", nargs="+")
    stage.setting("--judged", "the experiment of each file of --verdicts", nargs="*")
    stage.input("--verdicts", "verdicts on their last trained policies, a file for each comparator", nargs="*")
    stage.setting("--samples", "resamples of the bootstrap", type=int)
    stage.setting("--confidence", "coverage of the intervals", type=float)
    stage.setting("--seed", "seed of the bootstrap", type=int)
    stage.output("--output", "folder of tables to write")
    stage.run(main)
