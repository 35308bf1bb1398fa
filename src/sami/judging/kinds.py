"""The kinds of judges, behind one function. Panels combine the verdicts of others: `sami.judging.panel`."""

from collections.abc import Sequence
from pathlib import Path

from sami.judging import checks
from sami.judging.pairs import Pair
from sami.models.startup import import_libraries
from sami.records import Verdict
from sami.settings.endpoints import Limits
from sami.settings.judges import Judge


def judge(
    pairs: Sequence[Pair],
    name: str,
    judge: Judge,
    seed: int,
    *,
    model: Path | None = None,
    limits: Limits | None = None,
    answers: str | Path | None = None,
    account: str | None = None,
    server: str | Path | None = None,
) -> list[Verdict]:
    """Verdicts on pairs, one each, in their order.

    Args:
        name: of the judge, kept in the records.
        seed: of the order in which a pair is shown, where it is random.
        model: prepared folder, for the kind `likelihood`.
        limits, answers, account, server: for the kind `openai`, see `sami.judging.endpoint.judge`.
    """
    if judge.kind == "checks":
        return checks.judge(pairs, name, judge)
    if judge.kind == "likelihood":
        import_libraries()
        from sami.judging import likelihood

        return likelihood.judge(pairs, name, judge, model)
    from sami.judging import endpoint

    limits = limits or Limits()
    return endpoint.judge(pairs, name, judge, limits, answers=answers, account=account, server=server, seed=seed)
