"""Lengths of texts in tokens: counted where they are on this machine, else as the task states it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sami.data import demonstrations, queries
from sami.endpoints.requests import tokens_of
from sami.errors import UserError
from sami.records import Query, read
from sami.settings.principles import PrincipleFile
from sami.settings.tasks import Dataset, Prompts, Task

WRITTEN_STATEMENT = 12  # tokens of a statement that a model is still to write; stated
CHAT = 15  # tokens that a chat template puts around a question; SmolLM2's, the others are much alike
COUNTED_BYTES = 50 * 2**20  # larger files take longer to read than a plan may take


@dataclass(frozen=True)
class Texts:
    """Tokens of some queries: mean and longest, None where neither counted nor stated; `source` says which."""

    mean: float | None
    longest: float | None
    source: str


def of_queries(task: Task, name: str, part: str, built: Path) -> Texts:
    """Lengths of a task's queries.

    Args:
        task: with the dataset and what it states.
        name: of the task.
        part: "train", "eval" or "test".
        built: the file of queries that the workflow makes, whether it is there yet or not.
    """
    dataset: Dataset = getattr(task, part)
    path, stated = Path(dataset.paths[0]), task.lengths
    if built.is_file():
        return _counted(read(Query, built), str(built))
    if path.name.endswith((".jsonl", ".jsonl.gz")) and path.is_file() and path.stat().st_size <= COUNTED_BYTES:
        try:
            return _counted(queries.load(dataset, name), str(path))
        except UserError:
            pass  # preflight says what is wrong with the file
    longest = stated.longest_query or (stated.query and 2 * stated.query)
    return Texts(stated.query, longest, f"'lengths' of the task {name}" if stated.query else "unknown")


def of_demonstrated(file: str, task: str) -> Texts:
    """Lengths of the queries of a file of demonstrations."""
    return _counted(demonstrations.queries(demonstrations.read(file), task), file)


def _counted(found: Sequence[Query], source: str) -> Texts:
    sizes = [tokens_of(query.text) for query in found]
    return Texts(fmean(sizes), max(sizes), f"counted in {source}") if sizes else Texts(None, None, "unknown")


def of_constitution(files: Iterable[PrincipleFile], statements: int) -> float:
    """Mean tokens of a constitution's statements."""
    texts = [side.text for file in files for pair in file.pairs for side in (pair.principle, pair.opposite)]
    return statements * (fmean(map(tokens_of, texts)) if texts else WRITTEN_STATEMENT)


def of_template(template: str, prompts: Prompts, shared: bool = False) -> float:
    """Tokens that a prompt has besides its constitution or its label string, and its query.

    Args:
        shared: only those before the constitution, which all prompts of a query have in common.
    """
    text = template.split("{constitution}")[0] if shared else template.replace("{constitution}", "")
    chat = CHAT + tokens_of(prompts.system or "") if prompts.style == "chat" else 0
    return tokens_of(re.sub(r"{(query|attributes|turn)}", "", text)) + chat
