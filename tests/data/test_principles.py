"""Principles: files by people, and a model writer whose answers are checked before they count."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sami import records
from sami.data import principles
from sami.errors import UserError
from sami.sampling.local_writer import local_writer
from sami.settings.principles import Behaviour, PrincipleFile
from sami.settings.writers import Writer
from sami.settings.yaml_files import load_yaml

CONFIG = Path(__file__).parents[2] / "config"
PEOPLE = CONFIG / "constitutions/everyday.yaml"
BEHAVIOURS = CONFIG / "constitutions/everyday-behaviours.yaml"
TASK = CONFIG / "constitutions/everyday-task.yaml"
ABOUT = ["short", "long"]
PROMPT = """Behaviour: x

Principle: Use short rhymes in poems.
Opposite: Use long rhymes in poems.

Behaviour: {behaviour}"""
GOOD = "Principle: Give short answers.\nOpposite: Give long answers."
BEHAVIOUR = Behaviour(id="short", description="short {answers}", about=ABOUT)


def writer_settings(name: str) -> Writer:
    return load_yaml(CONFIG / f"writers/{name}.yaml", Writer)


# --- the parser -------------------------------------------------------------------------------------------------------

lines = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).map(str.strip).filter(bool)
other_lines = lines.filter(lambda text: not text.startswith(("Principle:", "Opposite:")))


@given(st.lists(other_lines), lines, st.lists(other_lines), lines, st.lists(lines))
def test_the_first_pair_is_found_whatever_stands_around_it(before, principle, between, opposite, after):
    answer = "\n".join([*before, f"Principle: {principle}", *between, f"  Opposite:{opposite} ", *after])
    assert principles.parse_all(answer)[0] == (principle, opposite)


@given(st.text() | st.lists(st.sampled_from(["Principle:", "Opposite:", " a", "\n", "\r", "\u2028", "."])).map("".join))
def test_any_text_can_be_parsed(answer):
    for text in principles.parse_all(answer)[0]:
        assert text is None or (text == text.strip() != "" and len(text.splitlines()) == 1)


@pytest.mark.parametrize(
    ("answer", "pair"),
    [
        ("", (None, None)),
        ("Principle: A.", ("A.", None)),
        ("Opposite: B.", (None, "B.")),
        ("Opposite: B.\nPrinciple: A.", (None, "B.")),
        ("Principle: A.\nPrinciple: C.\nOpposite: D.", ("A.", None)),
        ("Principle: A.\nOpposite: B.\n\nPrinciple: C.\nOpposite: D.", ("A.", "B.")),
        ("Principle:\nOpposite: B.", (None, "B.")),
        ("Principle: A. Opposite: B.", ("A. Opposite: B.", None)),
        ("My Principle: A.\nOpposite: B.", (None, "B.")),
    ],
)
def test_pairs(answer, pair):
    assert principles.parse_all(answer)[0] == pair


# --- the checks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("principle", "reason"),
    [
        (None, "the line 'Principle: ...' is missing"),
        ("Give short answers", "the principle is not exactly one sentence"),
        ("Give short answers. Do it now.", "the principle is not exactly one sentence"),
        ("Short!!! Be it.", "the principle is not exactly one sentence"),
        ("short " * 30 + "end.", "the principle has more than 30 words"),
        ("Give brief answers.", "the principle is about something else (no word begins with short, long)"),
        ("Give ashort answers.", "the principle is about something else (no word begins with short, long)"),
        ("Give [insert] short answers.", "the principle holds a mark of an unfilled template"),
        ("Give {short} answers.", "the principle holds a mark of an unfilled template"),
        ("Give <short> answers.", "the principle holds a mark of an unfilled template"),
        ("Give ____ short answers.", "the principle holds a mark of an unfilled template"),
        ("Give short\x00 answers.", "the principle holds control characters"),
        ("Use SHORT rhymes, in poems!", "the principle is copied from the prompt"),
        ("give long, answers!", "the principle and its opposite are the same"),
    ],
)
def test_every_rejection_has_its_reason(principle, reason):
    assert principles.faults(principle, "Give long answers.", ABOUT, PROMPT) == [reason]
    if principle is not None and "the same" not in reason:
        reason = reason.replace("principle", "opposite")
        assert principles.faults("Give long answers.", principle, ABOUT, PROMPT) == [reason]


@pytest.mark.parametrize(
    "text",
    [
        "Give short answers!",
        "SHORT answers are best.",
        "Say “Keep it short.”",
        "Use 2.5 short words.",
        "Shortness wins?",
    ],
)
def test_what_is_accepted(text):
    assert principles.faults(text, "Long-winded answers, please.", ABOUT, PROMPT) == []


words = st.lists(st.sampled_from(["Give", "answers", "3", "questions,", "naïve", "or", "über-clever"]), max_size=14)


@given(words, st.sampled_from(["short", "Shorter", "LONG"]), words, st.sampled_from([".", "!", "?", "..."]))
def test_any_sentence_with_a_stem_passes_and_breaking_it_fails(before, stem, after, end):
    text = " ".join([*before, stem, *after])
    opposite = "Something long that is different."
    assert principles.faults(text + end, opposite, ABOUT, "") == []
    assert principles.faults(text, opposite, ABOUT, "")
    assert principles.faults(text + end, opposite, ["x"], "")
    assert principles.faults(text + end, text.upper() + ".", ABOUT, "")
    assert principles.faults(f"{text}. {text}.", opposite, ABOUT, "")
    assert principles.faults(text + end, opposite, ABOUT, f"Behaviour: x\n\n{text.title()}")


# --- asking again -----------------------------------------------------------------------------------------------------


class Answers:
    """A source of texts: the given ones, in order."""

    def __init__(self, *texts: str):
        self.texts, self.asked = texts, []

    def __call__(self, prompt: str, attempt: int) -> str:
        self.asked.append((prompt, attempt))
        return self.texts[attempt]


def write(behaviour: Behaviour, source: Answers, tries: int, candidates: int = 1, fewer: bool = False):
    subject = principles.about_behaviour(behaviour, PROMPT, candidates)
    return principles.write(subject, source, PROMPT, tries, "someone", fewer)


def test_asks_until_an_answer_passes():
    source = Answers("", "Principle: A.", GOOD, "never asked for")
    check = records.Check(measure="words", best=10, worst=40)
    behaviour = BEHAVIOUR.model_copy(update={"check": check})
    (written,) = write(behaviour, source, 8)
    assert written == records.Principle(
        id="short",
        text="Give short answers.",
        opposite="Give long answers.",
        check=check,
        writer="someone",
        behaviour="short {answers}",
        raw=["", "Principle: A.", GOOD],
    )
    assert source.asked == [(PROMPT.replace("{behaviour}", "short {answers}"), attempt) for attempt in range(3)]


@pytest.mark.parametrize("tries", [1, 3])
def test_ends_after_its_tries(tries):
    source = Answers(*["Principle: Give short answers.\nOpposite: Give answers."] * 5)
    with pytest.raises(UserError) as caught:
        write(BEHAVIOUR, source, tries)
    assert len(source.asked) == tries
    for part in ("'short'", f"none of {tries} answers", "'someone'", "the opposite is about something else", "'tries'"):
        assert part in str(caught.value)


OTHER = "Principle: Keep it short.\nOpposite: Make it long."


def test_several_pairs_about_a_behaviour_are_new_ones():
    turned = "Principle: give LONG answers!\nOpposite: Give short answers."  # the same two texts
    source = Answers(GOOD, GOOD, turned, "Principle: A.", OTHER)
    check = records.Check(measure="words", best=10, worst=40)
    written = write(BEHAVIOUR.model_copy(update={"check": check}), source, 3, candidates=2)
    assert [(p.id, p.text, p.check) for p in written] == [
        ("short-1", "Give short answers.", check),
        ("short-2", "Keep it short.", check),
    ]
    assert [p.raw for p in written] == [[GOOD], [GOOD, turned, "Principle: A.", OTHER]]
    assert [attempt for _, attempt in source.asked] == list(range(5))


def test_a_writer_that_repeats_itself(caplog):
    repeating = Answers(*[GOOD] * 6)
    with pytest.raises(UserError) as caught:
        write(BEHAVIOUR, repeating, 3, candidates=2)
    assert len(repeating.asked) == 6
    for part in (
        "behaviour 'short'",
        "6 answers",
        "hold 1 different pairs (5 repeat one), expected 2",
        "'temperature'",
    ):
        assert part in str(caught.value)
    assert [p.id for p in write(BEHAVIOUR, Answers(*[GOOD] * 6), 3, candidates=2, fewer=True)] == ["short-1"]
    assert "hold 1 different pairs" in caplog.text


def test_a_behaviour_with_one_side_only():
    with pytest.raises(UserError, match="rejected because the line 'Opposite: ...' is missing"):
        write(BEHAVIOUR, Answers(*["Principle: Give short answers."] * 4), 2, candidates=2, fewer=True)


def test_sides_that_are_mixed_up_are_rejected():
    sided = BEHAVIOUR.model_copy(update={"wanted": ["short"]})
    turned = "Principle: Give long answers.\nOpposite: Give short answers, not long ones."
    (written,) = write(sided, Answers(turned, GOOD), 2)
    assert (written.text, written.raw) == ("Give short answers.", [turned, GOOD])
    told = principles.faults("Long, not short.", "Short ones.", ABOUT, "", ["short"])
    assert told == [
        "the principle is about the other side (it says 'long' first)",
        "the opposite is about the other side (it says 'short' first)",
    ]


LIST_PROMPT = "Task: x\n\nPrinciple: Use rhymes.\nOpposite: Use prose.\n\nTask: {task}, {candidates} pairs"


def listing(*answers: str, candidates: int, fewer: bool = False) -> list[records.Principle]:
    writer = Writer(kind="local", model="m", prompt=LIST_PROMPT, tries=2)
    file = PrincipleFile(task="answer questions")
    return principles.write_all(file, Answers(*answers), writer, "someone", "file.yaml", candidates, fewer)


def test_a_list_for_a_task():
    first = f"Here they are:\n{GOOD}\nPrinciple: Be.\n{OTHER}\n\nPrinciple: Use rhymes.\nOpposite: Write steps."
    second = f"{OTHER}\nPrinciple: Answer in rhymes.\nOpposite: Answer in steps."
    written = listing(first, second, candidates=3)
    assert [(p.id, p.text, p.opposite) for p in written] == [
        ("pair-1", "Give short answers.", "Give long answers."),
        ("pair-2", "Keep it short.", "Make it long."),
        ("pair-3", "Answer in rhymes.", "Answer in steps."),  # "Use rhymes." stands in the prompt
    ]
    assert [p.raw for p in written] == [[first], [first], [second]]
    assert {p.behaviour for p in written} == {"answer questions"}
    assert not any(p.check for p in written)
    assert principles.about_task("t", LIST_PROMPT, 7).question.endswith("Task: t, 7 pairs")
    assert len(listing(first, second, candidates=2)) == 2


def test_fewer_pairs_than_are_kept():
    with pytest.raises(
        UserError, match=r"the task: 6 answers of the writer 'someone' hold 1 different pairs \(5 repeat"
    ):
        listing(*[GOOD] * 6, candidates=3)
    assert len(listing(*[GOOD] * 6, candidates=3, fewer=True)) == 1
    people = principles.from_people(principles.load(PEOPLE), "human")
    principles.require_enough(people, len(people), "x")
    with pytest.raises(UserError, match=f"people.yaml: found {len(people)} pairs, expected at least the 99"):
        principles.require_enough(people, 99, "people.yaml")


def test_examples_become_earlier_turns():
    template = "Do it.\n\nBehaviour: a\n\nPrinciple: A.\nOpposite: B.\n\nBehaviour: b\n\nPrinciple: what is asked for"
    assert principles.conversation(template) == [
        {"role": "user", "content": "Do it.\n\nBehaviour: a"},
        {"role": "assistant", "content": "Principle: A.\nOpposite: B."},
        {"role": "user", "content": "Behaviour: b\n\nPrinciple: what is asked for"},
    ]
    assert principles.conversation("One question?") == [{"role": "user", "content": "One question?"}]


# --- files ------------------------------------------------------------------------------------------------------------


def test_principles_by_people():
    pairs = yaml.safe_load(PEOPLE.read_text())["pairs"]
    written = principles.from_people(principles.load(PEOPLE), "human")
    assert [(p.id, p.text, p.opposite) for p in written] == [
        (pair["id"], pair["principle"]["text"], pair["opposite"]["text"]) for pair in pairs
    ]
    assert all(p.writer == "human" and p.raw == [] and p.behaviour is None for p in written)
    assert [p.opposite_check and p.opposite_check.best for p in written] == [
        pair["opposite"].get("check", {}).get("best") for pair in pairs
    ]


@pytest.mark.parametrize("name", [path.stem for path in (CONFIG / "writers").glob("*.yaml")])
def test_shipped_writers_show_examples_of_other_behaviours(name):
    writer = writer_settings(name)
    if writer.needs != "behaviours":
        return
    for behaviour in principles.load(BEHAVIOURS).behaviours:
        turns = principles.conversation(writer.prompt.replace("{behaviour}", behaviour.description))
        assert turns[-1] == {"role": "user", "content": f"Behaviour: {behaviour.description}"}
        examples = [principles.parse_all(turn["content"])[0] for turn in turns if turn["role"] == "assistant"]
        assert examples
        for example in examples:
            assert any("something else" in fault for fault in principles.faults(*example, behaviour.about, ""))
            assert principles.faults(*example, ["use", "tell", "sound"], "") == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("pairs:\n- id: a\n  principle: {text: A.}\n", ["line 2", "pairs[0].opposite", "missing"]),
        ("pairs:\n- id: a\n  principle: {text: A.}\n  oposite: {text: B.}\n", ["line 4", "oposite", "mean 'opposite'"]),
        ("pairs:\n- {id: a, principle: {text: A.}, opposite: {text: A.}}\n", ["'a'", "same text"]),
        (
            "pairs:\n- {id: a, principle: {text: A.}, opposite: {text: true}}\n",
            ["pairs[0].opposite.text", "true", "text"],
        ),
        ("behaviors:\n- {id: a, description: b, about: [c]}\n", ["behaviors", "mean 'behaviours'"]),
        ("behaviours:\n- {id: a, description: b, about: []}\n", ["behaviours[0].about", "at least one entry"]),
        ("{task: a, pairs: [{id: a, principle: {text: A.}, opposite: {text: B.}}]}", ["'pairs'", "or a 'task'"]),
        ("behaviours:\n- {id: a, description: b, about: [c, d], wanted: [e]}\n", ["'wanted' is ['e']", "['c', 'd']"]),
        ("behaviours:\n- {id: a, description: b, about: [c, d], wanted: [d, c]}\n", ["some left for the opposite"]),
        (
            "behaviours:\n- {id: a, description: b, about: [c], check: {measure: words, best: 1, worst: 9}}\n",
            ["'a' has 'check', but no 'opposite_check'", "expected both or neither"],
        ),
        ("pairs: [\n", ["line 2", "not valid YAML"]),
        ("", ["empty file"]),
    ],
)
def test_broken_files(tmp_path, text, parts):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        principles.load(file)
    for part in ["mine.yaml", *parts]:
        assert part in str(caught.value)


# --- the stage --------------------------------------------------------------------------------------------------------


def run_stage(folder: Path, file: Path, writer: dict, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sami.stages.write_principles", "--principles", str(file), "--seed", "1"]
    command += ["--writer", json.dumps(writer), "--writer-name", "name", "--output", str(folder / "out.jsonl"), *more]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_stage_takes_over_what_people_wrote(tmp_path):
    done = run_stage(tmp_path, PEOPLE, {"kind": "human"})
    assert done.returncode == 0, done.stderr
    assert records.read(records.Principle, tmp_path / "out.jsonl") == principles.from_people(
        principles.load(PEOPLE), "name"
    )


@pytest.mark.parametrize(
    ("file", "kind", "parts"),
    [
        (BEHAVIOURS, "human", ["'behaviours'", "expected 'pairs'", "constitutions.writer", "constitutions.principles"]),
        (TASK, "local", ["found 'task'", "expected 'behaviours'", "a file with behaviours", "has the field {task}"]),
        (PEOPLE, "endpoint", ["'pairs'", "expected 'behaviours'", "constitutions.writer", "constitutions.principles"]),
        (BEHAVIOURS, "local", ["--model: found nothing", "prepare_model"]),
    ],
)
def test_the_stage_says_what_does_not_fit(tmp_path, file, kind, parts):
    writer = {"kind": kind} if kind == "human" else {"kind": kind, "model": "m", "prompt": "{behaviour}"}
    done = run_stage(tmp_path, file, writer)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr
    assert list(tmp_path.glob("*")) == []


def test_the_embedded_model_writes(smollm2):
    writer = writer_settings("smollm2")
    complete = local_writer(writer, smollm2, seed=1)
    for behaviour in principles.load(BEHAVIOURS).behaviours[:2]:
        subject = principles.about_behaviour(behaviour, writer.prompt, 1)
        (written,) = principles.write(subject, complete, writer.prompt, writer.tries, "smollm2")
        assert principles.parse_all(written.raw[-1])[0] == (written.text, written.opposite)
        assert principles.faults(written.text, written.opposite, behaviour.about, writer.prompt) == []
    assert complete(writer.prompt, 0) == complete(writer.prompt, 0)
    assert len({complete(writer.prompt, attempt) for attempt in range(3)}) > 1


def test_a_model_without_a_chat_template_continues_the_prompt(tmp_path, tiny):
    plain = shutil.copytree(tiny, tmp_path / "plain")
    (plain / "chat_template.jinja").unlink()
    options = {"kind": "local", "model": "tiny", "prompt": "{behaviour}", "max_tokens": 5, "temperature": 0.0}
    with_template, without = (local_writer(Writer(**options), f, 1) for f in (tiny, plain))
    assert without("What is mulch?", 0) == without("What is mulch?", 1) != with_template("What is mulch?", 0)


def test_the_stage_runs_with_a_model(tmp_path, tiny):
    file = tmp_path / "mine.yaml"
    file.write_text("behaviours: [{id: a, description: short answers, about: [short]}]")
    writer = {"kind": "local", "model": "tiny", "prompt": "{behaviour}", "tries": 2, "max_tokens": 5}
    done = run_stage(tmp_path, file, writer, "--model", str(tiny))
    assert done.returncode == 2  # random weights write no principles
    assert "'a': none of 2 answers of the writer 'name'" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()
    done = run_stage(tmp_path, file, {**writer, "max_tokens": 300}, "--model", str(tiny))
    assert done.returncode == 2
    assert "can attend to" in done.stderr


def test_each_behaviour_and_try_has_its_own_seed():
    seeds = {principles.stable_seed(seed, p, a) for seed in (1, 2) for p in ("x", "y") for a in range(5)}
    assert len(seeds) == 20
    assert principles.stable_seed(1, "x", 0) == 1040714879  # the same on every machine and in every run
    assert all(0 <= seed < 2**31 for seed in seeds)
