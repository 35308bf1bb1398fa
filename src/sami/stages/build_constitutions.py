"""Builds sets of constitutions from principles and their opposites.

Reads   principles (Principle); where they are held out, also those of training, which must be others
Writes  constitutions (Constitution)

    python -m sami.stages.build_constitutions --help
"""

from sami import records, settings
from sami.constitutions import build, check_held_out
from sami.errors import UserError
from sami.stage import Stage


def texts(principles: list[records.Principle]) -> dict[str, list[str]]:
    """Id -> the principle and its opposite."""
    return {principle.id: [principle.text, principle.opposite] for principle in principles}


def main(arguments) -> None:
    principles = records.read(records.Principle, arguments.principles)
    if arguments.learned:
        try:
            check_held_out(texts(records.read(records.Principle, arguments.learned)), texts(principles))
        except UserError as error:
            raise UserError(f"{arguments.principles}, {arguments.learned}: {error}") from None
    built = build(principles, arguments.settings, arguments.seed)
    held_out = arguments.learned is not None
    records.write([c.model_copy(update={"held_out": held_out}) for c in built], arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--principles", "principles, one record a line")
    stage.input("--learned", "principles of training, where those above are held out from it", required=False)
    stage.structured("--settings", settings.Constitutions, "how to build them")
    stage.setting("--seed", "seed of the draws", type=int)
    stage.output("--output", "constitutions to write")
    stage.run(main)
