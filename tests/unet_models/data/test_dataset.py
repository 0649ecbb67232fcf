"""Data are cut, split by slice and packed once; what they are can be proved."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jobs.grid.settings import DATA
from tests.conftest import REAL_DATA, write_images
from unet_models.data.dataset import build
from unet_models.data.images import DataError
from unet_models.data.packed import PARTS, fingerprint, read_packed, write_packed
from unet_models.data.patches import cut
from unet_models.data.splits import split_slices
from unet_models.data.stacks import Slice, Stack


def block(**changes):
    defaults = {key: setting.default for key, setting in DATA.items()}
    return {
        **defaults,
        "source": "files",
        "patch_size": 32,
        "gap_slices": 1,
        "validation_fraction": 0.25,
        **changes,
    }


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "data")
    return tmp_path / "data"


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


def test_patches_of_one_slice_stay_together_when_the_pattern_tells(tmp_path):
    write_images(tmp_path / "d", slices=16, size=(32, 32), name="p{0:03d}.png")
    for kind in ("images", "masks"):
        for number in range(16):
            (tmp_path / "d" / kind / f"p{number:03d}.png").rename(
                tmp_path / "d" / kind / f"tile{number % 4}_s{number // 4}.png"
            )
    packed = build(block(path=str(tmp_path / "d"), slice_pattern=r"_s(\d+)", gap_slices=0))
    assert sorted(packed.z) == sorted([0, 1, 2, 3] * 4)
    assert not set(packed.z[packed.part == 0]) & set(packed.z[packed.part == 1])


def test_names_without_slice_numbers_are_noted(tmp_path):
    write_images(tmp_path / "d", name="patch{:03d}.tif")
    assert any("slice numbers" in note for note in build(block(path=str(tmp_path / "d"))).notes)


def test_the_epfl_volumes_are_read_with_their_test_volume(tmp_path):
    generator = np.random.default_rng(0)
    for stem, pages in (("training", 12), ("testing", 3)):
        for suffix in ("", "_groundtruth"):
            arrays = [generator.integers(0, 2, (32, 64)).astype(np.uint8) * 255 for _ in range(pages)]
            first, *rest = [Image.fromarray(array) for array in arrays]
            first.save(tmp_path / f"{stem}{suffix}.tif", save_all=True, append_images=rest)
    packed = build(block(path=str(tmp_path)))
    assert packed.count("test") == 6
    assert packed.count("train") + packed.count("validation") == 2 * (12 - 1)
    (tmp_path / "testing_groundtruth.tif").unlink()
    with pytest.raises(DataError, match=r"testing.tif exists but its partner testing_groundtruth.tif"):
        build(block(path=str(tmp_path)))


def test_a_test_folder_beside_the_images_is_the_test_part(folder):
    write_images(folder / "test", slices=2, seed=5)
    assert build(block(path=str(folder))).count("test") == 8


def test_a_different_shape_names_both_files(folder):
    Image.fromarray(np.zeros((64, 32), np.uint8)).save(folder / "masks" / "z002.png")
    with pytest.raises(
        DataError, match=r"masks/z002.png has the shape \(64, 32\).*images/z002.png has \(64, 64\)"
    ):
        build(block(path=str(folder)))


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


def test_the_border_that_fills_no_patch_is_reported():
    stack = Stack([Slice(0, "a", np.zeros((40, 64), np.uint8), np.zeros((40, 64), bool))])
    images, masks, z, unused = cut(stack, 32)
    assert images.shape == masks.shape == (2, 32, 32) and z.tolist() == [0, 0]
    assert unused == pytest.approx(0.2)


def test_packed_data_come_back_unchanged(folder, tmp_path):
    packed = build(block(path=str(folder)))
    write_packed(tmp_path / "data.npz", packed)
    again = read_packed(tmp_path / "data.npz")
    for name in ("images", "masks", "part", "z"):
        assert (getattr(packed, name) == getattr(again, name)).all()
    assert (again.fingerprint, again.source, again.notes) == (packed.fingerprint, packed.source, packed.notes)
    assert again.fingerprint == fingerprint(again.images, again.masks, again.part, again.z)


def test_damaged_packed_data_are_refused(folder, tmp_path):
    path = tmp_path / "data.npz"
    write_packed(path, build(block(path=str(folder))))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="make_grid.py"):
        read_packed(path)
    path.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
    with pytest.raises(DataError, match="make_grid.py"):
        read_packed(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_packed(tmp_path / "none.npz")


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
