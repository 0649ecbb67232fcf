"""Image folders and volumes become slices with the right numbers, images and masks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_images
from tests.unet_models.data.builders import block, build
from unet_models.data.errors import DataError
from unet_models.data.stacks import read_stacks, slice_numbers
from unet_models.data.synthetic import synthetic_volume


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


def volume(path, values):
    """A file with one page of 32x32 pixels for each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = [Image.fromarray(np.full((32, 32), value, np.uint8)) for value in values]
    first.save(path, save_all=True, append_images=rest)


def read(folder, **changes):
    """Numbers, names and the grey values of the slices of ``folder``; its masks must be 1 where the image is odd."""
    stack, _, _ = read_stacks(block(path=str(folder), **changes))
    for one in stack.slices:
        assert (one.mask == (one.image % 2 == 1)).all()
    return [(one.z, one.name, int(one.image[0, 0])) for one in stack.slices], stack.notes


def test_pages_are_counted_from_the_number_of_their_file(tmp_path):
    for name, values in (("z010.tif", [1, 2, 3]), ("z013.tif", [4, 5]), ("z2.tif", [7])):
        volume(tmp_path / "images" / name, values)
        volume(tmp_path / "masks" / name, [value % 2 for value in values])
    found, notes = read(tmp_path)
    assert found == [
        (2, "z2.tif", 7),
        (10, "z010.tif", 1),
        (11, "z010.tif[1]", 2),
        (12, "z010.tif[2]", 3),
        (13, "z013.tif", 4),
        (14, "z013.tif[1]", 5),
    ]
    assert notes == ()


def test_without_numbers_pages_are_counted_through_all_files(tmp_path):
    for name, values in (("b.tif", [4, 5]), ("a10.tif", [3]), ("a9.tif", [1, 2])):
        volume(tmp_path / "images" / name, values)
        volume(tmp_path / "masks" / name, [value % 2 for value in values])
    found, notes = read(tmp_path)
    assert found == [
        (0, "a9.tif", 1),
        (1, "a9.tif[1]", 2),
        (2, "a10.tif", 3),
        (3, "b.tif", 4),
        (4, "b.tif[1]", 5),
    ]
    assert len(notes) == 1 and "contain no slice numbers" in notes[0]


def test_slices_are_in_order_of_their_numbers_not_of_their_names(tmp_path):
    for name, value in (("a_s3.tif", 1), ("b_s1.tif", 2), ("c_s2.tif", 3)):
        volume(tmp_path / "images" / name, [value])
        volume(tmp_path / "masks" / name, [value % 2])
    found, _ = read(tmp_path, slice_pattern=r"_s(\d+)")
    assert [(z, value) for z, _, value in found] == [(1, 2), (2, 3), (3, 1)]


@pytest.mark.parametrize(
    ("stems", "numbers"),
    [
        (["z001", "z10"], [1, 10]),
        (["vol_slice-7", "Sec 8", "x.PAGE9"], [7, None, 9]),
        (["x_section_12", "y-z_3"], [12, 3]),
        (["jazz1", "z2"], None),  # the z of a word is no slice
        (["z1", "z"], None),
        (["tile4_z9_x3"], [9]),
    ],
)
def test_slice_numbers_are_read_from_names(stems, numbers):
    found = slice_numbers(stems, None)
    assert found == (None if numbers is None or None in numbers else numbers)


def test_as_many_pages_of_masks_as_of_images_are_expected(tmp_path):
    volume(tmp_path / "images" / "z1.tif", [1, 2])
    volume(tmp_path / "masks" / "z1.tif", [1])
    with pytest.raises(DataError, match=r"masks/z1\.tif has 1 pages and .*images/z1\.tif has 2"):
        read(tmp_path)


def test_a_mask_page_that_is_not_binary_is_named(tmp_path):
    volume(tmp_path / "images" / "z1.tif", [1, 2])
    first, second = (
        Image.fromarray(np.zeros((32, 32), np.uint8)),
        Image.fromarray(np.eye(32, dtype=np.uint8) * 2 + 1),
    )
    second.putpixel((5, 0), 9)
    (tmp_path / "masks").mkdir()
    first.save(tmp_path / "masks" / "z1.tif", save_all=True, append_images=[second])
    with pytest.raises(DataError, match=r"z1\.tif\[1\] is not binary"):
        read(tmp_path)


def test_volumes_are_numbered_from_zero_and_the_test_volume_is_separate(tmp_path):
    for stem, values in (("training", [11, 12, 13]), ("testing", [20, 21])):
        volume(tmp_path / f"{stem}.tif", values)
        volume(tmp_path / f"{stem}_groundtruth.tif", [value % 2 for value in values])
    stack, test, source = read_stacks(block(path=str(tmp_path)))
    assert [(one.z, one.name, one.image[0, 0]) for one in stack.slices] == [
        (0, "training.tif[0]", 11),
        (1, "training.tif[1]", 12),
        (2, "training.tif[2]", 13),
    ]
    assert [(one.z, one.image[0, 0], bool(one.mask[0, 0])) for one in test.slices] == [
        (0, 20, False),
        (1, 21, True),
    ]
    assert source == str(tmp_path)


def test_the_sample_has_other_data_to_test_on():
    data = block(source="sample", sample_slices=20, sample_size=32, sample_seed=3)
    stack, test, _ = read_stacks(data)
    assert (len(stack.slices), len(test.slices)) == (20, 5)
    assert [one.z for one in test.slices] == [0, 1, 2, 3, 4]
    for one, seed in ((stack, 6), (test, 7)):  # no two seeds of a user share a volume
        images, masks = synthetic_volume(slices=20, height=32, width=32, seed=seed)
        for number, piece in enumerate(one.slices):
            assert (piece.image == images[number]).all() and (piece.mask == masks[number]).all()
