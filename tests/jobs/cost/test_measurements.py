"""Kinds of points, and reading probe.json."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from jobs.common.errors import UserError
from jobs.common.records import read_record, write_record
from jobs.cost.measurements import COST, kind, kinds, read_probe
from jobs.grid.config import load_config
from jobs.run.create import make_run
from tests.conftest import TINY, write_images
from tests.jobs.cost.builders import measurement, some_kind, write_probe

# As commit b78a078 wrote it, before measurements were typed records.
OLDER = """{
 "combinations": [
  {
   "device": "CPU",
   "epoch_end_seconds": 0.09577806200013583,
   "finish_batches": 2,
   "finish_seconds": 1.3937912229998801,
   "gpu_memory_mb": null,
   "host": "vm",
   "job_id": null,
   "made": "2026-11-26T08:31:15+00:00",
   "packages": {"keras": "3.15.1", "numpy": "2.4.6"},
   "peak_host_memory_mb": 656.7,
   "peak_memory_mb": null,
   "point": "exp_01_UNet_lr0.001_bs8",
   "reason": "",
   "settings": {
    "architecture": "UNet",
    "augment": true,
    "base_filters": 2,
    "batch_size": 8,
    "deterministic": false,
    "dropout": false,
    "jit_compile": "auto",
    "levels": 5,
    "loss": "binary_focal_crossentropy",
    "optimizer": "adam",
    "precision": "float32",
    "tensor_float_32": true,
    "validation_batch_size": 16
   },
   "startup": {"build": 0.5, "data": 0.25, "first_step": 3.125, "import": 2.5},
   "status": "measured",
   "step_seconds": 0.028029866999986552,
   "step_seconds_range": [0.028029866999986552, 0.028029866999986552],
   "steps": 1,
   "threads": 1,
   "validation_seconds": 0.0839298000000781
  }
 ],
 "source": "/data",
 "updated": "2026-11-26T08:31:15+00:00"
}"""


def test_points_that_differ_in_what_costs_nothing_are_one_kind(tmp_path, write_grid):
    write_images(tmp_path / "data")
    grid = TINY.replace(
        "batch_size: [8]", "batch_size: [4, 8]\n  base_filters: [2, 3]\n  clipnorm: [1.0, 2.0]"
    )
    run = make_run(
        load_config(write_grid(grid.replace("  base_filters: 2\n", ""))),
        tmp_path / "r",
        say=lambda text: None,
    ).run
    assert len(run.entries) == 16 and [len(entries) for entries in kinds(run.entries).values()] == [4] * 4


def test_dropout_counts_as_whether_there_is_any():
    assert some_kind(dropout=0.1) == some_kind(dropout=0.5) != some_kind(dropout=0.0)
    assert (some_kind(dropout=0.1).dropout, some_kind().dropout) == (True, False)


@pytest.mark.parametrize("name", [name for name in COST if name != "dropout"])
def test_every_setting_that_changes_a_step_makes_another_kind(name):
    value = getattr(some_kind(), name)
    assert some_kind(**{name: not value if isinstance(value, bool) else 2 * value}) != some_kind()


def test_a_record_of_the_version_before_is_read(tiny_run):
    write_record(tiny_run.paths.probe, {"fingerprint": tiny_run.fingerprint, **json.loads(OLDER)})
    ((key, one),) = read_probe(tiny_run).items()
    assert key == kind(tiny_run.entries[0].point.settings) == one.settings
    assert (one.status, one.device, one.steps, one.threads) == ("measured", "CPU", 1, 1)
    assert (one.step_seconds, one.validation_seconds) == (0.028029866999986552, 0.0839298000000781)
    assert one.startup == {"import": 2.5, "data": 0.25, "build": 0.5, "first_step": 3.125}
    assert (one.finish_batches, one.peak_host_memory_mb, one.peak_memory_mb) == (2.0, 656.7, None)


def test_a_record_has_the_keys_of_the_version_before(tiny_run):
    write_probe(tiny_run, measurement(tiny_run))
    found, older = read_record(tiny_run.paths.probe), json.loads(OLDER)
    assert found.keys() == older.keys() | {"fingerprint"}
    assert found["combinations"][0].keys() == older["combinations"][0].keys()


def test_the_measurements_of_other_kinds_are_left_out(tiny_run):
    mine = measurement(tiny_run)
    write_probe(tiny_run, replace(mine, settings=replace(mine.settings, batch_size=64)), mine)
    assert list(read_probe(tiny_run).values()) == [mine]


def test_a_probe_of_other_data_or_another_recipe_or_a_damaged_one_is_refused_with_words(tiny_run):
    write_probe(tiny_run, measurement(tiny_run), fingerprint="8x8x8-0")
    with pytest.raises(UserError, match=r"measured with the data '8x8x8-0', expected those of this run"):
        read_probe(tiny_run)
    write_probe(
        tiny_run, measurement(tiny_run, settings=replace(measurement(tiny_run).settings, base_filters=64))
    )
    with pytest.raises(
        UserError,
        match=r"another recipe: none of its 1 combinations is one of this run \(base_filters: received 64, expected 2\); move",
    ):
        read_probe(tiny_run)
    write_probe(tiny_run, measurement(tiny_run))
    text = tiny_run.paths.probe.read_text()
    tiny_run.paths.probe.write_text(text.replace("0.25", "0.26"))
    with pytest.raises(UserError, match=r"checksum: it was edited or damaged; move it away"):
        read_probe(tiny_run)
    tiny_run.paths.probe.write_text(text[:40])
    with pytest.raises(UserError, match="not whole JSON"):
        read_probe(tiny_run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step_seconds": -1}, r"Expected `float` >= 0.0 - at `\$.combinations\[0\].step_seconds`"),
        ({"step_seconds": None}, "step_seconds and validation_seconds must be above 0"),
        ({"validation_seconds": 0.0}, "step_seconds and validation_seconds must be above 0"),
        ({"validation_seconds": "fast"}, "Expected `float | null`, got `str`"),
        ({"peak_host_memory_mb": True}, "Expected `float | null`, got `bool`"),
        ({"status": ["done"]}, "Expected `str`, got `array`"),
        ({"status": "done"}, "Invalid enum value 'done'"),
        ({"settings": {"architecture": "UNet"}}, "missing required field `batch_size`"),
        ({"settings": None}, "Expected `object`, got `null`"),
        ({"startup": {"import": 1e12}}, "Expected `float` <= 1000000000.0"),
    ],
)
def test_impossible_values_in_a_record_that_is_whole_are_refused(tiny_run, change, words):
    content = {**measurement(tiny_run).fields(), **change}
    write_record(tiny_run.paths.probe, {"fingerprint": tiny_run.fingerprint, "combinations": [content]})
    with pytest.raises(UserError, match=words) as caught:
        read_probe(tiny_run)
    text = str(caught.value)
    assert text.startswith(f"{tiny_run.paths.probe} is not a valid Measurements record (")
    assert text.endswith(f"; move it away and measure again: python -m jobs.probe {tiny_run.paths.root}")


def test_a_setting_of_another_version_is_refused(tiny_run):
    content = measurement(tiny_run).fields()
    content["settings"]["width"] = 2
    write_record(tiny_run.paths.probe, {"fingerprint": tiny_run.fingerprint, "combinations": [content]})
    with pytest.raises(UserError, match="unknown field `width`"):
        read_probe(tiny_run)


def test_a_record_without_measurements_is_empty(tiny_run):
    assert read_probe(tiny_run) == {}
    write_probe(tiny_run)
    assert read_probe(tiny_run) == {}
