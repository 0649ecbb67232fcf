"""What the jobs of a run request, as numbers."""

from __future__ import annotations

import pytest

from jobs.pbs.needs import Chunk, chunks, needs
from jobs.pbs.queues import Host


def test_parts_of_a_request_are_read():
    assert chunks("select=2:ncpus=8:ngpus=1:mem=4gb:kind=a100+1:ncpus=1") == (
        Chunk({"ncpus": 8, "ngpus": 1, "mem": 4096}, {"kind": "a100"}, 2),
        Chunk({"ncpus": 1}, {}, 1),
    )
    assert chunks("ncpus=12,ngpus=1,mem=90gb") == (Chunk({"ncpus": 12, "ngpus": 1, "mem": 92160}, {}, 1),)
    assert chunks("select=ncpus=2") == (Chunk({"ncpus": 2}, {}),)


def test_a_run_requests_sub_jobs_and_a_collect_job(tiny_run):
    tiny_run.site.update(queue="gpu", collect_queue="short", max_array_size=10)
    train, collect = needs(tiny_run)
    assert (train.queue, train.jobs, train.array, train.walltime) == ("gpu", 2, 2, 14400)
    assert train.total == {"ncpus": 8, "ngpus": 1, "mem": 32768, "walltime": 14400}
    assert (collect.queue, collect.queue_setting, collect.array) == ("short", "collect_queue", 0)
    assert collect.total == {"ncpus": 1, "mem": 8192, "walltime": 3600}
    tiny_run.site.update(job_arrays=False, collect_queue=None)
    train, collect = needs(tiny_run)
    assert (train.array, collect.queue, collect.queue_setting) == (0, "gpu", "queue")


@pytest.mark.parametrize(
    ("amounts", "named", "number"),
    [
        ({"ncpus": 16, "ngpus": 2, "mem": 65536}, {}, 2),
        ({"ncpus": 100, "ngpus": 2, "mem": 65535}, {}, 1),
        ({"ncpus": 100, "ngpus": 2}, {}, 2),  # memory that is not reported does not limit
        ({"ncpus": 100, "mem": 65536}, {}, 0),  # GPUs that are not reported are not there
        ({"ncpus": 100, "ngpus": 9, "mem": 65536}, {"kind": frozenset(["a100", "all"])}, 2),
        ({"ncpus": 100, "ngpus": 9, "mem": 65536}, {"kind": frozenset(["v100"])}, 0),
    ],
)
def test_a_machine_runs_as_many_parts_as_its_scarcest_amount_allows(amounts, named, number):
    chunk = Chunk({"ncpus": 8, "ngpus": 1, "mem": 32768}, {"kind": "a100"})
    assert chunk.fits(Host("n", amounts, named=named)) == number
