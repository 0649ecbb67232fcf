"""The data block of a grid.yaml for small image folders."""

from __future__ import annotations

from jobs.grid.settings import DATA


def block(**changes):
    defaults = {key: setting.default for key, setting in DATA.items()}
    return {
        **defaults,
        "source": "files",
        "patch_size": 32,
        "gap_slices": 1,
        "validation_fraction": 0.25,
        **changes,
    }
