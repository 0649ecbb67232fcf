"""Below the folder of a run nothing is written through a link, whoever makes it and whenever."""

from __future__ import annotations

import os

import pytest

from jobs.common.files import (
    lock_file,
    open_to_append,
    publish_once,
    quarantine,
    remove,
    temporary_beside,
    touch,
    write_bytes_atomically,
    write_together,
    written_beside,
)
from jobs.common.folders import follow_no_links_below, make_folder, real_folder
from jobs.common.reading import UnsafeFile


@pytest.fixture
def run(tmp_path):
    root = tmp_path / "run"
    (root / "exp" / "state").mkdir(parents=True)
    follow_no_links_below(root)
    return root


@pytest.fixture
def elsewhere(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "file").write_text("mine")
    return folder


def appended(path):
    descriptor = open_to_append(path)
    os.write(descriptor, b"line\n")
    os.close(descriptor)


WRITERS = {
    "write": lambda path: write_bytes_atomically(path, b"new"),
    "write together": lambda path: write_together({path: b"new"}),
    "publish once": lambda path: publish_once(written_beside(path, b"new"), path),
    "remove": remove,
    "append": appended,
    "touch": touch,
    "lock": lambda path: lock_file(path).acquire(timeout=0),
    "make": lambda path: make_folder(path.parent / "new"),
}


def contents(folder):
    return {
        path.name: (path.read_text() if path.is_file() else "", path.stat().st_mtime_ns)
        for path in folder.iterdir()
    }


@pytest.mark.parametrize("depth", ["folder", "state"])
@pytest.mark.parametrize("writer", WRITERS)
def test_no_writer_follows_a_folder_that_is_a_link(run, elsewhere, writer, depth):
    link = run / "exp" / "state" if depth == "state" else run / "exp"
    if depth == "state":
        link.rmdir()
    else:
        (link / "state").rmdir()
        link.rmdir()
        (elsewhere / "state").mkdir()
    link.symlink_to(elsewhere)
    before = contents(elsewhere)
    with pytest.raises(UnsafeFile, match=r"is a link, where a folder of the run belongs; move it away"):
        WRITERS[writer](link / "file")
    assert contents(elsewhere) == before


@pytest.mark.parametrize("writer", ["append", "lock"])
def test_what_is_appended_or_locked_is_no_link(run, elsewhere, writer):
    (run / "file").symlink_to(elsewhere / "file")
    with pytest.raises(UnsafeFile, match="is a link, expected a file"):
        WRITERS[writer](run / "file")
    assert (elsewhere / "file").read_text() == "mine"


def test_what_is_replaced_or_touched_is_the_link_itself(run, elsewhere):
    before = contents(elsewhere)
    for writer in ("write", "write together", "touch", "remove"):
        (run / "file").unlink(missing_ok=True)
        (run / "file").symlink_to(elsewhere / "file")
        WRITERS[writer](run / "file")
        assert contents(elsewhere) == before
    assert not (run / "file").exists()


@pytest.mark.parametrize("kind", ["a named pipe", "a folder", "a device"])
@pytest.mark.parametrize("writer", ["append", "lock"])
def test_what_is_no_file_is_refused_at_once(run, writer, kind):
    path = run / "file"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        try:
            os.mknod(path, 0o666 | 0o020000, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")
    with pytest.raises(UnsafeFile, match=f"is {kind}, expected a file; move it away"):
        WRITERS[writer](path)


def test_a_file_with_a_second_name_gets_a_copy_before_it_is_appended_to(run, elsewhere):
    os.link(elsewhere / "file", run / "file")
    appended(run / "file")
    assert (elsewhere / "file").read_text() == "mine"
    assert (run / "file").read_text() == "mineline\n" and (run / "file").stat().st_nlink == 1


def test_a_file_of_another_user_gets_a_copy_before_it_is_appended_to(run):
    if os.geteuid() != 0:
        pytest.skip("only root gives a file away")
    path = run / "file"
    path.write_text("theirs\n")
    os.chown(path, 65534, 65534)
    kept = os.open(path, os.O_RDONLY)
    appended(path)
    assert path.read_text() == "theirs\nline\n" and path.stat().st_uid == 0
    assert os.read(kept, 100) == b"theirs\n"
    os.close(kept)


def test_a_lock_with_a_second_name_is_refused(run, elsewhere):
    os.link(elsewhere / "file", run / "lock")
    with pytest.raises(UnsafeFile, match="has a second name"):
        lock_file(run / "lock")
    assert (elsewhere / "file").read_text() == "mine"


def test_the_quarantine_moves_a_link_itself_and_nothing_into_a_link(run, elsewhere):
    (run / "exp" / "file").symlink_to(elsewhere / "file")
    kept = quarantine(run / "exp" / "file", run / "exp" / "state" / "quarantine")
    assert kept is not None and kept.is_symlink() and (elsewhere / "file").read_text() == "mine"
    (run / "exp" / "other").write_text("damaged")
    (run / "linked").symlink_to(elsewhere)
    assert quarantine(run / "exp" / "other", run / "linked") is None
    assert (run / "exp" / "other").exists() and contents(elsewhere).keys() == {"file"}


def test_a_folder_that_is_exchanged_for_a_link_in_the_meantime_gets_nothing(run, elsewhere):
    path = run / "exp" / "file"
    with real_folder(path.parent) as folder:
        (run / "exp").rename(run / "moved")
        (run / "exp").symlink_to(elsewhere)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=folder))
    assert (run / "moved" / "file").exists() and (elsewhere / "file").read_text() == "mine"


def test_the_path_of_the_run_itself_may_have_links(tmp_path, run):
    (tmp_path / "short").symlink_to(run)
    root = tmp_path / "short"
    follow_no_links_below(root)
    write_bytes_atomically(root / "exp" / "file", b"new")
    assert (run / "exp" / "file").read_bytes() == b"new"


def test_a_folder_outside_any_run_may_be_a_link(tmp_path, elsewhere):
    (tmp_path / "link").symlink_to(elsewhere)
    write_bytes_atomically(tmp_path / "link" / "file", b"new")
    assert (elsewhere / "file").read_bytes() == b"new"


def test_what_is_missing_is_named_by_its_whole_path(run):
    with pytest.raises(FileNotFoundError) as caught:
        write_bytes_atomically(run / "exp" / "none" / "file", b"new")
    assert caught.value.filename == str(run / "exp" / "none")
    make_folder(run / "exp" / "one" / "two")
    assert (run / "exp" / "one" / "two").is_dir()


def test_a_temporary_name_that_is_taken_is_not_used(run, elsewhere, monkeypatch):
    taken = run / ".file.tmp"
    taken.symlink_to(elsewhere / "file")
    monkeypatch.setattr("jobs.common.files.temporary_beside", lambda path: taken)
    with pytest.raises(FileExistsError):
        write_bytes_atomically(run / "file", b"new")
    assert (elsewhere / "file").read_text() == "mine"
    assert temporary_beside(run / "file").parent == run
