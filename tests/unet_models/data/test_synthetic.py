"""The sample data: seeded, alike from slice to slice, and not solved by a threshold."""

from __future__ import annotations

import numpy as np
import pytest

from unet_models.data.synthetic import LABEL, synthetic_volume


def overlap(first, second):
    return (first & second).sum() / max(1, (first | second).sum())


def test_equal_seeds_give_equal_bytes_and_others_do_not():
    first, second, other = (synthetic_volume(slices=6, height=64, width=64, seed=seed) for seed in (1, 1, 2))
    assert (first[0] == second[0]).all() and (first[1] == second[1]).all()
    assert (first[0] != other[0]).any() and (first[1] != other[1]).any()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mitochondria_cover_a_share_like_that_of_real_tissue(seed):
    images, masks = synthetic_volume(slices=48, height=128, width=96, seed=seed)
    assert images.shape == masks.shape == (48, 128, 96)
    assert images.dtype == np.uint8 and masks.dtype == bool
    assert 0.08 < masks.mean() < 0.13
    assert masks.any(axis=(1, 2)).all()


def test_neighbouring_slices_are_alike_and_distant_ones_are_not():
    _, masks = synthetic_volume(slices=48, height=128, width=128, seed=0)
    assert np.mean([overlap(masks[z], masks[z + 1]) for z in range(47)]) > 0.8
    assert np.mean([overlap(masks[z], masks[z + 20]) for z in range(28)]) < 0.4


def statistics(slices, size, seed):
    images, masks = synthetic_volume(slices=slices, height=size, width=size, seed=seed)
    return np.array([images.mean(), images[masks].mean(), 100 * (images < 100).mean(), 100 * masks.mean()])


def test_volumes_of_other_seeds_are_from_the_same_distribution():
    found = np.array([statistics(24, 128, seed) for seed in range(5)])
    # Mean grey, grey of mitochondria, dark pixels and foreground in percent.
    assert (np.ptp(found, axis=0) < [3, 9, 4, 2.5]).all(), found


def test_no_threshold_finds_the_mitochondria():
    images, masks = synthetic_volume(slices=24, height=128, width=128, seed=0)
    below = max(overlap(images < level, masks) for level in range(20, 240, 4))
    above = max(overlap(images > level, masks) for level in range(20, 240, 4))
    assert max(below, above) < 0.5


@pytest.mark.parametrize("size", [(0, 64, 64), (4, 16, 64), (4, 64, 31)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match="size of the sample: received"):
        synthetic_volume(slices=size[0], height=size[1], width=size[2], seed=0)


def test_the_label_says_that_the_data_are_not_real():
    assert "synthetic" in LABEL
