"""Tokens that models have encoded in this process: the budget by which methods are compared.

Whoever runs a model says here for how many tokens; the provenance record of what the stage writes has the sums.
"""

from collections import Counter
from typing import Literal, get_args

Work = Literal["sampled", "scored", "trained"]
PASSES: dict[Work, int] = {"sampled": 1, "scored": 1, "trained": 3}  # a backward pass costs two forward ones

_tokens: Counter[Work] = Counter()


def spend(work: Work, tokens: int) -> None:
    """Counts tokens that were drawn, scored in a forward pass, or trained on in a forward and a backward pass.

    Prompts count where they are encoded to score or train, once for all responses that share them there.
    """
    _tokens[work] += tokens


def spent() -> dict[str, int]:
    """Tokens by kind of work, since the process began or `forget` was called; empty where no model ran."""
    return {work: _tokens[work] for work in get_args(Work) if _tokens[work]}


def forget() -> None:
    """Sets the counts to zero."""
    _tokens.clear()
