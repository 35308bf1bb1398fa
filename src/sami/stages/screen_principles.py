"""Screens principles: which pairs the base model hears, and which of them say the same.

Reads   a model folder, principles (Principle), one set of constitutions for each, queries, and the model's responses to
        each query under each
Writes  what it hears of each pair, and which are kept (Screened)

A model too large for one GPU is sharded among `--processes`, which this starts; each scores a share of the examples.

    python -m sami.stages.screen_principles --help
"""

import logging
from collections import Counter

from sami import records
from sami.data.constitutions import by_set
from sami.data.joined import read_by_id, read_examples
from sami.data.principles import require_enough
from sami.data.screening import explained, measure, select
from sami.models.startup import import_libraries
from sami.settings.tasks import Prompts
from sami.settings.training import Engine
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    principles = records.read(records.Principle, arguments.principles)
    require_enough(principles, arguments.keep or 0, str(arguments.principles))
    import_libraries()
    from sami.distributed.processes import processes
    from sami.scoring.responses import Source, Texts, scorer_of

    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    sets = by_set(list(constitutions.values()))  # by the ids of their principles
    where = f"{arguments.responses}, {arguments.queries}, {arguments.constitutions}"
    with processes() as group:
        texts = Texts(queries, constitutions, arguments.prompts)
        scores_of = scorer_of(arguments.model, arguments.policy, texts, arguments.engine, group)
        scores = scores_of(Source(arguments.policy, examples, where), f"screening {len(principles)} pairs")
        measured = measure(principles, scores, arguments.samples, arguments.confidence, arguments.seed)
        bounds = {record.id: record.bounds for record in measured}

        def overlap(kept: str, other: str) -> float:
            ids = {"constitution_ids": [constitution.id for constitution in sets[other]]}
            asked = [example.model_copy(update=ids) for example in examples if example.set_id == kept]
            return explained(bounds[kept], scores_of(Source(arguments.policy, asked, where), f"{kept} under {other}"))

        screened = select(measured, arguments.keep, arguments.most_overlap, overlap)
    if group.main:
        log.info("%s", dict(Counter(record.fate for record in screened)))
        records.write(screened, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the base model")
    stage.input("--principles", "pairs to screen, one record a line")
    stage.input("--constitutions", "a set of two constitutions for each of them")
    stage.input("--queries", "queries, one record a line")
    stage.input("--responses", "examples of the base model, one record a line")
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.setting("--policy", "name of the base model among policies")
    stage.setting("--keep", "how many pairs to keep (default: all that are heard and differ)", type=int,
                  required=False)  # fmt: skip
    stage.setting("--most-overlap", "share of a kept pair's bound that another may explain", type=float)
    stage.setting("--samples", "resamples of the bootstrap", type=int)
    stage.setting("--confidence", "coverage of the intervals", type=float)
    stage.setting("--seed", "seed of the bootstrap", type=int)
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--processes", "processes that share the model, one a GPU", type=int, required=False, default=1)
    stage.output("--output", "what is heard of each pair, to write")
    stage.run(main, processes=lambda arguments: arguments.processes)
