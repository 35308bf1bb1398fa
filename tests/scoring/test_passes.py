"""Passes over examples: within the budget, in step with other processes, and each example once."""

import random

import pytest
import torch

from sami.distributed.processes import Processes
from sami.models.pretrained import load
from sami.scoring.layout import Item
from sami.scoring.packing import passes
from sami.scoring.passes import Pass, matrices, own_passes, token_counts
from sami.scoring.scorer import Scorer

ALONE = Processes(0, 1, torch.device("cpu"))


def test_passes_share_the_tokens_and_keep_processes_in_step():
    sizes = [100, 900, 300, 50, 700, 200, 20, 400]
    plan = passes([1, 2, 3, 4, 5, 7], sizes, budget=1000, processes=3)
    assert len({len(own) for own in plan}) == 1
    assert sorted(i for own in plan for group in own for i in group) == [1, 2, 3, 4, 5, 7]
    loads = [sum(sizes[i] for group in own for i in group) for own in plan]
    assert max(loads) - min(loads) <= 300
    assert all(sum(sizes[i] for i in group) <= 1000 for own in plan for group in own)
    assert passes([0], sizes, 1000, 2) == [[[0]], [[]]]


def test_a_process_with_nothing_left_keeps_the_others_company():
    sizes = [300, 300, 300, 100]
    first, second = (own_passes([3, 1, 2], sizes, 300, Processes(rank, 2, ALONE.device)) for rank in (0, 1))
    assert first == [Pass([1], True), Pass([3], True)]
    assert second == [Pass([2], True), Pass([3], False)]
    assert own_passes([], sizes, 300, ALONE) == []


@pytest.mark.parametrize("budget", [1, 60, 10_000])
def test_matrices_are_those_of_each_example_by_itself(tiny, budget):
    draw = random.Random(0)
    tokens = lambda n: [draw.randrange(600) for _ in range(n)]  # noqa: E731
    items = [Item(f"q{q}", [tokens(8), tokens(5)], [tokens(3 + q), tokens(2)], [0, 1]) for q in range(4)]
    scorer = Scorer(load(tiny)).select_layout()
    assert token_counts(scorer, items) == [scorer.layout([item]).tokens for item in items]
    found = matrices(scorer, items, budget, ALONE, "scoring")
    for item, (sums, means) in zip(items, found, strict=True):
        expected = scorer(scorer.layout([item]))
        assert torch.allclose(torch.tensor(sums), expected.sum[0], rtol=1e-5)
        assert torch.allclose(torch.tensor(means), expected.mean[0], rtol=1e-5)
