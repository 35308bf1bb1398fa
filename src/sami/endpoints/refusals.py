"""Refusals of endpoints, in place of answers, and what is to be done: wait, mend the settings, do without this answer.

    refusal = read(400, {"error": {"message": "Unsupported parameter: 'max_tokens' ...", "param": "max_tokens"}}, key)
    refusal.about, refusal.setting            # "settings", "max_tokens"
    remedy(refusal, "OPENAI_API_KEY")         # "Set 'token_limit: max_completion_tokens'. ..."

Services agree on little but the status, so that codes and words are looked at as well. What nobody knows stays
"unknown": whoever has asked other questions with the same settings and was answered knows more.

Ground floor: no torch, no HTTP.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sami.json_files import whole

About = Literal["passing", "busy", "content", "length", "settings", "endpoint", "unknown"]

# What our requests hold -> what to do where an endpoint does not take it.
SETTINGS = {
    "max_tokens": "Set 'token_limit: max_completion_tokens', or lower 'max_tokens' where it is too large.",
    "max_completion_tokens": "Set 'token_limit: max_tokens', or lower 'max_tokens' where it is too large.",
    "temperature": "Set 'temperature: null', which sends none, or a value that this model accepts.",
    "top_logprobs": "Delete 'top_logprobs' to take the letter alone, or lower it.",
    "logprobs": "Delete 'top_logprobs' to take the letter alone.",
    "seed": "Send no seed: delete 'seed' from the judge, or set 'send_seed: false' for the writer.",
    "system": "Delete 'system', and say in 'prompt' what it said.",
    "model": "See whether the server has a model of this name ('model').",
}
GENERAL = "See whether the server knows this 'model' and accepts the settings (temperature, max_tokens, seed, ...)."

# Of one request's texts: moderation, and more tokens than the model can read.
_CONTENT_CODE = re.compile(
    r"content_?(filter|policy)|responsibleaipolicy|invalid_prompt|moderation|data_inspection|flagged|cyber_policy"
    r"|prohibited_content|context_(length|size|window)|context_exceeded|(token_limit|tokens_limit)_|string_(too_long"
    r"|above_max)|request_too_large",
    re.IGNORECASE,
)
_CONTENT_WORDS = re.compile(
    r"usage polic|content[\w ]*polic|content filter|\bflagged\b|moderat|repetitive patterns|inappropriate"
    r"|content exists risk|unsafe|safety (system|filter|polic|setting)|sensitive (content|word|info)|harmful"
    r"|maximum (context|input|prompt|sequence)|context[ _-](length|size|window)|exceed context|reduce the length"
    r"|too many (input |prompt )?tokens|prompt contains \d+ tokens"
    r"|(prompt|input|request|messages?)\b.{0,40}\btoo (long|large)"
    r"|(prompt|input)s?\b.{0,60}\b(exceed|less than|longer than|more than)",
    re.IGNORECASE | re.DOTALL,
)
_SPENT = re.compile(r"max_tokens or model output limit was reached|could not finish the message", re.IGNORECASE)
_ACCOUNT = re.compile(r"quota|billing|insufficient (balance|funds|credit)|arrearage|api[ _-]?key", re.IGNORECASE)
_SYSTEM = re.compile(r"messages\[0\]\W*role|\bsystem\b.{0,20}\b(role|message|prompt|instruction)", re.IGNORECASE)
_SETTING = re.compile(  # words of plain English count in quotes only
    rf"[`'\"]({'|'.join(SETTINGS)})[`'\"]|\b(max_(?:completion_)?tokens|(?:top_)?logprobs|temperature)\b"
)
_BUSY_WORDS = re.compile(r"rate.?limit|too.?many.?requests|overloaded|capacity|exhausted|throttl", re.IGNORECASE)
_FAILED_WORDS = re.compile(r"server.?error|internal|time.?out|timed out|unavailable|upstream", re.IGNORECASE)


@dataclass(frozen=True)
class Refusal:
    """An error of an endpoint.

    status: of HTTP; where the error stood in an answer of status 200, the one that it names, or that its words mean.
    said: its text in one line, without the key; empty where it may quote one.
    about: "passing" and "busy" (429) may be repeated; "content" is about the texts of this one request; "length" is an
        answer that the limit of tokens ended; "settings" is about a parameter that all requests share; "endpoint" is
        about the address, the account or the model; "unknown" may be about anything.
    setting: the parameter, one of `SETTINGS`, where it is known.
    """

    status: int
    said: str
    about: About
    setting: str | None = None

    def __str__(self) -> str:
        return f"refused with HTTP status {self.status}" + (f": {self.said}" if self.said else "")


def read(status: int, body: Any, key: str = "none") -> Refusal:
    """Reads the body (JSON, or the text that is none) of an answer with an HTTP status other than 200."""
    error = _error(body)
    error = error if error is not None else body
    message, codes, param = _message(error), _codes(error), _param(error)
    about, setting = _about(status, message, codes, param)
    if status == 401:
        message = ""  # such texts quote parts of keys
    return Refusal(status, cleaned(message.strip().removesuffix("."), key), about, setting)


def within(body: Any, key: str = "none") -> Refusal | None:
    """Finds the error in the body of an answer with status 200; None where there is none."""
    error = _error(body)
    if error is None:
        return None
    for field in ("status", "code", "status_code"):
        value = str(error.get(field)) if isinstance(error, Mapping) else ""
        if value.isdecimal() and 400 <= int(value) < 600:
            return read(int(value), body, key)
    told = f"{_codes(error)} {_message(error)}"
    if _CONTENT_CODE.search(told) or _CONTENT_WORDS.search(told):
        return read(400, body, key)
    return read(429 if _BUSY_WORDS.search(told) else 503 if _FAILED_WORDS.search(told) else 500, body, key)


def remedy(refusal: Refusal, key_variable: str | None) -> str:
    """Advice on what to mend."""
    if refusal.setting is not None:
        return SETTINGS[refusal.setting]
    status = refusal.status
    if status in (401, 403):
        return f"Set the environment variable {key_variable} to a key that this endpoint accepts for this model."
    if status == 404:
        return "See whether the server has a model of this name ('model') and whether 'base_url' is right (.../v1)."
    if status == 402:
        return "Top up the account, or use another endpoint."
    if status == 429:
        return "Wait, raise the limit of the account, or use another endpoint."
    if status >= 500:
        return "See the server's log: a model it cannot load often ends so; else try again later."
    if refusal.about == "content":
        return "It is about the texts of the request: see what the prompt holds and how many tokens the model can read."
    return GENERAL


def cleaned(text: str, key: str) -> str:
    """A server's message in one line of at most 300 characters, without the key."""
    text = " ".join(whole(text).split())
    if key != "none":
        text = text.replace(key, "(key)")
    return text if len(text) <= 300 else text[:300] + "..."


