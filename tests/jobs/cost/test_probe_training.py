"""The training of a probe: how much is trained, and which time is taken for what."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from jobs.common.schema import Measurement
from jobs.cost import probe_training
from jobs.cost.measurements import WARM_STEPS, kind
from jobs.cost.probe_training import Order, Progress, Reporter, Stopwatch, occupied_memory, short_training
from unet_models.data.packed import PackedData
from unet_models.data.pipeline import ResidentPatches


def packed(train, validation):
    count = train + validation
    part = np.array([0] * train + [1] * validation, np.int8)
    images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    return PackedData.of_arrays(
        images, images > 2, part, np.arange(count, dtype=np.int32), "test", "contiguous"
    )


@pytest.mark.parametrize(
    ("train", "batch", "steps", "epochs", "patches"),
    [
        (100, 4, 20, 2, 48),  # 12 steps in each of two epochs
        (8, 4, 20, 12, 8),  # few data: as many epochs as it takes
        (5, 4, 100, 20, 4),  # and no more than twenty; full batches only
    ],
)
def test_a_short_training_has_enough_steps_of_full_batches(train, batch, steps, epochs, patches):
    settings = {"batch_size": batch, "validation_batch_size": 2}
    part, found = short_training(packed(train, 30), settings, steps)
    assert (part.count("train"), part.count("validation"), found) == (patches, 8, epochs)


def test_the_device_is_as_full_as_in_a_training_where_patches_are_resident(monkeypatch):
    """And free of what is read when it is needed."""
    data = packed(100, 30)
    part, _ = short_training(data, {"batch_size": 4, "validation_batch_size": 2}, 20)
    assert occupied_memory(data, part) == []  # a CPU
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    (left,) = occupied_memory(data, part)
    assert left.shape == (4 * 64 * (130 - 56),)
    monkeypatch.setattr(ResidentPatches, "LIMIT", 4 * 64 * 130 - 1)
    assert occupied_memory(data, part) == []


class Clock:
    """A clock that a test moves on."""

    def __init__(self):
        self.seconds = 100.0

    def monotonic(self):
        return self.seconds


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(probe_training.time, "monotonic", found.monotonic)
    return found


def train(clock, watch, steps, *, build=2.0, first=7.0, validation=3.0):
    """Call a watch as a training does whose step ``n`` takes ``steps[n]`` seconds, in epochs of as many lists."""

    def after(seconds, callback, *values):
        clock.seconds += seconds
        callback(*values)

    after(build, watch.on_built)
    for number, epoch in enumerate(steps):
        for place, seconds in enumerate(epoch):
            after(first if number == place == 0 else seconds, watch.on_batch)
        after(validation + number, watch.on_epoch, {})
        watch.on_state(SimpleNamespace(ended=number == len(steps) - 1))


def saving(clock, seconds):
    """A checkpoint that takes so long."""
    times = iter(seconds)

    def save(state):
        clock.seconds += next(times)

    return save


def test_each_time_is_that_of_its_phase(clock):
    watch = Stopwatch(saving(clock, [0.5, 0.25, 0.75]))
    train(clock, watch, [[99, 1, 2, 3, 4], [50, 5, 6], [50, 7, 8]])
    assert watch.startup() == {"build": 2.0, "first_step": 7.0}
    # The first step of an epoch has the validation's and the checkpoint's remains in it, and compiles.
    assert watch.steps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (watch.validations, watch.epoch_ends) == ([3, 4, 5], [0.5, 0.25, 0.75])
    assert watch.measured(validation_batches=2) == {
        "steps": 5,  # without three warm ones
        "step_seconds": 6,
        "step_seconds_range": (4, 8),
        "validation_seconds": 4.5 / 2,  # without the first, which compiles
        "epoch_end_seconds": 0.5,
    }
    assert WARM_STEPS == 3


def test_what_follows_the_last_epoch_is_no_step(clock):
    watch = Stopwatch(saving(clock, [1.0, 1.0]))
    train(clock, watch, [[0, 1, 1, 1, 1], [9, 1]])
    before = list(watch.steps)
    clock.seconds += 30
    watch.on_batch()  # train() calls it between the parts of the end, too
    clock.seconds += 12
    assert watch.steps == before and watch.lap() == 42


def test_few_steps_are_measured_with_the_warm_ones(clock):
    watch = Stopwatch(saving(clock, [1.0]))
    train(clock, watch, [[0, 2, 4, 3]])
    found = watch.measured(validation_batches=1)
    assert (found["steps"], found["step_seconds"], found["step_seconds_range"]) == (3, 3, (2, 4))
    assert found["validation_seconds"] is None and found["epoch_end_seconds"] == 1.0


def test_a_phase_that_was_not_reached_has_no_time(clock):
    watch = Stopwatch(saving(clock, []))
    assert watch.startup() == {}
    assert set(watch.measured(1).values()) == {0, None}
    clock.seconds += 4
    watch.on_built()
    assert watch.startup() == {"build": 4.0}


@pytest.mark.parametrize(("epochs", "enough"), [(0, False), (1, False), (2, True)])
def test_a_training_that_ended_too_early_is_no_measurement(clock, epochs, enough):
    watch = Stopwatch(saving(clock, [1.0] * epochs))
    train(clock, watch, [[1, 1]] * epochs)
    if enough:
        watch.check()
    else:
        with pytest.raises(RuntimeError, match="ended before a step and a validation were measured"):
            watch.check()


class Connection:
    """Keeps what is sent."""

    def __init__(self):
        self.sent = []

    def send(self, value):
        self.sent.append(value)


def test_each_number_is_sent_as_soon_as_it_is_known(tiny_run):
    connection, entry = Connection(), tiny_run.entries[0]
    reporter = Reporter(entry, connection)
    reporter.update(startup={"import": 1.0})
    reporter.update(peak_host_memory_mb=5.0)
    reporter.end(status="oom", reason="none left")
    first = Measurement(
        settings=kind(entry.point.settings), status="error", point=entry.name, startup={"import": 1.0}
    )
    assert connection.sent[0] == Progress(first)
    assert [one.ended for one in connection.sent] == [False, False, True]
    last = connection.sent[-1].measurement
    assert (last.status, last.reason, last.peak_host_memory_mb) == ("oom", "none left", 5.0)
    assert last.startup == {"import": 1.0}


def last(connection):
    assert [one.ended for one in connection.sent] == [False] * (len(connection.sent) - 1) + [True]
    return connection.sent[-1].measurement


@pytest.fixture
def answered(tiny_run, monkeypatch):
    """A function that answers with a training that raises ``error``, and returns what was sent last."""
    from unet_models.training import training

    tiny_run.paths.logs.mkdir(exist_ok=True)
    monkeypatch.setattr(training, "hardware", lambda: {"device": "A GPU", "gpu_peak_memory_mb": 7.0})

    def answer(error, patch="train_shortly"):
        def fail(*arguments, **options):
            raise error

        monkeypatch.setattr(probe_training, patch, fail)
        connection, entry = Connection(), tiny_run.entries[0]
        order = Order(tiny_run.paths.root, entry.index, 1, steps=4, threads=None)
        probe_training.answer(tiny_run, entry, order, Reporter(entry, connection))
        return last(connection)

    return answer


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ValueError("no such layer"), "error", "ValueError: no such layer"),
        (MemoryError("none left"), "oom", "MemoryError: none left"),
        (RuntimeError("OOM when allocating tensor"), "oom", "RuntimeError: OOM when allocating tensor"),
    ],
)
def test_after_a_failure_its_status_and_the_peaks_of_memory_are_sent(answered, error, status, reason):
    found = answered(error)
    assert (found.status, found.reason, found.peak_memory_mb) == (status, reason, 7.0)
    assert found.peak_host_memory_mb > 50


def test_a_driver_that_fails_after_a_failure_hides_nothing(answered, monkeypatch):
    from unet_models.training import training

    def fail():
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(training, "hardware", fail)
    found = answered(ValueError("no such layer"))
    assert (found.status, found.reason, found.peak_memory_mb) == ("error", "ValueError: no such layer", None)


@pytest.mark.parametrize(
    ("epochs", "error", "status", "reason"),
    [
        (2, None, "measured", ""),
        (
            2,
            RuntimeError("other weights"),
            "measured",
            "its end was not measured (RuntimeError: other weights)",
        ),
        (2, MemoryError("none left"), "oom", "MemoryError: none left"),
        (1, RuntimeError("diverged"), "error", "RuntimeError: diverged"),
        (
            1,
            None,
            "error",
            "RuntimeError: the training ended before a step and a validation were measured",
        ),
    ],
)
def test_the_steps_count_where_only_the_end_of_the_training_fails(
    tiny_run, monkeypatch, epochs, error, status, reason
):
    from unet_models.training import training

    def fake(settings, data, *, model_file, resident, on_built, on_batch, on_epoch, on_state, say):
        assert (settings["learning_rate"], settings["early_stopping_patience"]) == (1e-4, None)
        assert model_file.parent == tiny_run.paths.probe_scratch
        assert resident is None  # as in a training
        on_built()
        for epoch in range(epochs):
            for _ in range(6):
                on_batch()
            on_epoch({})
            on_state(SimpleNamespace(ended=epoch == 1))
        say("written")
        if error is not None:
            raise error

    tiny_run.paths.logs.mkdir(exist_ok=True)
    monkeypatch.setattr(training, "train", fake)
    monkeypatch.setattr("jobs.point.checkpoints.Checkpoints.save", lambda self, point, check: None)
    connection, entry = Connection(), tiny_run.entries[0]
    order = Order(tiny_run.paths.root, entry.index, 1, steps=4, threads=None)
    probe_training.answer(tiny_run, entry, order, Reporter(entry, connection))
    found = last(connection)
    assert (found.status, found.reason, found.device) == (status, reason, "CPU")
    assert found.steps == 5 * epochs - WARM_STEPS and found.step_seconds >= 0
    assert set(found.startup) == {"import", "data", "build", "first_step"}
    assert (found.validation_seconds is None) is (epochs == 1)
    assert (found.finish_seconds is None) is (error is not None or epochs == 1)
