"""Files that a configuration names: principles, queries and responses, as far as they are on this machine."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sami.data import authors_format, demonstrations, external_responses, queries
from sami.data.constitutions import build, build_held_out, by_set, check_held_out, empty_examples
from sami.data.data_files import local
from sami.data.labels import label_string
from sami.data.principles import from_people
from sami.endpoints.requests import tokens_of
from sami.errors import UserError, plain, within
from sami.records import BASE, Constitution
from sami.settings.judges import IdentificationJudge, LearnedJudge
from sami.settings.rewards import LearnedReward, Reward
from sami.settings.tasks import Task
from sami.workflow.configuration import Configuration
from sami.workflow.plan.model_sizes import context_length
from sami.workflow.policies import response_files

log = logging.getLogger(__name__)

MOST_DEMONSTRATIONS = 9  # fewer than ten
CHECKED_BYTES = 50 * 2**20  # larger files of queries take longer to read than a start may take


def check_writer(configuration: Configuration, experiment: str) -> None:
    """A person's principles are in the file; a model writer needs behaviours or a task to write about."""
    constitutions = configuration.experiments[experiment].constitutions
    writer = configuration.writers[constitutions.writer]
    for key in ("principles", "held_out"):
        name = getattr(constitutions, key)
        found = configuration.principle_files[name].key if name is not None else writer.needs
        if found != writer.needs:
            asks = f" and asks for {writer.needs}" if not writer.is_human and found != "pairs" else ""
            raise UserError(
                f"{configuration.where(experiment, 'constitutions', key)}: found '{name}', a file with '{found}', "
                f"expected one with '{writer.needs}', since the writer '{constitutions.writer}' is of kind "
                f"{writer.kind}{asks}. Name another file of {configuration.root.constitutions}, or another writer."
            )
    _check_kept(configuration, experiment)


def _check_kept(configuration: Configuration, experiment: str) -> None:
    """There are more pairs than are kept, and nothing else needs to know which before they are chosen."""
    settings = configuration.experiments[experiment]
    constitutions, keep = settings.constitutions, settings.constitutions.keep
    where = configuration.where(experiment, "constitutions", "keep")
    pairs = configuration.pairs(experiment)
    if keep is not None and pairs < keep:
        raise UserError(
            f"{where}: found {keep}, expected at most {pairs}, since there are no more pairs to keep some of: that is "
            f"the number of {configuration.root.constitutions}/{constitutions.principles}.yaml, times 'candidates: "
            f"{constitutions.candidates}' where a model writes. Lower 'keep', or propose more."
        )
    if keep is not None and settings.external:
        raise UserError(
            f"{where}: found {keep}, but 'external' responses were made for all principles, expected null. Delete the "
            "key, and leave pairs out of the file."
        )
    if keep is not None and settings.method.labelling:
        raise UserError(
            f"{where}: found {keep}, but the method '{settings.method.name}' labels responses by the principles of the "
            "file, and which are kept is not known before; expected null. Screen the file with 'snakemake screen', "
            "and leave pairs out of it."
        )


def check_constitutions(configuration: Configuration, experiment: str) -> list[Constitution]:
    """A person's principles can be made into sets of different constitutions; held-out principles are others.

    Returns:
        The constitutions that the experiment will evaluate, none where a model is still to write the principles, or
        some of them are still to be chosen.
    """
    settings, seed = configuration.experiments[experiment].constitutions, configuration.experiments[experiment].seed
    training, held_out = (
        (f"{configuration.root.constitutions}/{name}.yaml", configuration.principle_files[name]) if name else None
        for name in (settings.principles, settings.held_out)
    )
    if held_out and held_out[1].behaviours:
        with within(f"{held_out[0]} (held out), {training[0]}"):
            check_held_out(*({b.id: [b.description] for b in file.behaviours} for _, file in (training, held_out)))
    if not training[1].pairs:
        return []
    principles = from_people(training[1], settings.writer)
    with within(training[0]):
        built = build(principles, settings, seed)
    if settings.keep is not None:
        return []
    if held_out:
        with within(f"{held_out[0]} (held out), {training[0]}"):
            built += build_held_out(from_people(held_out[1], settings.writer), principles, settings, seed)
    return built


