"""The metrics of the analysis, and their names for people."""

from __future__ import annotations

# The key metrics of the guide. The first is the primary one; the others are exploratory.
KEY_METRICS = ("best_val_jaccard", "val_loss_stability", "overfitting_gap", "epochs_to_best")
CORRELATED = (*KEY_METRICS, "training_time_seconds", "test_jaccard")
HIGHER_IS_BETTER = ("best_val_jaccard", "test_jaccard")
WORDS = {
    "best_val_jaccard": "best validation Jaccard index",
    "val_loss_stability": "stability (SD of validation loss, last 10 epochs)",
    "overfitting_gap": "overfitting gap (validation - training loss)",
    "epochs_to_best": "epochs to best",
    "training_time_seconds": "training time",
    "test_jaccard": "test Jaccard index",
}
