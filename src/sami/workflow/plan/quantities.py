"""Sizes of what an experiment works on: models, hardware, tokens of texts; and notes on what is not known."""

import functools
from pathlib import Path

from sami.data.labels import label_string
from sami.endpoints.requests import tokens_of
from sami.models.engine_limits import LEAST_SAVING
from sami.rewards.comparisons import STOP
from sami.settings.experiment import Experiment
from sami.settings.resources import Hardware, JobKind
from sami.settings.sampling import Sampling
from sami.settings.tasks import Prompts
from sami.settings.training import Training
from sami.workflow import layout
from sami.workflow.configuration import Configuration
from sami.workflow.layout import EVAL_QUERIES, TEST_QUERIES, TRAIN_QUERIES
from sami.workflow.plan import lengths
from sami.workflow.plan.costs import Matrix
from sami.workflow.plan.model_sizes import ModelSize, model_size

QUERIES = {"train": TRAIN_QUERIES, "eval": EVAL_QUERIES, "test": TEST_QUERIES}


def principles_read(most: int) -> float:
    """Mean number of principles that are read at a time: geometric, drawn again where it exceeds `most`."""
    chances = [STOP * (1 - STOP) ** (number - 1) for number in range(1, most + 1)]
    return sum(number * chance for number, chance in enumerate(chances, 1)) / sum(chances) if most else 0.0


