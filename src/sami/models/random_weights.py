"""Models with random weights and a tokenizer of bytes, of any architecture: to try a whole workflow with, in seconds.

They need no data and no network, and write nonsense.
"""

import zlib
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from sami.errors import UserError, nearest, plain
from sami.settings.models import Model


def draw(name: str, model: Model, output: Path) -> None:
    """Writes a model folder with weights that depend on the entry of the models file and its name alone.

    Raises:
        UserError: there is no such architecture, it has no such key, or its numbers do not fit together.
    """
    where = f"model '{name}': architecture"
    tokenizer = byte_tokenizer()
    kind, sizes = model.architecture["model_type"], {k: v for k, v in model.architecture.items() if k != "model_type"}
    if kind not in CONFIG_MAPPING_NAMES:
        raise UserError(
            f"{where}.model_type: found {plain(kind)}, expected a name that transformers knows, such as mistral or "
            f"llama. {_mend(kind, list(CONFIG_MAPPING_NAMES))}"
        )
    usual = AutoConfig.for_model(kind)
    of_tokenizer = {
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    for key in sizes:
        if key in of_tokenizer:
            raise UserError(f"{where}.{key}: the tokenizer, which is made beside the weights, sets it. Delete the key.")
        if not hasattr(usual, key):  # the library would take it, and use it nowhere
            known = list(usual.to_dict())
            raise UserError(f"{where}: found the unknown key '{key}', expected keys of {kind}. {_mend(key, known)}")
    torch.manual_seed(zlib.crc32(name.encode()))
    try:
        config = AutoConfig.for_model(kind, **sizes, **of_tokenizer)
        weights = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, model.dtype))
    except Exception as error:  # the library has no kind of its own for numbers that do not fit together
        raise UserError(
            f"{where}: no {kind} that writes text can be made of it: {' '.join(str(error).split()):.300}. Mend it."
        ) from None
    weights.save_pretrained(output)
    tokenizer.save_pretrained(output)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A token for every byte, for padding and for the end of a text."""
    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<pad>", "<end>"]
    tokenizer = Tokenizer(BPE(vocab={symbol: number for number, symbol in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        chat_template="{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{{ 'assistant: ' }}",
    )


def _mend(found: str, names: list[str]) -> str:
    near = nearest(found, names)
    return f"Did you mean '{near}'?" if near else "Mend it."
