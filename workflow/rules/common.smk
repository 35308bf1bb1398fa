"""Functions that the rules share; paths, arguments and resources themselves are made in `sami.workflow`."""

import inspect
import re

from sami.analysis.figures import catalogue as figures
from sami.analysis.tables import catalogue as tables
from sami.provenance import code_digest
from sami.records import BASE
from sami.settings.endpoints import Limits
from sami.settings.judges import IdentificationJudge, LearnedJudge
from sami.settings.methods import METHODS
from sami.workflow import layout, resources, sharing
from sami.workflow.arguments import Arguments, as_json, bare_prompts, flag, prompts, reward_models
from sami.workflow.configuration import local_model
from sami.workflow.inputs import Inputs
from sami.workflow.policies import comparisons, models_by_policy, policies, response_files
from sami.workflow.resources import Jobs

INPUTS, ARGUMENTS, JOBS = Inputs(SETTINGS), Arguments(SETTINGS), Jobs(SETTINGS)
RESULTS, RESOURCES = LAYOUT.results, LAYOUT.resources
DOWNLOADS = INPUTS.downloads()
OWNERS = sharing.owners(SETTINGS)


def one_of(names):
    """Pattern of a wildcard that is one of some names; matches nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def experiments(wanted):
    """Pattern of the experiments for whose settings a function is true."""
    return one_of(name for name, settings in SETTINGS.experiments.items() if wanted(settings))


def before(patterns):
    """Pattern of an experiment before some paths in its folder, where a path goes {experiment}/...

    Args:
        patterns: experiment -> pattern of the beginnings of such paths.
    """
    return "|".join(f"{re.escape(name)}(?=/(?:{pattern}))" for name, pattern in patterns.items()) or "(?!)"


def shared_with(wanted):
    """Pattern of experiments before those of the paths that they copy for which a function is true."""
    return before({name: f"(?:{one_of(filter(wanted, owners))})$" for name, owners in OWNERS.items()})


def is_model(path):
    return os.path.basename(path) in {os.path.basename(folder) for folder in (layout.MODEL, layout.REWARD_MODEL)}


POLICIES = sorted({name for settings in SETTINGS.experiments.values() for name in policies(settings)})
EXTERNAL = experiments(lambda settings: settings.external)
# Their results lie beside those of the experiments.
COMPARISONS = one_of(SETTINGS.root.compare.keys() - SETTINGS.method_comparisons)
METHOD_COMPARISONS = one_of(SETTINGS.method_comparisons)
WITH_SEEDS = one_of(SETTINGS.seeds)
TRAINED = experiments(lambda settings: not settings.external)
# Those that a method makes training examples for, by its name.
BY_METHOD = {n: experiments(lambda e, n=n: not e.external and e.method.name == n) for n in METHODS}
WITH_TRAINING_RELEVANCE = one_of(
    n for n, e in SETTINGS.experiments.items() if not e.external and SETTINGS.training_relevance(n)
)
WITH_LEARNED_REWARD = one_of(
    n for n, e in SETTINGS.experiments.items() if not e.external and SETTINGS.learned_reward(n)
)
REWARDED = [n for n, e in SETTINGS.experiments.items() if not e.external and e.method.reward_name]
# Before the folders of iterations whose training examples are pairs.
WITH_PAIRS = before(
    {
        n: f"iteration-(?:{one_of(paired)})/"
        for n, e in SETTINGS.experiments.items()
        if (paired := [str(t) for t in range(1, 1 + e.iterations) if not e.external and e.method.makes_pairs(t)])
    }
)
# Before the folders of policies that keep the best of several responses.
BEST = before({n: f"(?:{one_of(e.evaluation.best)})/" for n, e in SETTINGS.experiments.items()})
WITH_HELD_OUT = experiments(lambda settings: not settings.external and settings.constitutions.held_out)


wildcard_constraints:
    experiment=one_of(SETTINGS.experiments),
    iteration=r"\d+",
    policy=rf"iteration-\d+|{one_of(POLICIES)}",
    comparator=rf"base|iteration-\d+|{one_of(POLICIES)}",
    shard=r"\d+-of-\d+",


def settings_of(wildcards):
    return SETTINGS.experiments[wildcards.experiment]


def judge_of(wildcards):
    return SETTINGS.judges[wildcards.judge]


def writer_of(wildcards):
    return INPUTS.writer(wildcards.experiment)


def by_wildcards(function, **others):
    """Input or parameter function: calls a function with those of a job's wildcards that it takes, by name."""
    names = [name for name in inspect.signature(function).parameters if name not in others]
    return lambda wildcards: function(**{name: getattr(wildcards, name) for name in names}, **others)


