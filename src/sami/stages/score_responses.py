"""Scores held-out responses under every constitution: the matrices from which information is estimated.

Reads   model folders of the policy and of the base model, their held-out examples (Example), queries, constitutions
Writes  scores (Scores): the policy on its own responses; where it is not the base model itself, also the policy on the
        base model's responses and the base model on the policy's

A model too large for one GPU is sharded among `--processes`, which this starts; each scores a share of the examples.

    python -m sami.stages.score_responses --help
"""

from sami import records
from sami.data.joined import read_by_id
from sami.models.startup import import_libraries
from sami.settings.tasks import Prompts
from sami.settings.training import Engine
from sami.stage import Stage


def main(arguments) -> None:
    import_libraries()
    from sami.distributed.processes import processes
    from sami.scoring.responses import Source, Texts, score

    def source(policy, file) -> Source:
        where = ", ".join(map(str, (file, arguments.queries, *arguments.constitutions)))
        return Source(policy, records.read(records.Example, file), where)

    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, *arguments.constitutions)
    own = source(arguments.policy, arguments.responses)
    runs = [(arguments.model, arguments.policy, [own])]
    if arguments.policy != arguments.base:
        base = source(arguments.base, arguments.base_responses)
        runs = [(arguments.model, arguments.policy, [own, base]), (arguments.base_model, arguments.base, [own])]
    with processes() as group:
        how = Texts(queries, constitutions, arguments.prompts), arguments.engine, group
        scores = [each for run in runs for each in score(*run, *how)]
    if group.main:
        records.write(scores, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the policy")
    stage.input("--responses", "the policy's held-out examples")
    stage.input("--base-model", "folder of the base model")
    stage.input("--base-responses", "the base model's held-out examples")
    stage.input("--queries", "held-out queries")
    stage.input("--constitutions", "constitutions", nargs="+")
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.setting("--policy", "name of the policy")
    stage.setting("--base", "name of the base model")
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--processes", "processes that share the model, one a GPU", type=int, required=False, default=1)
    stage.output("--output", "scores to write")
    stage.run(main, processes=lambda arguments: arguments.processes)
