"""Where the files of a run are."""

from __future__ import annotations

from jobs.run.paths import RunPaths


def test_every_point_has_a_folder_of_its_own(tiny_run):
    paths = [tiny_run.point_paths(entry) for entry in tiny_run.entries]
    root = RunPaths(tiny_run.paths.root).root
    assert [path.folder.parent for path in paths] == [root, root]
    assert paths[0].results.name == "UNet_lr0.001_bs8_results.json"
    assert paths[0].model.name == "UNet_lr0.001_bs8_model.hdf5"
    assert paths[0].history.name == "UNet_lr0.001_bs8_history.csv"
    assert paths[0].log.name == "training_log.txt"
