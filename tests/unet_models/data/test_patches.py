"""Patches lie row by row, cover what they should, and know which of their pixels others cover."""

from __future__ import annotations

import numpy as np
import pytest

from unet_models.data.errors import DataError
from unet_models.data.patches import windows


def corners(height, width, patch, **options):
    return [(one.top, one.left) for one in windows("a", height, width, patch, **options)]


def test_patches_are_cut_row_by_row():
    assert corners(70, 100, 32) == [(0, 0), (0, 32), (0, 64), (32, 0), (32, 32), (32, 64)]
    assert [one.of(32) for one in windows("a", 32, 64, 32)] == [np.s_[0:32, 0:32], np.s_[0:32, 32:64]]


def test_a_slice_as_large_as_a_patch_is_one_patch_and_a_smaller_one_is_refused():
    assert corners(32, 32, 32) == [(0, 0)]
    assert corners(63, 64, 32) == [(0, 0), (0, 32)]
    for height, width in ((31, 64), (64, 31)):
        with pytest.raises(DataError, match=f"a is {width}x{height} pixels, smaller than a patch of 32x32"):
            corners(height, width, 32)


def test_shifted_patches_lie_at_the_border():
    assert corners(40, 64, 32, shift=True) == [(0, 0), (0, 32), (8, 0), (8, 32)]
    assert corners(64, 64, 32, shift=True) == corners(64, 64, 32)


def test_overlapping_patches_share_the_given_number_of_pixels():
    assert corners(32, 80, 32, overlap=16) == [(0, 0), (0, 16), (0, 32), (0, 48)]
    assert corners(32, 70, 32, overlap=8) == [(0, 0), (0, 24)]
    assert corners(32, 70, 32, overlap=8, shift=True) == [(0, 0), (0, 24), (0, 38)]


@pytest.mark.parametrize("size", [(32, 32), (45, 71), (64, 33), (100, 100)])
@pytest.mark.parametrize("overlap", [0, 5, 20, 31])
def test_the_fresh_pixels_of_all_patches_are_every_pixel_once(size, overlap):
    count = np.zeros(size, int)
    for one in windows("a", *size, 32, overlap=overlap, shift=True):
        count[one.of(32)][one.fresh[0] :, one.fresh[1] :] += 1
    assert (count == 1).all()
