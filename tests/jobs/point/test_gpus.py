from __future__ import annotations

import os
import time

import pytest

from jobs.common import schema
from jobs.common.errors import UserError
from jobs.point import gpus
from jobs.point.gpus import GpuUse, claimed_gpu


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


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The places for locks, in their order, in a folder of the test."""
    folders = []
    for name in ("shm", "runtime", "tmp", "var", "home"):
        folders.append(tmp_path / name / "mine")
        (tmp_path / name).mkdir()
    real = gpus.Path

    def path(*parts):
        known = {"/dev/shm": "shm", "/tmp": "tmp", "/var/tmp": "var"}
        if str(parts[0]) in known and len(parts) == 2:
            return tmp_path / known[str(parts[0])] / "mine"
        return real(parts[0]) / "mine" if len(parts) == 2 else real(*parts)

    monkeypatch.setattr(gpus, "Path", path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setattr(gpus, "state_file", lambda name: folders[-1])
    return folders


def in_the_way(place, kind):
    """What somebody else can make where our folder belongs."""
    if kind == "file":
        place.write_text("")
    elif kind == "link":
        (place.parent / "other").mkdir()
        place.symlink_to(place.parent / "other")
    elif kind == "dangling link":
        place.symlink_to("/nowhere")
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "open folder":
        place.mkdir()
        place.chmod(0o777)
    elif kind == "folder of another user":
        if os.geteuid() != 0:
            pytest.skip("only root gives a folder away")
        place.mkdir(mode=0o700)
        os.chown(place, 65534, 65534)


KINDS = ["file", "link", "dangling link", "pipe", "open folder", "folder of another user"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_that_somebody_else_has_taken_is_left_for_the_next(node, places, kind):
    said = []
    in_the_way(places[0], kind)
    with claimed_gpu(say=said.append, wait=0.2) as first:
        os.environ.pop("CUDA_VISIBLE_DEVICES")
        assert (places[1] / f"{first}.lock").exists()
        with claimed_gpu(say=said.append, wait=0.2) as second:  # they agree on the place
            assert {first, second} == {"GPU-a", "GPU-b"}
    assert len(said) == 2 and not (places[0].parent / "other" / "GPU-b.lock").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_no_point_fails_where_every_place_is_taken(node, places, kind):
    said = []
    for place in places:
        in_the_way(place, kind)
    with claimed_gpu(say=said.append, wait=0.2) as gpu:
        assert gpu == "GPU-b" == os.environ["CUDA_VISIBLE_DEVICES"]
    assert "no lock for the GPUs of this node can be made" in said[0] and len(said) == 2


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_no_point_fails_because_of_a_lock_file(node, tmp_path, kind):
    folder = tmp_path / "locks"
    folder.mkdir(mode=0o700)
    for gpu in ("GPU-a", "GPU-b"):
        place = folder / f"{gpu}.lock"
        place.mkdir() if kind == "folder" else os.mkfifo(place) if kind == "pipe" else place.symlink_to("/x")
    said = []
    with claimed_gpu(folder=folder, say=said.append, wait=0.2) as gpu:
        assert gpu == "GPU-b"
    assert "no lock for the GPUs" in said[0]


def driver(folder, monkeypatch, body):
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def sampled(seconds=10.0):
    """What is known when the driver's tool has printed all that it prints here."""
    with GpuUse() as use:
        until = time.monotonic() + seconds
        while use._process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
    return use.summary()


def test_the_use_of_a_gpu_is_sampled_while_it_trains(tmp_path, monkeypatch):
    driver(
        tmp_path,
        monkeypatch,
        f'echo "$@" >{tmp_path}/asked; printf "80, 1000\\n100, 2500.5\\n[N/A], 3\\n90, 2000\\n"',
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b,GPU-c")
    assert sampled() == schema.GpuUse(
        utilisation_percent_mean=90.0, utilisation_percent_max=100.0, memory_used_mb_max=2500.5, samples=3
    )
    assert (
        "--id=GPU-b" in (tmp_path / "asked").read_text() and "--loop=10" in (tmp_path / "asked").read_text()
    )


def test_a_driver_that_tells_nothing_gives_no_figures(tmp_path, monkeypatch):
    driver(tmp_path, monkeypatch, 'echo "NVIDIA-SMI has failed"; exit 9')
    assert sampled() is None
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with GpuUse() as use:
        pass
    assert use.summary() is None


def test_a_gpu_that_is_hidden_is_not_sampled(tmp_path, monkeypatch):
    driver(tmp_path, monkeypatch, f"touch {tmp_path}/asked; echo 50, 70")
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        with GpuUse() as use:
            pass
        assert use.summary() is None and not (tmp_path / "asked").exists()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert sampled().samples == 1


def test_the_driver_is_ended_with_the_training(tmp_path, monkeypatch):
    driver(tmp_path, monkeypatch, "while :; do echo 50, 70; sleep 0.05; done")
    with pytest.raises(KeyError), GpuUse() as use:
        until = time.monotonic() + 10
        while use.summary() is None and time.monotonic() < until:
            time.sleep(0.02)
        raise KeyError
    assert use._process.returncode is not None and use.summary().memory_used_mb_max == 70
