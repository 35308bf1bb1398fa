"""Speed and memory of scoring, against the way of the reference implementation, in one run on one machine.

    python benchmarks/scoring.py            # everything
    python benchmarks/scoring.py --quick    # without the 8x8 matrix

Measured is the forward and backward pass of the SAMI loss on SmolLM2-135M in float32, one query at a time.

Ours      this package: the way `shared`, one query per pass
Baseline  written below from the description of the reference implementation (arXiv 2404.14313): for each query C x R
          full sequences of prompt and response, padded on the right, in one batch; logits of the whole vocabulary at
          every position; log-softmax over them; gather of the next tokens; mask of prompt and padding; mean. Model and
          attention (transformers' default, sdpa) are the same library's, and it gets two favours: no key-value cache is
          kept, and no second copy of the logits is made to shift them.

The 64 sequences of an 8x8 matrix do not fit 24 GiB in one pass of the baseline. There it runs the eight sequences of
one constitution at a time, each forward and then backward of sum(g * s), where g = dLoss/ds was taken from an untimed
pass of ours. That is the same arithmetic and the same gradient, without the memory.

The queries are Reddit posts under constitutions of the paper's summarisation task, with summaries by five models, read
from `shared/data/sami-tldr-released` beside the checkout. Where that folder is absent, random tokens of the same
lengths take their place: the arithmetic is the same. Losses and gradients of both must agree, else the command fails.

A ratio is the baseline's median time over queries divided by ours. Peak memory is that of a fresh process each, for
one pass. `flop_utilisation` relates our 2x2 passes to the rate of plain matrix products measured in the same run.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import psutil
import torch
from common import ROOT, machine, matmul_rates, model_folder, our_pass, own_scorer, say, table, timed
from tqdm import tqdm
from transformers import PreTrainedModel

from sami.models.pretrained import load, load_tokenizer
from sami.objectives import sami
from sami.scoring.head import chunk_size
from sami.scoring.layout import Item
from sami.scoring.scorer import Scorer
from sami.scoring.trees import shared

RELEASED = ROOT.parent / "shared" / "data" / "sami-tldr-released"
CONSTITUTIONS = [  # file and side; all differ after at most nine tokens, so that little of them can be encoded once
    ("mistral/0", "positive"),
    ("mistral/0", "negative"),
    ("opus/3", "positive"),
    ("opus/3", "negative"),
    ("mistral/3", "positive"),
    ("mistral/3", "negative"),
    ("opus/0", "positive"),
    ("opus/0", "negative"),
]
LONGEST_SUMMARY = 128  # tokens: longer ones mostly ran on until the sampler stopped them, and the recipe drops those
# The same in tokens, as SmolLM2 counts them and with the blank lines: for use without the files above.
CONSTITUTION_TOKENS = [39, 35, 102, 102, 39, 34, 102, 102]
POST_TOKENS = {0: 203, 1: 219, 2: 321, 3: 337, 4: 205}
SUMMARY_TOKENS = {
    0: [37, 46, 39, 36, 51, 42, 57, 46],
    1: [42, 57, 46, 38, 56, 106, 113, 87],
    2: [106, 113, 87, 74, 123, 60, 69, 75],
    3: [74, 123, 60, 69, 75, 103, 49, 49],
    4: [75, 103, 49, 49, 34, 108, 45, 93],
}
ANSWER_TOKENS = 3  # of "Summary: "

CHECKED = "model.layers.15.self_attn.q_proj.weight"  # the parameter whose gradients are compared
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3  # relative


@dataclass(frozen=True)
class Case:
    """One size of matrix: C = R = `size`, for the posts with these numbers."""

    name: str
    size: int
    posts: tuple[int, ...]
    query_first: bool = False
    split: bool = False  # the baseline runs one constitution at a time; such a case has one post

    def items(self) -> list[Item]:
        """The queries as tokens; response j belongs to constitution j."""
        make = _released if RELEASED.is_dir() else _random
        prompts_and_responses = make(self)
        labels = list(range(self.size))
        return [
            Item(f"post {post}", prompts, responses, labels)
            for post, (prompts, responses) in zip(self.posts, prompts_and_responses, strict=True)
        ]


CASES = [  # of the first five posts; where memory is short, the shorter ones
    Case("2x2", 2, (0, 1, 2, 3, 4)),
    Case("4x4", 4, (0, 1, 4)),
    Case("8x8", 8, (1,), split=True),
    Case("4x4_query_first", 4, (0, 1, 4), query_first=True),
]
MEMORY_CASE = Case("4x4", 4, (4,))


def _released(case: Case) -> list[tuple[list[list[int]], list[list[int]]]]:
    """Prompts and responses of each post of a case, from the released files."""
    tokenizer = load_tokenizer(model_folder())
    encode = lambda text: tokenizer(text)["input_ids"]  # noqa: E731
    read = lambda path: json.loads((RELEASED / path).read_text())  # noqa: E731
    constitutions = [read(f"constitutions_{name}.json")[side] for name, side in CONSTITUTIONS[: case.size]]
    by_model = [read(file) for file in sorted((RELEASED / "responses").glob("*.json"))]
    cases = []
    for number in case.posts:
        post = by_model[0]["question"][str(number)]
        parts = [(post, text) if case.query_first else (text, post) for text in constitutions]
        neighbours = [str(number + further) for further in range(case.size)]
        texts = dict.fromkeys(answers["response"][i] for i in neighbours for answers in by_model)  # no text twice
        summaries = [ids for ids in map(encode, texts) if len(ids) <= LONGEST_SUMMARY]
        cases.append(([encode("\n\n".join([*pair, "Summary: "])) for pair in parts], summaries[: case.size]))
    return cases


def _random(case: Case) -> list[tuple[list[list[int]], list[list[int]]]]:
    """Random tokens of the same lengths."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda length: torch.randint(1000, 40000, (length,), generator=generator).tolist()  # noqa: E731
    constitutions, answer = [draw(length) for length in CONSTITUTION_TOKENS[: case.size]], draw(ANSWER_TOKENS)
    cases = []
    for number in case.posts:
        post = draw(POST_TOKENS[number])
        prompts = [(post + text if case.query_first else text + post) + answer for text in constitutions]
        cases.append((prompts, [draw(length) for length in SUMMARY_TOKENS[number][: case.size]]))
    return cases


