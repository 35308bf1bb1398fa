"""Asks an endpoint through its batch API (https://platform.openai.com/docs/guides/batch): slower, and often at half the
price.

All open requests go into one file; the endpoint works through it within a day, and the answers are collected. Nothing
is lost when this process ends meanwhile: a batch carries a digest of its requests, by which the next run finds it at
the endpoint and goes on waiting instead of submitting it again. Its answers are kept all at once, so that what is open
afterwards is either all of it or what failed in it.
"""

import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from sami.endpoints import chat, refusals
from sami.endpoints.requests import Endpoint, Request, refusal_in, refused, reply
from sami.errors import UserError
from sami.settings.endpoints import Limits

log = logging.getLogger(__name__)

LARGEST = 50_000  # requests in one batch, a limit of the API
ENDPOINT = "/v1/chat/completions"
OVER = {"completed", "failed", "expired", "cancelled"}
IN_VAIN = {"failed", "cancelled", "cancelling"}
LABEL = "sami-requests"  # key of the digest in a batch's metadata


class BatchClient:
    """A `CompletionClient` that submits batches; see the module's description.

    Args:
        endpoint: to ask.
        limits: `timeout_seconds` counts for single calls, `poll_seconds` lie between two looks at a batch, and
            requests that failed within a batch are submitted at most `retries` times again.
        check: called after every batch; may raise UserError to stop.
        together: within this context the answers that are handed over are kept all or none.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        check: Callable[[], None],
        together: Callable[[], AbstractContextManager],
    ):
        self.limits, self.check, self.together, self.key_variable = limits, check, together, endpoint.key_variable
        self.collected: set[str] = set()  # ids of batches
        self.submitted: set[str] = set()  # by this run
        self.error: UserError | None = None
        self.key = chat.read_key(endpoint.key_variable, endpoint.base_url)
        # Single calls are few: here the client's own repeats will do.
        self.client = chat.connect(
            endpoint.base_url, endpoint.api_version, self.key, seconds=limits.timeout_seconds, retries=4
        )
        self.where = f"model '{endpoint.model}' at {chat.without_password(self.client.base_url)}"
        self.failures = 0

    def run(self, requests: list[Request], on_answer: Callable[[Request, dict], list[Request]]) -> None:
        """See `CompletionClient`."""
        import openai

        in_vain = 0
        try:
            while requests:
                before, requests = requests, self._round(requests, on_answer)
                self.check()
                lost = {request.key for request in before} & {request.key for request in requests}
                self.failures += len(lost)
                in_vain = in_vain + 1 if lost else 0
                if in_vain > self.limits.retries:
                    raise UserError(
                        f"{self.where}: {len(lost)} requests failed in {in_vain} batches. All other answers are kept: "
                        "run the same command again, or raise 'limits.retries'."
                    )
        except openai.APIStatusError as error:
            refusal = chat.of_status(error, self.key)
            raise UserError(
                f"{self.where}: the batch API {refusal}. {refusals.remedy(refusal, self.key_variable)} Endpoints "
                "without a batch API need 'batch: false'."
            ) from None
        except openai.OpenAIError as error:
            raise UserError(
                f"{self.where}: {type(error).__name__}: {refusals.cleaned(str(error), self.key)}. Batches that were "
                "submitted go on: run the same command again to collect them."
            ) from None

    def _round(self, requests: list[Request], on_answer: Callable[[Request, dict], list[Request]]) -> list[Request]:
        """Submits requests, or finds them submitted, and waits; returns what failed or is to be asked next."""
        parts = [requests[i : i + LARGEST] for i in range(0, len(requests), LARGEST)]
        known = self._known()
        batches = [self._submit(part, known) for part in parts]
        open_ = []
        for part, batch in zip(parts, batches, strict=True):
            by_key = {request.key: request for request in part}
            # Refusals first: the answers behind them show that they are not about all requests.
            answers = sorted(self._answers(self._wait(batch)), key=lambda answer: refusal_in(answer[1]) is None)
            self.collected.add(batch.id)
            with self.together():
                for key, body in answers:
                    if key in by_key:
                        open_ += on_answer(by_key.pop(key), body)
            if self.error and batch.id in self.submitted:  # what ended an earlier run may be mended by now
                raise self.error
            open_ += by_key.values()
        return open_

    def _known(self) -> dict[str, Any]:
        """Batches of earlier runs by the digest of their requests, unless they ended in vain."""
        found: dict[str, Any] = {}
        for batch in self.client.batches.list(limit=100):
            digest = (batch.metadata or {}).get(LABEL)
            if digest and batch.status not in IN_VAIN and batch.id not in self.collected:
                found.setdefault(digest, batch)
        return found

    def _submit(self, requests: list[Request], known: dict[str, Any]) -> Any:
        digest = hashlib.sha256("".join(sorted(request.key for request in requests)).encode()).hexdigest()
        if digest in known:
            log.info("batch %s of an earlier run is %s", known[digest].id, known[digest].status)
            return known[digest]
        lines = [
            {"custom_id": request.key, "method": "POST", "url": ENDPOINT, "body": request.body} for request in requests
        ]
        content = io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())
        file = self.client.files.create(file=("requests.jsonl", content), purpose="batch")
        batch = self.client.batches.create(
            input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", metadata={LABEL: digest}
        )
        self.submitted.add(batch.id)
        log.info("submitted batch %s of %d requests", batch.id, len(requests))
        return batch

    def _wait(self, batch: Any) -> Any:
        """The batch when it is over. Raises UserError where it failed."""
        status = None
        while batch.status not in OVER:
            if batch.status != status:
                status = batch.status
                log.info("batch %s is %s; looking again every %g s", batch.id, status, self.limits.poll_seconds)
            time.sleep(self.limits.poll_seconds)
            batch = self.client.batches.retrieve(batch.id)
        if batch.status in IN_VAIN and not batch.output_file_id:
            errors = "; ".join(str(error.message) for error in (batch.errors.data if batch.errors else None) or [])
            refusal = refusals.read(400, errors, self.key)
            mend = f" {refusals.remedy(refusal, self.key_variable)}" if refusal.setting else ""
            raise UserError(
                f"{self.where}: batch {batch.id} is {batch.status}{': ' if errors else ''}{refusal.said}.{mend} "
                "See the endpoint's page of batches, then run the command again."
            )
        return batch

    def _answers(self, batch: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields (key, body) of the requests of a batch that were answered or refused.

        `error` is set where a request ended in a way that others will, too: the account, the address, ...
        """
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            # Not splitlines: that would cut texts at further characters, too, such as U+2028.
            for line in filter(str.strip, self.client.files.content(file).text.split("\n")):
                try:
                    entry = json.loads(line)
                    key, body = entry["custom_id"], self._body(entry)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    log.warning("batch %s: a line that is no answer (%s): %.200s", batch.id, error, line)
                    continue
                if body is not None:
                    yield key, body

    def _body(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        """The body of one request's answer, or of its refusal; None where it may be submitted again."""
        response = entry["response"]
        if response is None:
            refusal = refusals.within(entry, self.key)
        elif response["status_code"] == 200:
            refusal = refusals.within(response["body"], self.key)
        else:
            refusal = refusals.read(response["status_code"], response["body"], self.key)
        if refusal is None:
            reply(Request({"messages": [], "max_tokens": 1}), response["body"])
            return response["body"]
        if refusal.about == "endpoint":
            self.error = UserError(f"{self.where}: {refusal}. {refusals.remedy(refusal, self.key_variable)}")
        return None if refusal.about in ("passing", "busy", "endpoint") else refused(refusal)