def check_external(configuration: Configuration, name: str) -> None:
    """The files of responses are there, about the same queries, and under constitutions that the principles make.

    Reading them takes no time, so the whole import is tried.
    """
    experiment = configuration.experiments[name]
    released, constitutions = experiment.external, experiment.constitutions
    kind = configuration.writers[constitutions.writer].kind
    if kind != "human":
        raise UserError(
            f"{configuration.where(name, 'constitutions', 'writer')}: found '{constitutions.writer}', a writer of kind "
            f"{kind}, expected one of kind human, since the principles of imported responses are written already. "
            "Set it to human."
        )
    files = {policy: path for policy, (path, address) in response_files(experiment).items()
             if os.path.exists(path) or not address}  # fmt: skip
    if files and not Path(released.folder).is_dir():
        raise UserError(
            f"{configuration.where(name, 'external', 'folder')}: found {plain(released.folder)}, but there is no such "
            f"folder; expected one with the files {', '.join(released.policies.values())}. Those that the SAMI "
            "authors released are in github.com/janphilippfranken/sami, folders experiments/*/results: copy them, set "
            "the key to where they are, or 'source' to the web address of such a folder."
        )
    built = check_constitutions(configuration, name)
    if BASE in files:
        with within(configuration.where(name, "external", "policies", BASE)):
            asked = authors_format.queries(files[BASE], experiment.task, experiment.queries.eval)
        for policy, file in files.items():
            with within(configuration.where(name, "external", "policies", policy)):
                authors_format.examples(file, asked, built, policy)


def check_response_files(configuration: Configuration, name: str) -> None:
    """Policies that are files of responses are there, and have what is judged, where queries and principles are known.

    Files that another experiment makes, or that come from the web, are looked at when they are imported.
    """
    experiment = configuration.experiments[name]
    for policy, (path, address) in response_files(experiment).items():
        where = configuration.where(name, "evaluation", "policies", policy, "responses")
        if external_responses.experiment_of(path, configuration.root.results) in configuration.experiments:
            continue
        if not os.path.exists(path):
            if address:
                continue
            raise UserError(
                f"{where}: found {plain(path)}, but there is no such file; expected responses in the SAMI authors' "
                "format (.json), or held-out responses of another experiment (results/*/*/eval/responses.jsonl). Mend "
                "the path, or set 'source' to the web address of the file's folder."
            )
        with within(where):
            _check_covers(configuration, name, path)


def _check_covers(configuration: Configuration, name: str, path: str) -> None:
    """Raises UserError where a file of responses cannot have all that is judged."""
    experiment, responses = configuration.experiments[name], external_responses.read(path)
    count, questions = experiment.queries.held_out, len({response.key[0] for response in responses})
    if questions < count:
        raise UserError(
            f"{path}: found responses to {questions} different questions, expected one to each of the {count} held-out "
            f"queries ('queries.{experiment.queries.split}'). Lower that, or name another file."
        )
    asked = getattr(configuration.tasks[experiment.task], experiment.queries.split)
    sets = by_set(check_constitutions(configuration, name))
    if sets and _quickly_read(Path(asked.path)):
        by_id = {query.id: query for query in queries.load(asked, experiment.task)[:count]}
        evaluation, constitutions = experiment.evaluation, experiment.constitutions
        how = evaluation.sampling.responses, BASE, experiment.seed, constitutions.shuffle
        how = *how, evaluation.sampled_under == "positive"
        constitutions = {constitution.id: constitution for members in sets.values() for constitution in members}
        examples = empty_examples(list(by_id), sets, *how)
        external_responses.match(path, responses, examples, by_id, constitutions, name, experiment.evaluation.judged)


