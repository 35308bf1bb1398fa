"""Win rates of AlpacaEval annotation files against the published ones, for every file at hand, and its errors."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import SHARED_DATA

from sami import alpaca_eval
from sami.errors import UserError
from sami.statistics import win_rate

FOLDER = SHARED_DATA / "alpaca_eval"
FILES = sorted(FOLDER.glob("annotations-*.jsonl")) or [FOLDER / "annotations-MODEL.jsonl"]
ROW = {
    "instruction": "Who is Larry Page?",
    "output_1_chars": 20,
    "output_2_chars": 30,
    "generator_1": "baseline",
    "generator_2": "model",
    "preference": 1.75,
}


@pytest.mark.skipif(not FOLDER.exists(), reason="needs the AlpacaEval annotations, which are not in the repository")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem.removeprefix("annotations-"))
def test_published_win_rates(file):
    result = alpaca_eval.evaluate(file)
    with open(FOLDER / "published.csv", newline="") as table:
        published = {row[""]: row for row in csv.DictReader(table)}
    assert result.model in published, f"published.csv has no row for {result.model}"
    expected = published[result.model]
    assert 100 * result.rate.estimate == pytest.approx(float(expected["win_rate"]), abs=0.05)
    assert 100 * result.standard_error == pytest.approx(float(expected["standard_error"]), abs=0.05)
    assert result.count == int(expected["n_total"])
    assert 100 * result.length_controlled.estimate == pytest.approx(
        float(expected["length_controlled_winrate"]), abs=1.5
    )
    assert result.length_controlled.low < result.length_controlled.estimate < result.length_controlled.high
    preferences = [json.loads(line)["preference"] - 1 for line in file.read_text(encoding="utf-8").splitlines()]
    choices = np.select([np.array(preferences) > 0.5, np.array(preferences) < 0.5], ["first", "second"], "tie")
    verdicts = {f"q{n}": [(str(c), p)] for n, (c, p) in enumerate(zip(choices, preferences, strict=True))}
    counted = win_rate(verdicts, samples=100, confidence=0.95, seed=1)
    counts = {"wins": "n_wins", "losses": "n_wins_base", "ties": "n_draws"}
    assert all(getattr(counted, ours) == int(expected[theirs]) for ours, theirs in counts.items())


def write(folder, *rows):
    file = folder / "annotations.jsonl"
    file.write_text("".join(json.dumps(ROW | row) + "\n" for row in rows))
    return file


def test_texts_ties_and_missing_answers(tmp_path):
    """The form of AlpacaEval's own files: an array with texts, 0 for a tie, null without an answer."""
    texts = {"output_1_chars": None, "output_1": "x" * 20, "output_2": "x" * 30}
    rows = [ROW | texts | {"preference": p, "instruction": str(n)} for n, p in enumerate((0, 1, 2.0, None, 1.25))]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    result = alpaca_eval.evaluate(tmp_path / "annotations.json")
    assert (result.model, result.count, result.left_out) == ("model", 4, 1)
    assert result.rate.estimate == pytest.approx((0.5 + 0 + 1 + 0.25) / 4)
    assert "1 without a preference left out" in alpaca_eval.line(result)


def test_nan_is_no_answer_as_null_is(tmp_path):
    rows = [ROW | {"preference": p, "instruction": f"{n} \ud83d"} for n, p in enumerate((1.25, float("nan"), 2))]
    (tmp_path / "annotations.json").write_text(json.dumps(rows), encoding="utf-8-sig")
    result = alpaca_eval.evaluate(tmp_path / "annotations.json")
    assert (result.rate.estimate, result.count, result.left_out) == (0.625, 2, 1)
    assert alpaca_eval.evaluate(write(tmp_path, *rows)) == result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preference": float("inf")}, r"line 2: key 'preference': found inf, expected a number from 1"),
        ({"preference": 2.5}, r"line 2: key 'preference': found 2\.5, expected a number from 1"),
        ({"preference": "2"}, "line 2: key 'preference': found '2'"),
        ({"output_2_chars": -1}, "line 2: key 'output_2_chars': found -1, expected its length"),
        ({"instruction": None}, "line 2: key 'instruction': found None, expected text"),
        ({"generator_2": "another"}, "line 2: found 'another' against 'baseline', expected one model"),
    ],
)
def test_a_bad_row_is_named(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        alpaca_eval.evaluate(write(tmp_path, {}, change))


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "sami.alpaca_eval"]
    file = write(tmp_path, {}, {"instruction": "And who is Sergey Brin?", "preference": 1.25, "output_2_chars": 10})
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("model: win rate 50.00 [25.00, 75.00], standard error 25.00, length-controlled ")
    done = subprocess.run([*command, str(tmp_path / "none.json")], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "none.json" in done.stderr
