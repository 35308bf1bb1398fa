"""docs/architecture.md has a line for each file, and names no file that there is not."""

import re
from collections import Counter

from architecture_page import MARK, PAGE, ROOT, folders, made

TEXT = PAGE.read_text(encoding="utf-8")


def test_every_folder_of_code_has_its_lines_once():
    assert Counter(match[1] for match in MARK.finditer(TEXT)) == Counter(folders())


def test_lines_are_what_the_files_say_of_themselves():
    assert made(TEXT) == TEXT, "run `make docs`"


def test_paths_in_guides_are_there():
    """Of code: a module that has moved leaves no page behind that sends people to its former place."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
    pages.remove(ROOT / "CHANGELOG.md")  # tells of what was
    path = re.compile(r"(?<![\w/])(?:src/sami|workflow|tests|envs|benchmarks|docs)/[\w./-]*\w")
    module = re.compile(r"(?<![\w/])sami(?:\.[a-z_]+)+(?<!\.py)(?<!\.smk)(?<!\.def)(?<!\.sif)\b")
    missing = set()
    for page in pages:
        text = page.read_text(encoding="utf-8")
        missing |= {(page.name, found) for found in path.findall(text) if "NAME" not in found and not _is_there(found)}
        missing |= {(page.name, found) for found in module.findall(text) if not _has_home(found)}
    assert missing == set()


def test_rules_of_the_diagram_are_rules():
    diagram = re.search(r"^```mermaid\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)[1]
    rules = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("workflow/rules/*.smk"))
    known = {*re.findall(r"^(?:use )?rule (?:\w+ as )?(\w+)", rules, re.M), *re.findall(r'\bstage\("(\w+)"\)', rules)}
    known |= {path.stem for path in ROOT.glob("src/sami/stages/build_*_examples.py")}
    shown = set(re.findall(r"\b[a-z]+(?:_[a-z]+)*\b", re.sub(r'"[^"]*"|^flowchart LR$', "", diagram, flags=re.M)))
    assert len(shown) > 10
    assert shown <= known


def _is_there(path: str) -> bool:
    return (ROOT / path).exists()


def _has_home(name: str) -> bool:
    """Whether a dotted name begins with a module and at most one name in it."""
    parts = name.split(".")
    homes = [ROOT.joinpath("src", *parts[:count]) for count in range(max(2, len(parts) - 1), len(parts) + 1)]
    return any(home.is_dir() or home.with_suffix(".py").is_file() for home in homes)
