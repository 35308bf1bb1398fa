"""How fast responses are sampled: in slots, by the library's `generate`, and by the loop that was here before.

    python benchmarks/sampling.py            # 128 prompts of the quickstart; run it alone on the machine
    python benchmarks/sampling.py --quick    # 32 prompts, one round

All draw the same responses from the same streams, alternating in one process. Printed are the ratios of seconds:
`ratio_vs_generate16` to `generate` with dynamic cache at a batch of 16, `ratio_vs_generate_best` to the best of several
batch sizes, `ratio_vs_before` to the library's loop with static cache that slots replaced (`sami.sampling.library`), at
the quickstart's batch size; `ratio_eight_vs_before` the same with eight responses to a prompt. `utilisation` is the
arithmetic of the tokens that have to be encoded, each prompt once, over what products of the model's shapes reach on
this machine. `memory_ratio` is the most memory of a process that samples in slots over that of one with `generate` at
its best batch size, the model included.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

import torch
from common import machine, matmul_rates, model_folder, say
from transformers import LogitsProcessorList

from sami.data.constitutions import build, by_set, empty_examples
from sami.data.principles import from_people, load
from sami.data.prompts import example_prompts, prompt_tokens
from sami.data.queries import load as load_queries
from sami.models import pretrained
from sami.sampling import library
from sami.sampling.completion import completion
from sami.sampling.draws import uniforms
from sami.sampling.sampler import Request
from sami.sampling.transformers_sampler import TransformersSampler
from sami.settings.principles import Constitutions
from sami.settings.sampling import Sampling
from sami.settings.tasks import Task
from sami.settings.yaml_files import load_yaml

BATCHES = (16, 32, 64, 128)
HOW = Sampling(temperature=0.7, max_new_tokens=48, batch_size=64)


def requests_of(count: int, tokenizer, each: int = 1) -> list[Request]:
    """The first responses that the quickstart samples for training, `each` times."""
    task = load_yaml("config/tasks/everyday.yaml", Task)
    settings = Constitutions(writer="human", principles="everyday", per_set=2, statements=1, negate="all")
    constitutions = build(from_people(load("config/constitutions/everyday.yaml"), "human"), settings, 1)
    queries = {query.id: query for query in load_queries(task.train, "everyday")}
    examples = empty_examples(list(queries), by_set(constitutions), None, "iteration-0", 1, True)
    known = {constitution.id: constitution for constitution in constitutions}
    found = []
    for example in examples:
        prompts = example_prompts(example, queries, known, task.prompts, task.prompts.generation)
        for side, prompt in enumerate(prompts):
            tokens = prompt_tokens(prompt, tokenizer)
            found += [Request(tokens, f"{example.query_id}-{side}-{n}") for n in range(each)]
    return found[:count]


@torch.inference_mode()
def by_generate(sampler: TransformersSampler, requests: list[Request], batch: int) -> list[list[int]]:
    """The library's `generate`, with its defaults but for our draws, in batches sorted by length."""
    order = sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt))
    found: dict[int, list[int]] = {}
    for start in range(0, len(order), batch):
        some = order[start : start + batch]
        inputs = sampler.tokenizer.pad({"input_ids": [requests[i].prompt for i in some]}, return_tensors="pt")
        length = inputs["input_ids"].shape[1]
        points = uniforms([requests[i].key for i in some], HOW.max_new_tokens)
        output = sampler.model.generate(
            **inputs,
            max_new_tokens=HOW.max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=sampler.tokenizer.pad_token_id,
            eos_token_id=sampler.ends,
            logits_processor=LogitsProcessorList([library.InverseTransform(points, length, HOW)]),
        )
        for i, tokens in zip(some, output[:, length:].tolist(), strict=True):
            found[i] = completion(tokens, sampler.tokenizer, sampler.ends, []).token_ids
    return [found[i] for i in range(len(requests))]


def slots(sampler: TransformersSampler, requests: list[Request]) -> list[list[int]]:
    return [drawn.token_ids for drawn in sampler.generate(requests, HOW, [])]


def before(sampler: TransformersSampler, requests: list[Request]) -> list[list[int]]:
    drawn = library.generate(sampler.model, sampler.tokenizer, sampler.ends, requests, HOW, [])
    return [one.token_ids for one in drawn]


