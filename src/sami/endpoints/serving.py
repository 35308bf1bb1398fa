"""Model servers that the workflow starts for a job: where one is, and waiting until it answers.

A server says where it is in a small JSON file, which `sami.stages.serve_model` writes and removes again.

Ground floor: no torch.
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import psutil

from sami.endpoints.refusals import cleaned
from sami.errors import UserError
from sami.records import Record, parse

HOST = "127.0.0.1"  # nobody but this machine can reach a server

log = logging.getLogger(__name__)


class Server(Record):
    """A running server: its address, the model's name there, the process that keeps it, and that process's log."""

    url: str
    model: str
    pid: int
    log: str


def announce(server: Server, file: Path) -> None:
    """Writes the file of a server, at once and whole."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(server.model_dump_json() + "\n")
    os.replace(partial, file)


def wait(file: Path, seconds: float = 180) -> tuple[str, str]:
    """Waits until a server answers.

    Args:
        file: of the server; it may still be empty.
        seconds: most seconds to wait.

    Returns:
        The base URL of its endpoint, and the name of the model there.

    Raises:
        UserError: the server has ended, answers with an error, or does not answer in time.
    """
    # Many clusters have a proxy in their environment, which cannot reach this machine from outside.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, [os.getenv("NO_PROXY"), HOST]))
    log.info("waiting for the model server of %s", file)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        server = _read(file)
        if server is not None and _answers(server, left):
            return server.url, server.model
        time.sleep(0.3)
    raise UserError(
        f"{file}: the model server has not answered within {seconds:g} seconds. See its log; a smaller model, or a "
        "larger machine, starts sooner."
    )


def _read(file: Path) -> Server | None:
    """The server of a file, None while the file is empty. Raises UserError where the server has ended."""
    try:
        content = file.read_text()
    except FileNotFoundError:
        raise UserError(
            f"{file}: there is no such file, so the model server has been stopped or was never started. Start it with "
            "the stage serve_model."
        ) from None
    if not content:
        return None
    server = parse(Server, json.loads(content), str(file))
    if not _runs(server.pid):
        raise UserError(f"{file}: the model server has ended. See what it says in {server.log}.")
    return server


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _answers(server: Server, seconds: float) -> bool:
    """Whether a server answers by now. Raises UserError where it answers with an error."""
    import openai

    client: Any = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=seconds)
    question = [{"role": "user", "content": "Hello!"}]
    try:
        client.chat.completions.create(model=server.model, messages=question, max_tokens=1)
    except openai.APIConnectionError:  # the model is still being loaded
        return False
    except openai.OpenAIError as error:
        raise UserError(
            f"model '{server.model}' at {server.url}: the model server fails ({cleaned(str(error), 'none')}). See what "
            f"it says in {server.log}."
        ) from None
    return True
