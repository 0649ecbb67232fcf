"""The grid's points, their order, their names and their keys."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.common.errors import UserError
from jobs.grid import points as points_module
from jobs.grid.config import load_config
from jobs.grid.points import LONGEST_STEM, Point, expand, point_name, stem_of_name
from jobs.grid.settings import POINT
from tests.conftest import REPOSITORY

AXES = """
hyperparameters:
  architecture: [UNet, Attention_UNet]
  learning_rate: [1e-4, 1e-3]
  batch_size: [8, 16]
"""


def names(config):
    return [point_name(index, point.stem) for index, point in enumerate(expand(config), start=1)]


@pytest.mark.parametrize("file", ["grid.yaml", "docs/demo_grid.yaml"])
def test_the_36_default_points_have_the_guides_names_in_its_order(file):
    expected = [
        f"exp_{number:02d}_{architecture}_lr{rate}_bs{batch}"
        for number, (architecture, rate, batch) in enumerate(
            itertools.product(
                ("UNet", "Attention_UNet", "Attention_ResUNet"),
                ("0.0001", "0.0005", "0.001", "0.005"),
                (8, 16, 32),
            ),
            start=1,
        )
    ]
    assert expected[:2] == ["exp_01_UNet_lr0.0001_bs8", "exp_02_UNet_lr0.0001_bs16"]
    assert names(load_config(REPOSITORY / file)) == expected


def test_several_seeds_extend_the_name_and_repeat_the_whole_grid(write_grid):
    found = names(load_config(write_grid(AXES + "seed: [1, 2]")))
    assert len(found) == 16
    assert found[0] == "exp_01_UNet_lr0.0001_bs8_seed1"
    assert found[8] == "exp_09_UNet_lr0.0001_bs8_seed2"


def test_any_training_setting_can_become_an_axis(write_grid):
    config = load_config(write_grid(AXES + "  augment: [true, false]\n  clipnorm: [1.0, null]"))
    points = expand(config)
    assert len(points) == 32
    assert points[1].stem == "UNet_lr0.0001_bs8_augmenttrue_clipnormnone"
    assert {point.settings["augment"] for point in points} == {True, False}
    assert {point.settings["clipnorm"] for point in points} == {1.0, None}


def test_excluded_points_are_left_out(write_grid):
    config = load_config(write_grid(AXES + "exclude: [{architecture: UNet, batch_size: [8, 16]}]"))
    assert {point.settings["architecture"] for point in expand(config)} == {"Attention_UNet"}


def test_an_exclusion_that_matches_nothing_is_refused(write_grid):
    with pytest.raises(
        UserError, match="exclude\\[0\\]: received {'batch_size': 64}, which matches no point of the grid"
    ):
        expand(load_config(write_grid(AXES + "exclude: [{batch_size: 64}]")))


def test_excluding_everything_is_refused(write_grid):
    with pytest.raises(UserError, match="every point is excluded"):
        expand(load_config(write_grid(AXES + "exclude: [{batch_size: [8, 16]}]")))


def test_an_included_point_comes_last_and_its_name_has_its_special_settings(write_grid):
    text = AXES + "include: [{architecture: UNet, learning_rate: 1e-2, batch_size: 8, base_filters: 32}]"
    last = expand(load_config(write_grid(text)))[-1]
    assert last.stem == "UNet_lr0.01_bs8_base_filters32"
    assert last.settings["base_filters"] == 32


def test_an_included_point_has_the_first_seed_and_the_first_value_of_each_axis(write_grid):
    text = (
        AXES
        + "  dropout: [0.25, 0.0]\nseed: [7, 3]\ninclude: [{architecture: UNet, learning_rate: 0.01, batch_size: 4}]"
    )
    points = expand(load_config(write_grid(text)))
    assert len(points) == 2 * 2 * 2 * 2 * 2 + 1
    last = points[-1]
    assert (last.settings["seed"], last.settings["dropout"], last.settings["epochs"]) == (7, 0.25, 30)
    assert last.stem == "UNet_lr0.01_bs4_dropout0.25"


def test_an_included_point_may_have_a_seed_of_its_own(write_grid):
    text = AXES + "seed: 7\ninclude: [{architecture: UNet, learning_rate: 1e-4, batch_size: 8, seed: 2}]"
    points = expand(load_config(write_grid(text)))
    assert [point.settings["seed"] for point in points] == [7] * 8 + [2]
    assert points[-1].stem == "UNet_lr0.0001_bs8_seed2"


def test_an_included_seed_is_named_where_the_grid_has_several(write_grid):
    text = AXES + "seed: [1, 2]\ninclude: [{architecture: UNet, learning_rate: 0.01, batch_size: 8, seed: 1}]"
    assert expand(load_config(write_grid(text)))[-1].stem == "UNet_lr0.01_bs8_seed1"


def test_two_exclusions_may_match_the_same_points(write_grid):
    points = expand(
        load_config(write_grid(AXES + "exclude: [{architecture: UNet}, {architecture: UNet, batch_size: 8}]"))
    )
    assert {point.settings["architecture"] for point in points} == {"Attention_UNet"}


def test_the_same_point_included_twice_is_refused(write_grid):
    entry = "{architecture: UNet, learning_rate: 0.01, batch_size: 8}"
    with pytest.raises(UserError, match="include\\[1\\]: received .*, a point that is already in the grid"):
        expand(load_config(write_grid(AXES + f"include: [{entry}, {entry}]")))


def test_an_exclusion_needs_all_of_its_keys(write_grid):
    rule = "{architecture: UNet, batch_size: 8}"
    points = expand(load_config(write_grid(AXES + f"exclude: [{rule}]")))
    assert [point.stem for point in points] == [
        "UNet_lr0.0001_bs16",
        "UNet_lr0.001_bs16",
        "Attention_UNet_lr0.0001_bs8",
        "Attention_UNet_lr0.0001_bs16",
        "Attention_UNet_lr0.001_bs8",
        "Attention_UNet_lr0.001_bs16",
    ]


@pytest.mark.parametrize(("most", "accepted"), [(8, False), (9, True)])
def test_the_number_of_points_is_limited_before_any_is_made(write_grid, monkeypatch, most, accepted):
    monkeypatch.setattr(points_module, "MOST_POINTS", most)
    text = AXES + "include: [{architecture: UNet, learning_rate: 0.01, batch_size: 8}]"
    config = load_config(write_grid(text))
    if accepted:
        assert len(expand(config)) == 9
    else:
        with pytest.raises(UserError, match=f"1 included, 9 combinations in total; expected at most {most}"):
            expand(config)


def test_the_length_of_a_name_is_limited(write_grid, monkeypatch):
    config = load_config(write_grid(AXES))
    longest = len("Attention_UNet_lr0.0001_bs16")
    monkeypatch.setattr(points_module, "LONGEST_STEM", longest)
    assert len(expand(config)) == 8
    monkeypatch.setattr(points_module, "LONGEST_STEM", longest - 1)
    with pytest.raises(
        UserError, match="the name Attention_UNet_lr0.0001_bs16 is too long; expected at most 27"
    ):
        expand(config)


def test_numbers_from_a_hundred_on_have_names_of_their_own():
    assert [point_name(number, "x") for number in (9, 10, 99, 100)] == [
        "exp_09_x",
        "exp_10_x",
        "exp_99_x",
        "exp_100_x",
    ]


def test_including_a_known_point_is_refused(write_grid):
    with pytest.raises(
        UserError, match="include\\[0\\]: received .*, a point that is already in the grid; remove the entry"
    ):
        expand(
            load_config(
                write_grid(AXES + "include: [{architecture: UNet, learning_rate: 1e-4, batch_size: 8}]")
            )
        )


def test_the_key_follows_settings_and_data_and_nothing_else():
    base = {key: setting.default for key, setting in POINT.items()}
    point = Point(base)
    assert point.key("data") == Point(dict(reversed(base.items())), ("seed",)).key("data")
    assert point.key("data") != point.key("other data")
    for key, value in (("learning_rate", 2e-3), ("seed", 2), ("augment", False), ("clipnorm", None)):
        assert Point({**base, key: value}).key("data") != point.key("data")


rates = st.floats(1e-8, 10.0, allow_nan=False, exclude_min=True)


@given(rates, rates, st.integers(1, 4096), st.integers(1, 20_000))
@settings(deadline=None)
def test_different_settings_never_share_a_name_and_cells_give_them_back(first, second, batch, index):
    base = {key: setting.default for key, setting in POINT.items()} | {"batch_size": batch}
    a, b = Point({**base, "learning_rate": first}), Point({**base, "learning_rate": second})
    assert (a.stem == b.stem) == (first == second) == (a.key("d") == b.key("d"))
    assert POINT["learning_rate"].from_text(a.text("learning_rate")) == first
    name = point_name(index, a.stem)
    assert name.split("_", 2)[2] == a.stem == stem_of_name(name)
    assert not set(name) & set("/\\ []%")


@pytest.mark.parametrize("name", [f"exp_1_{'x' * LONGEST_STEM}", "exp_007_a", "exp_10000_a_b+c.d-e"])
def test_the_stem_is_all_after_the_number(name):
    assert stem_of_name(name) == name.split("_", 2)[2]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "exp_01_../../outside",
            "../outside",
            "/etc/exp_01_x",
            "exp_01_a/b",
            "exp_01_ä",
            "exp_01_",
            "exp_1",
            "",
        ),
        *(
            "exp__x",
            "xexp_01_a",
            "exp_01_x\\y",
            "exp_01_a b",
            "exp_08_\n",
            "exp_01_a\n",
            "exp_01_$x",
            None,
            7,
        ),
        f"exp_1_{'x' * (LONGEST_STEM + 1)}",
    ],
)
def test_what_is_not_the_name_of_a_point_has_no_stem(name):
    assert stem_of_name(name) is None


@given(st.data())
@settings(deadline=None)
def test_every_setting_reads_back_what_it_writes(data):
    for setting in POINT.values():
        value = setting.default
        if setting.kind is int:
            value = data.draw(st.integers(1, 5))
        if value is None or setting.accepts(value):
            assert setting.from_text(setting.to_text(value)) == value
