"""Judge files with faults."""

import json

import pytest
from configured import message

from sami.workflow.configuration import load_judge

PROMPT = "{constitution} {query} {first} {second}"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"prompt": "{constitution} {query} {first}"}, ["lacks the field '{second}'"]),
        (
            {"prompt": PROMPT + " {third}"},
            ["has the unknown field '{third}'", "{constitution}, {query}, {first}, {second}"],
        ),
        ({"modle": "x"}, ["line 1: modle: found the unknown key 'modle'; did you mean 'model'"]),
        ({"model": None}, ["expected either 'model'", "or 'serve'"]),
        ({"serve": "smollm2-135m-instruct"}, ["expected either 'model'", "or 'serve'"]),
        ({"style": "essay"}, ['style: found "essay" (text), expected one of: reasoning, letter']),
        ({"style": "letter", "max_tokens": 200}, ["'style: letter' expects a single letter"]),
        ({"top_logprobs": 3}, ["'top_logprobs' belongs to 'style: letter'"]),
        ({"api_version": "2026-01-01"}, ["'api_version' is for Azure", "'base_url'"]),
        ({"extra_body": {"seed": 1}}, ["'extra_body' holds 'seed'", "set apart"]),
        ({"extra_body": {"stream": True}}, ["'extra_body' holds 'stream'", "one whole answer"]),
        ({"limits": {"max_cost": 0}}, ["limits: 'max_cost: 0' dollars allow no request"]),
        ({"limits": {"max_cost": 5}}, ["limits: 'max_cost' needs 'price'"]),
        ({"limits": {"max_cost": -1}}, ["limits.max_cost: found -1", "at least 0"]),
        ({"limits": {"concurency": 3}}, ["limits.concurency: found the unknown key", "'concurrency'"]),
        (
            {"kind": "oracle"},
            ['kind: found "oracle" (text), expected one of: checks, openai, likelihood, panel, learned'],
        ),
        ({"kind": "panel"}, ["unknown key"]),
    ],
)
def test_judge_files_with_faults(project, change, parts):
    judge = {"kind": "openai", "model": "m", "prompt": PROMPT, "style": "reasoning"} | change
    project.write("judge.yaml", json.dumps(judge))
    told = message(load_judge, "judge.yaml")
    assert told.startswith("judge.yaml")
    for part in parts:
        assert part in told
