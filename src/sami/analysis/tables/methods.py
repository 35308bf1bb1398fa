"""Tables of methods side by side: one for each of the two questions that a policy can be asked, over all seeds.

A row is an arm: the last policy that an experiment trained, or a policy that it evaluates beside those (the base model,
the base model told what is wanted, the best of several responses). What arms share is there once.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sami.analysis.statistics.bootstrap import Interval, bootstrap_over_seeds
from sami.analysis.statistics.significance import sign_flip_test
from sami.analysis.tables import files
from sami.analysis.tables.catalogue import OF_ARMS
from sami.analysis.tables.measures import Measure, Values, read
from sami.analysis.tables.rows import NOTHING, Estimator, Row, cells, with_holm
from sami.analysis.tables.seeds import check_runs, check_same_queries
from sami.lineage import Cost
from sami.records import BASE, iteration_of, last_trained
from sami.settings.evaluation import Question

BySeed = dict[int, Values]  # seed -> query id -> values


@dataclass(frozen=True)
class Experiment:
    """An experiment of a comparison.

    name, method: of the experiment, and of its method.
    question: what its policies were asked.
    tables: folder of tables of the run with each seed, in the order of the seeds.
    costs: of its last trained policy with each seed; none where they are not known.
    """

    name: str
    method: str
    question: Question
    tables: Sequence[Path]
    costs: Sequence[Cost]


@dataclass(frozen=True)
class Arm:
    """A policy of an experiment, with each seed.

    judges, comparators: of the experiment, in its order.
    """

    experiment: Experiment
    policy: str
    judges: list[str]
    comparators: list[str]
    measured: dict[int, dict[Measure, Values]]
    lc_win_rates: list[float]

    @property
    def trained(self) -> bool:
        return bool(iteration_of(self.policy))

    @property
    def name(self) -> str:
        """The experiment's for a policy that it trained; else the policy's."""
        return self.experiment.name if self.trained else "base" if self.policy == BASE else self.policy

    def values(self, name: str, judge: int | None = None, comparator: int = 0) -> BySeed:
        """Seed -> values of a measure, empty where it has none; of verdicts by the judge and comparator of a number."""
        of = ("", "")
        if judge is not None:
            if judge >= len(self.judges) or comparator >= len(self.comparators):
                return {}
            of = self.comparators[comparator], self.judges[judge]
        found = {seed: measured.get(Measure(self.policy, name, *of), {}) for seed, measured in self.measured.items()}
        return found if all(found.values()) else {}


def load(seeds: Sequence[int], experiments: Sequence[Experiment], queries: Sequence[Path]) -> list[Arm]:
    """Reads what is compared, arm by arm, in the order of the experiments, trained policies first.

    Args:
        seeds: of the runs of each experiment.
        experiments: what is compared.
        queries: held-out queries of each run of each experiment, one experiment after the other.

    Raises:
        UserError: experiments have other runs than one a seed, or other held-out queries than the first.
    """
    count = len(seeds)
    for number, experiment in enumerate(experiments):
        check_runs(seeds, queries[number * count : (number + 1) * count], experiment.tables)
    check_same_queries(queries[::count])
    arms = [arm for experiment in experiments for arm in _arms(experiment, seeds)]
    once: dict[tuple, Arm] = {}
    for arm in arms:
        once.setdefault((arm.experiment.question, arm.name), arm)
    return list(once.values())


def _arms(experiment: Experiment, seeds: Sequence[int]) -> Iterator[Arm]:
    measured = {
        seed: read(files.read(folder, "measures")) for seed, folder in zip(seeds, experiment.tables, strict=True)
    }
    rates = [files.read(folder, "win_rates") for folder in experiment.tables]
    judges, comparators = (list(dict.fromkeys(rates[0][column])) for column in ("judge", "comparator"))
    policies = list(dict.fromkeys(of.policy for of in measured[seeds[0]]))
    last = last_trained(policies)
    for policy in [last, *(name for name in policies if not iteration_of(name))]:
        lc = [_lc_win_rate(table, policy, judges[0], comparators[0]) for table in rates]
        yield Arm(experiment, policy, judges, comparators, measured, lc)


def _lc_win_rate(table, policy: str, judge: str, comparator: str) -> float:
    of = table[(table["policy"] == policy) & (table["judge"] == judge) & (table["comparator"] == comparator)]
    return float(of["lc_win_rate"].iloc[0]) if len(of) else math.nan


def steerability(arms: Sequence[Arm], estimator: Estimator, split: str = "eval") -> list[Row]:
    """Policies that were told what is wanted, and what is not: do they do it?"""
    return _rows([arm for arm in arms if arm.experiment.question == "steerability"], estimator, split)


def internalising(arms: Sequence[Arm], estimator: Estimator, split: str = "eval") -> list[Row]:
    """Policies that were asked the query alone: do they do what is wanted?"""
    return _rows([arm for arm in arms if arm.experiment.question == "internalising"], estimator, split)


def _rows(arms: Sequence[Arm], estimator: Estimator, split: str) -> list[Row]:
    """One row an arm; differences in win rate are to the first one, and p-values are corrected for their number."""
    rows = [_row(arm, estimator) | {"split": split} for arm in arms]
    tested = []
    for arm, row in zip(arms, rows, strict=True):
        row |= _difference(arm, arms[0], estimator)
        tested += [row] if "p" in row else []
    for row, adjusted in zip(tested, with_holm(tested), strict=True):
        row |= adjusted
    return rows


def _row(arm: Arm, estimator: Estimator) -> Row:
    names = {"judge": arm.judges, "comparator": arm.comparators}
    row: Row = {"arm": arm.name, "method": arm.experiment.method if arm.trained else "", "policy": arm.policy}
    row |= {name: of[0] for name, of in names.items()}
    row |= {f"other_{name}": of[1] if len(of) > 1 else "" for name, of in names.items()}
    row |= cells("win_rate", _mean(arm.values("win_rate", judge=0), estimator))
    row |= cells("other_judge_rate", _mean(arm.values("win_rate", judge=1), estimator))
    row |= cells("other_comparator_rate", _mean(arm.values("win_rate", judge=0, comparator=1), estimator))
    row["lc_win_rate"] = float(np.mean(arm.lc_win_rates))
    for name in OF_ARMS:
        row |= cells(name, _mean(arm.values(name), estimator))
    row |= _cost(arm)
    asked = {query for of_seed in arm.values("response_words").values() for query in of_seed}
    return row | {"n_seeds": len(arm.measured), "n_queries": len(asked)}


def _mean(values: BySeed, estimator: Estimator) -> Interval:
    return bootstrap_over_seeds(values, **asdict(estimator)) if values else NOTHING


def _cost(arm: Arm) -> Row:
    """Means over seeds of what the policy took; nothing for a policy that was not trained."""
    costs = arm.experiment.costs if arm.trained else [Cost({}, 0.0)]
    if not costs:
        return {}
    row: Row = {
        f"{work}_tokens": float(np.mean([cost.tokens.get(work, 0) for cost in costs]))
        for work in ("sampled", "scored", "trained")
    }
    row["forward_tokens"] = float(np.mean([cost.forward_tokens for cost in costs]))
    return row | {"minutes": float(np.mean([cost.seconds for cost in costs])) / 60}


def _difference(arm: Arm, first: Arm, estimator: Estimator) -> Row:
    """Cells of the paired difference in win rate to the first arm's; none of itself, or where one has no win rate.

    Pairs are the queries under one seed. The interval is over seeds and queries; the p-value of no difference flips
    signs query by query, over the sum of all seeds, so it takes these seeds as they are.
    """
    own, other = (side.values("win_rate", judge=0) for side in (arm, first))
    if arm is first or not own or not other:
        return {}
    pairs: dict[int, Mapping[str, list[float]]] = {
        seed: {q: [float(np.mean(of[q])) - float(np.mean(other[seed][q]))] for q in of if q in other[seed]}
        for seed, of in own.items()
    }
    if not all(pairs.values()):
        return {}
    interval = bootstrap_over_seeds(pairs, **asdict(estimator))
    shared = sorted({query for of_seed in pairs.values() for query in of_seed})
    sums = [sum(sum(of_seed.get(query, ())) for of_seed in pairs.values()) for query in shared]
    return cells("difference", interval) | {"p": sign_flip_test(sums, estimator.samples, estimator.seed)}
