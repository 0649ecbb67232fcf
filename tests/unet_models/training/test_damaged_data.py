"""Damaged files end a training with an error that names them, before its result could be published."""

from __future__ import annotations

import threading

import pytest

from tests.unet_models.tiny import SETTINGS, discs
from unet_models.data.errors import DataError
from unet_models.data.packed import PARTS
from unet_models.data.packing import PackWriter, read_packed
from unet_models.training import training


@pytest.fixture
def folder(tmp_path):
    """The discs in a pack."""
    data = discs()
    writer = PackWriter(tmp_path / "data", patch_size=32, dtype=data.dtype)
    for index, part in enumerate(PARTS):
        images, masks = data.select(part)
        writer.add(part, images, masks, index)
    writer.finish("discs", "contiguous")
    return tmp_path / "data"


def train(data, tmp_path, **options):
    training.prepare_process(SETTINGS)  # sets the seed
    return training.train(SETTINGS, data, model_file=tmp_path / "m.keras", **options)


def flip(path, offset):
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))


def test_a_pack_trains_as_the_same_data_in_memory(folder, tmp_path):
    found = train(read_packed(folder), tmp_path)
    expected = train(discs(), tmp_path)
    columns = ("loss", "val_loss", "val_jaccard", "val_true_positives")
    for one, other in zip(found.history, expected.history, strict=True):
        assert [one[name] for name in columns] == pytest.approx([other[name] for name in columns], rel=1e-4)
    assert found.shown.tolist() == expected.shown.tolist()
    assert found.metrics["chance_jaccard"] == expected.metrics["chance_jaccard"]


@pytest.mark.parametrize("file", ["train_images.npy", "test_masks.npy"])
def test_a_changed_byte_ends_the_training_before_it_returns(folder, tmp_path, file):
    data = read_packed(folder)
    flip(folder / file, 1000 if file == "train_images.npy" else 200)
    with pytest.raises(DataError, match=rf"{file} is damaged in chunk 0 of 1 .* make_grid.py"):
        train(data, tmp_path)


def test_a_resumed_training_is_verified_although_it_trains_no_more(folder, tmp_path):
    states = []
    train(read_packed(folder), tmp_path, on_state=states.append)
    assert states[-1].ended
    data = read_packed(folder)
    flip(folder / "validation_images.npy", 1000)
    with pytest.raises(DataError, match="validation_images.npy is damaged"):
        train(data, tmp_path, resume=states[-1])


def test_a_file_that_is_cut_off_meanwhile_is_named(folder, tmp_path):
    """TensorFlow alone would call it an UnknownError, with the source of a traceback as its text."""
    data = read_packed(folder)
    with (folder / "train_images.npy").open("r+b") as stream:
        stream.truncate(5000)
    with pytest.raises(DataError, match=r"train_images.npy ends before byte .*: it was cut off meanwhile"):
        train(data.shortened(dict.fromkeys(PARTS, 100)), tmp_path)


def test_a_training_that_was_stopped_leaves_no_check_behind(folder, tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(read_packed(folder), tmp_path, on_batch=stop)
    assert "data check" not in [thread.name for thread in threading.enumerate()]
