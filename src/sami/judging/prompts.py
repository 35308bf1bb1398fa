"""Questions to judges that are models, and the verdicts in their answers.

The responses are shown as A and B. Texts of models and datasets are put into the template as they are, in one pass, so
that braces in them mean nothing.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from sami.data.prompts import chat_messages, fill
from sami.judging.pairs import Pair
from sami.records import Choice, Constitution

Order = Literal["policy-first", "comparator-first"]
ORDERS: Sequence[Order] = ("policy-first", "comparator-first")
Vote = Literal["A", "B", "tie", "invalid"]  # what an answer says of the responses as it saw them
REMINDERS = {
    "reasoning": 'End with one line that says "Answer: A" or "Answer: B", and nothing after it.',
    "letter": "Answer with the single letter A or B.",
}

_WORDS = r"(A|B|tie|both|neither|equal)"
_NOUN = r"(?:(?:response|answer|option|summary|assistant)\s+)?"
# "Answer: A", "**Final answer:** (B)", "My verdict is Response A." on a line of its own ...
_NAMED = re.compile(
    rf"[\W_]*(?:(?:my|the|so|final|overall)\s+)*(?:answer|verdict|choice|decision|winner)(?:\s+is)?[\W_]*{_NOUN}"
    rf"[\W_]*{_WORDS}[\W_]*",
    re.IGNORECASE,
)
_ALONE = re.compile(rf"[\W_]*{_NOUN}{_WORDS}[\W_]*")  # ... or nothing but a letter


def numbered_statements(constitution: Constitution) -> str:
    """The statements of a constitution as a judge sees them: numbered lines, or the only one as it is."""
    texts = [statement.text for statement in constitution.statements]
    return texts[0] if len(texts) == 1 else "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def messages(prompt: str, system: str | None, pair: Pair, order: str) -> list[dict[str, str]]:
    """The conversation about one pair, the policy's response as A ("policy-first") or as B ("comparator-first")."""
    shown = (pair.first, pair.second) if order == "policy-first" else (pair.second, pair.first)
    constitution, query = numbered_statements(pair.constitution), pair.query.text
    asked = fill(prompt, constitution=constitution, query=query, first=shown[0], second=shown[1])
    return chat_messages(asked, system)


def parse(text: str, style: str) -> Vote:
    """The verdict of an answer: "A", "B", "tie" or "invalid".

    An answer with reasoning gives its verdict on a line of its own ("Answer: A"); several such lines must agree.
    Without one, the last line counts if it is nothing but a letter. In the style "letter" the whole answer is a letter.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if style == "letter":
        found = [match[1] for match in [_ALONE.fullmatch(text.strip())] if match]
    else:
        found = [match[1] for match in map(_NAMED.fullmatch, lines) if match]
        found = found or [match[1] for match in map(_ALONE.fullmatch, lines[-1:]) if match]
    votes: set[Vote] = {"A" if word.upper() == "A" else "B" if word.upper() == "B" else "tie" for word in found}
    return votes.pop() if len(votes) == 1 else "invalid"


def preference(top: Mapping[str, float]) -> float | None:
    """Probability of A against B from the log-probabilities of the first token; None where neither is among them."""
    mass = {"A": 0.0, "B": 0.0}
    for token, log_probability in top.items():
        if token.strip() in mass:
            mass[token.strip()] += math.exp(log_probability)
    total = sum(mass.values())
    return mass["A"] / total if total > 0 else None


def preference_of_policy(preference: float, order: str) -> float:
    """A preference for A, from 0 to 1, as one for the policy's response."""
    return preference if order == "policy-first" else 1 - preference


def of_policy(choice: Vote, order: str) -> Choice:
    """A verdict about A and B as one about the policy's response ("first") and the comparator's ("second")."""
    if choice == "tie" or choice == "invalid":
        return choice
    return "first" if (choice == "A") == (order == "policy-first") else "second"
