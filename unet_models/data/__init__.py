"""From image files to batches.

Find the slices (:mod:`~unet_models.data.layouts`), plan parts and patches (:mod:`~unet_models.data.planning`), decide the
intensity range, read, scale and cut slice by slice (:mod:`~unet_models.data.dataset`), write the pack
(:mod:`~unet_models.data.packing`), and make batches of it (:mod:`~unet_models.data.pipeline`). Readers of file formats
are in :mod:`unet_models.data.files`.

Only :mod:`unet_models.data.pipeline` imports TensorFlow. May import nothing else of this package. Start reading at
:func:`unet_models.data.dataset.build`.
"""
