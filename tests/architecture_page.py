"""The lines of docs/architecture.md on files, made of the first sentence that each file says of itself.

python tests/architecture_page.py        writes them (so does `make docs`)

They stand under lines like <!-- files of src/sami/data -->; prose around them stays as people have written it.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/architecture.md"
MARK = re.compile(r"<!-- files of (\S+) -->\n(?:\n(?:\|.*\n)+)?")
CODE = ("src/sami", "workflow/rules")  # every folder in these with a file has a mark
COMMENT = re.compile(r'(?:"use strict";\s*)?(?:{#|/\*|//) (.+?)(?: #}| \*/)?\n')  # at the top of parts of a page
DOCSTRING = re.compile(r'"""(.+?)(?:\n\n|""")', re.S)  # of rules, which are not quite Python


def files(folder: Path) -> list[Path]:
    """The files of a folder that have a line, `__init__.py` first."""
    found = [path for path in folder.iterdir() if path.is_file()]
    return sorted(found, key=lambda path: (path.name != "__init__.py", path.name))


def folders() -> list[str]:
    """All folders with files, by their paths in the project."""
    found = [path for top in CODE for path in [ROOT / top, *(ROOT / top).rglob("*")] if path.name != "__pycache__"]
    return [str(path.relative_to(ROOT)) for path in found if path.is_dir() and files(path)]


def sentence(file: Path) -> str:
    """What a file is, in its own words: the first paragraph of its docstring, or its first comment."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        found = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
    else:
        match = (DOCSTRING if file.suffix == ".smk" else COMMENT).match(text)
        found = match[1] if match else ""
    if not found:
        raise ValueError(f"{file}: says nothing of itself, expected a docstring or a comment at its top")
    return " ".join(found.split())


def made(text: str) -> str:
    """The page with its lines as the files have them."""

    def table(match: re.Match[str]) -> str:
        rows = [f"| `{file.name}` | {_cell(sentence(file))} |\n" for file in files(ROOT / match[1])]
        return f"<!-- files of {match[1]} -->\n\n| file | what it is |\n|---|---|\n{''.join(rows)}"

    return MARK.sub(table, text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
