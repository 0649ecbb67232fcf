"""Sizes that do not fit are refused from the headers, before memory or disk is taken."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

import make_grid
from jobs.grid.config import load_config
from jobs.run.create import data_block
from tests.conftest import TINY
from unet_models.data import sizes
from unet_models.data.errors import DataError
from unet_models.data.layouts import find_layout
from unet_models.data.sizes import check_layout, check_sample


def arrays(folder, shape):
    """Two ``.npy`` files of which nothing is on the disk."""
    folder.mkdir()
    for kind in ("images", "masks"):
        with (folder / f"{kind}.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            file.truncate(file.tell() + int(np.prod(shape, dtype=np.int64)))


GRID = TINY.replace("  path: data\n", "  images: data/images.npy\n  masks: data/masks.npy\n")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 1_000_000, 1_000_000), r"images\.npy has slices of 1000000x1000000 pixels, 1000\.0 GB each"),
        ((4000, 40_000, 40_000), r"has 6\.4e\+12 pixels, whose pack takes at least 3200\.0 GB"),
    ],
)
def test_data_that_do_not_fit_are_refused_by_their_headers(tmp_path, write_grid, capsys, shape, words):
    try:
        arrays(tmp_path / "data", shape)
    except OSError as error:
        pytest.skip(f"this file system has no files of that size: {error}")
    assert make_grid.main([str(write_grid(GRID)), "--run-dir", str(tmp_path / "run")]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_too_many_patches_are_refused(tmp_path, monkeypatch, tiny_run):
    data = data_block(load_config(tmp_path / "grid.yaml"))
    layout = find_layout(data)
    check_layout(layout, data, tmp_path / "pack")
    monkeypatch.setattr(sizes, "MOST_PATCHES", 3)
    with pytest.raises(DataError, match=r"patches of data\.patch_size 32, expected at most 3"):
        check_layout(layout, data, tmp_path / "pack")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(1, 1, 5))
    with pytest.raises(DataError, match="are free on the file system of"):
        check_layout(layout, data, tmp_path / "pack")


def test_a_sample_that_does_not_fit_is_refused_with_its_keys(monkeypatch):
    check_sample(24, 64)
    monkeypatch.setattr(sizes, "memory_limit", lambda: 10**9)
    with pytest.raises(DataError, match=r"data\.sample_slices and data\.sample_size: received 1000 slices"):
        check_sample(1000, 8192)
