"""Selects the principles of an experiment among those that were screened.

Reads   principles (Principle), and what the base model hears of them (Screened)
Writes  those that are kept (Principle), by their bounds

    python -m sami.stages.select_principles --help
"""

from sami import records
from sami.data.screening import kept
from sami.stage import Stage


def main(arguments) -> None:
    screened = records.read(records.Screened, arguments.screened)
    principles = records.read(records.Principle, arguments.principles)
    records.write(kept(screened, principles, arguments.keep, str(arguments.screened)), arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--principles", "the pairs, one record a line")
    stage.input("--screened", "what is heard of each")
    stage.setting("--keep", "how many pairs to keep", type=int)
    stage.output("--output", "principles to write")
    stage.run(main)
