"""Record files of a made-up experiment, and the stages that turn them into tables, figures and a page."""

import json
import math
import os
import random
import subprocess
from pathlib import Path

import pandas as pd
import warm

from sami import records
from sami.analysis.tables import build, files, run
from sami.analysis.tables.catalogue import TABLES
from sami.analysis.tables.run import Run
from sami.judging import checks, panel
from sami.judging.pairs import POINTS, Pair, read_pairs, verdict
from sami.judging.prompts import ORDERS
from sami.records import Answer, Check, Constitution, Example, Query, Relevance, Response, Scores, Statement, Verdict
from sami.settings.evaluation import Evaluation

JUDGES = ["checks", "model", "strict", "panel"]
EVALUATION = {
    "sampling": {"temperature": 0.7, "max_new_tokens": 48, "batch_size": 96},
    "judges": JUDGES,
    "comparators": ["base", "instruct"],
    "policies": {"instruct": "some-model"},
    "relevance": {"others": 3},
    "degeneration": {"ngram": 3, "max_repeated": 0.3},
    "bootstrap_samples": 400,
    "confidence": 0.95,
    "wanted_width": 0.1,
    "published": [{"comparator": "base", "win_rate": [0.66, 0.77]}, {"comparator": "instruct", "win_rate": 0.56}],
}
SUMMARY_COLUMNS = (
    "iteration,bound_nats,bound_low,bound_high,row_accuracy,column_accuracy,win_rate,win_low,win_high,"
    "response_tokens,degenerate_share,n_queries,policy,lc_win_rate,"
    "relevant_win_rate,relevant_win_rate_low,relevant_win_rate_high,identified,identified_low,identified_high,"
    "margin,margin_low,margin_high,log_probability,log_probability_low,log_probability_high,echo,echo_low,echo_high,"
    "split"
)
SCRIPT = "<script>alert('x')</script>"
SHORT = Check(measure="words", best=10, worst=40)
LONG = Check(measure="words", best=40, worst=10)
LOUD = Check(measure="matches", pattern="!", best=2, worst=0)
CALM = Check(measure="matches", pattern="!", best=0, worst=2)
WORDS = ["kettle", "ladder", "music", "garden", "train", "letter", "winter", "bread", "river", "window", "paint"]
WORDS += ["clock", "bicycle", "market", "salt", "lamp", "ticket", "blanket", "stone", "forest", "coffee", "bridge"]


def constitutions() -> list[Constitution]:
    """Two sets of two constitutions; "polite" has no programmatic check."""
    short, long, loud, calm, polite, blunt = (
        Statement(principle=principle, wanted=wanted, text=text, check=check)
        for principle, wanted, text, check in (
            ("short", True, "Answer in one short sentence.", SHORT),
            ("short", False, "Answer at length, in several sentences.", LONG),
            ("excited", True, "Sound excited and use exclamation marks!", LOUD),
            ("excited", False, "Sound calm and never use exclamation marks.", CALM),
            ("polite", True, "Be polite.", None),
            ("polite", False, "Be blunt.", None),
        )
    )
    return [
        Constitution(id=name, set_id=set_id, writer="human", statements=statements)
        for name, set_id, statements in (
            ("short+excited", "short+excited", [short, loud]),
            ("-short+-excited", "short+excited", [long, calm]),
            ("short+polite", "short+polite", [short, polite]),
            ("-short+-polite", "short+polite", [long, blunt]),
        )
    ]


