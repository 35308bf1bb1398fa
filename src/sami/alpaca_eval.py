"""Win rates of AlpacaEval 2 annotation files: raw, and controlled for length (Dubois et al. 2024, arXiv 2404.04475).

    python -m sami.alpaca_eval results/*/weighted_alpaca_eval_gpt4_turbo/annotations.json
    python -m sami.alpaca_eval --published leaderboard.csv results/*/weighted_alpaca_eval_gpt4_turbo/annotations.json

A file is a JSON array, JSON Lines (.gz too) or Parquet of objects with `instruction`, `preference` (1 where output_1,
the baseline's, is better, 2 where output_2, the model's, is; anything between for a judge that is not sure; 0 is a tie,
null or NaN no answer), `generator_1`, `generator_2`, and the outputs: their texts, or their lengths as `output_1_chars`
and `output_2_chars`. In place of an instruction may stand the first 12 digits of its SHA-1.
Numbers are in percent; [low, high] is a 95% bootstrap interval over instructions. With `--published`, a table whose
first column names models, each `length_controlled_winrate` is compared with the one published.

Whether a model lost because it was short or because the instruction is hard, its file alone cannot tell. Files of at
least seven other models against the same baseline, by the same judge, can: give them together. Three things differ
from AlpacaEval's own fit:

1. Instruction difficulties come from the other files given, never from the model's own; AlpacaEval has fixed ones,
   from some 120 models of early 2024.
2. It adds judgements of its baseline, made concise and verbose, to every fit. Two priors stand here for those.
3. Its penalty is of absolute values, with a strength found by cross-validation. Here the priors are all.

How far that leads, with and without other files, is told in docs/statistics.md.
"""

import argparse
import csv
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sami.analysis.statistics.bootstrap import Interval, bootstrap
from sami.analysis.statistics.length_control import Judged, Prior, joint_difficulties, length_controlled
from sami.analysis.statistics.win_rates import standard_error
from sami.analysis.text import interval
from sami.data.data_files import rows
from sami.errors import UserError

DRAWS = {"samples": 2000, "confidence": 0.95, "seed": 1}
# Coefficients of length and difficulty as AlpacaEval's judgements of its baseline, concise and verbose, would have them
# alone, at their weight of 0.2: from the published coefficients of these two and the lengths of their outputs.
LENGTH = Prior(mean=1.91, precision=1 / 0.33**2)
DIFFICULTY = Prior(mean=0.76, precision=1 / 0.16**2)
# Of the difficulties: so spread, the published coefficients of 140 models give their published rates within 1.2 points.
SPREAD = Prior(mean=-0.12, precision=1 / 1.58**2)
# Without difficulties the length coefficient is not fitted but held at the mean of those 140 models, 1.38, over 1.335:
# odds averaged over a difficulty of that spread, at the mean coefficient 0.90, are so much flatter.
ALONE = Prior(mean=1.38 / 1.335, precision=1e6)
OTHERS = 7  # models that must have judged an instruction besides, for its difficulty to be known
DIGEST = re.compile("[0-9a-f]{12}")


@dataclass(frozen=True)
class Annotations:
    """The annotations of one model; `judged` is by instruction, `left_out` counts the rows without a preference."""

    model: str
    baseline: str
    judged: Mapping[str, list[Judged]]
    left_out: int


@dataclass(frozen=True)
class Result:
    """Win rates of one model, as shares of one.

    `left_out` counts the rows without a preference, `others` the models that tell of instruction difficulty; 0 where
    they are too few to be used.
    """

    model: str
    baseline: str
    rate: Interval
    standard_error: float
    length_controlled: Interval
    count: int
    left_out: int
    others: int


def evaluate(paths: Sequence[str | Path]) -> list[Result]:
    """Win rate, standard error and length-controlled win rate of each annotation file; given together, they share
    instruction difficulties.

    Raises:
        UserError: a file is missing, or a row is not an annotation of one model against one baseline.
    """
    files = [read(path) for path in paths]
    return [_result(file, files) for file in files]


def read(path: str | Path) -> Annotations:
    """Annotations of one file. Raises UserError as `evaluate`."""
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
            judged.setdefault(_digest(_text(row, "instruction", where)), []).append(Judged(preference, difference))
    if not judged:
        raise UserError(f"{path}: found no row with a preference, expected annotations of AlpacaEval.")
    return Annotations(models.pop(), baselines.pop(), judged, left_out)


