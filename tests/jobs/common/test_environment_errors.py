"""An error of the operating system becomes one sentence with the path and what to do."""

from __future__ import annotations

import errno
import os

import pytest

from jobs.common.errors import USAGE, environment_error, run_command


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "can only be read"),
        (errno.EACCES, "this user may not do that"),
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ESTALE, "repeat the command"),
        (errno.ENOENT, "removed meanwhile"),
    ],
)
def test_the_sentence_names_the_path_and_what_to_do(capsys, number, advice):
    def command():
        raise OSError(number, os.strerror(number), "/scratch/run/index.csv")

    assert run_command("jobs.status", command) == USAGE
    printed = capsys.readouterr().err
    assert printed.startswith("jobs.status: /scratch/run/index.csv: ") and advice in printed
    assert len(printed.splitlines()) == 1


def test_a_temporary_file_is_not_named():
    error = OSError(errno.EROFS, "Read-only file system", "/run/.summary.node.12.abcdef12.tmp.csv")
    assert environment_error(error).startswith("/run: Read-only file system; ")


def test_a_working_directory_that_was_removed_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        os.getcwd()  # noqa: PTH109 - as multiprocessing calls it
    assert environment_error(caught.value).startswith("the working directory was removed; change to")


def test_too_little_memory_is_one_line(capsys):
    def command():
        raise MemoryError

    assert run_command("analyze", command) == USAGE
    assert capsys.readouterr().err.startswith("analyze: there is not enough memory here")


def test_an_error_of_the_program_is_not_hidden():
    def command():
        raise ValueError("a mistake in the program")

    with pytest.raises(ValueError, match="a mistake in the program"):
        run_command("analyze", command)
