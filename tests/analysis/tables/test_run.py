"""Files of a run that do not belong together: each is named before any table is made."""

import json
import re
from pathlib import Path

import pytest
from tabulated import EVALUATION, load, table_of, write_experiment

from sami.analysis.tables.rows import Policy
from sami.analysis.tables.run import Run, read_training
from sami.errors import UserError
from sami.settings.evaluation import Evaluation


def without_first(lines):
    return lines[1:]


def renamed(old, new):
    return lambda lines: [line.replace(old, new) for line in lines]


@pytest.mark.parametrize(
    ("flag", "change", "message"),
    [
        ("verdicts", lambda lines: [], "an empty file, expected verdict records"),
        ("verdicts", renamed('"checks"', '"other"'), r"'other'\)\], expected .* one judge among checks"),
        ("verdicts", lambda lines: [lines[0].replace('"checks"', '"strict"'), *lines[1:]], "'checks'.*'strict'"),
        ("verdicts", renamed('"policy":"instruct"', '"policy":"nobody"'), "'nobody'"),
        ("verdicts", without_first, "found 5 verdicts on 5 pairs, expected one on each of the 6 responses of instruct"),
        ("verdicts", lambda lines: [*lines, lines[0]], "found 7 verdicts on 6 pairs"),
        ("verdicts", renamed('"first":"', '"first":"x'), "query 'q000', constitution '.*': the verdict is on other"),
        ("information", without_first, "scorer 'iteration-1' and responses_of 'iteration-1', expected one"),
        ("information", renamed("iteration-1", "iteration-7"), "found log-probabilities of iteration-0, iteration-7"),
        ("responses", without_first, "expected those of the 3 queries that the base model answered"),
        ("responses", renamed('"instruct"', '"iteration-1"'), "'iteration-1', expected those of 'instruct'"),
        (
            "responses",
            renamed('"constitution":1', '"constitution":0'),
            "found 6 responses, expected those to the 6 cases of the base model that are judged, and no others; 6 diff",
        ),
        ("training", lambda lines: [*lines[:3], lines[3].replace('"kl"', '"lk"')], "line 4: field 'kl': found nothing"),
        ("training", renamed('"loss"', '"los"'), "line 1: field 'loss': found no"),
        ("relevance", without_first, "found 5 records on 5 responses, expected one on each of the 6 responses of inst"),
        ("relevance", lambda lines: [*lines, lines[0]], "found 7 records on 6 responses"),
        ("relevance", renamed('"instruct"', '"nobody"'), "found the relevance of nobody; expected that of one of iter"),
        (
            "relevance",
            lambda lines: [lines[0].replace('"instruct"', '"iteration-1"'), *lines[1:]],
            "found the relevance of instruct, iteration-1; expected that of one of",
        ),
        (
            "relevance",
            renamed('"instruct"', '"iteration-1"'),
            "found the relevance of iteration-1, which .*iteration-1/relevance.jsonl holds too",
        ),
        (
            "relevance",
            lambda lines: [re.sub(r'"tokens":\d+', '"tokens":0', line) for line in lines],
            "query 'q000', set 'short.excited', number 0: found a response of 0 tokens .* expected one of some tokens",
        ),
        (
            "relevance",
            renamed('"candidates":["q000","q001"', '"candidates":["q001","q000"'),
            "query 'q000', .* tokens to the query 'q001', expected one of .* to 'q000'",
        ),
        (
            "relevance",
            renamed('"scorer":"tiny"', '"scorer":"large"'),
            "found relevance by the model 'large' among the queries q000, q001, q002, expected 'tiny' and q000, q001",
        ),
    ],
)
def test_wrong_files_are_named(tmp_path, flag, change, message):
    flags = write_experiment(tmp_path, queries=3, iterations=1, judges=["checks"])
    flags["verdicts"].sort(key=lambda file: "/instruct/" in file)
    file = Path(flags[flag][-1])
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match="(?s)" + message) as caught:
        load(flags)
    assert str(file) in str(caught.value)


def test_files_in_any_order_but_none_twice(tmp_path):
    flags = write_experiment(tmp_path, queries=3, iterations=2, judges=["strict", "checks"])
    mixed = flags | {"verdicts": flags["verdicts"][::-1], "information": flags["information"][::-1]}
    loaded = load(flags)
    assert load(mixed) == loaded
    assert [c.judge for c in loaded.comparisons[:2]] == [
        "checks",
        "checks",
    ]  # the order of the settings, not of the files
    (tmp_path / "copy.jsonl").write_text(Path(flags["verdicts"][0]).read_text())
    with pytest.raises(UserError, match=r"copy\.jsonl: found the verdicts of 'strict' on iteration-1 against"):
        load(flags | {"verdicts": [*flags["verdicts"], str(tmp_path / "copy.jsonl")]})
    with pytest.raises(UserError, match="--information"):
        load(flags | {"information": [*flags["information"], flags["information"][0]]})
    with pytest.raises(UserError, match="--training: found 1 files, expected 2, one for each of iteration-1"):
        load(flags | {"training": flags["training"][:1]})
    with pytest.raises(UserError, match="--policies: found iteration-0, iteration-1, iteration-2, iteration-1"):
        load(flags | {"policies": ["iteration-0", "iteration-1", "iteration-2", "iteration-1"]})


def test_a_training_log_has_the_metrics_of_its_objective(tmp_path):
    """Those of the machine's work are left out, and a metric may be undefined."""
    step = {"step": 1, "loss": 0.7, "margin": -0.2, "accuracy": None, "gradient_norm": 2.0, "seconds": 3.5}
    path = tmp_path / "training.jsonl"
    path.write_text(json.dumps(step) + "\n" + json.dumps(step | {"step": 2, "accuracy": 0.5}) + "\n")
    steps = read_training(path)
    assert list(steps[0]) == ["step", "loss", "margin", "accuracy", "gradient_norm"]
    table = table_of(
        "training",
        Run([Policy("iteration-1", 1, [], training=steps)], [], {}, {}, Evaluation.model_validate(EVALUATION)),
    )
    assert list(table) == ["policy", "iteration", *steps[0]]
    assert table["accuracy"].isna().tolist() == [True, False]
    path.write_text(json.dumps(step | {"margin": "large"}) + "\n")
    with pytest.raises(UserError, match="line 1: field 'margin': found 'large', expected a number"):
        read_training(path)
