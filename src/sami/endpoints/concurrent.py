"""Asks an OpenAI-compatible endpoint, many requests at a time, until every one has been answered.

A fixed number of workers takes requests from one queue. A request that failed for a passing reason (429, 5xx, a
time-out, a dropped connection, an answer that is none) waits outside the queue, longer each time and at least as long
as the server says, while its worker goes on with others. Then it comes before those that have not been tried yet, so
that no long tail of repeats is left at the end.

While others are answered it waits a second at most, unless the server is busy (429). While nobody is, all workers
pause, ever longer; such an outage does not count against single requests, but at last the endpoint is given up.

Neither the client's own repeats nor a library of retries (tenacity, backoff) do this: they repeat one call by itself,
so that its worker waits with it, and they know nothing of the other requests, by whose answers a failure is told from
an outage.
"""

import asyncio
import itertools
import logging
import random
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sami.endpoints.requests import Endpoint, Request
from sami.endpoints.transport import TransientError, Transport
from sami.errors import Resumable, UserError
from sami.settings.endpoints import Limits

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 60.0  # seconds before a request is repeated; doubled each time
DOUBLED_ALONE = 3  # times that it is doubled while other requests are answered, unless the server is busy
LONGEST_RETRY_AFTER = 600.0  # a server that asks for more is not waited for
DOWN_AT_FIRST = 10  # failures in a row, before any answer, after which there is no such endpoint

OnAnswer = Callable[[Request, dict], list[Request]]


