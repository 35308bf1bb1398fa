"""Limits of the engine that the plan counts with: one place for both, without torch.

Number formats are named as in the settings and in torch.
"""

# precision -> formats of the weights that the optimiser updates, of the passes, and of summed gradients
PRECISIONS = {
    "float32": ("float32", "float32", "float32"),
    "mixed": ("float32", "bfloat16", "float32"),
    "bfloat16": ("bfloat16", "bfloat16", "bfloat16"),
    "float16": ("float16", "float16", "float16"),  # for scoring alone
}
LOGIT_BYTES = 256 << 20  # of logits in float32 that are held at once
LEAST_SAVING = 16  # tokens: prompts that have fewer in common encode them again, since sharing costs more than it saves
VLLM_SHARE = 0.9  # of a GPU's memory that vLLM takes: weights, activations and cache
