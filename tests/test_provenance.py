"""Digests of code: what makes a stage's outputs out of date, and what does not."""

import ast
import json
import shutil
import textwrap
from pathlib import Path

import pytest
from conftest import ROOT
from pydantic import TypeAdapter

from sami import provenance
from sami.provenance.digests import Node, Package
from sami.provenance.syntax import is_harness
from sami.settings.experiment import Experiment
from sami.settings.judges import Judge, PanelJudge
from sami.settings.models import Model
from sami.settings.rewards import Reward
from sami.settings.tasks import Task
from sami.settings.writers import Writer
from sami.workflow import configuration

SOURCE = ROOT / "src/sami"
STAGES = sorted(path.stem for path in (SOURCE / "stages").glob("[a-z]*.py"))
ALL = Package(SOURCE)
BEFORE = {stage: ALL.digest(stage) for stage in STAGES}
COSTLY = {"sample_responses", "train", "score_responses", "score_relevance", "score_reference"}
SCORING = COSTLY - {"sample_responses"}


@pytest.fixture
def copy(tmp_path):
    """A copy of the package that a test may edit."""
    return Path(shutil.copytree(SOURCE, tmp_path / "sami", ignore=shutil.ignore_patterns("__pycache__")))


def rewrite(path, change):
    """Changes the tree of a module. What is written from a tree has other lines and quotes, and no comments."""
    tree = ast.parse(path.read_text())
    change(tree)
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)))


def edit(folder, module, function):
    """Puts a statement into a function or class."""

    def change(tree):
        named = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == function]
        named[0].body.append(ast.parse("new = 1").body[0])

    rewrite(folder / module, change)


def changed(folder):
    """The stages whose digest is not that of the package as it is."""
    package = Package(folder)
    return {stage for stage in STAGES if package.digest(stage) != BEFORE[stage]}


def test_the_workflow_and_the_records_have_this_digest():
    assert provenance.code_digest("train") == BEFORE["train"]
    assert len(set(BEFORE.values())) == len(STAGES)


def new_docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            node.body.insert(0, ast.Expr(ast.Constant("Another docstring.")))


def reworded_messages(tree):
    for node in ast.walk(tree):
        told = []
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            told = node.exc.args
        elif isinstance(node, ast.Assert):
            told = [node.msg] if node.msg else []
        elif isinstance(node, ast.Expr) and ast.unparse(node).startswith(("log.", "progress.update")):
            told = [node.value]
        for part in [part for argument in told for part in ast.walk(argument)]:
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                part.value += " (reworded)"


