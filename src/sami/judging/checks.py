"""The programmatic judge: how far a response follows the statements of a constitution, by measures of its text.

It needs no model and no key, and it is exact about what it measures; it knows nothing of sense, truth or style.
"""

import re

from sami.records import Check, Choice, Constitution, Statement

_LIST_ITEM = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s", re.MULTILINE)
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")


def value(check: Check, text: str) -> float:
    """Count of a check in a text: words, sentences, list items, or (case-insensitive) matches of its pattern.

    Or letters and digits per word, 0 where there is none.
    """
    match check.measure:
        case "words":
            return len(text.split())
        case "sentences":
            return len(_SENTENCE_END.findall(_LIST_ITEM.sub("", text)))  # "1." ends no sentence
        case "list_items":
            return len(_LIST_ITEM.findall(text))
        case "letters_per_word":
            found = _WORD.findall(text)
            return sum(character.isalnum() for word in found for character in word) / max(1, len(found))
        case "matches":
            return len(re.findall(check.pattern or "", text, re.IGNORECASE))


def degree(check: Check, text: str) -> float:
    """Degree to which a text follows a statement: 0 at the check's `worst` value, 1 at its `best`, linear between.

    An empty text follows nothing.
    """
    if not text.strip():
        return 0.0
    share = (value(check, text) - check.worst) / (check.best - check.worst)
    return min(1.0, max(0.0, share))


def key(statement: Statement) -> str:
    """Name of a statement in tables: the principle's id, with a minus sign for its opposite."""
    return statement.principle if statement.wanted else f"-{statement.principle}"


def degrees(text: str, constitution: Constitution, held_out: bool = False) -> dict[str, float]:
    """Degree in [0, 1] for each statement of the constitution that has a check.

    Args:
        text: the response.
        constitution: the one that it should follow.
        held_out: by the checks of which no reward is made, in place of the others.
    """
    found = {key(s): s.held_out_check if held_out else s.check for s in constitution.statements}
    return {name: degree(check, text) for name, check in found.items() if check is not None}


def choose(first: dict[str, float], second: dict[str, float], tie_margin: float) -> Choice:
    """The response with the higher mean degree: "first", "second", or "tie" where they differ by `tie_margin` or less.

    "invalid" where nothing could be checked.
    """
    if not first:
        return "invalid"
    difference = (sum(first.values()) - sum(second.values())) / len(first)
    if abs(difference) <= tie_margin + 1e-9:
        return "tie"
    return "first" if difference > 0 else "second"
