"""Who made a run, and who may change it, decides whether this user acts on it without a word."""

from __future__ import annotations

import os
import shutil

import pytest

import make_grid
from jobs import cancel, local, resubmit, status, submit
from jobs.common.errors import UserError
from jobs.common.records import write
from jobs.grid.config import load_config
from jobs.run import trust
from jobs.run.create import make_run
from jobs.run.index import read_provenance, read_run
from jobs.run.known import remember
from jobs.run.sharing import open_run
from jobs.run.trust import check_trust, remember_made
from tests.conftest import TINY, write_images

NOBODY = 65534


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The own lists of this user, empty."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    monkeypatch.delenv("TRUST", raising=False)
    return folder / "unet_grid"


@pytest.fixture
def make(tmp_path, write_grid, state):
    """A function that makes a run in a new folder, without a note of who has made it."""
    write_images(tmp_path / "data")

    def made(name="run", site="environment: /project/env"):
        write_grid(f"{TINY}site: {{ {site} }}\n" if site else TINY)
        return make_run(load_config(tmp_path / "grid.yaml"), tmp_path / name, say=lambda text: None).run

    return made


def made_by(run, user):
    record = read_provenance(run.paths)
    made = tuple(_with_user(one, user) for one in record.made)
    write(run.paths.provenance, type(record)(**{**record.fields(), "made": made}))


def _with_user(made, user):
    return type(made)(**{**made.fields(), "user": user})


def give_away(*paths):
    if os.geteuid() != 0:
        pytest.skip("only root gives a file away")
    for path in paths:
        os.chown(path, NOBODY, NOBODY)


def refused(run, words, **options):
    with pytest.raises(UserError, match=words) as caught:
        check_trust(run, trust=False)
    assert "--trust" in str(caught.value) and "SECURITY.md" in str(caught.value)


def test_what_a_user_made_needs_no_word_wherever_it_is_moved_nor_where_it_is_changed_in_its_place(
    make, tmp_path
):
    run = make()
    remember_made(run)
    check_trust(run, trust=False)
    shutil.move(run.paths.root, tmp_path / "moved")
    moved = read_run(tmp_path / "moved")
    check_trust(moved, trust=False)
    # A copy of it that came back with another environment looks the same, unless it is where the user has made it.
    grid = moved.paths.grid
    grid.write_text(grid.read_text().replace("/project/env", "/other/env"))
    refused(read_run(tmp_path / "moved"), "not made by you here; it would use .*'/other/env'")
    remember(tmp_path / "moved")
    check_trust(read_run(tmp_path / "moved"), trust=False)


def test_a_run_of_an_older_version_is_on_the_list_of_runs(make, state):
    run = make()
    refused(run, "it was not made by you here; it would use .*'/project/env'")
    state.mkdir(parents=True)
    (state / "runs.txt").write_text(f"{run.paths.root}\n")
    check_trust(run, trust=False)


def test_a_run_that_executes_nothing_of_its_own_needs_no_list(make):
    check_trust(make(site=""), trust=False)


def test_the_name_of_who_made_a_run_is_one_line(make):
    run = make(site="")
    made_by(run, "mallory\njobs.submit: all is well\x1b[2J")
    refused(run, "it was made by mallory jobs.submit: all is well\N{REPLACEMENT CHARACTER}.2J")


def test_a_run_that_another_user_made_is_asked_about_once(make, state):
    run = make(site="")
    made_by(run, "mallory")
    refused(run, "it was made by mallory")
    check_trust(run, trust=True)
    check_trust(run, trust=False)
    assert (state / "trusted.txt").stat().st_mode & 0o077 == 0


def test_the_answer_is_about_what_the_run_executes_now(make):
    run = make()
    made_by(run, "mallory")
    check_trust(run, trust=True)
    text = run.paths.grid.read_text()
    give_away(run.paths.grid)
    run.paths.grid.write_text(text.replace("/project/env", "/home/mallory/env"))
    refused(read_run(run.paths.root), "grid.yaml belongs to nobody; it would use .*'/home/mallory/env'")


@pytest.mark.parametrize("name", ["grid.yaml", "index.csv", "provenance.json", ""])
def test_files_of_another_user_are_refused_also_in_a_run_of_ones_own_until_they_are_trusted(make, name):
    run = make(site="")
    remember_made(run)
    give_away(run.paths.root / name)
    refused(run, "belongs to nobody")
    check_trust(run, trust=True)
    check_trust(run, trust=False)


