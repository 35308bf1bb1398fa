"""What every stage command shares: arguments, log, one clear error, provenance, and whole files or none.

A stage declares inputs, outputs and settings, and hands `run` a function of the parsed arguments. That function writes
to temporary names; they get their real names only after it has returned, so that a killed stage leaves nothing that
could be taken for a result.
"""

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sami import files, launch, progress, provenance, spent
from sami.errors import Resumable, UserError, plain, unexpected
from sami.settings.explain import explain

log = logging.getLogger("sami")

RESUMABLE = 75  # exit status of a stage that was interrupted and will go on where it was (EX_TEMPFAIL of sysexits.h)


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
        arguments = self._parse(argv)
        rank = int(os.environ.get("RANK", 0))
        log_file = arguments.log if rank == 0 else None
        try:
            progress.start_log(self.name, log_file, rank)
        except UserError as error:
            self.parser.exit(2, f"{self.name}: error: {error}\n")
        launch.end_with_parent()
        started = time.time()
        spent.forget()
        outputs = {name: getattr(arguments, name) for name in self.outputs if getattr(arguments, name) is not None}
        try:
            for name, kind in self.settings.items():
                if getattr(arguments, name) is not None:
                    setattr(arguments, name, _setting(name, kind, getattr(arguments, name)))
            launch.launch(
                f"sami.stages.{self.name}", argv or sys.argv[1:], processes(arguments), nodes(arguments),
                arguments.threads,
            )  # fmt: skip
            for name, path in outputs.items():
                setattr(arguments, name, files.partial(path))
                if rank == 0:
                    files.clear(path)
            found = main(arguments)
            if rank == 0:
                content = self._record(arguments, started) | (found or {})
                for path in outputs.values():
                    if recorded(arguments):  # the record comes first, so that an output never stands without one
                        provenance.write(path, files.partial(path), content)
                    files.publish(path)
        except Resumable as reason:
            log.warning("%s", reason)
            # Its temporary files may already belong to the run that goes on; that one removes what it does not need.
            os._exit(RESUMABLE)
        except UserError as error:
            _fail(f"error: {error}", rank)
        except Exception as error:
            progress.log_traceback()
            _fail(f"error: {unexpected(error, outputs.values(), log_file)}", rank)
        finally:
            if rank == 0:
                for path in outputs.values():
                    with contextlib.suppress(NotADirectoryError):  # which has been told already
                        files.remove(files.partial(path))

    def _parse(self, argv: list[str] | None) -> argparse.Namespace:
        self.parser.add_argument("--threads", type=int, help="processor threads to use (default: the library's choice)")
        self.parser.add_argument("--log", help="also write log messages to this file")
        return self.parser.parse_args(argv)

    def _record(self, arguments: argparse.Namespace, started: float) -> dict[str, Any]:
        """The provenance record. It has all settings, also those that the command line left at their defaults."""
        values = {name: value for name, value in vars(arguments).items() if name not in {*self.outputs, "log"}}
        for name, kind in self.settings.items():
            if values[name] is not None:
                values[name] = TypeAdapter(kind).dump_python(values[name], mode="json")
        inputs = {name: values.pop(name) for name in self.inputs}
        record = provenance.record(self.name, values, inputs, started)
        tokens = spent.spent()
        return record | ({"tokens": tokens} if tokens else {})


def _fail(message: str, rank: int) -> None:
    if rank > 0:
        time.sleep(3)  # where the first process fails as well, the launcher ends this one before it says it again
    # An argument may hold bytes that are no text, and a log is UTF-8.
    log.error("%s", message.encode("utf-8", "backslashreplace").decode("utf-8"))
    sys.exit(2)


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