def baseline_scores(model: PreTrainedModel, prompts: list[list[int]], responses: list[list[int]]) -> torch.Tensor:
    """(C, R) mean log-probability of every response after every prompt, from full sequences and full logits."""
    pairs = [(prompt, response) for prompt in prompts for response in responses]
    length = max(len(prompt) + len(response) for prompt, response in pairs)
    input_ids = torch.zeros(len(pairs), length, dtype=torch.long)  # (C R, L)
    attention_mask = torch.zeros_like(input_ids)
    answer = torch.zeros(len(pairs), length)  # 1 where the next token belongs to the response
    for row, (prompt, response) in enumerate(pairs):
        end = len(prompt) + len(response)
        input_ids[row, :end] = torch.tensor(prompt + response)
        attention_mask[row, :end] = 1
        answer[row, len(prompt) - 1 : end - 1] = 1
    logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits  # (C R, L, V)
    following = input_ids.roll(-1, dims=1)  # the first token, which arrives at the end, is masked
    chosen = logits.log_softmax(-1).gather(2, following[:, :, None]).squeeze(2)
    return ((chosen * answer).sum(1) / answer.sum(1)).view(len(prompts), len(responses))


def baseline_pass(model: PreTrainedModel, item: Item) -> float:
    """Forward and backward pass of the loss by the baseline."""
    loss = sami(baseline_scores(model, item.prompts, item.responses)[None], torch.tensor([item.labels])).loss.mean()
    loss.backward()
    return loss.item()


def split_baseline_pass(model: PreTrainedModel, item: Item, gradient: torch.Tensor) -> float:
    """The same for one constitution at a time, given (C, R) dLoss/ds."""
    scores = []
    for prompt, row in zip(item.prompts, gradient, strict=True):
        own = baseline_scores(model, [prompt], item.responses)
        (row * own[0]).sum().backward()
        scores.append(own.detach())
    return sami(torch.cat(scores)[None], torch.tensor([item.labels])).loss.item()


@dataclass(frozen=True)
class Run:
    """One query by both.

    baseline, ours: seconds. padded, encoded: tokens that the baseline and ours run through the model. predicted: tokens
    whose log-probability is asked for. differences: relative, of the loss and of a gradient.
    """

    query: str
    baseline: float
    ours: float
    padded: int
    encoded: int
    predicted: int
    differences: tuple[float, float]


