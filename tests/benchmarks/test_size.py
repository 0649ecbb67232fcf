"""The volume of the benchmark is one that the product packs, and no two of its slices are equal."""

from __future__ import annotations

import tifffile

from benchmarks import size
from jobs.grid.config import load_config
from jobs.run.create import make_run


def test_the_volume_is_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(size, "SIDE", 256)
    assert size.write_volume(tmp_path / "volume", 10 * 256**2 / 1e9) == 10
    images = {tifffile.imread(path).tobytes() for path in (tmp_path / "volume" / "images").iterdir()}
    assert len(images) == 10
    grid = tmp_path / "grid.yaml"
    grid.write_text(size.GRID.format(path=tmp_path / "volume"))
    data = make_run(load_config(grid), tmp_path / "run", say=lambda text: None).data
    assert data.count("train") == 8 * 4 and 0.05 < data.foreground("train") < 0.15
