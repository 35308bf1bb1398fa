"""Paths of a run, and the chunks in which responses are sampled (files shard-03-of-64.jsonl).

    layout = Layout(results="results", resources="resources")
    layout.path(EVAL_RESPONSES, experiment="quickstart", policy="iteration-1")
    layout.pattern(EVAL_RESPONSES)          # with {experiment} and {policy}, as rules have it

Each name below is a path in the folder of an experiment; what stands in braces is a wildcard of the workflow. What
divides the items of a chunk is in `sami.sampling.shards`.
"""

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sami.lineage import provenance_record
from sami.sampling import shards
from sami.settings.experiment import Experiment
from sami.settings.sampling import Sampling

FORMAT_VERSION = 2  # of all that stands in the folder of results: names of files, and fields of records

TRAIN_QUERIES = "queries/train.jsonl"
EVAL_QUERIES = "queries/eval.jsonl"
TEST_QUERIES = "queries/test.jsonl"
DEMONSTRATED_QUERIES = "queries/demonstrated.jsonl"
PRINCIPLES = "principles.jsonl"
CONSTITUTIONS = "constitutions.jsonl"
PROPOSED = "screening/principles.jsonl"  # all pairs, where some of them are to be kept
SCREENING_CONSTITUTIONS = "screening/constitutions.jsonl"
SCREENING_RESPONSES = "screening/responses.jsonl"
SCREENING_COUNTS = "screening/sampling.json"
SCREENED = "screening/screened.jsonl"
SCREENING_TABLES = "screening/tables"
SCREENING_FIGURES = "screening/figures"
HELD_OUT = "held-out/"  # before the two above
RESPONSES = "iteration-{iteration}/responses.jsonl"
RESPONSE_CHUNK = "iteration-{iteration}/responses/shard-{shard}.jsonl"
TRAINING_RELEVANCE = "iteration-{iteration}/relevance.jsonl"
PAIRS = "iteration-{iteration}/pairs.jsonl"
REWARDS = "iteration-{iteration}/rewards.jsonl"
COMPARISONS = "iteration-1/comparisons.jsonl"  # a reward model is trained once, and serves all iterations
REWARD_MODEL = "iteration-1/reward-model"
REWARD_MODEL_CHECKPOINTS = "iteration-1/reward-model-checkpoints"
REWARD_MODEL_SCORES = "iteration-1/reward-model.jsonl"
REWARD_MODEL_MEASURES = "iteration-1/reward-model.json"
LABELS = "iteration-{iteration}/labels.jsonl"
ATTRIBUTE_MODEL = "attribute-model"  # folder of the model that labels responses, where it is learned
ATTRIBUTE_MODEL_CHECKPOINTS = "attribute-model-checkpoints"
EXAMPLES = "iteration-{iteration}/examples.jsonl"
EXAMPLE_COUNTS = "iteration-{iteration}/examples.json"
SAMPLING_COUNTS = "iteration-{iteration}/sampling.json"
MODEL = "iteration-{iteration}/model"
TRAINING_LOG = "iteration-{iteration}/training.jsonl"
CHECKPOINTS = "iteration-{iteration}/checkpoints"
TENSORBOARD = "tensorboard/iteration-{iteration}"
EVAL_RESPONSES = "{policy}/eval/responses.jsonl"
EVAL_RESPONSE_CHUNK = "{policy}/eval/responses/shard-{shard}.jsonl"
CANDIDATES = "{policy}/eval/candidates.jsonl"  # of a policy that keeps the best of several responses
CANDIDATE_CHUNK = "{policy}/eval/candidates/shard-{shard}.jsonl"
CANDIDATE_RELEVANCE = "{policy}/eval/candidate-relevance.jsonl"
CANDIDATE_REWARDS = "{policy}/eval/rewards.jsonl"
EVAL_SAMPLING_COUNTS = "{policy}/eval/sampling.json"
SCORES = "iteration-{iteration}/eval/scores.jsonl"
RELEVANCE = "{policy}/eval/relevance.jsonl"
STEERED = "{policy}/eval/steering.jsonl"
RECOGNISED = "{policy}/eval/recognised-{judge}.jsonl"
IDENTIFICATION_TABLES = "identification/tables"  # folder on judges by identification, where there are any
VERDICTS = "{policy}/eval/verdicts-{judge}-vs-{comparator}.jsonl"
WRITER_SERVER = "servers/writer.json"
HELD_OUT_WRITER_SERVER = "servers/held-out-writer.json"
JUDGE_SERVER = "servers/judge-{judge}-{policy}-vs-{comparator}.json"
SUMMARY = "tables/summary.csv"
JOINED_SUMMARY = "tables/joined.csv"  # of runs with several seeds
REPORT = "report.html"
STEERING_TABLES = "steering/tables"  # folders on what policies make of attributes, where they know of any
STEERING_FIGURES = "steering/figures"
LABEL_TABLES = "labels/tables"  # folder on labels that a model predicts, where one does

