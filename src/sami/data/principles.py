"""Principles and their opposites: read from a file, taken over from people, or written by a model.

A model writer is any source of texts: `write` asks it for a principle and its opposite, checks the answer by rules
that need no judge, and asks again until an answer passes or the tries are used up. Whether the two really are
opposites is for people to see: the records are short.

Ground floor: no torch, no HTTP.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sami.data.thoughts import split_thoughts
from sami.errors import UserError
from sami.progress import Progress
from sami.records import Principle
from sami.settings.principles import Behaviour, PrincipleFile
from sami.settings.writers import Writer
from sami.settings.yaml_files import load_yaml

MOST_WORDS = 30  # a longer principle is a text of its own
MOST_CUT_OFF = 2  # answers about one behaviour that the limit of tokens ended before they began

_LINE = re.compile(r"\s*(Principle|Opposite):\s*(.*?)\s*")
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)]*(?=\s|$)")
_TEMPLATE_MARK = re.compile(r"[][{}<>]|__")

log = logging.getLogger(__name__)


Complete = Callable[[str, int], str]  # (prompt, number of the try from 0) -> answer, with thoughts if there are any


class CutOff(Exception):
    """The limit of tokens ended an answer while the model was still thinking. Its text is the thoughts."""


class Refused(UserError):
    """The writer's endpoint refuses a request for its texts."""


def stable_seed(seed: int, prompt: str, attempt: int) -> int:
    """A seed of its own (31 bits) for each behaviour, through its prompt, and each try."""
    return int.from_bytes(sha256(f"{seed}\n{attempt}\n{prompt}".encode()).digest()[:4]) >> 1


def load(path: str | Path) -> PrincipleFile:
    """Reads a file of config/constitutions.

    Raises:
        UserError: it names the file, the key, what was found and what was expected.
    """
    return load_yaml(path, PrincipleFile)


def from_people(file: PrincipleFile, writer_name: str) -> list[Principle]:
    """The pairs of a file as records, in file order."""
    return [
        Principle(
            id=pair.id,
            text=pair.principle.text,
            opposite=pair.opposite.text,
            check=pair.principle.check,
            opposite_check=pair.opposite.check,
            held_out_check=pair.principle.held_out_check,
            opposite_held_out_check=pair.opposite.held_out_check,
            writer=writer_name,
        )
        for pair in file.pairs
    ]


WRITTEN = {  # what a file of principles holds -> what it is for
    "pairs": "which a person has written",
    "behaviours": "which a model writes principles about",
    "task": "for which a model writes a list of principles",
}


def require_kind(file: PrincipleFile, writer: Writer, name: str, path: str | Path) -> None:
    """Raises UserError where a file does not hold what its writer needs: pairs, behaviours, or a task."""
    if file.key != writer.needs:
        other = "a model writer of config/writers" if writer.is_human else "'human'"
        if "pairs" not in (file.key, writer.needs):
            other = "one whose 'prompt' has the field " + ("{task}" if file.key == "task" else "{behaviour}")
        raise UserError(
            f"{path}: found '{file.key}', {WRITTEN[file.key]}, but the writer '{name}' is of kind '{writer.kind}'; "
            f"expected '{writer.needs}', {WRITTEN[writer.needs]}. Change 'constitutions.writer' to {other}, or "
            f"'constitutions.principles' to a file with {writer.needs}."
        )


@dataclass(frozen=True)
class Subject:
    """What a model is asked for pairs about: a behaviour, one pair an answer, or a task, a list an answer.

    name: for messages. ids: of the pairs that are wanted. question: the writer's prompt, filled. about, wanted: as of
    `faults`. known: fields of every record.
    """

    name: str
    ids: list[str]
    question: str
    about: list[str]
    known: dict[str, Any]
    wanted: Sequence[str] = ()
    listed: bool = False


def about_behaviour(behaviour: Behaviour, prompt: str, candidates: int) -> Subject:
    """The question for `candidates` pairs about a behaviour, which fills the field {behaviour} of a prompt."""
    return Subject(
        name=f"behaviour '{behaviour.id}'",
        ids=[behaviour.id] if candidates == 1 else [f"{behaviour.id}-{k}" for k in range(1, candidates + 1)],
        question=prompt.replace("{behaviour}", behaviour.description),
        about=behaviour.about,
        wanted=behaviour.wanted,
        known={
            "check": behaviour.check,
            "opposite_check": behaviour.opposite_check,
            "behaviour": behaviour.description,
        },
    )


