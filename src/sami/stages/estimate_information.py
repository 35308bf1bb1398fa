"""Scores held-out responses under every constitution: the matrices from which information is estimated.

Reads   model folders of the policy and of the base model, their held-out examples (Example), queries, constitutions
Writes  scores (Scores): the policy on its own responses; where it is not the base model itself, also the policy on the
        base model's responses and the base model on the policy's

    python -m sami.stages.estimate_information --help
"""

from sami import records, settings
from sami.progress import Progress
from sami.stage import Stage


def score(folder, scorer_name: str, sources: dict[str, list[records.Example]], arguments, queries, constitutions):
    """Yields the scores of one model on the examples of each source (name -> examples)."""
    import torch

    from sami import models
    from sami.scoring.items import tokenize
    from sami.scoring.packing import pack
    from sami.scoring.score import Scorer

    engine = arguments.engine
    model, tokenizer = models.load(folder), models.load_tokenizer(folder)
    scorer, context = Scorer(model).choose(engine.scoring), models.context_length(model.config)
    for source, examples in sources.items():
        # An empty response has no log-probability; its example stands in the verdicts and the counts, not here.
        examples = [e for e in examples if all(response.text for response in e.responses)]
        items = tokenize(examples, queries, constitutions, arguments.prompts, tokenizer, context=context)
        passes = pack([scorer.layout([item]).tokens for item in items], engine.tokens_per_pass)
        found = {}
        with torch.inference_mode(), Progress(len(items), f"scoring {source} by {scorer_name}", "queries") as progress:
            for members in passes:
                scored = scorer(scorer.layout([items[i] for i in members]))
                for i, total, mean in zip(members, scored.sum, scored.mean, strict=True):
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
        yield from (found[i] for i in range(len(items)))


def main(arguments) -> None:
    queries = {query.id: query for query in records.read(records.Query, arguments.queries)}
    constitutions = {c.id: c for c in records.read(records.Constitution, *arguments.constitutions)}
    own = records.read(records.Example, arguments.responses)
    shared = (arguments, queries, constitutions)
    if arguments.policy == arguments.base:
        scores = list(score(arguments.model, arguments.policy, {arguments.policy: own}, *shared))
    else:
        base = records.read(records.Example, arguments.base_responses)
        scores = list(score(arguments.model, arguments.policy, {arguments.policy: own, arguments.base: base}, *shared))
        scores += score(arguments.base_model, arguments.base, {arguments.policy: own}, *shared)
    records.write(scores, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the policy")
    stage.input("--responses", "the policy's held-out examples")
    stage.input("--base-model", "folder of the base model")
    stage.input("--base-responses", "the base model's held-out examples")
    stage.input("--queries", "held-out queries")
    stage.input("--constitutions", "constitutions", nargs="+")
    stage.structured("--prompts", settings.Prompts, "the prompts of a task")
    stage.setting("--policy", "name of the policy")
    stage.setting("--base", "name of the base model")
    stage.structured("--engine", settings.Engine, "how to compute it")
    stage.output("--output", "scores to write")
    stage.run(main)