_VERDICTS_JOB = "-{judge}-{policy}-vs-{comparator}"
_JOBS = {  # rule -> name of its jobs in logs and benchmarks; else that of the rule, since there is one an experiment
    "prepare_model": "prepare_model-{model}",
    "fetch_responses": "fetch_responses/{released}",
    "import_responses": "import_responses-{policy}",
    "share_results": "share_results/{shared}",
    "share_model": "share_model-{iteration}",
    "sample_responses": "sample_responses-{iteration}",
    "sample_responses_shard": "sample_responses-{iteration}/shard-{shard}",
    "score_reference": "score_reference-{iteration}",
    "train": "train-{iteration}",
    "sample_evaluation": "sample_evaluation-{policy}",
    "sample_evaluation_shard": "sample_evaluation-{policy}/shard-{shard}",
    "sample_candidates": "sample_candidates-{policy}",
    "sample_candidates_shard": "sample_candidates-{policy}/shard-{shard}",
    "choose_best": "choose_best-{policy}",
    "score_candidate_relevance": "score_candidate_relevance-{policy}",
    "score_candidate_rewards": "score_candidate_rewards-{policy}",
    "score_responses": "score_responses-{iteration}",
    "score_relevance": "score_relevance-{policy}",
    "score_training_relevance": "score_training_relevance-{iteration}",
    "score_rewards": "score_rewards-{iteration}",
    "sample_steering": "sample_steering-{policy}",
    "judge_responses": f"judge_responses{_VERDICTS_JOB}",
    "judge_by_reward_model": f"judge_by_reward_model{_VERDICTS_JOB}",
    "score_identification": "score_identification-{judge}-{policy}",
    "judge_by_identification": f"judge_by_identification{_VERDICTS_JOB}",
    "combine_verdicts": f"combine_verdicts{_VERDICTS_JOB}",
    "serve_judge": f"serve_judge{_VERDICTS_JOB}",
}


def log(rule: str) -> str:
    """Log of a job of a rule, in the folder of an experiment (of `resources`, for what experiments share).

    Rules that make a method's examples stand in no list here: they give the name of their jobs, such as
    "build_x_examples-{iteration}".
    """
    return f"logs/{_JOBS.get(rule, rule)}.log"


def benchmark(rule: str) -> str:
    """Snakemake's record of seconds and memory of a job of a rule, named as its log is."""
    return f"benchmarks/{_JOBS.get(rule, rule)}.tsv"


@dataclass(frozen=True)
class Layout:
    """The two folders of a configuration, and the paths in them."""

    results: str
    resources: str

    def pattern(self, path: str) -> str:
        """A path in the folder of an experiment, with wildcards."""
        return f"{self.results}/{{experiment}}/{path}"

    def path(self, path: str, experiment: str, **wildcards) -> str:
        """A path in the folder of an experiment."""
        return f"{self.results}/{experiment}/{path.format(**wildcards)}"

    def model(self, name: str) -> str:
        """Folder of a model of the models file."""
        return f"{self.resources}/models/{name}"

    def shared(self, path: str) -> str:
        """A log or benchmark of what experiments share."""
        return f"{self.resources}/{path}"


MOST_JOBS = 1000  # all their files stand in one command, and a scheduler should live


def sampling_jobs(experiment: Experiment, iteration: int) -> int:
    """Jobs that sample the responses of iteration 1, ..., T; where there are several, another joins their chunks."""
    if not experiment.method.samples(iteration):
        return 0
    queries, each = experiment.train_counts()[iteration - 1], responses_for_training(experiment)
    return job_count(queries, each, experiment.sampling.max_new_tokens, experiment.engine.tokens_per_job)


def evaluation_jobs(experiment: Experiment) -> int:
    """The same for the responses of one policy to the held-out queries."""
    examples, sampling = held_out_examples(experiment), experiment.evaluation.sampling
    each = responses_for_evaluation(experiment)
    return job_count(examples, each, sampling.max_new_tokens, experiment.engine.tokens_per_job)