def no_annotations_of_functions(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None


def test_words_change_no_digest(copy):
    def change(tree):
        new_docstrings(tree)
        reworded_messages(tree)
        no_annotations_of_functions(tree)

    for path in copy.rglob("*.py"):
        rewrite(path, change)
        path.write_text(f'{path.read_text()}\n# A comment.\n"""A text."""\n')
    assert changed(copy) == set()


def test_new_keys_of_all_settings_change_no_digest(copy):
    def change(tree):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                node.body.append(ast.parse("unheard_of: int = 3").body[0])

    for path in (copy / "settings").glob("*.py"):
        rewrite(path, change)
    assert changed(copy) == set()


def test_the_harness_and_new_functions_change_no_digest(copy):
    def change(tree):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                node.body.append(ast.parse("new = 1").body[0])

    for path in copy.rglob("*.py"):
        if is_harness(".".join(path.relative_to(copy.parent).with_suffix("").parts)):
            rewrite(path, change)
        else:
            path.write_text(
                f"{path.read_text()}\n\ndef brand_new(value):\n    return value + 1\n\n\nNEW = brand_new(2)\n"
            )
    # Functions of tables and figures are found by the names in their catalogues, so all in their modules count.
    of_catalogues = ("identification", "labels", "screening", "steering")
    tables = {"compare_methods", "join_seeds", "tabulate", *(f"tabulate_{name}" for name in of_catalogues)}
    assert changed(copy) == {"plot_figures", *tables}


def constants(tree: ast.AST):
    """Numbers in what is computed: in conditions, sums, places and default values."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.BinOp | ast.Subscript | ast.arguments):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.Constant) and type(child.value) in (int, float):
                    yield child


def is_told(node: ast.AST) -> bool:
    """Whether a statement may be a message, in which a number changes nothing."""
    return isinstance(node, ast.Raise | ast.Expr | ast.Assert)


@pytest.mark.parametrize("stage", STAGES)
def test_a_constant_in_any_reached_function_changes_the_digest(copy, stage):
    functions = []
    for module in sorted({node.module for node in ALL.reached(stage) if not is_harness(node.module)}):
        path = copy.parent.joinpath(*module.split(".")).with_suffix(".py")
        for node in ast.parse(path.read_text()).body if path.exists() else []:
            if isinstance(node, ast.FunctionDef) and Node(module, node.name) in ALL.reached(stage):
                told = {id(c) for s in ast.walk(node) if is_told(s) for c in constants(s)}
                functions += [(path, c) for c in constants(node) if id(c) not in told][:1]
    for path, constant in functions[:: max(1, len(functions) // 4)]:
        text = path.read_text()
        lines = text.splitlines(keepends=True)
        line = lines[constant.lineno - 1].encode()
        line = line[: constant.col_offset] + b"77777" + line[constant.end_col_offset :]
        path.write_text("".join([*lines[: constant.lineno - 1], line.decode(), *lines[constant.lineno :]]))
        assert Package(copy).digest(stage) != BEFORE[stage], (path, lines[constant.lineno - 1])
        path.write_text(text)


def test_a_new_metric_that_is_only_logged_leaves_training_alone(copy):
    path, loop = copy / "metrics.py", copy / "training/loop.py"
    path.write_text("def mean(values):\n    return sum(values) / len(values)\n")
    loop.write_text(f"from sami import metrics\n{loop.read_text()}\n\nmetrics.mean([1])\n")
    before = Package(copy).digest("train")
    path.write_text("def mean(values):\n    return least(values)\n\n\ndef least(values):\n    return min(values)\n")
    assert Package(copy).digest("train") == before != BEFORE["train"]


@pytest.mark.parametrize(
    ("module", "name", "stages"),
    [
        ("training/loop.py", "train", {"train"}),
        ("objectives.py", "sami_rows", {"train"}),
        ("scoring/scorer.py", "Scorer", SCORING),
        ("scoring/packing.py", "pack", SCORING),
        ("scoring/tree_attention.py", "attention", COSTLY),  # registered when imported
        ("scoring/tokens.py", "tokenize_training", {"train", "score_reference"}),
        ("scoring/reference.py", "score_pairs", {"score_reference"}),
        ("sampling/draws.py", "uniforms", {"sample_responses"}),
        ("sampling/slots.py", "Slots", {"sample_responses"}),
        ("judging/likelihood.py", "judge", {"judge_responses"}),
        ("judging/checks.py", "degrees", {"judge_responses", "tabulate"}),
        ("settings/sampling.py", "Sampling", {"sample_responses"}),
        ("settings/judges.py", "EndpointJudge", {"judge_responses"}),
        ("settings/base.py", "Settings", COSTLY),
        ("stages/train.py", "main", {"train"}),
        ("analysis/figures/training.py", "training", {"plot_figures"}),
    ],
)
def test_an_edit_that_can_change_results_changes_its_stages_and_no_other_costly_one(copy, module, name, stages):
    edit(copy, module, name)
    found = changed(copy)
    assert found >= stages
    assert found & COSTLY == stages & COSTLY


def test_a_new_default_of_a_key_that_is_used_changes_the_digest(copy):
    def change(tree):
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign) and node.target.id == "top_p":
                node.value = ast.Constant(0.5)

    rewrite(copy / "settings/sampling.py", change)
    assert changed(copy) & COSTLY == {"sample_responses"}


def test_a_function_that_moves_to_another_module_changes_nothing(copy):
    (copy / "training/schedule.py").rename(copy / "training/rates.py")
    imported = "from sami.training.schedule import schedule"
    user = copy / "training/loop.py"
    assert imported in user.read_text()
    user.write_text(user.read_text().replace(imported, "from sami.training.rates import schedule"))
    assert changed(copy) == set()


INNER = "def f():\n    return helper()\n\n\ndef helper():\n    return 1\n"
UNUSED = "\n\ndef unused():\n    return 1\n"


@pytest.mark.parametrize(
    "use",
    [
        "from sami.inner import f\n\nf()",
        "from sami.inner import f as g\n\ng()",
        "from sami import inner\n\ninner.f()",
        "from .. import inner\n\ninner.f()",
        "import sami.inner\n\nsami.inner.f()",
        "import sami.inner as other\n\nother.f()",
        "def late():\n    from sami.inner import f\n\n    return f()\n\n\nlate()",
        "class Late:\n    def late(self):\n        from sami import inner\n\n        return inner.f()\n\n\nLate()",
        "try:\n    from sami.inner import f\nexcept ImportError:\n    f = None\n\nf()",
        "from sami.inner import f\n\n\n@f\ndef g():\n    pass\n\n\ng()",
        "from sami.inner import f\n\n\ndef g(value=f):\n    pass\n\n\ng()",
        "from sami.inner import f\n\n\nclass G(f):\n    pass\n\n\nG()",
        "from sami.inner import f\n\n\nclass G:\n    value: f\n\n\nG()",
        "from sami.inner import f\n\n\nclass G:\n    value: 'f'\n\n\nG()",
        "from sami.inner import f\n\nKINDS = {'f': f}\n\nKINDS['f']()",
        "from sami.inner import f\n\nKINDS = {}\nKINDS['f'] = f\n\nKINDS['f']()",
        "from sami.inner import *\n\nf()",
        "from sami import inner\n\ngetattr(inner, 'f')()",
        "import importlib\n\nimportlib.import_module('sami.inner')",
        "from sami.outer import f\n\nf()",
        "from sami.stars import f\n\nf()",
        "from sami import f\n\nf()",
        "from sami.registry import call\n\ncall()",
        "from sami.inner import f\n\nx = 0\nx += f()\nprint(x)",
        "from sami.inner import f\n\nprint(f'{f()}')",
    ],
)
def test_ways_to_reach_a_function(tmp_path, use):
    """Each time, of a function that another one calls; what is not used stays without effect."""
    head, _, call = use.rpartition("\n\n")
    files = {
        "inner.py": INNER,
        "outer.py": "from sami.inner import f\n",
        "stars.py": "from sami.inner import *\n",
        "registry.py": "from sami.inner import f\n\nKNOWN = []\n\n\ndef known(g):\n    KNOWN.append(g)\n\n\n"
        "def call():\n    return [g() for g in KNOWN]\n\n\n@known\ndef by_f():\n    return f()\n",
        "__init__.py": "def __getattr__(name):\n    return __import__('importlib').import_module('inner').f\n",
        "stages/__init__.py": "",
        "stages/a.py": f"{head}\n\nif __name__ == '__main__':\n{textwrap.indent(call, '    ')}\n",
    }
    folder = tmp_path / "sami"
    (folder / "stages").mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    before = Package(folder).digest("a")
    everything = "*" in use or "getattr" in use or "import_module" in use or "sami import f" in use or ".stars" in use
    (folder / "inner.py").write_text(INNER + UNUSED)
    assert everything or Package(folder).digest("a") == before
    (folder / "inner.py").write_text(INNER.replace("return 1", "return 2"))
    assert Package(folder).digest("a") != before


def test_no_stage_reaches_by_accident_what_it_does_not_use():
    modules = {stage: {node.module for node in ALL.reached(stage)} for stage in STAGES}
    for stage in COSTLY:
        assert not {m for m in modules[stage] if m.startswith(("sami.analysis.", "sami.judging.", "sami.endpoints."))}
    assert "sami.settings.judges" not in set().union(*(modules[stage] for stage in COSTLY))


def slices():
    """Every slice of the shipped settings that is passed to a stage, with its type."""
    settings = configuration.load([str(ROOT / "config/config.yaml")], [])
    for experiment in settings.experiments.values():
        yield Experiment, experiment
    for kind, found in ((Judge, settings.judges), (Writer, settings.writers), (Task, settings.tasks)):
        yield from ((kind, value) for value in found.values())
    yield from ((Reward, configuration.load_reward(file)) for file in sorted(ROOT.glob("config/rewards/*.yaml")))
    yield from ((Model, model) for model in settings.models.values())
    yield Judge, PanelJudge(kind="panel", members=["checks", "letter"])


def test_settings_without_their_defaults_are_the_same_settings(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = list(slices())
    assert {type(value).__name__ for _, value in found} >= {"ChecksJudge", "EndpointJudge", "PanelJudge", "Writer"}
    for kind, value in found:
        short, full = value.model_dump_json(exclude_defaults=True), value.model_dump_json()
        assert TypeAdapter(kind).validate_json(short) == value == TypeAdapter(kind).validate_json(full)
        assert len(short) <= len(full)


def test_a_new_key_with_a_default_changes_no_argument_of_a_stage():
    class NewModel(Model):
        new_key: bool = False

    found = {"source": "hub", "repository": "a/b", "shape": dict.fromkeys(
        ("layers", "hidden", "kv_width", "intermediate", "vocabulary"), 2)}  # fmt: skip
    told = [kind.model_validate(found).model_dump_json(exclude_defaults=True) for kind in (Model, NewModel)]
    assert told[0] == told[1]
    assert json.loads(told[0]) == found


def test_code_of_other_kinds_can_be_left_out(copy):
    human = ("endpoints.writer", "sampling.local_writer")
    transformers = ("sampling.vllm_sampler",)
    assert "sami.endpoints.completions" not in {node.module for node in ALL.reached("write_principles", human)}
    before = ALL.digest("write_principles", human), ALL.digest("sample_responses", transformers)
    assert before[0] != BEFORE["write_principles"]
    edit(copy, "endpoints/chat.py", "complete")
    edit(copy, "sampling/vllm_sampler.py", "VllmSampler")
    after = Package(copy)
    assert (after.digest("write_principles", human), after.digest("sample_responses", transformers)) == before
    assert after.digest("write_principles") != BEFORE["write_principles"]
    assert after.digest("sample_responses") != BEFORE["sample_responses"]
    edit(copy, "data/principles.py", "from_people")
    assert Package(copy).digest("write_principles", human) != before[0]
    with pytest.raises(ValueError, match="there is no module sampling.vllm"):
        ALL.digest("sample_responses", ("sampling.vllm",))