def answer(draw: random.Random, positive: bool, t: int) -> str:
    """A made-up response that follows its constitution more closely with each iteration."""
    count = max(3, round(draw.gauss(34 - 8 * t if positive else 38 + 4 * t, 6)))
    words = [draw.choice(WORDS) for _ in range(count)]
    if t == 3 and draw.random() < 0.3:
        words = ["very", "very"] * (count // 2) + ["much"]
    mark = "!" if positive and draw.random() < 0.1 + 0.25 * t else "."
    return " ".join([*words[: count // 2], "so" + mark, *words[count // 2 :]]) + mark


def write_experiment(
    folder: Path,
    queries: int = 12,
    iterations: int = 3,
    others: tuple[str, ...] = ("instruct",),
    judges=JUDGES,
    seed="",
) -> dict[str, list[str]]:
    """Writes the record files of an experiment and returns the input flags of `tabulate` with their files.

    Each of `others` is a model that was not trained. Verdicts are those of `judges` against every comparator. Another
    `seed` makes other responses to the same queries.
    """
    draw = random.Random(f"experiment-{queries}-{iterations}{seed}")
    known = constitutions()
    ids = [f"q{n:03d}" for n in range(queries)]
    sets = {set_id: [c for c in known if c.set_id == set_id] for set_id in ("short+excited", "short+polite")}
    set_of = {query_id: list(sets)[n % 2] for n, query_id in enumerate(ids)}
    folder.mkdir(parents=True, exist_ok=True)
    records.write(known, folder / "constitutions.jsonl")
    text = f"Why does {SCRIPT} & a “river” meander?\nExplain."
    questions = [
        Query(id=i, task="everyday", text=text if i == "q000" else f"What about {i}{' so' * (n % 5)}?")
        for n, i in enumerate(ids)
    ]
    records.write(questions, folder / "queries.jsonl")
    names = [*(f"iteration-{t}" for t in range(iterations + 1)), *others]
    flags = {"constitutions": [str(folder / "constitutions.jsonl")], "queries": [str(folder / "queries.jsonl")]}
    flags |= {"policies": names, "responses": [], "information": [], "verdicts": [], "training": [], "relevance": []}
    examples: dict[str, dict[str, Example]] = {name: {} for name in names}
    for name in names:
        target = folder / name
        target.mkdir()
        t = int(name.removeprefix("iteration-")) if name.startswith("iteration-") else None
        scores = []
        for query_id in ids:
            members = sets[set_of[query_id]]
            texts = [answer(draw, constitution.positive, 2 if t is None else t) for constitution in members]
            if query_id == "q000":
                texts[0] += " " + SCRIPT
            examples[name][query_id] = Example(
                query_id=query_id,
                set_id=set_of[query_id],
                constitution_ids=[constitution.id for constitution in members],
                order=[0, 1],
                responses=[
                    Response(text=text, constitution=j, tokens=round(1.3 * len(text.split())), finish="end")
                    for j, text in enumerate(texts)
                ],
                policy=name,
            )
            for scorer, answered in dict.fromkeys([(t, t), (t, 0), (0, t)]) if t is not None else ():
                gap = 0.25 + 0.35 * math.sqrt(scorer) + 0.1 * answered
                matrix = [
                    [round(-1.6 - 0.1 * answered - gap * (i != j) + draw.gauss(0, 0.3), 3) for j in (0, 1)]
                    for i in (0, 1)
                ]
                scores.append(
                    Scores(
                        query_id=query_id,
                        set_id=set_of[query_id],
                        scorer=f"iteration-{scorer}",
                        responses_of=f"iteration-{answered}",
                        labels=[0, 1],
                        mean=matrix,
                        sum=[[20 * x for x in row] for row in matrix],
                        tokens=[20, 20],
                    )
                )
        records.write(examples[name].values(), target / "responses.jsonl")
        flags["responses"].append(str(target / "responses.jsonl"))
        if queries > 1:
            found = relevance(list(examples[name].values()), ids, 2 if t is None else t)
            records.write(found, target / "relevance.jsonl")
            flags["relevance"].append(str(target / "relevance.jsonl"))
        if t is not None:
            records.write(scores, target / "scores.jsonl")
            flags["information"].append(str(target / "scores.jsonl"))
        if t:
            steps = [training_step(draw, t, n) for n in range(1, 9)]
            (target / "training.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
            flags["training"].append(str(target / "training.jsonl"))
    by_id = {constitution.id: constitution for constitution in known}
    asked = {question.id: question for question in questions}
    for comparator in ("iteration-0", *others):
        for name in names:
            if name == comparator:
                continue
            pairs = read_pairs(name, comparator, list(examples[name].values()), list(examples[comparator].values()),
                               asked, by_id)  # fmt: skip
            said = {judge: judgements(draw, pairs, judge) for judge in judges if judge != "panel"}
            if "panel" in judges:
                said["panel"] = panel.majority(list(said.values()), list(said), "panel")
            for judge, verdicts in said.items():
                file = folder / name / f"verdicts-{judge}-vs-{comparator}.jsonl"
                records.write(verdicts, file)
                flags["verdicts"].append(str(file))
    return flags


def relevance(examples: list[Example], ids: list[str], t: int) -> list[Relevance]:
    """Made-up relevance of all responses, among the next three queries; it falls with each iteration."""
    draw = random.Random(f"relevance-{examples[0].policy}-{len(ids)}")
    found = []
    for example in examples:
        at = ids.index(example.query_id)
        candidates = [ids[(at + step) % len(ids)] for step in range(min(4, len(ids)))]
        for number, response in enumerate(example.responses):
            sums = [
                [round(response.tokens * (-1.5 - 0.2 * t - (0.6 - 0.15 * t) * (k > 0) - draw.random()), 3)
                 for k in range(len(candidates))]
                for _ in ("alone", "with_constitution")
            ]  # fmt: skip
            found.append(Relevance(
                query_id=example.query_id, set_id=example.set_id, number=number, policy=example.policy,
                scorer="tiny", candidates=candidates, alone=sums[0], with_constitution=sums[1],
                tokens=response.tokens,
            ))  # fmt: skip
    return found


def training_step(draw: random.Random, t: int, n: int) -> dict[str, float]:
    loss = 0.66 * math.exp(-0.06 * t * n) + draw.gauss(0, 0.02)
    right = min(1.0, 0.6 + 0.04 * n + draw.gauss(0, 0.03))
    return {
        "step": n, "loss": loss, "bound": math.log(2) - loss, "row_accuracy": right,
        "column_accuracy": right - 0.05, "kl": 0.0004 * n, "gradient_norm": 3 + draw.gauss(0, 0.5),
        "learning_rate": 5e-6, "queries": 8, "tokens_per_second": 210.4,
    }  # fmt: skip


def judgements(draw: random.Random, pairs: list[Pair], judge: str) -> list[Verdict]:
    """Verdicts of a judge who likes long responses, in both orders; of "checks" by the programmatic checks."""
    verdicts = []
    for pair in pairs:
        if judge == "checks":
            degrees = [checks.degrees(text, pair.constitution) for text in (pair.first, pair.second)]
            said = checks.choose(*degrees, 0.0)
            answers = [Answer(order="policy-first", choice=said, preference=POINTS[said])]
        else:
            edge = 0.5 + 0.01 * (len(pair.first) - len(pair.second)) / 6
            answers = []
            for order in ORDERS:
                bias = 0.08 if order == "policy-first" else -0.08
                odds = [max(0.05, edge + bias), max(0.05, 1 - edge - bias), 0.1, 0.05]
                said = draw.choices(["first", "second", "tie", "invalid"], odds)[0]
                tokens = {"input_tokens": 100, "output_tokens": 3, "cost": 0.001 if judge == "model" else None}
                answers.append(Answer(order=order, choice=said, preference=POINTS[said], raw="A", **tokens))
        verdicts.append(verdict(pair, judge, answers))
    return verdicts


def command(stage: str, flags: dict[str, list[str]], hash_seed: str = "0") -> subprocess.CompletedProcess:
    """Runs a stage as its rule does."""
    arguments = [part for flag, values in flags.items() for part in (f"--{flag}", *values)]
    return subprocess.run(
        [*warm.stage(stage), *arguments],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
    )


def write_tables(flags: dict[str, list[str]], output: Path, hash_seed: str = "0") -> subprocess.CompletedProcess:
    more = {"evaluation": [json.dumps(EVALUATION)], "seed": ["1"], "split": ["test"], "output": [str(output)]}
    return command("tabulate", flags | more, hash_seed)


def load(flags, **changes) -> Run:
    """The run of the flags of `tabulate`, in this process; `changes` are those of the evaluation."""
    return run.load(
        flags["queries"][0],
        flags["constitutions"],
        run.by_policy(flags["policies"], flags["responses"]),
        flags["verdicts"],
        Evaluation.model_validate(EVALUATION | changes),
        scores=flags["information"],
        training=flags["training"],
        relevance=flags["relevance"],
        seed=1,
    )


def make_tables(flags, folder: Path) -> Path:
    """Writes the tables of `load(flags)`, as the stage does in a process of its own."""
    files.write(build.build(load(flags)), folder)
    return folder


def table_of(name: str, *arguments) -> pd.DataFrame:
    """A table of the catalogue, from what its function takes."""
    table = TABLES[name]
    return build.frame(table, build.rows_of(table, *arguments))


def verdicts_of(flags, policy: str, judge: str, comparator: str) -> list[Verdict]:
    """The verdicts of one judge, of the files that `write_experiment` made."""
    end = f"/{policy}/verdicts-{judge}-vs-{comparator}.jsonl"
    return records.read(Verdict, next(file for file in flags["verdicts"] if file.endswith(end)))


def row_of(table: pd.DataFrame, **names) -> pd.Series:
    """The only row of these names."""
    (row,) = table[(table[list(names)] == pd.Series(names)).all(axis=1)].itertuples(index=False)
    return pd.Series(row._asdict())
