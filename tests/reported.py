"""A made-up experiment with texts that try to run, for tests of its page."""

import csv
import itertools
import json
import random
import struct
import zlib
from pathlib import Path

from tabulated import EVALUATION, SUMMARY_COLUMNS, command

from sami import records
from sami.analysis.report import browser
from sami.judging import checks
from sami.judging.pairs import POINTS, read_pairs, verdict
from sami.judging.panel import majority
from sami.records import (
    Answer,
    Check,
    Constitution,
    Example,
    Query,
    Relevance,
    Response,
    Statement,
    Verdict,
)
from sami.settings.evaluation import Evaluation

POLICIES = ["iteration-0", "iteration-1", "iteration-2", "instruct"]
HOSTILE = [  # each is the query and a part of the response of one case
    "<script>window.ran = 1</script>",
    "</script><script>window.ran = 1</script><!--<script>",
    '<img src=x onerror="window.ran = 1"><svg onload="window.ran = 1">',
    '<a href="javascript:window.ran = 1">{{ 7 * 7 }}</a>" onfocus="window.ran = 1" autofocus x="',
    "שלום עולם, מה שלומך? مرحبا",
    "a\u202eb \u2028 \u2029 \x00 \x1b[31m \x7f &amp; \ufeff",
]
WORDS = ["kettle", "ladder", "music", "garden", "train", "letter", "winter", "bread", "river", "window"]
RULE = Evaluation.model_validate(EVALUATION).degeneration


def constitutions() -> list[Constitution]:
    short = [Check(measure="words", best=4, worst=30), Check(measure="words", best=30, worst=4)]
    sides = [
        [Statement(principle="short", wanted=wanted, text=text, check=check)]
        for wanted, text, check in ((True, "Be short.", short[0]), (False, "Be long <b>and</b> slow.", short[1]))
    ]
    polite = Statement(principle="polite", wanted=True, text="Be polite.")
    return [
        Constitution(id=name, set_id="short", writer="human", statements=[*side, *more])
        for name, side, more in (("short+polite", sides[0], [polite]), ("-short", sides[1], []))
    ]


def response_text(draw: random.Random, n: int, t: int) -> str:
    words = [draw.choice(WORDS) for _ in range(draw.randint(4, 24))]
    if n % 5 == t:
        words = ["very", "good"] * 6
    return " ".join([HOSTILE[n], *words] if n < len(HOSTILE) else words)


def judged(pairs, draw: random.Random) -> dict[str, list[Verdict]]:
    """Judge -> verdicts of the programmatic checks, of one whose answers are drawn, and of the two together."""
    found = {"checks": [], "model": []}
    for pair in pairs:
        degrees = [checks.degrees(text, pair.constitution) for text in (pair.first, pair.second)]
        said = checks.choose(*degrees, 0.0)
        answer = Answer(order="policy-first", choice=said, preference=POINTS[said])
        found["checks"].append(verdict(pair, "checks", [answer]))
        answers = []
        for order in browser.ORDERS:
            said = draw.choices(browser.CHOICES, [5, 4, 1, 1])[0]
            raw = f"Shown {order}, {pair.query.id}: <img src=x onerror='window.ran = 1'> is {said}."
            answers.append(Answer(order=order, choice=said, preference=POINTS[said], raw=raw))
        found["model"].append(verdict(pair, "model", answers))
    return found | {"panel": majority([found["checks"], found["model"]], ["checks", "model"], "panel")}


