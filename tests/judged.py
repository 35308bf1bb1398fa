"""Responses of two policies to judge, and the stage that judges them, for the tests of judges and their benchmark."""

import json
import os
import subprocess
from pathlib import Path

import warm

from sami import records

PROMPT = "Which follows this better: {constitution}\n\n{query}\n\n<A>{first}</A>\n<B>{second}</B>"
JUDGE = {"kind": "openai", "model": "judge-1", "prompt": PROMPT, "style": "reasoning"}


def verdict(**changes) -> records.Verdict:
    """A verdict for the policy by a judge, or one that differs from it."""
    usual = {"query_id": "q", "set_id": "p", "constitution_id": "p", "number": 0, "judge": "gpt-4o"}
    usual |= {"policy": "iteration-1", "comparator": "iteration-0", "first": "yes", "second": "no"}
    return records.Verdict(**usual | {"choice": "first", "preference": 1.0} | changes)


def write_responses(folder: Path, count: int) -> list[str]:
    """Writes the records of `count` pairs; returns the flags of the stage that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    statement = records.Statement(principle="p", wanted=True, text="Be {long}.")
    constitution = records.Constitution(id="p", set_id="p", writer="w", statements=[statement])
    queries = [records.Query(id=f"q{i}", task="t", text=f"Question {i}?") for i in range(count)]

    def examples(policy: str, words) -> list[records.Example]:
        return [
            records.Example(
                query_id=f"q{i}",
                set_id="p",
                constitution_ids=["p"],
                order=[0],
                policy=policy,
                responses=[
                    records.Response(text=f"{policy} " * words(i) + str(i), constitution=0, tokens=9, finish="end")
                ],
            )
            for i in range(count)
        ]

    files = {
        "queries": queries,
        "constitutions": [constitution],
        "responses": examples("iteration-1", lambda i: 3 + i % 3),
        "comparator-responses": examples("iteration-0", lambda i: 4),
    }
    flags = []
    for name, content in files.items():
        records.write(content, folder / f"{name}.jsonl")
        flags += [f"--{name}", str(folder / f"{name}.jsonl")]
    return flags


def command(folder: Path, flags: list[str], judge: dict, output: str = "verdicts.jsonl", **limits) -> list[str]:
    """The command line of the stage."""
    given = {"judge": json.dumps(judge), "limits": json.dumps(limits), "judge-name": "judge", "seed": "1"}
    given |= {"answers": str(folder / "answers.sqlite"), "account": "experiment/judge", "output": str(folder / output)}
    named = [word for name, value in given.items() for word in (f"--{name}", value)]
    return [*warm.stage("judge_responses"), *flags, *named]


def run(*arguments, key: str | None = "sk-test-0123456789", **limits) -> subprocess.CompletedProcess:
    """Runs the stage to its end."""
    return subprocess.run(command(*arguments, **limits), capture_output=True, text=True, env=environment(key))


def environment(key: str | None) -> dict[str, str]:
    """The environment with this key of the endpoint alone."""
    cleaned = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return cleaned if key is None else {**cleaned, "OPENAI_API_KEY": key}
