"""Batches: every sample once an epoch, image and mask moved together, and all of it decided by seed and epoch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from unet_models.data import pipeline
from unet_models.data.packed import PackedData, Patches
from unet_models.data.pipeline import (
    ResidentPatches,
    evaluation_batches,
    moved,
    symmetries,
    training_batches,
)


def arrays(count=10, size=4):
    """Every pixel of an image tells its sample and place; the mask is true where the value is odd."""
    images = np.arange(count * size * size, dtype=np.uint8).reshape(count, size, size)
    return images, images % 2 == 1


def epochs(*, first=0, last=2, seed=1, augment=True, batch=3, count=10):
    batches = training_batches(
        Patches.of_arrays(*arrays(count)),
        batch_size=batch,
        seed=seed,
        first_epoch=first,
        epochs=last,
        augment=augment,
    )
    found = [(np.rint(image * 255).astype(int), mask) for image, mask in batches.as_numpy_iterator()]
    steps = count // batch
    return [
        (
            np.concatenate([image for image, _ in found[start : start + steps]]),
            np.concatenate([mask for _, mask in found[start : start + steps]]),
        )
        for start in range(0, len(found), steps)
    ]


def samples(images):
    return (images.reshape(len(images), -1).min(axis=1) // 16).tolist()


def test_every_epoch_is_a_new_order_without_repeats():
    (first, _), (second, _) = epochs(augment=False)
    assert len(set(samples(first))) == len(samples(first)) == 9  # the tenth fills no batch
    assert samples(first) != samples(second)


def test_masks_move_with_their_images():
    for images, masks in epochs(last=5):
        assert ((images % 2 == 1) == masks.astype(bool)).all()
        assert set(np.unique(masks)) == {0.0, 1.0}


def test_augmentation_turns_and_flips_and_changes_no_pixel():
    originals = arrays()[0]
    moved = 0
    for images, _ in epochs(last=4):
        for sample, image in zip(samples(images), images[..., 0], strict=True):
            assert sorted(image.ravel()) == sorted(originals[sample].ravel())
            moved += (image != originals[sample]).any()
    assert moved > 20  # 7 of 8 symmetries move something


def test_the_eight_codes_are_the_eight_symmetries_of_the_square():
    image = np.repeat(np.arange(9).reshape(1, 3, 3, 1), 8, axis=0)
    found = {tuple(one.ravel()) for one in symmetries(image, np.arange(8)).numpy()}
    expected = {
        tuple(np.rot90(side, turns).ravel())
        for side in (image[0, ..., 0], image[0, ..., 0].T)
        for turns in range(4)
    }
    assert found == expected and len(found) == 8


def test_an_epoch_depends_on_seed_and_epoch_only():
    whole = epochs(last=4)
    resumed = epochs(first=2, last=4)
    for (a, am), (b, bm) in zip(whole[2:], resumed, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(am, bm)
    assert samples(epochs(seed=2)[0][0]) != samples(whole[0][0])


def test_evaluation_takes_every_sample_once_in_order():
    images, masks = arrays()
    found = list(evaluation_batches(Patches.of_arrays(images, masks), batch_size=4).as_numpy_iterator())
    assert [len(image) for image, _ in found] == [4, 4, 2]
    np.testing.assert_array_equal(
        np.concatenate([image for image, _ in found])[..., 0], images * np.float32(1 / 255)
    )
    np.testing.assert_array_equal(np.concatenate([mask for _, mask in found])[..., 0], masks)


def test_images_are_scaled_to_one():
    images = np.full((2, 4, 4), 255, np.uint8)
    ((image, _),) = evaluation_batches(
        Patches.of_arrays(images, images > 0), batch_size=2
    ).as_numpy_iterator()
    assert image.dtype == np.float32 and image.max() == 1.0


def test_batches_in_parts_are_the_same_batches():
    def batches(parts):
        found = training_batches(
            Patches.of_arrays(*arrays(10)),
            batch_size=4,
            seed=1,
            first_epoch=1,
            epochs=3,
            augment=True,
            parts=parts,
        )
        return list(found.as_numpy_iterator())

    whole, parted = batches(1), batches(2)
    assert len(whole) == 4 and len(parted) == 8 and parted[0][0].shape[0] == 2
    for place in (0, 1):  # images, masks
        assert np.array_equal(
            np.concatenate([batch[place] for batch in whole]),
            np.concatenate([batch[place] for batch in parted]),
        )


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("parts", [1, 3])
def test_resident_patches_give_the_streamed_batches_to_the_bit(augment, parts):
    images, masks = arrays(12)
    rows = np.array([2, 3, 5, 6, 7, 8, 9, 10, 11, 1])
    patches = ResidentPatches([Patches.of_arrays(images, masks)], "CPU:0")
    options = {"batch_size": 3, "seed": 4, "first_epoch": 1, "epochs": 3, "augment": augment, "parts": parts}
    streamed = training_batches(Patches.of_arrays(images[rows], masks[rows]), **options)
    fetched = training_batches(Patches.of_arrays(images[rows], masks[rows]), rows=rows, **options).map(
        patches.fetch
    )
    assert streamed.element_spec == fetched.element_spec
    pairs = list(zip(streamed.as_numpy_iterator(), fetched.as_numpy_iterator(), strict=True))
    assert len(pairs) == 2 * 3 * parts
    for (image, mask), (other_image, other_mask) in pairs:
        assert np.array_equal(image, other_image) and np.array_equal(mask, other_mask)


def test_resident_patches_are_evaluated_as_streamed_ones():
    images, masks = arrays(8)
    rows = np.array([7, 1, 2])
    streamed = evaluation_batches(Patches.of_arrays(images[rows], masks[rows]), batch_size=2)
    fetched = evaluation_batches(Patches.of_arrays(images[rows], masks[rows]), batch_size=2, rows=rows).map(
        ResidentPatches([Patches.of_arrays(images, masks)], "CPU:0").fetch
    )
    for one, other in zip(streamed.as_numpy_iterator(), fetched.as_numpy_iterator(), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_patches_are_resident_only_where_they_fit(monkeypatch):
    images, masks = arrays(8)
    data = PackedData.of_arrays(images, masks, np.repeat([0, 1], 4), np.arange(8), "arrays", "contiguous")
    assert ResidentPatches.fits(data)
    monkeypatch.setattr(ResidentPatches, "LIMIT", 4 * images.size - 1)
    assert not ResidentPatches.fits(data)


def test_no_pipeline_is_tuned_automatically():
    """Closing one that is waits for its next look, up to a minute."""
    images, masks = arrays()
    rows = np.arange(len(images))
    order = {"batch_size": 3, "seed": 1, "first_epoch": 0, "epochs": 2, "augment": True}
    streams = [
        maker(Patches.of_arrays(images, masks), rows=given, **options)
        for given in (None, rows)
        for maker, options in ((training_batches, order), (evaluation_batches, {"batch_size": 4}))
    ]
    assert [stream.options().autotune.enabled for stream in streams] == [False] * 4


def codes_of(batches):
    return [batch[1].tolist() for batch in batches.as_numpy_iterator()]


def augmented(count=64, epochs=1, seed=1, batch=8):
    """The symmetry codes that each batch gets."""
    images, masks = np.zeros((count, 4, 4), np.uint8), np.zeros((count, 4, 4), bool)
    return codes_of(
        training_batches(
            Patches.of_arrays(images, masks),
            batch_size=batch,
            seed=seed,
            first_epoch=0,
            epochs=epochs,
            augment=True,
            rows=np.arange(count),
        )
    )


def test_all_eight_symmetries_are_used_about_equally_often():
    """Chi-squared with 7 degrees of freedom, fixed seed: 24.3 would be exceeded by chance in 1 of 1000 cases."""
    codes = np.concatenate(augmented(count=800, batch=8, epochs=2))
    counts = np.bincount(codes, minlength=8)
    assert len(counts) == 8 and counts.min() > 0
    assert ((counts - 200) ** 2 / 200).sum() < 24.3


def test_an_image_is_turned_in_eight_ways_with_its_mask():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    mask = image % 3 == 0
    batches = training_batches(
        Patches.of_arrays(np.repeat(image, 8, 0), np.repeat(mask, 8, 0)),
        batch_size=8,
        seed=2,
        first_epoch=0,
        epochs=12,
        augment=True,
    )
    seen = set()
    for found, masks in batches.as_numpy_iterator():
        values = np.rint(found[..., 0] * 255).astype(int)
        assert ((values % 3 == 0) == (masks[..., 0] == 1)).all()
        seen |= {tuple(one.ravel()) for one in values}
    turned = [np.rot90(side, turns) for side in (image[0], image[0].T) for turns in range(4)]
    assert seen == {tuple(one.ravel()) for one in turned}


@pytest.mark.parametrize(
    ("code", "move"),
    [
        (0, lambda x: x),
        (1, lambda x: x.T),
        (2, lambda x: x[:, ::-1]),
        (3, lambda x: x.T[:, ::-1]),
        (4, lambda x: x[::-1]),
        (5, lambda x: x.T[::-1]),
        (6, lambda x: x[::-1, ::-1]),
        (7, lambda x: x.T[::-1, ::-1]),
    ],
)
def test_each_code_is_its_symmetry(code, move):
    image = np.arange(9).reshape(3, 3)
    found = symmetries(image[None, ..., None], np.array([code])).numpy()[0, ..., 0]
    assert found.tolist() == move(image).tolist()


def test_symmetries_change_with_the_batch_the_epoch_and_the_seed():
    batches = augmented(epochs=2)
    assert len({tuple(codes) for codes in batches}) == 16
    assert batches[:8] != augmented(seed=2)
    assert batches == augmented(epochs=2)


def test_without_augmentation_every_sample_stays_as_it_is():
    originals = arrays()[0]
    for images, _ in epochs(augment=False, last=3):
        for sample, image in zip(samples(images), images[..., 0], strict=True):
            assert (image == originals[sample]).all()


def test_every_sample_is_left_out_at_times():
    """The one that fills no batch is another from epoch to epoch."""
    left = {(set(range(10)) - set(samples(images))).pop() for images, _ in epochs(last=40, augment=False)}
    assert len(left) > 5


def test_resident_patches_are_those_of_the_given_rows():
    images, masks = arrays(6)
    patches = ResidentPatches([Patches.of_arrays(images, masks)], "CPU:0")
    found, mask = patches.fetch(np.array([4, 1]))
    assert (np.rint(found.numpy()[..., 0] * 255) == images[[4, 1]]).all()
    assert (mask.numpy()[..., 0] == masks[[4, 1]]).all()
    turned, _ = patches.fetch(np.array([4, 1]), np.array([0, 2]))
    assert (np.rint(turned.numpy()[..., 0] * 255) == [images[4], images[1][:, ::-1]]).all()


def test_every_grey_value_is_exact_on_the_device():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    found, _ = ResidentPatches([Patches.of_arrays(images, images > 0)], "CPU:0").fetch(np.array([0]))
    assert (found.numpy()[0, ..., 0] == images[0] * np.float32(1 / 255)).all()


@pytest.mark.parametrize("code", range(8))
def test_symmetries_in_memory_are_those_of_the_device(code):
    images = arrays(3)[0]
    codes = np.full(3, code)
    assert np.array_equal(moved(images, codes), symmetries(images[..., None], codes).numpy()[..., 0])
    assert np.array_equal(moved(images > 9, codes), moved(images, codes) > 9)


_UNFINISHED = """
import numpy as np
from unet_models.data.packed import Patches
from unet_models.data.pipeline import training_batches
images = np.zeros((64, 128, 128), np.uint8)
iterator = iter(training_batches(
    Patches.of_arrays(images, images > 0), batch_size=16, seed=1, first_epoch=0, epochs=99, augment=True
))
next(iterator)
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_process_ends_although_batches_are_being_made():
    """The interpreter used to wait for a thread that waited for the interpreter, in two of three trials."""
    for _ in range(2):
        ended = subprocess.run(
            [sys.executable, "-c", _UNFINISHED], capture_output=True, timeout=60, check=True
        )
        assert ended.stdout == b"done\n"


