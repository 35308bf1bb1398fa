"""A model behind an endpoint as the writer of principles."""

from pathlib import Path

from sami.data import principles
from sami.endpoints import chat, serving
from sami.settings.writers import Writer


def endpoint_writer(writer: Writer, seed: int, server: Path | None = None) -> principles.Complete:
    """A source of texts: a chat endpoint, or a model server that the workflow has started for this writer.

    Args:
        seed: of all texts; each is drawn with a seed of its own.
        server: file of the server.

    Raises:
        UserError: the server does not answer. What the source raises: see `chat.complete` and `principles`.
    """
    base_url, model = (writer.base_url, writer.model or "") if server is None else serving.wait(server)

    def complete(prompt: str, attempt: int) -> str:
        drawn = principles.stable_seed(seed, prompt, attempt) if writer.send_seed else None
        try:
            answer = chat.complete(
                principles.conversation(prompt),
                model=model,
                base_url=base_url,
                key_variable=writer.key_variable if server is None else None,
                parameters=writer.parameters(drawn),
                timeout_seconds=writer.timeout_seconds,
                api_version=writer.api_version,
            )
        except chat.Refused as error:
            raise principles.Refused(str(error)) from None
        if answer.cut_off and not answer.text:
            raise principles.CutOff(answer.raw)
        return answer.raw

    return complete
