"""What a whole run of a paper's experiment in its small variant must have left."""

import csv
from pathlib import Path

from sami.records import BASE, policy_name
from sami.settings.experiment import Experiment
from sami.workflow.policies import comparisons, policies

CI = "config/paper/common/ci.yaml"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def check_whole(folder: Path, experiment: Experiment, base: Path) -> None:
    """Tables of all policies and verdicts, and trained policies that differ from each other and from the base model.

    Args:
        folder: results of the experiment.
        experiment: its settings, with the small variant laid over them.
        base: folder of the base model, where any is trained.
    """
    summary = {row["policy"]: row for row in rows(folder / "tables/summary.csv")}
    assert list(summary) == policies(experiment)
    assert all(float(row["response_tokens"] or 1) > 0 for row in summary.values())
    verdicts = rows(folder / "tables/win_rates.csv")
    compared = {(row["policy"], row["comparator"]) for row in verdicts}
    assert compared == {(policy, policy_name(comparator)) for policy, _, comparator in comparisons(experiment)}
    for row in verdicts:
        assert 0 <= float(row["win_low"]) <= float(row["win_rate"]) <= float(row["win_high"]) <= 1
        assert int(row["n_verdicts"]) > int(row["invalid"])
    if experiment.external:
        return
    trained = [f"iteration-{t}" for t in range(1, experiment.iterations + 1)]
    weights = [folder / policy / "model/model.safetensors" for policy in trained]
    assert len({path.read_bytes() for path in (base / "model.safetensors", *weights)}) == 1 + len(trained)
    assert [row["policy"] for row in rows(folder / "tables/training.csv") if row["step"] == "1"] == trained
    information = [row for row in rows(folder / "tables/information.csv") if row["policy"] != BASE]
    assert {row["policy"] for row in information} == (set(trained) if experiment.scored else set())