def test_resident_patches_of_several_parts_come_one_after_another(monkeypatch):
    """Also where they are copied in several blocks, and with more levels than half precision has."""
    monkeypatch.setattr(pipeline, "_BLOCK", 3)
    images = np.random.default_rng(0).integers(0, 65536, (10, 4, 4)).astype(np.uint16)
    masks = images % 3 == 0
    parts = [
        Patches.of_arrays(images[some], masks[some]) for some in (slice(0, 7), slice(7, 7), slice(7, 10))
    ]
    found, mask = ResidentPatches(parts, "CPU:0").fetch(np.arange(10))
    assert np.array_equal(found.numpy()[..., 0], images * np.float32(1 / 65535))
    assert np.array_equal(mask.numpy()[..., 0], masks)


@pytest.mark.parametrize(("dtype", "each"), [(np.uint8, 4), (np.uint16, 8)])
def test_the_bytes_on_the_device_are_those_of_exact_values(dtype, each):
    images = np.zeros((6, 4, 4), dtype)
    data = PackedData.of_arrays(
        images, images > 0, np.array([0, 0, 0, 1, 1, 2]), np.arange(6), "", "contiguous"
    )
    assert ResidentPatches.bytes(data) == each * images.size


def test_sixteen_bits_are_scaled_by_their_own_range():
    images = np.array([[[0, 1], [4095, 65535]]] * 8, np.uint16)
    order = {"batch_size": 8, "seed": 1, "first_epoch": 0, "epochs": 1, "augment": False}
    for batches in (
        training_batches(Patches.of_arrays(images, images > 1), **order),
        evaluation_batches(Patches.of_arrays(images, images > 1), batch_size=8),
    ):
        ((found, mask),) = batches.as_numpy_iterator()
        assert (
            found.dtype == np.float32
            and found[0, ..., 0].tolist() == (images[0] * np.float32(1 / 65535)).tolist()
        )
        assert mask[0, ..., 0].tolist() == [[0, 0], [1, 1]]
