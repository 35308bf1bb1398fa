"""Reads the configuration into the models of `sami.settings`; a message names the file, line and key that is wrong.

    configuration = load(["config/config.yaml", "mine.yaml"])

What can be checked beyond that before anything expensive runs is in `sami.workflow.preflight`.
"""

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from sami.errors import Keys, UserError, nearest, plain
from sami.records import Check
from sami.settings.experiment import Experiment, Root
from sami.settings.judges import JUDGES, AnyJudge, IdentificationJudge, Judge, JudgeKind, LearnedJudge
from sami.settings.models import Model
from sami.settings.principles import PrincipleFile
from sami.settings.resources import Hardware, Resources
from sami.settings.rewards import REWARDS, LearnedReward, Reward, RewardKind
from sami.settings.tasks import Task
from sami.settings.writers import Writer
from sami.settings.yaml_files import Document, existing, lay_over, load_yaml, read_yaml, validate
from sami.workflow import policies, seeds
from sami.workflow.layout import Layout, check_jobs

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Configuration:
    """Everything the configuration names, checked. Catalogues hold the entries that its experiments use.

    The first entry of `hardware` counts where an experiment names none.

    An experiment with several seeds is not among `experiments`, but its runs are (`sami.workflow.seeds`): `seeds` has
    their names.

    The judges of an experiment are those that it names, and behind them the members of its panels.

    `unusable` holds what is wrong with the catalogue entries of experiments outside `run`: a person who names
    catalogues of their own need not care that those lack the entries of the quickstart. `check` raises it.
    """

    root: Root
    experiments: dict[str, Experiment]
    sources: Document
    seeds: dict[str, list[str]] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    principle_files: dict[str, PrincipleFile] = field(default_factory=dict)
    writers: dict[str, Writer] = field(default_factory=dict)
    judges: dict[str, AnyJudge] = field(default_factory=dict)
    rewards: dict[str, Reward] = field(default_factory=dict)
    hardware: dict[str, Hardware] = field(default_factory=dict)
    unusable: dict[str, UserError] = field(default_factory=dict)

    @property
    def run(self) -> list[str]:
        """Names of the experiments in `run`; of one with several seeds, those of its runs."""
        return list(dict.fromkeys(run for name in self.root.run for run in self.seeds.get(name, [name])))

    @property
    def groups(self) -> dict[str, list[str]]:
        """What is made of several experiments: comparisons, and runs that are joined, by name -> experiments."""
        compared = {
            group: [run for name in names for run in self.seeds.get(name, [name])]
            for group, names in self.root.compare.items()
        }
        return {**compared, **self.seeds}

    @property
    def method_comparisons(self) -> dict[str, list[str]]:
        """Comparisons of experiments with several seeds, by name -> these experiments."""
        return {group: names for group, names in self.root.compare.items() if set(names) <= set(self.seeds)}

    @property
    def usable(self) -> list[str]:
        """Names of the experiments whose catalogue entries are sound."""
        return [name for name in self.experiments if name not in self.unusable]

    def where(self, experiment: str, *keys: Hashable) -> str:
        """File, line and key of an experiment's setting, for messages; a run's stand in the experiment with `seeds`."""
        entry = next((name for name, runs in self.seeds.items() if experiment in runs), experiment)
        return self.sources.where(_place(self.sources, entry, keys))

    def users(self, experiment: str) -> dict[str, Writer | AnyJudge]:
        """The writer of an experiment and its judges, by the file they stand in."""
        settings = self.experiments[experiment]
        writer = settings.constitutions.writer
        judges = {name: self.judges[name] for name in settings.evaluation.judges}
        for policy in (None, *settings.evaluation.best):
            judges |= self.reward_judges(self.rewards_of(experiment, policy))
        return {
            f"{self.root.writers}/{writer}.yaml": self.writers[writer],
            **{f"{self.root.judges}/{name}.yaml": judge for name, judge in judges.items()},
        }

    def rewards_of(self, experiment: str, policy: str | None = None) -> dict[str, Reward]:
        """The reward of an experiment's method, and those that it is made of, by name; none where it has none.

        With a `policy` that keeps the best of several responses, the reward that tells which is best.
        """
        settings = self.experiments[experiment]
        name = settings.evaluation.best[policy].best_of.reward if policy else settings.method.reward_name
        if name is None or name not in self.rewards:  # which has been told, where the experiment is to run
            return {}
        return {one: self.rewards[one] for one in (name, *self.rewards[name].members)}

    def reward_judges(self, rewards: Mapping[str, Reward]) -> dict[str, Judge]:
        """The judges that rewards ask, and the members of panels among them, by name."""
        found: dict[str, Judge] = {}
        for name in filter(None, (reward.asked_judge for reward in rewards.values())):
            if name in self.judges:  # else it has been told, where the experiment is to run
                found |= {one: self.judges[one] for one in (name, *getattr(self.judges[name], "members", []))}
        return found

    def reads_reward_model(self, judge: str) -> bool:
        """Whether a judge, or a member of a panel, is the reward model of the experiment whose policies it judges."""
        names = judge, *getattr(self.judges[judge], "members", [])
        return any(isinstance(self.judges[name], LearnedJudge) for name in names)

    def identifying(self, experiment: str) -> dict[str, IdentificationJudge]:
        """The judges by identification of an experiment, and of its panels, by name."""
        judges = {name: self.judges[name] for name in self.experiments[experiment].evaluation.judges}
        return {name: judge for name, judge in judges.items() if isinstance(judge, IdentificationJudge)}

    def reading_task(self, experiment: str, judge: str) -> Task:
        """The task in whose prompts the model of a judge by identification reads."""
        own = self.experiments[experiment].task
        return self.tasks[getattr(self.judges[judge], "task", None) or own]

    def candidate_relevance(self, experiment: str, policy: str) -> int | None:
        """Other queries under which the base model scores what a policy keeps the best of; None where it does not."""
        rewards = self.rewards_of(experiment, policy).values()
        return next(filter(None, (reward.relevance_others for reward in rewards)), None)

    def learned_rewards(self, experiment: str, policy: str | None = None) -> dict[str, LearnedReward]:
        """The rewards of `rewards_of` that are learned, by name: one at most."""
        found = self.rewards_of(experiment, policy).items()
        return {name: reward for name, reward in found if isinstance(reward, LearnedReward)}

    def learned_reward(self, experiment: str, policy: str | None = None) -> LearnedReward | None:
        """The learned one; None where there is none. A reward model is trained for that of the method."""
        return next(iter(self.learned_rewards(experiment, policy).values()), None)

    def training_relevance(self, experiment: str) -> int | None:
        """Other queries under which the base model scores the responses for training: as method or reward want it."""
        wanted = [self.experiments[experiment].method, *self.rewards_of(experiment).values()]
        return next(filter(None, (one.relevance_others for one in wanted)), None)

    def checks(self, experiment: str) -> dict[str, Check | None]:
        """Principles of an experiment, or behaviours that they are to be written about -> check of the principle."""
        file = self.principle_files[self.experiments[experiment].constitutions.principles]
        return {name: check for name, (check, _) in file.checks().items()}

    def pairs(self, experiment: str) -> int:
        """Number of pairs of principles that an experiment has, or chooses among."""
        settings = self.experiments[experiment].constitutions
        file = self.principle_files[settings.principles]
        return len(file.pairs) or settings.candidates * (len(file.behaviours) or 1)

    def attributes(self, experiment: str) -> list[str]:
        """Attributes of an experiment's label strings; none where its method has no such.

        Raises ValueError where it names principles that have no check.
        """
        checked = (principle for principle, check in self.checks(experiment).items() if check is not None)
        return self.experiments[experiment].method.labelled(checked)

    def policy_models(self, experiment: str) -> list[str]:
        """Names of the models that an experiment samples from as they are: the base model, and others to judge."""
        return list(policies.untrained_models(self.experiments[experiment]).values())

    @property
    def layout(self) -> Layout:
        """The paths of a run; folders without trailing slashes and the like, which Snakemake would take for others."""
        return Layout(*map(os.path.normpath, (self.root.results, self.root.resources)))

    def models_of(self, experiment: str) -> list[str]:
        """Names of the models that an experiment runs itself."""
        used = [
            *self.policy_models(experiment),
            *filter(None, [self.experiments[experiment].relevance_model]),
            *(model for user in self.users(experiment).values() for model in local_model(user)),
        ]
        return list(dict.fromkeys(used))


