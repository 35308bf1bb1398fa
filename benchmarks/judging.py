"""How close judging through an endpoint comes to the time that its latency and concurrency allow.

    python benchmarks/judging.py

A small real server on this machine answers every request after a fixed latency. The baseline is the ideal: all requests
packed without a gap, latency x requests / concurrency. Two times are set against it: from the first request to the last
answer, as the server saw them, and the whole command, with starting Python and reading and writing records. A second
run from the kept answers sends nothing. With faults (429, 500, stalls, dropped connections, broken and refused answers)
the ideal is the time that the server spent on all requests, the failed ones included, over the concurrency.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import judged
from judge_server import judge_server, requests_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--faults", type=float, default=0.3, help="share of requests that fail in the second part")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    for faults in (0.0, arguments.faults):
        rounds = [measure(arguments, faults, seed) for seed in range(arguments.repeats)]
        suffix = f"_faults_{faults:g}" if faults else ""
        for name in rounds[0]:
            values = sorted(found[name] for found in rounds)
            print(f"{name}{suffix}={values[len(values) // 2]:.3f}  # {values[0]:.3f} to {values[-1]:.3f}", flush=True)


def measure(arguments: argparse.Namespace, faults: float, seed: int) -> dict[str, float]:
    """Seconds and ratios of one run, and of its repetition from the kept answers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags, log = judged.write_responses(folder / "in", arguments.verdicts), folder / "log"
        with judge_server(log, latency=arguments.latency, faults=faults, seed=seed) as url:
            judge = {**judged.JUDGE, "base_url": url, "orders": "random"}
            limits = {"concurrency": arguments.concurrency, "timeout_seconds": 1.0, "retries": 20}
            seconds = timed(folder, flags, judge, "first.jsonl", limits)
            served = requests_of(log)
            again = timed(folder, flags, judge, "second.jsonl", limits)
            if len(requests_of(log)) != len(served):
                sys.exit("error: the second run has sent requests.")
        if (folder / "first.jsonl").read_bytes() != (folder / "second.jsonl").read_bytes():
            sys.exit("error: the second run has given other verdicts.")
    asking = max(line["at"] + line["seconds"] for line in served) - min(line["at"] for line in served)
    ideal = arguments.verdicts * arguments.latency / arguments.concurrency
    if faults:
        ideal = sum(line["seconds"] for line in served) / arguments.concurrency
    return {
        "requests": len(served),
        "ideal_seconds": ideal,
        "asking_seconds": asking,
        "command_seconds": seconds,
        "cached_seconds": again,
        "asking_ratio": asking / ideal,
        "command_ratio": seconds / ideal,
    }


def timed(folder: Path, flags: list[str], judge: dict, output: str, limits: dict) -> float:
    """Seconds that the stage takes."""
    started = time.perf_counter()
    done = judged.run(folder, flags, judge, output, **limits)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
