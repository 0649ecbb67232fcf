"""The Jaccard index pools its counts: it knows no batches."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from unet_models.training.metrics import Jaccard, jaccard_index


def test_a_hand_computed_confusion_matrix_over_uneven_batches():
    truth = np.zeros((5, 2, 2, 1), np.float32)
    found = np.zeros((5, 2, 2, 1), np.float32)
    truth[0] = 1  # 4 pixels, of which 3 are found
    found[0].flat[:3] = 0.9
    found[1].flat[:3] = 0.51  # 3 extra: more than are missed, so that the two cannot be exchanged
    found[2] = 0.5  # at the threshold is not above it
    truth[4].flat[0] = 1  # 1 missed, in the batch of one
    metric = Jaccard()
    for batch in (slice(0, 2), slice(2, 4), slice(4, 5)):
        metric.update_state(truth[batch], found[batch])
    assert metric.counts() == (3, 3, 2)
    assert float(metric.result()) == pytest.approx(3 / 8)
    assert jaccard_index(3, 3, 2) == 3 / 8
    # what averaging over the batches would have given
    assert np.mean([3 / 7, 1.0, 0.0]) != pytest.approx(3 / 8)


@pytest.mark.parametrize("size", [1, 8, 16, 32])
def test_the_batch_size_does_not_matter(size):
    generator = np.random.default_rng(0)
    truth = (generator.random((50, 8, 8, 1)) < 0.1).astype(np.float32)
    found = np.clip(0.6 * truth + 0.5 * generator.random(truth.shape), 0, 1).astype(np.float32)
    metric = Jaccard()
    for start in range(0, 50, size):
        metric.update_state(truth[start : start + size], found[start : start + size])
    both = ((found > 0.5) & (truth > 0.5)).sum()
    assert float(metric.result()) == pytest.approx(both / ((found > 0.5) | (truth > 0.5)).sum())


def test_nothing_to_find_and_nothing_found_is_one():
    metric = Jaccard()
    metric.update_state(np.zeros((2, 4, 4, 1)), np.zeros((2, 4, 4, 1)))
    assert float(metric.result()) == 1.0 == jaccard_index(0, 0, 0)


def test_counts_stay_exact_beyond_single_precision():
    metric = Jaccard()
    ones = np.ones((1, 4096, 4096, 1), np.float32)
    metric.update_state(ones, ones)
    metric.update_state(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)))
    assert metric.counts() == (2**24 + 1, 0, 0)


def test_a_reset_forgets_and_weights_are_refused():
    metric = Jaccard()
    metric.update_state(np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1)))
    metric.reset_state()
    assert metric.counts() == (0, 0, 0)
    with pytest.raises(ValueError, match="sample weights"):
        metric.update_state(np.ones((1, 2, 2, 1)), np.ones((1, 2, 2, 1)), sample_weight=np.ones(1))


def test_it_survives_its_own_configuration():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Jaccard(threshold=0.3)))
    assert again.threshold == 0.3


@pytest.mark.parametrize(
    ("truth", "found", "counts"),
    [(1, 0.9, (4, 0, 0)), (0, 0.9, (0, 4, 0)), (1, 0.1, (0, 0, 4)), (0, 0.1, (0, 0, 0))],
    ids=["found", "extra", "missed", "nothing"],
)
def test_every_pixel_counts_as_what_it_is(truth, found, counts):
    metric = Jaccard()
    metric.update_state(np.full((1, 2, 2, 1), truth), np.full((1, 2, 2, 1), found))
    assert metric.counts() == counts
    assert float(metric.result()) == jaccard_index(*counts) == (0.0 if counts[1] or counts[2] else 1.0)


@pytest.mark.parametrize(("value", "found"), [(0.3, 0), (0.31, 1)])
def test_foreground_is_above_the_threshold(value, found):
    metric = Jaccard(threshold=0.3)
    metric.update_state(np.ones((1, 1, 1, 1), np.float32), np.full((1, 1, 1, 1), value, np.float32))
    assert metric.counts() == (found, 0, 1 - found)
