"""Captions of Snakemake's report, which wants a file for each, as the catalogues of tables and figures have them.

    python -m sami.analysis.captions workflow/report

writes them anew; a test fails where they differ from the catalogues.
"""

import sys
import textwrap
from pathlib import Path

from sami.analysis.figures.catalogue import FIGURES
from sami.analysis.tables.catalogue import TABLES


def captions() -> dict[str, str]:
    """Name of a file -> its text, of all figures and of the tables that Snakemake's report shows."""
    reported = [*FIGURES.values(), *(table for table in TABLES.values() if table.reported)]
    wrapped = textwrap.TextWrapper(120, break_on_hyphens=False)
    return {entry.caption_file: wrapped.fill(entry.caption) + "\n" for entry in reported}


if __name__ == "__main__":
    for name, text in captions().items():
        path = Path(sys.argv[1], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
