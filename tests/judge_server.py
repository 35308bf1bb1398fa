"""A small real OpenAI-compatible server that judges pairs, and fails at a given rate in the ways that servers do.

    python tests/judge_server.py --log requests.jsonl --latency 0.2 --faults 0.3

It prints its port, answers `/v1/chat/completions` and the batch API, and writes one line for every request into the
log: the digest of its body, what happened, the seconds it took, and how many requests were under way. Answers depend on
nothing but the question, faults on the seed and on how often a question was asked.
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

FAULTS = ["429", "500", "stall", "half-closed", "truncated", "no-choices", "refusal", "long", "schema"]
ANSWERED = {"answer", "refusal", "long"}  # what a client has to pay for


def verdict_of(body: dict) -> str:
    """The letter of the longer response; the second where they are equally long."""
    text = next(m["content"] for m in body["messages"] if m["role"] == "user")
    first, second = re.search(r"<A>(.*?)</A>.*<B>(.*?)</B>", text, re.DOTALL).groups()
    return "A" if len(first) > len(second) else "B"


def completion(body: dict, text: str | None, **message) -> dict:
    letters = {"token": verdict_of(body), "logprob": -0.2}, {"token": "AB"[verdict_of(body) == "A"], "logprob": -1.7}
    logprobs = {"content": [{"token": (text or "")[:1], "logprob": -0.2, "top_logprobs": letters}]}
    return {
        "id": "c", "object": "chat.completion", "created": 0, "model": body["model"],
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": logprobs if body.get("logprobs") else None,
            "message": {"role": "assistant", "content": text, **message},
        }],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }  # fmt: skip


class Server:
    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.kinds = options.kinds.split(",") if options.kinds else FAULTS
        self.log = open(options.log, "a", buffering=1)  # noqa: SIM115 (open as long as the server runs)
        self.asked: dict[str, int] = {}
        self.under_way = 0
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
                headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
                content = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self.answer(method, path.split("?")[0], headers, content, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, method, path, headers, content, reader, writer) -> bool:
        """Answers one request; False where the connection ends with it."""
        if self.options.status:
            self.log.write(json.dumps({"kind": str(self.options.status), "key": path}) + "\n")
            return self.send(writer, self.options.status, {"error": {"message": self.options.said, "code": "x"}})
        if self.options.page:
            return self.send(writer, 200, "<html><body>Welcome</body></html>", kind="text/html")
        if path == "/v1/chat/completions":
            return await self.chat(json.loads(content), reader, writer)
        return self.batch_api(method, path, headers, content, writer)

    async def chat(self, body: dict, reader, writer) -> bool:
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self.asked[key] = self.asked.get(key, 0) + 1
        draw = random.Random(f"{self.options.seed} {key} {self.asked[key]}")
        kind = draw.choice(self.kinds) if draw.random() < self.options.faults else "answer"
        started = time.monotonic()
        self.under_way += 1
        try:
            busy = self.under_way
            if kind == "stall":
                await reader.read(1)  # until the client hangs up
                return False
            await asyncio.sleep(self.options.latency)
            return self.fail(kind, body, writer) if kind != "answer" else self.judge(body, writer)
        finally:
            self.under_way -= 1
            line = {"key": key, "kind": kind, "seconds": time.monotonic() - started, "under_way": busy, "at": started}
            self.log.write(json.dumps(line) + "\n")

    def judge(self, body: dict, writer) -> bool:
        letter = verdict_of(body)
        text = letter if body.get("max_tokens", 99) < 5 else f"The longer one follows it better.\n\nAnswer: {letter}"
        return self.send(writer, 200, completion(body, text))

    def fail(self, kind: str, body: dict, writer) -> bool:
        match kind:
            case "429":
                error = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
                return self.send(writer, 429, error, more=f"Retry-After: {self.options.retry_after}\r\n")
            case "500":
                return self.send(writer, 500, {"error": {"message": "oops"}})
            case "half-closed":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
                return False
            case "truncated":
                return self.send(writer, 200, json.dumps(completion(body, "Answer: A"))[:80])
            case "no-choices":
                return self.send(writer, 200, {**completion(body, ""), "choices": []})
            case "refusal":
                return self.send(writer, 200, completion(body, None, refusal="I cannot help with that."))
            case "long":
                return self.send(writer, 200, completion(body, "so " * 100_000 + f"\nAnswer: {verdict_of(body)}"))
            case "schema":
                return self.send(writer, 200, {"object": "list", "data": [1, 2]})

    def send(self, writer, status: int, body, kind="application/json", more="") -> bool:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n{more}\r\n"
        writer.write(head.encode() + content)
        return True

    def batch_api(self, method, path, headers, content, writer) -> bool:
        parts = path.removeprefix("/v1/").split("/")
        if path == "/v1/files" and method == "POST":
            lines = re.search(rb'filename="[^"]*".*?\r\n\r\n(.*?)\r\n--', content, re.DOTALL)[1]
            name = f"file-{len(self.files)}"
            self.files[name] = lines
            return self.send(writer, 200, {"id": name, "object": "file", "bytes": len(lines), "purpose": "batch"})
        if path == "/v1/batches" and method == "POST":
            asked = json.loads(content)
            name = f"batch-{len(self.batches)}"
            self.batches[name] = {
                "id": name, "object": "batch", "status": "in_progress", "created_at": 0, "polls": 0,
                "completion_window": "24h", "endpoint": asked["endpoint"], "input_file_id": asked["input_file_id"],
                "metadata": asked.get("metadata"),
            }  # fmt: skip
            self.log.write(json.dumps({"kind": "batch", "key": name}) + "\n")
            return self.send(writer, 200, self.batches[name])
        if path == "/v1/batches":
            return self.send(writer, 200, {"object": "list", "data": list(self.batches.values()), "has_more": False})
        if parts[0] == "batches" and parts[1] in self.batches:
            return self.send(writer, 200, self.progress_of(self.batches[parts[1]]))
        if parts[0] == "files" and parts[-1] == "content":
            return self.send(writer, 200, self.files[parts[1]].decode())
        return self.send(writer, 404, {"error": {"message": f"no {path}"}})

    def progress_of(self, batch: dict) -> dict:
        batch["polls"] += 1
        if batch["polls"] < self.options.polls or batch["status"] == "completed":
            return batch
        done, failed = [], []
        for line in self.files[batch["input_file_id"]].decode().splitlines():
            asked = json.loads(line)
            draw = random.Random(f"{self.options.seed} {asked['custom_id']} {batch['id']}")
            if draw.random() < self.options.faults:
                done.append({"custom_id": asked["custom_id"], "response": None, "error": {"message": "oops"}})
                continue
            if self.options.flagged and self.options.flagged in str(asked["body"]["messages"]):
                refused = {"status_code": 400, "body": {"error": {"message": "flagged", "code": "invalid_prompt"}}}
                failed.append({"custom_id": asked["custom_id"], "response": refused, "error": None})
                continue
            body = completion(asked["body"], f"Answer: {verdict_of(asked['body'])}")
            done.append(
                {"custom_id": asked["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}
            )
            key = hashlib.sha256(json.dumps(asked["body"], sort_keys=True).encode()).hexdigest()
            self.log.write(json.dumps({"kind": "answer", "key": key}) + "\n")
        batch["status"] = "completed"
        for kind, lines in (("output_file_id", done), ("error_file_id", failed)):
            if lines:
                batch[kind] = f"file-{len(self.files)}"
                self.files[batch[kind]] = "".join(json.dumps(line) + "\n" for line in lines).encode()
        return batch


@contextmanager
def judge_server(log: Path, **options):
    """Runs the server in a process of its own; yields its address."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, __file__, "--log", str(log), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


def requests_of(log: Path) -> list[dict]:
    """What the server has written down, without the line that it may be writing."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before an answer")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests that fail")
    parser.add_argument("--kinds", default="", help=f"faults, separated by commas (default: {','.join(FAULTS)})")
    parser.add_argument("--retry-after", default="0.2", help="header of a 429")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--polls", type=int, default=2, help="questions after a batch until it is done")
    parser.add_argument("--status", type=int, default=0, help="refuse everything with this status")
    parser.add_argument("--said", default="no", help="message of such a refusal")
    parser.add_argument("--flagged", default="", help="requests of a batch with this text are refused")
    parser.add_argument("--page", type=int, default=0, help="answer everything with a web page")
    server = Server(parser.parse_args())
    listening = await asyncio.start_server(
        server.connection, "127.0.0.1", server.options.port, limit=2**26, backlog=2000
    )
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
