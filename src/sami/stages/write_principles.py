"""Writes the principles of an experiment: takes them over from a person's file, or has a model write them.

Reads   a file of config/constitutions (pairs, behaviours or a task); for a local writer also a prepared model folder
Writes  principles with their opposites (Principle)

    python -m sami.stages.write_principles --principles config/constitutions/everyday.yaml \\
        --writer '{"kind": "human"}' --writer-name human --seed 1 --output principles.jsonl
"""

from pathlib import Path

from sami import records
from sami.data import principles
from sami.endpoints.writer import endpoint_writer
from sami.models import folders
from sami.models.startup import import_libraries
from sami.settings.writers import Writer
from sami.stage import Stage


def source_of_texts(writer: Writer, model: Path | None, server: Path | None, seed: int) -> principles.Complete:
    """The model that writes: behind an endpoint, or in this process."""
    if writer.asks_endpoint:
        return endpoint_writer(writer, seed, server)
    folders.require(model, "a writer of kind 'local'")  # before the libraries are loaded
    import_libraries()
    from sami.sampling.local_writer import local_writer

    return local_writer(writer, model, seed)


def main(arguments) -> None:
    file, writer, name = principles.load(arguments.principles), arguments.writer, arguments.writer_name
    principles.require_kind(file, writer, name, arguments.principles)
    if writer.is_human:
        written = principles.from_people(file, name)
    else:
        complete = source_of_texts(writer, arguments.model, arguments.server, arguments.seed)
        wanted = arguments.candidates, arguments.fewer
        written = principles.write_all(file, complete, writer, name, arguments.principles, *wanted)
    records.write(written, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--principles", "YAML file with pairs, behaviours or a task")
    stage.structured("--writer", Writer, "an entry of config/writers")
    stage.setting("--writer-name", "name of the writer, kept in the records")
    stage.input("--model", "prepared model folder, for a writer of kind 'local'", required=False)
    stage.setting("--server", "file of a model server, for a writer with 'serve'", type=Path, required=False)
    stage.setting("--candidates", "pairs that a model is asked for about each behaviour, or for the task", type=int,
                  default=1, required=False)  # fmt: skip
    stage.setting("--fewer", "fewer will do where the writer repeats itself", action="store_true", required=False)
    stage.setting("--seed", "seed of a local or endpoint writer", type=int)
    stage.output("--output", "principles to write")
    stage.run(main)
