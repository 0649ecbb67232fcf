"""The content of a file decides on its format."""

from __future__ import annotations

import mrcfile
import numpy as np

from unet_models.data.files.opening import open_image


def test_an_mrc_file_whose_width_begins_as_bmp_does_is_an_mrc_file(tmp_path):
    """19,778 is BM as two bytes."""
    array = np.arange(2 * 19778, dtype=np.int16).reshape(1, 2, 19778)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
    assert (tmp_path / "a.mrc").read_bytes().startswith(b"BM")
    with open_image(str(tmp_path / "a.mrc")) as file:
        assert file.description.format == "MRC" and np.array_equal(file.read(0), array[0])
