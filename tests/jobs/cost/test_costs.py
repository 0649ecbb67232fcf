"""The cost of a kind from its times: totals, early stopping, and what is proposed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from jobs.common.schema import Measurement
from jobs.cost.costs import cost_of, fault_of, fewest_epochs, listed
from jobs.cost.prediction import Times
from tests.jobs.cost.builders import some_cost, some_kind


def entry(index=1, epochs=20, patience=10):
    settings = {"epochs": epochs, "early_stopping_patience": patience}
    return SimpleNamespace(index=index, point=SimpleNamespace(settings=settings))


def cost(times=None, entries=None, *, measurement=None, ngpus=1, **more):
    values = {
        "source": "probe",
        "detail": "",
        "device": "NVIDIA A40",
        "step": 0.5,
        "epoch": 100.0,
        "once": 40.0,
    }
    return cost_of(
        some_kind(),
        entries or [entry()],
        times or Times(**{**values, **more}),
        measurement=measurement,
        ngpus=ngpus,
    )


@pytest.mark.parametrize(
    ("epochs", "patience", "fewest"), [(20, 10, 11), (20, None, 20), (11, 10, 11), (10, 10, 10), (12, 10, 11)]
)
def test_early_stopping_ends_a_point_one_epoch_after_its_patience(epochs, patience, fewest):
    assert fewest_epochs(entry(epochs=epochs, patience=patience)) == fewest


def test_a_point_is_its_start_all_epochs_and_its_end():
    found = cost(entries=[entry(3), entry(7, patience=4), entry(9)], slow=1.2)
    assert (found.epochs, found.indices) == (20, (3, 7, 9))
    assert found.seconds == 40 + 20 * 100
    assert found.slowest_seconds == 40 + 20 * 120
    assert found.least_seconds == 40 + 5 * 100


@pytest.mark.parametrize(
    ("source", "seconds", "slow", "walltime"),
    [
        # 1.25, 1.5 and 2 times the seconds, and a minute, in quarters of an hour from both sides
        ("points", 2112.0, 1.0, "00:45:00"),
        ("points", 2113.0, 1.0, "01:00:00"),
        ("probe", 1760.0, 1.0, "00:45:00"),
        ("probe", 1761.0, 1.0, "01:00:00"),
        ("scaled", 1320.0, 1.0, "00:45:00"),
        ("scaled", 1321.0, 1.0, "01:00:00"),
        # 1.1 times the slowest counts where it is more than 1.25 times the middle
        ("points", 2000.0, 1.13, "00:45:00"),
        ("points", 2000.0, 1.20, "00:45:00"),
        ("points", 2000.0, 1.21, "01:00:00"),
        ("points", 2000.0, 2.0, "01:15:00"),
        ("flops", 2000.0, 1.0, None),
    ],
)
def test_the_walltime_has_a_margin_for_its_source_and_for_the_slowest_point(source, seconds, slow, walltime):
    found = cost(source=source, once=0.0, epoch=seconds / 20, slow=slow)
    assert found.walltime == walltime


@pytest.mark.parametrize(
    ("source", "host", "mem"), [("points", 3000.0, "5gb"), ("points", None, None), ("flops", 3000.0, None)]
)
def test_memory_is_proposed_where_it_was_measured(source, host, mem):
    assert cost(source=source, host=host).mem == mem


@pytest.mark.parametrize(
    ("device", "ngpus", "source", "wrong"),
    [
        ("NVIDIA A40", 1, "probe", False),
        ("NVIDIA A40", 0, "probe", True),
        ("CPU", 0, "points", False),
        ("CPU", 1, "points", True),
        ("CPU", 4, "scaled", True),
        ("NVIDIA A40", 0, "flops", False),  # a guess is no measurement on any device
    ],
)
def test_a_measurement_on_another_kind_of_device_is_marked(device, ngpus, source, wrong):
    assert cost(device=device, ngpus=ngpus, source=source).wrong_device is wrong


def failure(**more):
    return Measurement(settings=some_kind(), **{"status": "oom", "reason": "no memory left", **more})


@pytest.mark.parametrize(
    ("measurement", "text"),
    [
        (None, ""),
        (failure(status="measured", step_seconds=1.0, validation_seconds=1.0), ""),
        (failure(), "oom in the probe: no memory left"),
        (failure(reason="", device="CPU"), "oom in the probe on CPU: no reason given"),
        (
            failure(status="timeout", device="NVIDIA A40", gpu_memory_mb=40.51 * 1024),
            "timeout in the probe on NVIDIA A40 with 41 GB: no memory left",
        ),
        (failure(reason="two\nlines\x1b[2J"), "oom in the probe: two lines\N{REPLACEMENT CHARACTER}[2J"),
    ],
)
def test_a_failed_probe_in_words(measurement, text):
    assert fault_of(measurement) == text


def test_a_finished_point_proves_that_its_kind_can_be_trained():
    assert cost(source="scaled", measurement=failure()).fault == "oom in the probe: no memory left"
    assert cost(source="points", measurement=failure()).fault == ""


def test_at_most_four_kinds_are_listed():
    costs = [some_cost(settings=some_kind(batch_size=batch)) for batch in (1, 2, 3, 4)]
    assert listed([*costs, costs[0]]) == "UNet batch 1, UNet batch 2, UNet batch 3, UNet batch 4"
    more = [some_cost(settings=some_kind(batch_size=batch)) for batch in (5, 6)]
    assert listed([*costs, *more]).endswith("UNet batch 4 and 2 more")
