"""Scores how likely each response is under its own query and under others: whether it belongs to its query.

Reads   a model folder (the base model's), examples of one policy (Example), queries, constitutions
Writes  relevance (Relevance), a record a response

A model too large for one GPU is sharded among `--processes`, which this starts; each scores a share of the examples.

    python -m sami.stages.score_relevance --help
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
    from sami.scoring.relevance import relevance
    from sami.scoring.responses import Source, Texts

    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, *arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    source = Source(arguments.policy, examples, f"{arguments.responses}, {arguments.queries}")
    texts = Texts(queries, constitutions, arguments.prompts)
    with processes() as group:
        draw = arguments.others, arguments.seed
        how = *draw, arguments.engine, group, arguments.contexts
        found = relevance(arguments.model, arguments.scorer, source, texts, *how)
    if group.main:
        records.write(found, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the model whose probabilities tell it")
    stage.input("--responses", "examples of one policy, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.structured("--prompts", Prompts, "the prompts of a task, with the one without a constitution")
    stage.setting("--policy", "name of the policy")
    stage.setting("--scorer", "name of the model")
    stage.setting("--others", "other queries that each response is scored under", type=int)
    stage.setting("--seed", "seed of their draw", type=int)
    stage.setting(
        "--contexts",
        "the queries alone, with the constitution of the response, or both",
        nargs="+",
        choices=records.CONTEXTS,
        default=records.CONTEXTS,
        required=False,
    )
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--processes", "processes that share the model, one a GPU", type=int, required=False, default=1)
    stage.output("--output", "relevance to write")
    stage.run(main, processes=lambda arguments: arguments.processes)
