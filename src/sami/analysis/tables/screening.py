"""Table of screened pairs: what the base model hears of each, whether it is kept, and why not."""

from collections.abc import Sequence

from sami.analysis.tables.rows import Row
from sami.data.screening import queries_needed
from sami.records import Screened


def candidates(screened: Sequence[Screened]) -> list[Row]:
    """A row a pair, in the order of the file: those that are kept first, by their bounds."""
    return [
        {
            "pair": record.id,
            "bound_nats": record.bound,
            "bound_low": record.low,
            "bound_high": record.high,
            "principle_recognised": record.principle_recognised,
            "opposite_recognised": record.opposite_recognised,
            "n_queries": len(record.bounds),
            "queries_needed": queries_needed(record.bounds),
            "fate": record.fate,
            "reword": _reword(record),
            "overlap": record.overlap,
            "like": record.like,
            "principle": record.text,
            "opposite": record.opposite,
        }
        for record in screened
    ]


def _reword(record: Screened) -> str | None:
    """The side of a pair that is not heard to which fewer responses are recognised; None of others."""
    principle, opposite = record.principle_recognised, record.opposite_recognised
    if record.fate != "not heard":
        return None
    if principle is None or opposite is None or principle == opposite:
        return "both"
    return "principle" if principle < opposite else "opposite"
