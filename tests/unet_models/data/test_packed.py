"""The packed file comes back unchanged or not at all, and counts and shares are those of the named part."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unet_models.data.builders import (
    block,
    build,
    fingerprint_of_the_first_version,
    write_first_version,
)
from unet_models.data.errors import DataError
from unet_models.data.packed import PARTS, PackedData
from unet_models.data.packing import RECORD, PackWriter, read_packed


def packs(data, folder):
    """``data`` packed in a new ``folder``, patch by patch."""
    writer = PackWriter(folder, patch_size=data.patch_size, dtype=data.dtype)
    for image, mask, part, z in zip(data.images, data.masks, data.part, data.z, strict=True):
        writer.add(PARTS[part], image[None], mask[None], int(z))
    return writer.finish(data.source, data.split, notes=("as it is",))


def test_packed_data_come_back_unchanged(folder, tmp_path):
    packed = build(block(path=str(folder)))
    written = packs(packed, tmp_path / "pack")
    for again in (written, read_packed(tmp_path / "pack")):
        for name in ("images", "masks", "part", "z"):
            assert (getattr(packed, name) == getattr(again, name)).all()
        assert (again.fingerprint, again.source, again.notes) == (
            packed.fingerprint,
            packed.source,
            ("as it is",),
        )
        assert again.dtype == np.uint8 and again.patch_size == 32
        assert [again.foreground(part) for part in PARTS] == [packed.foreground(part) for part in PARTS]
        again.verify()


@pytest.mark.parametrize("size", [4, 6, 10])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_fingerprint_is_that_of_the_whole_arrays(tmp_path, size, dtype):
    """Also where the pixels of a patch fill no whole bytes, and where the parts take turns."""
    generator = np.random.default_rng(size)
    images = generator.integers(0, 256, (21, size, size)).astype(dtype)
    masks = generator.random(images.shape) < 0.3
    part = generator.integers(0, 3, 21).astype(np.int8)
    z = generator.integers(-5, 400, 21).astype(np.int32)
    data = PackedData.of_arrays(images, masks, part, z, "here", "contiguous").with_fingerprint()
    expected = fingerprint_of_the_first_version(images, masks, part, z)
    assert data.fingerprint == expected == packs(data, tmp_path / "pack").fingerprint


def test_damaged_packs_are_refused(folder, tmp_path):
    pack = tmp_path / "pack"
    packs(build(block(path=str(folder))), pack)
    for path in sorted(pack.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-3])
        with pytest.raises(DataError, match=f"{path.name}.*make_grid.py|{path.name}.*make the run again"):
            read_packed(pack)
        path.unlink()
        with pytest.raises(DataError, match=f"{path.name} cannot be read"):
            read_packed(pack)
        path.write_bytes(whole)
    path = pack / "validation_images.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
    packed = read_packed(pack)  # the pixels are read later
    with pytest.raises(DataError, match="validation_images.npy is damaged in chunk 0 of 1"):
        packed.verify()
    with pytest.raises(DataError, match="cannot be read"):
        read_packed(tmp_path / "none")


def test_a_pack_of_another_version_is_named(folder, tmp_path):
    packs(build(block(path=str(folder))), tmp_path / "pack")
    record = tmp_path / "pack" / RECORD
    record.write_text(record.read_text().replace('"version": 2', '"version": 3'))
    with pytest.raises(DataError, match="has the version 3, and this program reads version 2"):
        read_packed(tmp_path / "pack")


def test_a_changed_record_is_refused(folder, tmp_path):
    """A wrong number of foreground pixels would be a wrong chance level."""
    packs(build(block(path=str(folder))), tmp_path / "pack")
    record = tmp_path / "pack" / RECORD
    text = record.read_text()
    place = text.index('"foreground"') + text[text.index('"foreground"') :].index('"validation"') + 14
    record.write_text(text[:place] + str((int(text[place]) + 1) % 9 + 1) + text[place + 1 :])
    with pytest.raises(DataError, match=r"pack.json is damaged: its checksum .* make_grid.py"):
        read_packed(tmp_path / "pack")


def test_the_file_of_the_first_version_is_read(small, tmp_path):
    write_first_version(tmp_path / "data.npz", small)
    again = read_packed(tmp_path / "data.npz")
    assert again.fingerprint == "5x4x4-c885424143fa0c53"
    for name in ("images", "masks", "part", "z"):
        assert (getattr(small, name) == getattr(again, name)).all()


def test_a_damaged_file_of_the_first_version_is_refused(folder, tmp_path):
    path = tmp_path / "data.npz"
    write_first_version(path, build(block(path=str(folder))))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="make_grid.py"):
        read_packed(path)
    path.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
    with pytest.raises(DataError, match="make_grid.py"):
        read_packed(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_packed(tmp_path / "none.npz")


@pytest.fixture
def small():
    """Five patches of 4x4 whose every share, count and row differs from part to part."""
    masks = np.zeros((5, 4, 4), bool)
    masks[1, 0, 0] = True  # training: 1 of 32 pixels
    masks[2, :2] = True  # validation: 8 of 16
    masks[3, 0] = masks[4, 0] = True  # test: 8 of 32
    images = np.arange(80, dtype=np.uint8).reshape(5, 4, 4)
    part = np.array([0, 0, 1, 2, 2], np.int8)
    return PackedData.of_arrays(
        images, masks, part, np.array([0, 1, 5, 0, 1], np.int32), "here", "contiguous"
    )


def test_every_number_is_that_of_the_named_part(small):
    assert [small.count(part) for part in PARTS] == [2, 1, 2]
    assert [small.foreground(part) for part in PARTS] == [1 / 32, 1 / 2, 1 / 4]
    assert [small.rows(part).tolist() for part in PARTS] == [[0, 1], [2], [3, 4]]
    assert small.rows("test").dtype == np.int32
    for part, first in zip(PARTS, (0, 32, 48), strict=True):
        images, masks = small.select(part)
        assert images.ravel()[0] == first and len(images) == len(masks) == small.count(part)
        assert (images == small.images[small.rows(part)]).all()
        assert (masks == small.masks[small.rows(part)]).all()


def test_an_empty_part_has_no_foreground(small):
    part = np.zeros(5, np.int8)
    data = PackedData.of_arrays(small.images, small.masks, part, small.z, "here", "contiguous")
    assert (data.count("test"), data.foreground("test")) == (0, 0.0)


def test_the_description_has_the_numbers(small):
    packed = small.with_fingerprint()
    assert packed.describe() == (
        "5 patches of 4x4 (2 train, 1 validation, 2 test; contiguous split) from here; "
        f"foreground 21.2 %; fingerprint {packed.fingerprint}"
    )


def test_the_fingerprint_does_not_change_from_version_to_version(small):
    """If it did, older runs could not be continued."""
    assert small.with_fingerprint().fingerprint == "5x4x4-c885424143fa0c53"


@pytest.mark.parametrize("name", ["images", "masks", "part", "z"])
def test_the_fingerprint_depends_on_every_array(small, name):
    arrays = {key: getattr(small, key).copy() for key in ("images", "masks", "part", "z")}
    array = arrays[name]
    array.flat[-1] = not array.flat[-1] if array.dtype == bool else array.flat[-1] - 1
    other = PackedData.of_arrays(**arrays, source="here", split="contiguous")
    assert other.with_fingerprint().fingerprint != small.with_fingerprint().fingerprint


def test_the_pack_takes_one_bit_for_a_pixel_of_a_mask(small, tmp_path):
    packs(small, tmp_path / "pack")
    assert np.load(tmp_path / "pack" / "train_masks.npy").nbytes == small.count("train") * 16 // 8
    assert (np.load(tmp_path / "pack" / "test_images.npy") == small.select("test")[0]).all()


def test_packed_data_with_another_part_are_refused(small, tmp_path):
    """Validation patches that became training patches would be learned."""
    part = small.part.copy()
    part[2] = 0
    write_first_version(
        tmp_path / "data.npz", small, part=part, fingerprint=small.with_fingerprint().fingerprint
    )
    with pytest.raises(DataError, match="data.npz is damaged: its pixels have the fingerprint 5x4x4-"):
        read_packed(tmp_path / "data.npz")
