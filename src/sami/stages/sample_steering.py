"""Asks a policy for values of attributes: held-out queries, each with every value of every attribute in turn.

Reads   a model folder, queries (Query), principles (Principle), and labels (Label) that say which values are typical
Writes  responses (Steered), with what was asked and how far they have each attribute

    python -m sami.stages.sample_steering --help
"""

import logging

from sami import records
from sami.data.labels import attributes_prompt
from sami.errors import within
from sami.judging.checks import degree
from sami.methods.steerlm import Question, attributes, questions, typical
from sami.models.startup import import_libraries
from sami.records import Label, Principle, Query, Steered
from sami.settings.methods import SteerLM
from sami.settings.sampling import Sampling
from sami.settings.tasks import Prompts
from sami.settings.training import Engine
from sami.stage import Stage

log = logging.getLogger(__name__)


def sample(arguments, asked: list[tuple[Query, Question]]) -> list[tuple[str, int]]:
    """Text and number of tokens of a response to each. The length of every prompt is checked before the first one."""
    import_libraries()
    from sami.data.prompts import prompt_tokens
    from sami.models import pretrained
    from sami.sampling.factory import open_sampler
    from sami.sampling.sampler import Request, check_lengths

    tokenizer = pretrained.load_tokenizer(arguments.model)
    requests, longest = [], {}
    for query, question in asked:
        texts = arguments.prompts, arguments.template, arguments.method.words
        prompt = attributes_prompt(query.text, question.asked, *texts)
        tokens = prompt_tokens(prompt, tokenizer)
        longest[query.id] = max(longest.get(query.id, []), tokens, key=len)
        requests.append(Request(tokens, f"{arguments.seed}-{query.id}-{question.attribute}-{question.value}"))
    new_tokens = arguments.sampling.max_new_tokens
    check_lengths(longest, new_tokens, pretrained.context_length(pretrained.config(arguments.model)))
    sampler = open_sampler(
        arguments.sampling.sampler,
        arguments.model,
        tokenizer,
        longest=max(map(len, longest.values())) + new_tokens,
        tensor_parallel=arguments.engine.tensor_parallel if arguments.engine else 1,
    )
    completions = sampler.generate(requests, arguments.sampling, arguments.stop)
    return [(completion.text, completion.tokens) for completion in completions]


def main(arguments) -> None:
    with within(str(arguments.principles)):
        checks = attributes(records.read(Principle, arguments.principles), arguments.method)
    queries = records.read(Query, arguments.queries)[: arguments.method.steering.queries]
    usual = typical(records.read(Label, arguments.labels))
    asked_of_each = questions(usual, list(checks), arguments.method)
    asked = [(query, question) for query in queries for question in asked_of_each]
    steered = [
        Steered(
            query_id=query.id,
            policy=arguments.policy,
            **question._asdict(),
            text=text,
            tokens=tokens,
            degrees={name: degree(check, text) for name, check in checks.items()},
        )
        for (query, question), (text, tokens) in zip(asked, sample(arguments, asked), strict=True)
    ]
    log.info("%d responses to %d queries, typical values: %s", len(steered), len(queries), usual)
    records.write(steered, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the policy")
    stage.input("--queries", "held-out queries, one record a line")
    stage.input("--principles", "principles, one record a line")
    stage.input("--labels", "labels of the responses that were learned in iteration 1, one record a line")
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.setting("--template", "prompt, with the fields {query} and {attributes}")
    stage.setting("--stop", "strings that end a response", nargs="*", default=[], required=False)
    stage.structured("--method", SteerLM, "attributes, their values, and how many queries are asked")
    stage.structured("--sampling", Sampling, "how to draw")
    stage.structured("--engine", Engine, "GPUs of the sampler vllm (default: one)", required=False)
    stage.setting("--policy", "name of the policy, kept in the records")
    stage.setting("--seed", "seed of the responses", type=int)
    stage.output("--output", "responses to write")
    stage.run(main)
