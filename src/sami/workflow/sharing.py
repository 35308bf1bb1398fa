"""Sharing of what several experiments would make alike: training, held-out responses, scores, relevance, verdicts.

Experiments that agree on all that such a file depends on have the same file. The first of them that is listed under
`run` makes it, in the order of the configuration, and the others copy it; so nothing is computed twice, and an
experiment that asks another question of the same policies trains nothing. Experiments outside `run` copy from those in
it, but none copies from them: they are made when somebody asks for them by name.

- A policy depends on the base model and, where it is trained, on all that decides about its training: task,
  constitutions, method, its reward, sampling, `training`, the numbers of training queries up to its iteration, and the
  seed; not on later iterations, held-out principles or anything under `evaluation`. `engine` and `resources` change no
  result.
- Responses for training depend on the policy that draws them, and not on what is made of them: methods share those of
  the base model. Their relevance, rewards and labels depend on how these are told, too, and a reward model on the
  responses of iteration 1.
- Held-out responses depend on the policy, task, constitutions, held-out queries, how responses to them are sampled and
  whether prompts hold the constitution, and the seed, and where the best of several is kept, on how many and on the
  reward, with its reward model where it is learned; relevance also on how it is told; verdicts on both policies, the
  judge, with the reward model where it is one, and `evaluation.judged`. Those that are asked for attributes also depend
  on `method.steering` and on the labels of iteration 1, but on no prompt with a constitution.

Principles that a model writes can come out differently each time, so experiments with such principles share nothing.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sami.records import BASE, policy_name
from sami.settings.experiment import Experiment
from sami.settings.rewards import LearnedReward, Reward
from sami.workflow import layout
from sami.workflow.configuration import Configuration
from sami.workflow.policies import comparisons, models_by_policy

# Of an iteration, in the order of their making: nothing but training, and what stands before it, reads these.
BEFORE_TRAINING = (
    layout.RESPONSES,
    layout.SAMPLING_COUNTS,
    layout.TRAINING_RELEVANCE,
    layout.COMPARISONS,
    layout.REWARD_MODEL,
    layout.REWARD_MODEL_SCORES,
    layout.REWARDS,
    layout.PAIRS,
    layout.EXAMPLES,
    layout.EXAMPLE_COUNTS,
)
OF_TRAINING = (layout.MODEL, layout.TRAINING_LOG)

Rewards = Mapping[str, Reward]


def owners(configuration: Configuration) -> dict[str, dict[str, str]]:
    """Experiment -> path in its folder -> the other experiment that makes this file or model for it."""
    run = [name for name in configuration.usable if name in configuration.run]
    others = [name for name in configuration.usable if name not in run]
    makers: dict[tuple[str, str], str] = {}
    found: dict[str, dict[str, str]] = {}
    for name in [*run, *others]:
        for path, origin in shared_files(configuration, name).items():
            maker = makers.setdefault((path, origin), name) if name in run else makers.get((path, origin), name)
            if maker != name:
                found.setdefault(name, {})[path] = maker
    return found


def shared_files(configuration: Configuration, experiment: str) -> Mapping[str, str]:
    """Files and models that other experiments may have, too: path in the experiment's folder -> all it depends on."""
    settings = configuration.experiments[experiment]
    if settings.external or not configuration.writers[settings.constitutions.writer].is_human:
        return {}
    rewards = configuration.rewards_of(experiment)
    relevance = configuration.training_relevance(experiment)
    best = {name: configuration.rewards_of(experiment, name) for name in settings.evaluation.best}
    found = _trained(settings, rewards, relevance)
    learned = {judge for judge in settings.evaluation.judges if configuration.reads_reward_model(judge)}
    found |= _evaluated(settings, rewards, best, learned, found)
    return {path: repr(values) for path, values in found.items()}


def _policy(settings: Experiment, rewards: Rewards, iteration: int) -> list[Any]:
    """All that policy 0, ..., T depends on."""
    if iteration == 0:
        return [settings.model]
    sampling = settings.sampling if settings.method.draws_responses else None
    method = settings.method.as_trained(iteration)
    return [settings.model, *_queries(settings, iteration), method, rewards, sampling, settings.training]


def _queries(settings: Experiment, iteration: int) -> list[Any]:
    """All that the training queries up to an iteration and their constitutions depend on."""
    # Training queries that are held out as well are left out, so these count, too.
    counts = settings.queries.eval, settings.fresh_counts()[:iteration]
    constitutions = settings.constitutions.model_copy(update={"held_out": None})
    return [settings.task, constitutions, *counts, settings.seed]


