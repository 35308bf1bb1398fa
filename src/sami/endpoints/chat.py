"""One chat completion from an OpenAI-compatible endpoint: a hosted service, vLLM, `transformers serve`, ...

    answer = complete([{"role": "user", "content": "Hello!"}], model="gpt-4o", base_url=None,
                      key_variable="OPENAI_API_KEY", parameters={"max_tokens": 20}, timeout_seconds=60)
    answer.text

Ground floor: texts in, text out. The key is read from the environment and goes nowhere but into the request.
"""

import functools
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from sami.endpoints import refusals
from sami.endpoints.completions import Completion, read
from sami.endpoints.refusals import Refusal, cleaned
from sami.errors import UserError

RETRIES = 3  # of connection errors, time-outs, 408, 409, 429 and 5xx, with growing pauses


class Refused(UserError):
    """The endpoint refuses a request for its texts; others may be answered."""


def complete(
    messages: list[dict[str, str]],
    *,
    model: str,
    base_url: str | None,
    key_variable: str | None,
    parameters: Mapping[str, Any],
    timeout_seconds: float,
    api_version: str | None = None,
) -> Completion:
    """Asks for one answer.

    Args:
        messages: the conversation: mappings with `role` (system, user or assistant) and `content`.
        model: its name at the endpoint.
        base_url: URL of the endpoint, usually ending in /v1; None for the client's default, the OpenAI service.
        key_variable: environment variable that holds the key. It may be unset where `base_url` is given: a server of
            one's own seldom asks for a key. None sends none, whatever the environment holds.
        parameters: what else is sent: max_tokens, temperature, seed, stop, ...
        timeout_seconds: most seconds to wait for one try; there are at most 1 + RETRIES of them.
        api_version: of Azure, whose address is in `base_url`.

    Returns:
        The answer; its text is empty where the model gave none.

    Raises:
        Refused: the endpoint refuses this request for its texts.
        UserError: no usable key, or the endpoint cannot be reached, refuses, fails, or answers with something else
            than a chat completion. The message names the endpoint and the model, and never holds the key.
    """
    import openai  # takes half a second, which stages without an endpoint need not pay

    key = read_key(key_variable, base_url)
    client = _client(base_url, api_version, key, timeout_seconds)
    where = f"model '{model}' at {without_password(client.base_url)}"
    for attempt in range(1 + RETRIES):
        try:
            answer = client.chat.completions.with_raw_response.create(
                model=model, messages=messages, extra_body=dict(parameters)
            )
        except openai.APITimeoutError:
            raise UserError(
                f"{where}: no answer within {timeout_seconds:g} seconds, {1 + RETRIES} times. "
                "Raise 'timeout_seconds', or see whether the server is overloaded."
            ) from None
        except openai.APIConnectionError as error:
            cause = cleaned(str(error.__cause__ or error), key)
            raise UserError(
                f"{where}: cannot connect ({cause}). See whether the server runs and 'base_url' is right."
            ) from None
        except openai.APIStatusError as error:  # the client has repeated what may pass
            return _without_answer(of_status(error, key), where, key_variable)
        except openai.OpenAIError as error:
            raise UserError(f"{where}: {type(error).__name__}: {cleaned(str(error), key)}") from None
        try:
            body = json.loads(answer.text)
            refusal = refusals.within(body, key)
            if refusal is None:
                return read(body)
        except ValueError:  # a web page, another kind of object, ...
            raise UserError(
                f"{where}: the answer is no chat completion ({cleaned(answer.text, key)}). "
                "See whether 'base_url' is that of an OpenAI-compatible server; it usually ends in /v1."
            ) from None
        if refusal.about not in ("passing", "busy") or attempt == RETRIES:
            return _without_answer(refusal, where, key_variable)
        time.sleep(0.5 * 2**attempt)  # as the client does for errors that come with their status
    raise AssertionError("the last try returns or raises")


def _without_answer(refusal: Refusal, where: str, key_variable: str | None) -> Completion:
    """An empty answer where the limit of tokens ended it; raises what else a refusal means."""
    if refusal.about == "length":
        return Completion("", cut_off=True)
    kind = Refused if refusal.about == "content" else UserError
    raise kind(f"{where}: {refusal}. {refusals.remedy(refusal, key_variable)}") from None


def read_key(variable: str | None, base_url: str | None) -> str:
    """The key in an environment variable; "none" for a server of one's own that needs none.

    Raises:
        UserError: there is none for the OpenAI service, or it cannot be one.
    """
    if variable is None:
        return "none"
    key = os.environ.get(variable, "").strip()
    if not key and base_url is None:
        raise UserError(
            f"the environment variable {variable} is not set; expected the key of the endpoint in it. "
            f"Set it (export {variable}=...), name another variable with 'key_variable', or another endpoint with "
            "'base_url'."
        )
    if not (key.isascii() and key.isprintable()):
        raise UserError(
            f"the environment variable {variable} holds characters that no key has (line breaks, typographic quotes "
            "or the like). Copy the key again."
        )
    return key or "none"


@functools.lru_cache(maxsize=8)  # keeps connections open between the many calls of a writer
def _client(base_url: str | None, api_version: str | None, key: str, timeout_seconds: float) -> Any:
    return connect(base_url, api_version, key, seconds=timeout_seconds, retries=RETRIES)


def connect(
    base_url: str | None,
    api_version: str | None,
    key: str,
    *,
    seconds: float,
    retries: int,
    asynchronous: bool = False,
) -> Any:
    """Makes a client of the library: Azure's where `api_version` is given.

    Raises:
        UserError: the address is none.
    """
    import openai

    options: dict[str, Any] = {"api_key": key, "timeout": seconds, "max_retries": retries}
    try:
        client: Any
        if api_version is not None:
            client = openai.AsyncAzureOpenAI if asynchronous else openai.AzureOpenAI
            return client(azure_endpoint=base_url, api_version=api_version, **options)
        client = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        return client(base_url=base_url, **options)
    except Exception as error:  # of the client's HTTP library, which differs between its versions
        raise UserError(
            f"found the address {base_url!r} ({cleaned(str(error), key)}), expected a URL such as "
            "http://localhost:8000/v1. Mend 'base_url'."
        ) from None


def without_password(url: Any) -> str:
    """The address of a client as text."""
    return str(url.copy_with(userinfo=b"", query=None))


def of_status(error: Any, key: str) -> Refusal:
    """The refusal that an HTTP status other than 200 means, from the client's exception."""
    try:
        body = error.response.json()
    except ValueError:
        body = error.response.text
    return refusals.read(error.status_code, body, key)
