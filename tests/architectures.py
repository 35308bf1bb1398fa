"""Tiny random models of many architectures, and the way of scoring that fits each."""

import torch
import transformers

V = 300  # tokens in the vocabulary of the tiny models
SMALL = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,  # large, so that attention is far from uniform and mistakes show
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts_per_tok": 2, "num_experts": 4, "moe_intermediate_size": 16}
WINDOW = {"sliding_window": 9}  # shorter than most sequences here
CAPS = {"attn_logit_softcapping": 4.0, "final_logit_softcapping": 5.0}  # small enough to bend most values
STATE = {"n_heads": 4, "d_head": 8, "d_state": 8, "n_groups": 1, "chunk_size": 16}
MAMBA = {"num_heads": 8, "head_dim": 8, "expand": 2, "state_size": 8, "n_groups": 1, "chunk_size": 16}

# name: (class of the model, class of its configuration, options, the way that `auto` should find)
ARCHITECTURES = {
    "llama-tied": ("LlamaForCausalLM", "LlamaConfig", {**SMALL, "tie_word_embeddings": True}, "shared"),
    "llama-untied": ("LlamaForCausalLM", "LlamaConfig", {**SMALL, "tie_word_embeddings": False}, "shared"),
    "llama-no-groups": ("LlamaForCausalLM", "LlamaConfig", {**SMALL, "num_key_value_heads": 4}, "shared"),
    "llama-one-group": ("LlamaForCausalLM", "LlamaConfig", {**SMALL, "num_key_value_heads": 1}, "shared"),
    "mistral": ("MistralForCausalLM", "MistralConfig", {**SMALL, **WINDOW}, "shared"),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**SMALL, "num_local_experts": 4}, "shared"),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", SMALL, "shared"),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**SMALL, "head_dim": 8}, "shared"),
    "qwen3-moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {**SMALL, **EXPERTS, "head_dim": 8}, "shared"),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {**SMALL, "head_dim": 8}, "shared"),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**SMALL, **WINDOW, **CAPS, "head_dim": 8}, "shared"),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", {**SMALL, **WINDOW, "head_dim": 8}, "shared"),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", SMALL, "shared"),
    # Attention sinks add a term to the softmax that the tree attention does not know.
    "gpt-oss": (
        "GptOssForCausalLM",
        "GptOssConfig",
        {**SMALL, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
        "cached",
    ),
    # ALiBi: positions enter as a bias of the attention scores.
    "bloom": ("BloomForCausalLM", "BloomConfig", SMALL, "cached"),
    "mamba2": (
        "Mamba2ForCausalLM",
        "Mamba2Config",
        {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 2, **MAMBA},
        "padded",
    ),
    # Attention beside a recurrent state, which a cache of keys and values alone does not restore.
    "falcon-h1": (
        "FalconH1ForCausalLM",
        "FalconH1Config",
        {**SMALL, "head_dim": 8, "mamba_d_ssm": 32, **{f"mamba_{name}": value for name, value in STATE.items()}},
        "padded",
    ),
}


def build(name, seed=0):
    """A tiny random model."""
    model, config, options, _ = ARCHITECTURES[name]
    torch.manual_seed(seed)
    return getattr(transformers, model)(getattr(transformers, config)(**options)).eval()
