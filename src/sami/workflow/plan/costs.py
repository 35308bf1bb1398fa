"""Costs of the jobs of a plan: tokens, arithmetic, time, memory, disk, requests and dollars.

Functions of settings and sizes alone, by the formulas of docs/plan.md. A number that cannot be told is None.
"""

import math
from dataclasses import dataclass, replace

from sami.endpoints.requests import cost_of
from sami.models.engine_limits import VLLM_SHARE
from sami.settings.experiment import Experiment
from sami.settings.judges import EndpointJudge
from sami.settings.resources import Hardware
from sami.settings.sampling import Sampling
from sami.workflow.plan import memory
from sami.workflow.plan.memory import Need
from sami.workflow.plan.model_sizes import BYTES, ModelSize

VLLM_RESPONSES = 256  # that vLLM works on at once, if their cache fits
VLLM_ENCODED = 8192  # tokens of prompts that vLLM encodes at a time
SPEED_OF_AN_ENDPOINT = 50  # tokens a second of one answer; stated
SECONDS_OF_A_REQUEST = 0.5  # besides; stated
SECONDS_OF_A_GGUF_ENTRY = 3e-4  # of the vocabulary, which Python reads several times over; measured: docs/plan.md
BYTES_OF_A_TOKEN = 6  # in records: text and what stands around it