def _place(sources: Document, experiment: str, keys: Keys) -> Keys:
    """The full keys of a setting of an experiment, which stands in its own entry or among the defaults."""
    own, default = ("experiments", experiment, *keys), ("defaults", *keys)
    in_own, in_default = (len(existing(sources.data, full)) - len(full) for full in (own, default))
    return own if in_own >= in_default else default


def load(files: Sequence[str | Path], command_line: Sequence[str] = ()) -> Configuration:
    """Merges the configuration, checks it, and reads the catalogue entries that its experiments use.

    Args:
        files: the configuration files in order; later ones override.
        command_line: what `--config` gave, "key=value" each, which overrides them all.

    Raises:
        UserError: a key, value or name is wrong; the message names the file in which it stands.
    """
    sources = lay_over(read_yaml(*files), command_line)
    root = validate(sources.data, Root, sources.where, sources.written)

    def checked(settings: dict, place: Callable[[Keys], Keys]) -> Experiment:
        where, written = (lambda keys: sources.where(place(keys))), (lambda keys: sources.written(place(keys)))
        experiment = validate(settings, Experiment, where, written)
        try:
            policies.check(experiment)
            check_jobs(experiment)
        except ValueError as error:
            raise UserError(f"{where(())}: {error}.") from None
        return experiment

    entries = {
        name: checked(seeds.merged(name, root, sources), lambda keys, name=name: _place(sources, name, keys))
        for name in root.experiments
    }
    # What every experiment overrides is checked too: a wrong default would only wait for the next experiment.
    checked(root.defaults, lambda keys: ("defaults", *keys))
    runs = {name: seeds.runs(name, entry) for name, entry in entries.items()}
    several = {name: list(of_entry) for name, of_entry in runs.items() if entries[name].seeds}
    seeds.check_names(several, root, sources)
    experiments = {name: settings for of_entry in runs.values() for name, settings in of_entry.items()}
    configuration = Configuration(root, experiments, sources, several)
    for position, name in enumerate(root.run):
        known(name, dict.fromkeys([*root.experiments, *experiments]), "experiments", sources.where(("run", position)))
    _check_comparisons(configuration)
    _read_in_file(configuration, "hardware", None, Hardware, configuration.hardware)
    for name in experiments:
        try:
            _read_entries(configuration, name)
        except UserError as error:
            if name in configuration.run:
                raise
            configuration.unusable[name] = error
    return configuration


