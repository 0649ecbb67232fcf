"""Warnings: each threshold from both sides, and numbers that would sort wrongly as text."""

from __future__ import annotations

import pytest

from jobs.cost.advice import REFERENCE_GPU_MB, does_not_fit, warnings
from tests.jobs.cost.builders import some_cost, some_kind

SITE = {"ngpus": 1, "walltime": "01:00:00", "mem": "8gb"}


def advice(*costs, **site):
    return warnings({**SITE, **site}, costs or (some_cost(),))


def test_where_everything_fits_there_is_no_warning():
    assert advice() == []


def test_a_guess_is_called_one():
    guess = some_cost(source="flops", walltime=None, mem=None, settings=some_kind(batch_size=2))
    (text,) = advice(some_cost(), guess)
    assert text == (
        "not measured: UNet batch 2: a guess, which may be wrong by a factor of three either way. Measure: "
        "python -m jobs.submit --probe RUN"
    )


@pytest.mark.parametrize(("ngpus", "words"), [(0, "no GPU"), (1, "1 GPU"), (4, "4 GPU")])
def test_another_device_is_named_with_what_is_requested(ngpus, words):
    (text,) = advice(some_cost(wrong_device=True, device="A device"), ngpus=ngpus)
    assert text.startswith(f"measured on A device while the site block requests {words}: ")


def test_what_was_measured_elsewhere_gives_no_advice_on_requests():
    wrong = some_cost(wrong_device=True, walltime="90:00:00", mem="900gb", host_memory_mb=1e6)
    assert len(advice(wrong)) == 1


def test_a_failed_probe_is_named_for_its_kind():
    fault = "oom in the probe"
    (text,) = advice(some_cost(), some_cost(settings=some_kind(batch_size=64), fault=fault))
    assert text == "UNet batch 64: oom in the probe; its times are scaled from others"


@pytest.mark.parametrize(("more", "warned"), [(0.0, False), (1.0, True)])
def test_more_gpu_memory_than_the_reference_has(more, warned):
    assert REFERENCE_GPU_MB == 45_044  # 46,068 of the driver's, without 1,024 for CUDA
    found = advice(some_cost(gpu_memory_mb=REFERENCE_GPU_MB + more))
    assert [text.split(",")[0] for text in found] == (
        ["UNet batch 8: needed 44 GB of GPU memory on NVIDIA A40"] if warned else []
    )


def test_kinds_with_the_same_need_of_gpu_memory_share_a_warning():
    costs = [
        some_cost(settings=some_kind(batch_size=batch), gpu_memory_mb=memory)
        for batch, memory in ((8, 48.51 * 1024), (16, 100_000.0), (32, 49.4 * 1024))
    ]
    first, second = sorted(advice(*costs))
    assert first.startswith("UNet batch 16: needed 98 GB")
    assert second.startswith("UNet batch 8, UNet batch 32: needed 49 GB")


@pytest.mark.parametrize(
    ("walltime", "expected"),
    [
        ("00:11:29", "is too short"),  # 630 s and 60 s for stopping in order
        ("00:11:30", ""),
        ("02:00:00", ""),
        ("02:00:01", "is more than 4 times"),  # of the proposed 30 minutes
    ],
)
def test_the_walltime_is_compared_in_seconds_from_both_sides(walltime, expected):
    found = advice(walltime=walltime)
    assert len(found) == bool(expected) and all(
        text.startswith(f"walltime {walltime} {expected}") for text in found
    )


def test_too_short_a_walltime_names_the_longest_point_and_how_far_it_gets():
    longer = some_cost(
        settings=some_kind(architecture="Attention_UNet"),
        epoch_seconds=100.0,
        seconds=1030.0,
        walltime="00:45:00",
    )
    fits = some_cost(settings=some_kind(batch_size=2), seconds=100.0, walltime="00:15:00")
    (text,) = advice(some_cost(), longer, fits, walltime="00:09:00")
    # 540 s, without 60 s for stopping and 30 s around the epochs of 100 s
    assert text == (
        "walltime 00:09:00 is too short for all epochs of UNet batch 8, Attention_UNet batch 8: "
        "Attention_UNet batch 8 would end as timeout after about 4 of 10 epochs. "
        'Set walltime: "00:45:00" in the site block, or submit with --proposed'
    )


@pytest.mark.parametrize(("walltime", "epochs"), [("00:01:00", 0), ("00:03:29", 1), ("00:03:30", 2)])
def test_whole_epochs_are_counted_and_never_fewer_than_none(walltime, epochs):
    (text,) = advice(walltime=walltime)
    assert f"would end as timeout after about {epochs} of 10 epochs" in text


def test_the_longest_of_the_proposed_walltimes_is_named_not_the_last_in_the_alphabet():
    """As text, 99 hours would come after 100."""
    costs = [some_cost(walltime=walltime) for walltime in ("99:15:00", "100:00:00", "09:00:00")]
    (text,) = advice(*costs, walltime="00:05:00")
    assert 'Set walltime: "100:00:00"' in text
    assert advice(*costs, walltime="399:00:00") == []  # less than four times 100, more than four times 99.25
    (text,) = advice(*costs, walltime="400:00:01")
    assert 'walltime: "100:00:00" is enough' in text


@pytest.mark.parametrize(
    ("mem", "expected"),
    [
        ("2999mb", "is too small"),  # 3,000 MB were used
        ("3000mb", ""),
        ("20gb", ""),
        ("20481mb", "is more than 4 times"),  # of the proposed 5 GB
        ("1tb", "is more than 4 times"),
    ],
)
def test_memory_is_compared_in_megabytes_from_both_sides(mem, expected):
    found = advice(mem=mem)
    assert len(found) == bool(expected) and all(text.startswith(f"mem {mem} {expected}") for text in found)


def test_the_most_of_the_memories_is_named_not_the_last_in_the_alphabet():
    """As text, 9gb would come after 100gb."""
    costs = [
        some_cost(settings=some_kind(batch_size=batch), host_memory_mb=host, mem=mem)
        for batch, host, mem in ((8, 6000.0, "9gb"), (16, 80_000.0, "100gb"), (32, 14_000.0, "19gb"))
    ]
    (text,) = advice(*costs, mem="10gb")
    assert text == (
        "mem 10gb is too small for UNet batch 16, UNet batch 32: 78.1 GB were used. Set mem: 100gb in the site block, "
        "or submit with --proposed"
    )
    assert advice(*costs, mem="400gb") == []
    (text,) = advice(*costs, mem="401gb")
    assert "mem: 100gb is enough" in text


def test_without_a_measurement_of_memory_there_is_no_advice_on_it():
    assert advice(some_cost(mem=None, host_memory_mb=None), mem="1mb") == []


def test_points_that_do_not_fit_into_their_walltime_are_named_with_the_longest():
    durations, walltimes = {1: 100.0, 2: 4000.0, 3: 5000.0, 4: 9e9}, dict.fromkeys((1, 2, 3), "01:00:00")
    text = does_not_fit(durations, walltimes, measured=True)
    assert text.startswith(
        "2 points predicted to take longer than the walltime, point 3 the longest: 1 h 23 min of 01:00:00."
    )
    assert "a guess" in does_not_fit(durations, walltimes, measured=False)
    assert does_not_fit({1: 3600.0}, {1: "01:00:00", 2: "01:00:00"}, measured=True) == ""