def slice_of(*keys):
    """Parameter function: the settings of the experiment under the given keys, as JSON."""

    def parameter(wildcards):
        value = settings_of(wildcards)
        for key in keys:
            value = getattr(value, key)
        return as_json(value)

    return parameter


def prompts_of(wildcards):
    return prompts(INPUTS.task(wildcards.experiment).prompts)


def seed_of(wildcards):
    return settings_of(wildcards).seed


def uniform(value, function=None):
    """A resource or the like, plain where all experiments agree: Snakemake calls a function anew for each of many jobs.

    Args:
        value: function of the settings of an experiment.
        function: of the wildcards and the like, used where they differ.
    """
    values = {value(settings) for settings in SETTINGS.experiments.values()}
    return values.pop() if len(values) == 1 else function or (lambda wildcards: value(settings_of(wildcards)))


in_experiment = LAYOUT.pattern


def environment_of(runs_model):
    """Environment for `--sdm conda` of a job that may run a model itself, as a function of its wildcards tells."""
    return lambda wildcards: f"../../envs/{'training' if runs_model(wildcards) else 'analysis'}.yaml"


def sampling_environment(sampling_of):
    """Environment for `--sdm conda` of a job that samples; a function tells which settings of an experiment it uses."""
    return uniform(lambda e: f"../../envs/{'sampling' if sampling_of(e).sampler == 'vllm' else 'training'}.yaml")


def sampling_code(sampling_of, name="sample_responses"):
    """Digest of the code of a stage that samples, without that of the other sampler."""
    others = {"vllm": ("sampling.transformers_sampler",), "transformers": ("sampling.vllm_sampler",)}
    return uniform(lambda e: code_digest(name, without=others[sampling_of(e).sampler]))


def chunk_argument(wildcards, input):
    """Argument of a stage: the chunks that it joins."""
    return flag("shards", layout.all_chunks(input.shards))


def sampling_kind(wildcards, input):
    return "light" if input.shards else "sample"


def kind_of(kind, wildcards, input):
    return kind(wildcards, input) if callable(kind) else kind


def job_settings(kind, wildcards, input):
    """The settings of what a job asks for; where several experiments share it, of the one that asks for the most."""
    kind, names = kind_of(kind, wildcards, input), dict(wildcards.items())
    return JOBS.largest(JOBS.users(names.get("experiment"), names.get("model")), kind)


def cores(kind):
    """Threads of a job."""

    def threads(wildcards, input):
        heavy = kind_of(kind, wildcards, input) in resources.RUN_A_MODEL
        return job_settings(kind, wildcards, input).cores or (HEAVY_THREADS if heavy else 1)

    return threads


def job_resources(kind, resumes=False):
    """Resources of a rule, as the settings give them.

    Args:
        kind: of its jobs, or a function of wildcards and input that tells it.
        resumes: whether a job goes on where it was, when it is tried again.
    """

    def memory(wildcards, input, attempt, rulename):
        return ESCALATION.memory(job_settings(kind, wildcards, input), rulename, tuple(wildcards), attempt)

    def minutes(wildcards, input, attempt, rulename):
        job = job_settings(kind, wildcards, input)
        return job.runtime if resumes else ESCALATION.minutes(job, rulename, tuple(wildcards), attempt)

    def resource(value):
        function = lambda wildcards, input: value(job_settings(kind, wildcards, input))
        return function if callable(kind) else uniform(lambda settings: value(settings.resources.of(kind)), function)

    used = {name: resource(value) for name, value in JOBS.resources(resumes).items()}
    return used | ({"mem_mb": memory, "runtime": minutes} if ESCALATION.nodes else {})


def stage(name):
    """Beginning of a rule's command. `exec` makes the stage a child of the workflow, so that it ends with it."""
    return f"exec python -m sami.stages.{name} --threads {{threads}} --log {{log:q}} "


def experiment_figures(settings):
    """The figures in the catalogue that an experiment has."""
    return figures.of_experiment(not settings.external, settings.scored, bool(settings.constitutions.held_out))


def figures_of(experiment):
    """The files of all figures of an experiment."""
    shown = experiment_figures(SETTINGS.experiments[experiment])
    return [LAYOUT.path(f"figures/{file}", experiment) for file in figures.files(shown)]