def _check_comparisons(configuration: Configuration) -> None:
    """A comparison has a name of its own, and compares different experiments, all of one seed or of the same seeds.

    Those of one seed ask the same question; the others are told apart by it.
    """
    root, sources = configuration.root, configuration.sources
    for comparison, names in root.compare.items():
        if comparison in root.experiments:
            raise UserError(
                f"{sources.where(('compare', comparison))}: an experiment is called '{comparison}', too, and both "
                f"would write to {root.results}/{comparison}. Rename one of them."
            )
        for position, name in enumerate(names):
            where = sources.where(("compare", comparison, position))
            known(name, {**configuration.experiments, **configuration.seeds}, "experiments", where)
            if name in names[:position]:
                raise UserError(f"{where}: found '{name}' a second time, expected each experiment once. Delete one.")
            seeds, expected = (_seeds(configuration, of) for of in (name, names[0]))
            if seeds != expected:
                raise UserError(
                    f"{where}: found '{name}' with 'seeds: {seeds}', expected {expected} as in '{names[0]}': what is "
                    "compared has the same seeds. Change one of them, or name single runs of both."
                )
            if seeds:
                continue
            evaluations = (configuration.experiments[of].evaluation for of in (name, names[0]))
            (asked, question), (first, expected) = ((of.constitution, of.question) for of in evaluations)
            if question != expected:
                raise UserError(
                    f"{where}: found '{name}' with 'evaluation.constitution: {asked}', expected {first} as in "
                    f"'{names[0]}': win rates of policies that were told what is wanted and of others that were not "
                    "have no difference that means anything. Make a comparison for each of the two questions."
                )


def _seeds(configuration: Configuration, name: str) -> list[int] | None:
    """The seeds of an experiment with several of them; None for an experiment of one seed."""
    runs = configuration.seeds.get(name)
    return [configuration.experiments[run].seed for run in runs] if runs else None


