"""Readers set damaged files aside, say so, and call dead what is dead."""

from __future__ import annotations

import os
import threading
import time

import pytest

from jobs.common.errors import UnreadableError
from jobs.common.files import quarantine
from jobs.common.records import write_record
from jobs.common.schema import Result, ResultHead
from jobs.monitor.summary import Missing, collect
from jobs.point import status as status_module
from jobs.point.claim import identity
from jobs.point.status import read_status, watch_silent
from tests.jobs.test_submit import give_result, give_state, run  # noqa: F401 - the fixture


@pytest.fixture
def point(run):  # noqa: F811
    entry = run.entry(1)
    paths = run.point_paths(entry)
    paths.claims.mkdir(parents=True)
    return entry, paths


def claim(paths, number=1, **changes):
    write_record(paths.claim(number), {**identity().fields(), "started": "then", **changes})


def test_a_damaged_result_is_set_aside_and_its_point_is_to_be_run_again(run, point):  # noqa: F811
    entry, paths = point
    give_result(run, 1)
    paths.results.write_text(paths.results.read_text().replace("0.51", "0.99"))
    look = read_status(run, entry)
    assert look.state == "lost" and "does not match its checksum" in look.reason
    assert paths.results.exists() and not paths.quarantine.exists()  # a look writes nothing
    status = read_status(run, entry, aside=True)
    assert status.state == "lost" and "does not match its checksum" in status.reason
    (kept,) = paths.quarantine.iterdir()
    assert str(kept) in status.reason and "0.99" in kept.read_text() and not paths.results.exists()
    # Who looks later is told, too.
    again = read_status(run, entry)
    assert again.state == "lost" and kept.name in again.reason
    assert collect(run).counts == {"lost": 1, "waiting": 11}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1, "checksum": "x"}'])
def test_a_damaged_status_record_is_set_aside(run, point, content):  # noqa: F811
    entry, paths = point
    paths.status.write_text(content)
    assert read_status(run, entry).state == "lost" and paths.status.exists()
    assert read_status(run, entry, aside=True).state == "lost"
    assert len(list(paths.quarantine.iterdir())) == 1 and not paths.status.exists()


def test_a_look_keeps_of_a_result_what_is_shown_and_tells_the_same_state(run, point):  # noqa: F811
    entry, paths = point
    give_result(run, 1)
    write_record(
        paths.results, {**read_status(run, entry).result.fields(), "settings": {"seed": 1}, "history": []}
    )
    whole, look = read_status(run, entry), read_status(run, entry, verify=False)
    assert (look.state, look.reason, look.attempts) == (whole.state, whole.reason, whole.attempts)
    assert type(look.result) is ResultHead and type(whole.result) is Result
    assert look.result == ResultHead(
        **{name: getattr(whole.result, name) for name in ResultHead.__struct_fields__}
    )
    assert look.whole_result is None and whole.whole_result.settings == {"seed": 1}


def test_what_cannot_be_read_or_is_newer_stays_where_it_is(run, point):  # noqa: F811
    entry, paths = point
    paths.results.mkdir()
    status = read_status(run, entry)
    assert status.state == "unreadable" and "cannot be read" in status.reason and paths.results.is_dir()
    # A summary without it would replace a better one.
    run.paths.summary.write_text("the better one")
    with pytest.raises(UnreadableError, match=f"{entry.name}.*The summary was not written"):
        collect(run)
    assert run.paths.summary.read_text() == "the better one"
    paths.results.rmdir()
    paths.results.write_text('{"schema": 2}')
    status = read_status(run, entry)
    assert status.state == "unreadable" and "newer version" in status.reason and paths.results.exists()
    paths.results.unlink()
    give_result(run, 1)
    paths.status.mkdir()
    assert read_status(run, entry).state == "done"  # a result says all that is needed
    paths.results.unlink()
    assert read_status(run, entry).state == "unreadable"


def test_a_record_cannot_claim_to_be_unreadable(run, point):  # noqa: F811
    entry, _ = point
    give_state(run, 1, "unreadable")
    assert read_status(run, entry).state == "lost"


