"""A tiny Llama in GGUF files, of one part or several."""

from pathlib import Path

import gguf
import numpy as np
from tokenizers import pre_tokenizers

LAYERS, HIDDEN = 2, 32


def write_gguf(file: Path, parts: int = 1, kind: str = "F32", drop: str = "-", extra: bool = False) -> list[Path]:
    """Writes a tiny Llama as llama.cpp does, with a tokenizer of bytes; returns its files."""
    random = np.random.default_rng(0)
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "<end>"]
    shapes = {"token_embd": (len(tokens), HIDDEN), "output_norm": (HIDDEN,), "output": (len(tokens), HIDDEN)}
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            shapes[f"blk.{layer}.{name}"] = (HIDDEN, HIDDEN)
        shapes |= {f"blk.{layer}.{name}": (HIDDEN,) for name in ("attn_norm", "ffn_norm")}
    shapes |= {"blk.0.attn_q_extra": (HIDDEN,)} if extra else {}
    weights = {f"{n}.weight": random.standard_normal(s).astype(np.float32) for n, s in shapes.items() if drop not in n}
    files = [file] if parts == 1 else [
        file.with_name(f"{file.stem}-{part + 1:05}-of-{parts:05}.gguf") for part in range(parts)
    ]  # fmt: skip
    for part, path in enumerate(files):
        writer = gguf.GGUFWriter(path, "llama")
        if part == 0:
            writer.add_context_length(256)
            writer.add_embedding_length(HIDDEN)
            writer.add_block_count(LAYERS)
            writer.add_feed_forward_length(HIDDEN)
            writer.add_head_count(4)
            writer.add_head_count_kv(4)
            writer.add_layer_norm_rms_eps(1e-5)
            writer.add_rope_freq_base(10000.0)
            writer.add_vocab_size(len(tokens))
            writer.add_tokenizer_model("gpt2")
            writer.add_tokenizer_pre("default")
            writer.add_token_list(tokens)
            writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 1) + [gguf.TokenType.CONTROL])
            writer.add_token_merges(["t h"])
            writer.add_eos_token_id(len(tokens) - 1)
        if parts > 1:
            writer.add_uint16("split.no", part)
            writer.add_uint16("split.count", parts)
            writer.add_int32("split.tensors.count", len(weights))
        for name, weight in list(weights.items())[part::parts]:
            stored = gguf.GGMLQuantizationType[kind if weight.ndim == 2 else "F32"]
            writer.add_tensor(name, gguf.quants.quantize(weight, stored), raw_dtype=stored)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return files