def check_counts(configuration: Configuration, name: str, screened: bool = False) -> None:
    """Every iteration uses fresh queries, so their counts add up; what principles are screened on is no part of them.

    Args:
        screened: whether they are screened, also where all of them are kept.
    """
    experiment = configuration.experiments[name]
    task = configuration.tasks[experiment.task]
    counts = list(filter(None, experiment.fresh_counts()))
    file = f"{configuration.root.tasks}/{experiment.task}.yaml"
    if experiment.queries.test is not None and task.test is None:
        raise UserError(
            f"{configuration.where(name, 'queries', 'test')}: found {experiment.queries.test}, but {file} names no "
            "'test', where queries for a test come from; expected null, or a task with one. Delete the key, or write "
            "'test' there as 'eval' is written."
        )
    constitutions, there = experiment.constitutions, task.train.count
    asked = sum(counts) + constitutions.screen_queries
    if (screened or constitutions.keep is not None) and asked > there:
        raise UserError(
            f"{configuration.where(name, 'constitutions', 'screen_queries')}: found {constitutions.screen_queries} "
            f"queries to screen principles on, beside {sum(counts)} for training ('queries.train'), expected at most "
            f"{there} together, which is 'train.count' in {file}, since no query may serve both. Lower one of them, or "
            "add queries."
        )
    test = experiment.queries.test or 0
    added = f" ({' + '.join(map(str, counts))})" if len(counts) > 1 else ""
    for key, asked, found, there in (
        ("train", sum(counts), f"{sum(counts)}{added}", task.train.count),
        ("eval", experiment.queries.eval, experiment.queries.eval, task.eval.count),
        ("test", test, test, task.test.count if task.test else 0),
    ):
        if asked > there:
            raise UserError(
                f"{configuration.where(name, 'queries', key)}: more queries asked than there are: found {found}, "
                f"expected at most {there}, which is '{key}.count' in {file}. Lower the one or raise the other."
            )


def check_method(configuration: Configuration, name: str) -> None:
    """The task has what the method makes training examples of."""
    experiment = configuration.experiments[name]
    try:
        experiment.method.check_task(configuration.tasks[experiment.task])
    except ValueError as error:
        raise UserError(f"{configuration.root.tasks}/{experiment.task}.yaml: {error} (experiment '{name}').") from None


def check_evaluation(configuration: Configuration, name: str) -> None:
    """There is a prompt with the query alone, where policies are evaluated so, and checks that are held out."""
    experiment = configuration.experiments[name]
    _check_held_out_checks(configuration, name)
    asked_alone = experiment.evaluation.constitution == "left-out"
    if asked_alone and configuration.tasks[experiment.task].prompts.without_constitution is None:
        raise UserError(
            f"{configuration.root.tasks}/{experiment.task}.yaml: prompts.without_constitution: found null, expected "
            "the prompt with the query alone, which 'evaluation.constitution: left-out' puts to policies; write it, or "
            f"set 'evaluation.constitution' to in-prompt (experiment '{name}')."
        )


def _check_held_out_checks(configuration: Configuration, name: str) -> None:
    """Some principle has a held-out check, where a judge counts these: without any, all its verdicts are invalid."""
    experiment = configuration.experiments[name]
    file = experiment.constitutions.principles
    sides = [side for pair in configuration.principle_files[file].pairs for side in (pair.principle, pair.opposite)]
    for judge in experiment.evaluation.judges:
        if configuration.judges[judge].reads_held_out_checks and not any(side.held_out_check for side in sides):
            raise UserError(
                f"{configuration.root.constitutions}/{file}.yaml: found no 'held_out_check', expected one of each "
                f"principle, which the judge '{judge}' counts; write them, or take '{judge}' out of "
                f"'evaluation.judges' (experiment '{name}')."
            )


def check_demonstrations(configuration: Configuration, name: str) -> None:
    """The file of demonstrations has as many queries as are asked, none of which is held out."""
    experiment = configuration.experiments[name]
    path = experiment.method.demonstration_file
    if path is None:
        return
    with within(configuration.where(name, "method", "demonstrations")):
        found = demonstrations.read(path)
    asked = demonstrations.queries(found, experiment.task)
    where, count = configuration.where(name, "queries", "train"), len(asked)
    if set(experiment.train_counts()) != {count}:
        raise UserError(
            f"{where}: found {experiment.queries.train}, expected {count}, the number of different queries in {path}, "
            f"all of which every iteration asks. Set it to {count}."
        )
    if len(found) > MOST_DEMONSTRATIONS:
        log.warning(
            "%s: %d demonstrations; the method '%s' is made for fewer than ten, of which each iteration samples all "
            "queries", path, len(found), experiment.method.name,
        )  # fmt: skip
    task = configuration.tasks[experiment.task]
    for part in filter(None, (task.eval, task.test)):
        if all(local(file) and _quickly_read(Path(file)) for file in part.paths):
            with within(f"{path}, {', '.join(part.paths)}"):
                queries.check_disjoint(asked, queries.load(part, experiment.task))


