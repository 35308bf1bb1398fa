"""Jobs that could never run on the Slurm cluster of this machine."""

from collections.abc import Sequence

from sami.settings.resources import JobKind
from sami.workflow import slurm
from sami.workflow.configuration import Configuration, local_model


def check(configuration: Configuration, experiment_names: Sequence[str], cores: int) -> list[slurm.Nodes]:
    """Finds what keeps the jobs of the given experiments from ever running on the Slurm cluster of this machine.

    Args:
        configuration: the checked configuration.
        experiment_names: what is to be built.
        cores: what a job asks for where the settings say nothing.

    Returns:
        the nodes of the cluster.

    Raises:
        UserError: the first obstacle found.
    """
    nodes = slurm.parse_nodes(slurm.ask(slurm.NODES))
    enforced = slurm.parse_enforced(slurm.ask(slurm.CONFIGURATION))
    accounts = slurm.parse_accounts(slurm.ask(slurm.accounts())) if enforced else None
    for name in experiment_names:
        resources = configuration.experiments[name].resources
        for kind in _cluster_jobs(configuration, name):

            def where(key: str, kind=kind, name=name, resources=resources) -> str:
                return configuration.where(name, "resources", *resources.set_at(kind, key))

            job = resources.of(kind)
            slurm.check(job, job.cores or (1 if kind == "prepare" else cores), nodes, where)
            if accounts:
                slurm.check_account(job, *accounts, where)
    return nodes


def _cluster_jobs(configuration: Configuration, name: str) -> list[JobKind]:
    """The kinds of jobs of an experiment that run a model, and so do not run beside the workflow."""
    experiment, judges = configuration.experiments[name], configuration.experiments[name].evaluation.judges
    runs_model: dict[JobKind, bool] = {
        "prepare": bool(configuration.models_of(name)),
        "write": bool(local_model(configuration.writers[experiment.constitutions.writer])),
        "sample": not experiment.external,
        "score": not experiment.external or any(local_model(configuration.judges[judge]) for judge in judges),
        "train": not experiment.external,
    }
    return [kind for kind, needed in runs_model.items() if needed]
