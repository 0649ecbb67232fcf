"""Slices are assigned to parts in one block with a gap, patches at random; the numbers are exact."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unet_models.data.builders import block, build
from unet_models.data.errors import DataError
from unet_models.data.packed import PARTS
from unet_models.data.splits import split_patches, split_slices


@pytest.mark.parametrize("where", ["start", "middle", "end"])
@pytest.mark.parametrize("gap", [0, 1, 5])
def test_no_slice_is_in_two_parts_and_the_gap_is_kept(where, gap):
    z = np.repeat(np.arange(0, 80, 2), 3)
    parts = split_slices(z, block(validation_block=where, gap_slices=gap))
    train = {one for one, part in parts.items() if part == 0}
    held_out = sorted(one for one, part in parts.items() if part == 1)
    assert held_out and train and not train & set(held_out)
    assert held_out == list(range(held_out[0], held_out[-1] + 1, 2))
    assert min(abs(a - b) for a in train for b in held_out) > gap
    assert set(parts) == set(range(0, 80, 2))


def test_built_parts_share_no_slice(folder):
    packed = build(block(path=str(folder)))
    train, held_out = (set(packed.z[packed.part == PARTS.index(part)]) for part in PARTS[:2])
    assert held_out == {6, 7} and train == set(range(5))


def test_a_gap_that_leaves_nothing_is_refused(folder):
    with pytest.raises(DataError, match="data.gap_slices 20 .*none of the 8 slices"):
        build(block(path=str(folder), gap_slices=20))


def test_the_random_split_must_be_named_and_says_that_it_leaks(folder):
    packed = build(block(path=str(folder), split="random"))
    train, held_out = (set(packed.z[packed.part == PARTS.index(part)]) for part in PARTS[:2])
    assert train & held_out
    assert any("leak" in note for note in packed.notes)
    assert not any("leak" in note for note in build(block(path=str(folder))).notes)


def assigned(slices, **changes):
    """The slice numbers of the training part, the validation part and the gap."""
    parts = split_slices(np.asarray(slices), block(**changes))
    return [sorted(z for z, part in parts.items() if part == wanted) for wanted in (0, 1, -1)]


@pytest.mark.parametrize(
    ("where", "train", "validation", "unused"),
    [
        ("start", [4, 5, 6, 7, 8, 9], [0, 1], [2, 3]),
        ("middle", [0, 1, 8, 9], [4, 5], [2, 3, 6, 7]),
        ("end", [0, 1, 2, 3, 4, 5], [8, 9], [6, 7]),
    ],
)
def test_the_block_and_its_gap(where, train, validation, unused):
    found = assigned(range(10), validation_block=where, validation_fraction=0.2, gap_slices=2)
    assert found == [train, validation, unused]


@pytest.mark.parametrize(
    ("fraction", "count", "held_out"),
    [
        (0.15, 10, 2),
        (0.25, 10, 2),
        (0.26, 10, 3),
        (0.35, 10, 4),
        (0.01, 10, 1),
        (0.19, 100, 19),
        (0.29, 100, 29),
    ],
)
def test_the_share_of_the_validation_part_is_rounded(fraction, count, held_out):
    """To the nearest number, of two equally near to the even one; 0.15 of 10 are 2. At least 1."""
    found = assigned(range(count), validation_fraction=fraction, gap_slices=0)
    assert [len(part) for part in found] == [count - held_out, held_out, 0]
    parts = split_patches(count, {"validation_fraction": fraction, "split_seed": 0})
    assert (
        parts.dtype == np.int8 and (parts == 1).sum() == held_out and (parts == 0).sum() == count - held_out
    )


def test_the_gap_is_measured_in_slice_numbers():
    found = assigned([0, 10, 12, 13, 20, 30], validation_fraction=0.3, gap_slices=7)
    assert found == [[0, 10, 12], [20, 30], [13]]
    found = assigned([0, 10, 12, 13, 20, 30], validation_fraction=0.3, gap_slices=6)
    assert found == [[0, 10, 12, 13], [20, 30], []]


def test_a_single_slice_cannot_be_split():
    with pytest.raises(DataError, match="the data have 1 slice; expected at least 2"):
        split_slices(np.array([7, 7, 7]), block())
    assert assigned([7, 9], gap_slices=0) == [[7], [9], []]


def test_a_random_split_depends_on_its_seed_only():
    first, second, other = (
        split_patches(40, {"validation_fraction": 0.25, "split_seed": seed}) for seed in (1, 1, 2)
    )
    assert first.tolist() == second.tolist() != other.tolist()
    expected = np.random.default_rng(1).permutation(40)[:10]
    assert np.flatnonzero(first).tolist() == sorted(expected)
