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
        SUMMARY_COLUMNS + "\n"
        "0,0.0712,0.0500,0.0911,0.7292,0.7083,,,,44.1042,0.0000,48,iteration-0,,,,,"
        "0.9792,0.9000,0.9960,0.8761,0.8000,0.9500,-1.6000,-1.7000,-1.5000,0.0210,0.0100,0.0320,eval\n"
        "1,0.2149,0.1511,0.2702,0.8646,0.8438,0.6302,0.5573,0.7031,38.2500,0.0104,48,iteration-1,0.6111,"
        "0.6100,0.5200,0.6900,0.9167,0.8400,0.9600,0.6612,0.5900,0.7300,-2.3200,-2.4000,-2.2300,-0.0010,-0.0200,0.0150,eval\n"
        ",,,,,,0.5000,0.4000,0.6000,40.0000,0.0000,96,instruct,0.5111,,,,,,,,,,,,,0.0000,,,test\n"
    )
    assert summary.format(str(path)).splitlines() == [
        "iteration  bound (nats)       row accuracy  column accuracy  win rate      if identified  identified",
        "---------  -----------------  ------------  ---------------  ------------  -------------  -------------",
        "0 (base)   0.07 [0.05, 0.09]  73%           71%              -             -              98% [90, 100]",
        "1          0.21 [0.15, 0.27]  86%           84%              63% [56, 70]  61% [52, 69]   92% [84, 96]",
        "instruct   -                  -             -                50% [40, 60]  -              -",
        "",
        "iteration  margin             log-probability       echo               tokens  degenerate  queries",
        "---------  -----------------  --------------------  -----------------  ------  ----------  -------",
        "0 (base)   0.88 [0.80, 0.95]  -1.60 [-1.70, -1.50]  2.1% [1.0, 3.2]    44      0.0%        48 eval",
        "1          0.66 [0.59, 0.73]  -2.32 [-2.40, -2.23]  -0.1% [-2.0, 1.5]  38      1.0%        48 eval",
        "instruct   -                  -                     0.0%               40      0.0%        96 test",
    ]


def test_terminal_summary_without_scores_and_relevance_has_no_columns_of_them(tmp_path):
    path = tmp_path / "summary.csv"
    nothing = "," * 12
    path.write_text(f"{SUMMARY_COLUMNS}\n0,,,,,,,,,44.1042,0.0000,48,iteration-0,,{nothing}0.0210,0.0100,0.0320,eval\n")
    assert summary.format(str(path)).splitlines() == [
        "iteration  win rate  echo             tokens  degenerate  queries",
        "---------  --------  ---------------  ------  ----------  -------",
        "0 (base)   -         2.1% [1.0, 3.2]  44      0.0%        48 eval",
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
