"""The kinds of judges with a vote, and how each judges; what a kind needs is loaded when one of it judges.

A kind is named in its settings class (`sami.settings.judges`) and has its function here. It stands apart from the
package's `__init__`, since a change of one judge should leave what only reads verdicts alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sami.judging import checks
from sami.judging.pairs import POINTS, Pair, verdict
from sami.records import Answer, Verdict
from sami.settings.base import Settings
from sami.settings.endpoints import Limits
from sami.settings.judges import ChecksJudge, EndpointJudge, LikelihoodJudge


@dataclass(frozen=True)
class Means:
    """What one run gives a judge beside its settings.

    model: folder of the prepared model, for a judge that reads probabilities.
    limits, answers, account, server: of `sami.judging.endpoint.judge`, for a judge behind an endpoint.
    seed: of the order in which a pair is shown, where it is random.
    """

    seed: int
    model: Path | None = None
    limits: Limits = field(default_factory=Limits)
    answers: str | Path = ""
    account: str = ""
    server: str | Path | None = None


def judge(pairs: Sequence[Pair], name: str, settings: Settings, means: Means) -> list[Verdict]:
    """Verdicts on pairs by a judge of any kind, one each, in their order.

    Raises:
        UserError: see the judge's module.
    """
    return KINDS[type(settings)](pairs, name, settings, means)


def _by_checks(pairs: Sequence[Pair], name: str, settings: ChecksJudge, means: Means) -> list[Verdict]:
    """Verdicts by the programmatic checks of the constitutions, which cannot depend on the order of two responses."""
    verdicts = []
    for pair in pairs:
        first, second = (
            checks.degrees(text, pair.constitution, settings.held_out) for text in (pair.first, pair.second)
        )
        said = checks.choose(first, second, settings.tie_margin)
        answer = Answer(order="policy-first", choice=said, preference=POINTS[said])
        verdicts.append(verdict(pair, name, [answer], first_degrees=first, second_degrees=second))
    return verdicts


def _by_likelihood(pairs: Sequence[Pair], name: str, settings: LikelihoodJudge, means: Means) -> list[Verdict]:
    from sami.judging import likelihood

    return likelihood.judge(pairs, name, settings, means.model)


def _by_endpoint(pairs: Sequence[Pair], name: str, settings: EndpointJudge, means: Means) -> list[Verdict]:
    from sami.judging import endpoint

    return endpoint.judge(
        pairs,
        name,
        settings,
        means.limits,
        answers=means.answers,
        account=means.account,
        server=means.server,
        seed=means.seed,
    )


KINDS: dict[type[Settings], Callable[..., list[Verdict]]] = {
    ChecksJudge: _by_checks,
    LikelihoodJudge: _by_likelihood,
    EndpointJudge: _by_endpoint,
}
