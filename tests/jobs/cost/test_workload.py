"""How much one epoch is: batches rounded down for training and up for scoring."""

from __future__ import annotations

import pytest

from jobs.common.errors import UserError
from jobs.common.records import read_record, write_record
from jobs.cost.workload import Workload, read_workload
from tests.jobs.cost.builders import some_kind
from unet_models.networks.flops import forward_flops

PATCHES = Workload(train=103, validation=33, test=17, patch_size=64)


@pytest.mark.parametrize(("batch", "steps"), [(8, 12), (103, 1), (104, 1), (52, 1), (51, 2)])
def test_an_incomplete_training_batch_is_left_out(batch, steps):
    assert PATCHES.steps(some_kind(batch_size=batch)) == steps


@pytest.mark.parametrize(
    ("batch", "validation", "scored"),
    [(16, 3, 3 + 7 + 2), (33, 1, 1 + 4 + 1), (32, 2, 2 + 4 + 1), (1, 33, 153)],
)
def test_incomplete_batches_are_scored(batch, validation, scored):
    kind = some_kind(validation_batch_size=batch)
    assert (PATCHES.validation_batches(kind), PATCHES.scored_batches(kind)) == (validation, scored)


def test_a_training_step_counts_three_times_a_prediction():
    kind = some_kind(batch_size=8, base_filters=4, levels=3)
    one = forward_flops("UNet", patch_size=64, base_filters=4, levels=3)
    assert PATCHES.epoch_flops(kind) == one * (3 * 12 * 8 + 33)
    assert PATCHES.training_share(kind) == 288 / 321


def test_the_workload_of_a_run_is_that_of_its_records(tiny_run):
    record = read_record(tiny_run.paths.provenance)
    record["data"]["patches"] = {"train": 20, "validation": 5, "test": 3}
    write_record(tiny_run.paths.provenance, record)
    assert read_workload(tiny_run) == Workload(20, 5, 3, 32)


@pytest.mark.parametrize(
    "patches",
    [
        None,
        {},
        {"train": 20, "validation": 5},
        {"train": 0, "validation": 5, "test": 3},
        {"train": 20, "validation": -1, "test": 3},
        {"train": 20, "validation": 5, "test": -1},
        {"train": "20", "validation": 5, "test": 3},
    ],
)
def test_a_record_without_a_possible_number_of_patches_is_refused(tiny_run, patches):
    record = read_record(tiny_run.paths.provenance)
    record["data"]["patches"] = patches
    write_record(tiny_run.paths.provenance, record)
    with pytest.raises(UserError, match="does not contain the number of patches") as caught:
        read_workload(tiny_run)
    assert str(caught.value).endswith(f"python make_grid.py --run-dir {tiny_run.paths.root}")


def test_no_validation_and_no_test_part_are_possible():
    empty = Workload(1, 0, 0, 32)
    assert (empty.validation_batches(some_kind()), empty.scored_batches(some_kind())) == (0, 1)