def _about(status: int, message: str, codes: str, param: str) -> tuple[About, str | None]:
    about_texts = _CONTENT_CODE.search(codes) or _CONTENT_WORDS.search(message)
    if _SPENT.search(message):
        return "length", None
    if status == 429 and not _ACCOUNT.search(codes) and not re.search("request too large", message, re.IGNORECASE):
        return "busy", None
    if status in (408, 409, 425) or (status >= 500 and not about_texts):
        return "passing", None
    if _ACCOUNT.search(codes) or status in (401, 402, 404, 405) or (status == 400 and _ACCOUNT.search(message)):
        return "endpoint", None
    if about_texts or status in (413, 451):
        return "content", None
    if status not in (400, 422):
        return "endpoint", None
    if _SYSTEM.search(f"{param} {message}"):
        return "settings", "system"
    named = _SETTING.search(f"'{param}' {message}")
    return ("settings", named[1] or named[2]) if named else ("unknown", None)


def _error(body: Any) -> Any:
    """The error in a body, a mapping or a text; None where there is none."""
    if isinstance(body, list) and body:  # as Gemini's service wraps it
        body = body[0]
    if not isinstance(body, Mapping):
        return None
    if body.get("error"):
        return body["error"]
    if body.get("object") == "error" or body.get("detail"):
        return body
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping):
        return None
    if choice.get("error"):  # OpenRouter's
        return choice["error"]
    if choice.get("finish_reason") in ("error", "insufficient_system_resource"):  # OpenRouter's, DeepSeek's
        return {"message": f"finish_reason: {choice['finish_reason']}", "code": "server_error"}
    return None


def _message(error: Any) -> str:
    if not isinstance(error, Mapping):
        return error if isinstance(error, str) else json.dumps(error)
    found = next(filter(None, (error.get(field) for field in ("message", "detail", "msg", "error"))), "")
    more = error.get("metadata")  # where OpenRouter puts the words of the service behind it
    return (found if isinstance(found, str) else json.dumps(found)) + (f" {json.dumps(more)}" if more else "")


def _codes(error: Any) -> str:
    """The machine-readable parts of an error, in one text."""
    if not isinstance(error, Mapping):
        return ""
    inner = error.get("innererror")  # Azure's
    inner = inner.get("code") if isinstance(inner, Mapping) else None
    return " ".join(str(value) for value in (error.get("code"), error.get("type"), error.get("status"), inner) if value)


def _param(error: Any) -> str:
    """The parameter that an error names: OpenAI's `param`, or the last part of a `loc` (FastAPI, Mistral)."""
    if isinstance(error, list):
        return next(filter(None, map(_param, error)), "")
    if not isinstance(error, Mapping):
        return ""
    if isinstance(error.get("loc"), list) and error["loc"]:
        return str(error["loc"][-1])
    nested = next(filter(None, (_param(error.get(field)) for field in ("detail", "message"))), "")
    return str(error.get("param") or "") or nested
