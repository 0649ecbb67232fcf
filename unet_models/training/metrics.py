"""The Jaccard index of the mitochondria class, from counts summed over a whole set.

Averaging over batches would make the score depend on the batch size: identical predictions move from
0.924 to 0.939 between batches of 8 and 32. ``keras.metrics.BinaryIoU`` pools its counts too, but gives 0
where there is nothing to find and nothing was found, and its counts are not exact beyond 2**24 pixels.
"""

from __future__ import annotations

import keras
from keras import ops


def jaccard_index(true_positives: float, false_positives: float, false_negatives: float) -> float:
    """TP / (TP + FP + FN), 0 to 1; 1.0 where the set has no foreground and none is predicted."""
    union = true_positives + false_positives + false_negatives
    return float(true_positives / union) if union else 1.0


@keras.saving.register_keras_serializable("unet_models")
class Jaccard(keras.metrics.Metric):
    """Jaccard index at ``threshold``, pooled over all pixels since the last reset.

    ``update_state(y_true, y_pred)`` takes arrays of one shape (batch, ...): 0 or 1, and 0 to 1. Counts are
    kept in float64, exact up to 2**53 pixels. Sample weights are refused.
    """

    def __init__(self, threshold: float = 0.5, name: str = "jaccard", **options) -> None:
        super().__init__(name=name, **options)
        self.threshold = threshold
        self._counts = [
            self.add_variable(shape=(), initializer="zeros", dtype="float64", name=count)
            for count in ("true_positives", "false_positives", "false_negatives")
        ]

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        if sample_weight is not None:
            raise ValueError("Jaccard counts pixels: received sample weights, expected none")
        truth = ops.cast(ops.greater(y_true, 0.5), "float32")
        found = ops.cast(ops.greater(ops.convert_to_tensor(y_pred), self.threshold), "float32")
        inner = tuple(range(1, len(y_pred.shape)))

        def count(pixels):
            # A sample has fewer than 2**24 pixels, so float32 is exact within it.
            return ops.sum(ops.cast(ops.sum(pixels, axis=inner), "float64"))

        both = count(truth * found)
        for variable, value in zip(
            self._counts, (both, count(found) - both, count(truth) - both), strict=True
        ):
            variable.assign_add(value)

    def result(self):
        both, extra, missed = (ops.convert_to_tensor(variable) for variable in self._counts)
        union = both + extra + missed
        return ops.cast(ops.where(union > 0, both / ops.maximum(union, 1.0), 1.0), "float32")

    def counts(self) -> tuple[int, int, int]:
        """True positives, false positives and false negatives (pixels) since the last reset."""
        return tuple(int(keras.ops.convert_to_numpy(variable)) for variable in self._counts)

    def get_config(self) -> dict:
        return {**super().get_config(), "threshold": self.threshold}
