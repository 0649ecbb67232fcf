"""The list of the user's runs."""

from __future__ import annotations

import os

import pytest

from jobs.run.known import known_runs, remember, state_file


@pytest.fixture(autouse=True)
def own_list(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def made(root, changed):
    root.mkdir(parents=True)
    (root / "index.csv").write_text("index\n")
    os.utime(root / "index.csv", (changed, changed))
    return root


def test_runs_are_listed_the_newest_first_and_once(tmp_path):
    old, new = made(tmp_path / "a run", 1000), made(tmp_path / "b", 2000)
    for root in (old, new, old):
        remember(root)
    assert known_runs() == [new, old]
    assert state_file("runs.txt").read_bytes().count(b"a run") == 1


def test_runs_that_were_removed_are_left_out(tmp_path):
    root = made(tmp_path / "a", 1000)
    remember(root)
    (root / "index.csv").unlink()
    assert known_runs() == []


def test_runs_in_given_folders_are_found_without_being_remembered(tmp_path):
    root = made(tmp_path / "hyperparameter_optimization_20260101_000000", 1000)
    assert known_runs([tmp_path]) == [root]
    remember(root)
    assert known_runs([tmp_path]) == [root]


def test_a_list_that_cannot_be_written_or_read_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    remember(made(tmp_path / "a", 1000))
    assert known_runs() == []


def test_a_relative_state_folder_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_file("runs.txt") == tmp_path / ".local/state/unet_grid/runs.txt"
