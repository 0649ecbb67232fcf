"""From image files to batches: reading, pairing, cutting into patches, splitting, packing, shuffling, augmentation.

Only :mod:`unet_models.data.pipeline` imports TensorFlow. May import nothing else of this package. Start reading at
:func:`unet_models.data.dataset.build`.
"""
