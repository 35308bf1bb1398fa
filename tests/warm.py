"""An interpreter whose stages start warm, for tests that run whole workflows: much of their time goes into imports.

`interpreter()` is a Python in a folder with a command `python`, which Snakemake, run by it, finds first; `stage` is the
beginning of a single stage's command. Where that command is asked for a stage (`python -m sami.stages.NAME ...`), a
server that has imported torch, transformers and the like forks. The child takes over the command's files, folder,
environment and arguments, and runs the stage's module as Python would, from the project's own source. Anything else is
run by Python itself. Stages are processes of their own as ever: what ends the command ends the child, and the child's
exit status is the command's.
"""

import atexit
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARIES = """
numpy pandas scipy.stats pydantic yaml jinja2 openai matplotlib.pyplot safetensors.torch
torch torch.utils.checkpoint torch.utils.tensorboard torch.distributed.fsdp torch.distributed.checkpoint.state_dict
transformers.models.llama.modeling_llama transformers.models.auto.modeling_auto
transformers.models.auto.tokenization_auto transformers.generation.utils
""".split()  # noqa: SIM905 (a list of words reads best so)
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys

words = sys.argv[1:]
if words[:1] != ["-m"] or not words[1].startswith("sami.stages."):
    os.execv({python!r}, [{python!r}, *words])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: server.send(bytes([number])))
request = json.dumps([words[1], words[2:], os.getcwd(), dict(os.environ)]).encode("utf-8", "surrogateescape")
socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
server.sendall(request)
answer = server.recv(4)
status = int.from_bytes(answer, "big", signed=True) if answer else 1
if status < 0:  # a signal ended the stage
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@functools.cache
def interpreter() -> str:
    """Path of the interpreter, for `-m snakemake`. Its server lives as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    bin_folder, address = folder / "bin", str(folder / "socket")
    bin_folder.mkdir()
    for part in ("lib", "pyvenv.cfg"):  # of the environment of this Python
        (folder / part).symlink_to(Path(sys.prefix, part))
    (bin_folder / "python-of-tests").symlink_to(sys.executable)
    (bin_folder / "python").write_text(CLIENT.format(python=sys.executable, address=address))
    (bin_folder / "python").chmod(0o755)
    environment = {**os.environ, "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen([sys.executable, __file__, address], env=environment, stdout=subprocess.PIPE)
    atexit.register(server.kill)
    assert server.stdout.readline() == b"ready\n"
    return str(bin_folder / "python-of-tests")


def stage(name: str) -> list[str]:
    """Beginning of a stage's command."""
    return [str(Path(interpreter()).with_name("python")), "-m", f"sami.stages.{name}"]


def serve(address: str) -> None:
    for library in LIBRARIES:
        __import__(library)
    gc.collect()
    gc.freeze()  # shared with the children as long as nobody writes to it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    while os.getppid() != 1:
        if select.select([listener], [], [], 5)[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                watch(connection)
            connection.close()


def watch(connection: socket.socket) -> None:
    """Starts a stage; passes signals on to it, and its end to the command; ends it where the command is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        request += connection.recv(1 << 20)
    child = os.fork()
    if child == 0:
        connection.close()
        run(*json.loads(request.decode("utf-8", "surrogateescape")), files)
    for file in files:
        os.close(file)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
            os._exit(0)
        if select.select([connection], [], [], 0.01)[0]:
            asked = connection.recv(1)
            os.kill(child, asked[0] if asked else signal.SIGKILL)
            if not asked:
                os._exit(0)


def run(module: str, words: list[str], folder: str, environment: dict[str, str], files: list[int]) -> None:
    """The stage, as `python -m` runs it."""
    for target, file in enumerate(files):
        os.dup2(file, target)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = [folder, *environment.get("PYTHONPATH", "").split(os.pathsep), *sys.path[1:]]
    sys.argv[:] = [module, *words]
    if "--threads" in words:  # which would be read when torch is imported
        sys.modules["torch"].set_num_threads(int(words[words.index("--threads") + 1]))
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
