"""Images and masks are paired by name, and every fault names its file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unet_models.data.images import (
    DataError,
    image_files,
    natural_key,
    pair_files,
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
