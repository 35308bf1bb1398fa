"""Asks an OpenAI-compatible endpoint, many requests at a time, until every one has been answered.

A fixed number of workers takes requests from one queue. A request that failed for a passing reason (429, 5xx, a
time-out, a dropped connection, an answer that is none) waits outside the queue, longer each time and at least as long
as the server says, while its worker goes on with others. Then it comes before those that have not been tried yet, so
that no long tail of repeats is left at the end.

While others are answered it waits a second at most, unless the server is busy (429). While nobody is, all workers
pause, ever longer; such an outage does not count against single requests, but at last the endpoint is given up.
"""

import asyncio
import email.utils
import itertools
import json
import logging
import random
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sami.endpoints import chat, refusals
from sami.endpoints.refusals import Refusal
from sami.endpoints.requests import Address, Request, refused, reply
from sami.errors import Resumable, UserError
from sami.settings.endpoints import Limits

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 60.0  # seconds before a request is repeated; doubled each time
DOUBLED_ALONE = 3  # times that it is doubled while other requests are answered, unless the server is busy
LONGEST_RETRY_AFTER = 600.0  # a server that asks for more is not waited for
DOWN_AT_FIRST = 10  # failures in a row, before any answer, after which there is no such endpoint


class Passing(Exception):
    """A failure that may pass. `busy`: the server has too much to do; `pause`: seconds for which it asks to be left."""

    def __init__(self, reason: str, busy: bool = False, pause: float = 0.0):
        super().__init__(reason)
        self.busy, self.pause = busy, pause


class Entry(NamedTuple):
    """A request in the queue, which is ordered by the first two."""

    fresh: bool
    number: int
    request: Request | None = None  # None sends a worker home
    failures: int = 0


