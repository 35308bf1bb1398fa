"""An HTTP server on a thread of the tests that gives the answers it is told to, and writes down what it was asked."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Scripted(ThreadingHTTPServer):
    """Gives the answers in `script`, (status, body) each, and then the last one again and again.

    An entry may also be a function of the number of requests so far and the body of this one, which returns such a
    pair.
    """

    def __init__(self, *script, wait_seconds: float = 0.0):
        super().__init__(("127.0.0.1", 0), ScriptedAnswers)
        self.script, self.wait_seconds, self.asked = list(script), wait_seconds, []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class ScriptedAnswers(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers, body))
        time.sleep(self.server.wait_seconds)
        entry = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        status, answer = entry(len(self.server.asked), body) if callable(entry) else entry
        kind, data = ("text/html", answer) if isinstance(answer, str) else ("application/json", json.dumps(answer))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data.encode())))
        self.send_header("retry-after-ms", "1")
        with contextlib.suppress(ConnectionError):  # the client may have given up
            self.end_headers()
            self.wfile.write(data.encode())

    def log_message(self, *_):
        pass