def _read_entries(configuration: Configuration, experiment: str) -> None:
    """Reads the catalogue entries that an experiment names and that have not been read yet."""
    root, settings = configuration.root, configuration.experiments[experiment]
    for catalogue, key, model, entries in (
        ("tasks", "task", Task, configuration.tasks),
        ("constitutions", "constitutions.principles", PrincipleFile, configuration.principle_files),
        ("constitutions", "constitutions.held_out", PrincipleFile, configuration.principle_files),
        ("writers", "constitutions.writer", Writer, configuration.writers),
    ):
        name = attrgetter(key)(settings)
        if name is not None and name not in entries:
            file = _entry(configuration, catalogue, name, configuration.where(experiment, *key.split(".")))
            entries[name] = load_yaml(file, model)
    for kind in Resources.model_fields:
        if name := settings.resources.of(kind).hardware:
            where = configuration.where(experiment, "resources", *settings.resources.set_at(kind, "hardware"))
            _read_in_file(configuration, "hardware", name, Hardware, configuration.hardware, where)
    judges = dict.fromkeys(settings.evaluation.judges)
    for position, name in enumerate(settings.evaluation.judges):
        _read_judge(configuration, name, configuration.where(experiment, "evaluation", "judges", position))
        judges |= dict.fromkeys(getattr(configuration.judges[name], "members", []))  # how far they agree is of interest
    if name := settings.method.reward_name:
        _read_reward(configuration, name, configuration.where(experiment, "method", "reward"))
    for policy, best in settings.evaluation.best.items():
        keys = "evaluation", "policies", policy, "best_of", "reward"
        _read_reward(configuration, best.best_of.reward, configuration.where(experiment, *keys))
    evaluation = settings.evaluation.model_copy(update={"judges": list(judges)})
    configuration.experiments[experiment] = settings.model_copy(update={"evaluation": evaluation})
    if not settings.external:
        _read_model(configuration, settings.model, configuration.where(experiment, "model"))
    if settings.relevance_model:
        where = configuration.where(experiment, "evaluation", "relevance", "model")
        _read_model(configuration, settings.relevance_model, where)
    writer = settings.constitutions.writer
    for name in local_model(configuration.writers[writer]):
        _read_model(configuration, name, f"{root.writers}/{writer}.yaml: model")
    for policy, name in settings.evaluation.models.items():
        _read_model(configuration, name, configuration.where(experiment, "evaluation", "policies", policy))


def _entry(configuration: Configuration, catalogue: str, name: str, where: str) -> Path:
    """The file of a catalogue entry."""
    folder = Path(getattr(configuration.root, catalogue))
    if not folder.is_dir():
        place = configuration.sources.where((catalogue,))
        raise UserError(f"{place}: there is no folder {folder}. Mend the path or create it.")
    known(name, sorted(path.stem for path in folder.glob("*.yaml")), f"files *.yaml in {folder}", where)
    return folder / f"{name}.yaml"


def _read_judge(configuration: Configuration, name: str, where: str, panel: str | None = None) -> None:
    """Reads a judge, the models it runs on this machine, and the members of a panel."""
    if name not in configuration.judges:
        file = _entry(configuration, "judges", name, where)
        configuration.judges[name] = load_judge(file)
        for model in local_model(configuration.judges[name]):
            _read_model(configuration, model, str(file))
    judge = configuration.judges[name]
    if isinstance(judge, IdentificationJudge) and judge.task and judge.task not in configuration.tasks:
        place = f"{configuration.root.judges}/{name}.yaml: task"
        configuration.tasks[judge.task] = load_yaml(_entry(configuration, "tasks", judge.task, place), Task)
    if judge.is_panel:
        file = f"{configuration.root.judges}/{name}.yaml: members"
        if panel is not None:
            raise UserError(f"{where}: '{name}' is itself a panel, expected judges with a vote of their own.")
        for member in judge.members:
            _read_judge(configuration, member, file, panel=name)


def load_judge(path: str | Path) -> AnyJudge:
    """Reads a file of config/judges.

    Raises:
        UserError: it names the file, the key, what was found and what was expected.
    """
    return _load_of_kind(path, JudgeKind, JUDGES)