@pytest.mark.parametrize(("mode", "words"), [(0o646, "everyone may write"), (0o664, "its group may write")])
def test_a_configuration_that_others_may_write_is_refused_even_if_it_was_made_here(make, mode, words):
    run = make(site="")
    remember_made(run)
    if mode & 0o020:
        if os.geteuid() != 0:
            pytest.skip("only root gives a file to a group")
        os.chown(run.paths.grid, -1, 4)  # a group with other members, or none that is the user's own
    run.paths.grid.chmod(mode)
    refused(run, f"{words} grid.yaml .to change that: chmod")
    check_trust(run, trust=True)


def test_a_folder_that_everyone_may_write_is_refused(make):
    run = make(site="")
    run.paths.root.chmod(0o777)
    refused(run, "everyone may write run ")


def test_new_configurations_are_written_by_their_group_only_where_it_shares_the_run(make, tmp_path):
    before = os.umask(0o002)
    try:
        plain = make("plain", site="")
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o2770)
        run = make("shared", site="")
    finally:
        os.umask(before)
    for path in (plain.paths.grid, plain.paths.index, plain.paths.provenance):
        assert path.stat().st_mode & 0o022 == 0
    assert run.paths.grid.stat().st_mode & 0o020


@pytest.fixture
def shared(make, tmp_path):
    """A run of another member in a project folder that a group shares, of which this user is a member."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o2770)
    run = make()
    if os.geteuid() != 0:
        pytest.skip("only root gives a file away")
    for path in (run.paths.root, *run.paths.root.rglob("*")):
        os.chown(path, NOBODY, os.getegid())
    run.paths.root.chmod(0o2770)
    made_by(run, "nobody")
    os.chown(run.paths.provenance, NOBODY, os.getegid())
    return run


def test_members_of_a_shared_folder_go_on_with_each_others_runs(shared):
    check_trust(shared, trust=False)
    check_trust(shared, trust=False)


def test_a_third_member_who_exchanged_a_file_is_asked_about(shared):
    os.chown(shared.paths.grid, 12345, os.getegid())
    refused(shared, "grid.yaml belongs to user 12345")


def test_a_change_of_what_is_executed_is_asked_about_where_others_may_have_made_it(shared):
    check_trust(shared, trust=False)
    shared.paths.grid.write_text(shared.paths.grid.read_text().replace("/project/env", "/evil/env"))
    run = read_run(shared.paths.root)
    refused(
        run, "has been changed since you worked with it, and others may change it; it would use .*'/evil/env'"
    )
    check_trust(run, trust=True)
    check_trust(run, trust=False)


def test_a_folder_of_a_group_without_this_user_is_no_shared_one(shared, monkeypatch):
    os.chown(shared.paths.root, -1, 4)
    shared.paths.root.chmod(0o2770)
    monkeypatch.setattr(os, "getgroups", lambda: [0])
    refused(shared, "belongs to nobody")


def test_a_job_of_a_submission_is_not_asked_again(make, monkeypatch):
    run = make()
    made_by(run, "mallory")
    monkeypatch.setenv("TRUST", "yes")
    check_trust(run, trust=False)


def test_a_list_that_others_may_write_answers_nothing(make, state):
    run = make()
    remember_made(run)
    check_trust(run, trust=False)
    (state / "trusted.txt").chmod(0o666)
    refused(run, "not made by you here")


def test_without_a_home_a_run_is_asked_about_each_time(make, monkeypatch):
    run = make()
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    check_trust(run, trust=True)
    refused(run, "not made by you here")


@pytest.mark.parametrize("command", [submit, resubmit, cancel, local])
def test_commands_that_act_ask_and_those_that_look_do_not(make, command, capsys):
    run = make()
    made_by(run, "mallory")
    assert command.main([str(run.paths.root)]) == 2
    error = capsys.readouterr().err
    assert "it was made by mallory" in error and "--trust" in error
    assert status.main([str(run.paths.root)]) == 0
    open_run(run.paths.root)


def test_what_make_grid_made_is_known(tmp_path, make, state):
    make("other")  # writes grid.yaml and data
    assert make_grid.main([str(tmp_path / "grid.yaml"), "--run-dir", str(tmp_path / "own")]) == 0
    assert (state / "trusted.txt").exists()
    open_run(tmp_path / "own", trust=False)


def test_a_private_group_is_one_without_other_members():
    assert trust._is_private(0, 0)
    assert trust._is_private(4_000_000, 4_000_000)
    assert not trust._is_private(4, 0)


def test_what_a_preset_of_this_repository_names_is_trusted(make):
    check_trust(make("vanda", site="preset: nus_vanda"), trust=False)
    refused(make("other", site="preset: nus_vanda, modules: evil"), "not made by you here")
