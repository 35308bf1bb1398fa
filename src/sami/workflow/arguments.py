"""Arguments of stages, as text for a shell.

Ground floor: no torch, no Snakemake.
"""

import functools
import json
import shlex
from collections.abc import Mapping, Sequence

from sami.data.labels import label_string
from sami.records import BASE
from sami.settings.base import Settings
from sami.settings.experiment import Experiment
from sami.settings.judges import EndpointJudge
from sami.settings.methods import Method
from sami.settings.sampling import Sampling
from sami.settings.tasks import Prompts
from sami.workflow import conversations, layout
from sami.workflow.configuration import Configuration

SCREENING = ("candidates", "keep", "screen_queries", "most_overlap")  # keys about which principles there are


def as_json(settings: Settings, exclude: set[str] | None = None) -> str:
    """A slice of the settings as one argument.

    Without what is at its default, so that a new key makes nothing out of date; a new default is a change of the code.
    """
    return settings.model_dump_json(exclude=exclude, exclude_defaults=True)


def _by_name(settings: Mapping[str, Settings], exclude: set[str] | None = None) -> str:
    """Several of them, by name."""
    return json.dumps({name: json.loads(as_json(one, exclude)) for name, one in settings.items()})


def flag(name: str, value: object) -> str:
    """An optional argument, left out where there is no value."""
    return f"--{name} {shlex.quote(str(value))}" if value else ""


def flags(**values: object) -> str:
    """Arguments by name: a list gives several words, true the name alone, false nothing."""
    words: list[str] = []
    for name, value in values.items():
        if value is not False:
            words += [f"--{name}", *(value if isinstance(value, list) else [] if value is True else [str(value)])]
    return shlex.join(words)


def _words(method: Method) -> str | bool:
    """Words for values of attributes as one argument, or none."""
    return json.dumps(method.label_words) if method.label_words else False


def _joined(*arguments: str) -> str:
    """Those of some arguments that are there."""
    return " ".join(filter(None, arguments))


def reward_models(models: Sequence[str], reward_model: str, base_model: str) -> str:
    """Arguments of a stage that rewards: models of judges, and the reward model with its base, where there are any."""
    of_judges = flags(models=list(models)) if models else ""
    return _joined(of_judges, flag("reward-model", reward_model), flag("base-model", base_model))


def prompts(settings: Prompts) -> str:
    """The prompts of a task for stages that put a constitution to a model, or are given another template apart."""
    return as_json(settings, exclude={"without_constitution", "with_attributes"})


def bare_prompts(settings: Prompts) -> str:
    """The same for stages that also put a query alone."""
    return as_json(settings, exclude={"with_attributes"})


