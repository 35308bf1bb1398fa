"""Outcome of the rows of a plan, read from what their jobs have left; of an unfinished run, what is there."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sami.lineage import provenance_record
from sami.records import iteration_of, read_json_lines
from sami.workflow import layout
from sami.workflow.configuration import Configuration
from sami.workflow.plan.rows import Row


@dataclass(frozen=True)
class Outcome:
    """Columns of a row as they turned out: sums over the jobs that have ended. None: nobody has recorded it.

    memory: bytes of the job, or for training on GPUs of the GPU, that took the most.
    """

    jobs: int
    seconds: float
    memory: float | None = None
    prompt_tokens: float | None = None
    new_tokens: float | None = None
    disk: float | None = None
    requests: float | None = None
    dollars: float | None = None


def outcomes(rows: Sequence[Row], configuration: Configuration) -> list[Outcome | None]:
    """Outcome of each row; None where none of its jobs has ended."""
    stages: dict[str, set[str]] = {}
    for row in rows:
        stages.setdefault(row.experiment, set()).add(row.stage)
    found = []
    for row in rows:
        files = _Files(row, configuration, stages[row.experiment])
        ended = [benchmark for benchmark in map(_benchmark, files.benchmarks()) if benchmark]
        if not ended:
            found.append(None)
            continue
        common = {"jobs": len(ended), "seconds": sum(seconds for seconds, _ in ended), "disk": files.size()}
        common["memory"] = files.gpu_memory() if row.gpus else max(files.memory(), *(memory for _, memory in ended))
        common |= files.told()
        # The benchmark of a training that was resumed is that of its end, its metrics are of all steps.
        common["seconds"] = max(common["seconds"], files.steps_took())
        found.append(Outcome(**common))
    return found


OUTPUTS = {  # stage -> the largest file or folder that its jobs leave in the folder of an experiment
    "score_reference": layout.EXAMPLES,
    "train": layout.MODEL,
    "train_reward_model": layout.REWARD_MODEL,
    "sample_responses": layout.RESPONSES,
    "sample_screening": layout.SCREENING_RESPONSES,
    "screen_principles": layout.SCREENED,
    "sample_evaluation": layout.EVAL_RESPONSES,
    "sample_candidates": layout.CANDIDATES,
    "score_candidate_relevance": layout.CANDIDATE_RELEVANCE,
    "score_candidate_rewards": layout.CANDIDATE_REWARDS,
    "score_rewards": layout.REWARDS,
    "sample_steering": layout.STEERED,
    "score_responses": layout.SCORES,
    "score_relevance": layout.RELEVANCE,
    "score_training_relevance": layout.TRAINING_RELEVANCE,
    "judge_responses": layout.VERDICTS,
    "judge_by_reward_model": layout.VERDICTS,
    "score_identification": layout.RECOGNISED,
}


class _Files:
    """Files that the jobs of a row leave."""

    def __init__(self, row: Row, configuration: Configuration, stages: set[str]):
        self.row, self.stages = row, stages
        self.layout = configuration.layout
        self.experiment = configuration.experiments.get(row.experiment)
        policy, comparator = row.comparison or (row.of, None)
        names = {"policy": policy, "comparator": comparator, "iteration": iteration_of(row.of)}
        self.wildcards = names | {"judge": row.of, "model": row.of}

    def _path(self, path: str) -> Path:
        return Path(self.layout.path(path, self.row.experiment, **self.wildcards))

    def benchmarks(self) -> Iterable[Path]:
        """Snakemake's records of the jobs that have ended."""
        stage = self.row.stage
        if stage == "prepare_model":
            return [Path(self.layout.shared(layout.benchmark(stage)).format(**self.wildcards))]
        if stage == "light":
            folder = self._path("benchmarks")
            own = [file for file in folder.glob("*.tsv") if file.stem.split("-")[0] not in self.stages]
            return [*own, *folder.glob("share_results/**/*.tsv")]
        benchmark = self._path(layout.benchmark(stage))
        return [benchmark, *self._of_chunks(benchmark)]

    def _of_chunks(self, benchmark: Path) -> list[Path]:
        """Of the jobs that sampled the chunks of a file."""
        e = self.experiment
        if self.row.stage == "sample_responses":
            queries, sampling = e.train_counts()[self.wildcards["iteration"] - 1], e.sampling
        elif self.row.stage == "sample_evaluation":
            queries, sampling = e.queries.held_out, e.evaluation.sampling
        elif self.row.stage == "sample_candidates":
            queries, sampling = e.queries.held_out, layout.candidate_sampling(e, self.row.of)
        else:
            return []
        jobs = layout.finished_jobs(self.output(), (queries, sampling.responses, sampling.max_new_tokens)) or 1
        return [Path(file).with_suffix(".tsv") for file in layout.chunk_files(str(benchmark), jobs)]

    def output(self) -> Path | None:
        """The largest file or folder that the jobs leave."""
        if self.row.stage == "prepare_model":
            return Path(self.layout.model(self.row.of))
        return self._path(OUTPUTS[self.row.stage]) if self.row.stage in OUTPUTS else None

    def size(self) -> float | None:
        """Bytes of that."""
        output = self.output()
        if output is None or not output.exists():
            return None
        files = [output] if output.is_file() else output.rglob("*")
        return sum(file.lstat().st_size for file in files if file.is_file())

    def provenance(self) -> dict:
        """The provenance record of the output, empty where there is none."""
        output = self.output()
        if output is None:
            return {}
        record = provenance_record(output)
        return json.loads(record.read_text()) if record.is_file() else {}

    def memory(self) -> float:
        """Bytes of the process that wrote the output."""
        return self.provenance().get("peak_memory_mib", 0) * 2**20

    def gpu_memory(self) -> float | None:
        """Bytes of its GPU; in training, of the GPU that took the most."""
        told = self.provenance().get("peak_gpu_memory_mib")
        return max((step["peak_memory_gib"] * 2**30 for step in self.steps()), default=told and told * 2**20)

    def steps(self) -> list[dict]:
        """The metrics of training, a mapping each step."""
        return _lines(self._path(layout.TRAINING_LOG)) if self.row.stage == "train" else []

    def steps_took(self) -> float:
        """Seconds of all steps of a training."""
        return sum(step["seconds"] for step in self.steps())

    def told(self) -> dict[str, float | None]:
        """Columns that the outputs themselves tell."""
        if steps := self.steps():
            return {"prompt_tokens": sum(step["tokens"] for step in steps)}
        if self.row.stage == "sample_steering":  # which keeps no counts beside its responses
            responses = _lines(self.output())
            return {"new_tokens": sum(response["tokens"] for response in responses)} if responses else {}
        if self.row.stage.startswith("sample"):
            counts = self.output().with_name("sampling.json")
            return {"new_tokens": json.loads(counts.read_text()).get("tokens")} if counts.is_file() else {}
        if self.row.stage == "judge_responses" and self.row.requests:
            answers = [answer for verdict in _lines(self.output()) for answer in verdict["answers"]]
            costs = [answer["cost"] for answer in answers if answer["cost"] is not None]
            return {
                "prompt_tokens": sum(answer["input_tokens"] for answer in answers),
                "new_tokens": sum(answer["output_tokens"] for answer in answers),
                "requests": sum(answer["tries"] for answer in answers),
                "dollars": sum(costs) if costs else None,
            }
        return {}


def _lines(path: Path) -> list[dict]:
    return [line for _, line in read_json_lines(path)] if path.is_file() else []


def _benchmark(path: Path) -> tuple[float, float] | None:
    """Seconds and bytes of memory of one job, from Snakemake's file about it; None where there is none."""
    try:
        with path.open(newline="") as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        return float(row["s"]), float(row["max_rss"]) * 2**20
    except (OSError, StopIteration, KeyError, ValueError):
        return None
