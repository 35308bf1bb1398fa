"""Samples responses of one policy: for each query, R responses under the C constitutions of one set, or without any.

Reads   a model folder, queries (Query), constitutions (Constitution), and where attributes are asked for in their place
        labels (Label) that say which values occur; or the shards that other jobs have drawn
Writes  examples (Example) and a JSON file that counts them; or one shard of the examples

    python -m sami.stages.sample_responses --help
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from sami import records
from sami.data.constitutions import by_set, empty_examples
from sami.data.labels import Values, Words, ask, ask_for_constitutions, attributes_prompt, for_constitution, seen
from sami.data.queries import chosen_queries
from sami.errors import UserError, within
from sami.models.startup import import_libraries
from sami.sampling.shards import files, share
from sami.settings.sampling import Sampling
from sami.settings.tasks import Prompts
from sami.settings.training import Engine
from sami.spent import spend
from sami.stage import Stage

log = logging.getLogger(__name__)


def template_of(arguments) -> str:
    """Template of the prompt; without a field for constitution or attributes it puts the query alone."""
    return arguments.template or arguments.prompts.generation


def longest_prompts(arguments, queries, constitutions, known, tokenizer) -> dict[str, list[int]]:
    """Query id -> its prompt under the longest constitution (or label, or without any), for all queries of the file.

    Those of later iterations are in it too, so that one that is too long is found before the first iteration.
    """
    from sami.data.prompts import constitution_text, fill, prompt_tokens, render

    prompts, template = arguments.prompts, template_of(arguments)

    def prompt(text: str | Values, query: str) -> list[int]:
        if isinstance(text, str):
            return render(fill(template, constitution=text, query=query), prompts, tokenizer)
        return prompt_tokens(attributes_prompt(query, text, prompts, template, arguments.words), tokenizer)

    texts: list[Any] = known or [
        constitution_text(c, range(len(c.statements)), prompts) for c in constitutions.values()
    ]
    longest = max(texts, key=lambda text: len(prompt(text, "")))
    return {query.id: prompt(longest, query.text) for query in queries.values()}


def prompts_of(arguments, example, queries, constitutions) -> tuple[list[records.Prompt], Sequence[int]]:
    """The prompts of an example, and the number of the one that each of its responses is drawn under."""
    from sami.data.prompts import example_prompts

    asked = [response.asked for response in example.responses if response.asked]
    if not asked:
        texts = arguments.prompts, template_of(arguments)
        return example_prompts(example, queries, constitutions, *texts), example.labels
    query = queries[example.query_id].text
    texts = arguments.prompts, template_of(arguments), arguments.words
    prompts = [attributes_prompt(query, values, *texts) for values in asked]
    return prompts, range(len(prompts))


def sample(arguments, examples, queries, constitutions, known) -> list[records.Example]:
    """Draws all responses. The length of every prompt is checked before the first one is drawn."""
    import_libraries()
    from sami.data.prompts import prompt_tokens
    from sami.models import pretrained
    from sami.sampling.factory import open_sampler
    from sami.sampling.sampler import Request, check_lengths

    tokenizer = pretrained.load_tokenizer(arguments.model)
    requests, longest = [], longest_prompts(arguments, queries, constitutions, known, tokenizer)
    for example in examples:
        query = queries[example.query_id]
        asked, labels = prompts_of(arguments, example, queries, constitutions)
        prompts = [prompt_tokens(prompt, tokenizer) for prompt in asked]
        longest[query.id] = max(longest[query.id], *prompts, key=len)
        for j, label in enumerate(labels, arguments.first_response):
            requests.append(Request(prompts[label], f"{arguments.seed}-{query.id}-{example.set_id}-{j}"))
    new_tokens = arguments.sampling.max_new_tokens
    check_lengths(longest, new_tokens, pretrained.context_length(pretrained.config(arguments.model)))
    sampler = open_sampler(
        arguments.sampling.sampler,
        arguments.model,
        tokenizer,
        longest=max(len(request.prompt) for request in requests) + new_tokens,
        tensor_parallel=arguments.engine.tensor_parallel if arguments.engine else 1,
    )
    completions = iter(sampler.generate(requests, arguments.sampling, arguments.stop))
    filled = []
    for example in examples:
        responses = []
        for response, completion in zip(example.responses, completions, strict=False):
            told = {name: getattr(completion, name) for name in ("text", "tokens", "finish", "token_ids")}
            responses.append(response.model_copy(update=told))
        filled.append(example.model_copy(update={"responses": responses}))
    return filled


def labels_of(arguments) -> list[dict[str, int]]:
    """The values of attributes that the policy may be asked for; none where it is asked for none."""
    if arguments.labels is None:
        return []
    with within(str(arguments.labels)):
        return seen(records.read(records.Label, arguments.labels), dict(map(fixed_value, arguments.asked)))


def fixed_value(text: str) -> tuple[str, int]:
    """Attribute and value of "short:4". Raises UserError where it is none."""
    name, _, value = text.rpartition(":")
    if not name or not value.isdecimal():
        raise UserError(f"found the label '{text}', expected an attribute and its value: short:4, for example.")
    return name, int(value)


def main(arguments) -> None:
    if "" in arguments.stop:
        raise UserError("--stop: found empty text, which ends every response at once; expected some characters.")
    queries = records.read(records.Query, arguments.queries)
    chosen = chosen_queries(queries, arguments.first, arguments.count, arguments.queries)
    constitutions = records.read(records.Constitution, *arguments.constitutions)
    if arguments.shards:
        examples = records.read(records.Example, *files(arguments.shards))
    else:
        asked = [query.id for query in chosen], by_set(constitutions), arguments.sampling.responses, arguments.policy
        how = arguments.seed, arguments.shuffle, arguments.under == "positive", arguments.every_set
        examples = empty_examples(*asked, *how)
        by_id = {constitution.id: constitution for constitution in constitutions}
        known = labels_of(arguments)
        if known:
            examples = ask(examples, known, arguments.seed)
        elif arguments.attributes:
            wanted = dict(map(fixed_value, arguments.attributes))
            examples = ask_for_constitutions(examples, by_id, wanted)
            known = [for_constitution(constitution, wanted) for constitution in constitutions]
        examples = share(examples, arguments.shard)
        examples = sample(arguments, examples, {q.id: q for q in queries}, by_id, known)
    if arguments.shard:
        records.write(examples, arguments.output)  # counted when all are there
        return
    tokens = sum(response.tokens for example in examples for response in example.responses)
    counts = {"sampled": len(examples), "tokens": tokens}
    spend("sampled", tokens)
    log.info("sampled %(sampled)d examples of %(tokens)d tokens", counts)
    if not any(response.text for example in examples for response in example.responses):
        raise UserError(
            f"{arguments.policy}: all responses of {len(examples)} examples are empty. Look at 'stop' and the prompt "
            "templates of the task, or raise sampling.max_new_tokens."
        )
    records.write(examples, arguments.output)
    arguments.counts.write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the policy")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.setting("--template", "the prompt to sample with, with the field {query} and, if wanted, {constitution} "
                  "or, with --labels, {attributes} (default: that of --prompts)", required=False)  # fmt: skip
    stage.setting("--stop", "strings that end a response", nargs="*", default=[], required=False)
    stage.setting("--under", "constitutions of a set: all, or the positive one", default="all",
                  choices=["all", "positive"], required=False)  # fmt: skip
    stage.setting("--every-set", "ask each query under every set, not under one that is drawn", action="store_true",
                  required=False)  # fmt: skip
    stage.input("--labels", "labels of responses: those that occur are asked for in place of constitutions",
                required=False)  # fmt: skip
    stage.setting("--asked", "with --labels: values that they must have, short:4 for example", nargs="*", default=[],
                  required=False)  # fmt: skip
    stage.setting("--attributes", "attributes with the values that stand for their principles, short:4 for example: "
                  "constitutions are told by values, 0 for an opposite", nargs="*", default=[],
                  required=False)  # fmt: skip
    stage.structured("--words", Words, "words for values of attributes, of those that have some", required=False)
    stage.structured("--sampling", Sampling, "how to draw")
    stage.structured("--engine", Engine, "GPUs of the sampler vllm (default: one)", required=False)
    stage.setting("--policy", "name of the policy, kept in the records")
    stage.setting("--first", "number of the first query to use", type=int, default=0, required=False)
    stage.setting("--count", "number of queries to use", type=int)
    stage.setting("--first-response", "number of the first response to a query, behind those of earlier draws",
                  type=int, default=0, required=False)  # fmt: skip
    stage.setting("--seed", "seed of sets, order and responses", type=int)
    stage.setting("--shuffle", "shuffle the statements of a constitution", action="store_true", required=False)
    stage.setting("--shard", "draw only these examples, 03-of-64 for example", required=False)
    stage.input("--shards", "join what other jobs have drawn, FOLDER/shard-*-of-64.jsonl for example", required=False)
    stage.output("--output", "examples to write")
    stage.output("--counts", "JSON counts to write, unless it is a shard", required=False)
    stage.run(main, recorded=lambda arguments: not arguments.shard)  # the joined file has the record of all shards
