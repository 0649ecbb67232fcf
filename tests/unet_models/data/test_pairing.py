"""Images and masks are paired by name or number, and every fault names its file."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_models.data.errors import DataError
from unet_models.data.pairing import (
    list_images,
    natural_key,
    number_in,
    pair_files,
    partner_stem,
    slice_numbers,
    stem,
)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path)
    return path


def touch(folder, *names):
    """Empty files; nothing here opens them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return [folder / name for name in names]


def files(folder):
    return list(list_images(folder).files)


def test_z9_comes_before_z10():
    assert sorted(["z10", "z9", "Z1", "a"], key=natural_key) == ["a", "Z1", "z9", "z10"]


def test_pairs_are_made_by_name_not_by_order(tmp_path):
    """The predecessor zipped two listings: one file too many on one side shifted every mask."""
    for number in (2, 10, 1):
        save(tmp_path / "images" / f"img_z{number}.png", np.zeros((4, 4), np.uint8))
        save(tmp_path / "masks" / f"mask_z{number}.png", np.zeros((4, 4), np.uint8))
    images, masks = files(tmp_path / "images"), files(tmp_path / "masks")
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
        pair_files(files(tmp_path / "images"), files(tmp_path / "masks"))


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
        files(tmp_path / "images")
    with pytest.raises(DataError, match="masks is not a folder"):
        files(tmp_path / "masks")


def test_two_files_with_one_stem_are_refused(tmp_path):
    for suffix in ("png", "tif"):
        save(tmp_path / f"z1.{suffix}", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="have the same name"):
        files(tmp_path)


def test_hidden_files_folders_and_other_files_are_passed_over(tmp_path):
    """MacOS puts a hidden ``._z1.png`` next to ``z1.png``; Windows a ``Thumbs.db``."""
    for name in ("z2.png", "z10.PNG", "Z1.TIF"):
        save(tmp_path / "plain.png", np.zeros((4, 4), np.uint8)).rename(tmp_path / name)
    save(tmp_path / "hidden.png", np.zeros((4, 4), np.uint8)).rename(tmp_path / "._z2.png")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "z3.png").mkdir()
    listing = list_images(tmp_path)
    assert [path.name for path in listing.files] == ["Z1.TIF", "z2.png", "z10.PNG"]
    assert listing.others == ("z3.png",)


def test_a_folder_of_hidden_files_contains_no_image(tmp_path):
    save(tmp_path / "z1.png", np.zeros((4, 4), np.uint8)).rename(tmp_path / ".z1.png")
    with pytest.raises(DataError, match="contains no image"):
        files(tmp_path)


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


@pytest.mark.parametrize("name", ["Präparat_z1", "Å_z1", "ñandú_z1", "한글_z1"])
@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_names_are_compared_composed(tmp_path, name, forms):
    """A Mac stores decomposed characters, Linux what it is given."""
    images, masks = (
        touch(tmp_path / kind, unicodedata.normalize(form, f"{name}.tif"))
        for kind, form in zip(("images", "masks"), forms, strict=True)
    )
    assert pair_files(files(tmp_path / "images"), files(tmp_path / "masks")) == [(images[0], masks[0])]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("z1.TIF", "z1"),
        ("z1.ome.tif", "z1"),
        ("z1.OME.TIFF", "z1"),
        ("z1.v2.png", "z1.v2"),
        ("z1.jpeg", "z1"),
        ("tif.tif", "tif"),
    ],
)
def test_the_name_is_what_is_before_the_suffix_of_the_format(tmp_path, name, expected):
    assert stem(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("z1.ome.tif", "z1_labels.tif"),
        ("Z1.tif", "z1.png"),
        ("z1_raw.tif", "z1_ground-truth.tif"),
        ("cell3_em.tif", "cell3_mito.tif"),
        ("image_001.tif", "label_001.tif"),
        ("z1.TIFF", "z1-seg.PNG"),
        ("z1.tif", "z1_annotation.tif"),
    ],
)
def test_names_that_differ_by_a_word_or_by_case_are_paired(tmp_path, image, mask):
    (one,), (other,) = touch(tmp_path / "images", image), touch(tmp_path / "masks", mask)
    assert pair_files([one], [other]) == [(one, other)]


def test_numbers_pair_what_names_do_not(tmp_path):
    """The Lucchi++ download names its images mask0000.png and its masks 0.png."""
    images = touch(tmp_path / "images", "mask0010.png", "mask0002.png")
    masks = touch(tmp_path / "masks", "2.png", "10.png")
    with pytest.raises(
        DataError, match="mask0010.png has no mask.*Their numbers match.*data.pair_by: number"
    ):
        pair_files(images, masks)
    assert pair_files(images, masks, by="number") == [(images[0], masks[1]), (images[1], masks[0])]
    with pytest.raises(DataError, match="4.png has no image.*has the number '4'"):
        pair_files(images, [*masks, *touch(tmp_path / "masks", "4.png")], by="number")
    with pytest.raises(DataError, match="both have the number '2'"):
        pair_files(images, [*masks, *touch(tmp_path / "masks", "m002.png")], by="number")