class ConcurrentClient:
    """A `CompletionClient` that keeps `limits.concurrency` requests under way; `run` may be called once.

    Args:
        endpoint: to ask.
        limits: how it may be asked.
        check: called after every answer; may raise UserError to stop.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits, check: Callable[[], None]):
        self.transport = Transport(endpoint, limits.timeout_seconds)
        self.where, self.key_variable = self.transport.where, endpoint.key_variable
        self.limits, self.check = limits, check
        self.health = Health(self.where, limits.down_after_seconds)

    @property
    def failures(self) -> int:
        return self.health.failures

    def run(self, requests: list[Request], on_answer: OnAnswer) -> None:
        """See `CompletionClient`.

        A request that has failed `1 + limits.retries` times is given up, and told when all are done.
        """
        work = _Work(self.transport, self.limits, self.health, self.check, requests, on_answer)
        asyncio.run(work.run())
        if work.error:
            raise work.error
        if work.interrupted:
            raise Resumable("interrupted: all answers that have arrived are kept; the same command goes on from there")
        if work.left:
            raise UserError(
                f"{self.where}: {len(work.left)} requests failed {1 + self.limits.retries} times each, the last one "
                f"because {work.left[-1]}. All other answers are kept: run the same command again to ask "
                "for these alone, or raise 'limits.retries'."
            )


class Health:
    """Failures and answers of an endpoint, by which an outage is told from failures of single requests.

    Args:
        where: the endpoint, for messages.
        patience: seconds without an answer after which it is given up.
    """

    def __init__(self, where: str, patience: float):
        self.where, self.patience = where, patience
        self.failures = 0
        self.in_a_row = 0  # failures since the last answer
        self.answered = False
        self.answered_at = time.monotonic()  # when that was; the start, before the first one
        self.resume_at = 0.0  # until which nothing is asked

    def note_answer(self) -> None:
        self.in_a_row, self.answered, self.answered_at = 0, True, time.monotonic()

    def note_failure(self, failure: TransientError, workers: int) -> bool:
        """Notes a failure. Returns whether it is part of an outage, in which all workers then pause.

        Raises:
            UserError: the endpoint is down.
        """
        self.failures += 1
        self.in_a_row += 1
        self._check_down(failure)
        rounds = self.in_a_row // workers  # in which nobody was answered
        if rounds:
            self.resume_at = time.monotonic() + pause(rounds - 1, failure.pause)
        return rounds > 0

    def _check_down(self, failure: TransientError) -> None:
        silent = time.monotonic() - self.answered_at
        # A busy server is one, so it gets its time, too.
        patience = self.patience if self.answered or failure.busy else 0.0
        if self.in_a_row < DOWN_AT_FIRST or silent < patience:
            return
        since = "since its last answer" if self.answered else "since the start"
        raise UserError(
            f"{self.where}: {self.in_a_row} requests in a row have failed in the {silent:.0f} seconds {since}, the "
            f"last because {failure}. The answers that came before are kept. See whether the server runs and "
            "'base_url' is right (it usually ends in /v1), then run the same command again."
        )


class Entry(NamedTuple):
    """A request in the queue, which is ordered by the first two."""

    fresh: bool
    number: int
    request: Request | None = None  # None sends a worker home
    failures: int = 0


class _Work:
    """The queue of a run, and its workers.

    error: why the run ends early. left: why requests were given up. interrupted: by a signal.
    """

    def __init__(
        self,
        transport: Transport,
        limits: Limits,
        health: Health,
        check: Callable[[], None],
        requests: list[Request],
        on_answer: OnAnswer,
    ):
        self.transport, self.limits, self.health = transport, limits, health
        self.check, self.on_answer = check, on_answer
        self.error: UserError | None = None
        self.left: list[str] = []
        self.interrupted = False
        self.stop = asyncio.Event()
        self.workers = min(limits.concurrency, len(requests))
        self.request_rate = limiter(limits.requests_per_minute, 1)
        largest = max(request.input_tokens + request.output_tokens for request in requests)
        self.token_rate = limiter(limits.tokens_per_minute, largest)
        self.queue: asyncio.PriorityQueue[Entry] = asyncio.PriorityQueue()
        self.numbers = itertools.count()
        for request in requests:
            self._put(request, fresh=True)

    def _put(self, request: Request, fresh: bool = False) -> None:
        self.queue.put_nowait(Entry(fresh, next(self.numbers), request))

    async def run(self) -> None:
        self._listen()
        async with self.transport:
            workers = [asyncio.create_task(self._work()) for _ in range(self.workers)]
            done, stopped = asyncio.create_task(self.queue.join()), asyncio.create_task(self.stop.wait())
            await asyncio.wait([done, stopped, *workers], return_when=asyncio.FIRST_COMPLETED)
            for _ in workers:  # they first finish what is under way: it is paid for
                self.queue.put_nowait(Entry(False, -1))
            await asyncio.gather(*workers)
            done.cancel()
            stopped.cancel()

    def _listen(self) -> None:
        """On SIGTERM and SIGINT, asks for nothing more but waits for what is under way; a second one ends at once."""
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            log.warning("interrupted: waiting for the answers under way")
            self.interrupted = True
            self.stop.set()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, interrupt)

    async def _work(self) -> None:
        while (entry := await self.queue.get()).request is not None:
            await self._may_send(entry.request)
            if self.stop.is_set():
                return
            try:
                await self._ask(entry, entry.request)
            except UserError as error:
                self.error = self.error or error
                self.stop.set()

    async def _may_send(self, request: Request) -> None:
        """Waits until the rates allow for a request, and while the endpoint is left alone."""
        while (left := self.health.resume_at - time.monotonic()) > 0 and not self.stop.is_set():
            await asyncio.sleep(min(left, 0.5))  # short naps, since an interruption must not wait for long ones
        if self.request_rate is not None:
            await self.request_rate.acquire()
        if self.token_rate is not None:
            tokens = request.input_tokens + request.output_tokens
            await self.token_rate.acquire(min(tokens, self.token_rate.max_rate))  # a reminder makes a request longer

    async def _ask(self, entry: Entry, request: Request) -> None:
        """Sends one request once. Ends with its answer handed over, a repeat in the queue, or the request given up."""
        try:
            body = await self.transport.send(request)
        except TransientError as failure:
            outage = self.health.note_failure(failure, self.workers)
            failures = entry.failures + (not outage)
            if failures <= self.limits.retries:
                again = Entry(False, next(self.numbers), request, failures)
                doublings = entry.failures if failure.busy else min(entry.failures, DOUBLED_ALONE)
                asyncio.get_running_loop().call_later(pause(doublings, failure.pause), self._repeat, again)
                return  # the queue counts it as unfinished until it has been repeated
            self.left.append(str(failure))
        else:
            self.health.note_answer()
            for more in self.on_answer(request, body):
                self._put(more)
            self.check()
        self.queue.task_done()

    def _repeat(self, entry: Entry) -> None:
        self.queue.put_nowait(entry)
        self.queue.task_done()


def limiter(per_minute: int | None, largest: int) -> Any:
    """A limiter that keeps a rate, and lets the largest amount asked of it pass; None without a rate."""
    from aiolimiter import AsyncLimiter

    if per_minute is None:
        return None
    # A second's worth at a time, not a minute's at once: that would be twice the rate in the first minute.
    burst = max(largest, per_minute / 60)
    return AsyncLimiter(burst, 60 * burst / per_minute)


def pause(doublings: float, asked: float) -> float:
    """Seconds before a repeat, with jitter: those that the server asks for, else ever more."""
    if asked:
        return min(asked, LONGEST_RETRY_AFTER) * random.uniform(1.0, 1.1)
    return random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(doublings, 64))