def check_relevance(configuration: Configuration, name: str) -> None:
    """There are a prompt with the query alone and two queries, where it is told whether responses belong to theirs."""
    experiment = configuration.experiments[name]
    asked = experiment.queries
    training = "'method.relevance' to null"
    if not experiment.method.relevance_others:
        training = "'method.reward' to one that reads no relevance"
    cases = [
        ("'evaluation.relevance' to null", asked.split, asked.held_out, experiment.relevance_model),
        (training, "train", min(experiment.train_counts()), configuration.training_relevance(name)),
    ]
    for policy in experiment.evaluation.best:
        instead = f"'evaluation.policies.{policy}.best_of.reward' to one that reads no relevance"
        cases.append((instead, asked.split, asked.held_out, configuration.candidate_relevance(name, policy)))
    for instead, part, count, told in cases:
        if told is None:
            continue
        if configuration.tasks[experiment.task].prompts.without_constitution is None:
            raise UserError(
                f"{configuration.root.tasks}/{experiment.task}.yaml: prompts.without_constitution: found null, "
                f"expected the prompt with the query alone, under which relevance is told; write it, or set "
                f"{instead} (experiment '{name}')."
            )
        if count < 2:
            raise UserError(
                f"{configuration.where(name, 'queries', part)}: found {count}, expected at least 2, since relevance "
                f"is about which query a response belongs to; raise it, or set {instead}."
            )


def check_labels(configuration: Configuration, name: str) -> None:
    """The attributes of label strings, where the method has any, are principles with a check, and not too many."""
    file = configuration.experiments[name].constitutions.principles
    try:
        attributes = configuration.attributes(name)
    except ValueError as error:
        raise UserError(
            f"{configuration.root.constitutions}/{file}.yaml: {error} (experiment '{name}'). Write a check, or set "
            "'method.attributes' to others."
        ) from None
    if attributes:
        _check_room(configuration, name, attributes)


def _check_room(configuration: Configuration, name: str, attributes: list[str]) -> None:
    """A label string leaves room for a response, as far as the model is here already; queries are told later."""
    experiment = configuration.experiments[name]
    model = configuration.models[experiment.model]
    context = context_length(model, Path(configuration.layout.model(experiment.model)))
    string = label_string(dict.fromkeys(attributes, 0), experiment.method.label_words)
    tokens = tokens_of(string)  # by its length: rather too few than too many
    longest = max(how.max_new_tokens for how in experiment.samplings.values())
    if context is not None and tokens + longest > context:
        raise UserError(
            f"{configuration.where(name, 'method')}: found {len(attributes)} attributes, whose label string has at "
            f"least {tokens} tokens; with max_new_tokens = {longest} that is more than the context of {context} of "
            f"the model '{experiment.model}', expected some room for a query, too. Name fewer in 'method.attributes'."
        )


def check_rewards(configuration: Configuration, name: str) -> None:
    """Each principle has a check, where a reward reads these, and its opposite, where responses are rewarded for it.

    Responses are contrasted, where a reward learns of that; and what is learned is the experiment's own reward model.
    """
    experiment = configuration.experiments[name]
    trained, held_out = experiment.constitutions.principles, experiment.constitutions.held_out
    _check_reward(configuration, name, configuration.rewards_of(name), "method.reward", [trained])
    for reward, settings in configuration.rewards_of(name).items():
        if settings.needs_contrast and experiment.method.sampled_under != "all":
            raise UserError(
                f"{configuration.where(name, 'method', 'reward')}: found '{reward}', which learns which constitution a "
                "response was drawn under, but responses for training are drawn under one alone; expected another "
                "reward, or a method that contrasts constitutions (salmon with 'method.responses: contrasted')."
            )
    for policy in experiment.evaluation.best:
        _check_trained(configuration, name, policy)
        rewards, key = configuration.rewards_of(name, policy), f"evaluation.policies.{policy}.best_of.reward"
        rewards = {one: settings for one, settings in rewards.items() if not isinstance(settings, LearnedReward)}
        opposites, files = experiment.evaluation.sampled_under == "all", [file for file in (trained, held_out) if file]
        _check_reward(configuration, name, rewards, key, files, opposites)