def _trained(settings: Experiment, rewards: Rewards, relevance: int | None) -> dict[str, list[Any]]:
    """What each iteration leaves -> all it depends on."""
    found: dict[str, list[Any]] = {}
    method = settings.method
    for t in range(1, settings.iterations + 1):
        made = [
            *([layout.PAIRS] if method.makes_pairs(t) else []),
            layout.EXAMPLES,
            layout.EXAMPLE_COUNTS,
            *OF_TRAINING,
        ]
        found |= {path.format(iteration=t): _policy(settings, rewards, t) for path in made}
        if method.samples(t):
            drawn = [*_policy(settings, rewards, method.sampled_policy(t)), settings.sampling, method.sampled_under]
            drawn += [method.demonstration_file, *_queries(settings, t)]
            told = {layout.RESPONSES: [], layout.SAMPLING_COUNTS: []}
            told |= {layout.TRAINING_RELEVANCE: [settings.model, relevance]} if relevance else {}
            learned = [settings.training.precision] if _is_learned(rewards) else []  # by a model that is trained so
            told |= {layout.REWARDS: [settings.model, rewards, *learned]} if rewards else {}
            if learned and t == 1:
                of_model = (layout.COMPARISONS, layout.REWARD_MODEL, layout.REWARD_MODEL_SCORES)
                found |= {path: [*drawn, settings.model, rewards, *learned] for path in of_model}
            if method.labelling:
                predicted = [settings.training.precision] if method.labelled_share else []
                told |= {layout.LABELS: [*method.labelling, *predicted]}
            drawn += [method.labels_asked(t), method.labels_fixed] if method.labels_asked(t) else []
            found |= {path.format(iteration=t): [*drawn, *more] for path, more in told.items()}
    return found


def _is_learned(rewards: Rewards) -> bool:
    return any(isinstance(reward, LearnedReward) for reward in rewards.values())


def _evaluated(
    settings: Experiment,
    rewards: Rewards,
    best: Mapping[str, Rewards],
    learned: Collection[str],
    trained: Mapping[str, list[Any]],
) -> dict[str, list[Any]]:
    """What the evaluation of each policy leaves -> all it depends on.

    Args:
        rewards: of the method.
        best: of each policy that keeps the best of several responses.
        learned: judges that read the reward model.
        trained: as `_trained` gives it: policies are asked for the usual values of the labels of iteration 1, and the
            reward model chooses among candidates and judges.
    """
    reward_model = trained.get(layout.REWARD_MODEL, [])
    labels = trained.get(layout.LABELS.format(iteration=1))
    evaluation, relevance = settings.evaluation, settings.relevance_model
    held_out = settings.queries.split, settings.queries.held_out
    common = [settings.task, settings.constitutions, held_out, evaluation.sampling, evaluation.sampled_under]
    policies = {name: [model] for name, model in models_by_policy(settings).items()}
    policies |= {f"iteration-{t}": _policy(settings, rewards, t) for t in range(settings.iterations + 1)}
    known = {name: [*common, settings.seed, *of, evaluation.constitution_of(name)] for name, of in policies.items()}
    found = {}
    for name, told in best.items():
        drawn = [*known[evaluation.responding(name)], evaluation.best[name].best_of.responses]
        found[layout.CANDIDATES.format(policy=name)] = drawn
        known[name] = [
            *drawn,
            settings.model,
            told,
            *(reward_model if _is_learned(told) else []),
        ]
    found |= {layout.EVAL_RESPONSES.format(policy=name): of for name, of in known.items()}
    if relevance:
        told = [relevance, evaluation.relevance]
        found |= {layout.RELEVANCE.format(policy=name): [*of, *told] for name, of in known.items()}
    if settings.method.steers and labels:
        steered = [*common[:3], evaluation.sampling, settings.seed, settings.method.steering, labels]
        found |= {layout.STEERED.format(policy=name): [*steered, *of] for name, of in policies.items()}
    if settings.scored:
        scored = range(settings.iterations + 1)
        found |= {layout.SCORES.format(iteration=t): [*known[f"iteration-{t}"], *known[BASE]] for t in scored}
    for policy, judge, comparator in comparisons(settings):
        if {policy, policy_name(comparator)} <= known.keys():
            path = layout.VERDICTS.format(policy=policy, judge=judge, comparator=comparator)
            model = reward_model if judge in learned else []
            found[path] = [known[policy], known[policy_name(comparator)], evaluation.judged, *model]
    return found
