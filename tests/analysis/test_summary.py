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
        {"before": b"SEP=\\t\r\n", "separator": "\t"},
        {"head": str.upper},
        {"head": lambda name: name.replace("_", " ").title()},
        {"encoding": "utf-16-le"},
        {"encoding": "utf-32"},
        {"before": b"Results of May\r\n,,,\r\n"},
        {"change": words("-1", "0")},
        {"change": lambda text, column: comma(words("1,00", "0,00")(text, column)), "separator": ";"},
        {"change": words("VERDADEIRO", "FALSO")},
        {"change": words("\u0418\u0421\u0422\u0418\u041d\u0410", "\u041b\u041e\u0416\u042c")},
        {"change": words("DO\u011eRU", "YANLI\u015e")},
        {"change": lambda text, column: text.title() if column == "status" else text},
        {"change": lambda text, column: text.replace("UNet", "Unet") if column == "architecture" else text},
        {"change": lambda text, column: f'="{text}"' if column == "learning_rate" else text},
        {"change": lambda text, column: "NA" if text == "" else text},
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


def rich():
    """With settings, an axis of another program, and computed columns: all numbers have a decimal sign."""
    rows = pd.concat(
        [
            content().assign(dropout=rate, augment="true" if rate else "false", weight_decay=decay)
            for rate in (0.0, 0.5)
            for decay in (0.001, 0.01)
        ]
    )
    rows = rows.assign(index=np.arange(1, 49), training_time_seconds=np.linspace(1000.5, 9000.5, 48).round(1))
    return rows.assign(learning_rate_logged_epoch1=rows["learning_rate"], wall_seconds=12.5).astype(object)


def grouped(group, point):
    """Times with thousands, and the decimal sign of the file."""

    def change(text, column):
        text = {"true": "WAHR", "false": "FALSCH"}.get(text, text) if point == "," else text
        if column == "training_time_seconds" and text:
            return f"{float(text):,.1f}".replace(",", "\0").replace(".", point).replace("\0", group)
        return text.replace(".", point) if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", text) else text

    return change


@pytest.mark.parametrize("group", ["", " ", "\u00a0", "\u202f", "'", "\u2019", "."])
def test_numbers_and_settings_with_decimal_commas_are_the_same_axes(tmp_path, group):
    expected = load_summary(saved(tmp_path, rich()))
    found = load_summary(saved(tmp_path, rich(), separator=";", change=grouped(group, ",")))
    assert extra_axes(found) == extra_axes(expected) == ["augment", "dropout", "weight_decay"]
    pd.testing.assert_frame_equal(found[expected.columns.tolist()], expected)


def test_the_first_thousands_sign_of_a_number_without_decimals_follows_the_rest_of_the_file(tmp_path):
    for separator, sign, point in ((";", ".", ","), ("\t", ",", ".")):

        def change(text, column, sign=sign, point=point):
            if column == "training_time_seconds" and text:
                return f"{round(float(text)):,}".replace(",", sign)
            return text.replace(".", point) if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", text) else text

        found = load_summary(saved(tmp_path, rich(), separator=separator, change=change))
        assert found["training_time_seconds"].between(1000, 9001).all(), sign


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "X", "row", "rank"])
def test_row_numbers_are_no_hyperparameter_and_repeats_stay_repeats(tmp_path, name):
    rows = pd.concat([content().assign(seed=n) for n in (1, 2)], ignore_index=True)
    rows["index"] = np.arange(1, 25)
    rows.insert(0, name, np.arange(24))
    found = load_summary(saved(tmp_path, rows))
    assert extra_axes(found) == [] and len(found) == 24
    assert reading(found).left_out == (() if name in ("", "Unnamed: 0") else (name,))


def test_a_number_that_follows_from_the_hyperparameters_is_none_of_them(tmp_path):
    rows = content().assign(log_rate=lambda f: np.log10(f["learning_rate"]), day=[46143, 46150] * 6)
    found = load_summary(saved(tmp_path, rows))
    assert extra_axes(found) == [] and reading(found).left_out == ("day", "log_rate")
    twice = pd.concat([content().assign(decay=0.1), content().assign(decay=0.2)])  # a real axis
    twice["index"] = np.arange(1, 25)
    assert extra_axes(load_summary(saved(tmp_path, twice))) == ["decay"]


