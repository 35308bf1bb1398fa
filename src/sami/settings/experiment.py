"""Everything that defines one experiment, and the top level of the configuration."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sami.settings.base import Count, ExperimentName, PolicyName, Settings, Source
from sami.settings.evaluation import Evaluation
from sami.settings.methods import MethodChoice
from sami.settings.principles import Constitutions
from sami.settings.resources import Resources
from sami.settings.sampling import Sampling
from sami.settings.tasks import Prompts, Queries
from sami.settings.training import Engine, Training


class External(Settings):
    """Responses that were made elsewhere: the files of the SAMI authors' runs (`sami.data.external_responses`)."""

    folder: str
    """Where the files of responses are."""
    source: Source | None = None
    """The web address of such a folder, from which files that are not there are fetched."""
    policies: Annotated[dict[PolicyName, str], Field(min_length=2)]
    """Names of policies and their files (`{"constitution": {i: text}, "question": {i: text}, "response": {i: text}}`
    each).

    `iteration-0`, the base model's, is required. The first `queries.eval` different questions of that file are used,
    and every file must answer them. The texts of `constitution` must be those of `constitutions.principles`. See
    docs/judging.md#the-released-responses.
    """


class Experiment(Settings):
    """Everything that defines one experiment."""

    model: str
    """Name in `models`: the base model, which is trained and compared with."""
    task: str
    """Name in `tasks`: queries, prompts and clean-up of responses."""
    method: MethodChoice
    """How responses become training examples.

    A mapping with the method's `name` and its own keys; the name alone will do, too. `training.objective` is what is
    learned from them. docs/methods.md has a section for each.
    """
    external: External | None
    """Or {folder: ..., policies: {NAME: FILE, ...}}: responses that were made elsewhere.

    They are compared, nothing is trained, and no base model is needed.
    """
    iterations: Count
    """T, how often responses are sampled and a policy is trained on them.

    They are sampled from the policy of the iteration before. Raising it keeps the finished iterations.
    """
    seed: Annotated[int, Field(ge=0)]
    """Seed of every draw. Order of queries, sets of constitutions, responses, order of training, bootstrap."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    """Or [1, 2, 3]: a run with each seed, in place of `seed`, and results that join them.

    The run of NAME with seed 1 is an experiment of its own, `NAME-seed-1`, with all that one has: a folder, tables, a
    target by its name. `results/NAME` has the tables and the figure that join them
    (docs/statistics.md#several-seeds). An experiment that gives `seed` does not take over `seeds` of `defaults`.
    """
    constitutions: Constitutions
    """How constitutions are made of principles."""
    queries: Queries
    """How many queries are used."""
    sampling: Sampling
    """How responses for training are drawn."""
    training: Training
    """The optimisation of one iteration."""
    engine: Engine
    """How training and scoring are computed: no result depends on it beyond rounding.

    Speed and memory do, and changing it makes no finished result out of date.
    """
    resources: Resources
    """What a job asks of a cluster (profiles/slurm), by its kind; changing it makes no result out of date."""
    evaluation: Evaluation
    """How policies are compared."""

    @property
    def sampled_iterations(self) -> list[int]:
        """Iterations with queries of their own, in order; the others learn from responses of one of these."""
        return sorted({self.method.responses_of(t) for t in range(1, self.iterations + 1)})

    def train_counts(self) -> list[int]:
        """Queries that each iteration 1..T learns from."""
        train = self.queries.train
        if not isinstance(train, list):
            return [train] * self.iterations
        own = dict(zip(self.sampled_iterations, train, strict=False))
        return [own[self.method.responses_of(t)] for t in range(1, self.iterations + 1)]

    def fresh_counts(self) -> list[int]:
        """Fresh queries of each iteration 1..T: none where it learns from responses of an earlier one.

        Where queries come with demonstrations, none either: each iteration has the same.
        """
        sampled = set() if self.method.demonstration_file else set(self.sampled_iterations)
        return [count if t in sampled else 0 for t, count in enumerate(self.train_counts(), start=1)]

    @property
    def relevance_model(self) -> str | None:
        """Name of the model that tells to which query a response belongs; None where nothing tells it."""
        relevance = self.evaluation.relevance
        if relevance is None:
            return None
        return relevance.model or (None if self.external else self.model)

    def evaluation_template(self, policy: str, prompts: Prompts) -> str:
        """Template of the prompts in which a policy is asked the held-out queries."""
        asked = self.evaluation.constitution_of(policy)
        if asked == "as-labels":
            return self.method.template(prompts)
        return (prompts.without_constitution or "") if asked == "left-out" else prompts.generation

    @property
    def scored(self) -> bool:
        """Whether information is estimated: policies that are models answer under contrasted constitutions."""
        evaluation = self.evaluation
        return not self.external and evaluation.information and evaluation.constitution == "in-prompt"

    @property
    def samplings(self) -> dict[str, Sampling]:
        """How it draws responses, by key: for training, where the method draws any, and for evaluation."""
        training = {"sampling": self.sampling} if self.method.draws_responses else {}
        return training | {"evaluation.sampling": self.evaluation.sampling}

    @model_validator(mode="after")
    def _different_seeds(self) -> Self:
        seeds = self.seeds or []
        for position, seed in enumerate(seeds):
            if seed in seeds[:position]:
                raise ValueError(f"'seeds' names {seed} twice, which would be one run; expected each once. Delete one")
        if seeds and self.external:
            raise ValueError(
                "'seeds' asks for a run with each seed, but nothing is drawn where responses are 'external'; delete "
                "one of the two"
            )
        return self

    @model_validator(mode="after")
    def _policies(self) -> Self:
        if self.external and self.queries.test is not None:
            raise ValueError(
                "'queries.test' takes held-out queries of the task, but 'external' responses bring their own; delete it"
            )
        if self.external and self.evaluation.constitution != "in-prompt":
            raise ValueError(
                f"'evaluation.constitution: {self.evaluation.constitution}' says how policies are asked, but "
                "'external' responses are there already, and are judged by the constitutions that they were made for; "
                "set it to in-prompt"
            )
        if self.evaluation.constitution == "as-labels" and not self.method.steers:
            raise ValueError(
                "'evaluation.constitution: as-labels' asks policies for values of attributes, of which the method "
                f"'{self.method.name}' teaches them nothing; set it to in-prompt, or take the method steerlm"
            )
        if self.external and self.evaluation.policies:
            raise ValueError(
                "'evaluation.policies' are models, which are not run beside 'external' responses; delete them"
            )
        for name in self.evaluation.policies:
            if name == "base" or name.startswith("iteration-"):
                raise ValueError(f"'evaluation.policies' calls a policy '{name}', the name of a trained one; rename it")
        if self.external and self.constitutions.held_out:
            raise ValueError(
                "'constitutions.held_out' needs responses under held-out principles, which an experiment with "
                "'external' responses does not sample; delete it"
            )
        if not self.constitutions.held_out and any(p.principles == "held-out" for p in self.evaluation.published):
            raise ValueError(
                "'evaluation.published' gives a win rate under held-out principles, but 'constitutions.held_out' names "
                "none; name their file, or delete the win rate"
            )
        return self

    @model_validator(mode="after")
    def _candidates(self) -> Self:
        responses, prompts = self.evaluation.sampling.responses, self.constitutions.per_set
        if self.evaluation.best and self.evaluation.sampling.temperature == 0:
            raise ValueError(
                "'evaluation.sampling.temperature' is 0, expected a higher one, since 'best_of' chooses among draws, "
                "which would all be the same; raise it"
            )
        if self.evaluation.best and self.evaluation.sampled_under == "all" and responses and responses % prompts:
            raise ValueError(
                f"'evaluation.sampling.responses' is {responses}, expected null or a multiple of the {prompts} "
                "constitutions of a set ('constitutions.per_set'), since 'best_of' chooses among as many responses "
                "under each"
            )
        return self

    @model_validator(mode="after")
    def _one_count_each(self) -> Self:
        train, needed = self.queries.train, len(self.sampled_iterations)
        if isinstance(train, list) and len(train) < needed:
            part = "" if needed == self.iterations else f", of which {needed} sample"
            raise ValueError(
                f"the list 'queries.train' has length {len(train)}, but 'iterations' is {self.iterations}{part}; give "
                f"one count for each iteration{' that samples' if part else ''}, or a single number for all"
            )
        return self

    @model_validator(mode="after")
    def _method_fits(self) -> Self:
        objective, known = self.training.objective.name, self.method.objectives
        if objective not in known:
            raise ValueError(
                f"'training.objective' is {objective}, for which the method '{self.method.name}' makes no training "
                f"examples; expected one of: {', '.join(known)}"
            )
        least, responses = self.method.least_responses, self.sampling.responses
        drawn = responses or (self.constitutions.per_set if self.method.sampled_under == "all" else 1)
        if drawn < least:
            found = "null, which is 1" if responses is None else responses
            raise ValueError(f"'sampling.responses' is {found}, but '{self.method.name}' needs at least {least}")
        self.method.reference(1, self.training)
        self.method.check_counts(self.train_counts())
        return self

    @model_validator(mode="after")
    def _adapters_alone(self) -> Self:
        if self.training.lora and self.engine.processes > 1:
            raise ValueError(
                f"'training.lora' trains in one process, but 'engine.processes' is {self.engine.processes}; set it to "
                "1, or 'training.lora' to null to shard all weights"
            )
        return self

    @model_validator(mode="after")
    def _processes_fill_the_nodes(self) -> Self:
        train, processes = self.resources.of("train"), self.engine.processes
        nodes, gpus = train.nodes or 1, train.gpus or 0
        if processes % nodes or (gpus and processes != nodes * gpus):
            expected = f"{nodes * gpus}, one for each GPU" if gpus else f"a multiple of {nodes}"
            raise ValueError(
                f"'engine.processes' is {processes}, but 'resources' gives training {nodes} node(s) with {gpus} GPU(s) "
                f"each; expected {expected}. Set 'engine.processes', or 'nodes' and 'gpus' of 'resources.train'"
            )
        return self

    @model_validator(mode="after")
    def _gpus_for_the_sampler(self) -> Self:
        gpus, needed = self.resources.of("sample").gpus, self.engine.tensor_parallel
        samplers = [sampling.sampler for sampling in self.samplings.values()]
        if gpus is not None and gpus < needed and "vllm" in samplers:
            raise ValueError(
                f"the sampler vllm divides the model among 'engine.tensor_parallel' = {needed} GPUs, but 'resources' "
                f"gives sampling {gpus}; set 'gpus' of 'resources.sample' to {needed}, or lower the other"
            )
        return self

    @model_validator(mode="after")
    def _enough_other_queries(self) -> Self:
        least, others = min(self.train_counts()), self.training.other_queries
        if others >= least:
            raise ValueError(
                f"'training.objective' contrasts each query with 'other_queries' = {others} of the same iteration, but "
                f"'queries.train' gives an iteration {least}; expected fewer others than queries. Raise "
                "'queries.train', or lower 'other_queries'"
            )
        return self


class Root(Settings):
    """The top level of the merged configuration."""

    version: Literal[2]
    """Version of this format. Results of another version are not touched: the run stops."""
    results: str
    """One folder an experiment. Set it to a larger disk for large models: every iteration keeps its weights."""
    resources: str
    """Prepared models, shared by experiments."""
    run: Annotated[list[str], Field(min_length=1)]
    """The experiments that `snakemake --cores all` builds.

    Others are built by name: `snakemake --cores all model-written`.
    """
    models: str
    """Where the weights of models come from: a YAML file."""
    tasks: str
    """Queries and prompts: a folder of files NAME.yaml, as in the next four."""
    constitutions: str
    """Principles, or behaviours to write them about."""
    writers: str
    """Who writes principles."""
    judges: str
    """Who compares responses."""
    rewards: str
    """What says how good responses for training are."""
    hardware: str
    """Machines that `snakemake plan` reckons with: a YAML file."""
    answers: str
    """Every answer of a paid judge, by content: none is bought twice, in no experiment.

    An SQLite file, kept for ever. On a disk of this machine if possible: SQLite's locks do not hold on every network
    disk.
    """
    accept_licences: list[str] = []
    """Names of terms of models that you have read and accept.

    Models with a `licence` in the models file are prepared only then.
    """
    defaults: dict[str, Any]
    """Settings that every experiment starts from."""
    experiments: Annotated[dict[ExperimentName, dict[str, Any]], Field(min_length=1)]
    """What differs from `defaults`, by name of the experiment.

    A name is also a folder in `results`: letters, digits, `_`, `-`, `.`, the first a letter or digit.
    """
    compare: dict[ExperimentName, Annotated[list[str], Field(min_length=2)]]
    """Tables and figures across experiments: {NAME: [EXPERIMENT, EXPERIMENT, ...]}.

    They are `results/NAME/tables/comparison.*` and `results/NAME/figures/comparison.*`, with differences to the first
    of the list (docs/statistics.md#comparisons-of-experiments). Built by name (`snakemake --cores all NAME`), and by
    the targets `all` and `figures` where all its experiments are. No experiment may have its name.

    Experiments with the same `seeds` are compared over these, in tables of their own, one for each question that
    policies are asked (docs/statistics.md#methods-side-by-side). Or name single runs (NAME-seed-1).
    """