def candidate_sampling(experiment: Experiment, policy: str) -> Sampling:
    """How a policy that keeps the best of N samples: N times as many responses to each held-out example."""
    sampling, count = experiment.evaluation.sampling, experiment.evaluation.best[policy].best_of.responses
    return sampling.model_copy(update={"responses": count * responses_for_evaluation(experiment)})


def candidate_jobs(experiment: Experiment, policy: str) -> int:
    """Jobs that sample the candidates of one policy."""
    sampling, examples = candidate_sampling(experiment, policy), held_out_examples(experiment)
    return job_count(examples, sampling.responses or 1, sampling.max_new_tokens, experiment.engine.tokens_per_job)


def held_out_queries(experiment: Experiment) -> str:
    """The queries that policies are evaluated on."""
    return TEST_QUERIES if experiment.queries.split == "test" else EVAL_QUERIES


def held_out_examples(experiment: Experiment) -> int:
    """Examples for evaluation: a held-out query has a set of training principles, and may have one of held-out."""
    return experiment.queries.held_out * (2 if experiment.constitutions.held_out else 1)


def responses_for_evaluation(experiment: Experiment) -> int:
    """R, the responses to each held-out example."""
    prompts = experiment.constitutions.per_set if experiment.evaluation.sampled_under == "all" else 1
    return experiment.evaluation.sampling.responses or prompts


def responses_for_training(experiment: Experiment) -> int:
    """R, the responses that are drawn for each training query."""
    if not experiment.method.draws_responses:
        return 0
    prompts = experiment.constitutions.per_set if experiment.method.sampled_under == "all" else 1
    return experiment.sampling.responses or prompts


def job_count(examples: int, responses: int, max_new_tokens: int, tokens_per_job: int | None) -> int:
    """Number of jobs that sample `responses` responses of at most `max_new_tokens` tokens to each example.

    `tokens_per_job` is the most that one job generates, None for a single job. An example is never split.
    """
    if tokens_per_job is None:
        return 1
    return min(examples, math.ceil(examples * responses * max_new_tokens / tokens_per_job))


def check_jobs(experiment: Experiment) -> None:
    """Raises ValueError where an experiment samples in more jobs than `MOST_JOBS`."""
    iterations = range(1, experiment.iterations + 1)
    candidates = (candidate_jobs(experiment, policy) for policy in experiment.evaluation.best)
    jobs = max(evaluation_jobs(experiment), *candidates, *(sampling_jobs(experiment, t) for t in iterations))
    if jobs > MOST_JOBS:
        raise ValueError(
            f"'engine.tokens_per_job: {experiment.engine.tokens_per_job}' splits the sampling of a policy into {jobs} "
            f"jobs, expected at most {MOST_JOBS}; raise it"
        )


def chunks(responses: str, queries: int, sampling: Sampling, jobs: int) -> list[str]:
    """The chunks that a file of responses is joined from; none where one job samples everything.

    A finished file keeps its number of chunks, so that another `engine.tokens_per_job` does not make it out of date.
    """
    count = finished_jobs(responses, (queries, sampling.responses, sampling.max_new_tokens)) or jobs
    return chunk_files(responses, count)


def chunk_files(path: str, jobs: int) -> list[str]:
    """The files of jobs that share a file, or what is named like it: {path without ending}/shard-3-of-9.jsonl."""
    return shards.files(shards.together(os.path.splitext(path)[0], jobs)) if jobs > 1 else []


def all_chunks(files: Sequence[str]) -> str | None:
    """The name of all chunks of a file together; None where there are none."""
    return shards.together(os.path.dirname(files[0]), len(files)) if files else None


def joined_file(path: str) -> str:
    """The file of which a path is a chunk; other paths as they are."""
    return re.sub(r"/shard-\d+-of-\d+(\.jsonl)$", r"\1", path)


def finished_jobs(responses: str | Path, size: tuple[int, int | None, int]) -> int | None:
    """Number of jobs that sampled a file, by its provenance record.

    None where there is no such file, or one of another size: queries, `responses` and `max_new_tokens` of the settings.
    """
    try:
        record = json.loads(provenance_record(responses).read_bytes())
        arguments, joined = record["arguments"], record["inputs"].get("shards")
        found = arguments["count"], arguments["sampling"]["responses"], arguments["sampling"]["max_new_tokens"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # none, or none of ours
        return None
    if size != found:
        return None
    return len(shards.files(next(iter(joined)))) if joined else 1
