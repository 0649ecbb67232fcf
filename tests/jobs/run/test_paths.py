"""The files of a run have the names that the guide and older versions gave them."""

from __future__ import annotations

from pathlib import Path

from jobs.run.paths import PointPaths, RunPaths


def test_every_point_has_a_folder_of_its_own(tiny_run):
    paths = [tiny_run.point_paths(entry) for entry in tiny_run.entries]
    root = RunPaths(tiny_run.paths.root).root
    assert [path.folder.parent for path in paths] == [root, root]
    assert paths[0].folder != paths[1].folder
    assert paths[0].results.name == "UNet_lr0.001_bs8_results.json"
    assert paths[0].model.name == "UNet_lr0.001_bs8_model.hdf5"
    assert paths[0].history.name == "UNet_lr0.001_bs8_history.csv"
    assert paths[0].log.name == "training_log.txt"


def test_the_path_of_a_result_as_text_is_the_path_of_the_result(tiny_run):
    for entry in tiny_run.entries:
        assert Path(tiny_run.results_text(entry)) == tiny_run.point_paths(entry).results


def test_the_model_has_the_suffix_of_its_format():
    assert PointPaths(Path("exp_01_x"), "x", "keras").model == Path("exp_01_x/x_model.keras")


def test_files_of_numbered_attempts_and_submissions_sort_as_their_numbers_do():
    paths, run = PointPaths(Path("exp_01_x"), "x"), RunPaths(Path("run"))
    assert [paths.claim(number).name for number in (1, 9, 10, 100)] == [
        "0001.json",
        "0009.json",
        "0010.json",
        "0100.json",
    ]
    assert paths.checkpoint_file("model", 9, 2).name == "epoch_00009_model_0002.npz"
    assert paths.checkpoint_file("model", 9, 2).match(paths.checkpoint_pattern)
    assert run.captured(2, "11") == Path("run/logs/submission_02_11.log")
