"""The output of make_grid.py --explain."""

from __future__ import annotations

from jobs.grid.config import load_config
from jobs.grid.explain import explain
from unet_models.networks.parameters import parameter_count

GRID = """
hyperparameters:
  architecture: [UNet]
  learning_rate: [1e-4, 1e-3]
  batch_size: [8, 16]
seed: [1, 2]
exclude: [{learning_rate: 1e-3, batch_size: 16}]
include: [{architecture: UNet, learning_rate: 1e-2, batch_size: 8}]
training: {base_filters: 2, levels: 2}
"""


def test_the_explanation_counts_and_lists_the_points(write_grid):
    path = write_grid(GRID)
    lines = explain(load_config(path)).splitlines()
    assert lines[0] == f"{path}: 7 points"
    assert "  learning_rate  0.0001, 0.001" in lines
    assert "  seed           1, 2" in lines
    assert "  8 combinations - 2 excluded + 1 included" in lines
    assert "  base_filters               2" in lines
    assert "  global_clipnorm            none" in lines
    assert not any(
        line.startswith("  batch_size  ") for line in lines[lines.index("settings of every point") :]
    )
    names = [line.split()[0] for line in lines[-7:]]
    assert names == [
        "exp_01_UNet_lr0.0001_bs8_seed1",
        "exp_02_UNet_lr0.0001_bs16_seed1",
        "exp_03_UNet_lr0.001_bs8_seed1",
        "exp_04_UNet_lr0.0001_bs8_seed2",
        "exp_05_UNet_lr0.0001_bs16_seed2",
        "exp_06_UNet_lr0.001_bs8_seed2",
        "exp_07_UNet_lr0.01_bs8",
    ]
    count = parameter_count("UNet", base_filters=2, levels=2)
    assert [line.split()[1] for line in lines[-7:]] == [f"{count:,}"] * 7
