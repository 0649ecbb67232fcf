"""Everything that is written into a run has the permissions of the run, whatever the umask of the user is."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

import analyze
import collect
import make_grid
import run_point
from jobs import local, resubmit, submit
from jobs.common.errors import UserError
from jobs.grid.config import load_config
from jobs.run.index import read_run
from jobs.run.known import state_file
from jobs.run.sharing import open_run, umask_for, umask_of, written_into
from tests.conftest import REPOSITORY, TINY, write_images


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    """A function that sets the umask of this process, as a user's shell does; undone afterwards."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def project(tmp_path, write_grid):
    """A folder with grid.yaml and data."""
    write_images(tmp_path / "data")
    write_grid()
    return tmp_path


def with_site(project, line):
    (project / "grid.yaml").write_text(f"{TINY}site: {{ {line} }}\n")


@pytest.mark.parametrize(
    ("of_root", "expected"),
    [
        (0o2775, 0o002),
        (0o2770, 0o007),
        (0o2750, 0o027),
        (0o755, 0o022),
        (0o700, 0o077),
        (0o777, 0o000),
        (0o555, 0o022),
        (0o1777, 0o000),
    ],
)
def test_without_a_key_the_mode_of_the_run_directory_decides(tmp_path, umask, of_root, expected):
    root = tmp_path / "run"
    root.mkdir()
    root.chmod(of_root)
    umask(0o027)
    assert umask_for(root, None) == expected
    assert umask_for(root, "0037") == 0o037
    root.chmod(0o755)


@pytest.mark.parametrize(
    ("of_parent", "of_user", "expected"),
    [
        (0o2770, 0o077, 0o007),
        (0o2770, 0o022, 0o007),
        (0o2775, 0o027, 0o007),
        (0o2775, 0o022, 0o002),
        (0o2755, 0o077, 0o077),  # not writable by the group
        (0o775, 0o077, 0o077),  # not the group's for certain: each user's files have the user's own group
        (0o755, 0o022, 0o022),
        (0o2770, 0o177, 0o007),  # nothing is taken from the owner
    ],
)
def test_a_new_run_is_the_groups_in_a_folder_that_the_group_shares(
    tmp_path, umask, of_parent, of_user, expected
):
    tmp_path.chmod(of_parent)
    umask(of_user)
    assert umask_for(tmp_path / "run", None) == expected
    assert umask_for(tmp_path / "not" / "yet" / "run", None) == expected
    assert umask_for(tmp_path / "run", "027") == 0o027


@pytest.mark.parametrize(
    ("line", "received"),
    [
        ("umask: 0027", "27"),
        ('umask: "0722"', "'0722'"),
        ('umask: "8"', "'8'"),
        ('umask: "00077"', "'00077'"),
        ("umask: rwx", "'rwx'"),
    ],
)
def test_what_is_no_umask_is_refused(project, line, received):
    with_site(project, line)
    with pytest.raises(UserError) as refused:
        load_config(project / "grid.yaml")
    assert f"received {received}" in str(refused.value) and "such as" in str(refused.value)


def made_by(project, umask, of_user):
    """The run that a user with the umask ``of_user`` makes."""
    umask(of_user)
    assert make_grid.main([str(project / "grid.yaml"), "--run-dir", str(project / "run")]) == 0
    assert umask(of_user) == of_user  # the caller's is what it was
    return open_run(project / "run")


def test_a_run_without_a_name_is_the_groups_whatever_else_is_in_the_folder(project, umask, monkeypatch):
    project.chmod(0o2770)
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "state"))
    (project / "run").mkdir(mode=0o700)
    umask(0o077)
    assert make_grid.main([]) == 0
    (made,) = project.glob("hyperparameter_optimization_*")
    assert mode(made) & 0o777 == 0o770 and mode(made / "index.csv") == 0o660
    listed = state_file("runs.txt")
    assert mode(listed) == 0o600 and mode(listed.parent) & 0o777 == 0o700  # in the user's home


def everything_below(root: Path) -> dict[str, int]:
    return {path.relative_to(root).as_posix(): mode(path) for path in (root, *root.rglob("*"))}


