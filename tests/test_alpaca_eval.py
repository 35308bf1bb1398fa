"""Win rates of AlpacaEval annotation files against the published ones, for every file at hand, and its errors."""

import csv
import gzip
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import SHARED_DATA

from sami import alpaca_eval
from sami.analysis.statistics.win_rates import win_rate
from sami.errors import UserError

FOLDER = SHARED_DATA / "alpaca_eval"
LEADERBOARD = SHARED_DATA / "alpaca_eval_19"
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
    (result,) = alpaca_eval.evaluate([file])
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


@pytest.mark.skipif(not LEADERBOARD.exists(), reason="needs the AlpacaEval annotations, not in the repository")
def test_published_length_controlled_rates_of_models_that_share_difficulties(monkeypatch):
    """Difficulties of each model come from the others alone, so these are differences on models not seen."""
    monkeypatch.setitem(alpaca_eval.DRAWS, "samples", 2)
    results = alpaca_eval.evaluate(sorted(LEADERBOARD.glob("*.jsonl.gz")))
    published = alpaca_eval.published_rates(LEADERBOARD / "published.csv")
    assert {result.model: result.others for result in results} == {
        model: 0 if model == "gpt4_1106_preview" else 17 for model in published
    }
    size = [abs(100 * result.length_controlled.estimate - published[result.model]) for result in results]
    assert np.median(size) < 1
    assert np.quantile(size, 0.9) < 3
    baseline = next(result for result in results if result.model == result.baseline)
    assert baseline.length_controlled.estimate == pytest.approx(0.5)


def annotations(model, seed, digests=False, baseline="baseline"):
    """30 rows of one model that is the worse and the shorter, the higher an instruction's number."""
    random = np.random.default_rng(seed)
    for number in range(30):
        text = f"Question {number}"
        yield ROW | {
            "instruction": hashlib.sha1(text.encode()).hexdigest()[:12] if digests else text,
            "generator_1": baseline,
            "generator_2": model,
            "output_1_chars": 500 + 20 * number,
            "output_2_chars": int(random.integers(100, 900)),
            "preference": 1 + float(np.clip(random.normal(0.9 - number / 40, 0.1), 0, 1)),
        }


def pack(folder, models, **options):
    """Files as AlpacaEval writes them, as JSON Lines, and as JSON Lines compressed, by turns."""
    for number, model in enumerate(models):
        rows = list(annotations(model, number, **options))
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        file = folder / f"{len(list(folder.iterdir()))}{('.json', '.jsonl', '.jsonl.gz')[number % 3]}"
        if file.suffix == ".json":
            file.write_text(json.dumps(rows))
        else:
            file.write_bytes(gzip.compress(lines.encode()) if file.suffix == ".gz" else lines.encode())
        yield file


def test_files_given_together_share_difficulties_whatever_their_form(tmp_path):
    models = [f"m{n}" for n in range(1 + alpaca_eval.OTHERS)]
    texts = list(pack(tmp_path, models[:3])) + list(pack(tmp_path, models[3:], digests=True))
    results = alpaca_eval.evaluate(texts)
    assert {result.others for result in results} == {alpaca_eval.OTHERS}
    (alone,) = alpaca_eval.evaluate(texts[:1])
    assert alone.others == 0
    assert (alone.rate, alone.count) == (results[0].rate, results[0].count)
    assert alone.length_controlled != results[0].length_controlled
    assert f"difficulties from {alpaca_eval.OTHERS} other models" in alpaca_eval.line(results[0])
    assert "no difficulties" in alpaca_eval.line(alone)


