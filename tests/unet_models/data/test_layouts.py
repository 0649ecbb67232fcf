"""Image folders and volumes become slices with the right numbers, images and masks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_images
from tests.unet_models.data.builders import block, build
from unet_models.data.errors import DataError
from unet_models.data.layout import Pages
from unet_models.data.layouts import find_layout
from unet_models.data.pairing import slice_numbers
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
    layout = find_layout(block(path=str(folder), **changes))
    (volume,) = layout.volumes
    return [*values_of(volume)], layout.notes


def values_of(volume):
    with Pages() as pages:
        for one in volume.slices:
            image, mask = pages.read(one.image), pages.read(one.mask)
            assert (mask == image % 2).all()
            yield one.z, one.name, int(image[0, 0])


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
        build(block(path=str(tmp_path), gap_slices=0))


def test_volumes_are_numbered_from_zero_and_the_test_volume_is_separate(tmp_path):
    stacks(tmp_path)
    layout = find_layout(block(path=str(tmp_path)))
    assert [*values_of(*layout.volumes)] == [
        (0, "training.tif[0]", 11),
        (1, "training.tif[1]", 12),
        (2, "training.tif[2]", 13),
    ]
    assert [*values_of(*layout.test)] == [(0, "testing.tif[0]", 20), (1, "testing.tif[1]", 21)]
    assert layout.source == str(tmp_path)


def stacks(folder, **values):
    """The EPFL volumes in ``folder``."""
    for stem, greys in ({"training": [11, 12, 13], "testing": [20, 21]} | values).items():
        volume(folder / f"{stem}.tif", greys)
        volume(folder / f"{stem}_groundtruth.tif", [grey % 2 for grey in greys])


def files(folder, *values, name="z{:03d}.tif"):
    for number, value in enumerate(values):
        volume(folder / "images" / name.format(number), [value])
        volume(folder / "masks" / name.format(number), [value % 2])


def found(layout):
    return {one.name: [grey for _, _, grey in values_of(one)] for one in layout}


def test_each_folder_may_be_a_volume(tmp_path):
    for number, name in enumerate(("vol10", "vol2", "Vol1")):
        files(tmp_path / name, number + 1, number + 11)
    stacks(tmp_path / "old")
    files(tmp_path / "test", 40)
    (tmp_path / "notes").mkdir()
    layout = find_layout(block(path=str(tmp_path)))
    assert found(layout.volumes) == {"Vol1": [3, 13], "vol2": [2, 12], "vol10": [1, 11], "old": [11, 12, 13]}
    assert [one.name for one in layout.volumes] == ["old", "Vol1", "vol2", "vol10"]
    assert found(layout.test) == {"test": [40], "old testing": [20, 21]}
    assert "has other folders, which are no volumes and not used (notes)" in " ".join(layout.notes)


def test_whole_volumes_can_be_held_out(tmp_path):
    for number in range(1, 5):
        files(tmp_path / f"vol{number}", number)
    layout = find_layout(block(path=str(tmp_path), test_volumes=("vol4",), validation_volumes=("vol2",)))
    assert found(layout.volumes) == {"vol1": [1], "vol2": [2], "vol3": [3]} and found(layout.test) == {
        "vol4": [4]
    }
    with pytest.raises(
        DataError, match="data.test_volumes: there is no volume 'vol9'.*vol1, vol2, vol3, vol4"
    ):
        find_layout(block(path=str(tmp_path), test_volumes=("vol9",)))
    with pytest.raises(DataError, match="leave none of the volumes"):
        find_layout(
            block(path=str(tmp_path), test_volumes=("vol1", "vol2"), validation_volumes=("vol3", "vol4"))
        )


def test_one_volume_has_no_name_to_hold_out(tmp_path):
    files(tmp_path, 1, 2)
    with pytest.raises(DataError, match="no volume 'vol1'.*one volume without a name"):
        find_layout(block(path=str(tmp_path), validation_volumes=("vol1",)))


def test_two_layouts_in_one_folder_are_asked_about(tmp_path):
    files(tmp_path, 1, 2)
    stacks(tmp_path)
    with pytest.raises(DataError, match="images/ and masks/ as well as training.tif.*Name the right ones"):
        find_layout(block(path=str(tmp_path)))
    for name in ("training", "training_groundtruth"):
        (tmp_path / f"{name}.tif").unlink()
    files(tmp_path / "vol1", 3)
    with pytest.raises(DataError, match=r"images/ and masks/ as well as folders of volumes \(vol1\)"):
        find_layout(block(path=str(tmp_path)))


def test_images_and_masks_can_be_named(tmp_path):
    files(tmp_path / "a", 1, 2)
    stacks(tmp_path / "b")
    named = {"images": str(tmp_path / "a" / "images"), "masks": str(tmp_path / "a" / "masks")}
    tested = {
        "test_images": str(tmp_path / "b" / "training.tif"),
        "test_masks": str(tmp_path / "b" / "training_groundtruth.tif"),
    }
    layout = find_layout(block(**named, **tested))
    assert found(layout.volumes) == {"": [1, 2]} and found(layout.test) == {"test": [11, 12, 13]}
    with pytest.raises(DataError, match="is one file and data.masks .* is a folder"):
        find_layout(block(images=tested["test_images"], masks=named["masks"]))


def test_the_download_of_lucchi_is_paired_by_number(tmp_path):
    for number in (0, 9, 10):
        volume(tmp_path / "images" / f"mask{number:04d}.png", [number])
        volume(tmp_path / "masks" / f"{number}.png", [number % 2])
    with pytest.raises(DataError, match="data.pair_by: number"):
        read(tmp_path)
    slices, notes = read(tmp_path, pair_by="number")
    assert [(z, grey) for z, _, grey in slices] == [(0, 0), (9, 9), (10, 10)] and notes == ()


def test_other_files_in_the_folders_are_noted(tmp_path):
    files(tmp_path, 1, 2)
    (tmp_path / "images" / "acquisition.xml").write_text("<x/>")
    (tmp_path / "images" / ".DS_Store").write_text("x")
    _, notes = read(tmp_path)
    assert len(notes) == 1 and notes[0].endswith(
        "images has 1 other files or folders, which are not used (acquisition.xml)"
    )


def test_equal_notes_of_many_files_are_said_once(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    files(tmp_path, *range(6))
    for number in range(5):
        page = np.full((32, 32), number, np.uint8)
        tifffile.imwrite(tmp_path / "images" / f"z{number:03d}.tif", page, extratags=[(274, 3, 1, 6, True)])
    _, notes = read(tmp_path)
    assert notes == (
        (
            "images/z000.tif, images/z001.tif, images/z002.tif and 2 more: an orientation tag (RIGHTTOP) is ignored: the pixels are used as they are "
            "stored"
        ),
    )


def test_the_sample_has_other_data_to_test_on():
    packed = build(block(source="sample", sample_slices=20, sample_size=32, sample_seed=3, gap_slices=0))
    assert packed.z.tolist() == [*range(20), *range(5)]
    for part, seed in ((packed.part < 2, 6), (packed.part == 2, 7)):  # no two seeds of a user share a volume
        images, masks = synthetic_volume(slices=20, height=32, width=32, seed=seed)
        count = int(part.sum())
        assert (packed.images[part] == images[:count]).all() and (packed.masks[part] == masks[:count]).all()


def test_a_folder_for_validation_is_not_trained_on_in_silence(tmp_path):
    """`train/`, `val/` and `test/`, as other programs want them."""
    for name in ("train", "val", "test"):
        write_images(tmp_path / name)
    with pytest.raises(DataError, match=r"the volume 'val', .* set data.validation_volumes: \[val\]"):
        find_layout(block(path=str(tmp_path)))
    layout = find_layout(block(path=str(tmp_path), validation_volumes=("val",)))
    assert [volume.name for volume in layout.volumes] == ["train", "val"] and len(layout.test) == 1


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    def refused(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.iterdir", refused)
    with pytest.raises(DataError, match=r".* cannot be read \(Permission denied\)") as caught:
        find_layout(block(path=str(folder)))
    assert str(folder) in str(caught.value)


def test_numbers_that_are_missing_in_a_series_are_noted(tmp_path):
    files(tmp_path, *range(12))
    assert read(tmp_path)[1] == ()
    for kind in ("images", "masks"):
        (tmp_path / kind / "z005.tif").unlink()
    (note,) = read(tmp_path)[1]
    assert note.endswith("slices are missing between 0 and 11, from the numbers 5 on: were all files copied?")


def test_every_tenth_slice_is_a_series_without_gaps(tmp_path):
    files(tmp_path, *range(10), name="z{0:03d}0.tif")
    assert read(tmp_path)[1] == ()