def _read_reward(configuration: Configuration, name: str, where: str, whole: str | None = None) -> None:
    """Reads a reward, and those that it is made of."""
    if name not in configuration.rewards:
        configuration.rewards[name] = load_reward(_entry(configuration, "rewards", name, where))
    reward = configuration.rewards[name]
    if reward.members and whole is not None:
        raise UserError(f"{where}: '{name}' is itself made of others, expected rewards of their own.")
    file = f"{configuration.root.rewards}/{name}.yaml"
    for member in reward.members:
        _read_reward(configuration, member, f"{file}: weights", whole=name)
    if reward.asked_judge is not None:
        _read_reward_judge(configuration, reward.asked_judge, f"{file}: judge")
    others = {member: configuration.rewards[member].relevance_others for member in reward.members}
    asked = {member: number for member, number in others.items() if number is not None}
    if len(set(asked.values())) > 1:
        found = " and ".join(f"{number} of '{member}'" for member, number in asked.items())
        raise UserError(
            f"{file}: weights: found rewards with different 'others' ({found}), expected the same, since the relevance "
            "of a response is scored once. Set them alike."
        )
    learned = [member for member in reward.members if isinstance(configuration.rewards[member], LearnedReward)]
    if len(learned) > 1:
        raise UserError(
            f"{file}: weights: found {len(learned)} learned rewards ({', '.join(learned)}), expected one at most, "
            "since an experiment trains one reward model. Leave the others out."
        )


def _read_reward_judge(configuration: Configuration, name: str, where: str) -> None:
    """Reads the judge that a reward asks. Raises UserError where that is a reward model, or one to be served."""
    _read_judge(configuration, name, where)
    for one in (name, *getattr(configuration.judges[name], "members", [])):
        if isinstance(configuration.judges[one], IdentificationJudge):
            raise UserError(
                f"{where}: found '{one}', a judge by identification, which reads the responses of whole policies for "
                "verdicts alone; expected another. Take one of kind checks or likelihood."
            )
        if isinstance(configuration.judges[one], LearnedJudge):
            raise UserError(
                f"{where}: found '{one}', a judge that is a reward model, expected another, since its scores are a "
                "reward themselves. Name another judge, or take the reward of kind learned."
            )
        if getattr(configuration.judges[one], "serve", None):
            raise UserError(
                f"{where}: found '{one}', a judge that the workflow serves ('serve'), which it does for verdicts "
                "alone; expected another. Take one of kind likelihood, or name the endpoint of a server of your own "
                f"with 'model' and 'base_url' in {configuration.root.judges}/{one}.yaml."
            )


def load_reward(path: str | Path) -> Reward:
    """Reads a file of config/rewards. Raises UserError as `load_judge`."""
    return _load_of_kind(path, RewardKind, REWARDS)


def _load_of_kind(path: str | Path, kind_of: type[BaseModel], kinds: Mapping[str, Any]) -> Any:
    """Reads a file by the class that its key `kind` names."""
    document = read_yaml(path)
    kind = validate(document.data, kind_of, document.where).kind
    return validate(document.data, kinds[kind], document.where, document.written)


def _read_model(configuration: Configuration, name: str, where: str) -> None:
    _read_in_file(configuration, "models", name, Model, configuration.models, where)


def _read_in_file(
    configuration: Configuration,
    catalogue: str,
    name: str | None,
    kind: type[M],
    entries: dict[str, M],
    where: str = "",
) -> None:
    """Reads one entry, or the first where no name is given, of a catalogue that is a single file."""
    file = getattr(configuration.root, catalogue)
    if not Path(file).is_file():
        raise UserError(
            f"{configuration.sources.where((catalogue,))}: there is no file {file}. Mend the path or create it."
        )
    if name not in entries:
        document = read_yaml(file)
        name = name or next(iter(document.data))
        known(name, document.data, f"{catalogue} in {file}", where)
        where, written = (lambda keys: document.where((name, *keys))), (lambda keys: document.written((name, *keys)))
        entries[name] = validate(document.data[name], kind, where, written)


def known(name: str, names: Iterable[str], what: str, where: str) -> None:
    """Raises UserError where `name` is none of `names`."""
    names = list(names)
    if name not in names:
        near = nearest(name, names)
        mend = f"Did you mean '{near}'?" if near else "Mend the name or add the entry."
        raise UserError(
            f"{where}: found {plain(name)}, expected one of the {what}: {', '.join(names) or 'none'}. {mend}"
        )


def local_model(user: Writer | AnyJudge) -> list[str]:
    """Names of the models that a writer or a judge runs on this machine."""
    return user.local_models
