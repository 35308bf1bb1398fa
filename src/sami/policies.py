"""Names of policies: iteration-0 is the base model, iteration-1, ... were trained, others are models beside them."""

import re
from collections.abc import Iterable


def iteration_of(policy: str) -> int | None:
    """Number of the iteration that a policy's name says; None for other models."""
    number = re.fullmatch(r"iteration-(\d+)", policy)
    return int(number[1]) if number else None


def last_trained(policies: Iterable[str]) -> str:
    """The policy of the last iteration; the first policy where there are none."""
    return max(policies, key=lambda name: -1 if (t := iteration_of(name)) is None else t)
