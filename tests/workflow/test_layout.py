"""Paths of a run, and the chunks in which responses are sampled."""

import math

from hypothesis import given
from hypothesis import strategies as st

from sami.workflow.layout import job_count, joined_file


@given(st.integers(1, 3000), st.integers(2, 16), st.integers(1, 400), st.integers(1, 2_000_000))
def test_jobs_are_as_few_as_the_tokens_allow(examples, responses, new_tokens, tokens_per_job):
    jobs = job_count(examples, responses, new_tokens, tokens_per_job)
    tokens = examples * responses * new_tokens
    assert jobs == 1 or (jobs - 1) * tokens_per_job < tokens
    # An example is not split, so a job may exceed the wanted tokens by less than one of them.
    largest = math.ceil(examples / jobs) * responses * new_tokens
    assert largest < tokens_per_job + responses * new_tokens or jobs == examples
    assert job_count(examples, responses, new_tokens, None) == 1


def test_file_of_a_shard():
    assert joined_file("x/responses/shard-03-of-64.jsonl") == "x/responses.jsonl"
    assert joined_file("x/responses.jsonl") == "x/responses.jsonl"
