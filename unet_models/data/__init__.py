"""Images and masks: reading, pairing, cutting into patches, splitting, and batches for training."""
