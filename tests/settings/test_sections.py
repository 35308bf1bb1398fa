"""What sections of the settings compute from their keys; tests of how values are checked are in tests/workflow."""

import pytest

from sami.settings.endpoints import EndpointUser
from sami.settings.evaluation import Published
from sami.settings.resources import Hardware, Job, Resources, TrainingJob

HARDWARE = {
    "memory_gib": 8,
    "overhead_gib": 0.5,
    "flops": {"float32": 1e11},
    "utilisation": {"training": 0.5, "scoring": 0.5, "sampling": 0.5},
    "bandwidth": 1e10,
    "layer_seconds": {},
    "disk": 1e8,
    "start_seconds": 1,
}


def test_resources_of_a_kind_lie_over_those_of_all():
    resources = Resources(all=Job(mem_mb=1000, runtime=60), sample=Job(mem_mb=4000, gpus=0), train=TrainingJob(nodes=2))
    sample, train, light = (resources.of(kind) for kind in ("sample", "train", "light"))
    assert (sample.mem_mb, sample.runtime, sample.gpus, sample.nodes) == (4000, 60, 0, None)
    assert (train.mem_mb, train.nodes) == (1000, 2)
    assert light == resources.of("all")
    assert resources.set_at("sample", "mem_mb") == ("sample", "mem_mb")
    assert resources.set_at("sample", "runtime") == ("all", "runtime")


def test_memory_of_all_is_needed():
    with pytest.raises(ValueError, match="'all' lacks 'mem_mb'"):
        Resources(sample=Job(mem_mb=1))


@pytest.mark.parametrize(("kind", "gpu"), [("gpu", True), ("cpu", False)])
def test_hardware_is_a_gpu_or_a_whole_machine(kind, gpu):
    assert Hardware(kind=kind, **HARDWARE).is_gpu == gpu


def test_fields_of_a_request():
    user = EndpointUser(
        temperature=None, max_tokens=5, token_limit="max_completion_tokens", extra_body={"reasoning_effort": "low"}
    )
    assert user.parameters(seed=3) == {"max_completion_tokens": 5, "seed": 3, "reasoning_effort": "low"}
    assert user.parameters(seed=None) == {"max_completion_tokens": 5, "reasoning_effort": "low"}


def test_published_win_rate_is_a_range():
    assert Published(comparator="base", win_rate=0.7).range == (0.7, 0.7)
    assert Published(comparator="base", win_rate=[0.6, 0.7]).range == (0.6, 0.7)
