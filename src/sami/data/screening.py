"""Screening of principles: which pairs a model hears, and which of them differ. No label, check or judge is asked.

A pair is heard if responses to it carry information about which of its two sides they were written for: if the bound on
I(Y; C | x), by which training is judged, too (arXiv 2404.14313, section 3), lies above 0 with its interval over a
handful of queries. Two pairs say the same if the constitutions of one tell the responses to the other apart, too.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from sami.analysis.statistics.bootstrap import bootstrap
from sami.analysis.statistics.information import information
from sami.errors import UserError
from sami.records import Principle, Scores, Screened

Overlap = Callable[[str, str], float]  # ids of a kept pair and of another: share of its bound that the other explains


def measure(
    pairs: Sequence[Principle], scores: Sequence[Scores], samples: int, confidence: float, seed: int
) -> list[Screened]:
    """What a model hears of each pair, in their order; the fate of all is still "not heard".

    Args:
        pairs: principles with their opposites.
        scores: of responses under both sides of each, under both; `set_id` is the id of the pair.
        samples, confidence, seed: of the bootstrap over queries.
    """
    by_pair: dict[str, list[Scores]] = {pair.id: [] for pair in pairs}
    for record in scores:
        by_pair[record.set_id].append(record)
    return [_measured(pair, by_pair[pair.id], samples, confidence, seed) for pair in pairs]


def _measured(pair: Principle, scores: Sequence[Scores], samples: int, confidence: float, seed: int) -> Screened:
    bounds = {record.query_id: information(record.mean, record.labels).bound for record in scores}
    sides: list[float | None] = []
    for side in (0, 1):
        gaps = [
            record.mean[side][j] - record.mean[1 - side][j]
            for record in scores
            for j, label in enumerate(record.labels)
            if label == side
        ]
        sides.append(fmean(gap > 0 for gap in gaps) if gaps else None)
    values = {query: [bound] for query, bound in bounds.items()}
    found = bootstrap(values, samples=samples, confidence=confidence, seed=seed) if len(values) > 1 else None
    return Screened(
        id=pair.id,
        text=pair.text,
        opposite=pair.opposite,
        bounds=bounds,
        bound=fmean(bounds.values()) if bounds else None,
        low=found and found.low,
        high=found and found.high,
        principle_recognised=sides[0],
        opposite_recognised=sides[1],
        fate="not heard",
    )


def explained(own: Mapping[str, float], under_other: Sequence[Scores]) -> float:
    """The share of a pair's bound that the constitutions of another explain; at least 0.

    Args:
        own: query -> bound of the pair's responses under its own constitutions; their mean is above 0.
        under_other: the same responses under the constitutions of the other pair, which may stand the other way round:
            its opposite may be what the pair wants.
    """
    straight, turned = (
        fmean(information(record.mean, [abs(turn - label) for label in record.labels]).bound for record in under_other)
        for turn in (0, 1)
    )
    return max(straight, turned, 0.0) / fmean(own[record.query_id] for record in under_other)


def select(measured: Sequence[Screened], keep: int | None, most_overlap: float, overlap: Overlap) -> list[Screened]:
    """Decides on the fate of each pair: the kept ones stand first, by their bounds, and the others in their order.

    Pairs that are heard are taken by their bounds, the highest first, and left out where they say the same as one that
    is kept: where they explain more than `most_overlap` of its bound.

    Args:
        keep: how many to keep; None for all that differ. Fewer are kept where there are no more.
        overlap: is asked of no more pairs than the decision needs.
    """
    fates: dict[str, Screened] = {}
    kept: list[Screened] = []
    heard = sorted((pair for pair in measured if pair.heard), key=lambda pair: -(pair.bound or 0))
    for pair in heard:
        if keep is not None and len(kept) == keep:
            fates[pair.id] = pair.model_copy(update={"fate": "beyond the number kept"})
            continue
        shares = {other.id: overlap(other.id, pair.id) for other in kept}
        like = max(shares, key=lambda name: shares[name], default=None)
        same = like is not None and shares[like] > most_overlap
        told = {"overlap": shares[like], "like": like} if like is not None else {}
        fates[pair.id] = pair.model_copy(update={"fate": "says the same" if same else "kept", **told})
        kept += [] if same else [fates[pair.id]]
    names = {pair.id for pair in kept}
    return [*kept, *(fates.get(pair.id, pair) for pair in measured if pair.id not in names)]


def kept(screened: Sequence[Screened], pairs: Sequence[Principle], keep: int, where: str) -> list[Principle]:
    """The pairs that are kept, by their bounds.

    Args:
        keep: how many there must be.
        where: begins the message.

    Raises:
        UserError: fewer are heard and differ. It tells the best of those that are not heard, and how many queries its
            bound would need.
    """
    by_id = {pair.id: pair for pair in pairs}
    chosen = [by_id[record.id] for record in screened if record.fate == "kept"]
    if len(chosen) >= keep:
        return chosen
    same = [f"'{record.id}' says the same as '{record.like}'" for record in screened if record.fate == "says the same"]
    unheard = [record for record in screened if record.fate == "not heard"]
    best = max(unheard, key=lambda record: record.bound or 0, default=None)
    told = "; ".join(same)
    if best is not None:
        value = f"{best.bound:.3f} [{best.low:.3f}, {best.high:.3f}]" if best.low is not None else "unknown"
        needed = queries_needed(best.bounds)
        more = f", and would need about {needed} queries" if needed else ""
        told += f"{'; ' if told else ''}{len(unheard)} are not heard, the best of which, '{best.id}', has a bound of "
        told += f"{value} nats on {len(best.bounds)} queries{more}"
    names = f" ({', '.join(pair.id for pair in chosen)})" if chosen else ""
    mend = f"Set 'keep' to {len(chosen)}, or reword" if chosen else "Reword"
    raise UserError(
        f"{where}: {len(chosen)} of {len(screened)} pairs{names} are heard by the base model and differ, expected "
        f"{keep} ('constitutions.keep'): {told}. {mend} what is not heard, propose more, or raise 'screen_queries'."
    )


def queries_needed(bounds: Mapping[str, float], z: float = 1.96) -> int | None:
    """Queries at which a 95% interval of the mean bound would just lie above 0, as these vary; None below 0.

    By the normal approximation: (z s / m)^2, at least 2.
    """
    if len(bounds) < 2:
        return None
    middle = fmean(bounds.values())
    if middle <= 0:
        return None
    variance = sum((value - middle) ** 2 for value in bounds.values()) / (len(bounds) - 1)
    return max(2, -int(-(z**2) * variance // middle**2))
