"""Sharing of what nobody trains: held-out responses of the base model and others, their scores, relevance, verdicts.

Experiments that agree on all that such a file depends on have the same file. The first of them that is listed under
`run` makes it, in the order of the configuration, and the others copy it; so each has all its files, and nothing is
computed twice. Experiments outside `run` copy from those in it, but none copies from them: they are made when somebody
asks for them by name.

A file depends on the model or models, the task, the constitutions, the held-out queries, how responses to them are
sampled, and the seed; relevance also on how it is told; verdicts on the judge and on `evaluation.judged`. Principles
that a model writes can come out differently each time, so experiments with such principles share nothing.
"""

from collections.abc import Mapping

from sami.records import policy_name
from sami.workflow.configuration import Configuration
from sami.workflow.layout import EVAL_RESPONSES, RELEVANCE, SCORES, VERDICTS
from sami.workflow.policies import comparisons, untrained_models


def owners(configuration: Configuration) -> dict[str, dict[str, str]]:
    """Experiment -> path in its folder -> the other experiment that makes this file for it."""
    run = [name for name in configuration.usable if name in configuration.run]
    others = [name for name in configuration.usable if name not in run]
    makers: dict[tuple[str, str], str] = {}
    found: dict[str, dict[str, str]] = {}
    for name in [*run, *others]:
        for path, origin in untrained_files(configuration, name).items():
            maker = makers.setdefault((path, origin), name) if name in run else makers.get((path, origin), name)
            if maker != name:
                found.setdefault(name, {})[path] = maker
    return found


def untrained_files(configuration: Configuration, experiment: str) -> Mapping[str, str]:
    """Files about policies that nobody trains, by their path in an experiment's folder -> all that they depend on."""
    settings = configuration.experiments[experiment]
    models, constitutions = untrained_models(settings), settings.constitutions
    if not configuration.writers[constitutions.writer].is_human:
        return {}
    held_out = settings.queries.split, settings.queries.held_out
    common = [settings.task, constitutions, held_out, settings.evaluation.sampling, settings.seed]
    found = {EVAL_RESPONSES.format(policy=policy): [model] for policy, model in models.items()}
    if settings.relevance_model:
        told = [settings.relevance_model, settings.evaluation.relevance]
        found |= {RELEVANCE.format(policy=policy): [model, *told] for policy, model in models.items()}
    if models:
        found[SCORES.format(iteration=0)] = [settings.model]
    for policy, judge, comparator in comparisons(settings):
        pair = [models.get(policy), models.get(policy_name(comparator))]
        if None not in pair:
            path = VERDICTS.format(policy=policy, judge=judge, comparator=comparator)
            found[path] = [*pair, settings.evaluation.judged]
    return {path: repr([*common, *values]) for path, values in found.items()}
