"""Images and masks are paired by name, and every fault names its file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unet_models.data.errors import DataError
from unet_models.data.images import (
    image_files,
    natural_key,
    pair_files,
    partner_stem,
    read_pages,
    to_grey8,
    to_mask,
)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path)
    return path


def test_z9_comes_before_z10():
    assert sorted(["z10", "z9", "Z1", "a"], key=natural_key) == ["a", "Z1", "z9", "z10"]


def test_pairs_are_made_by_name_not_by_order(tmp_path):
    """The predecessor zipped two listings: one file too many on one side shifted every mask."""
    for number in (2, 10, 1):
        save(tmp_path / "images" / f"img_z{number}.png", np.zeros((4, 4), np.uint8))
        save(tmp_path / "masks" / f"mask_z{number}.png", np.zeros((4, 4), np.uint8))
    images, masks = image_files(tmp_path / "images"), image_files(tmp_path / "masks")
    pairs = pair_files(images, list(reversed(masks)))
    assert [(image.stem, mask.stem) for image, mask in pairs] == [
        ("img_z1", "mask_z1"),
        ("img_z2", "mask_z2"),
        ("img_z10", "mask_z10"),
    ]


@pytest.mark.parametrize("side", ["images", "masks"])
def test_a_missing_partner_is_named(tmp_path, side):
    for kind in ("images", "masks"):
        for number in (1, 2, 3):
            save(tmp_path / kind / f"z{number}.tif", np.zeros((4, 4), np.uint8))
    (tmp_path / side / "z2.tif").unlink()
    other = "images" if side == "masks" else "masks"
    with pytest.raises(DataError, match=f"{other}/z2.tif has no"):
        pair_files(image_files(tmp_path / "images"), image_files(tmp_path / "masks"))


def test_names_that_cannot_be_told_apart_are_refused(tmp_path):
    images = [
        save(tmp_path / "images" / f"{name}.png", np.zeros((4, 4), np.uint8)) for name in ("z1", "img_z1")
    ]
    masks = [save(tmp_path / "masks" / "mask_z1.png", np.zeros((4, 4), np.uint8))]
    with pytest.raises(DataError, match="both have the name 'z1'"):
        pair_files(images, masks)


def test_an_empty_folder_and_no_folder_are_named(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match="images contains no image"):
        image_files(tmp_path / "images")
    with pytest.raises(DataError, match="masks is not a folder"):
        image_files(tmp_path / "masks")


def test_two_files_with_one_stem_are_refused(tmp_path):
    for suffix in ("png", "tif"):
        save(tmp_path / f"z1.{suffix}", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="have the same name"):
        image_files(tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_corrupt_file_is_named(tmp_path, keep):
    path = save(tmp_path / "z1.png", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="z1.png cannot be read as an image"):
        list(read_pages(path))


def test_every_page_of_a_volume_is_read(tmp_path):
    pages = [Image.fromarray(np.full((4, 6), value, np.uint8)) for value in (1, 2, 3)]
    pages[0].save(tmp_path / "v.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    found = list(read_pages(tmp_path / "v.tif"))
    assert [int(page[0, 0]) for page in found] == [1, 2, 3]
    assert found[0].shape == (4, 6)


def test_grey_in_three_channels_is_read_and_colour_refused(tmp_path):
    grey = np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4, 1), 3, axis=2)
    (page,) = read_pages(save(tmp_path / "grey.png", grey))
    assert page.shape == (4, 4)
    grey[0, 0] = (255, 0, 0)
    with pytest.raises(DataError, match="red.png is a colour image"):
        list(read_pages(save(tmp_path / "red.png", grey)))


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    path = save(tmp_path / "deep.png", np.array([[0, 257, 65535]], np.uint16))
    (page,) = read_pages(path)
    assert to_grey8(path, page, None).tolist() == [[0, 1, 255]]
    assert to_grey8(path, page, 257.0).tolist() == [[0, 255, 255]]


def test_fractions_need_the_white_value(tmp_path):
    with pytest.raises(DataError, match=r"data\.intensity_max"):
        to_grey8(tmp_path / "f.tif", np.array([[0.5]]), None)


@pytest.mark.parametrize("white", [1, 255, 7])
def test_a_binary_mask_is_taken_whatever_its_white_is(tmp_path, white):
    assert to_mask(tmp_path / "m.png", np.array([[0, white]], np.uint8), None).tolist() == [[False, True]]


def test_a_mask_of_labels_is_refused_and_a_threshold_reads_it(tmp_path):
    labels = np.array([[0, 1, 2, 200]], np.uint8)
    with pytest.raises(
        DataError, match=r"m\.png is not binary: it has 4 values \(0, 1, 2, 200\).*mask_threshold"
    ):
        to_mask(tmp_path / "m.png", labels, None)
    assert to_mask(tmp_path / "m.png", labels, 0).tolist() == [[False, True, True, True]]
    assert to_mask(tmp_path / "m.png", labels, 127).tolist() == [[False, False, False, True]]


def test_hidden_files_folders_and_other_files_are_passed_over(tmp_path):
    """MacOS puts a hidden ``._z1.png`` next to ``z1.png``; Windows a ``Thumbs.db``."""
    for name in ("z2.png", "z10.PNG", "Z1.TIF"):
        save(tmp_path / "plain.png", np.zeros((4, 4), np.uint8)).rename(tmp_path / name)
    save(tmp_path / "hidden.png", np.zeros((4, 4), np.uint8)).rename(tmp_path / "._z2.png")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "z3.png").mkdir()
    assert [path.name for path in image_files(tmp_path)] == ["Z1.TIF", "z2.png", "z10.PNG"]


def test_a_folder_of_hidden_files_contains_no_image(tmp_path):
    save(tmp_path / "z1.png", np.zeros((4, 4), np.uint8)).rename(tmp_path / ".z1.png")
    with pytest.raises(DataError, match="contains no image"):
        image_files(tmp_path)


def test_images_and_masks_of_different_types_are_paired(tmp_path):
    image = save(tmp_path / "images" / "z1.tif", np.zeros((4, 4), np.uint8))
    mask = save(tmp_path / "masks" / "z1.png", np.zeros((4, 4), np.uint8))
    assert pair_files([image], [mask]) == [(image, mask)]


@pytest.mark.parametrize(
    ("stem", "shared"),
    [
        ("z012_mask", "z012"),
        ("mask-z012", "z012"),
        ("img z012", "z012"),
        ("z012_GroundTruth", "z012"),
        ("z012.label", "z012"),
        ("seg_z1_raw", "z1"),
        ("z__1", "z_1"),
        ("masked_z1", "masked_z1"),  # a part of a word is no word
        ("mask", "mask"),  # nothing else is left
    ],
)
def test_the_shared_part_of_a_name(stem, shared):
    assert partner_stem(stem) == shared


@pytest.mark.parametrize(
    ("value", "white", "expected"),
    [
        (128, None, 0),  # 0.498
        (129, None, 1),  # 0.502: rounded, not cut off
        (200, None, 1),  # 0.778
        (32767, None, 127),  # 127.498
        (32768, None, 128),  # 127.502
        (65406, None, 254),  # 254.498
        (65407, None, 255),  # 254.502
        (65535, None, 255),
        (999, 1000.0, 255),  # 254.745
        (997, 1000.0, 254),  # 254.235
        (1, 2.0, 128),  # 127.5: half to even
        (3, 6.0, 128),
        (2000, 1000.0, 255),  # clipped
    ],
)
def test_grey_values_are_rounded_to_the_nearest(tmp_path, value, white, expected):
    (page,) = read_pages(save(tmp_path / "deep.png", np.array([[value]], np.uint16)))
    assert to_grey8(tmp_path / "deep.png", page, white).tolist() == [[expected]]


def test_eight_bits_are_kept_and_scaled_only_where_a_white_value_is_set(tmp_path):
    page = np.array([[0, 100, 200]], np.uint8)
    assert to_grey8(tmp_path / "m.png", page, None) is page
    assert to_grey8(tmp_path / "m.png", page, 200.0).tolist() == [[0, 128, 255]]


def test_negative_and_larger_values_need_the_white_value(tmp_path):
    for values in ([[-1, 5]], [[0, 65536]]):
        with pytest.raises(DataError, match=r"expected 8 or 16 bits, or set data\.intensity_max"):
            to_grey8(tmp_path / "f.tif", np.array(values, np.int32), None)
    assert to_grey8(tmp_path / "f.tif", np.array([[-1, 65535]], np.int32), 65535.0).tolist() == [[0, 255]]
    assert to_grey8(tmp_path / "f.tif", np.array([[0.25, 1.5]]), 1.0).tolist() == [[64, 255]]


@pytest.mark.parametrize(
    ("mode", "pixels", "expected"),
    [
        ("1", [[0, 1]], [[0, 255]]),  # one bit
        ("LA", [[(7, 0), (8, 255)]], [[7, 8]]),  # transparency is no grey value
        ("RGBA", [[(7, 7, 7, 0), (8, 8, 8, 255)]], [[7, 8]]),
    ],
)
def test_one_bit_and_transparent_images_are_read(tmp_path, mode, pixels, expected):
    picture = Image.new(mode, (2, 1))
    for column, value in enumerate(pixels[0]):
        picture.putpixel((column, 0), value)
    picture.save(tmp_path / "odd.png")
    (page,) = read_pages(tmp_path / "odd.png")
    assert page.tolist() == expected


def test_a_palette_is_read_by_its_colours_not_by_its_indices(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 200, 200, 10, 10, 10])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "palette.png")
    (page,) = read_pages(tmp_path / "palette.png")
    assert page.tolist() == [[200, 10]]


@pytest.mark.parametrize(
    ("values", "mask"),
    [([[0, 0]], [[False, False]]), ([[255, 255]], [[True, True]]), ([[0, 65535]], [[False, True]])],
)
def test_masks_of_one_or_two_values(tmp_path, values, mask):
    assert to_mask(tmp_path / "m.png", np.array(values, np.uint16), None).tolist() == mask


def test_a_mask_threshold_is_exclusive_and_negative_values_are_no_mask(tmp_path):
    assert to_mask(tmp_path / "m.png", np.array([[126, 127, 128]], np.uint8), 127).tolist() == [
        [False, False, True]
    ]
    with pytest.raises(DataError, match="is not binary"):
        to_mask(tmp_path / "m.png", np.array([[-1, -1]], np.int32), None)