def test_digits_of_other_kinds_are_compared_and_ordered_as_digits():
    wide = "z\uff11"  # full-width
    assert pair_files([Path(f"{wide}.tif")], [Path("z1_mask.tif")]) == [
        (Path(f"{wide}.tif"), Path("z1_mask.tif"))
    ]
    assert sorted(["z²", "z¹⁰", wide], key=natural_key) == [wide, "z²", "z¹⁰"]


def test_a_number_must_be_the_only_one_or_have_a_pattern(tmp_path):
    (path,) = touch(tmp_path, "run3_z014.tif")
    with pytest.raises(DataError, match="has 2 numbers.*set data.slice_pattern"):
        number_in(path, None)
    assert number_in(path, r"z(\d+)") == 14
    assert number_in(tmp_path / "slice²_07.tif", None) == 7


@pytest.mark.parametrize("name", ["slice²_01", "10²003", "z½_4", "①z7", "z٣"])
def test_no_character_that_looks_like_a_digit_ends_the_program(name):
    """Python's int() reads decimal digits of any script, and no superscripts, fractions or circled numbers."""
    natural_key(name)
    slice_numbers([name], None)
    assert slice_numbers(["z٣"], None) == [3]


@pytest.mark.parametrize(
    ("names", "pattern", "expected"),
    [
        (["slice_20230115123045", "slice_20230115123105"], None, [20230115123045, 20230115123105]),
        (["t20230115123045"], r"t(\d+)", [20230115123045]),
        ([f"z{10**40}"], None, [10**40]),
        (["z0000000000000000012"], None, [12]),
        (["z-2", "z-1", "z0", "z1"], None, [-2, -1, 0, 1]),
        (["z_-1", "z_0", "z_1"], None, [-1, 0, 1]),
        (["z-1", "z-2"], None, [1, 2]),  # a separator
        (["a-1", "a-02", "a3"], r"a(-?\d+)", [-1, -2, 3]),
        (["z1.0", "z0.05", "z0.1", "z0.05b"], r"z([\d.]+)", [2, 0, 1, 0]),
        (["z0,5", "z10,5"], None, [0, 10]),
    ],
)
def test_a_number_may_have_any_length(names, pattern, expected):
    assert slice_numbers(names, pattern) == expected


def test_names_that_differ_in_decimals_are_asked_about():
    """Slices 0.05 and 0.10 were taken for one slice."""
    with pytest.raises(
        DataError, match=r"'z0.05' and 'z0.10' have the same slice number 0, .* 'z\[_-\]\?\(\\d\+\)' if"
    ):
        slice_numbers(["z0.05", "z0.10"], None)


def test_of_two_numbers_the_one_that_changes_is_the_slice():
    assert slice_numbers(["sec2_z014", "sec2_z015"], None) == [14, 15]
    assert slice_numbers(["z3_page1", "z3_page2"], None) == [1, 2]
    assert slice_numbers(["sec2_z014"], None) == [14]
    with pytest.raises(DataError, match="'sec2_z014' has several numbers.*z 14, sec 2.*data.slice_pattern"):
        slice_numbers(["sec2_z014", "sec3_z001"], None)


@pytest.mark.parametrize("name", [".DS_Store", "._z1.tif", "Thumbs.db", "desktop.ini", "~$z1.tif"])
def test_files_of_operating_systems_are_no_images(tmp_path, name):
    touch(tmp_path, "z1.tif", name)
    listing = list_images(tmp_path)
    assert [path.name for path in listing.files] == ["z1.tif"] and listing.others == ()


def test_other_files_are_told(tmp_path):
    touch(tmp_path, "z1.tif", "notes.txt", "z1.xml")
    assert list_images(tmp_path).others == ("notes.txt", "z1.xml")


def test_a_name_in_another_encoding_is_refused(tmp_path):
    """It could be written into no table of the run, which ended in a traceback; the note on other files shows it."""
    touch(tmp_path, "z1.tif", os.fsdecode(b"\xfc.txt"))
    assert list_images(tmp_path).others == (r"\xfc.txt",)
    touch(tmp_path, os.fsdecode(b"Pr\xe4parat_z1.tif"))
    with pytest.raises(DataError, match=r"the name Pr\\xe4parat_z1.tif in .* is not in UTF-8"):
        list_images(tmp_path)


def test_a_link_to_nothing_is_named(tmp_path):
    touch(tmp_path, "z1.tif")
    (tmp_path / "z2.tif").symlink_to(tmp_path / "gone.tif")
    with pytest.raises(DataError, match="z2.tif is a link to nothing"):
        list_images(tmp_path)
