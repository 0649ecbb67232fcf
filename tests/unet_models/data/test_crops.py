"""Random crops lie on their slices, hold foreground as often as asked, and depend on seed and epoch only."""

from __future__ import annotations

import numpy as np
import pytest

from unet_models.data import crops as crops_module
from unet_models.data.crops import CropRule, DrawnCrops, PointSample
from unet_models.data.packing import PackWriter, read_packed

SIZE = 8


def slices(shapes=((20, 33), (14, 15), (40, 21)), dtype=np.uint16):
    """Slices of several shapes, with little foreground, and none in the second."""
    generator = np.random.default_rng(3)
    result = []
    for number, shape in enumerate(shapes):
        mask = np.zeros(shape, bool)
        if number != 1:
            mask[0, 0] = mask[-1, -1] = mask[shape[0] // 2, 3:5] = True
        result.append((generator.integers(0, np.iinfo(dtype).max, shape).astype(dtype), mask))
    return result


def packed(tmp_path, *, share=0.5, count=400, dtype=np.uint16, given=None):
    rule = CropRule(SIZE, count, share)
    writer = PackWriter(tmp_path / "data", patch_size=SIZE, dtype=dtype, crops=rule)
    for number, (image, mask) in enumerate(given or slices(dtype=dtype)):
        writer.add_slice(image, mask, number + 5, volume=number % 2)
    writer.add("validation", np.ones((2, SIZE, SIZE), dtype), np.eye(SIZE, dtype=bool)[None].repeat(2, 0), 99)
    writer.finish("here", "contiguous")
    return read_packed(tmp_path / "data")


@pytest.mark.parametrize("whole_rows", [0, 2**13])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_crop_is_its_part_of_the_slice(tmp_path, monkeypatch, dtype, whole_rows):
    """Whether rows are read whole, as in narrow slices, or one by one, as in wide ones."""
    monkeypatch.setattr(crops_module, "_WHOLE_ROWS", whole_rows)
    crops = packed(tmp_path, dtype=dtype).crops
    given = slices(dtype=dtype)
    places = crops.places(1, 0)
    images, masks = crops.read(places)
    assert images.dtype == dtype and masks.dtype == bool and len(images) == 400
    assert {place[0] for place in places.tolist()} == {0, 1, 2}
    for (index, top, left), image, mask in zip(places.tolist(), images, masks, strict=True):
        window = slice(top, top + SIZE), slice(left, left + SIZE)
        assert np.array_equal(image, given[index][0][window])
        assert np.array_equal(mask, given[index][1][window])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_crops_that_hold_foreground_is_at_least_the_one_asked_for(tmp_path, share):
    crops = packed(tmp_path, share=share).crops
    _, masks = crops.read(crops.places(1, 0))
    found = masks.any(axis=(1, 2))
    assert found[: round(share * 400)].all()
    if share < 1:
        assert found[round(share * 400) :].mean() < 0.6  # the others lie anywhere


def test_each_foreground_pixel_is_chosen_as_often_as_every_other(tmp_path):
    """Also the one in a corner, where a crop cannot lie around it."""
    crops = packed(tmp_path, share=1.0, count=8000).crops
    places = crops.places(7, 3)
    holds = [
        ((places[:, 0] == index) & (places[:, 1] <= row) & (row < places[:, 1] + SIZE)
         & (places[:, 2] <= column) & (column < places[:, 2] + SIZE)).sum()
        for index, row, column in crops.points.tolist()
    ]  # fmt: skip
    assert len(holds) == 8 and min(holds) > 800


def test_crops_without_a_target_lie_uniformly_over_all_places_of_all_slices(tmp_path):
    crops = packed(tmp_path, share=0.0, count=20_000).crops
    places = crops.places(2, 0)
    rooms = [(20 - 7) * (33 - 7), (14 - 7) * (15 - 7), (40 - 7) * (21 - 7)]
    expected = 20_000 * np.array(rooms) / sum(rooms)
    counts = np.bincount(places[:, 0], minlength=3)
    assert (
        (counts - expected) ** 2 / expected
    ).sum() < 13.8  # chi-squared with 2 degrees of freedom, 1 in 1000
    tops = np.bincount(places[places[:, 0] == 0, 1], minlength=13)
    assert len(tops) == 13 and tops.min() > 0.8 * tops.mean()


def test_an_epoch_of_crops_depends_on_seed_and_epoch_only(tmp_path):
    crops = packed(tmp_path).crops
    first = crops.places(1, 4)
    assert np.array_equal(first, packed(tmp_path).crops.places(1, 4))
    assert not np.array_equal(first, crops.places(1, 5))
    assert not np.array_equal(first, crops.places(2, 4))


def test_two_epochs_may_be_read_at_the_same_time(tmp_path):
    drawn = DrawnCrops(packed(tmp_path).crops, 1)
    rows = np.array([3, 1, 399])
    expected = {epoch: drawn.crops.read(drawn.crops.places(1, epoch)[rows])[0] for epoch in range(4)}
    for epoch in (0, 1, 0, 1, 2, 1, 3, 0):
        assert np.array_equal(drawn.take(rows, epoch)[0], expected[epoch])
    assert (len(drawn), drawn.size, drawn.dtype) == (400, SIZE, np.uint16)


def test_without_foreground_all_crops_lie_anywhere(tmp_path):
    data = packed(tmp_path, share=1.0, given=[(image, mask & False) for image, mask in slices()])
    assert len(data.crops.points) == 0 and data.foreground("train") == 0
    assert len(np.unique(data.crops.places(1, 0)[:, 0])) > 1


def test_the_pack_counts_crops_and_knows_the_foreground_of_its_slices(tmp_path):
    data = packed(tmp_path)
    pixels = 20 * 33 + 14 * 15 + 40 * 21
    assert data.count("train") == 400 and data.count("validation") == 2
    assert data.foreground("train") == 8 / pixels
    assert data.crops.pixels == pixels
    assert data.crops.slices[:, [0, 1, 4, 5]].tolist() == [[20, 33, 5, 0], [14, 15, 6, 1], [40, 21, 7, 0]]
    data.verify()


@pytest.mark.parametrize("change", ["image", "mask", "rule"])
def test_the_fingerprint_covers_slices_and_rule(tmp_path, change):
    before = packed(tmp_path).fingerprint
    given = slices()
    if change == "image":
        given[2][0][5, 5] ^= 1
    if change == "mask":
        given[2][1][5, 5] = True
    other = packed(tmp_path / "other", given=given, share=0.4 if change == "rule" else 0.5)
    assert other.fingerprint != before == packed(tmp_path / "again").fingerprint


def test_points_are_the_same_when_a_mask_is_searched_in_bands(monkeypatch):
    mask = np.random.default_rng(0).random((50, 30)) < 0.3
    whole, bands = PointSample(limit=100), PointSample(limit=100)
    whole.add(3, mask)
    monkeypatch.setattr(crops_module, "_BAND", 70)
    bands.add(3, mask)
    assert np.array_equal(whole.points(), bands.points())
    assert all(mask[row, column] and index == 3 for index, row, column in bands.points().tolist())


def test_a_sample_of_points_is_uniform_over_all_slices():
    """Whatever the order and number of the slices."""
    counts = np.zeros(4)
    for trial in range(300):
        sample = PointSample(limit=10)
        sample._generator = np.random.Generator(np.random.Philox(key=trial))
        for index in range(4):
            mask = np.zeros((10, 10), bool)
            mask.flat[: 10 * (index + 1)] = True
            sample.add(index, mask)
        points = sample.points()
        assert points.shape == (10, 3) and points.dtype == np.int32
        assert len({tuple(one) for one in points.tolist()}) == 10
        counts += np.bincount(points[:, 0], minlength=4)
    expected = 3000 * np.array([10, 20, 30, 40]) / 100
    assert (
        (counts - expected) ** 2 / expected
    ).sum() < 16.3  # chi-squared with 3 degrees of freedom, 1 in 1000
