"""A summary is understood as it was meant, whatever program saved it again, or refused with the cell."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest

from analysis.summary import extra_axes, load_summary, reading
from jobs.common.errors import UserError
from tests.analysis.report.test_report import fail, frame


def content():
    rows = frame()
    rows["best_val_jaccard"] = np.linspace(0.61234, 0.85321, len(rows)).round(5)
    return fail(rows, 3, "oom", "no memory")


def saved(
    tmp_path, rows, *, separator=",", encoding="utf-8", change=lambda text, column: text, head=str, before=b""
):
    """The summary as a spreadsheet saves it: ``change`` edits each cell, ``head`` each name."""
    source = list(csv.reader(io.StringIO(rows.to_csv(index=False))))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\r\n")
    writer.writerow([head(name) for name in source[0]])
    writer.writerows(
        [change(cell, name) for cell, name in zip(row, source[0], strict=True)] for row in source[1:]
    )
    path = tmp_path / "hyperparameter_summary.csv"
    path.write_bytes(before + text.getvalue().encode(encoding))
    return path


def comma(text, _column=""):
    return text.replace(".", ",") if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", text) else text


def words(true, false):
    return lambda text, column: {"True": true, "False": false}.get(text, text)


@pytest.mark.parametrize(
    "options",
    [
        {"change": words("TRUE", "FALSE"), "encoding": "utf-8-sig"},
        {"change": lambda text, column: comma(words("WAHR", "FALSCH")(text, column)), "separator": ";"},
        {"change": comma},
        {"change": words("1", "0")},
        {"change": words("VRAI", "FAUX"), "separator": "\t", "encoding": "utf-16"},
        {"change": words("verdadero", "falso")},
        {"change": words("ja", "nein"), "separator": "|"},
        {"change": lambda text, column: "1E-04" if text == "0.0001" else text},
        {"change": lambda text, column: f" {text} " if column != "name" else text},
        {"before": b"sep=,\r\n"},
        {"before": b"sep=;\r\n", "separator": ";"},
        {"head": str.upper},
        {"head": lambda name: f" {name} "},
    ],
    ids=",".join,
)
def test_what_a_spreadsheet_saved_again_is_read_as_before(tmp_path, options):
    expected = load_summary(saved(tmp_path, content()))
    found = load_summary(saved(tmp_path, content(), **options))
    assert found["status"].tolist() == expected["status"].tolist()
    assert found["successful"].sum() == 11 and found["name"].tolist() == expected["name"].tolist()
    for column in ("best_val_jaccard", "learning_rate", "batch_size", "val_loss_stability", "index"):
        assert found[column].tolist() == pytest.approx(expected[column].tolist(), nan_ok=True), column


def test_percent_is_a_share(tmp_path):
    path = saved(
        tmp_path,
        content(),
        change=lambda text, column: (
            f"{100 * float(text):.3f}%" if column == "best_val_jaccard" and text else text
        ),
    )
    assert load_summary(path)["best_val_jaccard"].max() == pytest.approx(0.85321)


def test_a_name_in_windows_1252_is_read(tmp_path):
    rows = content().assign(data_source="/daten/Präparat")
    assert load_summary(saved(tmp_path, rows, encoding="cp1252"))["data_source"][0] == "/daten/Präparat"


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("best_val_jaccard", "8.5e15", "a Jaccard index from 0 to 1"),
        ("best_val_jaccard", "-0.2", "a Jaccard index from 0 to 1"),
        ("best_val_jaccard", "#NUM!", "the score of a point that was successful"),
        ("best_val_jaccard", "01. Mai", "a number"),
        ("learning_rate", "fast", "a number"),
        ("learning_rate", "1e-4 (Adam)", "a number"),
        ("batch_size", "0x10", "a number"),
        ("epochs_completed", "Jan 30", "a number"),
        ("training_successful", "maybe", "True or False"),
        ("training_successful", "", "True or False"),
        ("test_jaccard", "41", "a Jaccard index from 0 to 1"),
    ],
)
def test_a_cell_that_cannot_be_understood_is_named(tmp_path, column, cell, expected):
    rows = content().astype(object)
    rows.loc[5, column] = cell
    with pytest.raises(UserError) as error:
        load_summary(saved(tmp_path, rows))
    assert f"line 7, column {column}: received" in str(error.value)
    assert f"expected {expected}" in str(error.value) and "collect.py" in str(error.value)


def test_a_failed_formula_in_another_column_is_a_missing_value(tmp_path):
    rows = content().astype(object)
    rows.loc[5, "val_loss_stability"] = "#DIV/0!"
    found = load_summary(saved(tmp_path, rows))
    assert found["val_loss_stability"].isna().sum() == 1 and found["successful"].sum() == 11


def test_a_comma_that_may_separate_thousands_is_refused(tmp_path):
    rows = content()[
        ["architecture", "learning_rate", "batch_size", "training_successful", "best_val_jaccard"]
    ]
    rows = rows.assign(learning_rate=1, best_val_jaccard=1).astype(object)
    rows["training_time_seconds"] = "1,234"
    with pytest.raises(UserError, match="the comma may be a decimal sign or separate thousands"):
        load_summary(saved(tmp_path, rows))
    rows["best_val_jaccard"] = 0.5  # the other numbers have a decimal point, so the comma is none
    assert load_summary(saved(tmp_path, rows))["training_time_seconds"][0] == 1234


def test_a_file_that_was_appended_to_itself_has_no_repeats(tmp_path):
    path = saved(tmp_path, content())
    once = path.read_bytes()
    _head, body = once.split(b"\r\n", 1)
    for twice, headers in ((once + body, 0), (once + once, 1)):
        path.write_bytes(twice)
        found = load_summary(path)
        assert len(found) == 12 and not found.duplicated("name").any()
        assert (reading(found).duplicates, reading(found).headers) == (12, headers)


def test_the_newest_successful_row_of_a_configuration_and_seed_is_kept(tmp_path):
    again = content().iloc[[3, 5]].assign(index=[41, 42], name=["exp_41", "exp_42"])
    again["training_successful"], again["status"] = "True", "done"
    again["best_val_jaccard"] = [0.4, 0.3]
    rows = pd.concat([again, content()], ignore_index=True).assign(seed=1)
    found = load_summary(saved(tmp_path, rows)).set_index("index")["best_val_jaccard"]
    assert found[41] == 0.4 and 4 not in found.index  # the failed one
    assert found[42] == 0.3 and 6 not in found.index
    loaded = load_summary(saved(tmp_path, rows))
    assert (reading(loaded).duplicates, reading(loaded).contradicting) == (2, 1)


def test_repeats_without_a_recorded_seed_are_not_duplicates(tmp_path):
    rows = pd.concat([content(), content().assign(index=lambda f: f["index"] + 12)]).assign(seed="")
    rows["best_val_jaccard"] += np.linspace(0, 0.001, len(rows))
    assert len(load_summary(saved(tmp_path, rows))) == 24


def test_text_that_is_not_a_setting_is_no_hyperparameter(tmp_path):
    rows = content().assign(
        operator=["anna", "ben"] * 6, date="2026-01-01", optimizer=["adam", "sgd"] * 6, dropout=[0.0, 0.5] * 6
    )
    found = load_summary(saved(tmp_path, rows))
    assert extra_axes(found) == ["dropout", "optimizer"]
    assert reading(found).left_out == ("date", "operator")


def test_the_order_of_rows_and_columns_does_not_matter(tmp_path):
    rng = np.random.default_rng(1)
    rows = pd.concat([content().assign(seed=n, dropout=0.5) for n in (1, 2)], ignore_index=True)
    rows["index"] = np.arange(1, 25)
    expected = load_summary(saved(tmp_path, rows))
    for _ in range(5):
        shuffled = rows.iloc[rng.permutation(24), rng.permutation(rows.shape[1])]
        found = load_summary(saved(tmp_path, shuffled))
        pd.testing.assert_frame_equal(found[expected.columns.tolist()], expected)
        assert extra_axes(found) == extra_axes(expected)


def test_empty_rows_are_dropped_without_a_word_and_unusable_ones_are_counted(tmp_path):
    path = saved(tmp_path, content())
    path.write_bytes(path.read_bytes() + b",,,\r\n\r\n,,,\r\n")
    assert len(load_summary(path)) == 12 and reading(load_summary(path)).dropped == 0
    rows = content().astype(object)
    rows.loc[2, ["learning_rate", "batch_size"]] = ""
    assert reading(load_summary(saved(tmp_path, rows))).dropped == 1
