"""Targets: the experiments that they are about, and those that nothing makes, told with what there is instead."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from sami.errors import UserError, listed, nearest
from sami.workflow.configuration import Configuration

JUDGED = ("verdicts-", "tables", "figures", "report")  # parts of paths of what is made of verdicts


def requested(configuration: Configuration, targets: Sequence[str]) -> list[str]:
    """Names of the experiments that targets belong to, compare or join; those of `run` where they name none."""
    parts = {part for target in targets for part in Path(target).parts}
    grouped = {name for group, names in configuration.groups.items() if group in parts for name in names}
    return [name for name in configuration.experiments if name in parts | grouped] or configuration.run


def requested_groups(configuration: Configuration, targets: Sequence[str]) -> list[str]:
    """Names of the comparisons, and of the experiments with several seeds, of which all experiments are requested."""
    experiments = set(requested(configuration, targets))
    return [name for name, grouped in configuration.groups.items() if set(grouped) <= experiments]


def need_verdicts(configuration: Configuration, words: Sequence[str]) -> bool:
    """Whether a command line asks for verdicts, or for what is made of them; without paths of results it does."""
    names = {*configuration.experiments, *configuration.groups}
    paths = [word for word in words if not names.isdisjoint(Path(word).parts[:-1])]
    return not paths or any(part in path for path in paths for part in JUDGED)


ALONE = {  # targets beside which nothing else is made -> what is done with experiments beside them
    "plan": "planned",
    "screen": "screened",
}


def check_alone(configuration: Configuration, targets: Sequence[str]) -> None:
    """Raises UserError where a target that would run stands beside `plan` or `screen`, with which nothing else runs."""
    names = {*configuration.experiments, *configuration.groups}
    for alone, done in ALONE.items():
        others = set(targets) - {alone, *names}
        if alone in targets and others:
            raise UserError(
                f"found the target '{min(others)}' beside '{alone}', with which nothing else runs; expected at most "
                f"names of experiments, which are then {done}. Ask for other targets in a command of their own."
            )


def check_name(target: str, names: Sequence[str], results: str, others: Sequence[str] = ()) -> None:
    """Raises UserError where a target is none of some names, which it lists, nor one of the others."""
    if target not in (*names, *others):
        near = nearest(target, [*names, *others])
        meant = f" Did you mean '{near}'?" if near else ""
        raise UserError(
            f"{target}: found no target of this name, expected one of: {listed(names)}; or the path of a file in "
            f"{results}.{meant}"
        )


def check_path(target: str, files: Sequence[str], folders: Sequence[str] = (), iterations: str = "") -> None:
    """Finds the first part of a path that leads to nothing that is made.

    Args:
        target: the path that is asked for, relative where `files` are.
        files: the paths that are made.
        folders: folders of which it is known that files in them are made, but not which.
        iterations: what to say of an iteration that there is not.

    Raises:
        UserError: `target` is none of `files`.
    """
    if target in files:
        return
    known, parts = [Path(path).parts for path in (*files, *folders)], Path(target).parts
    for depth, part in enumerate(parts):
        choices = sorted({path[depth] for path in known if path[:depth] == parts[:depth] and len(path) > depth})
        folder = os.path.join(*parts[:depth]) if depth else "this folder"
        if not choices:
            raise UserError(f"{target}: found a path inside {folder}, which is one result. Ask for {folder}.")
        if part not in choices:
            near = nearest(part, choices)
            meant = f" Did you mean '{os.path.join(*parts[:depth], near, *parts[depth + 1 :])}'?" if near else ""
            note = f" ({iterations})" if iterations and re.fullmatch(r"iteration-\d+", part) else ""
            raise UserError(f"{target}: found '{part}' in {folder}, expected one of: {listed(choices)}{note}.{meant}")
    inside = [path for path in files if Path(path).parts[: len(parts)] == parts]
    asked = f"one of them: {listed(inside)}" if inside else f"a file in it, or for '{parts[-1]}', which is all of them"
    raise UserError(f"{target}: this is a folder of several results. Ask for {asked}.")
