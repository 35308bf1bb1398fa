"""One chat completion from an OpenAI-compatible endpoint: a hosted service, vLLM, `transformers serve`, ...

    text = complete([{"role": "user", "content": "Hello!"}], model="gpt-4o", base_url=None,
                    key_variable="OPENAI_API_KEY", temperature=0.0, max_tokens=20, seed=1, timeout_seconds=60)

Ground floor: texts in, text out. The key is read from the environment and goes nowhere but into the request.
"""

import functools
import os
from typing import Any

from sami.errors import UserError

RETRIES = 3  # the client's own: connection errors, time-outs, 408, 409, 429 and 5xx, with growing pauses


def complete(
    messages: list[dict[str, str]],
    *,
    model: str,
    base_url: str | None,
    key_variable: str | None,
    temperature: float,
    max_tokens: int,
    seed: int | None,
    timeout_seconds: float,
    stop: list[str] | None = None,
) -> str:
    """Asks for one answer.

    Args:
        messages: the conversation: mappings with `role` (system, user or assistant) and `content`.
        model: its name at the endpoint.
        base_url: URL of the endpoint, usually ending in /v1; None for the client's default, the OpenAI service.
        key_variable: environment variable that holds the key. It may be unset where `base_url` is given: a server of
            one's own seldom asks for a key. None sends none, whatever the environment holds.
        temperature: of sampling; 0 asks for the most likely answer.
        max_tokens: most tokens of the answer.
        seed: of sampling, as far as the endpoint heeds it; None for no seed.
        timeout_seconds: most seconds to wait for one try; there are at most 1 + RETRIES of them.
        stop: texts that end the answer.

    Returns:
        The text of the answer; empty where the model gave none.

    Raises:
        UserError: no usable key, or the endpoint cannot be reached, refuses, fails, or answers with something else
            than a chat completion. The message names the endpoint and the model, and never holds the key.
    """
    import openai  # takes half a second, which stages without an endpoint need not pay

    key = read_key(key_variable, base_url)
    client = _client(base_url, key, timeout_seconds)
    where = f"model '{model}' at {without_password(client.base_url)}"
    optional = {name: value for name, value in {"seed": seed, "stop": stop or None}.items() if value is not None}
    try:
        completion = client.chat.completions.create(
            model=model, messages=messages, temperature=temperature, max_tokens=max_tokens, **optional
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
    except openai.APIStatusError as error:
        raise UserError(f"{where}: {refusal(error, key)}. {remedy(error.status_code, key_variable)}") from None
    except openai.OpenAIError as error:
        raise UserError(f"{where}: {type(error).__name__}: {cleaned(str(error), key)}") from None
    try:
        text = completion.choices[0].message.content or ""
    except (AttributeError, IndexError, TypeError):  # a web page, an error in a 200 answer, ...
        raise UserError(
            f"{where}: the answer is no chat completion ({cleaned(str(completion), key)}). "
            "See whether 'base_url' is that of an OpenAI-compatible server; it usually ends in /v1."
        ) from None
    return text.encode("utf-8", "replace").decode("utf-8")  # JSON can hold half surrogate pairs, a UTF-8 file cannot


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
def _client(base_url: str | None, key: str, timeout_seconds: float) -> Any:
    import openai

    return connect(openai.OpenAI, key, base_url=base_url, timeout=timeout_seconds, max_retries=RETRIES)


def connect(client: type, key: str, **options: Any) -> Any:
    """Makes a client of the library. Raises UserError where the address in the options is none."""
    try:
        return client(api_key=key, **options)
    except Exception as error:  # of the client's HTTP library, which differs between its versions
        address = options.get("base_url") or options.get("azure_endpoint")
        raise UserError(
            f"found the address {address!r} ({cleaned(str(error), key)}), expected a URL such as "
            "http://localhost:8000/v1. Mend 'base_url'."
        ) from None


def without_password(url: Any) -> str:
    """The address of a client as text."""
    return str(url.copy_with(userinfo=b"", query=None))


def cleaned(text: str, key: str) -> str:
    """A server's message in one line of at most 300 characters, without the key."""
    text = " ".join(text.split())
    if key != "none":
        text = text.replace(key, "(key)")
    return text if len(text) <= 300 else text[:300] + "..."


def refusal(error: Any, key: str) -> str:
    """What an endpoint said with an HTTP status other than 200, without the key."""
    said = "" if error.status_code == 401 else f": {cleaned(error.message, key)}"  # 401 texts quote parts of keys
    return f"refused with HTTP status {error.status_code}{said}"


def remedy(status: int, key_variable: str | None) -> str:
    """What to mend after an HTTP status."""
    if status in (401, 403):
        return f"Set the environment variable {key_variable} to a key that this endpoint accepts for this model."
    if status == 404:
        return "See whether the server has a model of this name ('model') and whether 'base_url' is right (.../v1)."
    if status == 429:
        return "Wait, raise the limit of the account, or use another endpoint."
    if status >= 500:
        return "See the server's log: a model it cannot load often ends so; else try again later."
    return "See whether the server knows this 'model' and accepts the settings (temperature, max_tokens, seed, stop)."
