"""A judge behind an OpenAI-compatible endpoint: questions about pairs, their answers, and the verdicts."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from sami import records
from sami.endpoints.answers import Answers
from sami.endpoints.requests import CompletionClient, Endpoint
from sami.judging.paid_questions import PaidQuestions, Question
from sami.judging.pairs import Pair, verdict
from sami.judging.prompts import ORDERS, Order
from sami.settings.endpoints import Limits
from sami.settings.judges import EndpointJudge


def judge(
    pairs: Sequence[Pair],
    name: str,
    judge: EndpointJudge,
    limits: Limits,
    *,
    answers: str | Path,
    account: str,
    server: str | Path | None,
    seed: int,
) -> list[records.Verdict]:
    """Verdicts on pairs, one each, in their order.

    Args:
        pairs: what to judge.
        name: of the judge, kept in the records.
        judge: the endpoint, its model and prompt.
        limits: how the endpoint may be asked, and how much may be spent.
        answers: the database of answers.
        account: whom `limits.max_cost` counts for.
        server: file of a server that the workflow has started for this judge.
        seed: of the order in which a pair is shown, where `judge.orders` is random.

    Raises:
        UserError: no key, no endpoint, the endpoint refuses or stays down, or the money does not suffice.
        Resumable: the process was asked to end.
    """
    endpoint = Endpoint(judge.model or "", judge.base_url, judge.api_version, judge.key_variable)
    if server is not None:
        from sami.endpoints import serving

        base_url, served = serving.wait(Path(server))
        endpoint = Endpoint(served, base_url, None, None)
    questions = [
        [Question(judge, endpoint.model, pair, order) for order in orders(pair, judge, seed)] for pair in pairs
    ]
    with Answers(answers) as kept:
        paid = PaidQuestions([q for of_pair in questions for q in of_pair], kept, limits, account)
        if paid.waiting:
            paid.check_estimate()
            paid.buy(open_client(endpoint, limits, paid.check, kept))
        paid.conclude()
    return [
        verdict(pair, name, [question.answer() for question in of_pair])
        for pair, of_pair in zip(pairs, questions, strict=True)
    ]


def orders(pair: Pair, judge: EndpointJudge, seed: int) -> Sequence[Order]:
    """The orders in which a pair is shown: both, or one drawn for this pair alone."""
    if judge.orders == "both":
        return ORDERS
    drawn = random.Random("\n".join([str(seed), pair.query.id, pair.constitution.id, str(pair.number), pair.policy]))
    return [drawn.choice(ORDERS)]


def open_client(endpoint: Endpoint, limits: Limits, check: Callable[[], None], kept: Answers) -> CompletionClient:
    """The client that the limits name: batches, or many requests at a time."""
    if limits.batch:
        from sami.endpoints.batch_api import BatchClient

        return BatchClient(endpoint, limits, check, kept.together)
    from sami.endpoints.concurrent import ConcurrentClient

    return ConcurrentClient(endpoint, limits, check)