def steering_files(experiment):
    """The tables and figures on what an experiment's policies make of attributes; none where they know of none."""
    settings = SETTINGS.experiments[experiment]
    if settings.external or not settings.method.steers:
        return []
    shown = figures.files(figures.figures("steering"))
    paths = [f"{layout.STEERING_TABLES}/{file}" for file in tables.files("steering")]
    paths += [f"{layout.STEERING_FIGURES}/{file}" for file in shown]
    if settings.method.labelled_share:
        paths += [f"{layout.LABEL_TABLES}/{file}" for file in tables.files("labels")]
    return [LAYOUT.path(path, experiment) for path in paths]


def screening_files(experiment):
    """The tables and figures on what the base model hears of an experiment's pairs; none where it trains nothing."""
    if SETTINGS.experiments[experiment].external:
        return []
    paths = [f"{layout.SCREENING_TABLES}/{file}" for file in tables.files("screening")]
    paths += [f"{layout.SCREENING_FIGURES}/{file}" for file in figures.files(figures.figures("screening"))]
    return [LAYOUT.path(path, experiment) for path in paths]


def own_files(experiment):
    """The same where some of the pairs are kept, else nobody has asked; and the tables of judges by identification."""
    kept = screening_files(experiment) if SETTINGS.experiments[experiment].constitutions.keep else []
    if experiment in SETTINGS.unusable or not SETTINGS.identifying(experiment):
        return kept
    names = tables.files("identification")
    return kept + [LAYOUT.path(f"{layout.IDENTIFICATION_TABLES}/{file}", experiment) for file in names]


def report_folders(experiment, folder):
    """Folders of tables or figures that an experiment's page shows: its own, and those on other things."""
    found = [os.path.dirname(path) for path in own_files(experiment) + steering_files(experiment)]
    return [LAYOUT.path(folder, experiment), *dict.fromkeys(path for path in found if os.path.basename(path) == folder)]


def reward_model_files(experiment):
    """What is measured of an experiment's reward model; none where it has none."""
    settings = SETTINGS.experiments[experiment]
    learned = not settings.external and SETTINGS.learned_reward(experiment)
    return [LAYOUT.path(layout.REWARD_MODEL_MEASURES, experiment)] if learned else []


def experiment_targets(experiment):
    """Files that a whole experiment leaves for people to read."""
    pages = [LAYOUT.path(path, experiment) for path in (layout.REPORT, layout.SUMMARY)]
    files = figures_of(experiment) + own_files(experiment) + steering_files(experiment)
    return pages + files + reward_model_files(experiment)


def group_targets(name):
    """The tables and figures of a comparison, or of runs with several seeds, joined."""
    of = {"seeds": SETTINGS.seeds, "methods": SETTINGS.method_comparisons, "comparison": SETTINGS.root.compare}
    kind = next(kind for kind, named in of.items() if name in named)
    shown = figures.files(figures.figures(kind))
    paths = [f"tables/{file}" for file in tables.files(kind)] + [f"figures/{file}" for file in shown]
    return [LAYOUT.path(path, name) for path in paths]


def printed_targets():
    """All tables and figures of the experiments that are requested, and of what compares or joins them."""
    for experiment in REQUESTED:
        yield from [LAYOUT.path(f"tables/{file}", experiment) for file in tables.files()]
        yield from figures_of(experiment) + own_files(experiment) + steering_files(experiment)
    for group in targets.requested_groups(SETTINGS, OPTIONS.targets):
        yield from group_targets(group)


def target_name(name):
    """The name, if a rule may have it."""
    if workflow.is_rule(name):
        where = SETTINGS.sources.where(("compare" if name in SETTINGS.root.compare else "experiments", name))
        refuse(f"{where}: found the name '{name}', which a rule of the workflow has. Rename the entry.")
    return name


def target_files(name):
    """Files that an experiment or a comparison leaves for people to read; none where it is only planned or screened."""
    if PLANNED or SCREENED_ONLY:
        return []
    runs = [experiment_targets(run) for run in SETTINGS.seeds.get(name, [])]
    return [*group_targets(name), *runs] if name in SETTINGS.groups else experiment_targets(name)


def served_model_folder(model):
    if MAIN_PROCESS and workflow.resource_settings.cores == 1:
        refuse(
            f"the model '{model}' is served while another job asks it, which takes two cores: found --cores 1, expected "
            "2 or more. Raise it, or take a writer and judges without 'serve'."
        )
    return LAYOUT.model(model)


def writing_kind(wildcards, input):
    return "write" if writer_of(wildcards).runs_model else "light"


