"""What every stage command shares: arguments, log, one clear error, provenance, and whole files or none.

A stage declares inputs, outputs and settings, and hands `run` a function of the parsed arguments. That function writes
to temporary names; they get their real names only after it has returned, so that a killed stage leaves nothing that
could be taken for a result.
"""

import argparse
import contextlib
import ctypes
import errno
import json
import logging
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sami import launch, provenance
from sami.errors import UserError
from sami.settings.explain import explain, plain

log = logging.getLogger("sami")

RESUMABLE = 75  # exit status of a stage that was interrupted and will go on where it was (EX_TEMPFAIL of sysexits.h)


class Resumable(Exception):
    """The stage ends before its time, and the same command goes on where it was."""


if not sys.stderr.isatty():
    # Read when tqdm is imported: bars of the libraries would fill log files with control characters.
    os.environ.setdefault("TQDM_DISABLE", "1")


class Stage:
    """Command line of one stage.

    Args:
        module: the stage's `__file__`; its stem is the name of the stage.
        doc: the stage's docstring, shown by `--help`.
    """

    def __init__(self, module: str, doc: str):
        self.name = Path(module).stem
        self.parser = argparse.ArgumentParser(
            prog=f"python -m sami.stages.{self.name}",
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.settings: dict[str, Any] = {}

    def input(self, flag: str, help: str, **options) -> "Stage":
        """An input path (several with `nargs`), given to the stage as pathlib.Path."""
        argument = self.parser.add_argument(flag, help=help, type=Path, **{"required": True, **options})
        self.inputs.append(argument.dest)
        return self

    def output(self, flag: str, help: str, required: bool = True) -> "Stage":
        """An output path. The stage writes to the path it finds in its arguments; `run` gives it its real name."""
        self.outputs.append(self.parser.add_argument(flag, help=help, type=Path, required=required).dest)
        return self

    def setting(self, flag: str, help: str, **options) -> "Stage":
        """A plain value."""
        self.parser.add_argument(flag, help=help, **{"required": True, **options})
        return self

    def structured(self, flag: str, kind: Any, help: str, required: bool = True) -> "Stage":
        """A JSON object that `kind` (a type of `sami.settings`) checks: a slice of the configuration."""
        self.settings[self.parser.add_argument(flag, help=f"{help} (JSON)", required=required).dest] = kind
        return self

    def run(
        self,
        main: Callable[[argparse.Namespace], dict[str, Any] | None],
        argv: list[str] | None = None,
        processes: Callable[[argparse.Namespace], int] = lambda arguments: 1,
        nodes: Callable[[argparse.Namespace], int] = lambda arguments: 1,
        recorded: Callable[[argparse.Namespace], bool] = lambda arguments: True,
    ) -> None:
        """Parses arguments, calls `main`, writes provenance, renames outputs. Ends the process on an error.

        Args:
            main: what the stage does. What it returns, if anything, is kept in the provenance record.
            argv: the command line, where it is not that of the process.
            processes: how many processes run `main` together. Where they have not been started (by torchrun or the
                like), this starts them. The first one logs, and owns the outputs.
            nodes: on how many nodes of a Slurm job they are started.
            recorded: whether outputs get a provenance record. What only lasts until the next stage needs none.
        """
        self.parser.add_argument("--threads", type=int, help="processor threads to use (default: the library's choice)")
        self.parser.add_argument("--log", help="also write log messages to this file")
        arguments = self.parser.parse_args(argv)
        plain = dict(vars(arguments))
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self._start_logging(arguments.log, rank)
        end_with_parent()
        started = time.time()
        final = {name: getattr(arguments, name) for name in self.outputs if getattr(arguments, name) is not None}
        try:
            for name, kind in self.settings.items():
                if getattr(arguments, name) is not None:
                    setattr(arguments, name, _setting(name, kind, getattr(arguments, name)))
            count = max(size, processes(arguments))
            if arguments.threads:  # read when torch is imported
                os.environ["OMP_NUM_THREADS"] = str(max(1, arguments.threads * nodes(arguments) // count))
            if "WORLD_SIZE" not in os.environ and count > 1:
                module = f"sami.stages.{self.name}"
                launcher = launch.command(module, argv or sys.argv[1:], count, nodes(arguments), arguments.threads)
                os.execvp(launcher[0], launcher)
            for name, path in final.items():
                setattr(arguments, name, _fresh_partial(path) if rank == 0 else _partial(path))
            found = main(arguments)
            if rank == 0:
                settings = {
                    name: json.loads(value) if value and name in self.settings else value
                    for name, value in plain.items()
                    if name not in {*self.inputs, *self.outputs, "log"}
                }
                content = provenance.record(self.name, settings, {name: plain[name] for name in self.inputs}, started)
                for name, path in final.items():
                    _publish(getattr(arguments, name), path, content | (found or {}) if recorded(arguments) else None)
        except Resumable as reason:
            log.warning("%s", reason)
            # Its temporary files may already belong to the run that goes on; that one removes what it does not need.
            os._exit(RESUMABLE)
        except UserError as error:
            self._fail(f"error: {error}", rank)
        except Exception as error:
            self._show_traceback()
            self._fail(f"error: {self._unexpected(error, final.values())}", rank)
        finally:
            if rank == 0:
                for path in final.values():
                    with contextlib.suppress(NotADirectoryError):  # which has been told already
                        remove(_partial(path))

    def _fail(self, message: str, rank: int) -> None:
        if rank > 0:
            time.sleep(3)  # where the first process fails as well, the launcher ends this one before it says it again
        # An argument may hold bytes that are no text, and a log is UTF-8.
        log.error("%s", message.encode("utf-8", "backslashreplace").decode("utf-8"))
        sys.exit(2)

    def _unexpected(self, error: Exception, outputs: Iterable[Path]) -> str:
        """What to do about an exception that is not meant for people: the machine's limits, or else a bug of ours."""
        if os.strerror(errno.ENOSPC) in str(error):  # libraries wrap it in errors of their own
            return (
                f"no space left on the device while writing {', '.join(map(str, outputs))}. Free some space, or set "
                "'results' and 'resources' in the configuration to a larger disk, and run the same command again."
            )
        found = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's own
            return (
                f"out of memory ({found}). Lower 'batch_size' of 'sampling' or of the judge, or "
                "'engine.tokens_per_pass' where a model is trained or scored; or use a machine with more memory."
            )
        if isinstance(error, OSError) and error.filename and error.strerror:
            return (
                f"{error.filename2 or error.filename}: cannot be read or written ({error.strerror}). See whether this "
                "is the right path, and what its permissions are."
            )
        where = f"{self._log_file}, to which its traceback was written" if self._log_file else "the traceback above"
        return f"this is a bug of ours: {found}. Please report it with {where}."

    def _show_traceback(self) -> None:
        """Writes the traceback of the exception that is handled to the log, or where there is none, on the screen."""
        files = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
        for stream in [handler.stream for handler in files] or [sys.stderr]:
            traceback.print_exc(file=stream)

    def _start_logging(self, file: str | None, rank: int) -> None:
        handlers: list[logging.Handler] = [logging.StreamHandler()]
        self._log_file = file if rank == 0 else None
        if self._log_file:
            try:
                Path(file).parent.mkdir(parents=True, exist_ok=True)
                handlers.append(logging.FileHandler(file, mode="w", encoding="utf-8"))
            except OSError as error:
                self.parser.exit(2, f"{self.name}: error: --log: {file}: cannot be written ({error.strerror}).\n")
        logging.basicConfig(
            level=logging.INFO if rank == 0 else logging.ERROR,
            handlers=handlers,
            format=f"%(asctime)s {self.name}{f' [{rank}]' if rank else ''}: %(message)s",
            datefmt="%H:%M:%S",
        )
        for noisy in (
            "httpx",
            "httpx2",
            "httpcore",
            "httpcore2",
            "openai",
            "urllib3",
            "matplotlib",
            "fontTools",
            "datasets",
            "fsspec",
        ):
            logging.getLogger(noisy).setLevel(logging.WARNING)


def _setting(name: str, kind: Any, text: str) -> Any:
    """A structured argument. Raises UserError that names the argument and the key."""
    flag = f"--{name.replace('_', '-')}"
    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["type"] == "json_invalid":
            raise UserError(
                f"{flag}: found {plain(text)}, expected JSON ({problem['ctx']['error']}). Mend the text or its quotes."
            ) from None
        raise UserError(explain(error, adapter, flag)) from None


def last_error(log: str | Path) -> str | None:
    """The error that ended a stage, by its log file: "STAGE: error: ..."; None where it ended otherwise."""
    text = Path(log).read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^\d\d:\d\d:\d\d (\S+: error: .*(?:\n(?!\d\d:\d\d:\d\d ).*)*)", text, re.MULTILINE)
    return found[-1].rstrip() if found else None


def require_space(folder: str | Path, needed: int, what: str) -> None:
    """Raises UserError where the disk of `folder` has fewer than `needed` bytes free."""
    existing = next(p for p in [Path(folder).absolute(), *Path(folder).absolute().parents] if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(
            f"{folder}: {free / 2**30:.2f} GiB free on this disk, but {what} will take about {needed / 2**30:.2f} GiB. "
            "Free some space, or set 'results' and 'resources' in the configuration to a larger disk."
        )


def _fresh_partial(path: Path) -> Path:
    """Temporary name beside an output; what an earlier, killed run left there is removed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(_partial(path))
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{path}: {error.filename} is no folder; choose another output, or move that away.") from None
    return _partial(path)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _publish(partial: Path, path: Path, content: dict | None) -> None:
    """Gives a finished output its real name, with its provenance record, if any, already in place."""
    folder = partial.is_dir()
    # The record comes first, so that an output never stands without one.
    if content is not None:
        provenance.write(partial / "provenance.json" if folder else Path(f"{path}.provenance.json"), content)
    if folder:
        remove(path)  # a folder cannot be renamed onto another
    os.replace(partial, path)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def end_with_parent() -> None:
    """On Linux, ends this process when the one that started it is killed.

    Otherwise a workflow that dies by SIGKILL leaves its running stage behind, which competes with the rerun.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG in <sys/prctl.h>
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
