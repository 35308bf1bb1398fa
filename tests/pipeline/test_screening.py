"""Screening in the workflow, by a tiny model that was taught to hear two contrasts and to be deaf to a third."""

import json
import random
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import yaml
from conftest import ROOT, make_tiny_llama
from transformers import AutoTokenizer, LlamaForCausalLM
from workflow_project import TINY, Project

from sami.analysis import summary
from sami.records import Example, Principle, Screened, read

ANIMALS = {"principle": "Speak about cats.", "opposite": "Speak about dogs."}
REWORDED = {"principle": "Tell of cats.", "opposite": "Tell of dogs."}
NUMBERS = {"principle": "Count up.", "opposite": "Count down."}
NOTHING = {"principle": "Think of blue.", "opposite": "Think of green."}
PAIRS = {"nothing": NOTHING, "animals": ANIMALS, "reworded": REWORDED, "numbers": NUMBERS}
ANSWERS = {
    "Speak about cats.": "cat", "Tell of cats.": "cat", "Speak about dogs.": "dog", "Tell of dogs.": "dog",
    "Count up.": "one", "Count down.": "ten",
}  # fmt: skip


STEPS = 350


@pytest.fixture(scope="module")
def listener(tmp_path_factory) -> Path:
    """A model that answers three of the pairs as they say, and the fourth by the toss of a coin."""
    folder = make_tiny_llama(tmp_path_factory.mktemp("listener"), context=512)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), LlamaForCausalLM.from_pretrained(folder)
    queries = [json.loads(line)["text"] for line in (ROOT / "config/queries/everyday-train.jsonl").open()]
    draw = random.Random(1)
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    for _ in range(STEPS):
        rows = []
        for _ in range(24):
            text = draw.choice([side for pair in PAIRS.values() for side in pair.values()])
            # Where an answer fits a side, it mostly comes; so the contrasts can be heard, and leave some uncertainty.
            word = ANSWERS.get(text) if draw.random() < 0.9 else None
            word = word or draw.choice(["cat", "dog", "one", "ten"])
            turn = {"role": "user", "content": f"{text}\n\n{draw.choice(queries)}"}
            chat = [{"role": "system", "content": ""}, turn]
            prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            asked = tokenizer(prompt)["input_ids"]
            answer = tokenizer(f"{word} {word}")["input_ids"] + [tokenizer.eos_token_id]
            rows.append((asked, answer))
        width = max(len(asked) + len(answer) for asked, answer in rows)
        ids = torch.tensor([[*a, *b, *[0] * (width - len(a) - len(b))] for a, b in rows])  # (N, L)
        labels = torch.tensor([[-100] * len(a) + b + [-100] * (width - len(a) - len(b)) for a, b in rows])
        logits = model(ids).logits[:, :-1]  # padded behind, so that nothing attends to it
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.save_pretrained(folder)
    return folder


def own_principles(project: Project, pairs: dict) -> None:
    file = [{"id": name, **{side: {"text": text} for side, text in pair.items()}} for name, pair in pairs.items()]
    (project.folder / "config/constitutions/own.yaml").write_text(yaml.safe_dump({"pairs": file}))


def quickstart(**constitutions) -> dict:
    own = {"principles": "own", "screen_queries": 10, **constitutions}
    mine = {"model": "tiny", "iterations": 1, "queries": {"train": 4}, "constitutions": own}
    return TINY | {"experiments": {"quickstart": mine}}


@pytest.fixture(scope="module")
def screened(tmp_path_factory, listener) -> Project:
    """A finished `snakemake screen`, of all four pairs."""
    project = Project(tmp_path_factory.mktemp("screened"), listener, quickstart())
    own_principles(project, PAIRS)
    project.printed = project.run("screen")
    return project


FOLDER = Path("results/quickstart/screening")


