"""A pattern of the user's is looked for in names, and one that never ends is refused."""

from __future__ import annotations

import pytest

import make_grid
from tests.conftest import TINY, write_images
from unet_models.data import pattern_search
from unet_models.data.errors import DataError
from unet_models.data.pairing import pair_files, slice_numbers
from unet_models.data.pattern_search import first_groups


def test_the_first_group_of_each_name():
    names = ["z12_läuft", "none", "z3\udcff"]
    assert first_groups(r"z(\d+)", names) == ["12", None, "3"]
    assert first_groups(r"z(x)?", names) == ["", None, ""]


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"((a|a)*)*c", r"(?:(\w+)\s?)*$x"])
def test_a_pattern_that_never_ends_is_refused_with_its_key(monkeypatch, pattern):
    monkeypatch.setattr(pattern_search, "LIMIT", 1.0)
    with pytest.raises(DataError, match=r"data\.slice_pattern: received .* takes more than 1 s") as caught:
        slice_numbers(["a" * 60], pattern)
    assert repr(pattern) in str(caught.value)


def test_a_pattern_for_many_names_starts_one_process(tmp_path, monkeypatch):
    started = []
    run = pattern_search.subprocess.run

    def counted(*arguments, **options):
        started.append(1)
        return run(*arguments, **options)

    monkeypatch.setattr(pattern_search.subprocess, "run", counted)
    images = [tmp_path / f"image_z{number}.png" for number in range(500)]
    masks = [tmp_path / f"mask_z{number}.png" for number in range(500)]
    pairs = pair_files(images, masks, by="number", pattern=r"z(\d+)")
    assert len(pairs) == 500 and len(started) == 1


def test_make_grid_ends_with_a_sentence(tmp_path, write_grid, monkeypatch, capsys):
    monkeypatch.setattr(pattern_search, "LIMIT", 1.0)
    write_images(tmp_path / "data")
    for path in (tmp_path / "data").rglob("*.png"):
        path.rename(path.with_name("a" * 40 + path.name))
    grid = write_grid(TINY.replace("  patch_size", "  slice_pattern: '(a+)+b'\n  patch_size"))
    assert make_grid.main([str(grid), "--run-dir", str(tmp_path / "run")]) == 2
    assert "data.slice_pattern: received '(a+)+b'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
