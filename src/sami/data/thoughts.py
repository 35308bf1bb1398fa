"""The thoughts in a model's text, set apart from its answer.

    split_thoughts("Hm.</think>Yes.")  # ("Hm.", "Yes.")

Ground floor: no torch, no HTTP.
"""

import re

# How models mark their thoughts: <think> (DeepSeek, Qwen, ...), <seed:think>, [THINK] (Mistral), the marks of Kimi,
# <|START_THINKING|> (Cohere), channels (gpt-oss, Gemma 4). Whatever opens them is closed by whatever closes them.
_NAME = r"(?:\w+:)?(?:think|thinking|thoughts?|reasoning)"
_OPEN = (
    rf"(?:<\|?(?:begin_of_|start_)?{_NAME}\|?>|\[think\]|◁think▷|<\|channel>thought\b"
    r"|(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)[^<]*<\|message\|>)"
)
_CLOSE = (
    rf"(?:<\|?/{_NAME}\|?>|<\|(?:end_of_|end_){_NAME}\|>|\[/think\]|◁/think▷|<channel\|>"
    r"|(?:<\|end\|>)?(?:<\|start\|>assistant)?<\|channel\|>final[^<]*<\|message\|>)"
)
_WRAPPED = re.compile(r"<answer>\s*(.*?)\s*(?:</answer>)?", re.IGNORECASE | re.DOTALL)  # DeepSeek, Hunyuan
_MARK = re.compile(rf"(?P<open>{_OPEN})|{_CLOSE}", re.IGNORECASE)


def split_thoughts(text: str) -> tuple[str, str]:
    """Separates the thoughts in a model's text from its answer.

    Thoughts stand between marks such as <think> and </think>. Where a closing one has no opening one, since the
    template wrote that, everything before it is thoughts; where an opening one at the beginning of a line is never
    closed, everything after it.

    Returns:
        (thoughts, answer), without the marks, those of the answer itself (<answer>), and the white space around them;
        ("", text) where there are no marks of thoughts.
    """
    if not any(begin in text for begin in "<[◁"):  # most answers, and the pattern is slow on long ones
        return "", text
    thoughts: list[str] = []
    answer: list[str] = []
    opened, position = None, 0  # the mark that is open; where the piece begins that is read next
    for mark in _MARK.finditer(text):
        if mark["open"] and opened:  # a mark within thoughts is part of them
            continue
        piece = text[position : mark.start()]
        if mark["open"]:
            answer.append(piece)
            opened = mark
        else:
            thoughts += [piece] if opened else [*answer, piece]
            answer = answer if opened else []
            opened = None
        position = mark.end()
    if opened and text[: opened.start()].rpartition("\n")[2].strip():  # in the middle of a line it is talked about
        answer.append(text[opened.start() :])
    elif opened:
        thoughts.append(text[position:])
    else:
        answer.append(text[position:])
    if len(answer) == 1 and not thoughts:
        return "", text
    rest = "".join(answer).strip()
    wrapped = _WRAPPED.fullmatch(rest)
    return "\n\n".join(filter(None, map(str.strip, thoughts))), wrapped[1] if wrapped else rest