def writing_code(wildcards):
    """Digest of the code that writes principles, without that of writers that the experiment does not have."""
    writer = writer_of(wildcards)
    places = {"endpoints.writer": writer.asks_endpoint, "sampling.local_writer": writer.runs_model}
    return code_digest("write_principles", without=tuple(place for place, used in places.items() if not used))


def writer_server(path):
    """Input function: the server of a writer that the workflow serves itself."""
    return lambda wildcards: LAYOUT.path(path, wildcards.experiment) if writer_of(wildcards).serve else []


def judges(wanted):
    """Pattern of the judges for which a function is true."""
    return one_of(name for name, judge in SETTINGS.judges.items() if wanted(judge))


def judging_kind(wildcards, input):
    return "score" if judge_of(wildcards).runs_model else "judge"


def rewards_of(wildcards):
    """Rewards of the responses for training, or of those of which the policy of a job keeps the best."""
    return SETTINGS.rewards_of(wildcards.experiment, wildcards.get("policy"))


def reward_judges(wildcards):
    return SETTINGS.reward_judges(rewards_of(wildcards)).values()


def rewards_kind(wildcards, input):
    return "judge" if any(judge.asks_endpoint for judge in reward_judges(wildcards)) else "light"


def rewards_code(wildcards):
    """Digest of the code that rewards, without that of judges and of reward models where there are none."""
    learned = SETTINGS.learned_reward(wildcards.experiment, wildcards.get("policy"))
    without = () if learned else ("rewards.learned", "rewards.reward_model")
    return code_digest("score_rewards", without=without if reward_judges(wildcards) else (*without, "rewards.judged"))


def models_of_rewards(wildcards, input):
    """Arguments of a job that rewards: the models that it needs."""
    return reward_models(list(input.models), str(input.reward_model), str(input.base_model))


def rewards_run_model(experiment, policy=None):
    """Whether a reward is a model of this machine or cluster, or asks a judge that is one."""
    judges = SETTINGS.reward_judges(SETTINGS.rewards_of(experiment, policy)).values()
    return bool(SETTINGS.learned_reward(experiment, policy)) or any(judge.runs_model for judge in judges)


def best_policies(run_model):
    """Pattern of experiments before policies that keep the best by a reward with a model of this machine, or without."""
    chosen = lambda name: [
        p for p in SETTINGS.experiments[name].evaluation.best if rewards_run_model(name, p) == run_model
    ]
    return before({name: f"(?:{one_of(chosen(name))})/" for name in SETTINGS.experiments})


def group_inputs(*paths):
    """Input function: files of each experiment that is compared or joined; the group's name stands for an experiment's."""
    return lambda wildcards: INPUTS.of_group(wildcards.experiment, *paths)


def tables_of_group(wildcards):
    """Parameter function: the folders of tables of these experiments."""
    return [os.path.dirname(file) for file in INPUTS.of_group(wildcards.experiment, layout.SUMMARY)]


def first_of_group(wildcards):
    """The settings of the experiment that others are compared with, or of the first run that is joined."""
    return SETTINGS.experiments[SETTINGS.groups[wildcards.experiment][0]]


def outputs(entries, folder):
    """Patterns of the files of tables or figures in the catalogue; what Snakemake's report shows has its caption."""
    for entry in entries:
        for file in entry.files:
            path = in_experiment(f"{folder}/{file}")
            labels = {"shows": entry.name.replace("_", " "), "kind": os.path.basename(folder).removesuffix("s")}
            caption = f"../report/{entry.caption_file}"
            shown = file == entry.reported_file
            yield report(path, caption=caption, category="{experiment}", labels=labels) if shown else path


def rules_of_figures():
    """(name of a rule, the figures it draws, pattern of the experiments or comparisons that have these)."""
    names = {  # trains, scores its policies, has held-out principles
        (True, True, False): "plot_figures",
        (True, True, True): "plot_figures_with_held_out",
        (True, False, False): "plot_figures_without_scores",
        (True, False, True): "plot_figures_with_held_out_without_scores",
        (False, False, False): "plot_figures_without_training",
        (False, False, True): "plot_figures_with_held_out_without_training",
    }
    for kind, name in names.items():
        shown = figures.of_experiment(*kind)
        yield name, shown, experiments(lambda settings, shown=shown: experiment_figures(settings) == shown)
    yield "plot_comparison", figures.figures("comparison"), COMPARISONS
    yield "plot_methods", figures.figures("methods"), METHOD_COMPARISONS
    yield "plot_seeds", figures.figures("seeds"), WITH_SEEDS
