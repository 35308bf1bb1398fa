"""Serves a prepared model on this machine, through `transformers serve`, until it is told to stop (SIGTERM).

Reads   a prepared model folder
Writes  a JSON file that says where the server is (Server of sami.endpoints.serving), removed when the server stops

The file is there at once, the server answers when the model is loaded: `endpoints.serving.wait` waits for it. Where
the server fails, the file stays and leads to the log.

    python -m sami.stages.serve_model --model resources/models/smollm2-135m-instruct --server server.json \\
        --server-log server.log
"""

import signal
import sys
from pathlib import Path

from sami.endpoints.model_server import serve
from sami.stage import Stage


def main(arguments) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    serve(arguments.model, arguments.server, arguments.server_log)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "prepared model folder")
    stage.setting("--server", "file that says where the server is", type=Path)
    stage.setting("--server-log", "what the server says", type=Path)
    stage.run(main)
