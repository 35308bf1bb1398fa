"""Win rates and other means of values from 0 to 1, with intervals that hold for a few queries."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from sami.analysis.statistics.bootstrap import Interval, check_values
from sami.analysis.statistics.significance import sign_flip_test

CHOICES = ("first", "second", "tie", "invalid")


@dataclass(frozen=True)
class WinRate:
    """Mean preference for the first side, and what belongs beside it.

    `rate` has the interval of `wilson_by_query`. `rate_without_invalid` leaves invalid verdicts out, where `rate`
    counts them half; NaN where all are. `p` is of both sides being alike, by a sign-flip test over queries.
    """

    wins: int
    ties: int
    losses: int
    invalid: int
    rate: Interval
    standard_error: float
    rate_without_invalid: float
    p: float
    n_queries: int
    n_verdicts: int


def win_rate(
    verdicts_by_query: Mapping[str, Sequence[tuple[str, float]]], *, samples: int, confidence: float, seed: int
) -> WinRate:
    """Win rate of the first side: the mean preference for it, in which a tie or an invalid verdict counts half.

    Args:
        verdicts_by_query: query id -> its verdicts: a choice ("first", "second", "tie" or "invalid") and the
            preference for the first side, from 0 to 1.
        samples, seed: of the sign-flip test.
        confidence: probability that the interval should cover, between 0 and 1.

    Raises:
        ValueError: there is no query, a query has no verdict, a choice is unknown or a preference is out of range.
    """
    verdicts = [verdict for of_query in verdicts_by_query.values() for verdict in of_query]
    choices = [choice for choice, _ in verdicts]
    unknown = set(choices) - {*CHOICES}
    if unknown:
        raise ValueError(f"unknown choices {sorted(unknown)}; expected {', '.join(CHOICES)}")
    apart = [preference for _, preference in verdicts if not 0 <= preference <= 1]
    if apart:
        raise ValueError(f"found the preference {apart[0]}, expected numbers from 0 to 1")
    preferences = {query_id: [preference for _, preference in of] for query_id, of in verdicts_by_query.items()}
    valid = [preference for choice, preference in verdicts if choice != "invalid"]
    return WinRate(
        wins=choices.count("first"),
        ties=choices.count("tie"),
        losses=choices.count("second"),
        invalid=choices.count("invalid"),
        rate=wilson_by_query(preferences, confidence),
        standard_error=standard_error(preferences),
        rate_without_invalid=float(np.mean(valid)) if valid else math.nan,
        p=sign_flip_test([sum(of) - len(of) / 2 for _, of in sorted(preferences.items())], samples, seed),
        n_queries=len(verdicts_by_query),
        n_verdicts=len(choices),
    )


def standard_error(values_by_query: Mapping[str, Sequence[float]]) -> float:
    """Standard error of the mean of all values, the values of a query being one cluster (Liang and Zeger 1986).

    With one value a query it is std(ddof=1) / sqrt(n). NaN where there is a single query.
    """
    queries = len(values_by_query)
    if queries < 2:
        return math.nan
    count = sum(len(values) for values in values_by_query.values())
    centre = sum(sum(values) for values in values_by_query.values()) / count
    residuals = np.array([sum(values) - centre * len(values) for values in values_by_query.values()])  # (Q,)
    return math.sqrt(queries / (queries - 1) * float(residuals @ residuals)) / count


def effective_count(values_by_query: Mapping[str, Sequence[float]]) -> float:
    """Number of independent wins and losses whose mean is known as well as that of these values from 0 to 1.

    It is p (1 - p) / standard_error^2: fewer than the values where those of a query are alike, more where values lie
    close together. Where all queries have one mean their spread tells nothing, and each counts once. NaN for a single
    query.
    """
    error = standard_error(values_by_query)
    share = _mean_of_all(values_by_query)
    return share * (1 - share) / error**2 if error > 1e-9 or math.isnan(error) else float(len(values_by_query))


def _mean_of_all(values_by_query: Mapping[str, Sequence[float]]) -> float:
    return math.fsum(value for of in values_by_query.values() for value in of) / sum(map(len, values_by_query.values()))


def wilson_by_query(values_by_query: Mapping[str, Sequence[float]], confidence: float) -> Interval:
    """Mean of values from 0 to 1, with Wilson's interval for values that depend on each other within a query.

    The number of trials is `effective_count` and the quantile Student's, with one degree of freedom less than there are
    queries (Korn and Graubard 1998 and Franco et al. 2019 do so for samples in clusters). Unlike a bootstrap it is not
    too narrow for a few queries, and has a width where all values are alike.

    Args:
        values_by_query: query id -> its values (verdicts, degrees, ...), from 0 to 1, at least one each.
        confidence: probability that the interval should cover, between 0 and 1.

    Raises:
        ValueError: there is no query, or a query has no values.
    """
    check_values(values_by_query)
    share = _mean_of_all(values_by_query)
    if len(values_by_query) < 2:
        return Interval(share, math.nan, math.nan)
    quantile = float(stdtrit(len(values_by_query) - 1, (1 + confidence) / 2))
    return Interval(share, *wilson(share, effective_count(values_by_query), quantile))


def wilson(share: float, count: float, quantile: float) -> tuple[float, float]:
    """Wilson score interval (Wilson 1927) of a share of `count` independent trials; both may be fractional.

    `quantile` is that of the standard normal distribution, 1.96 for 95%, or a wider one for a few clusters.
    """
    centre = (share + quantile**2 / (2 * count)) / (1 + quantile**2 / count)
    half = quantile / (1 + quantile**2 / count) * math.sqrt(share * (1 - share) / count + (quantile / (2 * count)) ** 2)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))  # whatever rounding does at 0 and 1


def queries_needed(
    values_by_query: Mapping[str, Sequence[float]], wanted_width: float, confidence: float
) -> int | None:
    """Number of queries like these that bring Wilson's interval of their mean down to a full width.

    Rounded up to two digits, since it rests on how far these queries differ. None where a single query tells nothing of
    that. Two at least: without two there is no interval.
    """
    queries = len(values_by_query)
    if queries < 2:
        return None
    share, z = _mean_of_all(values_by_query), float(ndtri((1 + confidence) / 2))
    spread = 2 * share * (1 - share)
    # The width of `wilson` is wanted_width at this count: the larger root of a quadratic equation in count + z^2.
    root = math.sqrt(spread**2 + wanted_width**2 * (1 - 2 * spread))
    count = (z / wanted_width) ** 2 * (spread + root) - z**2
    needed = max(2, math.ceil(count * queries / effective_count(values_by_query)))
    step = 10 ** max(0, len(str(needed)) - 2)
    return math.ceil(needed / step) * step
