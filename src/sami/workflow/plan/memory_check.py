"""Refuses what cannot fit, with the settings under which it would.

Only where all is stated: the hardware of the jobs by the experiment, the model's size by the models file.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sami.errors import UserError
from sami.settings.base import Settings
from sami.settings.experiment import Experiment
from sami.settings.training import Lora
from sami.workflow.configuration import Configuration
from sami.workflow.plan.rows import Planner, Row

Change = dict[str, Any]  # dotted key of an experiment's setting -> another value

DOUBLED = [2**power for power in range(1, 10)]  # processes or GPUs to try


def check(configuration: Configuration, experiment: str) -> None:
    """Raises UserError where jobs of an experiment need more memory than the hardware that it names has."""
    resources = configuration.experiments[experiment].resources
    if all(resources.of(kind).hardware is None for kind in type(resources).model_fields):
        return
    for row in Planner(configuration, experiment).rows():
        if row.fits is False and resources.of(row.kind).hardware is not None:
            where = configuration.where(experiment, "resources", *resources.set_at(row.kind, "hardware"))
            raise UserError(f"{where}: {refusal(configuration, row)}")


def refusal(configuration: Configuration, row: Row) -> str:
    """Message on a row that does not fit: its needs, what there is, and what would help."""
    gib = lambda size: f"{size / 2**30:.1f}"  # noqa: E731
    parts = ", ".join(f"{name} {gib(size)}" for name, size in row.memory.parts.items() if size >= 2**30 / 20)
    found = [" and ".join(map(_text, change.items())) for change in remedies(configuration, row)]
    help = f"It fits with {', or with '.join(found)}. Else" if found else "No setting of such a job makes it fit:"
    return (
        f"{row.stage} of {row.of} needs {gib(row.memory.total)} GiB of {'each GPU' if row.gpus else 'the machine'} "
        f"({parts}), but {row.hardware} has {gib(row.available)}. {help} name hardware with more memory, or take a "
        "smaller model. `snakemake plan` shows all jobs."
    )


def remedies(configuration: Configuration, row: Row) -> list[Change]:
    """Of each kind of change the smallest with which the row fits; where none suffices, of two kinds together."""
    e = configuration.experiments[row.experiment]
    for kinds in (_alone(e, row), _together(e, row)):
        found = [next((change for change in kind if _fits(configuration, row, change)), None) for kind in kinds]
        if any(found):
            return list(filter(None, found))
    return []


def _alone(e: Experiment, row: Row) -> Iterator[list[Change]]:
    """Kinds of changes, each from the smallest to the largest."""
    if row.stage == "train":
        order = ["none", "selective", "full"]
        stronger = order[order.index(e.engine.activation_checkpointing) + 1 :]
        yield [{"engine.activation_checkpointing": kind} for kind in stronger]
    if row.stage == "train" or row.kind == "score":
        yield [{"engine.tokens_per_pass": tokens} for tokens in _halved(e.engine.tokens_per_pass)]
    if row.stage == "train":
        yield [{"training.precision": "bfloat16"}]
        yield _more_processes(e, row)
        alone = {} if e.engine.processes == 1 else {"engine.processes": 1}
        yield [{"training.lora": {"rank": 16, "alpha": 32}} | alone]
    if row.kind == "score" and row.machine.is_gpu:
        yield [{"resources.score.gpus": n} for n in DOUBLED if n > row.gpus]
    if row.stage in ("sample_responses", "sample_evaluation"):
        whole = row.stage == "sample_responses"
        part, sampling = ("sampling", e.sampling) if whole else ("evaluation.sampling", e.evaluation.sampling)
        if sampling.sampler == "transformers":
            yield [{f"{part}.batch_size": size} for size in _halved(sampling.batch_size)]
        if row.machine.is_gpu:
            yield [{f"{part}.sampler": "vllm", "engine.tensor_parallel": gpus} for gpus in (1, *DOUBLED)]


def _together(e: Experiment, row: Row) -> Iterator[list[Change]]:
    full = {"engine.activation_checkpointing": "full"}
    if row.stage == "train":
        yield [full | {"training.precision": "bfloat16"}]
        yield [full | change for change in _more_processes(e, row)]
        yield [full | {"training.precision": "bfloat16"} | change for change in _more_processes(e, row)]


def _more_processes(e: Experiment, row: Row) -> list[Change]:
    return [{"engine.processes": n} for n in DOUBLED if n > e.engine.processes] if row.machine.is_gpu else []


def _halved(value: int) -> list[int]:
    return [value >> power for power in range(1, 6) if value >> power]


def _text(change: tuple[str, Any]) -> str:
    key, value = change
    gpus = {
        "engine.processes": " (one for each GPU: resources.train)",
        "engine.tensor_parallel": " (resources.sample.gpus)",
    }
    return f"{key}: {value}{gpus.get(key, '')}".replace("'", "")


def _fits(configuration: Configuration, row: Row, change: Change) -> bool:
    e = configuration.experiments[row.experiment]
    for key, value in change.items():
        e = _changed(e, key.split("."), value)
    other = replace(configuration, experiments={**configuration.experiments, row.experiment: e})
    same = lambda r: (r.stage, r.of, r.comparison) == (row.stage, row.of, row.comparison)  # noqa: E731
    return bool(next(filter(same, Planner(other, row.experiment).rows())).fits)


def _changed(settings: Settings, keys: list[str], value: Any) -> Settings:
    """A copy with another value. What does not go together with it is not of interest here."""
    first, *rest = keys
    if rest:
        value = _changed(getattr(settings, first), rest, value)
    elif isinstance(value, dict):
        value = Lora(**value)
    return settings.model_copy(update={first: value})
