"""Data frames of the tables in the catalogue, from a run."""

import pandas as pd

from sami.analysis.tables import (
    comparison,
    identification,
    labels,
    measures,
    methods,
    policies,
    relevance,
    screening,
    seeds,
    steering,
    subsets,
    verdicts,
)
from sami.analysis.tables.catalogue import WHOLE, Table, tables
from sami.analysis.tables.rows import TRAINING, Row
from sami.analysis.tables.run import Run

MODULES = {
    module.__name__.split(".")[-1]: module
    for module in (
        comparison,
        identification,
        labels,
        measures,
        methods,
        policies,
        relevance,
        screening,
        seeds,
        steering,
        subsets,
        verdicts,
    )
}


def rows_of(table: Table, *arguments) -> list[Row]:
    """Rows of a table, as its function returns them."""
    module, _, name = table.function.partition(".")
    return getattr(MODULES[module], name)(*arguments)


def frame(table: Table, rows: list[Row]) -> pd.DataFrame:
    """Rows as a table, with its header even where there are none; whole numbers stay whole beside empty cells."""
    names = dict.fromkeys(table.columns)
    if table.open:
        names |= dict.fromkeys(name for row in rows for name in row)
    kinds = {name: "Int64" for name in WHOLE if name in names}
    return pd.DataFrame(rows, columns=list(names)).astype(kinds)


def build(run: Run) -> dict[str, pd.DataFrame]:
    """All tables of an experiment by name, of training's principles but for those with a column `principles`."""
    of_training = run.under(run.sets[TRAINING])
    made: dict[str, pd.DataFrame] = {}
    for table in sorted(tables(), key=lambda table: bool(table.tables)):  # what is made of others comes last
        shown = run if "principles" in table.columns else of_training
        made[table.name] = frame(table, rows_of(table, shown, *(made[name] for name in table.tables)))
    return {table.name: made[table.name] for table in tables()}
