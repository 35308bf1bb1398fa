"""Whether this package is right and fast on a GPU that it has not run on: one command, under 8 minutes, no network.

    python benchmarks/gpu.py                     # everything; on a machine without a GPU, a tiny form on the processor
    python benchmarks/gpu.py --parts head speed  # some of it
    python benchmarks/gpu.py --json FILE         # where the results go (default: gpu.json)

First what is right: shared trees by compiled FlexAttention against padded sequences, the fused head against the plain
one, sampling against `generate`, FSDP2 over NCCL, checkpoint and resume. Then speed, with random weights in the shapes
of models of 135M, 1B and 7B. All models are drawn here.

Each part (a module of `gpu_parts`) runs in a process of its own, so that none leaves memory or a broken GPU to another.
It may take half of the time that is left, the last one all of it. Whatever fails, takes too long or dies stands in the
table with its error, the rest goes on, and the exit status is 1.
"""

import argparse
import datetime
import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

PARTS = ("scoring", "head", "sampling", "training", "speed")
Row = dict[str, Any]  # see `gpu_parts.cases`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), metavar="FILE", help="default: gpu.json")
    parser.add_argument("--minutes", type=float, default=8, help="most time for all of it (default: 8)")
    parser.add_argument("--lines", type=Path, help=argparse.SUPPRESS)  # of the process of a part
    arguments = parser.parse_args()
    if arguments.lines:
        return run_here(*arguments.parts, arguments.lines)
    if not arguments.json.parent.is_dir():
        parser.error(f"--json: found no folder {arguments.json.parent}; make it first")

    end = time.monotonic() + 60 * arguments.minutes
    machine: Row = {}
    rows: list[Row] = []
    for number, part in enumerate(arguments.parts, 1):
        left = end - time.monotonic()
        seconds = left if number == len(arguments.parts) else left / 2
        found, of_part = run(part, [sys.executable, __file__, "--parts", part], seconds)
        machine |= found
        rows += of_part
    passed = not any(map(failed, rows))
    print(report(machine, rows))
    print(f"\n{'everything is fine' if passed else 'something FAILED'}; all figures are in {arguments.json}")
    result = {"date": datetime.date.today().isoformat(), "machine": machine, "passed": passed, "rows": rows}
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(not passed)


def run_here(part: str, file: Path) -> None:
    """Runs a part in this process. Lines of JSON: the machine with the names of cases, then a row for each."""
    from gpu_parts.cases import here, machine, rows
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    place = here()
    cases = importlib.import_module(f"gpu_parts.{part}").cases(place)
    with file.open("w") as stream:

        def write(line: Row) -> None:
            stream.write(json.dumps(line) + "\n")
            stream.flush()  # this process may not live to write another

        write({"machine": machine(place), "cases": [case.name for case in cases]})
        for row in rows(part, cases, place):
            write(row)


def run(part: str, command: list[str], seconds: float) -> tuple[Row, list[Row]]:
    """Runs a part in another process, for as long as it may take. Returns the machine, and a row for each case."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines"
        # What libraries print does not belong into the table.
        process = subprocess.Popen([*command, "--lines", str(file)], stdout=sys.stderr.fileno())
        try:
            status = process.wait(timeout=max(seconds, 0))
            why = f"its process ended with status {status}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            why = f"no time was left, of {seconds:.0f} s"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]  # the last one may be cut
    if not found:
        return {}, [{"part": part, "case": "start", "error": why}]
    head, *rows = found
    missing = [{"part": part, "case": case, "error": f"not finished: {why}"} for case in head["cases"][len(rows) :]]
    return head["machine"], rows + missing


def failed(row: Row) -> bool:
    """Whether a case raised an error, or differs by more than is allowed; what is not a number does."""
    return "error" in row or not all(difference <= allowed for difference, allowed in row.get("checks", {}).values())


def report(machine: Row, rows: list[Row]) -> str:
    """All that was found, for people. Of the checks of a case the one that comes nearest to what is allowed."""
    parts = [
        ", ".join(
            f"{name} {value:.0f}" if isinstance(value, float) else f"{name} {value}" for name, value in machine.items()
        )
    ]
    lines = []
    for row in rows:
        verdict = "FAILED" if failed(row) else "fine"
        checks, note = row.get("checks", {}), row.get("note", "")
        what, pair = max(checks.items(), key=lambda check: _share(*check[1]), default=("", ("", "")))
        lines.append([row["part"], row["case"], verdict, what, *pair, row.get("seconds", ""), note])
    header = ["part", "case", "", "nearest to its limit", "difference", "allowed", "seconds", ""]
    parts.append(tabulate(lines, header, floatfmt=("", "", "", "", ".1e", ".1e", ".1f", "")))
    measured = [row for row in rows if "figures" in row]
    if measured:
        names = list(dict.fromkeys(name for row in measured for name in row["figures"]))
        figures = [[row["case"], *(row["figures"].get(name) for name in names)] for row in measured]
        parts.append(tabulate(figures, ["speed", *names], floatfmt=("", *map(_digits, names))))
    parts += [f"FAILED {row['part']}, {row['case']}: {row['error']}" for row in rows if "error" in row]
    return "\n\n".join(parts)


def _share(difference: float, allowed: float) -> float:
    """Of what is allowed; the most where it is not a number."""
    if difference <= allowed:
        return difference / allowed if allowed else 0.0
    return float("inf")


def _digits(name: str) -> str:
    return {"tokens_per_second": ".0f", "utilisation": ".3f"}.get(name, ".2f")


if __name__ == "__main__":
    main()
