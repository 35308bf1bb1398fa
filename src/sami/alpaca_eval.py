"""Win rates of AlpacaEval 2 annotation files: raw, and controlled for length (Dubois et al. 2024, arXiv 2404.04475).

    python -m sami.alpaca_eval results/MODEL/weighted_alpaca_eval_gpt4_turbo/annotations.json ...

A file is a JSON array, or JSON Lines, of objects with `instruction`, `preference` (1 where output_1, the baseline's, is
better, 2 where output_2, the model's, is; anything between for a judge that is not sure; 0 is a tie, null or NaN no
answer),
`generator_1`, `generator_2`, and the outputs: their texts, or their lengths as `output_1_chars` and `output_2_chars`.
Numbers are in percent; [low, high] is a 95% bootstrap interval over instructions.

Two things differ from AlpacaEval's own fit. It takes the difficulty of each instruction from a joint fit of all models
of its leaderboard, which is left out here. And it steadies the length coefficient by annotations of its baseline made
concise and verbose; a normal prior stands here for those. How far that leads is told in docs/statistics.md.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sami.data_files import rows
from sami.errors import UserError
from sami.statistics import Interval, Judged, Prior, bootstrap, length_controlled, standard_error

DRAWS = {"samples": 2000, "confidence": 0.95, "seed": 1}
# Of the length coefficient of AlpacaEval's judge: 1.2, give or take 0.3, takes the raw win rates of 47 models on its
# leaderboard to their length-controlled ones, given their mean lengths.
PRIOR = Prior(mean=1.2, precision=1 / 0.3**2)


@dataclass(frozen=True)
class Result:
    """What one file says. Rates are shares of one; `left_out` counts the rows without a preference."""

    model: str
    rate: Interval
    standard_error: float
    length_controlled: Interval
    count: int
    left_out: int


def evaluate(path: str | Path) -> Result:
    """Win rate, standard error and length-controlled win rate of an annotation file.

    Raises:
        UserError: the file is missing, or a row is not an annotation of one model against one baseline.
    """
    judged: dict[str, list[Judged]] = {}
    left_out, models, baselines = 0, set(), set()
    for where, row in rows(path):
        models.add(_text(row, "generator_2", where))
        baselines.add(_text(row, "generator_1", where))
        if len(models) > 1 or len(baselines) > 1:
            raise UserError(
                f"{where}: found {row['generator_2']!r} against {row['generator_1']!r}, expected one model and one "
                "baseline, those of the rows before. Put each model into a file of its own."
            )
        difference = _length(row, "output_2", where) - _length(row, "output_1", where)
        preference = _preference(row, where)
        if preference is None:
            left_out += 1
        else:
            judged.setdefault(_text(row, "instruction", where), []).append(Judged(preference, difference))
    if not judged:
        raise UserError(f"{path}: found no row with a preference, expected annotations of AlpacaEval.")
    preferences = {instruction: [row.preference for row in of] for instruction, of in judged.items()}
    return Result(
        model=models.pop(),
        rate=bootstrap(preferences, **DRAWS),
        standard_error=standard_error(preferences),
        length_controlled=length_controlled(judged, prior=PRIOR, **DRAWS).rate,
        count=sum(map(len, judged.values())),
        left_out=left_out,
    )


def _text(row: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(row.get(key), str):
        raise _wrong(row, key, "text", where)
    return row[key]


def _length(row: dict[str, Any], output: str, where: str) -> int:
    """Characters of an output."""
    if isinstance(row.get(output), str):
        return len(row[output])
    key = f"{output}_chars"
    if type(row.get(key)) is not int or row[key] < 0:
        raise _wrong(row, key, f"its length in characters (or its text as '{output}')", where)
    return row[key]


def _preference(row: dict[str, Any], where: str) -> float | None:
    """Preference for the model, from 0 to 1; None without an answer."""
    if "preference" in row and row["preference"] is None:
        return None
    value = row.get("preference")
    if type(value) not in (int, float) or not (value == 0 or 1 <= value <= 2):
        raise _wrong(row, "preference", "a number from 1 (output_1 is better) to 2, 0 for a tie, or null", where)
    return value - 1 if value else 0.5


def _wrong(row: dict[str, Any], key: str, expected: str, where: str) -> UserError:
    found = f"{row[key]!r:.80}" if key in row else "nothing"
    return UserError(f"{where}: key '{key}': found {found}, expected {expected}. Mend or delete the row.")


def line(result: Result) -> str:
    """One line for people, in percent."""
    left_out = f", {result.left_out} without a preference left out" if result.left_out else ""
    return (
        f"{result.model}: win rate {_percent(result.rate)}, standard error {100 * result.standard_error:.2f}, "
        f"length-controlled {_percent(result.length_controlled)} ({result.count} annotations{left_out})"
    )


def _percent(interval: Interval) -> str:
    estimate, low, high = (100 * value for value in interval)
    return f"{estimate:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m sami.alpaca_eval ANNOTATIONS ...")
    try:
        for file in sys.argv[1:]:
            print(line(evaluate(file)))
    except UserError as error:
        sys.exit(f"error: {error}")
