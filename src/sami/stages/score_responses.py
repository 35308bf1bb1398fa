"""Scores held-out responses under every constitution: the matrices from which information is estimated.

Reads   model folders of the policy and of the base model, their held-out examples (Example), queries, constitutions
Writes  scores (Scores): the policy on its own responses; where it is not the base model itself, also the policy on the
        base model's responses and the base model on the policy's

A model too large for one GPU is sharded among `--processes`, which this starts; each scores a share of the examples.

    python -m sami.stages.score_responses --help
"""

import gc

from sami import records
from sami.errors import within
from sami.models.folders import specification
from sami.progress import Progress
from sami.settings.tasks import Prompts
from sami.settings.training import Engine
from sami.stage import Stage


def score(
    folder, scorer_name: str, sources: dict[str, list[records.Example]], arguments, queries, constitutions, group
):
    """Yields the scores of one model on the examples of each source (name -> examples); every process has them all."""
    import torch

    from sami.distributed.sharding import load_scorer
    from sami.models import pretrained
    from sami.scoring.tokens import tokenize
    from sami.training.schedule import passes

    gc.collect()  # a model that was scored before may be held by a circle of references
    engine, tokenizer = arguments.engine, pretrained.load_tokenizer(folder)
    scorer = load_scorer(folder, group, specification(folder)["dtype"], engine.scoring)
    context = pretrained.context_length(scorer.model.config)
    for source, examples in sources.items():
        # An empty response has no log-probability; its example stands in the verdicts and the counts, not here.
        examples = [e for e in examples if all(response.text for response in e.responses)]
        file = arguments.responses if source == arguments.policy else arguments.base_responses
        with within(", ".join(map(str, (file, arguments.queries, *arguments.constitutions)))):
            items = tokenize(examples, queries, constitutions, arguments.prompts, tokenizer, context=context)
        sizes, found = [scorer.layout([item]).tokens for item in items], {}
        with torch.no_grad(), Progress(len(items), f"scoring {source} by {scorer_name}", "queries") as progress:
            for members in passes(range(len(items)), sizes, engine.tokens_per_pass, group.size)[group.rank]:
                # An empty pass keeps the others company, which gather their weights together.
                scored = scorer(scorer.layout([items[i] for i in members or [0]]))
                for i, total, mean in zip(members, scored.sum, scored.mean, strict=bool(members)):
                    found[i] = records.Scores(
                        query_id=examples[i].query_id,
                        set_id=examples[i].set_id,
                        scorer=scorer_name,
                        responses_of=source,
                        labels=items[i].labels,
                        mean=mean.tolist(),
                        sum=total.tolist(),
                        tokens=[len(response) for response in items[i].responses],
                    )
                progress.update(len(members))
        found = {i: scores for share in group.everyone(found) for i, scores in share.items()}
        yield from (found[i] for i in range(len(items)))


def main(arguments) -> None:
    from sami.distributed.processes import processes

    with processes() as group:
        scores = list(all_scores(arguments, group))
    if group.main:
        records.write(scores, arguments.output)


def all_scores(arguments, group):
    queries = {query.id: query for query in records.read(records.Query, arguments.queries)}
    constitutions = {c.id: c for c in records.read(records.Constitution, *arguments.constitutions)}
    own = records.read(records.Example, arguments.responses)
    shared = (arguments, queries, constitutions, group)
    if arguments.policy == arguments.base:
        yield from score(arguments.model, arguments.policy, {arguments.policy: own}, *shared)
    else:
        base = records.read(records.Example, arguments.base_responses)
        yield from score(arguments.model, arguments.policy, {arguments.policy: own, arguments.base: base}, *shared)
        yield from score(arguments.base_model, arguments.base, {arguments.policy: own}, *shared)


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
