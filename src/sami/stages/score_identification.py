"""Scores a policy's responses under all constitutions of their sets, by another model: for which were they written?

Reads   a model folder, held-out examples (Example) of one policy, queries, constitutions
Writes  a record a response (Recognised)

A model too large for one GPU is sharded among `--processes`, which this starts; each scores a share of the examples.

    python -m sami.stages.score_identification --help
"""

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.models.startup import import_libraries
from sami.settings.tasks import Prompts
from sami.settings.training import Engine
from sami.stage import Stage


def main(arguments) -> None:
    import_libraries()
    from sami.distributed.processes import processes
    from sami.scoring.identification import recognise
    from sami.scoring.responses import Source, Texts

    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, *arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    where = ", ".join(map(str, (arguments.responses, arguments.queries, *arguments.constitutions)))
    with processes() as group:
        texts = Texts(queries, constitutions, arguments.prompts)
        source = Source(arguments.policy, examples, where)
        found = recognise(arguments.model, arguments.scorer, source, texts, arguments.engine, group)
    if group.main:
        records.write(found, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the model that tells")
    stage.input("--responses", "examples of one policy, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.structured("--prompts", Prompts, "the prompts of the task in which it reads")
    stage.setting("--policy", "name of the policy")
    stage.setting("--scorer", "name of the model")
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--processes", "processes that share the model, one a GPU", type=int, required=False, default=1)
    stage.output("--output", "what it tells, to write")
    stage.run(main, processes=lambda arguments: arguments.processes)
