"""Kinds of judges and writers: each named once, with what the workflow asks of it, and a way to judge."""

from pathlib import Path

import pytest

from sami.judging.kinds import KINDS
from sami.settings.judges import (
    JUDGES,
    ChecksJudge,
    EndpointJudge,
    IdentificationJudge,
    LearnedJudge,
    LikelihoodJudge,
    PanelJudge,
)
from sami.settings.writers import Writer
from sami.workflow.configuration import load_judge

PROMPT = "{constitution} {query} {first} {second}"
ENDPOINT = {"kind": "openai", "prompt": PROMPT, "style": "reasoning"}
ROOT = Path(__file__).parents[2]


def test_every_kind_has_a_name_and_a_way_to_judge():
    assert list(JUDGES) == ["checks", "openai", "likelihood", "panel", "learned", "identification"]
    assert set(KINDS) == set(JUDGES.values()) - {
        PanelJudge,
        LearnedJudge,
        IdentificationJudge,
    }  # which have stages of their own


@pytest.mark.parametrize(
    ("judge", "panel", "model", "endpoint", "models"),
    [
        (ChecksJudge(kind="checks"), False, False, False, []),
        (PanelJudge(kind="panel", members=["a", "b"]), True, False, False, []),
        (LikelihoodJudge(kind="likelihood", model="m", prompt=PROMPT), False, True, False, ["m"]),
        (EndpointJudge(**ENDPOINT, model="gpt"), False, False, True, []),
        (EndpointJudge(**ENDPOINT, serve="m"), False, False, True, ["m"]),
    ],
)
def test_what_a_judge_needs(judge, panel, model, endpoint, models):
    assert (judge.is_panel, judge.runs_model, judge.asks_endpoint) == (panel, model, endpoint)
    assert judge.local_models == models


@pytest.mark.parametrize(
    ("writer", "model", "endpoint", "models", "needs"),
    [
        ({"kind": "human"}, False, False, [], "pairs"),
        ({"kind": "local", "model": "m"}, True, False, ["m"], "behaviours"),
        ({"kind": "endpoint", "model": "gpt"}, False, True, [], "behaviours"),
        ({"kind": "local", "model": "m", "prompt": "{task}"}, True, False, ["m"], "task"),
        ({"kind": "endpoint", "serve": "m"}, False, True, ["m"], "behaviours"),
    ],
)
def test_what_a_writer_needs(writer, model, endpoint, models, needs):
    writer = Writer(**{"prompt": "{behaviour}", **writer})
    assert (writer.runs_model, writer.asks_endpoint, writer.local_models, writer.needs) == (
        model, endpoint, models, needs
    )  # fmt: skip
    assert writer.is_human == (needs == "pairs")


def test_shipped_judges_load():
    files = sorted((ROOT / "config/judges").glob("*.yaml"))
    assert {load_judge(file).kind for file in files} == set(JUDGES)