def measure(
    case: Case, items: list[Item], model: PreTrainedModel, scorer: Scorer, repeats: int, bar: tqdm
) -> Iterator[Run]:
    """Times both on each query of a case, in turns, after a warm-up of each, and checks that they agree."""
    gradient = our_pass(scorer, items[:1])[1][0]  # the warm-up, and what `split` needs
    prompts = items[0].prompts[:1] if case.split else items[0].prompts
    baseline_scores(model, prompts, items[0].responses).sum().backward()
    bar.update(work(case, items[:1]))
    for item in items * repeats:
        scorer.model.zero_grad()  # what it holds would only add to the memory that the baseline needs
        known = (gradient,) if case.split else ()
        run = split_baseline_pass if case.split else baseline_pass
        baseline_seconds, baseline_loss = timed(model, partial(run, model, item, *known))
        seconds, (loss, _) = timed(scorer.model, partial(our_pass, scorer, [item]))
        differences = differ(f"{case.name}, {item.name}", (baseline_loss, model), (loss, scorer.model))
        layout = shared([item])
        tokens = padded_tokens(case, item), layout.tokens, len(layout.target)
        yield Run(item.name, baseline_seconds, seconds, *tokens, differences)
        bar.update(work(case, [item]))


def padded_tokens(case: Case, item: Item) -> int:
    """Tokens that the baseline runs through the model, padding among them."""
    batches = [[prompt] for prompt in item.prompts] if case.split else [item.prompts]
    longest = max(map(len, item.responses))
    return sum(len(batch) * len(item.responses) * (max(map(len, batch)) + longest) for batch in batches)


def work(case: Case, items: list[Item]) -> int:
    """Tokens of both, by which the progress bar advances."""
    return sum(padded_tokens(case, item) + shared([item]).tokens for item in items)


def differ(
    where: str, baseline: tuple[float, PreTrainedModel], ours: tuple[float, PreTrainedModel]
) -> tuple[float, float]:
    """By how much two losses differ, and a gradient that the two models hold now. Both relative.

    Ends the program if that is more than rounding: then no time means anything.
    """
    (expected, model), (loss, own_model) = baseline, ours
    gradient = model.get_parameter(CHECKED).grad
    by_loss = abs(loss - expected) / abs(expected)
    by_gradient = float((own_model.get_parameter(CHECKED).grad - gradient).norm() / gradient.norm())
    if not (by_loss <= LOSS_TOLERANCE and by_gradient <= GRADIENT_TOLERANCE):
        sys.exit(
            f"error: {where}: ours and the baseline disagree. Loss {loss:.6f} and {expected:.6f} (relative difference "
            f"{by_loss:.1e}, allowed {LOSS_TOLERANCE:.0e}); gradient of {CHECKED}: relative difference "
            f"{by_gradient:.1e}, allowed {GRADIENT_TOLERANCE:.0e}."
        )
    return by_loss, by_gradient


def report(case: Case, runs: list[Run]) -> float:
    """Prints the table of a case. Returns the ratio of medians."""
    rows = [[r.query, r.padded, r.encoded, r.baseline, r.ours, r.baseline / r.ours] for r in runs]
    medians = [statistics.median(r.baseline for r in runs), statistics.median(r.ours for r in runs)]
    ratio = medians[0] / medians[1]
    rows.append(["median", "", "", *medians, ratio])
    for name, extreme in (("least", min), ("most", max)):
        rows.append([name, "", "", *(extreme(row[column] for row in rows[: len(runs)]) for column in (3, 4, 5))])
    how = "the baseline one constitution at a time" if case.split else "the baseline in one batch"
    order = "query, then constitution" if case.query_first else "constitution, then query"
    say(f"\n{case.name}: {order}; {how}")
    say(table(["query", "tokens baseline", "tokens ours", "s baseline", "s ours", "ratio"], rows))
    by_loss, by_gradient = (max(differences) for differences in zip(*(r.differences for r in runs), strict=True))
    say(f"both agree: the loss to {by_loss:.0e}, the gradient of {CHECKED} to {by_gradient:.0e}")
    return ratio


# Ours by its activation checkpointing; all other figures are of "selective".
MEMORY_OF = ["baseline", "selective", "full"]


def memory_of(which: str) -> dict[str, float]:
    """Peak memory and time of one pass, in a fresh process. Runs this script with the hidden flag."""
    command = [sys.executable, __file__, "--memory", which]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()[-1])


def print_memory(which: str) -> None:
    """One pass of `MEMORY_CASE`: memory of this process in GiB, and seconds of a second pass, as a line of JSON."""
    (item,) = MEMORY_CASE.items()
    scorer = None if which == "baseline" else own_scorer(which)
    model = load(model_folder()) if which == "baseline" else scorer.model
    for parameter in model.parameters():
        parameter.sum()  # until they are read, weights stand in the file only
    loaded = psutil.Process().memory_info().rss / 2**30
    run = partial(baseline_pass, model, item) if which == "baseline" else partial(our_pass, scorer, [item])
    run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    seconds, _ = timed(model, run)
    print(json.dumps({"loaded": loaded, "peak": peak, "seconds": seconds}))


