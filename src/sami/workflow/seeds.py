"""Experiments with several seeds: the runs that they stand for, one a seed, each an experiment of its own.

    runs("quickstart", experiment)          # {"quickstart-seed-1": ..., "quickstart-seed-2": ...}

So every rule, target and partial rerun is that of an ordinary experiment; only what joins the runs knows of seeds.
"""

from collections.abc import Mapping
from typing import Any

from sami.errors import UserError
from sami.settings.experiment import Experiment, Root
from sami.settings.yaml_files import Document, merge


def merged(name: str, root: Root, sources: Document) -> dict[str, Any]:
    """The settings of an entry of `experiments`, laid over `defaults`; its own `seed` counts before their `seeds`.

    Raises:
        UserError: the entry gives both.
    """
    entry = root.experiments[name]
    if "seed" not in entry:
        return merge(root.defaults, entry)
    if entry.get("seeds") is not None:
        keys = "experiments", name
        raise UserError(
            f"{sources.where((*keys, 'seeds'))}: found {entry['seeds']} beside 'seed: {entry['seed']}' "
            f"({sources.where((*keys, 'seed'))}), expected one of the two. Delete 'seed', or set 'seeds' to null."
        )
    return merge(root.defaults, {**entry, "seeds": None})


def runs(name: str, experiment: Experiment) -> dict[str, Experiment]:
    """Name -> experiment of each run: the same settings but for the seed. Without `seeds`, the experiment alone."""
    if experiment.seeds is None:
        return {name: experiment}
    return {
        f"{name}-seed-{seed}": experiment.model_copy(update={"seed": seed, "seeds": None}) for seed in experiment.seeds
    }


def check_names(seeds: Mapping[str, list[str]], root: Root, sources: Document) -> None:
    """Raises UserError where a run has the name of another experiment or of a comparison, whose folder it would have.

    Args:
        seeds: experiment with several seeds -> names of its runs.
        root, sources: the merged configuration, and the files that it comes from.
    """
    for name, names in seeds.items():
        for run in names:
            for key, kind, taken in (
                ("experiments", "an experiment", root.experiments),
                ("compare", "a comparison", root.compare),
            ):
                if run in taken:
                    raise UserError(
                        f"{sources.where((key, run))}: found {kind} called '{run}', which is the name of a run of "
                        f"'{name}', since that has 'seeds'; both would write to one folder. Rename one of them."
                    )