def test_a_copy_of_a_column_is_left_out_and_one_that_differs_is_refused(tmp_path):
    rows = content()
    copy = pd.concat([rows, rows[["learning_rate"]]], axis=1)
    path = tmp_path / "s.csv"
    copy.to_csv(path, index=False)
    assert extra_axes(load_summary(path)) == []
    copy.iloc[3, -1] = 0.7
    copy.to_csv(path, index=False)
    with pytest.raises(UserError, match="line 5: received two columns learning_rate that differ"):
        load_summary(path)


def test_whether_a_point_was_still_rising_is_understood(tmp_path):
    rows = content().assign(epochs_to_best_censored=["TRUE", "ja", "1", "yes"] * 3)
    assert set(load_summary(saved(tmp_path, rows))["epochs_to_best_censored"]) == {"yes"}


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("learning_rate", "0.00", "a positive number"),
        ("learning_rate", "#WERT!", "a positive number"),
        ("batch_size", "8.5", "a positive whole number"),
        ("status", "fertig", "one of waiting"),
        ("status", "oom", "done, because training_successful is true"),
        ("epochs_to_best_censored", "perhaps", "True or False"),
        ("dropout", "#WERT!", "a number of at least 0 and below 1"),
        ("augment", "maybe", "True or False"),
    ],
)
def test_no_cell_is_turned_into_a_failure_or_a_missing_row(tmp_path, column, cell, expected):
    rows = content().assign(dropout=0.5, augment="true").astype(object)
    rows.loc[5, column] = cell
    with pytest.raises(UserError) as error:
        load_summary(saved(tmp_path, rows))
    assert f"line 7, column {column}: received" in str(error.value) and expected in str(error.value)


@pytest.mark.parametrize(
    ("column", "cell"), [("learning_rate", "1"), ("batch_size", "16"), ("architecture", "Attention_UNet")]
)
def test_a_hyperparameter_that_contradicts_the_name_of_the_point_is_refused(tmp_path, column, cell):
    rows = content().astype(object)
    rows["name"] = [
        f"exp_{n:02d}_{a}_lr{rate}_bs{batch}"
        for n, a, rate, batch in zip(
            rows["index"], rows["architecture"], rows["learning_rate"], rows["batch_size"], strict=True
        )
    ]
    assert len(load_summary(saved(tmp_path, rows))) == 12
    rows.loc[0, column] = cell
    with pytest.raises(
        UserError, match=f"line 2, column {column}: received '{cell}', expected .*, as in the point's name"
    ):
        load_summary(saved(tmp_path, rows))


def test_a_row_of_means_below_the_table_is_no_point(tmp_path):
    path = saved(
        tmp_path,
        content()[["architecture", "learning_rate", "batch_size", "training_successful", "best_val_jaccard"]],
    )
    whole = path.read_bytes()
    path.write_bytes(whole + b"Mean,,,,0.7\r\n")
    assert len(load_summary(path)) == 12 and reading(load_summary(path)).dropped == 1
    path.write_bytes(whole + b"Mean,0.002,12,,0.7\r\n")
    with pytest.raises(UserError, match="line 14, column training_successful: received ''"):
        load_summary(path)


def test_lines_that_are_quoted_as_a_whole_are_read(tmp_path):
    path = saved(tmp_path, content().assign(data_source="sample, generated"))
    expected = load_summary(path)
    head, *lines = path.read_text(encoding="utf-8").split("\n")
    quoted = ['"' + line.replace('"', '""') + '"' for line in lines if line]
    for first in (head, f'"{head}"'):
        path.write_text("\n".join([first, *quoted, ""]), encoding="utf-8")
        pd.testing.assert_frame_equal(load_summary(path), expected)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text[:-40], "line 13 ends in the middle"),
        (lambda text: text.replace(",done,", ',"done,', 1), "line 2"),
        (lambda text: text.replace(",done,", ',"done,', 2), "line 2"),
        (lambda text: "PK\x03\x04" + text, "a workbook of a spreadsheet"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_in_words(tmp_path, change, why):
    path = saved(tmp_path, content())
    path.write_bytes(change(path.read_bytes().decode()).encode())
    with pytest.raises(UserError, match=f"cannot be read as a CSV file .*{why}"):
        load_summary(path)


def test_a_successful_point_without_a_score_says_so(tmp_path):
    rows = content().astype(object)
    rows.loc[5, "best_val_jaccard"] = ""
    found = load_summary(saved(tmp_path, rows)).loc[5]
    assert not found["successful"] and found["status"] == "error"
    assert found["reason"] == "marked as successful, but the summary has no score for it"