def check_judges(configuration: Configuration, name: str) -> None:
    """A reward model is trained, and reads principles, where a judge reads it; a model that identifies is another."""
    experiment = configuration.experiments[name]
    reward = None if experiment.external else configuration.learned_reward(name)
    for judge in experiment.evaluation.judges:
        settings = configuration.judges[judge]
        if isinstance(settings, IdentificationJudge) and settings.model in configuration.policy_models(name):
            raise UserError(
                f"{configuration.root.judges}/{judge}.yaml: model: found '{settings.model}', which is a policy of "
                f"'{name}' itself, or what one is trained from; expected another model, since the judge is to tell "
                "what others can see. Name another, or another judge in 'evaluation.judges'."
            )
        if not isinstance(settings, LearnedJudge):
            continue
        where = f"{configuration.where(name, 'evaluation', 'judges')}: found '{judge}'"
        if reward is None:
            trains = "has only imported responses" if experiment.external else f"trains none ({experiment.method.name})"
            raise UserError(
                f"{where}, a judge that is the experiment's reward model, but '{name}' {trains}; expected another "
                "judge, or a method with a learned 'method.reward'. Name one."
            )
        if settings.principles and not reward.reads_checks:
            raise UserError(
                f"{where}, a judge that names 'principles', but the reward model of '{name}' reads none, since it was "
                f"trained with 'labels: {reward.labels}'; expected a judge without. Delete 'principles' in "
                f"{configuration.root.judges}/{judge}.yaml, or take another reward."
            )


def _check_reward(
    configuration: Configuration,
    name: str,
    rewards: Mapping[str, Reward],
    key: str,
    files: Sequence[str],
    opposites: bool = False,
) -> None:
    """Raises UserError where a reward reads checks, and a principle or an opposite of some files has none.

    Args:
        name: of the experiment.
        rewards: the reward that is set, and those that it is made of.
        key: where it is set.
        files: of principles.
        opposites: whether opposites need checks, too.
    """
    for reward in (one for one, settings in rewards.items() if settings.reads_checks):
        for file in files:
            checks = configuration.principle_files[file].checks()
            for principle, both in checks.items():
                for side, check in zip(("principle", "opposite"), both[: 1 + opposites], strict=False):
                    if check is None:
                        raise UserError(
                            f"{configuration.root.constitutions}/{file}.yaml: '{principle}': found no check of the "
                            f"{side}, expected one, since the reward '{reward}' reads the checks; "
                            f"write it, or set '{key}' to another (experiment '{name}')."
                        )


def _check_trained(configuration: Configuration, name: str, policy: str) -> None:
    """Raises UserError where a policy keeps the best by a learned reward for which the method trains no model."""
    trained = configuration.learned_rewards(name)
    for reward in configuration.learned_rewards(name, policy).keys() - trained.keys():
        where = configuration.where(name, "evaluation", "policies", policy, "best_of", "reward")
        expected = (
            f"one of another kind, since the method '{configuration.experiments[name].method.name}' trains no model"
        )
        if trained:
            expected = f"'{next(iter(trained))}', whose reward model the method trains"
        raise UserError(
            f"{where}: found '{reward}', a learned reward, expected {expected}. Name that, or take a method "
            f"with 'reward: {reward}'."
        )


def check_queries(file: str, name: str, task: Task) -> None:
    """Local files hold enough well-formed queries, and none is in two of them."""
    loaded = {}
    for key in ("train", "eval", *(["test"] if task.test else [])):
        everything = getattr(task, key).paths
        paths = [Path(path) for path in everything if local(path)]
        for path in paths:
            if set("{}") & set(str(path)):
                raise UserError(
                    f"{file}: {key}.path: found {path}, expected a path without braces, which Snakemake would take "
                    "for a wildcard. Rename the folder or the file."
                )
            if path.suffix in {".json", ".parquet"} and not path.is_file():
                raise UserError(f"{file}: {key}.path: there is no file {path}. Mend the path or create the file.")
        if len(paths) == len(everything) and all(map(_quickly_read, paths)):
            with within(f"{file}: {key}"):
                loaded[key] = queries.load(getattr(task, key), name)
    for first, second, left_out in (("train", "eval", "train"), ("train", "test", "test"), ("eval", "test", "test")):
        if {first, second} <= loaded.keys() and getattr(task, left_out).loader == "file":
            with within(f"{file}: {first}.path, {second}.path"):
                queries.check_disjoint(loaded[first], loaded[second])


def _quickly_read(path: Path) -> bool:
    """Whether queries stand in a file that takes a start no time; a missing one is told when it is read."""
    lines = path.name.endswith((".jsonl", ".jsonl.gz"))
    return lines and not (path.exists() and path.stat().st_size > CHECKED_BYTES)
