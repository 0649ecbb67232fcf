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
    for name in ("images", "masks"):
        for path in sorted((folder / name).iterdir(), reverse=True):
            path.rename(path.with_name(f"z{3 * int(path.stem[1:]):03d}.png"))
    assert build(block(path=str(folder), gap_slices=2)).notes == (
        (
            "no gap between training and validation, since the slice numbers are more than data.gap_slices, 2, apart: the slices "
            "at the border are near copies"
        ),
    )
    assert build(block(path=str(folder), gap_slices=5, test_scoring="slices", crops_per_epoch=9)).notes == (
        "there is no test part, so that data.test_scoring: slices has no effect",
        "data.crops_per_epoch: 9 has no effect, since data.sampling is grid",
    )
    assert build(block(path=str(folder), gap_slices=5, patch_size=48)).notes == (
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


def tiffs(folder, values, mask=None, **options):
    """TIFF slices of the arrays ``values`` with a disc as mask."""
    tifffile = pytest.importorskip("tifffile")
    rows, columns = np.indices(values[0].shape)
    for z, page in enumerate(values):
        disc = ((rows - 20 - z) ** 2 + (columns - 30) ** 2 < 150).astype(np.uint8) * 255
        for kind, array in (("images", page), ("masks", disc if mask is None else mask(disc))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / kind / f"z{z:03d}.tif", array, **options)
    return folder


def pages(dtype, low, high, count=8, size=(64, 64)):
    generator = np.random.default_rng(3)
    return [generator.integers(low, high, size, endpoint=True).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize(
    ("dtype", "low", "high", "changes", "stored"),
    [
        (np.uint16, 0, 4095, {"intensity_max": 4095.0}, np.uint16),
        (np.uint16, 0, 65535, {}, np.uint16),
        (np.int16, -900, 3000, {"intensity_min": -1000.0, "intensity_max": 3095.0}, np.uint16),
        (np.int8, -128, 127, {"intensity_min": -128.0, "intensity_max": 127.0}, np.uint8),
        (np.int32, 0, 255, {"intensity_max": 255.0}, np.uint8),
        (np.uint8, 0, 255, {}, np.uint8),
    ],
)
def test_the_pixels_of_a_pack_are_those_of_the_files_in_the_stated_range(
    tmp_path, dtype, low, high, changes, stored
):
    values = pages(dtype, low, high)
    packed = build(block(path=str(tiffs(tmp_path, values)), **changes))
    assert packed.dtype == stored
    black, white = packed.intensity.low, packed.intensity.high
    levels = np.iinfo(stored).max
    for z in (0, 3, 7):
        expected = np.rint((values[z][:32, :32].astype(float) - black) / (white - black) * levels)
        assert (packed.images[np.flatnonzero(packed.z == z)[0]] == expected).all()
    assert packed.read[2].startswith(f"intensity: {black:g} is black and {white:g} is white")


def test_12_bit_values_in_16_bits_are_refused_with_the_line_to_write(tmp_path):
    with pytest.raises(DataError, match="Write in the block data: intensity_max: 4095"):
        build(block(path=str(tiffs(tmp_path, pages(np.uint16, 0, 4095)))))


def test_where_0_is_white_images_and_masks_are_turned_over_at_every_depth(tmp_path):
    for dtype in (np.uint8, np.uint16):
        top = np.iinfo(dtype).max
        values = pages(dtype, 0, top)
        plain = build(block(path=str(tiffs(tmp_path / f"{top}", values))))
        turned = build(
            block(
                path=str(
                    tiffs(
                        tmp_path / f"white{top}",
                        [top - page for page in values],
                        lambda disc: 255 - disc,
                        photometric="miniswhite",
                    )
                )
            )
        )
        assert plain.fingerprint == turned.fingerprint
        assert any("0 is white" in line for line in turned.read)
        assert any("0 is taken as foreground, since it is the smaller part" in note for note in turned.notes)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_masks_whose_program_marks_0_as_white_but_means_1_are_understood(tmp_path, dtype):
    """As tifffile does with boolean arrays, and ImageJ with binary masks."""
    values = pages(np.uint8, 0, 255)
    plain = build(block(path=str(tiffs(tmp_path / "plain", values))))
    tifffile = pytest.importorskip("tifffile")
    folder = tiffs(tmp_path / "white", values)
    for path in (folder / "masks").iterdir():
        mask = tifffile.imread(path) > 0
        top = 1 if dtype is bool else np.iinfo(dtype).max
        tifffile.imwrite(path, mask.astype(dtype) * dtype(top), photometric="miniswhite")
    found = build(block(path=str(folder)))
    assert found.fingerprint == plain.fingerprint
    assert any("what is not 0 is taken as foreground" in note for note in found.notes)


def test_labels_as_images_are_refused(tmp_path):
    """A common mistake: images and masks in each other's folder."""
    values = [page > 128 for page in pages(np.uint8, 0, 255)]
    with pytest.raises(DataError, match="uint8 with values from 0 to 1; nearly all end at 1, far below 255"):
        build(block(path=str(tiffs(tmp_path, [page.astype(np.uint8) for page in values]))))


def test_clipped_pixels_are_counted_in_a_note(tmp_path):
    values = pages(np.uint8, 0, 255)
    packed = build(block(path=str(tiffs(tmp_path, values)), intensity_min=10.0, intensity_max=200.0))
    used = np.concatenate([values[z].ravel() for z in (0, 1, 2, 3, 4, 6, 7)])
    low, high = int((used < 10).sum()), int((used > 200).sum())
    assert (packed.intensity.clipped_low, packed.intensity.clipped_high) == (low, high)
    assert any(f"{low:,} (" in note and f"{high:,} (" in note for note in packed.notes)


def test_auto_looks_at_the_training_part_only(tmp_path):
    values = pages(np.uint16, 1000, 2000)
    for z in (6, 7):  # the validation part
        values[z] = values[z] * 20
    packed = build(block(path=str(tiffs(tmp_path, values)), intensity_min="auto", intensity_max="auto"))
    assert 1000 <= packed.intensity.low <= 1010 and 1990 <= packed.intensity.high <= 2000
    assert packed.intensity.clipped_high > 2 * 64 * 64 * 0.9


def test_files_of_different_types_are_refused_and_told(tmp_path):
    values = pages(np.uint8, 0, 255)
    values[2] = values[2].astype(np.uint16) * 257
    folder = tiffs(tmp_path, values)
    with pytest.raises(DataError, match="7 files are uint8 .*; 1 file is uint16 .*z002.tif"):
        build(block(path=str(folder)))
    packed = build(block(path=str(folder), intensity_min=0.0, intensity_max=255.0))
    assert any("the images have different types" in note for note in packed.notes)


@pytest.mark.parametrize("side", ["images", "masks"])
def test_values_that_are_not_finite_are_refused_with_their_file(tmp_path, side):
    tifffile = pytest.importorskip("tifffile")
    folder = tiffs(tmp_path, pages(np.float32, 0, 255))
    page = np.zeros((64, 64), np.float32)
    page[3, :5] = np.nan
    tifffile.imwrite(folder / side / "z004.tif", page)
    with pytest.raises(DataError, match=f"{side}/z004.tif: 5 of 4,096 values are not finite"):
        build(block(path=str(folder), intensity_max=255.0))


def test_masks_that_look_inverted_are_named(tmp_path):
    values = pages(np.uint8, 0, 255)
    folder = tiffs(tmp_path, values, lambda disc: 255 - disc)
    assert any("are they inverted" in note for note in build(block(path=str(folder))).notes)
    tiffs(tmp_path / "one", values)
    Image.fromarray(255 - np.asarray(Image.open(tmp_path / "one/masks/z002.tif"))).save(
        tmp_path / "one/masks/z002.tif"
    )
    (note,) = [note for note in build(block(path=str(tmp_path / "one"))).notes if "disagree" in note]
    assert "1 of 7 files" in note and "z002.tif" in note


def test_the_border_can_be_covered_by_shifted_patches(tmp_path):
    folder = tiffs(tmp_path, pages(np.uint8, 0, 255, size=(70, 100)))
    packed = build(block(path=str(folder), border="shift"))
    assert packed.count("validation") == 2 * 12 and packed.notes == ()
    image = np.asarray(Image.open(folder / "images" / "z000.tif"))
    assert (packed.images[11] == image[38:70, 68:100]).all()
    assert packed.parts["train"].fresh[11].tolist() == [26, 28]
    assert build(block(path=str(folder), overlap=16)).count("validation") == 2 * 3 * 5


def test_empty_training_patches_can_be_thinned(tmp_path):
    folder = tiffs(tmp_path, pages(np.uint8, 0, 255, size=(128, 128)))
    whole = build(block(path=str(folder)))
    empty = [not mask.any() for mask in whole.select("train")[1]]
    none = build(block(path=str(folder), empty_patches_kept=0.0))
    assert none.count("train") == empty.count(False) < whole.count("train")
    assert none.count("validation") == whole.count("validation")
    some = [build(block(path=str(folder), empty_patches_kept=0.5, split_seed=seed)) for seed in (0, 0, 1)]
    assert some[0].fingerprint == some[1].fingerprint
    assert none.count("train") <= some[2].count("train") <= whole.count("train")


def test_whole_volumes_are_held_out(tmp_path):
    from tests.conftest import write_images

    for number in range(1, 5):
        write_images(tmp_path / f"vol{number}", slices=3, seed=number)
    packed = build(
        block(path=str(tmp_path), validation_volumes=("vol2",), test_volumes=("vol4",), gap_slices=0)
    )
    assert [packed.count(part) for part in PARTS] == [24, 12, 12]
    assert packed.volume[packed.part == 1].tolist() == [1] * 12
    assert "the validation part is the whole of vol2" in packed.notes
    assert "volume-wise split" in packed.describe()
    each = build(block(path=str(tmp_path), gap_slices=0, validation_fraction=0.3))
    assert [each.count(part) for part in PARTS] == [32, 16, 0]  # one slice of each volume
    assert each.fingerprint != build(block(path=str(tmp_path / "vol1"), gap_slices=0)).fingerprint


def test_a_table_tells_what_was_read_from_each_file(tmp_path):
    import csv

    from unet_models.data import dataset

    folder = tiffs(tmp_path / "data", pages(np.uint16, 0, 65535), compression="deflate")
    dataset.build(block(path=str(folder)), tmp_path / "pack")
    rows = list(csv.DictReader((tmp_path / "pack" / "files.csv").read_text().splitlines()))
    assert [row["kind"] for row in rows] == ["image"] * 8 + ["mask"] * 8
    assert [row["lowest"] for row in rows].count(
        ""
    ) == 1 + 8  # a slice in the gap is not read, masks have no range
    first = rows[0]
    assert (first["type"], first["bits"], first["compression"], first["width"]) == (
        "uint16",
        "16",
        "deflate",
        "64",
    )
    page = np.asarray(Image.open(folder / "images" / "z000.tif"))
    assert (float(first["lowest"]), float(first["highest"])) == (page.min(), page.max())


def test_time_stamps_give_the_order_of_slices_only(tmp_path):
    from tests.conftest import write_images

    write_images(tmp_path / "d", name="slice_202301151230{:02d}.tif")
    packed = build(block(path=str(tmp_path / "d")))
    assert sorted(set(packed.z.tolist())) == [0, 1, 2, 3, 4, 6, 7]
    assert any("like time stamps" in note for note in packed.notes)


def test_arrays_of_one_file_are_images_and_masks(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py, an optional package, is not installed")
    values = np.stack(pages(np.uint8, 0, 255))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = values
        file["labels"] = (values > 200).astype(np.uint32) * 2**31
    packed = build(block(images=str(tmp_path / "a.h5:/raw"), masks=str(tmp_path / "a.h5:/labels")))
    assert (packed.masks == (packed.images > 200)).all() and packed.count("train") == 20


def test_a_file_whose_values_end_far_below_the_others_is_named(tmp_path):
    values = pages(np.uint16, 0, 65535)
    values[3] = values[3] // 257  # exported in 8 bits
    (note,) = build(block(path=str(tiffs(tmp_path, values)))).notes
    assert note.startswith("the values of 1 of 7 image files end far below") and "z003.tif" in note


def test_files_of_negative_values_are_not_far_below_one_another():
    from unet_models.data.files_table import odd_ranges

    assert odd_ranges({"a.tif": (-1000.0, -10.0), "b.tif": (-990.0, -12.0)}) == []
    (note,) = odd_ranges({"a.tif": (-1000.0, -990.0), "b.tif": (-990.0, -12.0)})
    assert "a.tif" in note


def test_slices_of_one_value_are_counted_by_file(tmp_path):
    values = np.stack(pages(np.uint8, 0, 255))
    masks = np.uint8(values > 200)
    values[[2, 5]] = 7  # as a copy leaves them that was interrupted, and Zarr where chunks are not there
    np.save(tmp_path / "raw.npy", values)
    np.save(tmp_path / "labels.npy", masks)
    packed = build(block(images=str(tmp_path / "raw.npy"), masks=str(tmp_path / "labels.npy"), gap_slices=0))
    (note,) = [note for note in packed.notes if "have one value everywhere" in note]
    assert note.startswith("2 of the 8 image slices that are used") and "raw.npy (2)" in note


def test_labels_whose_palette_is_read_in_two_ways_are_refused(tmp_path):
    """One slice uses the grey entries of a palette of labels only, its neighbours use its colours."""
    for number in range(8):
        image = np.random.default_rng(number).integers(0, 255, (64, 64)).astype(np.uint8)
        mask = Image.fromarray(((image > 128) * (2 if number == 3 else 1)).astype(np.uint8))
        mask.putpalette([0, 0, 0, 255, 0, 0, 128, 128, 128])
        for kind, picture in (("images", Image.fromarray(image)), ("masks", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            picture.save(tmp_path / kind / f"z{number}.png")
    with pytest.raises(
        DataError,
        match=r"the masks have palettes of two kinds: \S+z3.png uses only greys \(1 files\), and \S+z0.png",
    ):
        build(block(path=str(tmp_path)))


def test_random_crops_keep_the_note_on_time_stamps(tmp_path):
    from tests.conftest import write_images

    write_images(tmp_path / "d", name="slice_202301151230{:02d}.tif")
    packed = build(block(path=str(tmp_path / "d"), sampling="random", crops_per_epoch=8, patch_size=48))
    assert any("like time stamps" in note for note in packed.notes)
    assert not any("fill no patch" in note for note in packed.notes)
