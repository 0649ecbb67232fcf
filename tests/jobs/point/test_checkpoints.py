"""A checkpoint is there whole or not at all; a damaged one is set aside, never believed and never a crash."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.common.records import DamagedRecord, read_record, write_record
from jobs.common.schema import Resumed
from jobs.point.checkpoints import Checkpoint, Checkpoints
from jobs.run.paths import PointPaths
from unet_models.training.state import TrainingState


def state(epoch=3, best_epoch=2, ended=False):
    generator = np.random.default_rng(epoch)
    model = [generator.normal(size=(3, 2)).astype(np.float32), np.array([7], np.uint32)]
    best = model if best_epoch == epoch else [array + 1 for array in model]
    rows = [{"epoch": n, "val_jaccard": 0.1 * n, "loss": 1 / 3} for n in range(1, epoch + 1)]
    schedules = {"EarlyStopping": {"best": 0.1 + 0.2, "wait": 1, "best_epoch": 1, "stopped_epoch": 0}}
    optimizer = [np.array(5, np.int64), np.float32([0.1]).reshape(())]
    return TrainingState(epoch, ended, rows, model, optimizer, best, best_epoch, schedules, 12.5)


@pytest.fixture
def store(tmp_path):
    paths = PointPaths(tmp_path / "exp_01_point", "point")
    paths.state.mkdir(parents=True)
    return Checkpoints(paths, "key")


def save(store, *states):
    for one in states:
        store.save(Checkpoint("line", 2, [Resumed(after_epoch=1)], one), check=lambda: None)


def equal(one, other):
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for name in ("model", "optimizer", "best")
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True)
    )


def test_it_comes_back_to_the_bit(store):
    save(store, state(2, 2), state(3, 2))
    found = store.load()
    assert (found.lineage, found.accumulation, found.resumed) == ("line", 2, [Resumed(after_epoch=1)])
    expected = state(3, 2)
    assert found.state.rows == expected.rows and found.state.schedules == expected.schedules
    assert (found.state.epoch, found.state.best_epoch, found.state.ended) == (3, 2, False)
    assert [array.tobytes() for array in found.state.model] == [array.tobytes() for array in expected.model]
    # The best network is the one of its epoch, written then and kept since.
    assert [a.tobytes() for a in found.state.best] == [a.tobytes() for a in state(2, 2).model]


def test_only_the_files_that_it_needs_are_kept(store):
    save(store, state(1, 1), state(2, 2), state(3, 2))
    names = sorted(path.name for path in store.paths.state.iterdir())
    assert names == [
        "checkpoint.json",
        "epoch_00002_model_0001.npz",
        "epoch_00003_model_0001.npz",
        "epoch_00003_optimizer_0001.npz",
    ]
    store.discard()
    assert list(store.paths.state.iterdir()) == []
    assert store.load() is None


def test_what_stood_before_stands_until_the_new_one_is_whole(store):
    save(store, state(2, 2))

    def taken_over():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.save(Checkpoint("line", 2, [], state(3, 3)), check=taken_over)
    assert store.load().state.epoch == 2 and equal(store.load().state, state(2, 2))


def test_one_of_another_configuration_is_not_taken(store):
    save(store, state())
    with pytest.raises(DamagedRecord, match="expected other"):
        Checkpoints(store.paths, "other").load()


@pytest.mark.parametrize(
    "name", ["checkpoint.json", "epoch_00002_model_0001.npz", "epoch_00003_optimizer_0001.npz"]
)
def test_a_missing_or_truncated_file_is_told_and_set_aside(store, name):
    save(store, state(2, 2), state(3, 2))
    path = store.paths.state / name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DamagedRecord, match=name):
        store.load()
    kept = store.set_aside()
    assert len(kept) == 4 and all(file.parent == store.paths.quarantine for file in kept)
    assert store.load() is None


def test_an_archive_whose_directory_lists_fewer_arrays_is_told(store):
    save(store, state(2, 2), state(3, 2))
    path = store.paths.state / "epoch_00003_model_0001.npz"
    with np.load(path) as arrays:
        first = arrays["00000"]
    np.savez(path, **{"00000": first})
    with pytest.raises(DamagedRecord, match="unexpected names"):
        store.load()


@given(place=st.integers(0, 10**6), flip=st.integers(1, 255), which=st.integers(0, 3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)
def test_a_changed_byte_is_found_or_changes_nothing(store, place, flip, which):
    store.discard()
    save(store, state(2, 2), state(3, 2))
    expected = store.load()
    path = sorted(file for file in store.paths.state.iterdir() if file.is_file())[which]
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= flip
    path.write_bytes(content)
    try:
        found = store.load()
    except DamagedRecord:
        return
    assert found.state.rows == expected.state.rows and equal(found.state, expected.state)


@given(
    st.dictionaries(
        st.sampled_from(
            ["epoch", "best_epoch", "rows", "schedules", "seconds", "resumed", "accumulation", "ended"]
        ),
        st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.none(), max_size=3),
        min_size=1,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)
def test_a_record_of_unexpected_types_never_crashes(store, changes):
    save(store, state(2, 2), state(3, 2))
    write_record(store.paths.checkpoint, {**read_record(store.paths.checkpoint), **changes})
    try:
        store.load()
    except DamagedRecord as error:
        assert "checkpoint.json" in str(error) or "npz" in str(error)


def test_a_paused_holder_writes_beside_the_files_of_the_one_that_has_taken_over(store):
    save(store, state(2, 2))
    newer = Checkpoints(store.paths, "key", attempt=2)
    assert newer.load().state.epoch == 2
    save(newer, state(3, 3))
    expected = newer.load().state

    class TakenOver(BaseException):
        pass

    answers = iter([None, TakenOver])  # paused while it wrote the arrays of the same epoch

    def check():
        answer = next(answers)
        if answer is not None:
            raise answer

    other = [array * 2 for array in expected.model]
    with pytest.raises(TakenOver):
        store.save(Checkpoint("line", 2, [], replace(state(3, 3), model=other, best=other)), check=check)
    assert equal(newer.load().state, expected)


def test_a_file_that_cannot_be_read_now_is_not_called_damaged(store):
    save(store, state(2, 2))
    path = store.paths.checkpoint_file("optimizer", 2, 1)
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedRecord) as caught:
        store.load()
    assert caught.value.content is False


@pytest.mark.parametrize("name", ["../../x.npz", "/etc/passwd", "epoch_00002_model.npz", 3, None])
def test_a_record_cannot_name_a_file_elsewhere(store, name):
    save(store, state(2, 2))
    record = read_record(store.paths.checkpoint)
    write_record(store.paths.checkpoint, {**record, "files": {**record["files"], "model": name}})
    with pytest.raises(DamagedRecord, match="names the file|not a valid CheckpointRecord"):
        store.load()
