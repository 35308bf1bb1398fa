"""Echo: how much of a response repeats the constitution it was written for, and whether it talks about its instruction.

Both are counts of words. They see no paraphrase, no other inflection of a word ("sentences" is not "sentence") and no
sense: a response under "say you" that says "you" follows its constitution and repeats a word of it. So they are read
beside those of the base model, never alone. The lists below are English; in other languages all words count as content
words, and nothing talks about its instruction.
"""

import itertools
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

# Words that stand in texts of any subject: articles, pronouns but "I" and "you" (which constitutions ask for),
# prepositions, conjunctions, auxiliaries, and "not".
_FUNCTION_WORDS = (
    "a an the this that these those it its he she they them his her their we us our "
    "of in on at by for with from to into about over under as than then so too very "
    "and or but nor if while because when where which who whom whose what how "
    "is are was were be been being am do does did have has had will would shall should can could may might must "
    "not no there here all any some each every both either neither other such own same"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

_TEXT = r"(?:passage|response|answer|reply|text|sentence|paragraph|statement|message)"
_ORDER = r"(?:instruction|prompt|principle|constitution|guideline)s?"
# What a response says that talks about itself or about what it was told, in place of an answer.
ABOUT_INSTRUCTION = {
    "this response": rf"\bthis {_TEXT}\b",
    "the response should": r"\bthe (?:passage|response|reply|statement|sentence|paragraph) "
    r"(?:above|below|is|was|should|must|uses?|employs?|has)\b",
    "these instructions": rf"\b(?:this|these|given) {_ORDER}\b",
    "as requested": r"\bas (?:you )?(?:have )?(?:been )?(?:requested|instructed|asked|directed)\b",
    "in one sentence:": r"\bin (?:one|an?|two|three|several|\d+) (?:\w+ ){0,2}(?:words?|sentences?|paragraphs?) ?:",
    "here is a short answer": rf"\bhere(?:['’]s| is| are) (?:an?|the|my|your|one|some) (?:[\w-]+,? ){{0,3}}{_TEXT}s?\b",
    "I will answer in": r"\bI(?:['’]ll| will| shall) (?:answer|respond|reply|write|speak) (?:in|with|using|as)\b",
}
_ABOUT_INSTRUCTION = re.compile("|".join(ABOUT_INSTRUCTION.values()), re.IGNORECASE)


class Echo(NamedTuple):
    """Share of a constitution's content words, and of its 2-grams, that stand in a response beyond the others' shares.

    From -1 to 1: the share of the response's own constitution minus the mean share of the others of its set.
    """

    words: float
    bigrams: float

    @property
    def mean(self) -> float:
        """Mean of the two."""
        return (self.words + self.bigrams) / 2


def words_of(text: str) -> list[str]:
    """Words of a text in lower case, without punctuation; "don't" is one word."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def content_words(statements: Sequence[str]) -> set[str]:
    """The different words of some statements, without function words."""
    return {word for statement in statements for word in words_of(statement)} - FUNCTION_WORDS


def bigrams(statements: Sequence[str]) -> set[tuple[str, str]]:
    """The different pairs of words in a row within a statement, without those of two function words."""
    pairs = {pair for statement in statements for pair in _pairs(words_of(statement))}
    return {pair for pair in pairs if not FUNCTION_WORDS.issuperset(pair)}


def _pairs(words: Sequence[str]) -> set[tuple[str, str]]:
    return set(itertools.pairwise(words))


def echo(response: str, own: Sequence[str], others: Sequence[Sequence[str]]) -> Echo:
    """Echo of a response.

    What the query and the subject bring along stands in the responses under all constitutions of a set alike; what the
    own constitution alone has is an echo, so the mean share of the others is taken off.

    Args:
        response: a text.
        own: the statements of the constitution that it was written for.
        others: those of each other constitution of its set; without any, nothing is taken off.
    """
    said = words_of(response)
    shares = [
        (_share(content_words(statements), set(said)), _share(bigrams(statements), _pairs(said)))
        for statements in (own, *others)
    ]
    first, rest = shares[0], shares[1:]
    means = [sum(of) / len(rest) for of in zip(*rest, strict=True)] if rest else [0.0, 0.0]
    return Echo(first[0] - means[0], first[1] - means[1])


def _share(parts: Collection, found: Collection) -> float:
    """Share of the parts of a constitution that were found; 0 where it has none."""
    return sum(part in found for part in parts) / len(parts) if parts else 0.0


def talks_about_instruction(response: str) -> bool:
    """Whether a response has one of the phrases of `ABOUT_INSTRUCTION`, by which it talks about itself or its order."""
    return _ABOUT_INSTRUCTION.search(response) is not None
