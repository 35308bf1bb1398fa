"""What jobs ask of a cluster, and the hardware that a plan reckons with."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sami.settings.base import Count, Number, NumberFormat, Settings


class Utilisation(Settings):
    """Share of the rate of dense matrix products that a kind of job reaches."""

    training: Annotated[Number, Field(gt=0, le=1)]
    """Of training."""
    scoring: Annotated[Number, Field(gt=0, le=1)]
    """Of scoring."""
    sampling: Annotated[Number, Field(gt=0, le=1)]
    """Of sampling."""


class Hardware(Settings):
    """What the plan reckons with: one GPU, or a machine whose processor runs the models."""

    kind: Literal["cpu", "gpu"]
    """`gpu`: all numbers are of one GPU, and a job may use several.

    `cpu`: of the whole machine, whose memory its processes share.
    """
    memory_gib: Annotated[Number, Field(gt=0)]
    """Memory that jobs may use, GiB."""
    overhead_gib: Annotated[Number, Field(ge=0)]
    """What a process takes of it before any model is there: libraries, or the driver's context."""
    flops: dict[NumberFormat, Annotated[Number, Field(gt=0)]]
    """Operations a second of large dense matrix products, by number format."""
    utilisation: Utilisation
    """Share of that rate that the stages reach."""
    bandwidth: Annotated[Number, Field(gt=0)]
    """Bytes a second that sampling reads from memory."""
    layer_seconds: dict[Literal["transformers", "vllm"], Annotated[Number, Field(ge=0)]]
    """Seconds that each layer adds to each step of sampling, by sampler, whatever the number of responses."""
    disk: Annotated[Number, Field(gt=0)]
    """Bytes a second of reading and writing weights."""
    start_seconds: Annotated[Number, Field(ge=0)]
    """Seconds until a job begins its work."""
    dollars_per_hour: Annotated[Number, Field(ge=0)] | None = None
    """Price of an hour of it."""

    @property
    def is_gpu(self) -> bool:
        return self.kind == "gpu"


class Job(Settings):
    """What a job asks of a cluster. Memory, cores and GPUs are those of one node."""

    mem_mb: Count | None = None
    """Memory on each node, in MB. Doubled in a retry after the job ran out of it."""
    runtime: Count | None = None
    """Minutes until the job is ended.

    Doubled in a retry after that, but for training, which goes on from its last checkpoint. Not set: the limit of the
    partition.
    """
    cores: Count | None = None
    """Processor cores on each node. Not set: 8, or as many as `snakemake` itself has; 1 where no model runs."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs on each node."""
    partition: str | None = None
    """Partition, or several separated by commas. Not set: the cluster's default."""
    account: str | None = None
    """Account that is charged. Not set: the user's default."""
    constraint: str | None = None
    """Features that a node must have."""
    hardware: str | None = None
    """Name in `hardware`: what machine that is, for the plan (docs/plan.md)."""


class TrainingJob(Job):
    """The same for training, the only kind that may span several nodes."""

    nodes: Count | None = None
    """In `train` only: nodes. `engine.processes` counts those of all nodes: `nodes` times `gpus`."""


JobKind = Literal["prepare", "write", "sample", "score", "train", "judge", "light"]


class Resources(Settings):
    """What the jobs of each kind ask of a cluster; results depend on none of it."""

    all: Job = Job()
    """Every kind of job; also cores, gpus, partition, account, constraint, hardware."""
    prepare: Job = Job()
    """Preparing a model: download, conversion.

    Where several experiments use a model, the one that asks for the most memory counts.
    """
    write: Job = Job()
    """Writing principles with a model that runs on the cluster."""
    sample: Job = Job()
    """Sampling responses, for training and for evaluation."""
    score: Job = Job()
    """Scoring held-out responses; judging by a model that runs on the cluster."""
    train: TrainingJob = TrainingJob()
    """Training, of policies and of models that reward or label."""
    judge: Job = Job()
    """Judging by checks or through an endpoint."""
    light: Job = Job()
    """Everything else: queries, constitutions, tables, figures, pages."""

    @model_validator(mode="after")
    def _memory(self) -> Self:
        if self.all.mem_mb is None:
            raise ValueError("'all' lacks 'mem_mb', the memory of jobs for whose kind none is set; add it")
        return self

    def of(self, kind: JobKind) -> TrainingJob:
        """The settings of a kind, laid over those of all; nodes are None but for training."""
        return TrainingJob(**self.all.model_dump() | getattr(self, kind).model_dump(exclude_none=True))

    def set_at(self, kind: JobKind, key: str) -> tuple[str, str]:
        """Where a value of `of` comes from."""
        return (kind if getattr(getattr(self, kind), key) is not None else "all", key)
