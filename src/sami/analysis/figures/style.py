"""Style of all figures: print size, fonts, colours and markers, and the files they are saved as.

Print size (one column 3.4 in, two columns 7 in), fonts embedded as outlines of TrueType, the colour-blind safe palette
of Okabe and Ito, and a marker or line style of its own for everything that has a colour, so that figures can be read in
grey. Nothing is drawn through pyplot, so no display is needed and no state is shared.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches
PNG_DPI = 200
BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
GREY = "#666666"
DOTTED, DASHED = (0, (1, 1.5)), (0, (4, 1.5))  # in line widths
Mark = tuple[str, str, Any]  # colour, marker, line style
FIRST: Mark = (BLUE, "o", "-")  # of two things in a panel
SECOND: Mark = (VERMILION, "s", DASHED)
SEQUENCE: list[Mark] = [  # of iteration 1, 2, ..., or of the first, second, ... judge
    (BLUE, "o", "-"),
    (VERMILION, "s", (0, (5, 1.5))),
    (GREEN, "^", (0, (4, 1.2, 1, 1.2))),
    (PURPLE, "D", (0, (1.5, 1.2))),
    (ORANGE, "v", "-"),
    (SKY, "P", (0, (5, 1.5))),
]
STYLE = {
    "pdf.fonttype": 42,
    "text.hinting": "no_hinting",
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.titlesize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: draws in the style of this module, whatever the caller has set."""

    @functools.wraps(draw)
    def in_style(*arguments, **options):
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            return draw(*arguments, **options)

    return in_style


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes {name}.pdf and {name}.png, the same bytes for the same figure: neither holds a date."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
        figure.savefig(folder / f"{name}.png", dpi=PNG_DPI, metadata={"Software": None})
