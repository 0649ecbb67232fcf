"""The check of a machine: one line for each part, a remedy for each failure, and an exit code."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jobs import verify
from jobs.common.requirements import Requirement, requirements
from tests.conftest import REPOSITORY


@pytest.fixture
def quick(monkeypatch):
    """Without TensorFlow, whose import takes seconds."""
    monkeypatch.setattr(verify, "check_tensorflow", lambda *run: iter([("ok", "TensorFlow: 1")]))


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A function that makes a program of the given name that prints some lines."""

    def make(name, *lines, code=0):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        text = "\n".join(lines)
        path.write_text(f"#!/bin/sh\ncat << 'END'\n{text}\nEND\nexit {code}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
        return path

    return make


def test_help_is_printed_and_checks_nothing(capsys):
    with pytest.raises(SystemExit) as caught:
        verify.main(["--help"])
    shown = capsys.readouterr().out
    assert caught.value.code == 0 and "usage: python -m jobs.verify [-h]" in shown
    assert "Exit codes: 0 no failure" in shown and "Python:" not in shown


def test_an_unknown_option_is_refused_with_the_code_of_bad_arguments(capsys):
    with pytest.raises(SystemExit) as caught:
        verify.main(["--no-such-option"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --no-such-option" in capsys.readouterr().err


def test_a_run_that_is_whole_passes_every_check(tiny_run, quick, capsys):
    assert verify.main([str(tiny_run.paths.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line[:8].strip() for line in lines} <= {"ok", "warning"}
    assert "ok       run: 2 points" in lines
    assert f"ok       packages: {', '.join(one.package for one in requirements())}" in lines
    for text in ("atomic replace", "hard link", "lock between two processes"):
        assert f"ok       file system: {text}" in lines
    assert not list(tiny_run.paths.root.glob(".verify_*"))


def test_without_a_run_the_current_folder_is_checked(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert verify.main([]) == 0
    shown = capsys.readouterr().out
    assert f"free in {tmp_path}, 1.0 GB needed at most" in shown and "run:" not in shown


def test_a_folder_that_is_not_there_is_one_failure_and_no_traceback(quick, tmp_path, capsys):
    assert verify.main([str(tmp_path / "none")]) == 1
    shown = capsys.readouterr()
    assert "FAILURE  run: " in shown.out and "make one with: python make_grid.py" in shown.out
    assert shown.err == ""


def test_a_folder_that_is_no_run_is_a_failure_and_its_file_system_is_checked(quick, tmp_path, capsys):
    assert verify.main([str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "FAILURE  run: " in shown and "ok       file system: atomic replace" in shown


def test_other_data_than_those_of_the_run_are_a_failure(tiny_run, quick, capsys, monkeypatch):
    monkeypatch.setattr(verify, "check_packages", lambda wanted: iter([]))
    (run_line, data_line) = verify.check_run(tiny_run)
    assert run_line == ("ok", "run: 2 points") and data_line[0] == "ok"
    object.__setattr__(tiny_run, "fingerprint", "8x8x8-0")
    (_, data_line) = verify.check_run(tiny_run)
    assert data_line[0] == "FAILURE" and data_line[1].endswith("expected 8x8x8-0; make the run again")
    pixels = tiny_run.paths.data / "train_images.npy"
    content = bytearray(pixels.read_bytes())
    pixels.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (_, data_line) = verify.check_run(tiny_run)
    assert data_line[0] == "FAILURE" and "train_images.npy is damaged in chunk 0 of 1" in data_line[1]
    (tiny_run.paths.data / "pack.json").write_bytes(b"no data")
    (_, data_line) = verify.check_run(tiny_run)
    assert data_line[0] == "FAILURE" and "cannot be read" in data_line[1]


def test_each_missing_package_is_named_and_the_checks_that_need_it_are_left_out(quick, monkeypatch, capsys):
    wanted = (Requirement("numpy", "1.0"), Requirement("no_such_one", "1.0"), Requirement("nor_this", "2.0"))
    assert [level for level, _ in verify.check_packages(wanted)] == ["FAILURE"]
    monkeypatch.setattr(verify, "requirements", lambda: wanted)
    assert verify.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("FAILURE  packages: no_such_one, nor_this missing")
    assert lines[1].endswith("install them with: bash jobs/make_environment.sh")


@pytest.mark.parametrize(
    ("version", "level", "words"),
    [
        ("3.29.9", "warning", "filelock 3.29.9 (expected 3.30 or newer)"),
        ("3.30", "ok", "packages: filelock"),
        ("3.4", "warning", "filelock 3.4 (expected 3.30 or newer)"),
        ("", "ok", "packages: filelock"),  # there, but of unknown version
    ],
)
def test_a_package_that_is_too_old_gives_a_warning(monkeypatch, version, level, words):
    monkeypatch.setattr(Requirement, "installed", lambda self: version)
    ((found, line),) = verify.check_packages([Requirement("filelock", "3.30")])
    assert found == level and words in line


def test_it_starts_where_no_package_is_installed():
    names = [one.module for one in requirements()]
    code = f"import sys; sys.modules |= dict.fromkeys({names}); import jobs.verify"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


@pytest.mark.parametrize(
    ("version", "level"),
    [((3, 9, 18), "FAILURE"), ((3, 10, 0), "ok"), ((3, 13, 9), "ok"), ((3, 14, 0), "FAILURE")],
)
def test_the_versions_of_python_are_those_that_were_tested(monkeypatch, version, level):
    monkeypatch.setattr(sys, "version_info", version)
    ((found, line),) = verify.check_python()
    assert found == level and ".".join(map(str, version)) in line


@pytest.mark.parametrize(
    ("answer", "code", "level", "words"),
    [
        (
            "2.16.1 3.0.5 /physical_device:GPU:0 True",
            0,
            "ok",
            "TensorFlow: 2.16.1, Keras 3.0.5, GPU /physical_device:GPU:0",
        ),
        ("2.16.1 3.10.0 - False", 0, "warning", "no GPU here"),
        ("2.16.1 3.0.4 gpu False", 0, "FAILURE", "Keras: 3.0.4; expected 3.0.5 or newer"),
        ("2.15.0 2.15.0 gpu False", 0, "FAILURE", "Keras: 2.15.0; expected 3.0.5 or newer"),
        ("", 1, "FAILURE", "TensorFlow: cannot be imported (no output)"),
        ("2.16.1 3.0.5 gpu True", 1, "FAILURE", "TensorFlow: cannot be imported (no output)"),
    ],
)
def test_tensorflow_is_imported_in_a_process_of_its_own(monkeypatch, program, answer, code, level, words):
    monkeypatch.setattr(sys, "executable", str(program("fake_python", answer, code=code)))
    found = list(verify.check_tensorflow())
    assert found[0][0] == level and words in found[0][1]


@pytest.mark.parametrize(
    ("site", "job", "level", "words"),
    [
        ({}, "7.pbs", "FAILURE", "TensorFlow sees no GPU, although the job asked for 1 GPU. "),
        ({}, None, "warning", "no GPU here, so it would run on the CPU; most login nodes have none"),
        ({"allow_cpu": True}, "7.pbs", "warning", "no GPU here, so points train on the CPU (allow_cpu). "),
        ({"ngpus": 0}, "7.pbs", "ok", "on the CPU (ngpus: 0 in the site block)"),
        ({"ngpus": 0}, None, "ok", "on the CPU (ngpus: 0 in the site block)"),
    ],
)
def test_inside_a_job_a_gpu_that_was_requested_must_be_there(
    monkeypatch, program, tiny_run, site, job, level, words
):
    monkeypatch.setattr(sys, "executable", str(program("fake_python", "2.16.1 3.10.0 - False")))
    monkeypatch.delenv("PBS_JOBID", raising=False)
    if job:
        monkeypatch.setenv("PBS_JOBID", job)
    tiny_run.site.update(site)
    ((found, line),) = verify.check_tensorflow(tiny_run)
    assert found == level and line.startswith("TensorFlow: 2.16.1, Keras 3.10.0") and words in line
    assert ("tensorflow-cpu" in line) is (job is not None and tiny_run.site["ngpus"] > 0)
    if level == "ok":
        return
    monkeypatch.setattr(sys, "executable", str(program("fake_python", "2.16.1 3.10.0 GPU:0 True")))
    assert list(verify.check_tensorflow(tiny_run)) == [("ok", "TensorFlow: 2.16.1, Keras 3.10.0, GPU GPU:0")]


def test_on_the_login_node_queue_and_nodes_are_compared_and_the_check_of_a_node_is_printed(
    pbs, tiny_run, quick, capsys, monkeypatch
):
    tiny_run.site.update(ngpus=9)
    monkeypatch.setattr(verify, "_read", lambda root: (tiny_run, ""))
    root = tiny_run.paths.root
    assert verify.main([str(root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "ok       queue: workq (the server's default)" in lines
    assert any(line.startswith("FAILURE  nodes: no node can ever run a sub-job") for line in lines)
    assert pbs.calls("qstat") == [["-Bf", "-F", "json"], ["-Qf", "-F", "json"]]
    line = lines[-2].removeprefix("next     check a node as well: ")
    assert lines[-1] == f"next     its result: {root / 'logs' / 'verify_job.log'}"
    submitted = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True, cwd="/")
    assert submitted.stdout == "1.pbshost\n"
    monkeypatch.setenv("PBS_JOBID", "1.pbshost")
    assert verify.main([str(root)]) == 0
    shown = capsys.readouterr().out
    assert "queue:" not in shown and "next" not in shown and len(pbs.calls("qstat")) == 2


def test_a_python_in_a_container_reads_what_pbs_printed_outside(
    pbs, tiny_run, quick, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "server").write_text(
        '{"Server": {"vm": {"default_queue": "q", "job_history_enable": "True"}}}'
    )
    (answers / "queues").write_text('{"Queue": {"q": {"enabled": "False"}}}')
    assert verify.main([str(tiny_run.paths.root), "--answers", str(answers)]) == 1
    shown = capsys.readouterr().out
    assert "FAILURE  queue: q is disabled" in shown and "warning  nodes: not known" in shown
    assert "next     check a node as well: qsub -N unet_verify" in shown
    assert verify.main([str(tiny_run.paths.root)]) == 0
    shown = capsys.readouterr().out
    assert "queue:" not in shown and "next" not in shown


@pytest.mark.parametrize(("free", "level"), [(1_000_000_000, "ok"), (999_000_000, "FAILURE")])
def test_less_space_than_a_run_needs_is_a_failure(monkeypatch, tmp_path, free, level):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    assert next(verify.check_space(tmp_path, None))[0] == level


def test_the_space_that_a_run_needs_grows_with_its_models(tiny_run):
    from unet_models.networks.parameters import parameter_count

    parameters = 2 * parameter_count("UNet", base_filters=2, levels=5)
    # 4 bytes for each of: the best weights; in a checkpoint the weights, the best ones and two slots of Adam
    assert verify._needed_gb(tiny_run) == pytest.approx(0.1 + parameters * 20 / 1e9)


@pytest.mark.parametrize(
    ("lines", "level"),
    [(["/home 10G 20G 30G"], "ok"), (["/home 10G 20G 30G", "/data 31G* 20G 30G"], "FAILURE")],
)
def test_a_quota_that_is_used_up_is_a_failure(tmp_path, program, lines, level):
    program("quota", *lines)
    found = list(verify.check_space(tmp_path, None))
    assert found[1][0] == level
    assert ("/data 31G*" in found[1][1]) is (level == "FAILURE")


def test_without_a_quota_command_the_quota_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    _, (level, line) = verify.check_space(tmp_path, None)
    assert level == "warning" and line.startswith("quota: not known, because there is no quota command here")


def test_a_lock_that_keeps_nobody_out_is_found(tmp_path, monkeypatch):
    import filelock

    monkeypatch.setattr(filelock, "FileLock", lambda path, timeout=0: contextlib.nullcontext())
    level, line = verify._attempt("lock", lambda: verify._exclude(tmp_path))
    assert level == "FAILURE" and "two processes had the lock at the same time" in line


def test_a_file_system_without_hard_links_gives_a_warning(tmp_path, monkeypatch):
    def refuse(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    levels = {line.split(": ")[1]: level for level, line in verify.check_file_system(tmp_path)}
    assert levels == {"atomic replace": "ok", "hard link": "warning", "lock between two processes": "ok"}


def test_a_folder_that_nobody_may_write_is_a_failure(tmp_path, monkeypatch):
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    ((level, line),) = verify.check_file_system(tmp_path)
    assert level == "FAILURE" and line.endswith("use another --run-dir")
