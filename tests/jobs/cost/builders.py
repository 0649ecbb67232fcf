"""Records for the tests of costs: probes and results with numbers that one can compute with."""

from __future__ import annotations

import msgspec

from jobs.common.records import write, write_record
from jobs.common.schema import Measurement, Measurements
from jobs.cost.costs import Cost
from jobs.cost.measurements import kind, kinds
from jobs.grid.settings import POINT
from tests.conftest import TINY

GRID = (
    TINY.replace("[UNet]", "[UNet, Attention_ResUNet]")
    .replace("[8]", "[4, 8]")
    .replace("epochs: 2", "epochs: 20")
)
GPU = {"device": "NVIDIA A40", "gpu_memory_mb": 46068.0, "peak_memory_mb": 9000.0}


def measurement(run, place=0, **more):
    """The measurement of the kind of point number ``place`` (from 0), as a probe of ``run`` makes it."""
    entry = run.entries[place]
    found = Measurement(
        settings=kind(entry.point.settings),
        status="measured",
        point=entry.name,
        device="CPU",
        step_seconds=0.5,
        validation_seconds=0.25,
        epoch_end_seconds=0.1,
        finish_seconds=3.0,
        finish_batches=4,
        startup={"import": 4.0, "data": 0.5, "build": 1.0, "first_step": 6.0},
        peak_host_memory_mb=1000.0,
    )
    return msgspec.structs.replace(found, **more)


def failed(run, place=0, status="oom", **more):
    """The measurement of a kind whose probe ended before a step was measured."""
    return measurement(
        run, place, status=status, **{"step_seconds": None, "validation_seconds": None, **more}
    )


def write_probe(run, *measurements, fingerprint=None):
    """``probe.json`` with these measurements."""
    write(
        run.paths.probe,
        Measurements(
            fingerprint=fingerprint or run.fingerprint, source=run.source, combinations=tuple(measurements)
        ),
    )


def probe_all(run, **more):
    """``probe.json`` in which every kind has the same numbers, on a GPU."""
    places = [run.entries.index(entries[0]) for entries in kinds(run.entries).values()]
    write_probe(run, *(measurement(run, place, **{**GPU, **more}) for place in places))


def finish(run, index, *, each=10.0, epochs=20, device="NVIDIA A40", around=30.0, **more):
    """A result as a point publishes it.

    It has ``epochs`` of ``each`` seconds (the first takes 5 more), and ``around`` seconds outside the training.
    """
    entry = run.entry(index)
    paths = run.point_paths(entry)
    paths.state.mkdir(parents=True, exist_ok=True)
    rows = [{"epoch": n + 1, "seconds": each + (5.0 if n == 0 else 0.0)} for n in range(epochs)]
    training = sum(row["seconds"] for row in rows)
    minutes, rest = divmod(training + around, 60)
    record = {
        "key": entry.key,
        "status": "done",
        "metrics": {"training_time_seconds": training},
        "history": rows,
        "attempts": 1,
        "resumed": [],
        "started": "2026-01-01T00:00:00+00:00",
        "ended": f"2026-01-01T00:{minutes:02.0f}:{rest:02.0f}+00:00",
        "device": device,
        "peak_memory_mb": 7000.0,
        "peak_host_memory_mb": 3000.0,
    }
    write_record(paths.results, {**record, **more})


def some_kind(**more):
    """The kind of a point with default settings but those given."""
    return kind({**{key: setting.default for key, setting in POINT.items()}, **more})


def some_cost(**more):
    """The cost of a kind: 100 points of 10 epochs of 60 s and 30 s around them, measured by a probe on a GPU."""
    values = {
        "settings": some_kind(),
        "epochs": 10,
        "indices": tuple(range(1, 101)),
        "source": "probe",
        "detail": "",
        "device": "NVIDIA A40",
        "wrong_device": False,
        "step_seconds": 0.5,
        "epoch_seconds": 60.0,
        "once_seconds": 30.0,
        "seconds": 630.0,
        "slowest_seconds": 630.0,
        "least_seconds": 630.0,
        "host_memory_mb": 3000.0,
        "gpu_memory_mb": 9000.0,
        "fault": "",
        "walltime": "00:30:00",
        "mem": "5gb",
    }
    return Cost(**{**values, **more})