def lacking(root: Path, bits: int) -> list[str]:
    """The files and folders below ``root`` that lack ``bits`` of 0666 (files) or 0777 (folders)."""
    found = []
    for name, has in everything_below(root).items():
        wanted = bits & (0o777 if (root / name).is_dir() else 0o666)
        if has & wanted != wanted:
            found.append(f"{name} {has:o}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("of_user", [0o022, 0o077])
def test_whatever_is_written_in_a_shared_run_is_the_groups(project, umask, pbs, of_user, capsys):
    """All commands, by users whose own umask would shut the group out."""
    project.chmod(0o2770)
    made_by(project, umask, of_user)
    root = project / "run"
    assert mode(root) & 0o2070 == 0o2070
    assert lacking(root, 0o770) == []
    assert run_point.main([str(root), "1"]) == 0
    assert submit.main([str(root)]) == 0
    assert resubmit.main([str(root), "--indices", "1", "--force"]) in (0, 6)
    assert collect.main([str(root)]) == 3
    assert analyze.main([str(root)]) in (0, 4)
    (project / "grid.yaml").write_text(TINY.replace("5e-3", "5e-3, 1e-2"))
    assert make_grid.main([str(project / "grid.yaml"), "--run-dir", str(root)]) == 0
    assert lacking(root, 0o660) == []
    assert {"analysis", "submissions.json", ".submit.lock", ".make_grid.lock"} <= set(everything_below(root))
    capsys.readouterr()


def test_the_log_of_a_local_runs_workers_is_the_groups(project, umask, monkeypatch, capsys):
    project.chmod(0o2770)
    made_by(project, umask, 0o077)
    root = project / "run"
    monkeypatch.setattr(local, "forkserver", type("Idle", (), {"ensure_running": staticmethod(lambda: None)}))
    monkeypatch.setattr(local, "run_local", lambda run, *_: local._context(run.paths.workers_log) is None)
    umask(0o077)
    local.main([str(root)])
    assert mode(root / "logs" / "local_workers.txt") == 0o660
    capsys.readouterr()


def test_a_private_run_stays_private(project, umask):
    made_by(project, umask, 0o077)
    assert mode(project / "run") == 0o700
    assert [name for name, has in everything_below(project / "run").items() if has & 0o077] == []
    umask(0o022)
    run = open_run(project / "run")
    assert umask(0o022) == 0o077 and umask_of(run) == 0o077


def test_the_site_block_overrides_the_mode(project, umask):
    with_site(project, 'umask: "0027"')
    made_by(project, umask, 0o077)
    assert mode(project / "run") & 0o777 == 0o750 and mode(project / "run" / "index.csv") == 0o640
    with_site(project, 'umask: "0007"')
    made_by(project, umask, 0o077)
    # The folder is not shared by a group (chmod g+ws), so that only its maker decides what is executed.
    assert mode(project / "run" / "index.csv") == 0o640 and umask_of(read_run(project / "run")) == 0o007


def test_a_report_outside_the_run_is_its_users_own(project, umask):
    project.chmod(0o2770)
    made_by(project, umask, 0o077)
    root = project / "run"
    umask(0o077)
    for folder, expected in ((root / "analysis", 0o660), (project / "mine", 0o600)):
        folder.mkdir()
        with written_into(folder, root):
            (folder / "file").touch()
        assert mode(folder / "file") == expected
    (root / "grid.yaml").write_text("no grid")  # does not keep anybody from a report
    with written_into(root, root):
        (root / "file").touch()
    assert mode(root / "file") == 0o660


def test_every_job_has_the_umask_of_the_run(project, umask, pbs, capsys):
    project.chmod(0o2770)
    made_by(project, umask, 0o077)
    capsys.readouterr()
    for command in (["--dry-run"], ["--probe", "--dry-run"]):
        assert submit.main([*command, str(project / "run")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "qsub" in line]
    assert len(lines) == 3 and all("-W umask=0007" in line for line in lines)


def test_a_job_that_was_submitted_by_hand_has_it_too(project, umask):
    project.chmod(0o2770)
    made_by(project, umask, 0o077)
    assert umask_in_a_job(project / "run") == "0007"
    (project / "run" / "site.conf").unlink()
    (project / "run" / "site.sh").write_text("# of an older version\n")
    assert umask_in_a_job(project / "run") == "0077"


def umask_in_a_job(root):
    script = "set -eu; umask 077; source jobs/environment.sh; find_repository; find_run; read_site; umask"
    variables = {"PATH": os.environ["PATH"], "HOME": "/", "RUN_DIR": str(root)}
    answer = subprocess.run(
        ["bash", "-c", script], cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()
