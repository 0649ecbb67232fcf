"""A training process is prepared with the data of its run, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.common.errors import UserError
from jobs.point.preparation import prepare
from unet_models.data.packing import read_packed


def test_the_data_are_those_of_the_run_and_the_phases_are_timed(tiny_run):
    found = prepare(tiny_run, tiny_run.entries[0].point.settings)
    assert found.data.fingerprint == tiny_run.fingerprint == read_packed(tiny_run.paths.data).fingerprint
    assert list(found.startup) == ["import", "data"]
    assert found.startup["import"] > 0 and found.startup["data"] > 0


def test_other_data_than_those_of_the_run_are_refused(tiny_run):
    other = replace(tiny_run, fingerprint="8x8x8-0")
    with pytest.raises(UserError, match="expected 8x8x8-0: it was replaced after the run was made"):
        prepare(other, tiny_run.entries[0].point.settings)


def test_the_settings_and_the_cores_reach_tensorflow(tiny_run, monkeypatch):
    from unet_models.training import training

    received = []
    monkeypatch.setattr(
        training, "prepare_process", lambda settings, *, threads: received.append((settings, threads))
    )
    settings = tiny_run.entries[0].point.settings
    prepare(tiny_run, settings, threads=3)
    assert received == [(settings, 3)]
