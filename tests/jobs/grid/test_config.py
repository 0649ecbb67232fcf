"""grid.yaml is read strictly: an error names the key, the value received and what is expected."""

from __future__ import annotations

import re

import pytest

from jobs.common.errors import UserError
from jobs.grid import yaml_file
from jobs.grid.config import load_config

AXES = """
hyperparameters:
  architecture: [UNet]
  learning_rate: [1e-3]
  batch_size: [8]
"""


def test_scientific_notation_is_a_number(write_grid):
    config = load_config(write_grid(AXES.replace("[1e-3]", "[1e-4, 5E-4, 1.e-3, .005, 1]")))
    assert config.axes["learning_rate"] == (1e-4, 5e-4, 1e-3, 5e-3, 1.0)
    assert all(type(value) is float for value in config.axes["learning_rate"])


def test_unwritten_settings_have_the_guides_defaults(write_grid):
    config = load_config(write_grid(AXES))
    wanted = {
        "epochs": 30,
        "clipnorm": 1.0,
        "reduce_lr_patience": 5,
        "early_stopping_patience": 10,
        "base_filters": 64,
    }
    assert {key: config.training[key] for key in wanted} == wanted
    assert config.seeds == (1,)


def test_a_time_of_day_stays_what_was_written(write_grid):
    assert load_config(write_grid(AXES + "site: {walltime: 12:30:00}")).site["walltime"] == "12:30:00"


def test_a_single_value_is_an_axis_of_one(write_grid):
    assert load_config(write_grid(AXES.replace("[8]", "8"))).axes["batch_size"] == (8,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "contains None, expected keys"),
        ("[1, 2]", "expected keys"),
        ("training: {}", "hyperparameters: received 'nothing'"),
        ("a: [", "not valid YAML"),
        (AXES + "trainig: {}", "trainig.*did you mean 'training'"),
        (AXES + "training: {epoch: 30}", "training.epoch: .*did you mean 'epochs'"),
        (AXES + "training: {epochs: 30.5}", "training.epochs: received 30.5, expected a whole number"),
        (AXES + "training: {epochs: true}", "training.epochs: received True, expected a whole number"),
        (AXES + "training: {epochs: '30'}", "training.epochs: received '30', expected a whole number"),
        (AXES + "training: {epochs: 0}", "training.epochs: received 0"),
        (AXES + "training: {augment: 1}", "training.augment: received 1, expected true or false"),
        (
            AXES + "training: {dropout: 1.0}",
            "training.dropout: received 1.0, expected a number of at least 0 and below 1",
        ),
        (AXES + "training: {clipnorm: .nan}", "training.clipnorm: received nan"),
        (AXES + "training: {global_clipnorm: 1.0}", "only one of clipnorm and global_clipnorm"),
        (AXES + "training: {learning_rate: 1e-3}", "training.learning_rate"),
        (AXES.replace("[1e-3]", "[]"), "learning_rate: received \\[\\], expected at least one value"),
        (
            AXES.replace("[1e-3]", "[1e-3, 0.001]"),
            "learning_rate\\[1\\]: received 0.001, expected each value once",
        ),
        (
            AXES.replace("[1e-3]", "[-1e-3]"),
            "learning_rate\\[0\\]: received -0.001, expected a positive number",
        ),
        (AXES.replace("[1e-3]", "[0]"), "expected a positive number"),
        (AXES.replace("[1e-3]", "['1e-3']"), "received '1e-3', expected a positive number"),
        (AXES.replace("[8]", "[8.0]"), "batch_size\\[0\\]: received 8.0, expected a whole number"),
        (AXES.replace("UNet", "unet"), "architecture\\[0\\]: received 'unet', expected one of UNet"),
        (AXES.replace("  batch_size: [8]\n", ""), "the axis 'batch_size'"),
        (AXES + "  momentum: [1]", "hyperparameters.momentum"),
        (AXES + "  seed: [1]", "top level"),
        (
            AXES + "  epochs: [3]\ntraining: {epochs: 3}",
            "training.epochs: received 3, expected no 'epochs' here",
        ),
        (AXES + "seed: [1, 1]", "each value once"),
        (AXES + "seed: -1", "seed: received -1"),
        (AXES + "seed: 1\nseed: 2", "line 7: the key 'seed' occurs twice"),
        (AXES + "data: {patch_size: 100}", "data.patch_size: received 100, expected a multiple of 16"),
        (AXES + "  levels: [3, 6]\ndata: {patch_size: 48}", "multiple of 32"),
        (AXES + "data: {source: files}", "data.path: received None"),
        (AXES + "data: {source: other}", "data.source: received 'other'"),
        (AXES + "data: {path: somewhere}", "source: files"),
        (AXES + "data: {slice_pattern: 'z('}", "data.slice_pattern"),
        (AXES + "exclude: {batch_size: 8}", "exclude: received .* expected a list"),
        (AXES + "exclude: [{batch: 8}]", "did you mean 'batch_size'"),
        (AXES + "exclude: [{}]", "at least one 'key: value'"),
        (AXES + "include: [{architecture: UNet}]", "add learning_rate, batch_size"),
        (AXES + "site: {walltime: 4h}", "site.walltime: received '4h'"),
        (AXES + "site: {mem: lots}", "site.mem: received 'lots'"),
        (
            AXES + "site: {modules: 'a,b'}",
            "site.modules: received 'a,b', expected modules to load, separated by spaces",
        ),
        (AXES + "site: {walltime: '00:00:00'}", "site.walltime: received '00:00:00'"),
        (
            AXES + "site: {preset: nscc_aspire2a}",
            "site.project: received None, expected a value, which NSCC ASPIRE2A",
        ),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_refuses(write_grid, text, words):
    with pytest.raises(UserError, match=words) as caught:
        load_config(write_grid(text))
    assert caught.value.exit_code == 2
    assert "grid.yaml" in str(caught.value)