class Arguments:
    """Arguments that are longer than one setting; one text for all chunks of a file, since there can be thousands."""

    def __init__(self, configuration: Configuration):
        self.configuration = configuration
        self.training_samples = functools.cache(self.training_samples)
        self.evaluation_samples = functools.cache(self.evaluation_samples)
        self.candidate_samples = functools.cache(self.candidate_samples)

    def _samples(self, settings: Experiment, sampling: Sampling, **more: object) -> str:
        task = self.configuration.tasks[settings.task]
        return flags(
            prompts=prompts(task.prompts),
            stop=task.stop,
            sampling=as_json(sampling),
            shuffle=settings.constitutions.shuffle,
            seed=settings.seed,
            **more,
        )

    def sampled_policy(self, experiment: str, iteration: str) -> str:
        """Name of the policy that responds for an iteration."""
        return f"iteration-{self.configuration.experiments[experiment].method.sampled_policy(int(iteration))}"

    def paired_policies(self, experiment: str, iteration: str) -> list[str]:
        """Names of the policies whose responses stand in the pairs of an iteration, in the order of their files."""
        iterations = self.configuration.experiments[experiment].method.paired_iterations(int(iteration))
        return [self.sampled_policy(experiment, str(t)) for t in iterations]

    def other_queries(self, experiment: str) -> str:
        """Arguments that say with how many other queries a training example contrasts its own; none where with none."""
        settings = self.configuration.experiments[experiment]
        count = settings.training.other_queries
        return flags(**{"other-queries": count, "seed": settings.seed}) if count else ""

    def training_queries(self, experiment: str, iteration: str) -> str:
        """Arguments that say which training queries an iteration uses."""
        return flags(**self._training_queries(experiment, iteration))

    def _training_queries(self, experiment: str, iteration: str) -> dict[str, int]:
        """Their number, behind those of the iterations before: it never uses the queries of another one."""
        settings = self.configuration.experiments[experiment]
        own = settings.method.responses_of(int(iteration))  # unless it learns from what that one has sampled
        return {"first": sum(settings.fresh_counts()[: own - 1]), "count": settings.train_counts()[own - 1]}

    def training_samples(self, experiment: str, iteration: str) -> str:
        """Arguments of jobs that sample for an iteration."""
        settings = self.configuration.experiments[experiment]
        under, more = settings.method.sampled_under, {}
        if under == "none":
            under, more["template"] = "positive", self.configuration.tasks[settings.task].prompts.without_constitution
        if earlier := self._responses_before(settings, int(iteration)):
            more["first-response"] = earlier
        if labels := settings.method.labels_asked(int(iteration)):
            more["template"] = settings.method.template(self.configuration.tasks[settings.task].prompts)
            more["labels"] = self.configuration.layout.path(layout.LABELS, experiment, iteration=labels)
            more["words"] = _words(settings.method)
            more["asked"] = [label_string({name: value}) for name, value in settings.method.labels_fixed.items()]
        return self._samples(
            settings,
            settings.sampling,
            policy=self.sampled_policy(experiment, iteration),
            **self._training_queries(experiment, iteration),
            under=under,
            **more,
        )

    @staticmethod
    def _responses_before(settings: Experiment, iteration: int) -> int:
        """Responses that were drawn for earlier iterations to a query, where each asks the same queries."""
        if not settings.method.demonstration_file:
            return 0
        return sum(map(settings.method.samples, range(1, iteration))) * layout.responses_for_training(settings)

    def constitutions(self, experiment: str) -> str:
        """How constitutions are made of the principles that there are, as JSON."""
        settings = self.configuration.experiments[experiment].constitutions
        return as_json(settings, exclude={"held_out", *SCREENING})

    def screening_constitutions(self, experiment: str) -> str:
        """The same for those under which pairs are screened: each pair alone, against its opposite."""
        settings = self.configuration.experiments[experiment].constitutions
        alone = {"per_set": 2, "statements": 1, "negate": "all", "max_sets": None}
        return as_json(settings.model_copy(update=alone), exclude={"held_out", *SCREENING})

    def screening_samples(self, experiment: str) -> str:
        """Arguments of the job that samples what pairs are screened by: the base model, on the last queries."""
        settings = self.configuration.experiments[experiment]
        count = settings.constitutions.screen_queries
        return self._samples(
            settings,
            settings.sampling.model_copy(update={"responses": None}),
            policy=BASE,
            first=self.configuration.tasks[settings.task].train.count - count,
            count=count,
            **{"every-set": True},
        )

    def screening_prompts(self, experiment: str) -> str:
        """The prompts in which pairs are screened, as JSON: those that the responses were drawn under."""
        asked = self.configuration.tasks[self.configuration.experiments[experiment].task].prompts
        return prompts(asked.model_copy(update={"training": asked.generation}))

    def screening(self, experiment: str) -> str:
        """Arguments that say which pairs are heard, and how many of them are kept."""
        settings = self.configuration.experiments[experiment]
        constitutions, evaluation = settings.constitutions, settings.evaluation
        keep = {} if constitutions.keep is None else {"keep": constitutions.keep}
        return flags(
            **keep,
            **{"most-overlap": constitutions.most_overlap},
            samples=evaluation.bootstrap_samples,
            confidence=evaluation.confidence,
            seed=settings.seed,
        )

    def reading_prompts(self, experiment: str, judge: str) -> str:
        """The prompts in which the model of a judge by identification reads, as JSON."""
        return prompts(self.configuration.reading_task(experiment, judge).prompts)

    def writing(self, experiment: str) -> str:
        """Arguments that say how many pairs are written; none where it is one about each behaviour."""
        settings = self.configuration.experiments[experiment].constitutions
        candidates = {"candidates": settings.candidates} if settings.candidates > 1 else {}
        return flags(**candidates, fewer=bool(candidates) and settings.keep is not None)

    def evaluation_samples(self, experiment: str, policy: str) -> str:
        """Arguments of jobs that sample a policy's responses to the held-out queries."""
        return self._evaluation_samples(
            experiment, self.configuration.experiments[experiment].evaluation.sampling, policy
        )

    def _evaluation_samples(self, experiment: str, sampling: Sampling, policy: str, **more: object) -> str:
        settings = self.configuration.experiments[experiment]
        evaluation = settings.evaluation
        asked: dict[str, object] = {"policy": policy, "count": settings.queries.held_out}
        if evaluation.sampled_under == "positive":
            asked["under"] = "positive"
        if (told := evaluation.constitution_of(policy)) != "in-prompt":
            task = self.configuration.tasks[settings.task]
            asked["template"] = settings.evaluation_template(policy, task.prompts)
            if told == "as-labels":
                wanted = settings.method.wanted_values(self.configuration.attributes(experiment))
                asked["words"] = _words(settings.method)
                asked["attributes"] = [label_string({name: value}) for name, value in wanted.items()]
        return self._samples(settings, sampling, **asked, **more)

    def steering_samples(self, experiment: str, policy: str) -> str:
        """Arguments of jobs that ask a policy for attributes."""
        settings = self.configuration.experiments[experiment]
        task = self.configuration.tasks[settings.task]
        return flags(
            prompts=prompts(task.prompts),
            template=settings.method.template(task.prompts),
            stop=task.stop,
            method=as_json(settings.method, exclude={"labels", "attribute_model", "asked"}),
            sampling=as_json(settings.evaluation.sampling, exclude={"responses"}),
            seed=settings.seed,
            policy=policy,
        )

    def candidate_samples(self, experiment: str, policy: str) -> str:
        """Arguments of jobs that sample what a policy keeps the best of.

        They are further draws, behind those by which the policy is evaluated without a choice: were these among the
        candidates, the best would win against them more often than against draws that it knows nothing of.
        """
        settings = self.configuration.experiments[experiment]
        sampling, evaluated = layout.candidate_sampling(settings, policy), layout.responses_for_evaluation(settings)
        return self._evaluation_samples(experiment, sampling, policy, **{"first-response": evaluated})

    def rewards(self, experiment: str, policy: str | None) -> str:
        """Arguments that say how responses for training are rewarded, or those of which a policy keeps the best."""
        rewards = self.configuration.rewards_of(experiment, policy)
        arguments = {"reward": next(iter(rewards)), "rewards": _by_name(rewards)}
        if judges := self.configuration.reward_judges(rewards):
            root, settings = self.configuration.root, self.configuration.experiments[experiment]
            asked = {"judges": _by_name(judges, exclude={"limits"}), "answers": root.answers}
            arguments |= asked | {"account": experiment, "seed": settings.seed}
        return flags(**arguments, own=policy is not None)

    def reward_limits(self, experiment: str, policy: str | None) -> str:
        """Arguments on which no reward depends: how endpoints are asked, and how a reward model is computed."""
        judges = self.configuration.reward_judges(self.configuration.rewards_of(experiment, policy))
        limits = {name: judge.limits for name, judge in judges.items() if isinstance(judge, EndpointJudge)}
        learned = self.configuration.learned_reward(experiment, policy)
        engine = as_json(self.configuration.experiments[experiment].engine) if learned else ""
        return _joined(flag("limits", _by_name(limits) if limits else ""), flag("engine", engine))

    def learned_reward(self, experiment: str) -> str:
        """How responses are compared for a reward model, what it reads, and how it is trained, as JSON."""
        reward = self.configuration.learned_reward(experiment)
        assert reward is not None
        return as_json(reward)

    def training(self, experiment: str, iteration: str) -> str:
        """Settings of an iteration's training, as JSON."""
        settings = self.configuration.experiments[experiment]
        return as_json(settings.method.training_of(int(iteration), settings.training))

    def conversations(self, model: str) -> str:
        """Conversations that a model will be put, as JSON."""
        found = conversations.of_model(self.configuration, model)
        return json.dumps([conversation.model_dump() for conversation in found])
