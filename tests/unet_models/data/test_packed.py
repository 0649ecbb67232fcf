"""The packed file comes back unchanged or not at all, and counts and shares are those of the named part."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unet_models.data.builders import block
from unet_models.data.dataset import build
from unet_models.data.errors import DataError
from unet_models.data.packed import PARTS, PackedData, fingerprint, read_packed, write_packed


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


@pytest.fixture
def small():
    """Five patches of 4x4 whose every share, count and row differs from part to part."""
    masks = np.zeros((5, 4, 4), bool)
    masks[1, 0, 0] = True  # training: 1 of 32 pixels
    masks[2, :2] = True  # validation: 8 of 16
    masks[3, 0] = masks[4, 0] = True  # test: 8 of 32
    images = np.arange(80, dtype=np.uint8).reshape(5, 4, 4)
    part = np.array([0, 0, 1, 2, 2], np.int8)
    return PackedData(images, masks, part, np.array([0, 1, 5, 0, 1], np.int32), "here", "contiguous")


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
    small.part[:] = 0
    assert (small.count("test"), small.foreground("test")) == (0, 0.0)


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
    before = small.with_fingerprint().fingerprint
    array = getattr(small, name)
    array.flat[-1] = not array.flat[-1] if array.dtype == bool else array.flat[-1] + 1
    assert small.with_fingerprint().fingerprint != before


def test_the_packed_file_takes_one_bit_for_a_pixel_of_a_mask(small, tmp_path):
    write_packed(tmp_path / "data.npz", small.with_fingerprint())
    with np.load(tmp_path / "data.npz") as archive:
        assert archive["masks"].nbytes == small.masks.size // 8
    assert (read_packed(tmp_path / "data.npz").masks == small.masks).all()


def test_packed_data_with_another_part_are_refused(small, tmp_path):
    """Validation patches that became training patches would be learned."""
    packed = small.with_fingerprint()
    packed.part[2] = 0
    write_packed(tmp_path / "data.npz", packed)
    with pytest.raises(DataError, match="data.npz is damaged: its pixels have the fingerprint 5x4x4-"):
        read_packed(tmp_path / "data.npz")
