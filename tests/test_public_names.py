"""The names that `import sami` gives, and docs/python.md, which shows them at work."""

import ast
import math
import re
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from conftest import ROOT

import sami
from sami import objectives, records

PACKAGE = ROOT / "src/sami"
PAGE = (ROOT / "docs/python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)


def test_import_takes_no_library_until_a_name_needs_one():
    code = """
import sys, sami
libraries = ("torch", "transformers", "numpy", "pydantic")
def loaded():
    return [name for name in libraries if name in sys.modules]
assert not loaded(), loaded()
sami.TrainingExample
assert loaded() == ["pydantic"], loaded()
sami.win_rate
assert "torch" not in loaded(), loaded()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_are_those_of_the_page():
    table = re.findall(r"^\| (`.*?) \|", PAGE, re.M)
    assert sorted(re.findall(r"`(\w+)`", " ".join(table))) == sorted(sami.__all__)
    assert all(getattr(sami, name) is not None for name in sami.__all__)
    assert set(sami.__all__) <= set(dir(sami))


def test_unknown_name_is_an_error_of_attributes():
    with pytest.raises(AttributeError, match="module 'sami' has no attribute 'scorer_'"):
        _ = sami.scorer_


def test_the_package_imports_from_homes_which_digests_can_follow():
    files = [*PACKAGE.rglob("*.py"), *ROOT.glob("workflow/rules/**/*.smk"), ROOT / "Snakefile"]
    found = set()
    for file in files:
        for names in re.findall(r"^\s*from sami import (.+)$", file.read_text(), re.M):
            found |= {(file.name, name) for name in re.findall(r"\w+", names.partition("#")[0])}
    modules = {path.stem for path in PACKAGE.iterdir()}
    assert {(file, name) for file, name in found if name not in modules and file != "__init__.py"} == set()


def test_version_stands_in_one_place():
    assert sami.__version__ == yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    text = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in text
    assert 'version = { attr = "sami.__version__" }' in text
    # setuptools reads the value from the syntax tree, and imports nothing.
    values = [node.value for node in ast.parse((PACKAGE / "__init__.py").read_bytes()).body if _is_version(node)]
    assert [ast.literal_eval(value) for value in values] == [sami.__version__]


def _is_version(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and [getattr(name, "id", "") for name in node.targets] == ["__version__"]


def test_the_page_runs_as_it_stands(tiny_source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_source, "my-model")
    _write_verdicts(tmp_path / "results/quickstart/iteration-2/eval/verdicts-checks-vs-base.jsonl")
    torch.manual_seed(0)
    names = {}

    exec(BLOCKS[0], names)
    losses = [float(value) for value in re.findall(r"loss ([\d.]+)", capsys.readouterr().out)]
    assert len(losses) == 3
    assert losses[2] < losses[1] < losses[0]

    model = names["model"].train()
    before = _state(model)
    exec(BLOCKS[1], names)
    assert names["fine_tuning"].loss.requires_grad
    assert names["dpo"].loss.item() == pytest.approx(math.log(2), abs=1e-6)
    exec(BLOCKS[2], names)
    assert names["found"].loss == pytest.approx(objectives.sami(names["scored"].mean, names["labels"]).loss.item())
    assert _state(model) == before  # nothing of the model has changed for good

    exec(BLOCKS[3], names)
    assert "estimate=0.75" in capsys.readouterr().out
    exec(BLOCKS[4], names)
    assert records.read(records.TrainingExample, "examples.jsonl") == [names["example"]]
    assert len(BLOCKS) == 5


def test_objectives_that_the_page_names_are_all_there_are():
    functions = {name for name, value in vars(objectives).items() if _is_objective(name, value)}
    row = next(line for line in PAGE.splitlines() if line.startswith("| `objectives`"))
    assert set(re.findall(r"`(\w+)`", row)) - {"objectives"} == functions


def _is_objective(name: str, value) -> bool:
    own = getattr(value, "__module__", "") == "sami.objectives" and callable(value) and not isinstance(value, type)
    return own and not name.startswith("_") and not name.endswith("_guess")


def _state(model) -> tuple:
    weights = [parameter.detach().clone().numpy().tobytes() for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    return weights, modes, model.config._attn_implementation, [p.requires_grad for p in model.parameters()]


def _write_verdicts(path) -> None:
    path.parent.mkdir(parents=True)
    common = {"set_id": "s", "constitution_id": "c", "number": 0, "policy": "iteration-2", "comparator": "iteration-0"}
    verdicts = [
        records.Verdict(query_id=f"q{i}", first="a", second="b", judge="checks", choice=choice, preference=preference,
                        **common)
        for i, (choice, preference) in enumerate([("first", 1.0), ("first", 1.0), ("tie", 0.5), ("tie", 0.5)])
    ]  # fmt: skip
    records.write(verdicts, path)
