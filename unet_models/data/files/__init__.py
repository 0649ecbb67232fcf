"""Image files of every format -> their stored values, slice by slice, and what each file says about itself.

Nothing here interprets a value: no scaling, no inversion, no threshold. :mod:`unet_models.data.intensity` and
:mod:`unet_models.data.masks` do that, once for a whole data set. Start reading at
:func:`unet_models.data.files.opening.open_image`.
"""
