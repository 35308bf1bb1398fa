"""Builds sets of constitutions from principles and their opposites.

Reads   principles (Principle)
Writes  constitutions (Constitution)

    python -m sami.stages.build_constitutions --help
"""

from sami import records, settings
from sami.constitutions import build
from sami.stage import Stage


def main(arguments) -> None:
    principles = records.read(records.Principle, arguments.principles)
    records.write(build(principles, arguments.settings, arguments.seed), arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--principles", "principles, one record a line")
    stage.structured("--settings", settings.Constitutions, "how to build them")
    stage.setting("--seed", "seed of the draws", type=int)
    stage.output("--output", "constitutions to write")
    stage.run(main)