def about_task(task: str, prompt: str, candidates: int) -> Subject:
    """The question for a list of pairs for a task, which fills the field {task} of a prompt."""
    return Subject(
        name="the task",
        ids=[f"pair-{k}" for k in range(1, candidates + 1)],
        question=prompt.replace("{task}", task).replace("{candidates}", str(candidates)),
        about=[],
        known={"behaviour": task},
        listed=True,
    )


def write_all(
    file: PrincipleFile,
    complete: Complete,
    writer: Writer,
    name: str,
    path: str | Path,
    candidates: int = 1,
    fewer: bool = False,
) -> list[Principle]:
    """Has a model write pairs about all behaviours of a file, or for its task.

    Args:
        complete: see `write`.
        writer: its prompt and tries.
        name: of the writer, kept in the records.
        path: of the file, for messages.
        candidates: pairs that are wanted about each behaviour, or for the task.
        fewer: whether fewer will do where the writer repeats itself, since only some will be kept.

    Raises:
        UserError: see `write`; or the writer's endpoint refuses to write about a behaviour.
    """
    prompt = writer.prompt or ""
    if file.task is not None:
        subjects = [about_task(file.task, prompt, candidates)]
    else:
        subjects = [about_behaviour(behaviour, prompt, candidates) for behaviour in file.behaviours]
    written: list[Principle] = []
    with Progress(len(subjects) * candidates, "writing principles", "principles") as progress:
        for subject in subjects:
            try:
                found = write(subject, complete, prompt, writer.tries, name, fewer)
            except Refused as error:  # no experiment goes without one of its principles
                raise UserError(
                    f"{path}: {subject.name}: {error} Describe it in other words, or delete it from the file."
                ) from None
            written += found
            progress.update(candidates)
    return written


def require_enough(pairs: Sequence[Principle], keep: int, where: str) -> None:
    """Raises UserError where there are fewer pairs than are to be kept."""
    if len(pairs) < keep:
        raise UserError(
            f"{where}: found {len(pairs)} pairs, expected at least the {keep} that 'constitutions.keep' keeps of them. "
            "Lower it, or let there be more: more pairs or behaviours in the file, a higher "
            "'constitutions.candidates', or a writer with a higher 'temperature' or more 'tries'."
        )


def write(
    subject: Subject, complete: Complete, prompt: str, tries: int, writer_name: str, fewer: bool = False
) -> list[Principle]:
    """Has a model write principles with their opposites, as many as the subject has ids.

    Args:
        subject: what the pairs are to be about.
        complete: has the model answer; it may raise `CutOff`.
        prompt: the writer's template, of which no text may be a copy.
        tries: most answers to ask for, for each pair.
        writer_name: kept in the records.
        fewer: whether fewer pairs will do, at least one; a warning then says so.

    Returns:
        The first pairs that pass all checks and are new; `raw` holds every answer since the pair before, with its
        thoughts, the rejected ones included.

    Raises:
        UserError: no answer passed, `MOST_CUT_OFF` were cut off, or the writer repeats itself. It names the subject,
            the number of answers and why the last one was rejected.
    """
    found: list[Principle] = []
    pending: list[str] = []  # answers since the last pair
    last, reasons, asked, cut_off, repeated = "", ["nothing was asked"], 0, 0, 0
    while asked < tries * len(subject.ids) and len(found) < len(subject.ids) and cut_off < MOST_CUT_OFF:
        asked += 1
        try:
            last = complete(subject.question, asked - 1)
        except CutOff as thoughts:
            last = str(thoughts)
            cut_off += 1
            reasons = ["the limit of tokens (max_tokens, finish_reason: length) ended it before its answer began"]
            pending.append(last)
            log.info("%s, try %d: %s", subject.name, asked, reasons[0])
            continue
        pending.append(last)
        pairs, before = parse_all(split_thoughts(last)[1]), len(found)
        for principle, opposite in pairs if subject.listed else pairs[:1]:
            reasons = faults(principle, opposite, subject.about, prompt, subject.wanted)
            if not reasons and (same := _same(found, principle, opposite)):
                reasons, repeated = [f"it repeats the pair '{same}'"], repeated + 1
            if principle is not None and opposite is not None and not reasons and len(found) < len(subject.ids):
                known: dict[str, Any] = {**subject.known, "raw": list(pending), "writer": writer_name}
                found.append(Principle(id=subject.ids[len(found)], text=principle, opposite=opposite, **known))
            elif reasons:
                log.info("%s, try %d: %s: %.200r", subject.name, asked, "; ".join(reasons), last)
        pending = pending if len(found) == before else []
    if not found:
        raise UserError(
            f"{subject.name}: none of {asked} answers of the writer '{writer_name}' holds a usable "
            f"principle and opposite. The last one was rejected because {'; '.join(reasons)}: {last!r:.300}. Raise the "
            "writer's 'tries', 'max_tokens' or 'temperature', improve its 'prompt', or describe it in other words."
        )
    if len(found) < len(subject.ids):
        told = (
            f"{subject.name}: {asked} answers of the writer '{writer_name}' hold {len(found)} different pairs "
            f"({repeated} repeat one), expected {len(subject.ids)} ('constitutions.candidates')"
        )
        if not fewer:
            raise UserError(f"{told}. Lower 'candidates', or raise the writer's 'temperature' or 'tries'.")
        log.warning("%s: going on with these", told)
    return found