def test_a_refusal_names_the_line(write_grid):
    with pytest.raises(UserError, match=re.escape("grid.yaml line 6: training.epochs")):
        load_config(write_grid(AXES + "training: {epochs: -3}"))


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="does not exist; give the path"):
        load_config(tmp_path / "grid.yaml")


@pytest.mark.parametrize(
    ("line", "accepted"),
    [
        ("training: {epochs: 1}", True),
        ("training: {epochs: 0}", False),
        ("training: {epochs: 100000}", True),
        ("training: {epochs: 100001}", False),
        ("training: {dropout: 0}", True),
        ("training: {dropout: -0.01}", False),
        ("training: {dropout: 0.999}", True),
        ("training: {batch_norm_momentum: 0}", False),
        ("training: {batch_norm_momentum: 1}", False),
        ("training: {clipnorm: 0}", False),
        ("training: {clipnorm: 1e-9}", True),
        ("training: {focal_gamma: 0}", True),
        ("training: {focal_gamma: -0.1}", False),
        ("training: {levels: 2}", True),
        ("training: {levels: 1}", False),
        ("training: {levels: 8}", False),
        ("seed: 0", True),
        ("seed: 2147483647", True),
        ("seed: 2147483648", False),
        ("data: {validation_fraction: 0.9}", False),
        ("data: {validation_fraction: 0.899}", True),
        ("site: {heartbeat_seconds: 0.1}", True),
        ("site: {heartbeat_seconds: 0.09}", False),
        ("site: {heartbeat_seconds: 600}", True),
        ("site: {heartbeat_seconds: 601}", False),
        ("site: {max_array_size: 2}", True),
        ("site: {max_array_size: 1}", False),
        ("site: {mem: 0gb}", False),
        ("site: {mem: 1gb}", True),
        ("site: {walltime: '00:00:01'}", True),
        ("site: {walltime: '00:60:00'}", False),
    ],
)
def test_a_range_includes_its_ends_or_not(write_grid, line, accepted):
    path = write_grid(AXES + line)
    if accepted:
        load_config(path)
    else:
        with pytest.raises(UserError, match="expected"):
            load_config(path)


@pytest.mark.parametrize(("rate", "accepted"), [(10, True), (10.01, False), (1e-300, True)])
def test_a_learning_rate_is_above_zero_and_at_most_ten(write_grid, rate, accepted):
    path = write_grid(AXES.replace("[1e-3]", f"[{rate}]"))
    if accepted:
        assert load_config(path).axes["learning_rate"] == (rate,)
    else:
        with pytest.raises(UserError, match="expected a positive number up to 10"):
            load_config(path)


def test_a_preset_changes_its_values_and_the_file_overrides_both(write_grid):
    site = load_config(write_grid(AXES + "site: {preset: imperial, max_running: 7, ncpus: 4}")).site
    assert (site["preset"], site["max_array_size"]) == ("imperial", 10000)
    assert (site["max_running"], site["ncpus"], site["mem"]) == (7, 4, "32gb")


def test_a_file_is_read_up_to_its_largest_size(write_grid, monkeypatch):
    path = write_grid(AXES)
    size = path.stat().st_size
    monkeypatch.setattr(yaml_file, "LARGEST_BYTES", size)
    assert load_config(path).axes["batch_size"] == (8,)
    monkeypatch.setattr(yaml_file, "LARGEST_BYTES", size - 1)
    with pytest.raises(UserError, match="expected at most"):
        load_config(path)


def test_the_number_of_values_is_limited_with_aliases_expanded(write_grid, monkeypatch):
    path = write_grid("a: &x [1, 2]\nb: [*x, *x]\n")
    # The file, the list a of 1 + 2, and the list b of 1 + 3 + 3.
    monkeypatch.setattr(yaml_file, "MOST_NODES", 11)
    assert yaml_file.load_yaml(path)[0] == {"a": [1, 2], "b": [[1, 2], [1, 2]]}
    monkeypatch.setattr(yaml_file, "MOST_NODES", 10)
    with pytest.raises(
        UserError, match="line 1: received 11 values with aliases expanded; expected at most 10"
    ):
        yaml_file.load_yaml(path)
