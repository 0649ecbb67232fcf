"""The times of a kind: by arithmetic from each source, and from which source."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from jobs.common.schema import Epoch, Measurement, Metrics, Result, Resumed
from jobs.cost import prediction
from jobs.cost.measurements import kinds
from jobs.cost.prediction import Times, from_points, from_probe, from_result, guessed, middle, predict, scaled
from jobs.cost.workload import Workload
from jobs.grid.config import load_config
from jobs.run.create import make_run
from tests.conftest import write_images
from tests.jobs.cost.builders import GPU, GRID, failed, finish, measurement, some_kind

PATCHES = Workload(train=100, validation=30, test=10, patch_size=64)
SECONDS = (25.0, 10.0, 12.0, 11.0)  # of each epoch: the first has compiled


def result(**more):
    """Four epochs of 58 s in all, in a training of 66 s, in an attempt of 100 s."""
    found = Result(
        key="k",
        status="done",
        started="2026-01-01T00:00:00+00:00",
        ended="2026-01-01T00:01:40+00:00",
        metrics=Metrics(training_time_seconds=66.0),
        history=tuple(Epoch(epoch=n + 1, seconds=seconds) for n, seconds in enumerate(SECONDS)),
        startup={"import": 4.0, "data": None, "build": 0.5},
        device="NVIDIA A40",
        peak_memory_mb=7000.0,
        peak_host_memory_mb=3000.0,
    )
    return replace(found, **more)


def test_the_times_of_a_finished_point():
    """A middle epoch is 11 s; 8 s lie between four epochs; 34 s before and after the training."""
    assert from_result(result(), steps=22) == Times(
        source="points",
        detail="",
        device="NVIDIA A40",
        step=0.5,
        epoch=11.0 + 8.0 / 4,
        once=(25.0 - 11.0) + 34.0,
        host=3000.0,
        gpu=7000.0,
    )


def test_the_memory_of_a_point_on_a_cpu_is_not_that_of_a_gpu():
    for device in ("CPU", None):
        times = from_result(result(device=device), steps=22)
        assert (times.device, times.gpu, times.host, times.on_gpu) == ("CPU", None, 3000.0, False)


@pytest.mark.parametrize(
    "more",
    [
        {"resumed": (Resumed(after_epoch=2),)},
        {"started": None},
        {"ended": "2026-01-01T00:01:05+00:00"},  # less than the training took
    ],
)
def test_where_the_attempt_is_not_the_whole_training_its_startup_counts(more):
    assert from_result(result(**more), steps=22).once == 14.0 + 4.5
    assert from_result(result(**more, startup={}), steps=22).once == 14.0 + 60.0


def test_an_attempt_as_long_as_its_training_has_nothing_around_it():
    assert from_result(result(ended="2026-01-01T00:01:06+00:00"), steps=22).once == 14.0


def test_epochs_of_less_than_a_second_count():
    rows = tuple(Epoch(epoch=n + 1, seconds=seconds) for n, seconds in enumerate((0.75, 0.5, 0.25)))
    found = from_result(result(history=rows, metrics=Metrics(training_time_seconds=0.9375)), steps=3)
    assert (found.step, found.epoch) == (0.125, 0.375)  # no negative time between the epochs


def test_one_epoch_is_all_that_is_known():
    times = from_result(result(history=(Epoch(epoch=1, seconds=25.0),)), steps=10)
    assert (times.step, times.epoch, times.once) == (2.5, 25.0 + 41.0, 34.0)


@pytest.mark.parametrize(
    "more",
    [
        {"metrics": Metrics()},
        {"metrics": Metrics(training_time_seconds=0.0)},
        {"metrics": Metrics(training_time_seconds=1e300)},
        {"history": ()},
        {"history": (Epoch(epoch=1, seconds=5.0), Epoch(epoch=2))},
        {"history": (Epoch(epoch=1, seconds=-5.0),)},
        {"history": (Epoch(epoch=1, seconds=0.0),)},
        {"history": (Epoch(epoch=1, seconds=1e300),)},
    ],
)
def test_a_result_without_possible_times_gives_none(more):
    assert from_result(result(**more), steps=22) is None


def times(epoch=10.0, **more):
    values = {
        "source": "points",
        "detail": "",
        "device": "NVIDIA A40",
        "step": 1.0,
        "epoch": epoch,
        "once": 30.0,
    }
    return Times(**{**values, **more})


def test_of_several_points_the_median_counts_and_the_slowest_and_the_most_memory_are_kept():
    found = middle(
        [
            times(10.0, step=1.0, once=30.0, host=900.0, gpu=None),
            times(18.0, step=3.0, once=90.0, host=1000.0, gpu=8000.0),
            times(12.0, step=2.0, once=50.0, host=None, gpu=10_000.0),
        ]
    )
    assert found == times(12.0, detail="3 finished", step=2.0, once=50.0, slow=1.5, host=1000.0, gpu=10_000.0)


def probed(**more):
    """A kind of batch 8 and validation batch 16: 12 steps, 2 validation batches, 2 + 7 + 1 scored at the end."""
    found = Measurement(
        settings=some_kind(),
        status="measured",
        device="NVIDIA A40",
        step_seconds=0.5,
        validation_seconds=0.25,
        epoch_end_seconds=0.125,
        finish_seconds=3.0,
        finish_batches=4.0,
        startup={"import": 4.0, "data": 0.5, "build": None, "first_step": 6.0},
        peak_memory_mb=9000.0,
        peak_host_memory_mb=2000.0,
    )
    return replace(found, **more)


def test_the_times_of_a_probe():
    assert from_probe(probed(), PATCHES) == Times(
        source="probe",
        detail="",
        device="NVIDIA A40",
        step=0.5,
        epoch=12 * 0.5 + 2 * 0.25 + 0.125,
        once=10.5 + 3.0 + 6 * 0.25 + 5.0,  # start, end, the batches that it did not score, the pictures
        slow=1.0,
        host=2000.0,
        gpu=9000.0,
    )


@pytest.mark.parametrize(
    ("more", "epoch", "once"),
    [
        ({"finish_batches": 10.0}, 6.625, 18.5),
        ({"finish_batches": 11.0}, 6.625, 18.5),  # it cannot have scored more than there is
        ({"finish_batches": None}, 6.625, 18.5 + 10 * 0.25),
        ({"finish_seconds": None, "finish_batches": 10.0}, 6.625, 18.5 + 7.0),  # 10 s are assumed
        ({"finish_seconds": 0.0, "finish_batches": 10.0}, 6.625, 18.5 - 3.0),
        ({"epoch_end_seconds": None, "finish_batches": 10.0}, 6.5, 18.5),
        ({"startup": {}, "finish_batches": 10.0}, 6.625, 8.0),
    ],
)
def test_what_a_probe_did_not_reach_is_assumed(more, epoch, once):
    found = from_probe(probed(**more), PATCHES)
    assert (found.epoch, found.once) == (epoch, once)


def test_a_probe_without_a_device_was_on_a_cpu():
    assert from_probe(probed(device=""), PATCHES).device == "CPU"


@pytest.mark.parametrize("status", ["oom", "timeout", "lost", "error"])
def test_a_probe_that_failed_gives_no_times(status):
    assert from_probe(probed(status=status), PATCHES) is None


@pytest.mark.parametrize(
    ("settings", "peak"),
    [
        ({}, 74.8e12),
        ({"tensor_float_32": False}, 37.4e12),
        ({"precision": "mixed_bfloat16"}, 149.7e12),
        ({"precision": "mixed_float16", "tensor_float_32": False}, 149.7e12),
    ],
)
def test_a_guess_counts_flops_at_a_quarter_of_the_peak(settings, peak):
    kind = some_kind(**settings)
    found = guessed(kind, PATCHES)
    epoch = PATCHES.epoch_flops(kind) / (0.25 * peak)
    assert found.epoch == pytest.approx(epoch) and found.once == 60.0
    # 12 steps of 8 patches, three times forward, and 30 patches of validation
    assert found.step == pytest.approx(epoch * 288 / 318 / 12)
    assert (found.source, found.device, found.host, found.gpu) == ("flops", "NVIDIA A40", None, None)


def test_scaling_is_by_the_flops_of_an_epoch_and_keeps_the_host_memory():
    base = times(20.0, step=1.5, once=40.0, slow=1.25, host=3000.0, gpu=9000.0)
    known, wanted = some_kind(batch_size=8), some_kind(batch_size=16)
    factor = PATCHES.epoch_flops(wanted) / PATCHES.epoch_flops(known)
    assert scaled(wanted, PATCHES, {known: base}) == Times(
        source="scaled",
        detail="from UNet batch 8",
        device="NVIDIA A40",
        step=1.5 * factor * 12 / 6,
        epoch=20.0 * factor,
        once=40.0,
        slow=1.25,
        host=3000.0,
        gpu=None,  # does not grow with FLOPs
    )


def test_scaling_starts_from_the_kind_with_most_settings_in_common_then_from_the_nearest_flops():
    far = some_kind(architecture="Attention_ResUNet", batch_size=32, base_filters=32)
    near = some_kind(architecture="Attention_UNet", base_filters=32)
    nearer = some_kind(base_filters=48)
    nearest = some_kind(base_filters=64, dropout=0.5)

    def chosen(*known):
        found = scaled(some_kind(), PATCHES, {kind: times(once=n) for n, kind in enumerate(known)})
        return known[int(found.once)]

    assert chosen(far, near) == near
    assert chosen(far, near, nearer) == nearer
    assert chosen(nearer, some_kind(base_filters=32)) == nearer  # one setting each: by FLOPs
    assert chosen(some_kind(base_filters=32), nearer) == nearer
    assert chosen(nearer, nearest) == nearest  # dropout is not counted


@pytest.fixture
def run(tmp_path, write_grid):
    """Points 1 to 8: UNet and Attention_ResUNet, two rates, batches of 4 (odd indices) and 8."""
    write_images(tmp_path / "data")
    return make_run(load_config(write_grid(GRID)), tmp_path / "run", say=lambda text: None).run


def folders(run):
    return {path.name for path in run.paths.root.iterdir()}


def test_finished_points_are_grouped_by_device_the_most_frequent_first(run):
    finish(run, 1, device="CPU")
    finish(run, 2, device="NVIDIA A40")
    finish(run, 3, device="NVIDIA A40", each=14.0)
    found = from_points(run, run.entries, 2, folders(run))
    assert [(one.device, one.detail, one.epoch) for one in found] == [
        ("NVIDIA A40", "2 finished", 12.0),
        ("CPU", "1 finished", 10.0),
    ]


def test_points_without_a_result_or_with_a_damaged_one_are_left_out(run):
    for index in (1, 2, 3):
        finish(run, index)
    run.point_paths(run.entry(1)).results.write_text("{")
    run.point_paths(run.entry(2)).results.unlink()
    (found,) = from_points(run, run.entries, 2, folders(run))
    assert found.detail == "1 finished"
    assert from_points(run, run.entries, 2, set()) == []


@pytest.mark.parametrize(("sample", "read"), [(2, 2), (3, 3), (4, 3)])
def test_no_more_points_are_read_than_a_sample(run, monkeypatch, sample, read):
    assert prediction.SAMPLE == 20
    for index in (1, 2, 3):
        finish(run, index)
    monkeypatch.setattr(prediction, "SAMPLE", sample)
    (found,) = from_points(run, run.entries, 2, folders(run))
    assert found.detail == f"{read} finished"


def sources(run, *measurements):
    """The source, device and detail of the times of each kind: UNet 4, UNet 8, Attention_ResUNet 4 and 8."""
    probe = {one.settings: one for one in measurements}
    found = predict(run, PATCHES, kinds(run.entries), probe, folders(run))
    return [(one.source, one.device, one.detail) for one in found.values()]


def test_without_a_measurement_every_kind_is_guessed(run):
    assert sources(run) == [("flops", "NVIDIA A40", "")] * 4


def test_points_come_before_a_probe_and_both_before_scaling(run):
    finish(run, 1, device="NVIDIA H100")
    found = sources(run, measurement(run, 0, **GPU), measurement(run, 1, **GPU))
    assert found == [
        ("points", "NVIDIA H100", "1 finished"),
        ("probe", "NVIDIA A40", ""),
        ("scaled", "NVIDIA H100", "from UNet batch 4"),
        ("scaled", "NVIDIA A40", "from UNet batch 8"),
    ]


def test_a_probe_on_the_requested_device_comes_before_points_on_another(run):
    finish(run, 1, device="CPU")
    finish(run, 2, device="CPU")
    assert sources(run, measurement(run, 0, **GPU)) == [
        ("probe", "NVIDIA A40", ""),
        ("scaled", "NVIDIA A40", "from UNet batch 4"),  # not its own points: they were on a CPU
        ("scaled", "NVIDIA A40", "from UNet batch 4"),
        ("scaled", "NVIDIA A40", "from UNet batch 4"),
    ]


def test_another_device_is_used_where_there_is_no_better(run):
    finish(run, 1, device="CPU")
    assert sources(run) == [
        ("points", "CPU", "1 finished"),
        ("scaled", "CPU", "from UNet batch 4"),
        ("scaled", "CPU", "from UNet batch 4"),
        ("scaled", "CPU", "from UNet batch 4"),
    ]


def test_without_gpus_a_cpu_is_the_requested_device(run):
    run.site["ngpus"] = 0
    finish(run, 1, device="NVIDIA A40")
    finish(run, 3, device="NVIDIA A40")
    finish(run, 2, device="CPU")
    assert sources(run, measurement(run, 0))[:2] == [("probe", "CPU", ""), ("points", "CPU", "1 finished")]


def test_a_kind_whose_probe_failed_is_scaled(run):
    found = sources(run, failed(run, 0, **GPU), measurement(run, 1, **GPU))
    assert found[:2] == [("scaled", "NVIDIA A40", "from UNet batch 8"), ("probe", "NVIDIA A40", "")]
