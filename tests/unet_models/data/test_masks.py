"""Foreground is what a user means, masks of more than two values are refused, and inverted ones are noticed."""

from __future__ import annotations

import numpy as np
import pytest

from unet_models.data.errors import DataError
from unet_models.data.masks import ForegroundValues, Polarity, to_mask


@pytest.mark.parametrize("white", [1, 255, 7])
def test_a_binary_mask_is_taken_whatever_its_white_is(white):
    assert to_mask("m.png", np.array([[0, white]], np.uint8), None).tolist() == [[False, True]]


def test_a_mask_of_labels_is_refused_and_a_threshold_reads_it():
    labels = np.array([[0, 1, 2, 200]], np.uint8)
    with pytest.raises(
        DataError, match=r"m\.png is not binary: it has 4 values \(0, 1, 2, 200\).*mask_threshold"
    ):
        to_mask("m.png", labels, None)
    assert to_mask("m.png", labels, 0).tolist() == [[False, True, True, True]]
    assert to_mask("m.png", labels, 127).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize(
    ("values", "mask"),
    [([[0, 0]], [[False, False]]), ([[255, 255]], [[True, True]]), ([[0, 65535]], [[False, True]])],
)
def test_masks_of_one_or_two_values(values, mask):
    assert to_mask("m.png", np.array(values, np.uint16), None).tolist() == mask


@pytest.mark.parametrize("values", [[[-1, -1]], [[-1, 0]], [[3, 7]], [[0, 0.5, 1]]])
def test_other_values_are_no_mask(values):
    with pytest.raises(DataError, match="is not binary"):
        to_mask("m.png", np.array(values), None)


def test_a_mask_threshold_is_exclusive():
    array = np.array([[126, 127, 128]], np.uint8)
    assert to_mask("m.png", array, 127).tolist() == [[False, False, True]]


@pytest.mark.parametrize(
    ("dtype", "label"),
    [
        (np.uint32, 2**31),
        (np.uint32, 2**32 - 1),
        (np.int64, 2**40),
        (np.uint64, 2**63 + 1),
        (np.int32, 2**31 - 1),
    ],
)
def test_labels_are_foreground_at_the_full_width_of_their_type(dtype, label):
    assert to_mask("m.tif", np.array([[0, 1, label]], dtype), 0).tolist() == [[False, True, True]]
    assert to_mask("m.tif", np.array([[0, label]], dtype), None).tolist() == [[False, True]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite_are_counted_and_refused(bad, dtype):
    array = np.zeros((4, 5), dtype)
    array[1:3, 2] = bad
    for threshold in (None, 0.5):
        with pytest.raises(DataError, match="m.tif: 2 of 20 values are not finite"):
            to_mask("m.tif", array, threshold)


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_where_0_is_white_it_is_foreground(bits):
    top = 2**bits - 1
    array = np.array([[0, top]], np.uint16 if bits > 8 else np.uint8)
    assert to_mask("m.tif", array, None, white_is_zero=True, bits=bits).tolist() == [[True, False]]
    assert to_mask("m.tif", array, 0, white_is_zero=True, bits=bits).tolist() == [[True, False]]


def test_where_0_is_white_but_the_other_value_is_not_black_the_mask_is_refused():
    with pytest.raises(DataError, match=r"not binary: it has 2 values \(254, 255\) after it was turned over"):
        to_mask("m.tif", np.array([[0, 1]], np.uint8), None, white_is_zero=True)
    with pytest.raises(DataError, match="the values are int16, which have no fixed black"):
        to_mask("m.tif", np.array([[0, 1]], np.int16), None, white_is_zero=True)


def share(part):
    mask = np.zeros((10, 10), bool)
    mask.flat[: round(100 * part)] = True
    return mask


def test_masks_with_much_foreground_are_noted():
    polarity = Polarity()
    for name in ("a", "b"):
        polarity.add(name, share(0.9))
    (note,) = polarity.notes()
    assert note.startswith("foreground covers 90 % of the masks (a, b): are they inverted?")


def test_masks_that_disagree_are_named():
    polarity = Polarity()
    for number in range(9):
        polarity.add(f"z{number}", share(0.88 if number in (2, 3, 5, 7) else 0.12))
    assert polarity.notes() == [
        (
            "the masks disagree: 4 of 9 files are foreground in more than half of their pixels (z2, z3, z5 and 1 more): are "
            "these inverted?"
        )
    ]


def test_usual_masks_are_not_noted():
    polarity = Polarity()
    for name, part in (("a", 0.0), ("b", 0.1), ("c", 0.5)):
        polarity.add(name, share(part))
    assert polarity.notes() == []


def test_labels_of_which_each_slice_has_one_are_no_masks():
    values = ForegroundValues()
    slices = [np.array([[0, label]], np.uint16) for label in (7, 0, 7, 8)]
    for one in slices[:3]:
        values.add("stack.tif", one)
    assert values.notes() == []
    with pytest.raises(DataError, match=r"stack.tif: the slices of this file .* not the same one .7, 8."):
        values.add("stack.tif", slices[3])


def test_files_that_differ_in_the_value_of_their_foreground_are_noted_and_three_values_refused():
    values = ForegroundValues()
    values.add("a.png", np.array([[0, 1]], np.uint8))
    values.add("b.png", np.array([[0, 255]], np.uint8))
    assert values.notes() == ["foreground is not the same value in all masks: 1 in a.png, 255 in b.png"]
    with pytest.raises(DataError, match="c.png: the slices of the masks .* .1, 255, 2.*mask_threshold"):
        values.add("c.png", np.array([[0, 2]], np.uint8))