def write_records(folder: Path, count: int = 12) -> dict[str, list[str]]:
    """Writes the record files of a made-up experiment and returns the flags of `build_report` that name them."""
    draw = random.Random("report")
    known = {c.id: c for c in constitutions()}
    queries = {
        f"q{n}": Query(id=f"q{n}", task="t", text=HOSTILE[n] if n < len(HOSTILE) else f"What of {n}?\nSay.",
                       reference="As it is." if n == 7 else None)
        for n in range(count)
    }  # fmt: skip
    records.write(known.values(), folder / "constitutions.jsonl")
    records.write(queries.values(), folder / "queries.jsonl")
    examples = {
        policy: [
            Example(
                query_id=query_id, set_id="short", constitution_ids=list(known), order=[0, 1], policy=policy,
                responses=[
                    Response(text=response_text(draw, n, t), constitution=j, tokens=n + 20, finish="end")
                    for j in range(len(known))
                ],
            )
            for n, query_id in enumerate(queries)
        ]
        for t, policy in enumerate(POLICIES)
    }  # fmt: skip
    flags = {name: [str(folder / f"{name}.jsonl")] for name in ("constitutions", "queries")}
    flags |= {"policies": POLICIES, "responses": [], "verdicts": [], "relevance": []}
    for policy, of in examples.items():
        records.write(of, folder / f"{policy}.jsonl")
        flags["responses"].append(str(folder / f"{policy}.jsonl"))
        records.write(relevance(of, list(queries)), folder / f"{policy}-relevance.jsonl")
        flags["relevance"].append(str(folder / f"{policy}-relevance.jsonl"))
    for comparator, policy in itertools.product(("iteration-0", "instruct"), POLICIES):
        if policy != comparator:
            pairs = read_pairs("policy", "comparator", examples[policy], examples[comparator], queries, known)
            for judge, found in judged(pairs, draw).items():
                path = folder / f"{policy}-{judge}-vs-{comparator}.jsonl"
                records.write(found, path)
                flags["verdicts"].append(str(path))
    return flags


def relevance(examples: list[Example], queries: list[str]) -> list[Relevance]:
    """Relevance that is drawn, among two queries; the instruct model is never identified."""
    draw = random.Random(f"relevance {examples[0].policy}")
    found = []
    for example in examples:
        for number, response in enumerate(example.responses):
            sums = [
                response.tokens * (-1.0 - 2 * (example.policy == "instruct")),
                -response.tokens * draw.uniform(0.8, 2),
            ]
            found.append(Relevance(
                query_id=example.query_id, set_id=example.set_id, number=number, policy=example.policy, scorer="base",
                candidates=[example.query_id, queries[queries.index(example.query_id) - 1]], alone=sums,
                with_constitution=sums, tokens=response.tokens,
            ))  # fmt: skip
    return found


def write_results(folder: Path) -> dict[str, list[str]]:
    """Writes small folders of tables and figures and returns the flags that name them."""
    (folder / "tables").mkdir()
    (folder / "figures").mkdir()
    header = SUMMARY_COLUMNS.split(",")
    rows = [{"iteration": "0", "policy": "iteration-0"}, {"iteration": "1", "policy": "iteration-1"}]
    content = {
        "summary": [header, *([row.get(name, "0.5") for name in header] for row in rows)],
        "zebra": [["name", "share"], ["<script>window.ran = 1</script>", "0.25"]],
        "win_rates": [["policy", "wins"], ["iteration-1", "5"]],
    }
    for name, cells in content.items():
        with (folder / "tables" / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(cells)
    record = {"stage": "tabulate", "arguments": {"seed": 1}, "packages": {"numpy": "2.4.0"}}
    (folder / "tables" / "provenance.json").write_text(json.dumps(record))
    for name, width in (("unheard_of", 600), ("win_rate", 600), ("training", 1400)):
        (folder / "figures" / f"{name}.png").write_bytes(png(width, 300))
    return {name: [str(folder / name)] for name in ("tables", "figures")}


def png(width: int, height: int) -> bytes:
    """A grey picture."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + b"\x80" * width for _ in range(height)))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def report(folder: Path, flags: dict[str, list[str]], output: str, **more):
    given = {**flags, "evaluation": [json.dumps(EVALUATION)], "title": ["made-up <script>window.ran = 1</script>"]}
    return command("build_report", given | more | {"output": [str(folder / output)]})
