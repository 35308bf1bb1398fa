"""A made-up experiment with its tables, which tests of tables and of figures look at."""

from pathlib import Path

import pytest
from tabulated import write_experiment, write_tables


@pytest.fixture(scope="session")
def experiment(tmp_path_factory) -> tuple[dict[str, list[str]], Path]:
    """The flags of `tabulate`, and the folder of tables."""
    folder = tmp_path_factory.mktemp("experiment")
    flags = write_experiment(folder)
    done = write_tables(flags, folder / "tables")
    assert done.returncode == 0, done.stderr
    return flags, folder / "tables"
