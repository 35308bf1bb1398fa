"""A server of a prepared model on this machine, through `transformers serve`, and the file that says where it is.

`sami.endpoints.serving` reads that file. Ground floor: no torch.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from sami.endpoints import serving
from sami.errors import UserError
from sami.launch import end_with_parent
from sami.models import folders

log = logging.getLogger(__name__)


def sampling_folder(model: Path, parent: Path) -> str:
    """Makes a folder with links to a prepared model's files that is served in its place; returns its name.

    The server goes by the folder in three ways that matter. It samples only where generation_config.json says so, and
    else ignores a request's temperature; it takes the chat template from there, which here has the date of the model's
    entry; and it calls the model by the path of the folder, which here names the weights, so that answers that are kept
    under it are those of the same weights.
    """
    folder = parent / f"{model.name}-{folders.fingerprint(model)}"
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).symlink_to(file.resolve())
    generation = folder / "generation_config.json"
    config = json.loads((generation if generation.exists() else folder / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key.endswith("_token_id")}
    generation.unlink(missing_ok=True)
    generation.write_text(json.dumps({**kept, "do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}))
    if template := folders.chat_template(model):
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        (folder / "chat_template.jinja").write_text(folders.dated(template, model), encoding="utf-8")
    return folder.name


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((serving.HOST, 0))
        return probe.getsockname()[1]


def serve(model: Path, announcement: Path, log_file: Path) -> None:
    """Serves a prepared model until the process is told to end.

    Args:
        model: its folder.
        announcement: file that says where the server is (`serving.Server`), removed on SystemExit. Where the server
            fails, it stays and leads to the log.
        log_file: what the server says.

    Raises:
        UserError: the folder is no prepared model, or the server has ended by itself.
    """
    specification = folders.specification(folders.require(model, "a server"))
    port = free_port()
    with tempfile.TemporaryDirectory() as place, log_file.open("w") as output:
        name = sampling_folder(model, Path(place))
        command = _command(name, port, specification)
        child = subprocess.Popen(command, cwd=place, stdout=output, stderr=output, preexec_fn=end_with_parent)
        try:
            url = f"http://{serving.HOST}:{port}/v1"
            serving.announce(serving.Server(url=url, model=name, pid=os.getpid(), log=str(log_file)), announcement)
            log.info("serving %s at %s", name, url)
            child.wait()
        except SystemExit:
            announcement.unlink(missing_ok=True)
            raise
        finally:
            child.kill()
            child.wait()
    raise UserError(f"the model server of {model} has ended. See what it says in {log_file}.")


def _command(name: str, port: int, specification: dict) -> list[str]:
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", name]
    command += ["--host", serving.HOST, "--port", str(port), "--dtype", specification["dtype"]]
    command += ["--trust-remote-code"] * specification["trust_remote_code"]
    if switches := specification["chat_template_kwargs"]:
        command += ["--chat-template-kwargs", json.dumps(switches)]
    return command
