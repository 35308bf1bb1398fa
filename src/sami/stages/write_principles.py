"""Writes the principles of an experiment: takes them over from a person's file, or has a model write them.

Reads   a file of config/constitutions (pairs or behaviours); for a local writer also a prepared model folder
Writes  principles with their opposites (Principle)

    python -m sami.stages.write_principles --principles config/constitutions/everyday.yaml \\
        --writer '{"kind": "human"}' --writer-name human --seed 1 --output principles.jsonl
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from sami import records
from sami.data import principles
from sami.endpoints import chat, serving
from sami.errors import UserError
from sami.models import folders
from sami.progress import Progress
from sami.settings.principles import PrincipleFile
from sami.settings.writers import Writer
from sami.stage import Stage


def stable_seed(seed: int, prompt: str, attempt: int) -> int:
    """A seed of its own (31 bits) for each behaviour, through its prompt, and each try."""
    return int.from_bytes(sha256(f"{seed}\n{attempt}\n{prompt}".encode()).digest()[:4]) >> 1


def endpoint(writer: Writer, seed: int, server: Path | None = None) -> Callable[[str, int], str]:
    """A source of texts: a chat endpoint, or a model server that the workflow has started for this writer."""
    base_url, model = (writer.base_url, writer.model) if server is None else serving.wait(server)

    def complete(prompt: str, attempt: int) -> str:
        answer = chat.complete(
            principles.conversation(prompt),
            model=model,
            base_url=base_url,
            key_variable=writer.key_variable if server is None else None,
            parameters=writer.parameters(stable_seed(seed, prompt, attempt) if writer.send_seed else None),
            timeout_seconds=writer.timeout_seconds,
            api_version=writer.api_version,
        )
        if answer.cut_off and not answer.text:
            raise principles.CutOff(answer.raw)
        return answer.raw

    return complete


def local(writer: Writer, folder: Path | None, seed: int) -> Callable[[str, int], str]:
    """A source of texts: a prepared model on this machine, through its chat template where it has one.

    Raises:
        UserError: there is no such folder, or a prompt is too long for the model.
    """
    folder = folders.require(folder, "a writer of kind 'local'")
    import torch

    from sami.data.prompts import chat_tokens, plain_tokens
    from sami.models import pretrained
    from sami.sampling.completion import completion

    model, tokenizer = pretrained.load(folder), pretrained.load_tokenizer(folder)
    ends = pretrained.end_tokens(folder, tokenizer)
    longest = pretrained.context_length(model.config)

    def complete(prompt: str, attempt: int) -> str:
        if tokenizer.chat_template:
            tokens = chat_tokens(principles.conversation(prompt), tokenizer, "the writer's 'prompt'")
        else:
            tokens = plain_tokens(prompt + "\n", tokenizer)
        length = len(tokens)
        if length + writer.max_tokens > longest:
            raise UserError(
                f"the writer's prompt has {length} tokens; with max_tokens = {writer.max_tokens} that is more than the "
                f"{longest} that {folder} can attend to. Shorten 'prompt' or lower 'max_tokens'."
            )
        drawing = {"temperature": writer.temperature, "top_k": 0, "top_p": 1.0} if writer.temperature else {}
        torch.manual_seed(stable_seed(seed, prompt, attempt))
        inputs = torch.tensor([tokens], device=model.device)  # (1, length)
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
        return completion(output[0, length:].tolist(), tokenizer, ends, []).text

    return complete


def require_kind(file: PrincipleFile, writer: Writer, name: str, path: str) -> None:
    """Raises UserError where the file holds pairs but a model is to write, or the other way round."""
    if writer.is_human and file.behaviours:
        raise UserError(
            f"{path}: found 'behaviours', which a model writes principles about, but the writer '{name}' is of kind "
            "'human'; expected 'pairs'. Change 'constitutions.writer' to a model writer of config/writers, or "
            "'constitutions.principles' to a file with pairs."
        )
    if not writer.is_human and file.pairs:
        raise UserError(
            f"{path}: found 'pairs', which a person has written, but the writer '{name}' is a model (kind "
            f"'{writer.kind}'); expected 'behaviours'. Change 'constitutions.writer' to 'human', or "
            "'constitutions.principles' to a file with behaviours."
        )


def main(arguments) -> None:
    file, writer, name = principles.load(arguments.principles), arguments.writer, arguments.writer_name
    require_kind(file, writer, name, arguments.principles)
    if writer.is_human:
        return records.write(principles.from_people(file, name), arguments.output)
    complete = (
        endpoint(writer, arguments.seed, arguments.server)
        if writer.asks_endpoint
        else local(writer, arguments.model, arguments.seed)
    )
    written = []
    with Progress(len(file.behaviours), "writing principles", "principles") as progress:
        for behaviour in file.behaviours:
            try:
                written.append(principles.write(behaviour, complete, writer.prompt, writer.tries, name))
            except chat.Refused as error:  # no experiment goes without one of its principles
                raise UserError(
                    f"{arguments.principles}: behaviour '{behaviour.id}': {error} Describe it in other words, or "
                    "delete it from the file."
                ) from None
            progress.update()
    records.write(written, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--principles", "YAML file with pairs or behaviours")
    stage.structured("--writer", Writer, "an entry of config/writers")
    stage.setting("--writer-name", "name of the writer, kept in the records")
    stage.input("--model", "prepared model folder, for a writer of kind 'local'", required=False)
    stage.setting("--server", "file of a model server, for a writer with 'serve'", type=Path, required=False)
    stage.setting("--seed", "seed of a local or endpoint writer", type=int)
    stage.output("--output", "principles to write")
    stage.run(main)