def _result(file: Annotations, files: Sequence[Annotations]) -> Result:
    preferences = {instruction: [row.preference for row in of] for instruction, of in file.judged.items()}
    others = _others(file, files)
    if others:
        hard = joint_difficulties(others, length_prior=LENGTH, difficulty_prior=SPREAD)
        judged = {
            instruction: [row._replace(difficulty=hard.get(instruction, SPREAD.mean)) for row in of]
            for instruction, of in file.judged.items()
        }
        control = length_controlled(judged, prior=LENGTH, difficulty_prior=DIFFICULTY, **DRAWS)
    else:
        control = length_controlled(file.judged, prior=ALONE, **DRAWS)
    return Result(
        model=file.model,
        baseline=file.baseline,
        rate=bootstrap(preferences, **DRAWS),
        standard_error=standard_error(preferences),
        length_controlled=control.rate,
        count=sum(map(len, file.judged.values())),
        left_out=file.left_out,
        others=len(others),
    )


def _others(file: Annotations, files: Sequence[Annotations]) -> list[Mapping[str, list[Judged]]]:
    """Annotations of other models against the same baseline; none where too few share the file's instructions.

    The baseline against itself tells nothing, and a model given twice is one model.
    """
    others = {
        other.model: other.judged
        for other in files
        if other.baseline == file.baseline and other.model not in (file.model, file.baseline)
    }
    if file.model == file.baseline:
        return []
    known = Counter(instruction for judged in others.values() for instruction in judged)
    enough = np.median([known[instruction] for instruction in file.judged]) >= OTHERS
    return list(others.values()) if enough else []


def _digest(instruction: str) -> str:
    """First 12 digits of the SHA-1 of an instruction, which may be just that already."""
    if DIGEST.fullmatch(instruction):
        return instruction
    return hashlib.sha1(instruction.encode("utf-8", "surrogatepass")).hexdigest()[:12]


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
    difficulties = f"difficulties from {result.others} other models" if result.others else "no difficulties"
    return (
        f"{result.model}: win rate {_percent(result.rate)}, standard error {100 * result.standard_error:.2f}, "
        f"length-controlled {_percent(result.length_controlled)} "
        f"({result.count} annotations{left_out}; {difficulties})"
    )


def _percent(estimate: Interval) -> str:
    return interval(*(100 * value for value in estimate), ".2f")


def compare(results: Sequence[Result], published: Mapping[str, float]) -> list[str]:
    """Lines that set length-controlled win rates beside published ones; the last sums up the differences.

    Args:
        results: of any models; those not published, and the baseline (50 by definition), are passed over.
        published: model -> its rate, in percent.

    Raises:
        UserError: none of the models is published.
    """
    compared = [result for result in results if result.model != result.baseline]
    both = [(result, published[result.model]) for result in compared if result.model in published]
    differences = np.array([100 * result.length_controlled.estimate - value for result, value in both])
    if not both:
        names = ", ".join(result.model for result in results)
        raise UserError(f"--published: found no rate of {names}; expected these names in column 1 of the table.")
    lines = [
        f"{result.model}: length-controlled {100 * result.length_controlled.estimate:.2f}, published {value:.2f}, "
        f"difference {difference:+.2f}"
        for (result, value), difference in zip(both, differences, strict=True)
    ]
    size = np.abs(differences)
    return [
        *lines,
        f"{len(size)} models: absolute difference {np.median(size):.2f} in the median, {np.quantile(size, 0.9):.2f} at "
        f"the 90th percentile, {size.max():.2f} at most; mean difference {differences.mean():+.2f}",
    ]


def published_rates(table: str | Path) -> dict[str, float]:
    """Length-controlled win rates of a CSV file like AlpacaEval's leaderboard: model -> percent.

    Names are those of the first column, whatever its header; models without a rate are passed over.

    Raises:
        UserError: the file cannot be read, or has no numbers in a column `length_controlled_winrate`.
    """
    key = "length_controlled_winrate"
    try:
        with Path(table).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        return {next(iter(row.values())): float(row[key]) for row in rows if row[key]}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{table}: {error}; expected CSV with names of models in column 1, numbers in {key}.") from None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m sami.alpaca_eval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", nargs="+", help="annotation files, one a model")
    parser.add_argument("--published", help="CSV of published win rates to compare with")
    options = parser.parse_args(arguments)
    published = published_rates(options.published) if options.published else None
    results = evaluate(options.annotations)
    print(*map(line, results), sep="\n")
    if published is not None:
        print(*compare(results, published), sep="\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
