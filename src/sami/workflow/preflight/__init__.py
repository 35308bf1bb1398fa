"""Checks before anything expensive runs: files, counts, disk, folders and packages that a configuration relies on.

    check(configuration, ["quickstart"], Purpose.DRY_RUN)

`places`: folders and disks. `contents`: principles, queries, responses. `machine`: packages, keys, weights.
`cluster`: partitions and accounts of Slurm.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum

from sami.errors import UserError
from sami.workflow.configuration import Configuration, known
from sami.workflow.plan import memory_check
from sami.workflow.preflight import contents, machine, places

log = logging.getLogger(__name__)


class Purpose(Enum):
    """Purpose that a configuration is checked for; what only a run needs is not asked of the others."""

    RUN = "to run at once, on this machine"
    DRY_RUN = "to show the jobs; a missing token and a full disk are warnings, since this may not be the machine"
    PLAN = "to count and price the jobs; memory and disk need not suffice"


def check(
    configuration: Configuration,
    experiment_names: Sequence[str],
    purpose: Purpose = Purpose.RUN,
    keys: bool = False,
    packages: bool = True,
    screened: bool = False,
) -> None:
    """Finds what would stop the given experiments later: missing files and packages, too few queries, a full disk.

    Args:
        configuration: the checked configuration.
        experiment_names: what is to be built.
        purpose: what for.
        keys: whether a run asks judges, so that the keys of their endpoints must be there.
        packages: whether the stages of a run use this environment, so that their packages must be there.
        screened: whether principles are screened, also where all of them are kept.

    Raises:
        UserError: the first obstacle found.
    """
    root, runs = configuration.root, purpose is Purpose.RUN
    for name in experiment_names:
        known(name, configuration.experiments, "experiments", "the experiments to build")
        if name in configuration.unusable:
            raise configuration.unusable[name]
    experiments = {name: configuration.experiments[name] for name in experiment_names}
    trained = {name: experiment for name, experiment in experiments.items() if not experiment.external}
    for key in ("results", "resources"):
        places.check_folder(getattr(root, key), configuration.sources.where((key,)))
    places.check_format(configuration)
    for name, experiment in experiments.items():
        contents.check_writer(configuration, name)
        contents.check_constitutions(configuration, name)
        contents.check_judges(configuration, name)
        if experiment.external:
            contents.check_external(configuration, name)
        if runs and keys:
            machine.check_keys(configuration, name)
        machine.check_serving(configuration, name)
    for name in trained:
        contents.check_counts(configuration, name, screened)
        contents.check_method(configuration, name)
        contents.check_evaluation(configuration, name)
        contents.check_demonstrations(configuration, name)
        contents.check_relevance(configuration, name)
        contents.check_rewards(configuration, name)
        contents.check_labels(configuration, name)
        machine.check_tensor_parallel(configuration, name)
        if runs:
            machine.check_reward_keys(configuration, name)
        if runs and packages:
            machine.check_packages(configuration, name)
    models = {model: configuration.models[model] for name in experiments for model in configuration.models_of(name)}
    for name, model in models.items():
        prepared = places.prepared(root, name)
        where = f"{root.models}: {name}"
        with _warned(only=not runs and model.licence is not None):
            if not prepared:
                machine.check_licence(where, model, root.accept_licences)
            machine.check_model(where, model, prepared)
        if model.gated and not prepared:
            with _warned(only=not runs):
                machine.check_token(f"{root.models}: {name}", model)
    for name in dict.fromkeys(experiment.task for experiment in trained.values()):
        contents.check_queries(f"{root.tasks}/{name}.yaml", name, configuration.tasks[name])
    for name in trained:
        contents.check_response_files(configuration, name)
    if purpose is not Purpose.PLAN:
        for name in experiments:
            memory_check.check(configuration, name)
        with _warned(only=not runs):
            places.check_space(configuration, trained, models)


@contextmanager
def _warned(only: bool) -> Iterator[None]:
    """Turns what is wrong into a warning, where it is `only` one."""
    try:
        yield
    except UserError as error:
        if not only:
            raise
        log.warning("%s", error)