Matrix = tuple[float, float]  # tokens that are encoded, and that are predicted, for the matrix of one example


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of some jobs together; but `seconds` and `memory` are those of one. None where it cannot be told.

    prompt_tokens, new_tokens: encoded (for training and scoring: all tokens), and generated.
    seconds: wall time.
    disk: bytes that stay. scratch: bytes besides, until the job has ended.
    memory, available: what a GPU (or the machine) needs and has.
    """

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


def preparation_cost(machine: Hardware, size: float | None, linked: bool, entries: float | None = 0) -> Cost:
    """Weights of `size` bytes are copied, or linked where they are a folder on this machine.

    entries: of the vocabulary, where a GGUF file is converted.
    """
    converting = None if entries is None else entries * SECONDS_OF_A_GGUF_ENTRY
    seconds = known_sum(machine.start_seconds, size and size / machine.disk, converting)
    return Cost(seconds=seconds, disk=0 if linked else size)


@dataclass(frozen=True)
class Load:
    """Responses to sample: how many in all and in one job, and their tokens.

    prompt, longest: tokens of the average and of the longest prompt; None where not known.
    response: tokens of the average response.
    """

    requests: int
    in_a_job: int
    prompt: float | None
    longest: float | None
    response: float


def sampling_cost(machine: Hardware, model: ModelSize, sampling: Sampling, load: Load, gpus: int = 1) -> Cost:
    """Responses sampled by a model that is divided among `gpus`."""
    vllm = sampling.sampler == "vllm"
    cost = Cost(
        prompt_tokens=load.prompt and load.requests * load.prompt,
        new_tokens=load.requests * load.response,
        available=machine.memory_gib * 2**30 * (VLLM_SHARE if vllm else 1),
    )
    if not model.complete or load.prompt is None:
        return replace(cost, flop=None, seconds=None)
    context = load.longest + sampling.max_new_tokens
    overhead = machine.overhead_gib * 2**30

    def need(batch: int) -> Need:
        encoded = VLLM_ENCODED / batch if vllm else load.longest
        return memory.sampling(model, batch, encoded, context, gpus, overhead, machine.kind)

    batch = min(load.in_a_job, VLLM_RESPONSES if vllm else sampling.batch_size)
    if vllm:  # as many as there is room for
        room = cost.available - need(1).total
        batch = max(1, min(batch, 1 + int(room // (context * model.cache / gpus))))
    flop = 2 * (model.body * cost.prompt_tokens + (model.body + model.head) * cost.new_tokens)
    seconds = _sampling_seconds(machine, model, sampling, load, gpus, batch)
    return replace(cost, memory=need(batch), flop=flop, seconds=seconds)


def _sampling_seconds(
    machine: Hardware, model: ModelSize, sampling: Sampling, load: Load, gpus: int, batch: int
) -> float | None:
    """Seconds of one job that samples `batch` responses at a time."""
    rate, layer = _rate(machine, model.dtype, "sampling"), machine.layer_seconds.get(sampling.sampler)
    if rate is None or layer is None:
        return None
    # transformers ends a batch with its longest response, vLLM fills the place of one that has ended.
    steps = (
        max(load.response, load.in_a_job * load.response / batch)
        if sampling.sampler == "vllm"
        else math.ceil(load.in_a_job / batch) * (sampling.max_new_tokens if batch > 1 else load.response)
    )
    step = model.shape.layers * layer
    step += (model.bytes + batch * (load.prompt + load.response) * model.cache) / gpus / machine.bandwidth
    step += batch * 2 * (model.body + model.head) / gpus / rate
    encoding = load.in_a_job * load.prompt * 2 * model.body / gpus / rate
    return machine.start_seconds + model.bytes / machine.disk + encoding + steps * step


def training_cost(
    e: Experiment,
    machine: Hardware,
    model: ModelSize,
    count: int,
    matrix: Matrix | None,
    longest: Matrix | None,
    reference: Matrix | None,
) -> Cost:
    """One iteration's training on `count` queries; as if no example were dropped by a filter.

    Args:
        matrix, longest: of the average and of the longest example.
        reference: of the average example for the reference model of a KL term, without prompts of other queries.
    """
    training, engine = e.training, e.engine
    cost = Cost(prompt_tokens=None, flop=None, seconds=None, disk=model.bytes, available=machine.memory_gib * 2**30)
    if matrix is None or reference is None:
        return cost
    (tokens, predicted), examples = matrix, count * training.epochs
    cost = replace(cost, prompt_tokens=examples * tokens)
    if not model.complete:
        return cost
    # Twice forward for the backward pass: by the inputs, and by the weights, which adapters leave alone.
    times = 2 + 2 * (2 if training.lora is None else 1)
    extra = 2 * (engine.activation_checkpointing == "full") * tokens + 2 * (training.kl_weight > 0) * reference[0]
    flop = examples * (times * (model.body * tokens + model.head * predicted) + model.body * extra)
    weights, compute, _ = memory.PRECISIONS[training.precision]
    steps = training.epochs * math.ceil(count / training.queries_per_step)
    saves = (steps - 1) // engine.checkpoint_steps
    checkpoint = memory.trained(model, training) * BYTES[weights] * (1 + memory.OPTIMISER[training.optimizer])
    rate, seconds = _rate(machine, compute, "training"), None
    if rate is not None:
        moved = model.bytes * 2 + saves * checkpoint
        seconds = machine.start_seconds + moved / machine.disk + flop / rate / _trainers(e, machine)
    need = training_memory(e, model, machine, matrix, longest)
    return replace(cost, memory=need, flop=flop, scratch=min(2, saves) * checkpoint, seconds=seconds)


def _trainers(e: Experiment, machine: Hardware) -> int:
    """GPUs that train together; the processes of one machine without GPUs share its arithmetic."""
    return max(e.engine.processes, e.resources.of("train").gpus or 0) if machine.is_gpu else 1


def training_memory(e: Experiment, model: ModelSize, machine: Hardware, matrix: Matrix, longest: Matrix) -> Need:
    """Memory that training needs of a GPU, or of the machine that its processes share."""
    tokens, predicted = matrix
    share = math.ceil(e.training.queries_per_step / e.engine.processes) * tokens  # of a step, in one process
    largest = max(min(e.engine.tokens_per_pass, share), longest[0])
    overhead = machine.overhead_gib * 2**30
    need = memory.training(model, e.training, e.engine, largest, largest * predicted / tokens, overhead, machine.kind)
    together = 1 if machine.is_gpu else e.engine.processes
    return Need({part: size * together for part, size in need.parts.items()})


def scoring_cost(
    machine: Hardware,
    model: ModelSize,
    passes: int,
    matrix: Matrix | None,
    longest: Matrix | None,
    tokens_per_pass: float,
    models: int = 1,
    processes: int = 1,
) -> Cost:
    """Texts scored without gradients.

    Args:
        passes: how many matrices.
        models: that are loaded one after the other.
        processes: among which weights are divided.
    """
    cost = Cost(prompt_tokens=None, flop=None, seconds=None, available=machine.memory_gib * 2**30)
    if matrix is None:
        return cost
    tokens, predicted = matrix
    cost = replace(cost, prompt_tokens=passes * tokens)
    if not model.complete:
        return cost
    encoded = max(min(tokens_per_pass, passes * tokens), longest[0])
    overhead = machine.overhead_gib * 2**30
    need = memory.scoring(model, encoded, encoded * predicted / tokens, overhead, machine.kind, processes)
    flop = 2 * passes * (model.body * tokens + model.head * predicted)
    rate, seconds = _rate(machine, model.dtype, "scoring"), None
    if rate is not None:
        seconds = machine.start_seconds + models * model.bytes / machine.disk + flop / rate / processes
    return replace(cost, memory=need, flop=flop, seconds=seconds)


def request_cost(judge: EndpointJudge, machine: Hardware, count: int, prompt: float | None) -> Cost:
    """Requests to an endpoint with answers as long as they may be, at the speed that the judge's limits allow."""
    limits, new_tokens = judge.limits, count * judge.max_tokens
    prompt_tokens = prompt and count * prompt
    dollars = prompt_tokens and cost_of(prompt_tokens, new_tokens, limits.price)
    if dollars is not None and limits.batch:
        dollars /= 2
    seconds = count * seconds_of_an_answer(judge.max_tokens) / limits.concurrency
    if limits.requests_per_minute:
        seconds = max(seconds, 60 * count / limits.requests_per_minute)
    if limits.tokens_per_minute and prompt_tokens:
        seconds = max(seconds, 60 * (prompt_tokens + new_tokens) / limits.tokens_per_minute)
    return Cost(
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        requests=count,
        dollars=dollars,
        seconds=machine.start_seconds + seconds,
    )


def seconds_of_an_answer(tokens: int) -> float:
    return SECONDS_OF_A_REQUEST + tokens / SPEED_OF_AN_ENDPOINT


def _rate(machine: Hardware, number_format: str, use: str) -> float | None:
    """Operations a second of one GPU, or of the machine."""
    rate = machine.flops.get(number_format)
    return rate and rate * getattr(machine.utilisation, use)


def known_sum(*values: float | None) -> float | None:
    """The sum, or None where a part of it is not known."""
    return None if any(value is None for value in values) else sum(values)
