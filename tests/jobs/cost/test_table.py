"""The estimate as people and programs read it."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from jobs.cost.estimate import Estimate
from jobs.cost.table import WIDTH, as_json, one_line_summary, render, sources, totals, unit
from tests.jobs.cost.builders import some_cost, some_kind


def estimate(*costs, **more):
    """100 points of 630 s on one GPU each, eight at a time."""
    values = {
        "costs": costs or (some_cost(),),
        "durations": dict.fromkeys(range(1, 101), 630.0),
        "points": 100,
        "finished": 0,
        "patches": {"train": 1683, "validation": 297, "test": 0},
        "patch_size": 256,
        "ngpus": 1,
        "hours": 17.5,
        "least_hours": 17.5,
        "left_hours": 17.5,
        "at_once": 8,
        "wall_seconds": {1: 63_000.0, 8: 8190.0, 100: 630.0},
        "warnings": (),
    }
    return Estimate(**{**values, **more})


def text_of(run, found, width=WIDTH):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render(run, found), highlight=False)
    return console.export_text()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "at most 17.5 GPU hours, with all 10 epochs of each point"),
        (
            {"hours": 1234.4, "least_hours": 1234.4},
            "at most 1234 GPU hours, with all 10 epochs of each point",
        ),
        ({"hours": 0.25, "least_hours": 0.25}, "at most 0.25 GPU hours, with all 10 epochs of each point"),
        (
            {"ngpus": 0},
            "at most 17.5 hours of sub-jobs (no GPU is requested), with all 10 epochs of each point",
        ),
        (
            {"ngpus": 4, "least_hours": 5.0, "finished": 40, "left_hours": 10.0},
            (
                "at most 70.0 GPU hours, with all 10 epochs of each point; at least 20.0, if early stopping ends each "
                "point as soon as it can; 40.0 of them for the 60 points without a result"
            ),
        ),
        (
            {"finished": 1, "left_hours": 17.325},
            "at most 17.5 GPU hours, with all 10 epochs of each point; 17.3 of them for the 99 points without a result",
        ),
        ({"finished": 100, "left_hours": 0.0}, "at most 17.5 GPU hours, with all 10 epochs of each point"),
    ],
)
def test_the_totals_in_one_sentence(more, text):
    assert totals(estimate(**more)) == text


@pytest.mark.parametrize(("least", "named"), [(17.33, False), (17.32, True)])
def test_the_least_is_named_where_it_is_a_hundredth_less(least, named):
    assert ("at least" in totals(estimate(least_hours=least))) is named


def test_different_numbers_of_epochs_are_not_named_as_one():
    found = estimate(some_cost(epochs=10), some_cost(epochs=20))
    assert totals(found) == "at most 17.5 GPU hours, with all epochs of each point"


def test_the_sources_are_counted_and_the_most_frequent_is_first():
    guess = some_cost(source="flops", settings=some_kind(batch_size=2))
    found = estimate(guess, some_cost(), some_cost(), some_cost(source="points", device="NVIDIA H100"))
    assert sources(found) == (
        "probe.json (NVIDIA A40): 2 of 4 combinations; counted FLOPs at 25 % of an NVIDIA A40, not measured: 1 of 4 "
        "combinations; finished points of this run (NVIDIA H100): 1 of 4 combinations"
    )


@pytest.mark.parametrize(
    ("at_once", "text"),
    [
        (8, "2 h 16 min with 8 at a time"),
        (1, "17 h 30 min with 1 at a time"),
        (None, "10 min with 100 at a time"),
        (400, "10 min with 100 at a time"),
    ],
)
def test_the_line_of_a_dry_run(at_once, text):
    assert one_line_summary(estimate(at_once=at_once)) == (
        f"at most 17.5 GPU hours, {text}, without the queue; from probe.json (NVIDIA A40): 1 of 1 combinations"
    )


def test_the_unit_follows_the_gpus():
    assert unit(estimate(ngpus=2)) == "GPU hours" != unit(estimate(ngpus=0))


def test_a_row_has_the_numbers_of_its_combination(tiny_run):
    shown = text_of(tiny_run, estimate(), width=140)
    header, row = (
        next(line for line in shown.splitlines() if word in line) for word in ("architecture", "UNet")
    )
    assert header.split() == [
        "architecture",
        "batch",
        "points",
        "step",
        "epoch",
        "point",
        "hours",
        "walltime",
        "mem",
        "GPU",
        "mem",
        "from",
    ]
    assert row.split() == [
        "UNet",
        "8",
        "100",
        "500",
        "ms",
        "60",
        "s",
        "10",
        "min",
        "17.5",
        "00:30:00",
        "5gb",
        "8.8",
        "GB",
        "probe",
    ]
    flat = " ".join(shown.split())
    assert "100 points, 0 with a result; patches of 256x256: 1,683 train, 297 validation architecture" in flat
    assert (
        "17 h 30 min with 1 at a time; 2 h 16 min with 8 at a time (max_running); 10 min with all 100 at a time"
        in flat
    )


@pytest.mark.parametrize(
    ("points", "words"), [(1, "10 min with 1 at a time;"), (2, "10 min with all 2 at a time;")]
)
def test_all_points_at_a_time_are_called_so(tiny_run, points, words):
    found = estimate(points=points, wall_seconds={points: 630.0, 200: 1.0}, at_once=None)
    assert words in " ".join(text_of(tiny_run, found).split())


def test_what_differs_is_a_column_and_what_is_not_known_a_dash(tiny_run):
    other = some_cost(
        settings=some_kind(base_filters=32, tensor_float_32=False),
        epochs=20,
        source="flops",
        walltime=None,
        mem=None,
        gpu_memory_mb=None,
    )
    shown = text_of(tiny_run, estimate(some_cost(), other), width=160)
    header = next(line for line in shown.splitlines() if "architecture" in line)
    assert header.split()[:5] == ["architecture", "batch", "filters", "TF32", "epochs"]
    row = next(line for line in shown.splitlines() if "not measured" in line)
    assert row.split() == [
        "UNet",
        "8",
        "32",
        "False",
        "20",
        "100",
        "500",
        "ms",
        "60",
        "s",
        "10",
        "min",
        "17.5",
        "-",
        "-",
        "-",
        "not",
        "measured",
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "probe"),
        ({"source": "points", "detail": "3 finished"}, "3 finished"),
        ({"source": "scaled", "detail": "from UNet batch 4"}, "scaled from UNet batch 4"),
        (
            {"source": "scaled", "detail": "from UNet batch 4", "fault": "oom in the probe"},
            "scaled from UNet batch 4, oom",
        ),
        ({"source": "flops", "fault": "oom in the probe"}, "not measured"),
    ],
)
def test_each_row_names_its_source(tiny_run, more, words):
    row = next(
        line for line in text_of(tiny_run, estimate(some_cost(**more)), 200).splitlines() if "UNet" in line
    )
    assert " ".join(row.split()).endswith(f"GB {words}")


def test_proposals_and_warnings_are_shown_where_there_are_any(tiny_run):
    shown = text_of(tiny_run, estimate(warnings=("Measure: python -m jobs.submit --probe RUN",)), 400)
    assert f"! Measure:\n  python -m jobs.submit --probe {tiny_run.paths.root}" in "\n".join(
        line.rstrip() for line in shown.splitlines()
    )
    assert "--proposed submits with them" in shown
    shown = text_of(tiny_run, estimate(some_cost(source="flops", walltime=None)), 400)
    assert "--proposed" not in shown and "!" not in shown


def test_the_json_has_every_key_of_the_version_before():
    content = json.loads(as_json(estimate()))
    assert set(content) == {
        "costs",
        "durations",
        "points",
        "finished",
        "patches",
        "patch_size",
        "ngpus",
        "hours",
        "least_hours",
        "left_hours",
        "at_once",
        "wall_seconds",
        "warnings",
        "gpu_hours",
        "measured",
        "sources",
    }
    (cost,) = content["costs"]
    assert set(cost) == {
        "settings",
        "epochs",
        "indices",
        "source",
        "detail",
        "device",
        "wrong_device",
        "step_seconds",
        "epoch_seconds",
        "once_seconds",
        "seconds",
        "slowest_seconds",
        "least_seconds",
        "host_memory_mb",
        "gpu_memory_mb",
        "fault",
        "walltime",
        "mem",
    }
    assert cost["settings"] == some_kind().fields() and cost["indices"] == list(range(1, 101))
    assert content["durations"]["100"] == 630.0 and content["wall_seconds"]["8"] == 8190.0
    assert (content["gpu_hours"], content["measured"]) == (17.5, True)
    assert set(content["sources"]) == {"points", "probe", "scaled", "flops"}


@pytest.mark.parametrize(
    ("more", "measured"), [({}, True), ({"source": "flops"}, False), ({"wrong_device": True}, False)]
)
def test_one_kind_that_was_not_measured_makes_the_estimate_a_guess(more, measured):
    assert estimate(some_cost(), some_cost(**more)).measured is measured