class Quantities:
    """Sizes of what an experiment works on, as far as they are known; `notes` grows by what is not."""

    def __init__(self, configuration: Configuration, name: str, notes: list[str]):
        self.configuration, self.name, self.notes = configuration, name, notes
        self.experiment: Experiment = configuration.experiments[name]
        self.root, self.layout = configuration.root, configuration.layout
        self.task = configuration.tasks[self.experiment.task]

    def hardware(self, kind: JobKind) -> tuple[str, Hardware]:
        """Hardware that a kind of job runs on: the one that is named, or the first of the catalogue."""
        job, known = self.experiment.resources.of(kind), self.configuration.hardware
        name = job.hardware or next(iter(known))
        if job.hardware is None:
            asked = f" asks for {job.gpus} GPU(s) but" if job.gpus else ""
            self.notes.append(
                f"'resources'{asked} names no hardware for some jobs: reckoned with {name}, and nothing is refused. "
                f"Name one of {self.root.hardware}, for example resources: {{all: {{hardware: {name}}}}}."
            )
        return name, known[name]

    def size(self, model: str) -> ModelSize:
        found = model_size(model, self.configuration.models[model], Path(self.layout.model(model)))
        if not found.complete:
            missing = " and ".join(f"'{key}'" for key in ("parameters", "shape") if getattr(found, key) is None)
            self.notes.append(
                f"{self.root.models}: {model}: {missing} not stated, so its hours and memory are not known. Add the "
                "key, or prepare the model first."
            )
        return found

    @functools.cache  # noqa: B019 (a planner lives no longer than its plan)
    def queries(self, part: str) -> lengths.Texts:
        """Tokens of the queries for training or evaluation."""
        demonstrated = self.experiment.method.demonstration_file
        if part == "train" and demonstrated:
            return lengths.of_demonstrated(demonstrated, self.experiment.task)
        found = lengths.of_queries(
            self.task, self.experiment.task, part, Path(self.layout.path(QUERIES[part], self.name))
        )
        if found.mean is None:
            self.notes.append(
                f"{self.root.tasks}/{self.experiment.task}.yaml: the length of queries is not known. State it: "
                "lengths: {query: TOKENS}."
            )
        return found

    def constitution(self) -> float:
        """Tokens of a constitution."""
        settings = self.experiment.constitutions
        names = [name for name in (settings.principles, settings.held_out) if name]
        return lengths.of_constitution(
            (self.configuration.principle_files[name] for name in names), settings.statements
        )

    def attributes(self) -> float:
        """Tokens of a label string."""
        values = dict.fromkeys(self.configuration.attributes(self.name), 0)
        return tokens_of(label_string(values, self.experiment.method.label_words))

    def around_query(self, template: str) -> float:
        """Tokens of a prompt besides its query: of the template, and of what its other fields stand for."""
        others = self.constitution() if "{constitution}" in template else 0
        others += self.attributes() if "{attributes}" in template else 0
        return lengths.of_template(template, self.task.prompts) + others

    def response(self, sampling: Sampling) -> float:
        """Tokens of a response."""
        stated = self.task.lengths.response
        if stated is None:
            self.notes.append(
                f"{self.root.tasks}/{self.experiment.task}.yaml: responses are reckoned as long as they may be "
                "(max_new_tokens). If you know better: lengths: {response: TOKENS}."
            )
        return min(stated or sampling.max_new_tokens, sampling.max_new_tokens)

    def pairs(self) -> int:
        """Pairs of responses that a judge compares."""
        e = self.experiment
        shown = 1 if e.external else layout.responses_for_evaluation(e)
        of_all = e.evaluation.sampled_under == "all" and not e.external  # else for the one that wants every principle
        if e.evaluation.judged == "positive" and of_all:
            shown = len(range(0, shown, e.constitutions.per_set))
        return layout.held_out_examples(e) * shown

    def training(self, iteration: int) -> Training:
        """How an iteration is trained."""
        return self.experiment.method.training_of(iteration, self.experiment.training)

    def training_matrix(self, iteration: int, longest: bool = False, negatives: bool = True) -> Matrix | None:
        """Tokens that are encoded, and that are predicted, for one training example of an iteration.

        Responses that are not drawn are reckoned as long as drawn ones.

        Args:
            iteration: 1, ..., T.
            longest: of the longest example, not of the average one.
            negatives: with the prompts of other queries, where the objective contrasts with them.
        """
        e, training = self.experiment, self.training(iteration)
        learned = e.method.responses_learned(iteration, layout.responses_for_training(e))
        shape = e.method.example_shape(training.objective.name, e.constitutions.per_set, learned)
        others = training.other_queries if negatives else 0
        return self._matrix("train", e.sampling, shape, e.method.template(self.task.prompts), longest, others)

    def label_matrix(self, longest: bool = False) -> Matrix | None:
        """The same for what an attribute model reads of the responses to one query, without predicting any token."""
        found = self._matrix("train", self.experiment.sampling, (1, layout.responses_for_training(self.experiment)),
                             "{query}", longest)  # fmt: skip
        return found and (found[0], 0)

    def held_out_matrix(self, longest: bool = False) -> Matrix | None:
        """The same for the matrix of one held-out example, all responses under all constitutions of a set."""
        e = self.experiment
        shape = e.constitutions.per_set, layout.responses_for_evaluation(e)
        return self._matrix(e.queries.split, e.evaluation.sampling, shape, self.task.prompts.training, longest)

    def screening_matrix(self, longest: bool = False) -> Matrix | None:
        """The same for the responses to one query under a principle and its opposite, under both."""
        return self._matrix("train", self.experiment.sampling, (2, 2), self.task.prompts.generation, longest)

    def identification_matrix(self, prompts: Prompts, responses: int, longest: bool = False) -> Matrix | None:
        """The same for one held-out example's responses under all constitutions of a set, in some task's prompts."""
        e = self.experiment
        shape = e.constitutions.per_set, responses
        return self._matrix(e.queries.split, e.evaluation.sampling, shape, prompts.training, longest, prompts=prompts)

    def relevance_matrix(self, longest: bool = False) -> Matrix | None:
        """The same for the relevance of one held-out example's responses; with `longest` of the largest single pass."""
        e = self.experiment
        shape = (1, 1) if e.external else (e.constitutions.per_set, layout.responses_for_evaluation(e))
        others = e.evaluation.relevance.others if e.evaluation.relevance else 0
        others = min(others, e.queries.held_out - 1)
        found = self._relevance(e.queries.split, e.evaluation.sampling, shape, others, longest)
        if found is None or longest:
            return found and max(found[: len(e.evaluation.contexts)])
        (alone, predicted), (under, predicted_under) = found
        if "with_constitution" not in e.evaluation.contexts:
            return alone, predicted
        return alone + shape[0] * under, predicted + shape[0] * predicted_under

    def training_relevance_matrix(self, iteration: int, longest: bool = False) -> Matrix | None:
        """The same for one training example's responses, under the queries alone."""
        e = self.experiment
        shape = e.constitutions.per_set, layout.responses_for_training(e)
        others = min(self.configuration.training_relevance(self.name) or 0, e.train_counts()[iteration - 1] - 1)
        found = self._relevance("train", e.sampling, shape, others, longest)
        return found and found[0]

    def candidate_relevance_matrix(self, responses: int, others: int, longest: bool = False) -> Matrix | None:
        """The same for the candidates of one held-out example, of which some are kept."""
        e = self.experiment
        shape, others = (e.constitutions.per_set, responses), min(others, e.queries.held_out - 1)
        found = self._relevance(e.queries.split, e.evaluation.sampling, shape, others, longest)
        return found and found[0]

    def comparisons_matrix(self, longest: bool = False) -> Matrix | None:
        """Tokens that a reward model reads of the comparisons of one query; it predicts none."""
        reward, e = self.configuration.learned_reward(self.name), self.experiment
        assert reward is not None
        drawn = layout.responses_for_training(e)
        pairs = min(reward.pairs, drawn * (drawn - 1) // 2)
        each, read = 1, 0.0
        if reward.reads_checks:
            most = min(reward.most_principles, len(self.configuration.checks(self.name)))
            each, read = reward.draws, principles_read(most) * self.constitution() / e.constitutions.statements
        text, times = self._read("train", e.sampling, longest), each if e.engine.scoring == "padded" else 1
        return None if text is None else (2 * pairs * (times * text + each * read), 0.0)

    def rewards_matrix(
        self, part: str, sampling: Sampling, principles: list[str] | None = None, longest: bool = False
    ) -> Matrix | None:
        """The same of one response to a query of a part, drawn so, for some principles or else one constitution."""
        reward = self.configuration.learned_reward(self.name)
        assert reward is not None
        told = self.constitution() if principles is None else float(sum(map(tokens_of, principles)))
        text, read = self._read(part, sampling, longest), told if reward.reads_checks else 0.0
        return None if text is None else (text + read, 0.0)

    def _read(self, part: str, sampling: Sampling, longest: bool) -> float | None:
        """Tokens that the reward model reads of a response to a query, without principles."""
        reward, texts = self.configuration.learned_reward(self.name), self.queries(part)
        query = texts.longest if longest else texts.mean
        if query is None or reward is None:
            return None
        return tokens_of(reward.prompt) + query + (sampling.max_new_tokens if longest else self.response(sampling))

    def _relevance(
        self, part: str, sampling: Sampling, shape: tuple[int, int], others: int, longest: bool
    ) -> tuple[Matrix, Matrix] | None:
        """Matrices of the responses of one example under the queries alone, and of those with one constitution."""
        e, prompts, texts, (C, R) = self.experiment, self.task.prompts, self.queries(part), shape
        query, response = texts.mean, self.response(sampling)
        if longest:
            query, response = texts.longest, sampling.max_new_tokens
        if query is None or others == 0 or prompts.without_constitution is None:
            return None
        K = others + 1
        alone, under = (lengths.of_template(text, prompts) for text in (prompts.without_constitution, prompts.training))
        first = prompts.training.find("{constitution}") < prompts.training.find("{query}")  # then encoded once
        constitution = self.constitution() * (1 if first and e.engine.scoring != "padded" else K)
        if e.engine.scoring == "padded":
            alone, under, constitution = alone * R, under * R / C, constitution * R / C
        return (
            (K * (alone + query + R * response), K * R * response),
            (constitution + K * (under + query + R / C * response), K * R / C * response),
        )

    def _matrix(
        self,
        part: str,
        sampling: Sampling,
        shape: tuple[int, int],
        template: str,
        longest: bool,
        others: int = 0,
        prompts: Prompts | None = None,
    ) -> Matrix | None:
        """The same for C prompts of the own query and C of each of some `others`, and R responses."""
        (C, R), K, prompts, texts = shape, 1 + others, prompts or self.task.prompts, self.queries(part)
        query = texts.longest if longest else texts.mean
        if query is None:
            return None
        response = sampling.max_new_tokens if longest else self.response(sampling)
        constitution = self.constitution() if "{constitution}" in template else 0
        constitution += self.attributes() if "{attributes}" in template else 0
        prompt = lengths.of_template(template, prompts) + constitution + query
        if self.experiment.engine.scoring == "padded":
            return K * C * R * (prompt + response), K * C * R * response
        before = lengths.of_template(template, prompts, shared=True)
        query_first = "{query}" in template.split("{constitution}")[0]
        common = before + query if query_first else before  # of the prompts of one query
        common = common if common >= LEAST_SAVING else 0
        under = 0 if query_first else before + constitution - common  # of the prompts under one constitution, besides
        under = under if under >= LEAST_SAVING else 0
        each = prompt - common - under + R * response
        return (K if query_first else 1) * common + C * (under + K * each), K * C * R * response
