from __future__ import annotations

import os

import pytest

from jobs.errors import UserError
from jobs.gpus import claimed_gpu


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node with two GPUs, the first of which computes for somebody else."""
    (tmp_path / "nvidia-smi").write_text(
        '#!/bin/sh\ncase "$1" in\n--query-gpu*) printf "GPU-a\\nGPU-b\\n";;\n*) echo GPU-a;;\nesac\n'
    )
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PBS_JOBID", "1[2].x")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def test_sub_jobs_of_one_node_claim_different_gpus_free_ones_first(node):
    quiet = {"folder": node, "wait": 0.2, "say": lambda text: None}
    with claimed_gpu(**quiet) as first:
        assert first == "GPU-b" and os.environ.pop("CUDA_VISIBLE_DEVICES") == "GPU-b"
        with claimed_gpu(**quiet) as second:
            assert second == "GPU-a"
            del os.environ["CUDA_VISIBLE_DEVICES"]
            with pytest.raises(UserError, match="all 2 GPUs of this node are claimed"), claimed_gpu(**quiet):
                pass
    with claimed_gpu(**quiet) as again:
        assert again == "GPU-b"


@pytest.mark.parametrize("value", ["GPU-uuid", "3", ""])
def test_what_the_site_has_set_is_never_touched(node, monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    with claimed_gpu(folder=node) as gpu:
        assert gpu is None and os.environ["CUDA_VISIBLE_DEVICES"] == value


def test_outside_a_pbs_job_nothing_is_claimed(node, monkeypatch):
    monkeypatch.delenv("PBS_JOBID")
    with claimed_gpu(folder=node) as gpu:
        assert gpu is None and "CUDA_VISIBLE_DEVICES" not in os.environ
