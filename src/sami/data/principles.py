"""Principles and their opposites: read from a file, taken over from people, or written by a model.

A model writer is any source of texts: `write` asks it for a principle and its opposite, checks the answer by rules
that need no judge, and asks again until an answer passes or the tries are used up. Whether the two really are
opposites is for people to see: the records are short.

Ground floor: no torch, no HTTP.
"""

import logging
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

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


def require_kind(file: PrincipleFile, writer: Writer, name: str, path: str | Path) -> None:
    """Raises UserError where the file holds pairs but a model is to write, or the other way round."""
    if writer.is_human and file.behaviours:
        raise UserError(
            f"{path}: found 'behaviours', which a model writes principles about, but the writer '{name}' is of kind "
            "'human'; expected 'pairs'. Change 'constitutions.writer' to a model writer of config/writers, or "
            "'constitutions.principles' to a file with pairs."
        )
    if not writer.is_human and file.pairs:
        raise UserError(
            f"{path}: found 'pairs', which a person has written, but the writer '{name}' is a model (kind "
            f"'{writer.kind}'); expected 'behaviours'. Change 'constitutions.writer' to 'human', or "
            "'constitutions.principles' to a file with behaviours."
        )


def write_all(file: PrincipleFile, complete: Complete, writer: Writer, name: str, path: str | Path) -> list[Principle]:
    """Has a model write principles about all behaviours of a file.

    Args:
        complete: see `write`.
        writer: its prompt and tries.
        name: of the writer, kept in the records.
        path: of the file, for messages.

    Raises:
        UserError: see `write`; or the writer's endpoint refuses to write about a behaviour.
    """
    written = []
    with Progress(len(file.behaviours), "writing principles", "principles") as progress:
        for behaviour in file.behaviours:
            try:
                written.append(write(behaviour, complete, writer.prompt or "", writer.tries, name))
            except Refused as error:  # no experiment goes without one of its principles
                raise UserError(
                    f"{path}: behaviour '{behaviour.id}': {error} Describe it in other words, or delete it from the "
                    "file."
                ) from None
            progress.update()
    return written


def write(behaviour: Behaviour, complete: Complete, prompt: str, tries: int, writer_name: str) -> Principle:
    """Has a model write a principle and its opposite about a behaviour.

    Args:
        behaviour: what the principle is to be about.
        complete: has the model answer; it may raise `CutOff`.
        prompt: template with the field {behaviour}, which the behaviour's description fills.
        tries: most answers to ask for.
        writer_name: kept in the record.

    Returns:
        The first pair that passes all checks; `raw` holds every answer with its thoughts, the rejected ones included.

    Raises:
        UserError: no answer passed, or `MOST_CUT_OFF` were cut off. It names the behaviour, the number of tries and why
            the last answer was rejected.
    """
    filled = prompt.replace("{behaviour}", behaviour.description)
    raw: list[str] = []
    reasons: list[str] = []
    cut_off = 0
    for attempt in range(tries):
        try:
            raw.append(complete(filled, attempt))
        except CutOff as thoughts:
            raw.append(str(thoughts))
            cut_off += 1
            reasons = ["the limit of tokens (max_tokens, finish_reason: length) ended it before its answer began"]
            log.info("behaviour '%s', try %d: %s", behaviour.id, attempt + 1, reasons[0])
            if cut_off == MOST_CUT_OFF:
                break
            continue
        principle, opposite = parse(split_thoughts(raw[-1])[1])
        reasons = faults(principle, opposite, behaviour.about, prompt)
        if principle is not None and opposite is not None and not reasons:
            return Principle(
                id=behaviour.id,
                text=principle,
                opposite=opposite,
                check=behaviour.check,
                opposite_check=behaviour.opposite_check,
                writer=writer_name,
                behaviour=behaviour.description,
                raw=raw,
            )
        log.info("behaviour '%s', try %d: %s: %.200r", behaviour.id, attempt + 1, "; ".join(reasons), raw[-1])
    raise UserError(
        f"behaviour '{behaviour.id}': none of {len(raw)} answers of the writer '{writer_name}' holds a usable "
        f"principle and opposite. The last one was rejected because {'; '.join(reasons)}: {raw[-1]!r:.300}. Raise the "
        "writer's 'tries', 'max_tokens' or 'temperature', improve its 'prompt', or describe the behaviour in other "
        "words."
    )


def parse(answer: str) -> tuple[str | None, str | None]:
    """The first principle of an answer and the opposite that belongs to it, each None where it is missing.

    Both stand on lines of their own, "Principle: ..." before "Opposite: ...". What follows is not looked at: models
    often go on to further pairs.
    """
    principle = None
    for line in answer.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        name, text = found.groups()
        if name == "Opposite":
            return principle, text or None
        if principle is not None:  # a second principle before any opposite
            break
        principle = text or None
    return principle, None


def faults(principle: str | None, opposite: str | None, about: list[str], prompt: str) -> list[str]:
    """Faults for which a pair is no use; empty where it passes.

    Args:
        principle, opposite: as parsed; None where missing.
        about: beginnings of words; each text must have a word that begins with one of them.
        prompt: the template the writer was given; a text that stands in it is a copy, not an answer.
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
        if not any(word.startswith(stem.casefold()) for word in words for stem in about):
            found.append(f"{what} is about something else (no word begins with {', '.join(about)})")
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
        example = len(paragraph.splitlines()) == 2 and None not in parse(paragraph)
        role = "assistant" if example else "user"
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += "\n\n" + paragraph
        else:
            messages.append({"role": role, "content": paragraph})
    return messages


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
