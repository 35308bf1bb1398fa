"""For which constitution of its set a response was written, as another model than its policy tells."""

from pathlib import Path

from sami.distributed.processes import Processes
from sami.records import Example, Recognised
from sami.scoring.responses import Source, Texts, scorer_of
from sami.settings.training import Engine


def recognise(
    folder: Path, scorer_name: str, source: Source, texts: Texts, engine: Engine, group: Processes
) -> list[Recognised]:
    """Log-probabilities of every response under all constitutions of its set; in the order of the examples.

    Responses are read as text: their tokens are those of another model.

    Args:
        folder: of the prepared model, which is divided among the processes.
        scorer_name: its name, kept in the records.
        source: responses of a policy.

    Raises:
        UserError: see `tokenize` and `Scorer.select_layout`.
    """
    means: dict[tuple[str, str, int], list[float]] = {}
    scores_of = scorer_of(folder, scorer_name, texts, engine, group)
    by_size: dict[int, list[Example]] = {}  # a pass takes examples of one shape, and empty responses are left out
    for example in source.examples:
        kept = [r.model_copy(update={"token_ids": None, "finish": None}) for r in example.responses if r.text]
        if kept:
            by_size.setdefault(len(kept), []).append(example.model_copy(update={"responses": kept}))
    numbers = {e.key: [n for n, r in enumerate(e.responses) if r.text] for e in source.examples}
    for examples in by_size.values():
        asked = Source(source.policy, examples, source.where)
        for record in scores_of(asked, f"recognising {source.policy} by {scorer_name}"):
            for place, number in enumerate(numbers[record.query_id, record.set_id]):
                means[record.query_id, record.set_id, number] = [row[place] for row in record.mean]
    return [
        Recognised(
            query_id=example.query_id,
            set_id=example.set_id,
            number=number,
            policy=source.policy,
            scorer=scorer_name,
            own=response.constitution,
            means=means.get((*example.key, number)),
        )
        for example in source.examples
        for number, response in enumerate(example.responses)
    ]
