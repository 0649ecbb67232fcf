"""Training one configuration: the loop, its callbacks, the optimizer, the metrics and the history file.

May import :mod:`unet_models.networks`, :mod:`unet_models.data` and :mod:`unet_models.pictures`. Start reading at
:func:`unet_models.training.training.train`. :mod:`~unet_models.training.history` and
:mod:`~unet_models.training.state` need no TensorFlow.
"""