def alternate(ways: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, one after the other, `rounds` times; and a warning where they draw different tokens."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        drawn = {}
        for name, run in ways.items():
            start = time.perf_counter()
            drawn[name] = run()
            seconds[name].append(time.perf_counter() - start)
            say(f"round {number + 1}: {name} {seconds[name][-1]:.1f} s")
        first = next(iter(drawn.values()))
        for name, tokens in drawn.items():
            same = sum(map(list.__eq__, tokens, first)) / len(first)
            if same < 1:  # a sum that is rounded otherwise may tip a draw
                say(f"  {name}: {same:.1%} of the responses are the same tokens")
    return seconds


def needed_flop(sampler: TransformersSampler, requests: list[Request], drawn: list[list[int]]) -> float:
    """Arithmetic of the linear layers for every token, equal prompts once, and of the head where it is asked."""
    config = sampler.model.config
    body = sum(p.numel() for n, p in sampler.model.named_parameters() if p.ndim == 2 and "embed" not in n)
    head = config.vocab_size * config.hidden_size
    prompts = {tuple(request.prompt) for request in requests}
    new = sum(map(len, drawn))
    return 2 * body * (sum(map(len, prompts)) + new - len(drawn)) + 2 * head * new


def memory(way: str, arguments: argparse.Namespace) -> float:
    """MiB that a way takes at most, in a process of its own."""
    command = [sys.executable, __file__, "--count", str(arguments.count), "--memory-of", way]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure_memory(way: str, sampler: TransformersSampler, requests: list[Request]) -> float:
    slots(sampler, requests) if way == "slots" else by_generate(sampler, requests, int(way))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the prompts, one round")
    parser.add_argument("--count", type=int, default=128, help="prompts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.count, arguments.rounds = 32, 1
    folder = model_folder()
    sampler = TransformersSampler(folder, pretrained.load_tokenizer(folder))
    requests = requests_of(arguments.count, sampler.tokenizer)
    if arguments.memory_of:
        print(measure_memory(arguments.memory_of, sampler, requests))
        return
    say(machine())
    slots(sampler, requests[:8])
    ways = {"slots": lambda: slots(sampler, requests), "before": lambda: before(sampler, requests)}
    ways |= {f"generate{b}": lambda b=b: by_generate(sampler, requests, b) for b in BATCHES if b <= len(requests)}
    seconds = {name: statistics.median(found) for name, found in alternate(ways, arguments.rounds).items()}
    drawn = slots(sampler, requests)
    eight = requests_of(arguments.count, sampler.tokenizer, each=8)
    ways = {"slots, eight a prompt": lambda: slots(sampler, eight), "before, eight": lambda: before(sampler, eight)}
    ours, others = (statistics.median(found) for found in alternate(ways, arguments.rounds).values())
    best = min((name for name in seconds if name.startswith("generate")), key=lambda name: seconds[name])
    config = sampler.model.config
    shapes = [(HOW.batch_size, config.hidden_size, config.intermediate_size),
              (HOW.batch_size, config.intermediate_size, config.hidden_size)]  # fmt: skip
    rate = statistics.mean(matmul_rates(shapes).values())
    tokens = sum(map(len, drawn))
    say(f"{len(requests)} prompts of {sum(len(r.prompt) for r in requests)} tokens, {tokens} drawn; best is {best}; "
        f"products run at {rate / 1e9:.0f} GFLOP/s, responses at {tokens / seconds['slots']:.0f} tokens/s")  # fmt: skip
    print(f"ratio_vs_generate16={seconds['generate16'] / seconds['slots']:.2f}")
    print(f"ratio_vs_generate_best={seconds[best] / seconds['slots']:.2f}")
    print(f"ratio_vs_before={seconds['before'] / seconds['slots']:.2f}")
    print(f"ratio_eight_vs_before={others / ours:.2f}")
    print(f"utilisation={needed_flop(sampler, requests, drawn) / seconds['slots'] / rate:.2f}")
    print(f"memory_ratio={memory('slots', arguments) / memory(best.removeprefix('generate'), arguments):.2f}")


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
