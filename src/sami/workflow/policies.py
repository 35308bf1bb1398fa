"""Policies of an experiment, and the comparisons between them: names that tables, paths and the plan go by.

Ground floor: no torch.
"""

import os

from sami.records import BASE, policy_name
from sami.settings.experiment import Experiment


def policies(experiment: Experiment) -> list[str]:
    """Names of the policies that answer the held-out queries, in the order of tables; iteration-0 is the base."""
    if experiment.external:
        return list(experiment.external.policies)
    return [*(f"iteration-{t}" for t in range(experiment.iterations + 1)), *experiment.evaluation.policies]


def untrained_models(experiment: Experiment) -> dict[str, str]:
    """The policies that nobody trains and that are models: name -> name of the model. The base model, and others."""
    return {} if experiment.external else {BASE: experiment.model, **experiment.evaluation.models}


def models_by_policy(experiment: Experiment) -> dict[str, str]:
    """The policies that are models, trained or not: name -> name of the model whose size they have."""
    if experiment.external:
        return {}
    trained = {f"iteration-{t}": experiment.model for t in range(experiment.iterations + 1)}
    return trained | experiment.evaluation.models


def response_files(experiment: Experiment) -> dict[str, tuple[str, str | None]]:
    """The policies that are files of responses: name -> path, and the web address of the same file where known."""

    def found(folder: str, file: str, source: str | None) -> tuple[str, str | None]:
        return os.path.normpath(os.path.join(folder, file)), source and f"{source.rstrip('/')}/{file}"

    if experiment.external:
        folder, source = experiment.external.folder, experiment.external.source
        return {name: found(folder, file, source) for name, file in experiment.external.policies.items()}
    files = experiment.evaluation.files.items()
    return {name: found(*os.path.split(file.responses), file.source) for name, file in files}


def comparisons(experiment: Experiment) -> list[tuple[str, str, str]]:
    """(policy, judge, comparator) of every file of verdicts; the comparator as it is named in the settings."""
    return [
        (policy, judge, comparator)
        for comparator in experiment.evaluation.comparators
        for judge in experiment.evaluation.judges
        for policy in policies(experiment)
        if policy != policy_name(comparator)
    ]


def check(experiment: Experiment) -> None:
    """Raises ValueError where the base model's responses are missing, or a name is that of no policy."""
    names = policies(experiment)
    if BASE not in names:
        raise ValueError(f"'external.policies' lacks '{BASE}', the base model's responses")
    models = list(models_by_policy(experiment))
    for name, best in experiment.evaluation.best.items():
        if policy_name(best.policy) not in models:
            raise ValueError(
                f"'evaluation.policies.{name}.policy' is '{best.policy}', expected a policy of the experiment that is "
                f"a model: {', '.join(['base', *models[1:]])}"
            )
    for comparator in experiment.evaluation.comparators:
        if policy_name(comparator) not in names:
            raise ValueError(
                f"'evaluation.comparators' names '{comparator}', expected base or one of the policies "
                f"{', '.join(names)}"
            )
