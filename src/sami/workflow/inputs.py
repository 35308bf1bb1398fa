"""Input files of the rules: paths that a job reads, by the names in its wildcards.

    Inputs(configuration).start("quickstart", 2)        # the model that the training of iteration 2 starts from

Ground floor: no torch, no Snakemake. Iterations may come as text, as they do in wildcards.
"""

import os

from sami.data import external_responses
from sami.records import BASE, last_trained, policy_name
from sami.settings.experiment import Experiment
from sami.settings.tasks import Task
from sami.settings.writers import Writer
from sami.settings.yaml_files import read_yaml
from sami.workflow import layout
from sami.workflow.configuration import Configuration
from sami.workflow.layout import CONSTITUTIONS, EVAL_RESPONSES, HELD_OUT, JUDGE_SERVER, VERDICTS
from sami.workflow.policies import comparisons, models_by_policy, policies, response_files


class Inputs:
    """Input files of the jobs of a configuration."""

    def __init__(self, configuration: Configuration):
        self.configuration, self.layout = configuration, configuration.layout

    def _settings(self, experiment: str) -> Experiment:
        return self.configuration.experiments[experiment]

    def task(self, experiment: str) -> Task:
        return self.configuration.tasks[self._settings(experiment).task]

    def query_files(self, experiment: str) -> list[str]:
        """The files with the training and development queries of an experiment's task that lie on this machine."""
        return self._query_files(experiment, "train", "eval")

    def test_query_files(self, experiment: str) -> list[str]:
        """The same with the test queries, and with those of development, from which they are kept apart."""
        return self._query_files(experiment, "test", "eval")

    def _query_files(self, experiment: str, *splits: str) -> list[str]:
        paths = [path for split in splits for path in getattr(self.task(experiment), split).paths]
        return [path for path in dict.fromkeys(paths) if os.path.isfile(path)]

    def training_queries(self, experiment: str) -> str:
        """The queries that policies are asked for training."""
        demonstrated = self._settings(experiment).method.demonstration_file
        return self.layout.path(layout.DEMONSTRATED_QUERIES if demonstrated else layout.TRAIN_QUERIES, experiment)

    def held_out_queries(self, experiment: str) -> str:
        """The queries that policies are evaluated on."""
        return self.layout.path(layout.held_out_queries(self._settings(experiment)), experiment)

    def policy_model(self, experiment: str, policy: str) -> str:
        """Model folder of a policy: the base model, a trained one, or another that is judged beside them."""
        settings = self._settings(experiment)
        policy = settings.evaluation.responding(policy)
        if policy == BASE:
            return self.layout.model(settings.model)
        if policy in settings.evaluation.models:
            return self.layout.model(settings.evaluation.models[policy])
        return f"{self.layout.results}/{experiment}/{policy}/model"

    def iteration_model(self, experiment: str, iteration: int | str) -> str:
        """Model folder of policy 0 (the base model), 1, ..., T."""
        return self.policy_model(experiment, f"iteration-{iteration}")

    def base_model(self, experiment: str) -> str:
        return self.policy_model(experiment, BASE)

    def sampled_model(self, experiment: str, iteration: int | str) -> str:
        """The policy that responds for an iteration."""
        return self.iteration_model(experiment, self._settings(experiment).method.sampled_policy(int(iteration)))

    def start(self, experiment: str, iteration: int | str) -> str:
        """The policy that training starts from."""
        settings = self._settings(experiment)
        return self.iteration_model(experiment, settings.method.start(int(iteration), settings.training))

    def reference(self, experiment: str, iteration: int | str) -> str:
        """The reference model of a KL term and of pairs."""
        settings = self._settings(experiment)
        return self.iteration_model(experiment, settings.method.reference(int(iteration), settings.training))

    def learned_responses(self, experiment: str, iteration: int | str) -> str:
        """The sampled responses that an iteration learns from, its own or those of an earlier one."""
        return self._of_learned(layout.RESPONSES, experiment, iteration)

    def learned_rewards(self, experiment: str, iteration: int | str) -> str:
        """The rewards of these."""
        return self._of_learned(layout.REWARDS, experiment, iteration)

    def _of_learned(self, path: str, experiment: str, iteration: int | str) -> str:
        method = self._settings(experiment).method
        return self.layout.path(path, experiment, iteration=method.responses_of(int(iteration)))

    def paired_responses(self, experiment: str, iteration: int | str) -> list[str]:
        """The responses that stand in the pairs of an iteration, of its own and of older ones."""
        iterations = self._settings(experiment).method.paired_iterations(int(iteration))
        return [self.layout.path(layout.RESPONSES, experiment, iteration=t) for t in iterations]

    def training_relevance(self, experiment: str, iteration: int | str) -> str | list[str]:
        """The relevance of the responses for training; none where nothing asks for it."""
        asked = self.configuration.training_relevance(experiment)
        return self.layout.path(layout.TRAINING_RELEVANCE, experiment, iteration=iteration) if asked else []

    def reward_model(self, experiment: str, policy: str | None = None) -> str | list[str]:
        """Folder of the reward model, which is trained once; none where the reward of a job is not learned.

        That reward is as in `Configuration.rewards_of`.
        """
        learned = self.configuration.learned_reward(experiment, policy)
        return self.layout.path(layout.REWARD_MODEL, experiment) if learned else []

    def reward_base(self, experiment: str, policy: str | None = None) -> str | list[str]:
        """The base model, of which that must have been trained."""
        return self.base_model(experiment) if self.configuration.learned_reward(experiment, policy) else []

    def first_responses(self, experiment: str) -> str:
        """The responses of iteration 1, which a reward model is trained on."""
        return self.layout.path(layout.RESPONSES, experiment, iteration=1)

    def writer(self, experiment: str) -> Writer:
        return self.configuration.writers[self._settings(experiment).constitutions.writer]

    def writer_model(self, experiment: str) -> str | list[str]:
        """The model folder of a writer that runs on this machine."""
        writer = self.writer(experiment)
        return self.layout.model(writer.model) if writer.runs_model else []

    def principles(self, experiment: str) -> list[str]:
        """The file of an experiment's principles, and behind it those that it extends."""
        return self._principle_files(self._settings(experiment).constitutions.principles)

    def screened_principles(self, experiment: str) -> str:
        """The pairs that are screened: those that some are kept of, or all of an experiment."""
        keep = self._settings(experiment).constitutions.keep
        return self.layout.path(layout.PROPOSED if keep else layout.PRINCIPLES, experiment)

    def held_out_principles(self, experiment: str) -> list[str]:
        """The same for held-out principles."""
        return self._principle_files(self._settings(experiment).constitutions.held_out)

    def _principle_files(self, name: str | None) -> list[str]:
        path = f"{self.configuration.root.constitutions}/{name}.yaml"
        return [file.path for file in reversed(read_yaml(path).files)]

    def constitutions(self, experiment: str) -> list[str]:
        """The constitutions under which policies answer the held-out queries: those of training, and held-out ones."""
        folders = ["", HELD_OUT] if self._settings(experiment).constitutions.held_out else [""]
        return [self.layout.path(f"{folder}{CONSTITUTIONS}", experiment) for folder in folders]

    def asked_labels(self, experiment: str, iteration: int | str) -> str | list[str]:
        """The labels that a policy is asked for when it responds for an iteration; none where it is for none."""
        labels = self._settings(experiment).method.labels_asked(int(iteration))
        return self.layout.path(layout.LABELS, experiment, iteration=labels) if labels else []

    def training_chunks(self, experiment: str, iteration: int | str) -> list[str]:
        """The chunks that the responses of an iteration are joined from; none where one job samples them all."""
        settings, iteration = self._settings(experiment), int(iteration)
        path = self.layout.path(layout.RESPONSES, experiment, iteration=iteration)
        queries, jobs = settings.train_counts()[iteration - 1], layout.sampling_jobs(settings, iteration)
        return layout.chunks(path, queries, settings.sampling, jobs)

    def evaluation_chunks(self, experiment: str, policy: str) -> list[str]:
        """The same for a policy's responses to the held-out queries."""
        settings = self._settings(experiment)
        path = self.layout.path(EVAL_RESPONSES, experiment, policy=policy)
        return layout.chunks(
            path, settings.queries.held_out, settings.evaluation.sampling, layout.evaluation_jobs(settings)
        )

    def candidate_chunks(self, experiment: str, policy: str) -> list[str]:
        """The same for the responses of which a policy keeps the best."""
        settings = self._settings(experiment)
        path = self.layout.path(layout.CANDIDATES, experiment, policy=policy)
        sampling, jobs = layout.candidate_sampling(settings, policy), layout.candidate_jobs(settings, policy)
        return layout.chunks(path, settings.queries.held_out, sampling, jobs)

    def candidate_relevance(self, experiment: str, policy: str) -> str | list[str]:
        """The relevance of these, where the reward reads it."""
        asked = self.configuration.candidate_relevance(experiment, policy)
        return self.layout.path(layout.CANDIDATE_RELEVANCE, experiment, policy=policy) if asked else []

    def reward_models(self, experiment: str, policy: str | None = None) -> list[str]:
        """Model folders of the judges that a reward asks, as `Configuration.rewards_of`."""
        judges = self.configuration.reward_judges(self.configuration.rewards_of(experiment, policy))
        return [self.layout.model(model) for model in dict.fromkeys(m for j in judges.values() for m in j.local_models)]

    def response_file(self, experiment: str, policy: str) -> str:
        """The file that a policy is, where its responses were made elsewhere."""
        return response_files(self._settings(experiment))[policy][0]

    def base_response_file(self, experiment: str) -> str:
        return self.response_file(experiment, BASE)

    def own_base_responses(self, experiment: str) -> str | list[str]:
        """The base model's responses, which say what a file of responses is asked for; none where all are files."""
        return [] if self._settings(experiment).external else self.layout.path(EVAL_RESPONSES, experiment, policy=BASE)

    def comparator_responses(self, experiment: str, comparator: str) -> str:
        return self.layout.path(EVAL_RESPONSES, experiment, policy=policy_name(comparator))

    def downloads(self) -> dict[str, str]:
        """Files of responses that are not there -> where the web has them."""
        return {
            path: address
            for settings in self.configuration.experiments.values()
            for path, address in response_files(settings).values()
            if address and not os.path.exists(path)
        }

    def texts_of_records(self, experiment: str, policy: str) -> list[str]:
        """Queries and constitutions that the ids in a file of our records stand for, of the experiment that made it."""
        path = self.response_file(experiment, policy)
        if not path.endswith(".jsonl"):
            return []
        maker = external_responses.experiment_of(path, self.layout.results)
        if maker in self.configuration.experiments:  # it may still have to be made
            return [self.held_out_queries(maker), *self.constitutions(maker)]
        return external_responses.text_files(path)

    def of_policies(self, experiment: str, path: str) -> list[str]:
        """One file of each policy that answers the held-out queries."""
        return [self.layout.path(path, experiment, policy=name) for name in policies(self._settings(experiment))]

    def of_iterations(self, experiment: str, path: str, first: int = 0) -> list[str]:
        """One file of each policy first, ..., T; none where nothing is trained."""
        settings = self._settings(experiment)
        last = -1 if settings.external else settings.iterations
        return [self.layout.path(path, experiment, iteration=t) for t in range(first, last + 1)]

    def scores(self, experiment: str) -> list[str]:
        """The log-probabilities of each policy 0, ..., T; none where information is not estimated."""
        return self.of_iterations(experiment, layout.SCORES) if self._settings(experiment).scored else []

    def relevance_model(self, experiment: str) -> str:
        """Model folder of the model that tells whether responses belong to their queries."""
        return self.layout.model(self._settings(experiment).relevance_model)

    def relevance(self, experiment: str) -> list[str]:
        """The relevance of every policy's responses; none where nothing tells it."""
        scored = self._settings(experiment).relevance_model
        return self.of_policies(experiment, layout.RELEVANCE) if scored else []

    def steered(self, experiment: str) -> list[str]:
        """What each policy that is a model makes of attributes."""
        models = models_by_policy(self._settings(experiment))
        return [self.layout.path(layout.STEERED, experiment, policy=name) for name in models]

    def judge_model(self, judge: str) -> str | list[str]:
        """The model folder of a judge that reads probabilities on this machine."""
        settings = self.configuration.judges[judge]
        return self.layout.model(settings.model) if settings.runs_model else []

    def recognised_responses(self, experiment: str, comparator: str, judge: str) -> str:
        """What the model of a judge by identification makes of a comparator's responses."""
        return self.layout.path(layout.RECOGNISED, experiment, policy=policy_name(comparator), judge=judge)

    def recognised(self, experiment: str) -> list[str]:
        """The same of every policy, judge by judge."""
        judges, names = self.configuration.identifying(experiment), policies(self._settings(experiment))
        return [self.recognised_responses(experiment, name, judge) for judge in judges for name in names]

    def judge_server(self, experiment: str, policy: str, judge: str, comparator: str) -> str | list[str]:
        """The server of a judge that the workflow serves itself; each job has its own."""
        if not getattr(self.configuration.judges[judge], "serve", None):
            return []
        return self.layout.path(JUDGE_SERVER, experiment, policy=policy, judge=judge, comparator=comparator)

    def verdicts(self, experiment: str) -> list[str]:
        """The verdicts on every policy, by every judge, against every comparator."""
        return [self._verdicts(experiment, *names) for names in comparisons(self._settings(experiment))]

    def member_verdicts(self, experiment: str, policy: str, judge: str, comparator: str) -> list[str]:
        """The verdicts of the members of a panel."""
        members = self.configuration.judges[judge].members
        return [self._verdicts(experiment, policy, member, comparator) for member in members]

    def _verdicts(self, experiment: str, policy: str, judge: str, comparator: str) -> str:
        return self.layout.path(VERDICTS, experiment, policy=policy, judge=judge, comparator=comparator)

    def of_group(self, group: str, *paths: str) -> list[str]:
        """Files of each experiment of a comparison, or of each run of an experiment with several seeds."""
        return [self.layout.path(path, name) for path in paths for name in self.configuration.groups[group]]

    def queries_of_group(self, group: str) -> list[str]:
        """The held-out queries of each of these."""
        return [self.held_out_queries(name) for name in self.configuration.groups[group]]

    def last_models(self, group: str) -> list[str]:
        """The last policy of each of these that trains any; of an experiment without, its base model."""
        found = []
        for name in self.configuration.groups[group]:
            last = last_trained(policies(self._settings(name)))
            found.append(self.policy_model(name, last))
        return found

    def _compared(self, group: str) -> list[Experiment]:
        """The settings of each experiment with several seeds that is compared, by its first run."""
        seeds = self.configuration.seeds
        return [self._settings(seeds[name][0]) for name in self.configuration.method_comparisons[group]]

    def compared_methods(self, group: str) -> list[str]:
        """The method of each of these."""
        return [settings.method.name for settings in self._compared(group)]

    def compared_questions(self, group: str) -> list[str]:
        """The question that policies of each of these are asked."""
        return [settings.evaluation.question for settings in self._compared(group)]

    def compared_seeds(self, group: str) -> list[int]:
        """The seeds that all of these have."""
        first = self.configuration.method_comparisons[group][0]
        return [self._settings(run).seed for run in self.configuration.seeds[first]]

    def compared_verdicts(self, comparison: str) -> list[tuple[str, str]]:
        """(experiment, file) of the verdicts of each experiment's first judge on its last trained policy."""
        found = []
        for name in self.configuration.root.compare[comparison]:
            settings = self._settings(name)
            wanted = last_trained(policies(settings)), settings.evaluation.judges[0]
            found += [(name, self._verdicts(name, *names)) for names in comparisons(settings) if names[:2] == wanted]
        return found
