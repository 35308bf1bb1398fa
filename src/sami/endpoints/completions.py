"""Chat completions as endpoints send them: the answer, the thoughts before it, why it ended, tokens, log-probabilities.

    completion = read({"choices": [{"message": {"content": "<think>Hm.</think>\\nYes."}, "finish_reason": "stop"}]})
    completion.text, completion.thoughts      # "Yes.", "Hm."

The shapes are those of OpenAI, Azure, vLLM, llama.cpp, SGLang, Mistral, DeepSeek and OpenRouter: content as text or in
parts; thoughts inside the content, in parts or in fields of their own; counts and log-probabilities or none.

Ground floor: no torch, no HTTP.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sami.data.thoughts import split_thoughts
from sami.json_files import whole

THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")  # DeepSeek, SGLang, llama.cpp; vLLM, OpenRouter; Ollama
CUT_OFF = {"length", "max_tokens", "model_length"}  # finish reasons; the last one is Mistral's
WITHHELD = {"content_filter", "safety", "recitation", "prohibited_content"}  # Azure and OpenAI; gateways to Gemini


@dataclass(frozen=True)
class Completion:
    """One answer of a chat model.

    text: without thoughts; empty where there is none.
    thoughts: what the model wrote before it, if that came along.
    raw: both as they came; thoughts from a field of their own stand between <think> and </think>.
    cut_off: whether the endpoint says that the limit of tokens ended it.
    withheld: whether the endpoint's filter of contents ended it, or took it away.
    refusal: whether `text` is the model's own refusal, from the field that is for it.
    top: log-probabilities (nats) of the likeliest tokens in place of the first one of `text`; None where unknown.
    input_tokens, output_tokens: as the endpoint counts them; None where it does not.
    """

    text: str
    thoughts: str = ""
    raw: str = ""
    cut_off: bool = False
    withheld: bool = False
    refusal: bool = False
    top: dict[str, float] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


def read(body: Any) -> Completion:
    """Reads the JSON body of a chat completion. An empty message and a refusal are answers as well.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(body, Mapping):
        raise ValueError(f"found {type(body).__name__}, expected an object with 'choices'")
    choices = body.get("choices")
    if not choices and _filtered(body.get("prompt_filter_results")):
        return Completion("", withheld=True)
    if not isinstance(choices, Sequence) or not choices or not isinstance(choices[0], Mapping):
        raise ValueError(f"'choices' holds no answer: {choices!r:.100}")
    choice = choices[0]
    finish = str(choice.get("finish_reason") or "").lower().partition(":")[0]
    message = choice.get("message")
    if message is None and finish in WITHHELD:
        message = {}
    if not isinstance(message, Mapping):
        raise ValueError(f"its message is none: {message!r:.100}")
    content, thoughts = _content(message.get("content"))
    for field in THOUGHT_FIELDS:
        thoughts = thoughts or _text(message.get(field))
    within, text = split_thoughts(content)
    refusal = "" if text else _text(message.get("refusal"))
    usage = body.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    return Completion(
        text=whole(text or refusal),
        thoughts=whole("\n\n".join(filter(None, [thoughts, within]))),
        raw=whole((f"<think>\n{thoughts}\n</think>\n\n" if thoughts else "") + (content or refusal)),
        cut_off=finish in CUT_OFF,
        withheld=finish in WITHHELD,
        refusal=bool(refusal),
        top=_top(choice.get("logprobs"), text, bool(thoughts or within)),
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def _content(content: Any) -> tuple[str, str]:
    """The text and the thoughts of a message's content: a text, parts, or nothing."""
    if not isinstance(content, str | list | Mapping | None):
        raise ValueError(f"the content of its message is no text: {content!r:.100}")
    parts = content if isinstance(content, list) else [content]
    thoughts = [part for part in parts if isinstance(part, Mapping) and _is_thought(part)]
    return _text([part for part in parts if part not in thoughts]), _text(thoughts)


def _is_thought(part: Mapping) -> bool:
    return any(word in str(part.get("type")) for word in ("thinking", "reasoning", "thought"))


def _text(value: Any) -> str:
    """The text in a text, a part with one of the usual fields, or a list of parts; empty where there is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_text, value))
    if isinstance(value, Mapping):
        fields = ("text", "thinking", "reasoning", "content", "summary", "refusal")
        return next(filter(None, (_text(value.get(field)) for field in fields)), "")
    return ""


def _filtered(results: Any) -> bool:
    """Whether a filter of Azure's says that it has stopped something."""
    if isinstance(results, Mapping):
        return results.get("filtered") is True or any(map(_filtered, results.values()))
    return isinstance(results, list) and any(map(_filtered, results))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _top(logprobs: Any, text: str, after_thoughts: bool) -> dict[str, float] | None:
    """Log-probabilities in place of the text's first token, which thoughts may stand before."""
    entries = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        return None
    tokens = [str(entry.get("token") or "") for entry in entries]
    first = _token_at_end(tokens, text) if after_thoughts else 0
    if first is None or first >= len(entries) or not isinstance(entries[first].get("top_logprobs"), list):
        return None
    found = {
        entry["token"]: float(entry["logprob"])
        for entry in entries[first]["top_logprobs"]
        if isinstance(entry, Mapping)
        and isinstance(entry.get("token"), str)
        and isinstance(entry.get("logprob"), int | float)
    }
    return found or None


def _token_at_end(tokens: Sequence[str], text: str) -> int | None:
    """Number of the token that a text begins in which the tokens end with; None where they do not."""
    joined = "".join(tokens).rstrip()
    if not text.strip() or not joined.endswith(text.strip()):
        return None
    start, position = len(joined) - len(text.strip()), 0
    for number, token in enumerate(tokens):
        position += len(token)
        if position > start:
            return number
    return None
