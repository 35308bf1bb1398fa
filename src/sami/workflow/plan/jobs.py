"""The rows of a plan: what the jobs of each stage and iteration take, from the configuration alone.

    rows, notes = plan(configuration, ["quickstart"])

Every formula is in docs/plan.md. A number that cannot be told is None, and a note says what is missing.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sami.endpoints.requests import TOKENS_PER_MESSAGE, cost_of, tokens_of
from sami.records import iteration_of
from sami.settings.experiment import Experiment
from sami.settings.judges import EndpointJudge, LikelihoodJudge
from sami.settings.resources import Hardware, JobKind
from sami.settings.sampling import Sampling
from sami.workflow import layout
from sami.workflow.configuration import Configuration, local_model
from sami.workflow.plan import lengths, memory
from sami.workflow.plan.memory import Need
from sami.workflow.plan.model_sizes import BYTES, Facts, facts
from sami.workflow.policies import comparisons, response_files

LEAST_SHARED = 16  # tokens; shorter common beginnings of prompts are encoded again (`sami.scoring.layout`)
VLLM_RESPONSES = 256  # that vLLM works on at once, if their cache fits
VLLM_SHARE = 0.9  # of a GPU's memory that vLLM takes
SPEED_OF_AN_ENDPOINT = 50  # tokens a second of one answer; stated
SECONDS_OF_A_REQUEST = 0.5  # besides; stated
BYTES_OF_A_TOKEN = 6  # in records: text and what stands around it


@dataclass
class Row:
    """The jobs of one stage about one thing. Sums over all jobs, but `seconds` and `memory`, which are of one.

    stage: the rule. of: what it is about: an iteration, a policy, a judge, a model.
    comparison: policy and comparator, where it is about verdicts.
    jobs: how many.
    gpus: that a job holds; 0 where the processor alone works.
    prompt_tokens, new_tokens: encoded (for training and scoring: all tokens), and generated.
    seconds: wall time.
    disk: bytes that stay. scratch: bytes besides, until the job has ended.
    memory, available: what a GPU (or the machine) needs and has; `hardware` is its name.
    """

    experiment: str
    stage: str
    of: str
    comparison: tuple[str, str] | None = None
    jobs: int = 1
    kind: JobKind = "light"
    hardware: str = ""
    gpus: int = 0
    prompt_tokens: float | None = 0
    new_tokens: float | None = 0
    flop: float | None = 0
    seconds: float | None = 0
    disk: float | None = 0
    scratch: float | None = 0
    requests: float | None = 0
    dollars: float | None = 0
    memory: Need | None = None
    available: float | None = None
    machine: Hardware = None

    @property
    def held(self) -> int:
        """GPUs, or machines without any, that a job keeps busy."""
        return self.gpus if self.machine.kind == "gpu" else 1

    @property
    def hours(self) -> float | None:
        """Of GPUs, or of the machine."""
        return None if self.seconds is None else self.jobs * self.seconds * self.held / 3600

    @property
    def fits(self) -> bool | None:
        """Whether memory suffices; None where that cannot be told."""
        return None if self.memory is None else self.memory.total <= self.available


def plan(configuration: Configuration, experiments: Sequence[str]) -> tuple[list[Row], list[str]]:
    """The rows of the given experiments, in the order of their work, and notes on what was assumed or is not known."""
    notes: list[str] = []
    planners = [Planner(configuration, name, notes) for name in experiments]
    users = {model: planner for planner in reversed(planners) for model in configuration.models_of(planner.name)}
    rows = [planner.prepare(model) for model, planner in users.items()]
    for planner in planners:
        rows += planner.rows()
    return rows, list(dict.fromkeys(notes))


class Planner:
    """Reckons the jobs of one experiment."""

    def __init__(self, configuration: Configuration, name: str, notes: list[str] | None = None):
        self.configuration, self.name = configuration, name
        self.notes = [] if notes is None else notes
        self.experiment: Experiment = configuration.experiments[name]
        self.root = configuration.root
        self.task = configuration.tasks[self.experiment.task]
        self.folder = Path(self.root.results, name)

    # --- what there is ------------------------------------------------------------------------------------------------

    def facts(self, model: str) -> Facts:
        found = facts(model, self.configuration.models[model], Path(self.root.resources, "models", model))
        if not found.complete:
            missing = " and ".join(f"'{key}'" for key in ("parameters", "shape") if getattr(found, key) is None)
            self.notes.append(
                f"{self.root.models}: {model}: {missing} not stated, so its hours and memory are not known. Add the "
                "key, or prepare the model first."
            )
        return found

    def policies(self) -> dict[str, str]:
        """Policy that answers held-out queries by a model -> the model whose size it has."""
        e = self.experiment
        if e.imported:
            return {}
        return {f"iteration-{t}": e.model for t in range(e.iterations + 1)} | e.evaluation.models

    def hardware(self, kind: JobKind) -> tuple[str, Hardware]:
        """What a kind of job runs on: the hardware that is named, or the first of the catalogue."""
        job, known = self.experiment.resources.of(kind), self.configuration.hardware
        name = job.hardware or next(iter(known))
        if job.hardware is None:
            asked = f" asks for {job.gpus} GPU(s) but" if job.gpus else ""
            self.notes.append(
                f"{self.name}: 'resources'{asked} names no hardware for some jobs: reckoned with {name}, and nothing "
                f"is refused. Name one of {self.root.hardware}, for example resources: {{all: {{hardware: {name}}}}}."
            )
        return name, known[name]

    def _row(self, stage: str, of: str, kind: JobKind, used: int = 0, **values) -> Row:
        """A row on the hardware of its kind; `used` is the number of GPUs that a job can use."""
        name, machine = self.hardware(kind)
        gpus = max(used, self.experiment.resources.of(kind).gpus or 0) if used and machine.kind == "gpu" else 0
        return Row(self.name, stage, of, kind=kind, hardware=name, machine=machine, gpus=gpus, **values)

    # --- lengths ------------------------------------------------------------------------------------------------------

    @functools.cache  # noqa: B019 (a planner lives no longer than its plan)
    def queries(self, part: str) -> lengths.Texts:
        """Tokens of the queries for training or evaluation."""
        found = lengths.of_queries(self.task, self.experiment.task, part, self.folder / "queries" / f"{part}.jsonl")
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

    def response(self, sampling: Sampling) -> float:
        """Tokens of a response."""
        stated = self.task.lengths.response
        if stated is None:
            self.notes.append(
                f"{self.root.tasks}/{self.experiment.task}.yaml: responses are reckoned as long as they may be "
                "(max_new_tokens). If you know better: lengths: {response: TOKENS}."
            )
        return min(stated or sampling.max_new_tokens, sampling.max_new_tokens)

    def drawn(self, sampling: Sampling) -> int:
        """R, responses for each example."""
        return sampling.responses or self.experiment.constitutions.per_set

    def held_out(self) -> int:
        """Examples for evaluation: a held-out query has a set of learned principles, and may have one of held-out."""
        return self.experiment.queries.eval * (2 if self.experiment.constitutions.held_out else 1)

    def matrix(self, part: str, sampling: Sampling, longest: bool = False) -> tuple[float, float] | None:
        """Tokens that are encoded, and that are predicted, for the matrix of one example; of the longest, if asked."""
        prompts, C, R = self.task.prompts, self.experiment.constitutions.per_set, self.drawn(sampling)
        texts = self.queries(part)
        query = texts.longest if longest else texts.mean
        if query is None:
            return None
        response = sampling.max_new_tokens if longest else self.response(sampling)
        prompt = lengths.of_template(prompts.training, prompts) + self.constitution() + query
        if self.experiment.engine.scoring == "padded":
            return C * R * (prompt + response), C * R * response
        common = lengths.of_template(prompts.training, prompts, shared=True)
        common += query if "{query}" in prompts.training.split("{constitution}")[0] else 0
        common = common if common >= LEAST_SHARED else 0
        return common + C * (prompt - common + R * response), C * R * response

    # --- rows ---------------------------------------------------------------------------------------------------------

    def rows(self) -> Iterable[Row]:
        """All rows but those of preparing models, in the order of the work."""
        e, judges = self.experiment, self.configuration.judges
        yield from self.write()
        drawn = [
            self.sample("sample_evaluation", policy, model, e.evaluation.sampling, "eval", self.held_out())
            for policy, model in self.policies().items()
        ]
        for t, count in enumerate(e.train_counts()[: 0 if e.imported else e.iterations], 1):
            drawn.append(self.sample("sample_responses", f"iteration-{t}", e.model, e.sampling, "train", count))
            yield drawn[-1]
            yield self.train(t)
        yield from drawn[: len(self.policies())]
        for t in range(0 if e.imported else e.iterations + 1):
            yield self.score(t)
        verdicts = [self.judge(*comparison) for comparison in comparisons(e) if judges[comparison[1]].kind != "panel"]
        yield from verdicts
        self.compare_cost(verdicts)
        joined = sum(row.jobs > 1 for row in drawn)
        panels = len(comparisons(e)) - len(verdicts)
        yield self.light(joined + panels)

    def prepare(self, model: str) -> Row:
        """Weights are copied, or linked where they are a folder on this machine."""
        size, entry = self.facts(model).bytes, self.configuration.models[model]
        linked = entry.source == "path" and not str(entry.path).endswith(".gguf")
        row = self._row("prepare_model", model, "prepare", disk=0 if linked else size)
        row.experiment = ""
        row.seconds = _sum(row.machine.start_seconds, size and size / row.machine.disk)
        return row

    def write(self) -> Iterable[Row]:
        """Principles that a model writes: an answer for each behaviour, if the first one is usable."""
        settings = self.experiment.constitutions
        writer = self.configuration.writers[settings.writer]
        files = {"write_principles": settings.principles, "write_held_out_principles": settings.held_out}
        for stage, file in files.items():
            count = len(self.configuration.principle_files[file].behaviours) if file else 0
            if not count:
                continue
            prompt = tokens_of(writer.prompt) + lengths.WRITTEN_STATEMENT
            values = {"prompt_tokens": count * prompt, "new_tokens": count * writer.max_tokens}
            if writer.kind == "endpoint" and not writer.serve:
                row = self._row(stage, settings.writer, "write", requests=count, **values)
                row.dollars = cost_of(row.prompt_tokens, row.new_tokens, writer.price)
                row.seconds = row.machine.start_seconds + count * _seconds_of_an_answer(writer.max_tokens)
                if row.dollars is None:
                    self.notes.append(f"the writer {settings.writer} has no price: its dollars are not known.")
                yield row
                continue
            row = self._row(stage, settings.writer, "write", used=1, requests=count if writer.serve else 0, **values)
            one = Sampling(temperature=1.0, max_new_tokens=writer.max_tokens, batch_size=1)
            self._draw(row, self.facts(local_model(writer)[0]), one, prompt, prompt, writer.max_tokens, count)
            yield row

    def sample(self, stage: str, of: str, model: str, sampling: Sampling, part: str, examples: int) -> Row:
        """The responses of one policy."""
        e, prompts, texts = self.experiment, self.task.prompts, self.queries(part)
        jobs = layout.sampling_jobs(e, iteration_of(of)) if stage == "sample_responses" else layout.evaluation_jobs(e)
        around = lengths.of_template(prompts.generation, prompts) + self.constitution()
        prompt, longest = _sum(texts.mean, around), _sum(texts.longest, around)
        response, requests = self.response(sampling), examples * self.drawn(sampling)
        used = e.engine.tensor_parallel if sampling.sampler == "vllm" else 1
        row = self._row(
            stage,
            of,
            "sample",
            used,
            jobs=jobs,
            prompt_tokens=prompt and requests * prompt,
            new_tokens=requests * response,
            disk=requests * (response * BYTES_OF_A_TOKEN + 100),
        )
        self._draw(row, self.facts(model), sampling, prompt, longest, response, math.ceil(requests / jobs), used)
        return row

    def _draw(self, row, model, sampling, prompt, longest, response, requests, gpus=1) -> None:
        """Fills in arithmetic, time and memory of drawing responses: `requests` in one job."""
        machine, vllm = row.machine, sampling.sampler == "vllm"
        row.available = machine.memory_gib * 2**30 * (VLLM_SHARE if vllm else 1)
        if not model.complete or prompt is None:
            row.flop = row.seconds = None
            return
        context = longest + sampling.max_new_tokens
        overhead = machine.overhead_gib * 2**30

        def need(batch):
            encoded = 8192 / batch if vllm else longest  # vLLM encodes so many tokens of prompts at a time
            return memory.sampling(model, batch, encoded, context, gpus, overhead, machine.kind)

        batch = min(requests, VLLM_RESPONSES if vllm else sampling.batch_size)
        if vllm:  # as many as there is room for
            room = row.available - need(1).total
            batch = max(1, min(batch, 1 + int(room // (context * model.cache / gpus))))
        row.memory = need(batch)
        row.flop = 2 * (model.body * row.prompt_tokens + (model.body + model.head) * row.new_tokens)
        rate, layer = self._rate(machine, model.dtype, "sampling"), machine.layer_seconds.get(sampling.sampler)
        if rate is None or layer is None:
            row.seconds = None
            return
        # transformers ends a batch with its longest response, vLLM fills the place of one that has ended.
        steps = (
            max(response, requests * response / batch)
            if vllm
            else math.ceil(requests / batch) * (sampling.max_new_tokens if batch > 1 else response)
        )
        step = model.shape.layers * layer
        step += (model.bytes + batch * (prompt + response) * model.cache) / gpus / machine.bandwidth
        step += batch * 2 * (model.body + model.head) / gpus / rate
        encoding = requests * prompt * 2 * model.body / gpus / rate
        row.seconds = machine.start_seconds + model.bytes / machine.disk + encoding + steps * step

    def train(self, iteration: int) -> Row:
        """The training of one iteration; as if no example were dropped by a filter."""
        e, model = self.experiment, self.facts(self.experiment.model)
        training, engine = e.training, e.engine
        row = self._row("train", f"iteration-{iteration}", "train", engine.processes, disk=model.bytes)
        row.available = row.machine.memory_gib * 2**30
        one, longest = (self.matrix("train", e.sampling, longest) for longest in (False, True))
        row.prompt_tokens = row.flop = row.seconds = None
        if one is None:
            return row
        (tokens, predicted), examples = one, e.train_counts()[iteration - 1] * training.epochs
        row.prompt_tokens = examples * tokens
        if not model.complete:
            return row
        row.memory = training_memory(e, model, row.machine, one, longest)
        # Twice forward for the backward pass: by the inputs, and by the weights, which adapters leave alone.
        times = 2 + 2 * (2 if training.lora is None else 1)
        extra = 2 * (engine.activation_checkpointing == "full") + 2 * (training.kl_weight > 0)
        row.flop = examples * (times * (model.body * tokens + model.head * predicted) + extra * model.body * tokens)
        weights, compute, _ = memory.PRECISIONS[training.precision]
        steps = training.epochs * math.ceil(e.train_counts()[iteration - 1] / training.queries_per_step)
        saves = (steps - 1) // engine.checkpoint_steps
        checkpoint = memory.trained(model, training) * BYTES[weights] * (1 + memory.OPTIMISER[training.optimizer])
        row.scratch = min(2, saves) * checkpoint
        rate = self._rate(row.machine, compute, "training")
        if rate is not None:
            moved = model.bytes * 2 + saves * checkpoint
            row.seconds = row.machine.start_seconds + moved / row.machine.disk + row.flop / rate / max(1, row.gpus)
        return row

    def score(self, iteration: int) -> Row:
        """The bound of one policy: its own responses, and for a trained one those of base and policy by one another."""
        e, model = self.experiment, self.facts(self.experiment.model)
        row = self._row("score_responses", f"iteration-{iteration}", "score", 1)
        passes = self.held_out() * (1 if iteration == 0 else 3)
        one, longest = (self.matrix("eval", e.evaluation.sampling, longest) for longest in (False, True))
        models, processes = 1 if iteration == 0 else 2, row.gpus or 1
        self._read(row, model, passes, one, longest, e.engine.tokens_per_pass, models, processes)
        row.disk = passes * e.constitutions.per_set * self.drawn(e.evaluation.sampling) * 50
        return row

    def _read(self, row, model, passes, one, longest, tokens_per_pass, models=1, processes=1) -> None:
        """Fills in tokens, arithmetic, time and memory of scoring texts without gradients."""
        row.available = row.machine.memory_gib * 2**30
        row.prompt_tokens = row.flop = row.seconds = None
        if one is None:
            return
        tokens, predicted = one
        row.prompt_tokens = passes * tokens
        if not model.complete:
            return
        encoded = max(min(tokens_per_pass, passes * tokens), longest[0])
        overhead = row.machine.overhead_gib * 2**30
        row.memory = memory.scoring(model, encoded, encoded * predicted / tokens, overhead, row.machine.kind, processes)
        row.flop = 2 * passes * (model.body * tokens + model.head * predicted)
        rate = self._rate(row.machine, model.dtype, "scoring")
        if rate is not None:
            moved = models * model.bytes / row.machine.disk
            row.seconds = row.machine.start_seconds + moved + row.flop / rate / processes

    def judge(self, policy: str, name: str, comparator: str) -> Row:
        """The verdicts of one judge on one policy."""
        e, judge = self.experiment, self.configuration.judges[name]
        of = {"comparison": (policy, comparator)}
        sampling = e.evaluation.sampling
        shown = 1 if e.imported else self.drawn(sampling)
        if e.evaluation.judged == "positive" and not e.imported:
            shown = len(range(0, shown, e.constitutions.per_set))
        pairs = self.held_out() * shown
        response = self.response(sampling)
        records = pairs * 2 * (response * BYTES_OF_A_TOKEN + 200)
        if judge.kind == "checks":
            row = self._row("judge_responses", name, "light", disk=records, **of)
            row.seconds = row.machine.start_seconds
            return row
        orders = 1 if getattr(judge, "orders", "both") == "random" else 2
        asked, query = pairs * orders, self.queries("eval").mean
        around = tokens_of(judge.prompt) + tokens_of(judge.system or "") + 2 * TOKENS_PER_MESSAGE + self.constitution()
        prompt = _sum(around, query, 2 * response)
        if isinstance(judge, LikelihoodJudge):
            row = self._row("judge_responses", name, "judge", 1, disk=records, **of)
            one = None if prompt is None else (prompt, 1)
            self._read(row, self.facts(judge.model), asked, one, one, judge.batch_size * (prompt or 0))
            return row
        row = self._row("judge_responses", name, "judge", used=1 if judge.serve else 0, disk=records, **of)
        self._ask(row, judge, asked, prompt)
        return row

    def _ask(self, row: Row, judge: EndpointJudge, asked: int, prompt: float | None) -> None:
        """Fills in requests to an endpoint: one for each pair and order, with answers as long as they may be."""
        limits = judge.limits
        row.requests, row.new_tokens = asked, asked * judge.max_tokens
        row.prompt_tokens = prompt and asked * prompt
        row.disk += row.new_tokens * BYTES_OF_A_TOKEN
        if judge.serve:
            one = Sampling(temperature=1.0, max_new_tokens=judge.max_tokens, batch_size=1)
            return self._draw(row, self.facts(judge.serve), one, prompt, prompt, judge.max_tokens, asked)
        row.dollars = row.prompt_tokens and cost_of(row.prompt_tokens, row.new_tokens, limits.price)
        if row.dollars is None:
            self.notes.append(f"the judge {row.of} has no limits.price: its dollars are not known.")
        elif limits.batch:
            row.dollars /= 2
        seconds = asked * _seconds_of_an_answer(judge.max_tokens) / limits.concurrency
        if limits.requests_per_minute:
            seconds = max(seconds, 60 * asked / limits.requests_per_minute)
        if limits.tokens_per_minute and row.prompt_tokens:
            seconds = max(seconds, 60 * (row.prompt_tokens + row.new_tokens) / limits.tokens_per_minute)
        row.seconds = row.machine.start_seconds + seconds

    def compare_cost(self, verdicts: Sequence[Row]) -> None:
        """Says which judge would reach the dollars that it may cost, so that its last verdicts would be missing."""
        for name in dict.fromkeys(row.of for row in verdicts):
            most = getattr(getattr(self.configuration.judges[name], "limits", None), "max_cost", None)
            asked = sum(row.dollars or 0 for row in verdicts if row.of == name)
            if most is not None and asked > most:
                self.notes.append(
                    f"{self.name}: verdicts of {name} may cost ${asked:.2f}, more than the ${most:g} of its "
                    f"limits.max_cost ({self.root.judges}/{name}.yaml), so some would be refused. Raise it, or lower "
                    "the number of queries, policies or comparators."
                )

    def light(self, others: int) -> Row:
        """Everything that takes seconds, and `others` that join what several jobs have made.

        Queries, constitutions and principles by people, responses from files; tables, figures and the report.
        """
        e, files = self.experiment, self.configuration.principle_files
        names = [name for name in (e.constitutions.principles, e.constitutions.held_out) if name]
        by_people = sum(bool(files[name].pairs) for name in names)
        return self._row("light", "", "light", jobs=4 + len(names) + by_people + len(response_files(e)) + others)

    @staticmethod
    def _rate(machine: Hardware, number_format: str, use: str) -> float | None:
        """Operations a second of one GPU, or of the machine."""
        rate = machine.flops.get(number_format)
        return rate and rate * getattr(machine.utilisation, use)


def training_memory(e: Experiment, model: Facts, machine: Hardware, one, longest) -> Need:
    """What training needs of a GPU, or of the machine that its processes share.

    Args:
        one, longest: (tokens encoded, tokens predicted) of the average and of the longest example.
    """
    tokens, predicted = one
    share = math.ceil(e.training.queries_per_step / e.engine.processes) * tokens  # of a step, in one process
    largest = max(min(e.engine.tokens_per_pass, share), longest[0])
    overhead = machine.overhead_gib * 2**30
    need = memory.training(model, e.training, e.engine, largest, largest * predicted / tokens, overhead, machine.kind)
    together = e.engine.processes if machine.kind == "cpu" else 1
    return Need({part: size * together for part, size in need.parts.items()})


def _seconds_of_an_answer(tokens: int) -> float:
    return SECONDS_OF_A_REQUEST + tokens / SPEED_OF_AN_ENDPOINT


def _sum(*values: float | None) -> float | None:
    return None if any(value is None for value in values) else sum(values)