class Online:
    """An `Asker` that keeps `limits.concurrency` requests under way; `run` may be called once.

    Args:
        address: of the endpoint.
        limits: how it may be asked.
        check: called after every answer; may raise UserError to stop.
    """

    def __init__(self, address: Address, limits: Limits, check: Callable[[], None]):
        import openai  # takes half a second, which runs that ask nothing need not pay

        self.openai, self.limits, self.check, self.key_variable = openai, limits, check, address.key_variable
        self.key = chat.read_key(address.key_variable, address.base_url)
        # Repeats are ours: the client's own would keep a worker waiting.
        self.client = chat.connect(
            address.base_url, address.api_version, self.key,
            seconds=limits.timeout_seconds, retries=0, asynchronous=True,
        )  # fmt: skip
        self.where = f"model '{address.model}' at {chat.without_password(self.client.base_url)}"
        self.failures = 0
        self.in_a_row = 0  # failures since the last answer
        self.answered = False
        self.answered_at = time.monotonic()  # when that was; the start, before the first one
        self.hold = 0.0  # time of the loop until which nothing is asked
        self.error: UserError | None = None
        self.left: list[str] = []  # why requests were given up
        self.interrupted = False

    def run(self, requests: list[Request], on_answer: Callable[[Request, dict], list[Request]]) -> None:
        """See `Asker`. A request that has failed `1 + limits.retries` times is given up, and told when all are done."""
        self.on_answer = on_answer
        asyncio.run(self._run(requests))
        if self.error:
            raise self.error
        if self.interrupted:
            raise Resumable("interrupted: all answers that have arrived are kept; the same command goes on from there")
        if self.left:
            raise UserError(
                f"{self.where}: {len(self.left)} requests failed {1 + self.limits.retries} times each, the last one "
                f"because {self.left[-1]}. All other answers are kept: run the same command again to ask "
                "for these alone, or raise 'limits.retries'."
            )

    async def _run(self, requests: list[Request]) -> None:
        largest = max(request.input_tokens + request.output_tokens for request in requests)
        self.request_rate = limiter(self.limits.requests_per_minute, 1)
        self.token_rate = limiter(self.limits.tokens_per_minute, largest)
        self.queue: asyncio.PriorityQueue[Entry] = asyncio.PriorityQueue()
        self.numbers = itertools.count()
        self.stop = asyncio.Event()
        for request in requests:
            self.queue.put_nowait(Entry(True, next(self.numbers), request))
        self._listen()
        self.size = min(self.limits.concurrency, len(requests))
        async with self.client:
            workers = [asyncio.create_task(self._work()) for _ in range(self.size)]
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
                await self._ask(entry)
            except UserError as error:
                self.error = self.error or error
                self.stop.set()

    async def _may_send(self, request: Request) -> None:
        """Waits until the rates allow for a request, and while the endpoint is left alone."""
        while (left := self.hold - asyncio.get_running_loop().time()) > 0 and not self.stop.is_set():
            await asyncio.sleep(min(left, 0.5))  # short naps, since an interruption must not wait for long ones
        if self.request_rate is not None:
            await self.request_rate.acquire()
        if self.token_rate is not None:
            tokens = request.input_tokens + request.output_tokens
            await self.token_rate.acquire(min(tokens, self.token_rate.max_rate))  # a reminder makes a request longer

    async def _ask(self, entry: Entry) -> None:
        """Sends one request once. Ends with its answer handed over, a repeat in the queue, or the request given up."""
        try:
            body = await self._send(entry.request)
        except Passing as failure:
            self.failures += 1
            self.in_a_row += 1
            self._check_down(failure)
            rounds = self.in_a_row // self.size  # in which nobody was answered
            if rounds:
                self.hold = asyncio.get_running_loop().time() + pause(rounds - 1, failure.pause)
            failures = entry.failures + (rounds == 0)
            if failures <= self.limits.retries:
                again = Entry(False, next(self.numbers), entry.request, failures)
                doublings = entry.failures if failure.busy else min(entry.failures, DOUBLED_ALONE)
                seconds = pause(doublings, failure.pause)
                asyncio.get_running_loop().call_later(seconds, self._repeat, again)
                return  # the queue counts it as unfinished until it has been repeated
            self.left.append(str(failure))
        else:
            self.in_a_row, self.answered, self.answered_at = 0, True, time.monotonic()
            for more in self.on_answer(entry.request, body):
                self.queue.put_nowait(Entry(False, next(self.numbers), more))
            self.check()
        self.queue.task_done()

    def _repeat(self, entry: Entry) -> None:
        self.queue.put_nowait(entry)
        self.queue.task_done()

    def _check_down(self, failure: Passing) -> None:
        """Raises UserError where the endpoint is down."""
        silent = time.monotonic() - self.answered_at
        # A busy server is one, so it gets its time, too.
        patience = self.limits.down_after_seconds if self.answered or failure.busy else 0.0
        if self.in_a_row < DOWN_AT_FIRST or silent < patience:
            return
        since = "since its last answer" if self.answered else "since the start"
        raise UserError(
            f"{self.where}: {self.in_a_row} requests in a row have failed in the {silent:.0f} seconds {since}, the "
            f"last because {failure}. The answers that came before are kept. See whether the server runs and "
            "'base_url' is right (it usually ends in /v1), then run the same command again."
        )

    async def _send(self, request: Request) -> dict[str, Any]:
        """The body of an answer.

        Raises:
            Passing: a failure that may pass.
            UserError: one that will not.
        """
        openai, seconds = self.openai, self.limits.timeout_seconds
        sent = dict(request.body)
        model, asked = sent.pop("model"), sent.pop("messages")
        try:
            async with asyncio.timeout(seconds):  # the client's own starts again with every byte that arrives
                answer = await self.client.chat.completions.with_raw_response.create(
                    model=model, messages=asked, extra_body=sent
                )
        except (TimeoutError, openai.APITimeoutError):
            raise Passing(f"there was no answer within {seconds:g} seconds") from None
        except openai.APIConnectionError as error:
            raise Passing(f"the connection failed ({chat.cleaned(str(error.__cause__ or error), self.key)})") from None
        except openai.APIStatusError as error:
            return self._refused(chat.of_status(error, self.key), error.response.headers)
        except openai.OpenAIError as error:
            raise UserError(f"{self.where}: {type(error).__name__}: {chat.cleaned(str(error), self.key)}") from None
        try:
            body = json.loads(answer.text)
            if (refusal := refusals.within(body, self.key)) is not None:
                return self._refused(refusal, answer.headers)
            reply(request, body)
        except ValueError as error:  # JSON that is cut off, a web page, ...
            raise Passing(
                f"the answer is no chat completion ({chat.cleaned(str(error), self.key)}): "
                f"{chat.cleaned(answer.text, self.key)[:100]!r}"
            ) from None
        return body

    def _refused(self, refusal: Refusal, headers: Any) -> dict[str, Any]:
        """What stands in place of an answer where a refusal may be about this request alone."""
        if refusal.about in ("passing", "busy"):
            raise Passing(f"it {refusal}", busy=refusal.about == "busy", pause=retry_after(headers))
        if refusal.about == "endpoint":
            raise UserError(f"{self.where}: {refusal}. {refusals.remedy(refusal, self.key_variable)}")
        return refused(refusal)


def limiter(per_minute: int | None, largest: int) -> Any:
    """What keeps a rate, and lets the largest amount asked of it pass; None without a rate."""
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


def retry_after(headers: Any) -> float:
    """Seconds that a server asks to wait (RFC 9110, section 10.2.3): a number, or a date; 0 where it does not say."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
