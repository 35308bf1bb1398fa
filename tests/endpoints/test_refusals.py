"""Errors of services, each in its own words: what they are about, and what is to be done."""

import pytest

from sami.endpoints import refusals
from sami.endpoints.refusals import read, within


def error(message: str, **more) -> dict:
    return {"error": {"message": message, **more}}


NO_SEED = {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}


@pytest.mark.parametrize(
    ("status", "body", "about", "setting"),
    [
        (429, error("Rate limit reached", code="rate_limit_exceeded"), "busy", None),
        (429, error("You exceeded your current quota", code="insufficient_quota"), "endpoint", None),
        (429, error("Request too large: limit 30000, requested 40000", code="rate_limit_exceeded"), "content", None),
        (500, error("oops"), "passing", None),
        (503, "<html>down</html>", "passing", None),
        (408, {}, "passing", None),
        (401, error("wrong key"), "endpoint", None),
        (402, error("Insufficient Balance"), "endpoint", None),
        (403, error("no"), "endpoint", None),
        (404, error("no model"), "endpoint", None),
        (400, error("API key not valid.", code=400, status="INVALID_ARGUMENT"), "endpoint", None),
        (400, error("Billing hard limit", code="billing_hard_limit_reached"), "endpoint", None),
        # moderation
        (400, error("repetitive patterns in your prompt", code="invalid_prompt", param="prompt"), "content", None),
        (400, error("filtered", innererror={"code": "ResponsibleAIPolicyViolation"}), "content", None),
        (400, error("Content Exists Risk", code="invalid_request_error"), "content", None),
        (400, error("The data may contain inappropriate content.", code="data_inspection_failed"), "content", None),
        (403, error("Your input was flagged", code=403, metadata={"reasons": ["x"]}), "content", None),
        # more tokens than the model can read
        (400, error("no", code="context_length_exceeded", param="messages"), "content", None),
        (400, {"object": "error", "message": "This model's maximum context length is 64 tokens."}, "content", None),
        (400, error("'max_tokens' is too large. The maximum context is 64.", param="max_tokens"), "content", None),
        (400, error("too long", type="exceed_context_size_error", n_ctx=256), "content", None),
        (500, error("Context size has been exceeded.", type="server_error"), "content", None),
        (413, "Payload Too Large", "content", None),
        # the limit
        (400, error("Could not finish the message because max_tokens was reached."), "length", None),
        # parameters
        (400, error("Use 'max_completion_tokens'.", param="max_tokens"), "settings", "max_tokens"),
        (400, error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."), "settings", "max_tokens"),
        (400, error("Unknown field", param="max_completion_tokens"), "settings", "max_completion_tokens"),
        (400, error("max_tokens is too large: 9999. At most 4096 are supported."), "settings", "max_tokens"),
        (400, error("Only the default (1) is supported.", param="temperature"), "settings", "temperature"),
        (400, error("logprobs are not supported with reasoning models"), "settings", "logprobs"),
        (422, NO_SEED, "settings", "seed"),
        (422, {"object": "error", "message": NO_SEED, "type": "invalid_request_error"}, "settings", "seed"),
        (400, error("'messages[0].role' does not support 'system'", param="messages[0].role"), "settings", "system"),
        (400, {"object": "error", "message": "System role not supported"}, "settings", "system"),
        (400, error("no such model", param="model"), "settings", "model"),
        (400, error("no"), "unknown", None),
        (400, "<html>Bad Request</html>", "unknown", None),
        (422, error("something about this"), "unknown", None),
    ],
)  # fmt: skip
def test_what_a_refusal_is_about(status, body, about, setting):
    found = read(status, body)
    assert (found.about, found.setting) == (about, setting)
    assert str(found).startswith(f"refused with HTTP status {status}")


@pytest.mark.parametrize(
    ("body", "status", "about"),
    [
        (error("slow", code=429), 429, "busy"),
        (error("slow", code="429"), 429, "busy"),
        (error("slow", code="rate_limit_exceeded"), 429, "busy"),
        (error("Overloaded", type="overloaded_error"), 429, "busy"),
        (error("Provider returned error", code=502), 502, "passing"),
        (error("An internal error", type="server_error"), 503, "passing"),
        ({"error": "busy"}, 500, "passing"),
        ([error("slow", code=503)], 503, "passing"),
        ({"object": "error", "message": "the request exceeds the available context size", "code": 400}, 400, "content"),
        (error("flagged", code="invalid_prompt"), 400, "content"),
        (error("no key", code=401), 401, "endpoint"),
        ({"choices": [{"error": {"code": 502, "message": "x"}, "message": {"content": ""}}]}, 502, "passing"),
        ({"choices": [{"finish_reason": "insufficient_system_resource", "message": {"content": "x"}}]}, 503, "passing"),
    ],
)
def test_errors_inside_an_answer(body, status, about):
    found = within(body)
    assert (found.status, found.about) == (status, about)


@pytest.mark.parametrize(
    "body", [{"choices": [{"message": {"content": "x"}}], "error": None}, {"choices": []}, [], None, "x", {"data": [1]}]
)
def test_answers_without_an_error(body):
    assert within(body) is None


def test_remedies_name_our_keys():
    for setting, key in {
        "max_tokens": "'token_limit: max_completion_tokens'",
        "max_completion_tokens": "'token_limit: max_tokens'",
        "temperature": "'temperature: null'",
        "logprobs": "'top_logprobs'",
        "seed": "'send_seed: false'",
        "system": "'prompt'",
        "model": "'model'",
    }.items():
        assert key in refusals.remedy(read(400, error("no", param=setting)), "KEY")


def test_the_key_is_shown_by_no_refusal():
    assert "sk-1234" not in str(read(401, error("wrong key sk-12***34 sk-1234"), "sk-other"))
    assert "sk-1234" not in str(read(400, error("wrong key sk-1234"), "sk-1234"))
