"""The short table of an experiment on the terminal."""

import subprocess
import sys

import pytest
from tabulated import SUMMARY_COLUMNS

from sami.analysis import summary
from sami.errors import UserError


def test_terminal_summary(tmp_path):
    path = tmp_path / "summary.csv"
    path.write_text(
        SUMMARY_COLUMNS + "\n0,0.0712,0.0500,0.0911,0.7292,0.7083,,,,44.1042,0.0000,48,iteration-0,,eval\n"
        "1,0.2149,0.1511,0.2702,0.8646,0.8438,0.6302,0.5573,0.7031,38.2500,0.0104,48,iteration-1,0.6111,eval\n"
        ",,,,,,0.5000,0.4000,0.6000,40.0000,0.0000,96,instruct,0.5111,test\n"
    )
    assert summary.format(str(path)).splitlines() == [
        "iteration  bound (nats)       row accuracy  column accuracy  win rate      tokens  degenerate  queries",
        "---------  -----------------  ------------  ---------------  ------------  ------  ----------  -------",
        "0 (base)   0.07 [0.05, 0.09]  73%           71%              -             44      0.0%        48 eval",
        "1          0.21 [0.15, 0.27]  86%           84%              63% [56, 70]  38      1.0%        48 eval",
        "instruct   -                  -             -                50% [40, 60]  40      0.0%        96 test",
    ]


def test_terminal_summary_without_scores_has_no_columns_of_them(tmp_path):
    path = tmp_path / "summary.csv"
    path.write_text(SUMMARY_COLUMNS + "\n0,,,,,,,,,44.1042,0.0000,48,iteration-0,,eval\n")
    assert summary.format(str(path)).splitlines() == [
        "iteration  win rate  tokens  degenerate  queries",
        "---------  --------  ------  ----------  -------",
        "0 (base)   -         44      0.0%        48 eval",
    ]


def test_terminal_summary_imports_nothing_heavy(experiment):
    _, folder = experiment
    path = str(folder / "summary.csv")
    code = f"import sys; from sami.analysis import summary; summary.format({path!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "numpy", "torch", "matplotlib"} & set(done.stdout.split())


def test_terminal_summary_says_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        summary.format(str(tmp_path / "summary.csv"))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a summary table"):
        summary.format(str(tmp_path / "other.csv"))
