"""Candidates: responses that are to be rewarded, what they are rewarded with, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sami.records import Constitution, Query, Relevance
from sami.settings.base import Settings
from sami.settings.endpoints import Limits
from sami.settings.judges import Judge
from sami.settings.training import Engine


@dataclass(frozen=True)
class Candidate:
    """A response that is to be rewarded.

    where: query, set and number, for messages.
    constitution: for which it is rewarded.
    query: to which it responds.
    relevance: to its query; None where nobody told it.
    """

    where: str
    text: str
    constitution: Constitution
    query: Query
    relevance: Relevance | None = None


@dataclass(frozen=True)
class Value:
    """A reward in [0, 1], and by name what it is made of."""

    reward: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Means:
    """What one run gives rewards beside the responses.

    rewards: settings of the reward and of those that it is made of, by name.
    judges: that these ask, and members of panels, by name.
    models: folders of prepared models, by name.
    limits: how judges behind an endpoint may be asked, by name.
    answers: the database of their answers.
    account: whom `max_cost` counts for, before a slash and the name of the judge.
    seed: of the pairs that are compared, and of the order in which one is shown.
    reward_model: folder of the reward model, for a learned reward.
    base_model: folder of the experiment's base model, of which that one must have been trained.
    engine: how passes of the reward model are computed.
    """

    rewards: Mapping[str, Settings]
    judges: Mapping[str, Judge] = field(default_factory=dict)
    models: Mapping[str, Path] = field(default_factory=dict)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    answers: str | Path = ""
    account: str = ""
    seed: int = 0
    reward_model: Path | None = None
    base_model: Path | None = None
    engine: Engine | None = None