def matmul_shapes(model: PreTrainedModel, item: Item) -> list[tuple[int, int, int]]:
    """Products (m, k) x (k, n) by which the machine is rated: a large square, and the model's own for one query."""
    config, head, layout = model.config, model.get_output_embeddings().weight, shared([item])
    narrow, wide, tokens = config.hidden_size, config.intermediate_size, layout.tokens
    of_layers = [(tokens, narrow, narrow), (tokens, narrow, wide), (tokens, wide, narrow)]
    return [(2048, 2048, 2048), *of_layers, (min(len(layout.target), chunk_size(head)), narrow, head.shape[0])]


def flop_utilisation(model: PreTrainedModel, runs: list[Run], moments: list[dict]) -> float:
    """Prints, and returns, the share of the machine's product rate that our passes over `runs` make use of."""
    giga = lambda values: [f"{value / 1e9:.0f}" for value in values]  # noqa: E731
    best = [max(moment.values()) for moment in moments]
    rows = [[" x ".join(map(str, shape)), *giga(moment[shape] for moment in moments)] for shape in moments[0]]
    say("\nfloat32 matrix products (m, k) x (k, n), GFLOP/s at moments of this run, the best of several each")
    say(table(["m x k x n", *map(str, range(1, len(moments) + 1))], [*rows, ["best", *giga(best)]]))
    layers = sum(parameter.numel() for parameter in model.base_model.layers.parameters())
    head = model.get_output_embeddings().weight.numel()
    rates = [6 * (layers * run.encoded + head * run.predicted) / run.ours for run in runs]
    achieved, available = statistics.median(rates), statistics.median(best)
    least, most, median, products = giga([min(rates), max(rates), achieved, available])
    say(
        f"arithmetic of a query at 2x2: 6 x ({layers:,} parameters of the layers x encoded tokens + {head:,} of the "
        "vocabulary head x predicted tokens); attention scores and what is computed twice do not count\n"
        f"ours {median} GFLOP/s (median; {least} to {most}), products {products} GFLOP/s (median of the best)"
    )
    return achieved / available


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out the 8x8 matrix, which takes longest")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="time each query N times (default: 1)")
    parser.add_argument("--memory", choices=MEMORY_OF, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error("--repeats: expected 1 or more")
    if arguments.memory:
        return print_memory(arguments.memory)

    say(machine())
    say(
        "baseline: C x R full sequences of a query, padded on the right, in one batch; logits, log-softmax and gather "
        "of the whole vocabulary at every position (8x8: one constitution at a time, for want of memory)"
    )
    real = "the paper's summarisation task (shared/data/sami-tldr-released)"
    say(f"queries: {'posts of' if RELEASED.is_dir() else 'random tokens, as many as in posts of'} {real}")
    model_folder()
    items = {case: case.items() for case in CASES if not (arguments.quick and case.split)}
    (of_memory,) = MEMORY_CASE.items()
    total = sum(work(case, queries[:1] + queries * arguments.repeats) for case, queries in items.items())
    results, moments = {}, []
    with tqdm(total=total + work(MEMORY_CASE, [of_memory]), unit="tok", unit_scale=True, dynamic_ncols=True) as bar:
        bar.set_description("memory")  # first, while this process is small: Linux counts its memory towards theirs
        memory = {which: memory_of(which) for which in MEMORY_OF}
        say(f"\nmemory of a process, GiB: one pass of 4x4, {of_memory.name}; ours with two kinds of checkpointing")
        rows = [[which, *figures.values()] for which, figures in memory.items()]
        say(table(["", "model loaded", "peak", "seconds"], rows))
        bar.update(work(MEMORY_CASE, [of_memory]))

        model, scorer = load(model_folder()), own_scorer()
        rate = partial(matmul_rates, matmul_shapes(model, items[CASES[0]][0]))
        moments.append(rate())
        for case, queries in items.items():
            bar.set_description(case.name)
            runs = []
            for run in measure(case, queries, model, scorer, arguments.repeats, bar):
                runs.append(run)
                if case is CASES[0]:
                    moments.append(rate())
            results[f"ratio_{case.name}"] = report(case, runs)
            if case is CASES[0]:
                rated = runs
            else:
                moments.append(rate())

    results["memory_ratio_4x4_full"] = memory["baseline"]["peak"] / memory["full"]["peak"]
    results["memory_ratio_4x4"] = memory["baseline"]["peak"] / memory["selective"]["peak"]
    results["flop_utilisation"] = flop_utilisation(model, rated, moments)
    say()
    for name, value in results.items():
        say(f"{name}={value:.2f}")


if __name__ == "__main__":
    main()
