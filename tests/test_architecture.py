"""The shape of the package: what imports what, and what an import does not do.

Wings stand on floors, and imports run down only, or stay on one floor without a circle. What other work is still to
mend stands in `KNOWN`, and a test fails when something there has been mended.
"""

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "src/sami"
FLOORS = [  # from the ground; a name is a module or a folder
    [
        "errors",
        "records",
        "json_files",
        "files",
        "progress",
        "provenance",
        "launch",
        "lineage",
        "metrics",
        "spent",
        "__init__",
    ],
    ["settings", "analysis.statistics"],
    ["data", "methods", "objectives"],
    ["models", "distributed", "scoring", "sampling"],
    ["training", "endpoints", "judging", "rewards"],
    ["stage"],
    ["analysis"],
    ["workflow", "alpaca_eval"],
    ["stages"],
]
HARNESS = ("stage", "stages", "workflow", "provenance", "launch")  # may import the harness, or are it
LIGHT = ("errors", "records", "json_files", "files", "progress", "settings", "data", "methods", "workflow", "stage")
NOT_HERE = {"sampling.vllm_sampler"}  # needs a package that is not installed everywhere
NAMES = (  # of tables and figures that mean nothing else anywhere
    "win_rates_by_principle",
    "win_rates_by_length",
    "win_rate_by_principle",
    "length_controlled",
)

# Rule -> violations "importer -> imported", or modules, that are known.
KNOWN: dict[str, set[str]] = {
    "homeless": set(),
    "floors": set(),
    "circles": set(),
    "harness": set(),
    "statistics": set(),
    "effects": set(),
}


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imported(file: Path) -> Iterator[str]:
    """Full names of what a file imports anywhere in it, of this package and of others."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_of(name: str) -> str | None:
    """The module of this package that an imported name is, or is in."""
    parts = name.split(".")[1:]
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in MODULES:
            return ".".join(parts[:length])
    return None


IMPORTS = {
    name: {found for full in imported(file) if full.split(".")[0] == "sami" and (found := modules_of(full))} - {name}
    for name, file in MODULES.items()
}
FOREIGN = {
    name: {full.split(".")[0] for full in imported(file)} - {"sami"} - set(sys.stdlib_module_names)
    for name, file in MODULES.items()
}


def inside(module: str, wing: str) -> bool:
    return module == wing or module.startswith(f"{wing}.")


def floor(module: str) -> int | None:
    """The number of the floor; that of the longest name that fits, since `statistics` is below the rest of analysis."""
    fitting = [(len(wing), number) for number, wings in enumerate(FLOORS) for wing in wings if inside(module, wing)]
    return max(fitting)[1] if fitting else None


def expect(rule: str, found: set[str]) -> None:
    assert found - KNOWN[rule] == set()
    assert KNOWN[rule] - found == set(), "mended: delete it from KNOWN"


def test_every_module_stands_on_a_floor():
    expect("homeless", {name for name in MODULES if floor(name) is None})


def test_imports_run_down_the_floors():
    pairs = [(name, other) for name in IMPORTS for other in IMPORTS[name] if {name, other} & KNOWN["homeless"] == set()]
    expect("floors", {f"{name} -> {other}" for name, other in pairs if floor(other) > floor(name)})


def from_the_ground() -> list[str]:
    """All modules, each behind those that it imports. Raises graphlib.CycleError where some import each other."""
    left = {name: {o for o in others if f"{name} -> {o}" not in KNOWN["circles"]} for name, others in IMPORTS.items()}
    return list(graphlib.TopologicalSorter(left).static_order())


def test_modules_import_each_other_in_no_circle():
    from_the_ground()
    for edge in KNOWN["circles"]:
        name, other = edge.split(" -> ")
        assert other in IMPORTS[name], f"mended: delete {edge} from KNOWN"


def test_the_core_does_not_know_the_harness():
    found = {
        f"{name} -> {other}"
        for name in IMPORTS
        if not any(inside(name, wing) for wing in HARNESS)
        for other in IMPORTS[name]
        if inside(other, "stage") or inside(other, "stages") or inside(other, "workflow")
    }
    expect("harness", found)


def test_the_ground_floor_methods_and_the_workflow_need_no_torch():
    names = [f"sami.{name}" for name in MODULES if any(inside(name, wing) for wing in LIGHT)]
    heavy = {"torch", "transformers", "snakemake", "pandas"}
    code = f"import sys; {'; '.join(f'import {name}' for name in names)}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_statistics_need_only_numpy_and_scipy():
    names = [name for name in MODULES if inside(name, "analysis.statistics")]
    assert names
    found = {f"{name} -> {other}" for name in names for other in FOREIGN[name] - {"numpy", "scipy"}}
    found |= {f"{n} -> {o}" for n in names for o in IMPORTS[n] if not inside(o, "analysis.statistics")}
    expect("statistics", found)


def test_nothing_imports_snakemake():
    assert {name for name in MODULES if any("snakemake" in foreign for foreign in FOREIGN[name])} == set()


def foreign_statements() -> list[str]:
    """Imports of other packages that are run when the modules are imported."""
    found = set()
    for name, file in MODULES.items():
        if not inside(name, "stages") and name not in NOT_HERE:
            for node in ast.parse(file.read_bytes()).body:
                foreign = isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module)
                if foreign and not ast.unparse(node).split()[1].startswith("sami"):
                    found.add(ast.unparse(node))
    return sorted(found)


def test_importing_changes_nothing_else():
    """Every module but stages, from the ground: the environment, the garbage collector, and logging stay."""
    names = [name for name in from_the_ground() if not inside(name, "stages") and name not in NOT_HERE]
    code = f"""
import gc, importlib, json, logging, os

def state():
    root = logging.getLogger()
    return dict(os.environ), gc.isenabled(), gc.get_threshold(), len(root.handlers), root.level

for statement in {foreign_statements()!r}:  # their own effects are not ours
    exec(statement)
found = []
for name in {names!r}:
    before, frozen = state(), gc.get_freeze_count()
    importlib.import_module("sami" if name == "__init__" else "sami." + name)
    if state() != before or gc.get_freeze_count() > frozen:
        found.append(name)
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expect("effects", set(json.loads(done.stdout.splitlines()[-1])))


def test_name_of_a_table_or_figure_stands_in_one_file():
    """Its catalogue; everything else reads that. The catalogue of figures names tables, of which they are drawn."""
    files = [*MODULES.values(), *ROOT.glob("workflow/rules/**/*.smk"), ROOT / "Snakefile"]
    places = {name: [file for file in files if f'"{name}"' in (text := file.read_text()) or f"/{name}." in text]
              for name in NAMES}  # fmt: skip
    tables, figures = (MODULES[f"analysis.{kind}.catalogue"] for kind in ("tables", "figures"))
    assert all(found in ([tables], [figures], [figures, tables]) for found in places.values()), places