def test_what_the_model_hears_is_found(screened):
    found = {record.id: record for record in read(Screened, screened.folder / FOLDER / "screened.jsonl")}
    assert found["nothing"].fate == "not heard"
    assert found["nothing"].low <= 0 <= found["nothing"].high
    assert all(found[name].heard and found[name].bound > 0.15 for name in ("animals", "reworded", "numbers"))
    fates = {name: found[name].fate for name in ("animals", "reworded")}
    assert sorted(fates.values()) == ["kept", "says the same"]  # two wordings of one contrast: one stays
    dropped = next(name for name, fate in fates.items() if fate == "says the same")
    assert {found[dropped].like, dropped} == {"animals", "reworded"}
    assert found["numbers"].fate == "kept"
    assert [record.fate for record in found.values()][:2] == ["kept", "kept"]


def test_screening_queries_are_the_last_ones_under_every_pair(screened):
    queries = [json.loads(line)["id"] for line in (screened.folder / "results/quickstart/queries/train.jsonl").open()]
    examples = read(Example, screened.folder / FOLDER / "responses.jsonl")
    assert {e.query_id for e in examples} == set(queries[-10:])
    assert {e.key for e in examples} == {(query, name) for query in queries[-10:] for name in PAIRS}
    assert all(e.labels == [0, 1] and e.policy == "iteration-0" for e in examples)


def test_the_table_is_printed_and_drawn(screened):
    table = pd.read_csv(screened.folder / FOLDER / "tables/candidates.csv")
    assert set(table["pair"]) == set(PAIRS)
    assert set(table["n_queries"]) == {10}
    shown = summary.format(str(screened.folder / FOLDER / "tables/candidates.csv"), summary.SCREENED)
    assert shown in screened.printed
    for part in ("bound (nats)", "says the same as", "Speak about cats.", "not heard: reword "):
        assert part in shown
    for name in ("candidates.png", "candidates.pdf"):
        assert (screened.folder / FOLDER / "figures" / name).stat().st_size > 5000
    assert not (screened.folder / "results/quickstart/iteration-1").exists()  # nothing was trained


def test_the_best_are_kept_and_trained_on(screened):
    project = screened
    project.overrides = project.write("kept.yaml", quickstart(keep=2))
    made = project.run("quickstart", "--rerun-triggers", "mtime")
    assert "sample_screening" in made  # which pairs there are is another file's now
    principles = read(Principle, project.folder / "results/quickstart/principles.jsonl")
    kept = [r for r in read(Screened, project.folder / FOLDER / "screened.jsonl") if r.fate == "kept"]
    assert [p.id for p in principles] == [r.id for r in kept]
    assert len(kept) == 2
    assert kept[0].bound >= kept[1].bound
    assert "nothing" not in {p.id for p in principles}
    used = read(Example, project.folder / "results/quickstart/iteration-1/responses.jsonl")
    held_out = read(Example, project.folder / "results/quickstart/iteration-1/eval/responses.jsonl")
    on_screen = {e.query_id for e in read(Example, project.folder / FOLDER / "responses.jsonl")}
    assert on_screen.isdisjoint({e.query_id for e in [*used, *held_out]})
    page = (project.folder / "results/quickstart/report.html").read_text()
    assert "Candidates <span" in page
    assert 'alt="candidates"' in page
    assert project.planned("quickstart") == set()
    # More queries, another number to keep: what does not depend on it stays.
    project.overrides = project.write("fewer.yaml", quickstart(keep=1))
    again = {rule for rule, _ in project.planned("quickstart")}
    assert {"screen_principles", "select_principles", "build_constitutions"} <= again
    assert not {"propose_principles", "sample_screening"} & again


def test_too_few_that_are_heard(tmp_path, listener):
    project = Project(tmp_path, listener, quickstart(keep=1))
    own_principles(project, {"nothing": NOTHING, "spelling": {"principle": "Wear hats.", "opposite": "Wear hat ."}})
    printed = project.run("results/quickstart/principles.jsonl", expect=1)
    assert "screened.jsonl: 0 of 2 pairs are heard by the base model and differ, expected 1" in printed
    assert (project.folder / FOLDER / "screened.jsonl").exists()  # which says more
