"""What jobs ask of a cluster, and the hardware that a plan reckons with."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sami.settings.base import Count, Number, NumberFormat, Settings


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
