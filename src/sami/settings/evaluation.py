"""How policies are compared."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sami.records import policy_name
from sami.settings.base import RESPONSE_FILE, Count, Number, PolicyName, Settings, Share, Source
from sami.settings.sampling import Sampling


class Degeneration(Settings):
    """When a response counts as degenerate: too large a share of its word n-grams are repeats."""

    ngram: Count
    max_repeated: Share


class Published(Settings):
    """A win rate, or a range of them, that others have published: figures show it beside ours."""

    comparator: str
    principles: Literal["training", "held-out"] = "training"
    win_rate: Share | Annotated[list[Share], Field(min_length=2, max_length=2)]

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest; equal for a single number."""
        low, high = self.win_rate if isinstance(self.win_rate, list) else (self.win_rate, self.win_rate)
        return low, high

    @model_validator(mode="after")
    def _ordered(self):
        low, high = self.range
        if low > high:
            raise ValueError(f"found the range [{low}, {high}], expected the lower number first: [{high}, {low}]")
        return self


class ResponseFile(Settings):
    """A policy that is a file of responses: our records, or the SAMI authors' format (`data.external_responses`)."""

    responses: Annotated[str, Field(pattern=RESPONSE_FILE)]
    source: Source | None = None


class Evaluation(Settings):
    """How policies are compared."""

    sampling: Sampling
    judges: Annotated[list[str], Field(min_length=1)]
    judged: Literal["all", "positive"] = "all"
    comparators: Annotated[list[str], Field(min_length=1)]
    policies: dict[PolicyName, str | ResponseFile]
    degeneration: Degeneration
    bootstrap_samples: Annotated[int, Field(ge=100)]
    confidence: Annotated[Number, Field(gt=0, lt=1)]
    wanted_width: Annotated[Number, Field(gt=0, lt=1)]
    published: list[Published]

    @property
    def models(self) -> dict[str, str]:
        """The other policies that are models: name -> name of the model."""
        return {name: policy for name, policy in self.policies.items() if isinstance(policy, str)}

    @property
    def files(self) -> dict[str, ResponseFile]:
        """The other policies that are files of responses."""
        return {name: policy for name, policy in self.policies.items() if not isinstance(policy, str)}

    def published_range(self, comparator: str, principles: str = "training") -> tuple[float, float]:
        """Lowest and highest published win rate against a policy; NaN where none is given."""
        for entry in self.published:
            if (policy_name(entry.comparator), entry.principles) == (policy_name(comparator), principles):
                return entry.range
        return math.nan, math.nan

    @model_validator(mode="after")
    def _all_there(self):
        for name, file in self.files.items():
            if self.judged == "all" and file.responses.endswith(".json"):
                raise ValueError(
                    f"'policies' names '{name}', a file in the SAMI authors' format, which has one response to a "
                    "query, under the constitution that wants every principle; 'judged: all' compares those under the "
                    "others, too. Set 'judged' to positive"
                )
        return self

    @model_validator(mode="after")
    def _distinct(self):
        published = [f"{entry.comparator} ({entry.principles})" for entry in self.published]
        for key, names in (("judges", self.judges), ("comparators", self.comparators), ("published", published)):
            if len(set(names)) < len(names):
                raise ValueError(f"'{key}' names one twice: {', '.join(names)}")
        for entry in self.published:
            if entry.comparator not in self.comparators:
                raise ValueError(
                    f"'published' names the comparator '{entry.comparator}', expected one of 'comparators': "
                    f"{', '.join(self.comparators)}"
                )
        return self
