"""Relevance: responses scored under their own query and under others, against plain sequences and on a real model."""

import pytest
import torch

from sami.data.prompts import prompt_tokens
from sami.data.queries import other_queries
from sami.distributed.processes import processes
from sami.errors import UserError
from sami.models.pretrained import load, load_tokenizer
from sami.records import CONTEXTS, Constitution, Example, Message, Query, Response, Statement
from sami.scoring.relevance import candidates, relevance
from sami.scoring.responses import Source, Texts
from sami.settings.tasks import Prompts
from sami.settings.training import Engine

PROMPTS = Prompts(
    style="chat", generation="{constitution}\n\n{query}", training="{constitution}\n\n{query}",
    without_constitution="{query}",
)  # fmt: skip
ANSWERS = {
    "Which tool is used to tighten a hex bolt?": "A wrench or an Allen key tightens a hex bolt.",
    "What is the capital of France?": "The capital of France is Paris.",
    "How do bees make honey?": "Bees collect nectar from flowers and turn it into honey in the hive.",
    "Who wrote Romeo and Juliet?": "William Shakespeare wrote the play Romeo and Juliet.",
}
QUERIES = {f"q{n}": Query(id=f"q{n}", task="everyday", text=text) for n, text in enumerate(ANSWERS)}
CONSTITUTIONS = {
    name: Constitution(
        id=name, set_id="s", writer="human", statements=[Statement(principle="p", wanted=wanted, text=text)]
    )
    for name, wanted, text in (("p", True, "Answer in one short sentence."), ("-p", False, "Write a poem."))
}
ENGINE = Engine(
    scoring="auto", tokens_per_pass=1024, activation_checkpointing="none", processes=1, checkpoint_steps=1,
    tokens_per_job=None, trackers=[],
)  # fmt: skip


def examples(answers=None):
    """One example a query; the second constitution's response is the first one's, said twice."""
    return [
        Example(
            query_id=name,
            set_id="s",
            constitution_ids=["p", "-p"],
            order=[0],
            policy="iteration-1",
            responses=[
                Response(text=text, constitution=label, tokens=None, finish=None)
                for label, text in enumerate((answer, f"{answer} {answer}" if answer else ""))
            ],
        )
        for name, answer in zip(QUERIES, answers or ANSWERS.values(), strict=True)
    ]


def scored(folder, found, others=3, seed=1, prompts=PROMPTS, contexts=CONTEXTS):
    with processes() as group:
        texts = Texts(QUERIES, CONSTITUTIONS, prompts)
        source = Source("iteration-1", found, "here")
        return relevance(folder, "base", source, texts, others, seed, ENGINE, group, contexts)


def test_sums_are_those_of_plain_sequences(tiny):
    model, tokenizer = load(tiny, torch.float32), load_tokenizer(tiny)
    for record in scored(tiny, examples(), others=2):
        example = next(e for e in examples() if e.query_id == record.query_id)
        response = example.responses[record.number]
        answer = tokenizer(response.text, add_special_tokens=False)["input_ids"]
        constitution = CONSTITUTIONS[example.constitution_ids[response.constitution]].statements[0].text
        assert record.tokens == len(answer)
        for before, found in (("", record.alone), (f"{constitution}\n\n", record.with_constitution)):
            for name, value in zip(record.candidates, found, strict=True):
                prompt = prompt_tokens([Message(role="user", content=before + QUERIES[name].text)], tokenizer)
                with torch.no_grad():
                    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
                expected = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).sum()
                assert value == pytest.approx(expected.item(), rel=1e-4)


def test_a_context_that_nobody_asks_for_is_left_out(tiny):
    for both, one in zip(scored(tiny, examples()), scored(tiny, examples(), contexts=["alone"]), strict=True):
        assert one.with_constitution is None
        assert one.model_copy(update={"with_constitution": both.with_constitution}) == both


def test_the_tokens_of_another_tokenizer_are_not_taken_for_those_of_the_text(tiny):
    tokenizer = load_tokenizer(tiny)
    plain = scored(tiny, examples())
    for shift in (1, len(tokenizer)):  # tokens of another text, and tokens that this tokenizer does not have

        def strange(response, shift=shift):
            ids = tokenizer(response.text, add_special_tokens=False)["input_ids"]
            return response.model_copy(update={"token_ids": [token + shift for token in ids]})

        found = [e.model_copy(update={"responses": [*map(strange, e.responses)]}) for e in examples()]
        assert scored(tiny, found) == plain


def test_candidates_are_the_same_for_all_policies_and_begin_with_the_own_query():
    first, second = (candidates(of, QUERIES, 2, 1) for of in (examples(), examples()[::-1]))
    assert first == second  # in whatever order they come
    for name, queries in first.items():
        names = [query.id for query in queries]
        assert names[0] == name
        assert len(set(names)) == 3
    assert candidates(examples(), QUERIES, 2, 2) != first
    assert all(len(queries) == 4 for queries in candidates(examples(), QUERIES, 9, 1).values())  # there are no more


def test_a_query_with_the_same_text_is_no_other_query():
    again = Query(id="again", task="everyday", text=QUERIES["q0"].text)
    drawn = other_queries(QUERIES["q0"], [*QUERIES.values(), again], 9, 1)
    assert sorted(query.id for query in drawn) == ["q1", "q2", "q3"]
    with pytest.raises(UserError, match="query 'q0': found no query with another text"):
        candidates([e for e in examples() if e.query_id == "q0"], QUERIES, 3, 1)


def test_an_answer_belongs_to_its_query_and_one_of_another_query_does_not(smollm2):
    for record in scored(smollm2, examples()):
        assert max(record.alone) == record.alone[0]
        assert max(record.with_constitution) == record.with_constitution[0]
    moved = [*ANSWERS.values()][1:] + [*ANSWERS.values()][:1]
    for record in scored(smollm2, examples(moved)):
        assert max(record.alone) > record.alone[0]
        assert record.candidates[record.alone.index(max(record.alone))] == f"q{(int(record.query_id[1]) + 1) % 4}"


def test_an_empty_response_is_equally_likely_everywhere(tiny):
    answers = [*ANSWERS.values()]
    answers[2] = ""
    found = scored(tiny, examples(answers))
    empty = [record for record in found if record.query_id == "q2"]
    assert [(record.number, record.tokens) for record in empty] == [(0, 0), (1, 0)]
    assert all(set(record.alone) == {0.0} == set(record.with_constitution) for record in empty)
    assert len(found) == 8
    assert all(record.tokens for record in found if record.query_id != "q2")


def test_a_task_without_a_bare_prompt_is_refused(tiny):
    with pytest.raises(UserError, match="'prompts.without_constitution' is null"):
        scored(tiny, examples(), prompts=PROMPTS.model_copy(update={"without_constitution": None}))
