"""Data are read, cut, split and checked."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REAL_DATA
from tests.unet_models.data.builders import block, build
from unet_models.data.errors import DataError
from unet_models.data.packed import PARTS


def test_patches_are_the_pixels_of_their_slice_and_mask(folder):
    packed = build(block(path=str(folder)))
    assert packed.images.shape[1:] == packed.masks.shape[1:] == (32, 32)
    image = np.asarray(Image.open(folder / "images" / "z003.png"))
    mask = np.asarray(Image.open(folder / "masks" / "z003.png")) > 0
    at = np.flatnonzero(packed.z == 3)
    assert len(at) == 4
    for place, (top, left) in zip(at, ((0, 0), (0, 32), (32, 0), (32, 32)), strict=True):
        assert (packed.images[place] == image[top : top + 32, left : left + 32]).all()
        assert (packed.masks[place] == mask[top : top + 32, left : left + 32]).all()


def test_swapping_two_masks_changes_the_fingerprint(folder):
    before = build(block(path=str(folder))).fingerprint
    first, second = folder / "masks" / "z000.png", folder / "masks" / "z003.png"
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert build(block(path=str(folder))).fingerprint != before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch_size": 128}, "z000.png is 64x64 pixels, smaller than a patch of 128x128"),
        ({"path": "/nonexistent"}, "is not a folder"),
        ({"expected_patches": 1980}, "gives 28 patches, but data.expected_patches is 1980"),
        ({"expected_fingerprint": "x"}, "data.expected_fingerprint is x"),
        ({"slice_pattern": r"q(\d+)"}, "finds no number in the name 'z000'"),
    ],
)
def test_data_that_are_not_those_stated_are_refused(folder, changes, words):
    with pytest.raises(DataError, match=words):
        build(block(**{"path": str(folder), **changes}))


def test_masks_without_foreground_are_refused(folder):
    for path in (folder / "masks").iterdir():
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(path)
    with pytest.raises(DataError, match="no foreground at all"):
        build(block(path=str(folder)))


def test_sample_data_are_labelled_and_have_a_test_volume():
    packed = build(block(source="sample", sample_slices=12, sample_size=64))
    assert "synthetic" in packed.source
    assert min(packed.count(part) for part in PARTS) > 0


def test_real_slices_are_paired_cut_and_split():
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real EM data are not at {REAL_DATA}")
    packed = build(block(path=str(REAL_DATA), patch_size=256, gap_slices=20, validation_fraction=0.15))
    assert packed.images.shape == (444, 256, 256)  # 42 slices of 12 patches, less 5 slices in the gap
    assert packed.z[packed.part == 1].min() - packed.z[packed.part == 0].max() == 24
    assert 0.05 < packed.foreground("validation") < 0.10


def test_the_random_split_has_no_gap_and_uses_every_patch(folder):
    packed = build(block(path=str(folder), split="random", gap_slices=5, validation_fraction=0.29))
    assert (packed.count("train"), packed.count("validation")) == (23, 9)
    assert packed.split == "random"
    packed = build(block(path=str(folder), split="random", split_seed=7, validation_fraction=0.29))
    expected = np.random.default_rng(7).permutation(32)[:9]
    assert packed.rows("validation").tolist() == sorted(expected)


def test_the_test_part_is_behind_the_others_with_its_own_slices(folder):
    from tests.conftest import write_images

    write_images(folder / "test", slices=2, seed=5)
    packed = build(block(path=str(folder)))
    assert packed.part.tolist() == [0] * 20 + [1] * 8 + [2] * 8
    assert packed.z.tolist() == [z for z in (0, 1, 2, 3, 4, 6, 7, 0, 1) for _ in range(4)]
    image = np.asarray(Image.open(folder / "test" / "images" / "z001.png"))
    assert (packed.select("test")[0][4] == image[:32, :32]).all()


def test_what_a_reader_should_know_is_noted(folder):
    assert build(block(path=str(folder))).notes == ()
    assert build(block(path=str(folder), gap_slices=0)).notes == (
        "no gap between training and validation: the slices at the border are near copies",
    )
    assert build(block(path=str(folder), patch_size=48)).notes == (
        "43.8 % of the pixels, at the right and lower borders, fill no patch; data.border: shift would cover them",
    )


def test_masks_that_are_foreground_everywhere_are_refused(folder):
    for number in (6, 7):  # the validation part
        Image.fromarray(np.full((64, 64), 255, np.uint8)).save(folder / "masks" / f"z{number:03d}.png")
    with pytest.raises(DataError, match="masks of the validation part of .* are foreground everywhere"):
        build(block(path=str(folder)))


def test_the_stated_data_are_accepted(folder):
    packed = build(block(path=str(folder)))
    same = build(block(path=str(folder), expected_patches=28, expected_fingerprint=packed.fingerprint))
    assert same.fingerprint == packed.fingerprint
