"""One request to an endpoint, sent once: its answer, or how it failed."""

import asyncio
import email.utils
import json
import time
from typing import Any

from sami.endpoints import chat, refusals
from sami.endpoints.refusals import Refusal
from sami.endpoints.requests import Endpoint, Request, refused, reply
from sami.errors import UserError


class TransientError(Exception):
    """A failure that may pass. `busy`: the server has too much to do; `pause`: seconds for which it asks to be left."""

    def __init__(self, reason: str, busy: bool = False, pause: float = 0.0):
        super().__init__(reason)
        self.busy, self.pause = busy, pause


class Transport:
    """The asynchronous client of one endpoint; a context manager, which closes its connections.

    where: the model and the endpoint, for messages.

    Raises:
        UserError: there is no usable key, or the address is none.
    """

    def __init__(self, endpoint: Endpoint, timeout_seconds: float):
        import openai  # takes half a second, which runs that ask nothing need not pay

        self.openai, self.seconds, self.key_variable = openai, timeout_seconds, endpoint.key_variable
        self.key = chat.read_key(endpoint.key_variable, endpoint.base_url)
        # Without the client's own repeats, which would keep a worker waiting.
        self.client = chat.connect(
            endpoint.base_url, endpoint.api_version, self.key, seconds=timeout_seconds, retries=0, asynchronous=True
        )
        self.where = f"model '{endpoint.model}' at {chat.without_password(self.client.base_url)}"

    async def __aenter__(self) -> "Transport":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.client.close()

    async def send(self, request: Request) -> dict[str, Any]:
        """The body of an answer.

        Raises:
            TransientError: a failure that may pass.
            UserError: one that will not.
        """
        openai, seconds = self.openai, self.seconds
        sent = dict(request.body)
        model, asked = sent.pop("model"), sent.pop("messages")
        try:
            async with asyncio.timeout(seconds):  # the client's own starts again with every byte that arrives
                answer = await self.client.chat.completions.with_raw_response.create(
                    model=model, messages=asked, extra_body=sent
                )
        except (TimeoutError, openai.APITimeoutError):
            raise TransientError(f"there was no answer within {seconds:g} seconds") from None
        except openai.APIConnectionError as error:
            cause = refusals.cleaned(str(error.__cause__ or error), self.key)
            raise TransientError(f"the connection failed ({cause})") from None
        except openai.APIStatusError as error:
            return self._refused(chat.of_status(error, self.key), error.response.headers)
        except openai.OpenAIError as error:
            raise UserError(f"{self.where}: {type(error).__name__}: {refusals.cleaned(str(error), self.key)}") from None
        try:
            body = json.loads(answer.text)
            if (refusal := refusals.within(body, self.key)) is not None:
                return self._refused(refusal, answer.headers)
            reply(request, body)
        except ValueError as error:  # JSON that is cut off, a web page, ...
            raise TransientError(
                f"the answer is no chat completion ({refusals.cleaned(str(error), self.key)}): "
                f"{refusals.cleaned(answer.text, self.key)[:100]!r}"
            ) from None
        return body

    def _refused(self, refusal: Refusal, headers: Any) -> dict[str, Any]:
        """The body in place of an answer where a refusal may be about this request alone; raises where it is not."""
        if refusal.about in ("passing", "busy"):
            raise TransientError(f"it {refusal}", busy=refusal.about == "busy", pause=retry_after(headers))
        if refusal.about == "endpoint":
            raise UserError(f"{self.where}: {refusal}. {refusals.remedy(refusal, self.key_variable)}")
        return refused(refusal)


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
