"""Everything that defines one experiment, and the top level of the configuration."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sami.settings.base import Count, ExperimentName, PolicyName, Settings, Source
from sami.settings.evaluation import Evaluation
from sami.settings.principles import Constitutions
from sami.settings.resources import Resources
from sami.settings.sampling import Sampling
from sami.settings.tasks import Queries
from sami.settings.training import Engine, Training


class Imported(Settings):
    """Responses that were made elsewhere: the files of the SAMI authors' runs (`sami.data.external_responses`)."""

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