def test_nothing_is_lost_where_the_quarantine_cannot_be_written(run, point, monkeypatch):  # noqa: F811
    entry, paths = point
    paths.results.write_text("{")
    monkeypatch.setattr(
        status_module, "quarantine", lambda path, folder: quarantine(path, path / "no folder")
    )
    assert "not whole JSON" in read_status(run, entry).reason and paths.results.exists()


def test_a_claim_without_a_word_is_running_while_its_process_lives(run, point):  # noqa: F811
    entry, paths = point
    write_record(paths.status, {"attempts": 1, "state": "timeout"})
    claim(paths, 2)
    status = read_status(run, entry)
    assert (status.state, status.attempts, status.record.pid) == ("running", 2, os.getpid())
    assert read_status(run, entry, before=2).state == "timeout"
    claim(paths, 2, boot="before")
    assert read_status(run, entry).state == "lost"


def test_long_silence_on_another_node_is_death_and_a_short_one_is_not(run, point):  # noqa: F811
    entry, paths = point
    claim(paths, host="node7", pid=4711)
    write_record(paths.status, {"attempts": 1, "state": "running", "host": "node7", "pid": 4711})
    assert read_status(run, entry).state == "running"
    past = time.time() - status_module.SILENT_SECONDS - 60
    os.utime(paths.claim(1), (past, past))
    status = read_status(run, entry)
    assert status.state == "lost" and "has not updated its claim for 16 minutes" in status.reason


def test_collect_can_watch_whether_points_on_other_nodes_live(run, point):  # noqa: F811
    for index in (1, 2):
        paths = run.point_paths(run.entry(index))
        paths.claims.mkdir(parents=True, exist_ok=True)
        claim(paths, host="node7", pid=4711)
        write_record(paths.status, {"attempts": 1, "state": "running", "host": "node7", "pid": 4711})
    run.site["heartbeat_seconds"] = 0.1
    stop = threading.Event()

    def live():
        while not stop.wait(0.05):
            os.utime(paths.claim(1))

    thread = threading.Thread(target=live)
    thread.start()
    said = []
    try:
        assert collect(run).counts["running"] == 2
        collected = collect(run, settle=True, say=said.append)
    finally:
        stop.set()
        thread.join()
    assert collected.counts == {"running": 1, "lost": 1, "waiting": 10}
    expected = Missing(1, run.entry(1).name, "lost", "process 4711 on node7 has no heartbeat")
    assert collected.missing[0] == expected
    assert "2 points recorded as running on other hosts" in said[0]


def test_nothing_is_watched_where_all_have_ended(run):  # noqa: F811
    give_result(run, 1)
    began = time.monotonic()
    assert watch_silent(run, say=pytest.fail) == {}
    assert time.monotonic() - began < 2


def test_a_point_that_ends_while_it_is_watched_keeps_its_end(run, point, monkeypatch):  # noqa: F811
    entry, paths = point
    run.site["heartbeat_seconds"] = 0.05
    claim(paths, host="node7", pid=4711)
    running = {"attempts": 1, "state": "running", "host": "node7", "pid": 4711}
    write_record(paths.status, running)
    sleep = time.sleep
    ends = iter([{**running, "state": "timeout"}])

    def ending(seconds):
        for record in ends:
            write_record(paths.status, record)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", ending)
    assert watch_silent(run, lambda text: None) == {}
    assert read_status(run, entry).state == "timeout"
    write_record(paths.status, running)
    (found,) = watch_silent(run, lambda text: None).values()
    assert (found.state, found.reason) == ("lost", "process 4711 on node7 has no heartbeat")


@pytest.mark.parametrize(
    ("interval", "silent", "state"),
    [(10, 890, "running"), (10, 930, "lost"), (60, 1150, "running"), (60, 1230, "lost")],
)
def test_silence_is_death_after_fifteen_minutes_or_twenty_intervals(run, point, interval, silent, state):  # noqa: F811
    entry, paths = point
    run.site["heartbeat_seconds"] = interval
    claim(paths, host="node7", pid=4711)
    write_record(paths.status, {"attempts": 1, "state": "running", "host": "node7", "pid": 4711})
    seen = time.time() - silent
    os.utime(paths.claim(1), (seen, seen))
    assert read_status(run, entry).state == state


