"""The benchmark of GPUs: its tiny form on the processor, and what it makes of failures."""

import importlib
import json
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT

from sami.scoring import scorer
from sami.scoring.layout import Item
from sami.scoring.trees import shared

BENCHMARK = ROOT / "benchmarks/gpu.py"


@pytest.fixture
def gpu(monkeypatch):
    """The command and the modules of its parts."""
    monkeypatch.syspath_prepend(BENCHMARK.parent)
    names = {"command": "gpu", **{name: f"gpu_parts.{name}" for name in ("cases", "scoring")}}
    return SimpleNamespace(**{name: importlib.import_module(module) for name, module in names.items()})


def command(*arguments):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, BENCHMARK, *map(str, arguments)]
    return subprocess.run(run, env=environment, text=True, capture_output=True, timeout=400)


def test_all_parts_pass_on_a_processor(tmp_path):
    done = command("--json", tmp_path / "gpu.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["passed"]
    assert found["machine"]["torch"]
    by_part = {
        part: [row for row in found["rows"] if row["part"] == part] for part in dict.fromkeys(map(part, found["rows"]))
    }
    assert {part: len(rows) for part, rows in by_part.items()} == {
        "scoring": 8,
        "head": 4,
        "sampling": 3,
        "training": 3,
        "speed": 5,
    }
    for row in found["rows"]:
        assert row["case"] in done.stdout
        for name, (difference, _) in row.get("checks", {}).items():
            if "float32" in row["case"]:
                assert difference < 1e-5, (row["case"], name)
    assert {f"{what} {n}x{n}" for what in ("scores", "gradients") for n in (2, 4, 8)} == set(
        by_part["scoring"][0]["checks"]
    )
    for row in by_part["speed"][:4]:
        assert all(row["figures"][name] > 0 for name in ("tokens_per_second", "utilisation", "peak_gib", "ratio"))
    assert "FAILED" not in done.stdout


def part(row):
    return row["part"]


def test_a_wrong_score_fails(gpu, monkeypatch):
    """As scores of other responses than those that are asked for would be."""

    def wrong(items):
        return shared([Item(i.name, i.prompts, i.responses[::-1], i.labels) for i in items])

    place = gpu.cases.here()
    monkeypatch.setitem(scorer.LAYOUTS, "shared", wrong)
    (row,) = gpu.cases.rows(
        "scoring", [case for case in gpu.scoring.cases(place) if case.name == "llama, float32"], place
    )
    assert "error" not in row
    assert gpu.command.failed(row)
    assert "FAILED" in gpu.command.report({}, [row])


def test_an_error_in_a_case_is_its_own(gpu):
    def broken():
        raise RuntimeError("out of shared memory:\n required 200 KiB")

    outcome = gpu.cases.Outcome({"scores": (math.nan, 1.0)}, {"ratio": 2.0}, "a note")
    cases = [gpu.cases.Case("one", broken), gpu.cases.Case("two", lambda: outcome)]
    one, two = gpu.cases.rows("head", cases, gpu.cases.here())
    assert one["error"] == "RuntimeError: out of shared memory: required 200 KiB"
    assert two["checks"]["scores"][1] == 1
    assert gpu.command.failed(one)
    assert gpu.command.failed(two)  # no number is no agreement
    told = gpu.command.report({"device": "none"}, [one, two])
    assert "FAILED head, one: RuntimeError: out of shared memory: required 200 KiB" in told
    assert "a note" in told


@pytest.mark.parametrize(
    ("end", "seconds", "why"),
    [
        ("os.kill(os.getpid(), 9)", 30, "its process ended with status -9"),
        ("time.sleep(60)", 3, "no time was left, of 3 s"),
    ],
)
def test_a_part_that_dies_or_hangs_leaves_what_it_had(gpu, tmp_path, end, seconds, why):
    script = tmp_path / "part.py"
    script.write_text(
        "import os, sys, time\n"
        "with open(sys.argv[2], 'w') as file:\n"
        """    file.write('{"machine": {"device": "a card"}, "cases": ["one", "two", "three"]}\\n')\n"""
        """    file.write('{"part": "head", "case": "one", "seconds": 1.0}\\n{"part": "he')\n"""
        f"{end}\n"
    )
    machine, rows = gpu.command.run("head", [sys.executable, str(script)], seconds)
    assert machine == {"device": "a card"}
    assert [gpu.command.failed(row) for row in rows] == [False, True, True]
    assert rows[1] == {"part": "head", "case": "two", "error": f"not finished: {why}"}


def test_a_part_that_does_not_start_fails(gpu):
    machine, (row,) = gpu.command.run("head", [sys.executable, "-c", "raise SystemExit(3)"], 30)
    assert machine == {}
    assert row == {"part": "head", "case": "start", "error": "its process ended with status 3"}


def test_wrong_use_is_told_before_anything_runs(tmp_path):
    done = command("--json", tmp_path / "nowhere" / "gpu.json")
    assert done.returncode == 2
    assert f"found no folder {tmp_path / 'nowhere'}; make it first" in done.stderr
    assert "invalid choice: 'heads' (choose from" in command("--parts", "heads").stderr
