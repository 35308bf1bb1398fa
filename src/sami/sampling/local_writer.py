"""A prepared model on this machine as the writer of principles.

It draws one text at a time with the library's own sampling, whose random numbers come from torch's generator: another
stream than that of `TransformersSampler`, which would give other texts for the seeds of published experiments.
"""

from pathlib import Path
from typing import Any

import torch

from sami.data import principles
from sami.data.prompts import chat_tokens, plain_tokens
from sami.errors import UserError
from sami.models import folders, pretrained
from sami.sampling.completion import completion
from sami.settings.writers import Writer


def local_writer(writer: Writer, folder: Path | None, seed: int) -> principles.Complete:
    """A source of texts: a prepared model, through its chat template where it has one.

    Args:
        folder: of the model.
        seed: of all texts; each is drawn with a seed of its own.

    Raises:
        UserError: there is no such folder. The source raises it where a prompt is too long for the model.
    """
    folder = folders.require(folder, "a writer of kind 'local'")
    model: Any = pretrained.load(folder)  # whose class has `generate` from a mixin
    tokenizer = pretrained.load_tokenizer(folder)
    ends = pretrained.end_tokens(folder, tokenizer)
    longest = pretrained.context_length(model.config)
    drawing = {"temperature": writer.temperature, "top_k": 0, "top_p": 1.0} if writer.temperature else {}

    def complete(prompt: str, attempt: int) -> str:
        if tokenizer.chat_template:
            tokens = chat_tokens(principles.conversation(prompt), tokenizer, "the writer's 'prompt'")
        else:
            tokens = plain_tokens(prompt + "\n", tokenizer)
        if len(tokens) + writer.max_tokens > longest:
            raise UserError(
                f"the writer's prompt has {len(tokens)} tokens; with max_tokens = {writer.max_tokens} that is more "
                f"than the {longest} that {folder} can attend to. Shorten 'prompt' or lower 'max_tokens'."
            )
        torch.manual_seed(principles.stable_seed(seed, prompt, attempt))
        inputs = torch.tensor([tokens], device=model.device)  # (1, L)
        with torch.inference_mode():
            output = model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=writer.max_tokens,
                do_sample=bool(writer.temperature),
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=ends,
                **drawing,
            )
        return completion(output[0, len(tokens) :].tolist(), tokenizer, ends, []).text

    return complete
