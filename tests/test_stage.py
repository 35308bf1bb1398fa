"""What all stages share: whole outputs or none, provenance, one clear error."""

import hashlib
import json
import re
import runpy
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from sami.errors import UserError
from sami.files import require_space
from sami.progress import last_error
from sami.stage import Stage


def stage():
    made = Stage(str(ROOT / "src/sami/stages/build_constitutions.py"), "doc")
    made.input("--source", "a file").output("--output", "a file").output("--folder", "a folder")
    made.setting("--seed", "a number", type=int)
    return made


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "in.txt").write_text("in")
    return [
        "--source",
        f"{tmp_path}/in.txt",
        "--output",
        f"{tmp_path}/out/out.txt",
        "--folder",
        f"{tmp_path}/folder",
        "--seed",
        "3",
    ]


def work(values):
    values.output.write_text(f"{values.source.read_text()} {values.seed}")
    values.folder.mkdir()
    (values.folder / "file").write_text("x")


def test_outputs_and_provenance(tmp_path, arguments):
    for _ in range(2):  # a second run replaces files and folders
        stage().run(work, arguments)
    assert (tmp_path / "out/out.txt").read_text() == "in 3"
    assert (tmp_path / "folder/file").read_text() == "x"
    assert not list(tmp_path.rglob("*.partial"))
    for path in (tmp_path / "out/out.txt.provenance.json", tmp_path / "folder/provenance.json"):
        record = json.loads(path.read_text())
        assert record["stage"] == "build_constitutions"
        assert record["arguments"]["seed"] == 3
        assert record["inputs"]["source"][f"{tmp_path}/in.txt"] == hashlib.sha256(b"in").hexdigest()
        assert {"git_commit", "packages", "python", "code", "wall_seconds", "peak_memory_mib"} <= record.keys()


@pytest.mark.parametrize("error", [UserError("mend this"), OSError(28, "No space left on device", "/x")])
def test_failure_leaves_what_was_there(tmp_path, arguments, caplog, error):
    stage().run(work, arguments)

    def fail(values):
        values.output.write_text("half")
        raise error

    with pytest.raises(SystemExit) as ended:
        stage().run(fail, [*arguments[:-1], "4"])
    assert ended.value.code == 2
    assert (tmp_path / "out/out.txt").read_text() == "in 3"
    assert ("mend this" in caplog.text) or ("no space left on the device" in caplog.text)


def test_full_disk_is_told_before_the_work(tmp_path):
    require_space(tmp_path / "not/there/yet", 1, "the model")
    with pytest.raises(UserError, match=r"GiB free on this disk, but the model will take about 1\d+\.\d\d GiB"):
        require_space(tmp_path, shutil.disk_usage(tmp_path).free + 2**40, "the model")


STAGES = sorted(path.stem for path in (ROOT / "src/sami/stages").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", STAGES)
def test_help_of_every_stage(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"sami.stages.{name}", run_name="__main__")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "Reads" in printed
    assert "Writes" in printed


def test_importing_a_stage_does_nothing_to_the_process():
    """Neither to the environment; nor is tqdm imported, which reads there whether libraries draw bars in a log."""
    code = "import os, sys\nbefore = dict(os.environ)\n" + "".join(f"import sami.stages.{name}\n" for name in STAGES)
    code += "assert dict(os.environ) == before\nassert 'tqdm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ground_floor_needs_no_torch():
    modules = "records settings.experiment data.principles data.prompts data.queries data.constitutions endpoints.chat "
    modules += "analysis.tables.build analysis.figures.draw analysis.report.browser analysis.summary workflow.preflight"
    code = "import sys\n" + "".join(f"import sami.{m}\n" for m in modules.split())
    code += "import sami.judging.checks, sami.sampling.responses\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_in_the_package_knows_snakemake_and_the_core_knows_no_stage():
    for path in (ROOT / "src").rglob("*.py"):
        unwanted = (
            r"snakemake" if path.parent.name == "stages" else r"snakemake|sami\.stages?\b|sami import .*\bstage\b"
        )
        assert not re.search(rf"^\s*(from|import) ({unwanted})", path.read_text(), re.MULTILINE), path


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (IndexError("list index out of range"), r"this is a bug of ours: IndexError: list index out of range\. "),
        (PermissionError(13, "Permission denied", "/x/y"), r"/x/y: cannot be read or written \(Permission denied\)"),
        (MemoryError(), r"out of memory \(MemoryError:\)\. Lower 'batch_size'"),
        (UserError("mend\nthis"), "mend\nthis"),
    ],
)
def test_what_ends_a_stage_is_one_message_and_a_traceback_stands_in_the_log(tmp_path, error, told):
    """In a process of its own, whose log and screen are those of a real stage."""
    code = f"from sami.stage import Stage\nfrom sami.errors import UserError\ndef main(arguments): raise {error!r}\n"
    if isinstance(error, OSError):
        code = code.replace(repr(error), f"PermissionError(13, 'Permission denied', {error.filename!r})")
    code += "Stage('a_stage.py', 'doc').run(main, ['--log', 'log'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    logged = (tmp_path / "log").read_text()
    assert ("Traceback" in logged) == (not isinstance(error, UserError))
    assert re.fullmatch(rf"a_stage: error: {told}.*", last_error(tmp_path / "log"), re.DOTALL)
    assert last_error(tmp_path / "log") in done.stderr


def test_last_error_of_a_log_is_the_stages_own(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "10:00:00 train: loaded\n10:00:01 train: error: in the text of a query\n10:00:02 train: error: last\n"
    )
    assert last_error(log) == "train: error: last"
    log.write_text("10:00:00 train: step 1\nan error: of a library\n")
    assert last_error(log) is None


def test_log_that_cannot_be_written(tmp_path, arguments, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        stage().run(work, [*arguments, "--log", f"{tmp_path}/file/log"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"build_constitutions: error: --log: {tmp_path}/file/log: cannot be")