def test_a_model_tells_nothing_of_its_own_difficulties(tmp_path):
    """The same model in another file, the baseline against itself, and models with another baseline do not count."""
    files = list(pack(tmp_path, [f"m{n}" for n in range(alpaca_eval.OTHERS)]))
    assert {result.others for result in alpaca_eval.evaluate(files)} == {0}  # one too few
    no_others = [files[0], *pack(tmp_path, ["baseline"]), *pack(tmp_path, ["elsewhere"], baseline="another")]
    assert {result.others for result in alpaca_eval.evaluate([*files, *no_others])} == {0}
    enough = alpaca_eval.evaluate([*files, *pack(tmp_path, ["one-more"])])
    twice = alpaca_eval.evaluate([*files, *pack(tmp_path, ["one-more", "m0"])])
    assert {result.others for result in twice} == {alpaca_eval.OTHERS}
    assert twice[0].length_controlled == enough[0].length_controlled  # whatever its other file says


def test_comparison_with_published_rates(tmp_path):
    (result,) = alpaca_eval.evaluate([write(tmp_path, *annotations("model", 0))])
    table = tmp_path / "leaderboard.csv"
    rate = 100 * result.length_controlled.estimate
    table.write_text(f",win_rate,length_controlled_winrate\nmodel,1,{rate - 1.25}\nother,2,\nbaseline,50,50\n")
    published = alpaca_eval.published_rates(table)
    assert published == pytest.approx({"model": rate - 1.25, "baseline": 50})
    row, summary = alpaca_eval.compare([result], published)
    assert row == f"model: length-controlled {rate:.2f}, published {rate - 1.25:.2f}, difference +1.25"
    assert summary.startswith(
        "1 models: absolute difference 1.25 in the median, 1.25 at the 90th percentile, 1.25 at m"
    )
    with pytest.raises(UserError, match="found no rate of model; expected"):
        alpaca_eval.compare([result], {"other": 3.0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\nmodel,1\n", "'length_controlled_winrate'; expected CSV"),
        ("x,length_controlled_winrate\nmodel,high\n", "could not convert .* 'high'"),
        (None, "No such file"),
    ],
)
def test_a_table_of_published_rates_that_cannot_be_used(tmp_path, text, message):
    table = tmp_path / "leaderboard.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(UserError, match=message):
        alpaca_eval.published_rates(table)


def write(folder, *rows):
    file = folder / "annotations.jsonl"
    file.write_text("".join(json.dumps(ROW | row) + "\n" for row in rows))
    return file


def test_texts_ties_and_missing_answers(tmp_path):
    """The form of AlpacaEval's own files: an array with texts, 0 for a tie, null without an answer."""
    texts = {"output_1_chars": None, "output_1": "x" * 20, "output_2": "x" * 30}
    rows = [ROW | texts | {"preference": p, "instruction": str(n)} for n, p in enumerate((0, 1, 2.0, None, 1.25))]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    (result,) = alpaca_eval.evaluate([tmp_path / "annotations.json"])
    assert (result.model, result.count, result.left_out) == ("model", 4, 1)
    assert result.rate.estimate == pytest.approx((0.5 + 0 + 1 + 0.25) / 4)
    assert "1 without a preference left out" in alpaca_eval.line(result)


def test_nan_is_no_answer_as_null_is(tmp_path):
    rows = [ROW | {"preference": p, "instruction": f"{n} \ud83d"} for n, p in enumerate((1.25, float("nan"), 2))]
    (tmp_path / "annotations.json").write_text(json.dumps(rows), encoding="utf-8-sig")
    (result,) = alpaca_eval.evaluate([tmp_path / "annotations.json"])
    assert (result.rate.estimate, result.count, result.left_out) == (0.625, 2, 1)
    assert alpaca_eval.evaluate([write(tmp_path, *rows)]) == [result]


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
        alpaca_eval.evaluate([write(tmp_path, {}, change)])


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "sami.alpaca_eval"]
    file = write(tmp_path, {}, {"instruction": "And who is Sergey Brin?", "preference": 1.25, "output_2_chars": 10})
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("model: win rate 50.00 [25.00, 75.00], standard error 25.00, length-controlled ")
    done = subprocess.run([*command, str(tmp_path / "none.json")], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "none.json" in done.stderr