@pytest.mark.parametrize(
    ("record", "claims", "state", "attempts"),
    [
        (None, 0, "waiting", 0),
        ({"attempts": 2, "state": "error"}, 0, "error", 2),
        ({"attempts": 2, "state": "error"}, 2, "error", 2),
        ({"attempts": 2, "state": "error"}, 3, "running", 3),
        ({"attempts": 2, "state": "done"}, 2, "lost", 2),
        ({"attempts": 2, "state": "odd"}, 2, "lost", 2),
    ],
)
def test_a_newer_claim_overrides_the_record_and_an_equal_one_does_not(
    run,  # noqa: F811
    point,
    record,
    claims,
    state,
    attempts,
):
    entry, paths = point
    if record:
        write_record(paths.status, record)
    if claims:
        claim(paths, claims)  # of this process, which is alive
    status = read_status(run, entry)
    assert (status.state, status.attempts) == (state, attempts)


def test_a_result_of_another_key_or_without_an_end_is_damaged(run, point):  # noqa: F811
    entry, paths = point
    for changes, words in (
        ({"key": "other"}, "belongs to the key 'other'"),
        ({"status": "oom"}, "has the status 'oom'"),
    ):
        for verify in (True, False):
            write_record(paths.results, {"key": entry.key, "status": "done", **changes})
            status = read_status(run, entry, verify=verify, aside=True)
            assert status.state == "lost" and words in status.reason and not paths.results.exists()


def test_the_key_of_another_result_is_shown_to_forty_characters(run, point):  # noqa: F811
    entry, paths = point
    give_result(run, 1)
    write_record(paths.results, {**read_status(run, entry).result.fields(), "key": "k" * 50})
    reason = read_status(run, entry).reason
    assert f"belongs to the key '{'k' * 40}', expected {entry.key}" in reason


@pytest.mark.parametrize("state", ["done", "s" * 50])
def test_a_record_that_says_done_without_a_result_names_the_file_and_its_state(run, point, state):  # noqa: F811
    entry, paths = point
    write_record(paths.status, {"attempts": 2, "state": state})
    status = read_status(run, entry)
    reason = f"{paths.status} has the state {state[:40]!r} but there is no result"
    assert (status.state, status.reason, status.attempts) == ("lost", reason, 2)
    paths.quarantine.mkdir()
    assert read_status(run, entry).reason == reason  # nothing in it
    kept = paths.quarantine / "old.json"
    kept.touch()
    assert read_status(run, entry).reason == f"{reason}; damaged files of this point were moved to {kept}"


def test_an_empty_quarantine_is_no_damage(run, point):  # noqa: F811
    entry, paths = point
    paths.quarantine.mkdir()
    status = read_status(run, entry)
    assert (status.state, status.reason) == ("waiting", "")


def test_the_silence_of_an_earlier_claim_says_nothing_of_a_later_attempt(run, point):  # noqa: F811
    entry, paths = point
    claim(paths, 1, host="node7", pid=4711)
    os.utime(paths.claim(1), (1, 1))
    write_record(paths.status, {"attempts": 2, "state": "running", "host": "node7", "pid": 4711})
    assert read_status(run, entry).state == "running"


def test_a_point_that_has_ended_on_another_node_is_not_watched(run, point):  # noqa: F811
    _, paths = point
    claim(paths, 1, host="node7", pid=4711)
    write_record(paths.status, {"attempts": 1, "state": "cancelled", "host": "node7", "pid": 4711})
    assert watch_silent(run, say=pytest.fail) == {}


def test_a_file_where_the_folder_of_a_point_belongs_is_no_result_that_cannot_be_read(run, pbs):  # noqa: F811
    """Its sub-job says what is wrong; it must not keep the others from being submitted."""
    from jobs import submit

    run.point_paths(run.entry(7)).folder.write_text("in the way\n")
    status = read_status(run, run.entry(7))
    assert status.state == "waiting" and "move it away" in status.reason
    assert submit.main([str(run.paths.root)]) == 0