def _same(found: Sequence[Principle], principle: str | None, opposite: str | None) -> str | None:
    """The id of a pair that has the same two texts, but for case, punctuation and their sides; None where none has."""
    texts = {tuple(_words(text)) for text in (principle, opposite) if text}
    return next((p.id for p in found if {tuple(_words(p.text)), tuple(_words(p.opposite))} == texts), None)


def parse_all(answer: str) -> list[tuple[str | None, str | None]]:
    """The principles of an answer, each with the opposite that belongs to it; None where one is missing.

    Both stand on lines of their own, "Principle: ..." before "Opposite: ...". The first pair is there in any case, if
    only as two missing lines; models often go on to further ones.
    """
    pairs: list[tuple[str | None, str | None]] = []
    principle = None
    for line in answer.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        name, text = found.groups()
        if name == "Opposite":
            pairs.append((principle, text or None))
            principle = None
        else:
            if principle is not None:  # a second principle before any opposite
                pairs.append((principle, None))
            principle = text or None
    return pairs + [(principle, None)] * (principle is not None or not pairs)


def faults(
    principle: str | None, opposite: str | None, about: list[str], prompt: str, wanted: Sequence[str] = ()
) -> list[str]:
    """Faults for which a pair is no use; empty where it passes.

    Args:
        principle, opposite: as parsed; None where missing.
        about: beginnings of words; each text must have a word that begins with one of them, if there are any.
        prompt: the template the writer was given; a text that stands in it is a copy, not an answer.
        wanted: those of `about` that stand for the principle.
    """
    found = []
    for name, text in (("Principle", principle), ("Opposite", opposite)):
        if text is None:
            found.append(f"the line '{name}: ...' is missing")
            continue
        what = f"the {name.lower()}"
        words = _words(text)
        if not text.isprintable():
            found.append(f"{what} holds control characters")
        if _TEMPLATE_MARK.search(text):
            found.append(f"{what} holds a mark of an unfilled template")
        ends = [end.end() for end in _SENTENCE_END.finditer(text)]
        if not words or ends != [len(text)]:
            found.append(f"{what} is not exactly one sentence")
        if len(text.split()) > MOST_WORDS:
            found.append(f"{what} has more than {MOST_WORDS} words")
        if about and not any(word.startswith(stem.casefold()) for word in words for stem in about):
            found.append(f"{what} is about something else (no word begins with {', '.join(about)})")
        first = next((stem for word in words for stem in about if word.startswith(stem.casefold())), None)
        if wanted and first is not None and (first in wanted) != (name == "Principle"):
            found.append(f"{what} is about the other side (it says '{first}' first)")
        if words and f" {' '.join(words)} " in f" {' '.join(_words(prompt))} ":
            found.append(f"{what} is copied from the prompt")
    if principle is not None and opposite is not None and _words(principle) == _words(opposite):
        found.append("the principle and its opposite are the same")
    return found


def conversation(prompt: str) -> list[dict[str, str]]:
    """Turns a filled prompt into chat messages.

    A paragraph of two lines, "Principle: ..." and "Opposite: ...", is a worked example: it becomes an earlier turn of
    the assistant, and what stands between examples becomes turns of the user. Small models follow examples in this
    form, where they only ramble about examples inside one long question.
    """
    messages: list[dict[str, str]] = []
    for paragraph in re.split(r"\n\s*\n", prompt.strip()):
        example = len(paragraph.splitlines()) == 2 and None not in parse_all(paragraph)[0]
        role = "assistant" if example else "user"
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += "\n\n" + paragraph
        else:
            messages.append({"role": role, "content": paragraph})
    return messages


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
