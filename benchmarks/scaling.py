"""How the time of scoring grows with the size of the matrix, and with the queries in one pass.

    python benchmarks/scaling.py

Measured is the forward and backward pass of the SAMI loss on SmolLM2-135M in float32, by this package, on random
tokens of fixed lengths. Prompts differ from their first token on, so that nothing of them can be shared.

For C constitutions and R responses the package should encode C x (prompt + R x response) tokens, since it reads each
prompt once for all responses. One sequence for every pair would be C x R x (prompt + response). The time for C = R = 2,
4, 8, 16 tells which law holds: the slope of log(time) against log(law) is 1 for the law that the time follows.

The last table packs several queries with 2x2 matrices into one row. Its time for each query should not rise.
"""

import argparse
import statistics
from functools import partial

import numpy as np
import torch
from common import machine, our_pass, own_scorer, say, table, timed
from tqdm import tqdm

from sami.scoring.layout import Item
from sami.scoring.trees import shared

PROMPT, RESPONSE = 120, 24  # tokens
PACKS = [1, 2, 4, 8]  # queries


def queries(size: int, count: int = 1) -> list[Item]:
    """Random queries with C = R = `size`."""
    generator = torch.Generator().manual_seed(0)
    firsts = torch.randperm(30000, generator=generator).tolist()  # no two prompts begin alike
    draw = lambda length: torch.randint(1000, 40000, (length,), generator=generator).tolist()  # noqa: E731
    return [
        Item(
            f"query {number}",
            [[firsts.pop(), *draw(PROMPT - 1)] for _ in range(size)],
            [draw(RESPONSE) for _ in range(size)],
            list(range(size)),
        )
        for number in range(count)
    ]


def by_tokens(size: int) -> int:
    """Tokens where each prompt is read once for all responses."""
    return size * (PROMPT + size * RESPONSE)


def by_pairs(size: int) -> int:
    """Tokens where each pair is a sequence of its own."""
    return size * size * (PROMPT + RESPONSE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="time each size N times (default: 3)")
    parser.add_argument(
        "--largest",
        type=int,
        default=16,
        choices=[4, 8, 16],
        help="largest C = R (default: 16, which takes about 13 GiB of memory)",
    )
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error("--repeats: expected 1 or more")
    sizes = [size for size in (2, 4, 8, 16) if size <= arguments.largest]

    say(machine())
    say(f"queries: random tokens, prompts of {PROMPT} that share none, responses of {RESPONSE}; one pass each")
    scorer = own_scorer()
    # (C = R, queries in one pass); 2x2 alone is in both tables.
    work = {(size, 1): queries(size) for size in sizes} | {(2, count): queries(2, count) for count in PACKS}
    tokens = {key: shared(items).tokens for key, items in work.items()}
    times: dict[tuple[int, int], list[float]] = {key: [] for key in work}
    with tqdm(total=sum(tokens.values()) * (arguments.repeats + 1), unit="tok", unit_scale=True) as bar:
        for repeat in range(arguments.repeats + 1):  # the first, untimed, warms up
            # There and back again, so that a machine that slows down favours no size.
            for (size, count), items in list(work.items())[:: 1 if repeat % 2 else -1]:
                bar.set_description(f"{size}x{size}, {count} in a pass")
                seconds, _ = timed(scorer.model, partial(our_pass, scorer, items))
                if repeat:
                    times[size, count].append(seconds)
                bar.update(tokens[size, count])
    median = {key: statistics.median(values) for key, values in times.items()}

    def row(key: tuple[int, int]) -> list:
        spread = f"{min(times[key]):.3f} to {max(times[key]):.3f}"
        return [tokens[key], median[key], spread, 1000 * median[key] / tokens[key]]

    columns = ["tokens encoded", "s", "least to most", "ms per token"]
    say("\none query in a pass")
    laws = ["C x (prompt + R x response)", "C x R x (prompt + response)"]
    rows = [[f"{size}x{size}", *row((size, 1)), by_tokens(size), by_pairs(size)] for size in sizes]
    say(table(["C x R", *columns, *laws], rows))
    say("\nseveral queries of 2x2 in a pass")
    rows = [[count, *row((2, count)), median[2, count] / count] for count in PACKS]
    say(table(["queries", *columns, "s per query"], rows))

    seconds = np.array([median[size, 1] for size in sizes])
    exponents, rows = {}, []
    for name, formula, law in zip(("tokens", "pairs"), laws, (by_tokens, by_pairs), strict=True):
        counts = np.array([law(size) for size in sizes])
        exponents[name] = float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])
        per_token = float(seconds @ counts / (counts @ counts))  # time = k x law, by least squares
        error = float(np.abs(per_token * counts / seconds - 1).max())
        rows.append([formula, exponents[name], f"{counts[-1] / counts[0]:.1f}", 1000 * per_token, f"{error:.0%}"])
    factor = f"time_{sizes[-1]}_over_{sizes[0]}"
    say("\neach law: slope of log(time) against log(law), and the fit of time = k x law")
    say(table(["law", "slope", f"predicted {factor}", "k (ms)", "fit is off by up to"], rows))
    say()
    for name, exponent in exponents.items():
        say(f"exponent_of_{name}={exponent:.2f}")
    say(f"{factor}={seconds[-1] / seconds[0]:.1f}")


if __name__ == "__main__":
    main()
