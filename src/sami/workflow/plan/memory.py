"""Memory that a job needs of a GPU, or of the machine where the processor runs the model, in bytes by part.

Activations are counted from what a decoder block of the Llama family keeps for its backward pass; docs/plan.md has the
count, and what real runs took beside it.
"""

from dataclasses import dataclass

from sami.models.engine_limits import LOGIT_BYTES, PRECISIONS
from sami.settings.training import Engine, Training
from sami.workflow.plan.model_sizes import BYTES, ModelSize

OPTIMISER = {"rmsprop": 1, "adamw": 2}  # numbers that it keeps for each weight
ALLOCATOR = {"cpu": 1.5, "gpu": 1.1}  # bytes taken for each byte that comes and goes: measured, stated; docs/plan.md


@dataclass(frozen=True)
class Need:
    """Bytes by part, of one GPU; of all processes together where they share a machine's memory."""

    parts: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def sharded(training: Training, processes: int) -> bool:
    """Whether weights are divided among processes, and gathered layer by layer."""
    weights, compute, _ = PRECISIONS[training.precision]
    return processes > 1 or weights != compute


def trained(model: ModelSize, training: Training) -> float:
    """Weights that have gradients: all of them, or those of adapters beside every matrix of the layers."""
    if training.lora is None:
        return model.parameters
    s = model.shape
    ends = 4 * s.hidden + 2 * (s.hidden + s.kv_width) + 3 * (s.hidden + s.intermediate)  # rows and columns of a layer
    return training.lora.rank * s.layers * ends


def training(
    model: ModelSize, training: Training, engine: Engine, tokens: float, predicted: float, overhead: float, kind: str
) -> Need:
    """Of one process that trains.

    Args:
        tokens: encoded in the largest pass.
        predicted: tokens of responses among them, each under every constitution.
        overhead: bytes before any model is there.
        kind: of the hardware.
    """
    weights, compute, reduce = (BYTES[name] for name in PRECISIONS[training.precision])
    processes, shape, with_gradients = engine.processes, model.shape, trained(model, training)
    block = 9 * shape.hidden + 2 * shape.kv_width + 4 * shape.intermediate
    products = 5 * shape.hidden + 2 * shape.kv_width + 2 * shape.intermediate
    kept = {"none": block, "selective": products, "full": shape.hidden}[engine.activation_checkpointing]
    kept = (shape.layers - 1) * kept + block  # the layer whose turn it is has all of its own
    if sharded(training, processes):  # the root and two layers are whole, with their gradients
        gathered = (model.root + 2 * model.layer) * (compute + reduce)
    else:  # the gradient of the embeddings, before it is added to that of the head
        gathered = 0 if training.lora else model.head * weights
    reference = model.head * compute if training.kl_weight else 0
    return Need(
        {
            "weights": model.parameters * weights / processes + reference,
            "gradients": with_gradients * weights / processes,
            "optimiser": with_gradients * weights * OPTIMISER[training.optimizer] / processes,
            "gathered": gathered,
            "activations": tokens * kept * compute * ALLOCATOR[kind],
            "logits": min(LOGIT_BYTES, predicted * shape.vocabulary * 4) * ALLOCATOR[kind],
            "other": overhead,
        }
    )


def scoring(model: ModelSize, tokens: float, predicted: float, overhead: float, kind: str, processes: int = 1) -> Need:
    """Of a process that scores without gradients: one block's activations at a time.

    Args:
        processes: among which weights are divided; the root and two layers are then whole.
    """
    shape = model.shape
    block = 9 * shape.hidden + 2 * shape.kv_width + 4 * shape.intermediate
    return Need(
        {
            "weights": model.bytes / processes,
            "gathered": (model.root + 2 * model.layer) * BYTES[model.dtype] if processes > 1 else 0,
            "activations": tokens * block * BYTES[model.dtype] * ALLOCATOR[kind],
            "logits": min(LOGIT_BYTES, predicted * shape.vocabulary * 4) * ALLOCATOR[kind],
            "other": overhead,
        }
    )


def sampling(
    model: ModelSize, responses: int, prompt: float, context: float, gpus: int, overhead: float, kind: str
) -> Need:
    """Of one GPU that samples.

    Args:
        responses: drawn at once.
        prompt: tokens of the longest prompt; all are encoded in one pass.
        context: tokens of the longest prompt and response.
        gpus: among which weights and cache are divided.
        overhead: bytes before any model is there.
        kind: of the hardware.
    """
    shape, size = model.shape, BYTES[model.dtype]
    wide = 2 * shape.hidden + 3 * shape.intermediate
    return Need(
        {
            "weights": model.bytes / gpus,
            "cache": responses * context * model.cache / gpus,
            "activations": responses * prompt * wide * size * ALLOCATOR[kind] / gpus,
            "logits": 4 * responses * shape.vocabulary * 4,  # logits, probabilities, their sums, what is drawn
            "other": overhead,
        }
    )
