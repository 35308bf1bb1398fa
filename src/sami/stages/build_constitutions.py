"""Builds sets of constitutions from principles and their opposites.

Reads   principles (Principle); where they are held out, also those of training, which must be others
Writes  constitutions (Constitution)

    python -m sami.stages.build_constitutions --help
"""

from sami import records
from sami.data.constitutions import build, build_held_out
from sami.errors import within
from sami.settings.principles import Constitutions
from sami.stage import Stage


def main(arguments) -> None:
    principles = records.read(records.Principle, arguments.principles)
    how = arguments.settings, arguments.seed
    if arguments.training is None:
        return records.write(build(principles, *how), arguments.output)
    with within(f"{arguments.principles} (held out), {arguments.training}"):
        built = build_held_out(principles, records.read(records.Principle, arguments.training), *how)
    records.write(built, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--principles", "principles, one record a line")
    stage.input("--training", "principles of training, where the others are held out from it", required=False)
    stage.structured("--settings", Constitutions, "how to build them")
    stage.setting("--seed", "seed of the draws", type=int)
    stage.output("--output", "constitutions to write")
    stage.run(main)
