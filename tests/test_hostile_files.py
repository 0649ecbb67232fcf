"""Whatever stands in a run's files, collect, status and analyze answer, and the loaders refuse in words.

Every file here is one that somebody can edit, cut off or fill with something else.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import textwrap

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analyze
import collect as collect_command
from analysis.cautions import cautions
from analysis.conclusions import best
from analysis.configurations import ranking
from analysis.findings import findings
from analysis.report.page import html_page
from analysis.report.text import report_text
from analysis.summary import load_summary
from jobs import status
from jobs.common.errors import UserError
from jobs.common.records import read_record, write_record
from jobs.common.states import STATES
from jobs.grid.config import GridConfig, load_config
from jobs.grid.points import MOST_POINTS, Point, expand, extra_axes
from jobs.grid.settings import DATA, HYPERPARAMETERS, POINT, SITE, TRAINING
from jobs.grid.yaml_file import MOST_NODES
from jobs.monitor.summary import LEADING, METRICS, TRAILING, collect
from jobs.pbs.submissions import jobs_of, read_submissions
from jobs.run.create import make_run
from jobs.run.index import make_entry, read_run, write_index
from jobs.run.paths import RunPaths
from tests.conftest import REPOSITORY, write_images
from tests.jobs.test_submit import TWELVE
from unet_models.training.history import COLUMNS, history_csv, read_history, summarise


def bounded(examples):
    """Settings for one property: so many examples, however slow the machine is."""
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# What has broken a reader before, or could: every one of these is valid JSON.
ODD_TEXTS = (
    "False", "True", 'a,b\n"c"\r\nd', "\0", "\ud800", "\x1b[2J", "\u2028\x85\x0b", "[/]", "[bold]", "$\\frac$",
    "x" * 5000, "done", "running", "lost", "inf", "nan", "-", "../../etc", "1[].pbs", "9" * 5000, "2026-01-01",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
)  # fmt: skip
texts = st.sampled_from(ODD_TEXTS) | st.text(max_size=20)
numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from((0, -1, 10**400, -(10**30), 10**18, 1e300, -1.7e308, 5e-324))
)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
mutations = st.lists(
    st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=3)), min_size=1, max_size=4
)


def mutated(content: bytes, changes) -> bytes:
    found = bytearray(content)
    for place, bytes_ in changes:
        place %= len(found)
        found[place : place + len(bytes_)] = bytes_
    return bytes(found)


def result_of(entry):
    """A result as ``jobs.point.attempt`` publishes it."""
    counts = dict.fromkeys(
        (f"val_{kind}" for kind in ("true_positives", "false_positives", "false_negatives")), 3
    )
    history = [dict.fromkeys(COLUMNS, 0.25) | counts | {"epoch": epoch} for epoch in (1, 2)]
    metrics = {
        **summarise(history, 2),
        "training_time_seconds": 1.5,
        "chance_jaccard": 0.1,
        "test_jaccard": 0.3,
    }
    return {
        "index": entry.index, "name": entry.name, "key": entry.key, "status": "done", "reason": "",
        "settings": dict(entry.point.settings), "effective": {"parameters": 1000, "learning_rate": 1e-3},
        "metrics": metrics, "history": history,
        "data": {"fingerprint": "f", "source": "s", "split": "contiguous"},
        "attempts": 1, "started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:01:00+00:00",
        "host": "node1", "job_id": "1[4].pbs", "peak_memory_mb": 512.5, "packages": {"numpy": "2"},
        "git": {"commit": "c", "dirty": False}, "device": "cpu",
    }  # fmt: skip


def state_of(entry):
    """A status record as ``jobs.point.attempt`` writes it after an epoch."""
    return {
        "name": entry.name, "key": entry.key, "host": "node1", "pid": 1, "job_id": "1[4].pbs",
        "started": "2026-01-01T00:00:00+00:00", "attempts": 1, "state": "running", "reason": "",
        "updated": "2026-01-01T00:01:00+00:00", "epoch": 1, "epochs": 2, "val_jaccard": 0.2,
        "best_val_jaccard": 0.2, "best_epoch": 1, "epoch_seconds": 3.5,
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """Twelve points; the first has a result."""
    folder = tmp_path_factory.mktemp("hostile")
    write_images(folder / "data")
    (folder / "grid.yaml").write_text(textwrap.dedent(TWELVE))
    run = make_run(load_config(folder / "grid.yaml"), folder / "run", say=lambda text: None).run
    for entry in run.entries:
        run.point_paths(entry).state.mkdir(parents=True)
    write_record(run.point_paths(run.entries[0]).results, result_of(run.entries[0]))
    return run


@pytest.fixture
def run(whole_run, tmp_path):
    """A copy of :func:`whole_run` that a test may ruin."""
    shutil.copytree(whole_run.paths.root, tmp_path / "run")
    return read_run(tmp_path / "run")


def answer(main, *arguments) -> tuple[int, str]:
    """The exit code and what a terminal would show: text that it cannot encode is an error, as there."""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(io.StringIO()):
        code = main([str(argument) for argument in arguments])
    terminal.flush()
    return code, terminal.buffer.getvalue().decode()


def check_commands(run, *, report=False):
    """Every command that reads the run answers as documented, and the summary is whole."""
    root = run.paths.root
    code, _ = answer(collect_command.main, root)
    text = run.paths.summary.read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["index"] for row in rows] == [str(entry.index) for entry in run.entries]
    ended = [row["status"] in ("done", "diverged") for row in rows]
    assert code == (0 if all(ended) else 3 if any(ended) else 4)
    lines = text.splitlines()[1:]
    assert len(lines) == len(rows)  # no cell holds a line break of any kind
    for line, row in zip(lines, rows, strict=True):
        assert row["training_successful"] == str(row["status"] == "done")
        assert line.count("False") == (row["training_successful"] == "False")
    code, shown = answer(status.main, root)
    assert code == 0 and f"of {len(rows)} points" in shown and "\x1b" not in shown and "\0" not in shown
    code, shown = answer(status.main, root, "--json")
    assert code == 0 and json.loads(shown)["total"] == len(rows)
    if report:
        assert answer(analyze.main, root)[0] in (0, 4)
    else:
        frame = load_summary(run.paths.summary)
        assert len(frame) == len(rows)
        # The statistics see numbers only, whatever the files held: the odd summaries below are for them.
        json.dumps(
            [best(frame).fields(), *(one.fields() for one in cautions(frame, ranking(frame)))],
            allow_nan=False,
        ).encode()


def test_a_result_cut_off_at_any_byte_is_a_damaged_result(run):
    path = run.point_paths(run.entries[0]).results
    whole = path.read_bytes()
    for length in range(0, len(whole.rstrip()), 7):
        path.write_bytes(whole[:length])
        found = collect(run)
        assert (found.total, found.with_result) == (12, 0)
    check_commands(run, report=True)


@given(length=st.integers(0, 4000))
@bounded(10)
def test_commands_answer_when_a_record_is_cut_off(run, length):
    paths = run.point_paths(run.entries[1])
    for path, content in (
        (paths.results, result_of(run.entries[1])),
        (paths.status, state_of(run.entries[1])),
    ):
        write_record(path, content)
        path.write_bytes(path.read_bytes()[:length])
    check_commands(run)


@given(changes=mutations)
@bounded(30)
def test_commands_answer_when_bytes_of_the_records_are_changed(run, changes):
    entry = run.entries[1]
    paths = run.point_paths(entry)
    for path, content in ((paths.results, result_of(entry)), (paths.status, state_of(entry))):
        write_record(path, content)
        path.write_bytes(mutated(path.read_bytes(), changes))
    write_record(run.paths.submissions, {"submissions": [{"jobs": [{"id": "1[].pbs", "indices": "1-12"}]}]})
    run.paths.submissions.write_bytes(mutated(run.paths.submissions.read_bytes(), changes))
    check_commands(run)


@given(content=values, key=st.booleans())
@bounded(30)
def test_commands_answer_when_a_file_holds_other_json(run, content, key):
    entry = run.entries[1]
    if isinstance(content, dict) and key:
        content = {**content, "schema": 1, "key": entry.key}
    text = json.dumps(content)  # NaN and Infinity as Python writes them
    paths = run.point_paths(entry)
    for path in (paths.results, paths.status, run.paths.submissions):
        path.write_text(text)
    check_commands(run)


def replaced(keys):
    """Some of ``keys`` with odd values."""
    return st.dictionaries(st.sampled_from(keys), values, max_size=6)


RESULT_KEYS = (
    "index", "name", "reason", "settings", "effective", "metrics", "history", "data", "attempts", "started",
    "ended", "host", "job_id", "peak_memory_mb", "packages", "git", "device", "surprise",
)  # fmt: skip
STATE_KEYS = (
    "name", "key", "host", "pid", "job_id", "started", "attempts", "state", "reason", "updated", "epoch",
    "epochs", "val_jaccard", "best_val_jaccard", "best_epoch", "epoch_seconds", "surprise",
)  # fmt: skip


@given(
    changes=replaced(RESULT_KEYS),
    metrics=replaced((*LEADING, *METRICS)),
    parameters=values,
    outcome=st.sampled_from(("done", "diverged")) | values,
)
@bounded(60)
def test_commands_answer_when_a_whole_result_holds_odd_values(run, changes, metrics, parameters, outcome):
    entry = run.entries[1]
    content = result_of(entry) | {"status": outcome, "effective": {"parameters": parameters}}
    content["metrics"] = content["metrics"] | metrics
    write_record(run.point_paths(entry).results, content | changes)
    check_commands(run)


@given(changes=replaced(STATE_KEYS), state=st.sampled_from(tuple(STATES)) | values)
@bounded(60)
def test_commands_answer_when_a_whole_status_record_holds_odd_values(run, changes, state):
    entry = run.entries[1]
    write_record(run.point_paths(entry).status, state_of(entry) | {"state": state} | changes)
    check_commands(run)


@pytest.mark.parametrize(
    "odd",
    [
        {"epoch_seconds": 1e299, "epoch": -1e299},
        {"epoch_seconds": -1e14, "epoch": 1e14},
        {"best_epoch": 1e299, "val_jaccard": 1e299},
        {"host": "[/]"},
        {"job_id": "[bold]node"},
        {"host": "\ud800", "reason": "\ud800", "job_id": "\udfff"},
        {"reason": "a\x1b[2Jb", "host": "\x1b[2J"},
        {"attempts": False},
        {"updated": "0001-01-01T00:00:00+23:59"},
        {"pid": 10**400, "attempts": 10**400},
    ],
    ids=",".join,
)
@pytest.mark.parametrize("state", ["running", "error"])
def test_status_shows_a_record_with_impossible_values(run, state, odd):
    entry = run.entries[1]
    write_record(run.point_paths(entry).status, state_of(entry) | {"state": state} | odd)
    check_commands(run)


@pytest.mark.parametrize("depth", [100, 450, 900, 950, 970, 980, 985, 990, 995])
@pytest.mark.parametrize("key", ["reason", "host", "metrics", "attempts"])
def test_commands_answer_when_a_value_is_nested_deeply(run, depth, key):
    entry = run.entries[1]
    deep = "[" * depth + "]" * depth
    for path, content in (
        (run.point_paths(entry).results, result_of(entry)),
        (run.point_paths(entry).status, state_of(entry)),
    ):
        text = json.dumps({**content, "schema": 1, key: "HERE"})
        path.write_text(text.replace('"HERE"', deep))
    check_commands(run)


@given(
    submissions=values
    | st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "number": values,
                "collect": values | st.fixed_dictionaries({"id": values}),
                "jobs": values
                | st.lists(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "id": st.sampled_from(("1[].pbs", "2", "3\n")) | values,
                            "indices": st.sampled_from(("1-12", "1-999999999999", "1-" + "9" * 40)) | values,
                        },
                    ),
                    max_size=3,
                ),
            },
        ),
        max_size=3,
    )
)
@bounded(40)
def test_status_answers_when_the_submissions_hold_odd_values(run, submissions):
    write_record(run.paths.submissions, {"submissions": submissions})
    code, shown = answer(status.main, run.paths.root)
    assert code == 0 and "of 12 points" in shown
    code, shown = answer(status.main, run.paths.root, "--json")
    assert code == 0 and json.loads(shown)["total"] == 12


def test_an_array_of_impossible_size_is_left_out_at_once(run):
    jobs = [{"id": "1[].pbs", "indices": "1-999999999999"}, {"id": "2[].pbs", "indices": "1-12"}]
    write_record(run.paths.submissions, {"submissions": [{"jobs": jobs}]})
    assert jobs_of(read_submissions(run)) == [("2[].pbs", tuple(range(1, 13)))]


@pytest.mark.parametrize("job_id", ["9" * 5000, "1[" + "9" * 5000 + "].pbs", "\u0661", ["1"], -1, "1[].[/]"])
def test_the_scheduler_is_asked_about_jobs_that_can_be_jobs(run, pbs, job_id):
    write_record(run.paths.submissions, {"submissions": [{"jobs": [{"id": "1[].pbs", "indices": "1-12"}]}]})
    entry = run.entries[1]
    write_record(run.point_paths(entry).status, state_of(entry) | {"job_id": job_id})
    assert answer(status.main, run.paths.root, "--live")[0] == 0


@given(content=values, changes=mutations, length=st.integers(0, 400))
@bounded(20)
def test_commands_answer_when_a_claim_or_a_status_is_damaged(run, content, changes, length):
    entry = run.entries[2]
    paths = run.point_paths(entry)
    paths.claims.mkdir(parents=True, exist_ok=True)
    write_record(paths.claim(1), {"host": "node1", "pid": 1, "started": content, "job_id": content})
    whole = paths.claim(1).read_bytes()
    for damaged in (whole, whole[:length], mutated(whole, changes), json.dumps(content).encode()):
        paths.claim(1).write_bytes(damaged)
        paths.status.write_bytes(damaged)
        assert answer(status.main, run.paths.root)[0] == 0
        assert answer(status.main, run.paths.root, "--json")[0] == 0
    check_commands(run)


@given(changes=mutations, length=st.integers(0, 4000), noise=st.binary(max_size=60))
@bounded(200)
def test_a_history_keeps_the_epochs_that_can_be_understood(tmp_path, changes, length, noise):
    path = tmp_path / "history.csv"
    rows = [dict.fromkeys(COLUMNS, 0.25) | {"epoch": epoch} for epoch in range(1, 30)]
    whole = history_csv(rows).encode()
    path.write_bytes(whole[:length])
    cut = read_history(path)
    assert cut == rows[: len(cut)] and len(cut) >= min(29, whole[:length].count(b"\n") - 1)
    for content in (
        mutated(whole, changes),
        noise,
        whole + noise,
        whole[: len(whole) - length % 300] + noise,
    ):
        path.write_bytes(content)
        found = read_history(path)
        epochs = [row["epoch"] for row in found]
        assert epochs == sorted(set(epochs)) and all(set(row) == set(COLUMNS) for row in found)
        summarise(found, 30)


# ---- the summary, as analyze.py reads it


@pytest.fixture
def summary(run):
    for entry in run.entries[1:]:
        write_record(run.point_paths(entry).results, result_of(entry))
    collect(run)
    return run.paths.summary


def check_analysis(path):
    try:
        frame = load_summary(path)
    except UserError:
        return
    found = findings(frame, summary=str(path))
    assert max(map(len, report_text(found, frame).splitlines())) <= 100
    json.dumps(found.fields(), allow_nan=False)
    html_page(found, frame, {}, path.parent, path.parent / "analysis", None).encode()


@given(length=st.integers(0, 10_000), changes=mutations)
@bounded(12)
def test_a_summary_cut_off_or_changed_is_read_or_refused(summary, length, changes):
    whole = summary.read_bytes()
    try:
        for content in (whole[: length % len(whole)], mutated(whole, changes)):
            summary.write_bytes(content)
            check_analysis(summary)
    finally:
        summary.write_bytes(whole)


cells = (
    st.sampled_from(
        (*(text for text in ODD_TEXTS if text != "\ud800"), "1e308", "-1e308", "1e-308", "0.5", "8", "")
    )
    | st.text(max_size=20)
    | numbers.map(str)
)


@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, 11),
            st.sampled_from((*LEADING, *METRICS, *TRAILING, "seed", "name", "index")),
            cells,
        ),
        max_size=30,
    ),
    more=st.lists(cells, max_size=2),
)
@bounded(15)
def test_a_summary_with_odd_cells_is_read_or_refused(summary, edits, more):
    whole = summary.read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(whole)))
    for place, column, cell in edits:
        rows[place][column] = cell
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*rows[0], *more])
    writer.writerows([*row.values(), *more] for row in rows)
    try:
        summary.write_bytes(text.getvalue().encode())
        check_analysis(summary)
    finally:
        summary.write_text(whole, encoding="utf-8")


def edit_cells(summary, column, cells):
    rows = list(csv.DictReader(io.StringIO(summary.read_text())))
    for row, cell in zip(rows, cells, strict=False):
        if column in ("architecture", "learning_rate"):
            row["name"] = ""  # or the names would contradict the cells
        row[column] = cell
    with summary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("column", "odd"),
    [
        ("architecture", ["$\\frac$", "a\nb", "\u65e5\u672c", "\0", "x" * 3000]),
        ("data_source", ["$\\frac$"]),
        ("learning_rate", ["1e90", "1e-90", "1"]),
        ("val_loss_stability", ["1e308", "-1e308", "0"]),
        ("val_loss_stability", ["1e308"] * 12),
        ("best_val_jaccard", ["0", "1", "0.5"]),
        ("chance_jaccard", ["0", "1", ""]),
        ("best_epoch", ["1e299"]),
        ("name", ["$a$_$", "\x1b[2J", "=1+1"]),
        ("learning_rate", [str(number / 1000) for number in range(1, 13)]),
        ("architecture", [f"Net{number}" for number in range(12)]),
    ],
)
def test_odd_cells_give_a_whole_report_with_its_figure(summary, column, odd):
    edit_cells(summary, column, odd)
    code, shown = answer(analyze.main, summary.parent)
    assert code == 0 and "\x1b" not in shown and "\0" not in shown
    assert (summary.parent / "analysis" / "detailed_heatmaps.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("column", "odd"),
    [
        ("best_val_jaccard", ["nan"]),
        ("best_val_jaccard", ["2"]),
        ("chance_jaccard", ["-1e308"]),
        ("best_epoch", ["x"]),
        ("learning_rate", ["1e308"]),
        ("learning_rate", ["0"]),
        ("batch_size", ["8.5"]),
        ("status", ["fertig"]),
    ],
)
def test_cells_that_cannot_be_understood_are_refused(summary, column, odd):
    edit_cells(summary, column, odd)
    assert answer(analyze.main, summary.parent)[0] == 2


def test_a_figure_of_very_many_values_stays_small_and_says_so(tmp_path):
    path = tmp_path / "s.csv"
    lines = ["architecture,learning_rate,batch_size,training_successful,best_val_jaccard"]
    lines += [f"UNet,{number / 1e4},{number},True,0.5" for number in range(1, 400)]
    path.write_text("\n".join(lines))
    assert answer(analyze.main, "--summary_file", path)[0] == 0
    assert (tmp_path / "analysis" / "detailed_heatmaps.png").stat().st_size < 5_000_000


def test_rows_longer_than_the_header_are_refused(summary):
    lines = summary.read_text().splitlines()
    summary.write_text("\n".join([lines[0], *(line + ",more" for line in lines[1:])]))
    assert answer(analyze.main, summary.parent)[0] == 2


# ---- a run's own files


def read_or_refuse(root):
    """The run, with every path inside it, or ``None`` where it was refused in words."""
    try:
        found = read_run(root)
    except UserError as error:
        assert 0 < len(str(error)) < 3000
        return None
    for entry in found.entries:
        paths = found.point_paths(entry)
        for path in (paths.log, paths.history, paths.results, paths.model, paths.status, paths.lock):
            assert path.resolve().is_relative_to(root.resolve()) and path.resolve() != root.resolve()
            assert len(path.name.encode()) <= 255
    return found


@given(changes=mutations, length=st.integers(0, 4000), file=st.sampled_from(("index.csv", "provenance.json")))
@bounded(60)
def test_a_changed_index_or_provenance_is_read_or_refused(run, changes, length, file):
    path = run.paths.root / file
    whole = path.read_bytes()
    try:
        for content in (mutated(whole, changes), whole[: length % len(whole)], b""):
            path.write_bytes(content)
            read_or_refuse(run.paths.root)
    finally:
        path.write_bytes(whole)


@given(
    name=st.sampled_from(
        (
            "..",
            "../x",
            "/etc",
            "exp_01_../../x",
            "exp_01_/etc/passwd",
            "exp_01_x\0",
            "exp_01_x\n",
            "exp_01_..",
            "exp_01_" + "x" * 300,
            "exp_01_\uff0e\uff0e",
            "exp_\u0661_x",
            "exp_1_UNet_lr0.0001_bs2",
            "",
        )
    )
    | texts.filter(lambda text: "\ud800" not in text)
    | texts.map(lambda text: "exp_01_UNet_lr0.0001_bs2_" + text).filter(lambda text: "\ud800" not in text)
)
@bounded(60)
def test_a_name_in_the_index_never_leads_out_of_the_run(run, name):
    whole = run.paths.index.read_bytes()
    rows = list(csv.reader(io.StringIO(whole.decode())))
    rows[1][1] = name
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    try:
        run.paths.index.write_bytes(text.getvalue().encode())
        found = read_or_refuse(run.paths.root)
        assert found is None or found.entries[0].name == name
    finally:
        run.paths.index.write_bytes(whole)


@given(data=replaced(("fingerprint", "source", "split")) | values)
@bounded(30)
def test_provenance_of_odd_values_never_crashes_a_command(run, data):
    record = read_record(run.paths.provenance)
    write_record(
        run.paths.provenance, {**record, "data": record["data"] | data if isinstance(data, dict) else data}
    )
    if read_or_refuse(run.paths.root) is not None:
        check_commands(read_run(run.paths.root))
    write_record(run.paths.provenance, record)


# ---- grid.yaml


def load_or_refuse(path):
    try:
        found = load_config(path)
    except UserError as error:
        assert 0 < len(str(error)) < 3000, str(error)[:200]
        return None
    assert isinstance(found, GridConfig)
    return found


AXES = """
hyperparameters:
  architecture: [UNet]
  learning_rate: [1e-3]
  batch_size: [8]
"""


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@bounded(100)
def test_a_grid_of_any_bytes_is_refused_in_words(tmp_path, content):
    path = tmp_path / "grid.yaml"
    path.write_bytes(content)
    load_or_refuse(path)


@given(changes=mutations, length=st.integers(0, 4000))
@bounded(60)
def test_a_changed_grid_is_read_or_refused(tmp_path, changes, length):
    path = tmp_path / "grid.yaml"
    whole = (REPOSITORY / "grid.yaml").read_bytes()
    for content in (mutated(whole, changes), whole[:length]):
        path.write_bytes(content)
        load_or_refuse(path)


SECTION_KEYS = ("hyperparameters", "seed", "exclude", "include", "training", "data", "site")
yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts.filter(lambda text: "\ud800" not in text),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from((*POINT, *DATA, *SITE)) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(sections=st.dictionaries(st.sampled_from(SECTION_KEYS) | st.text(max_size=5), yaml_values, max_size=5))
@bounded(100)
def test_a_grid_of_any_structure_is_read_or_refused(tmp_path, sections):
    path = tmp_path / "grid.yaml"
    axes = {"architecture": ["UNet"], "learning_rate": [1e-3], "batch_size": [8]}
    path.write_text(
        yaml.safe_dump({"hyperparameters": axes, **sections}, allow_unicode=True), encoding="utf-8"
    )
    load_or_refuse(path)


@given(section=st.sampled_from(("training", "data", "site")), data=st.data())
@bounded(100)
def test_any_value_of_any_setting_is_read_or_refused(tmp_path, section, data):
    table = {"training": TRAINING, "data": DATA, "site": SITE}[section]
    key = data.draw(st.sampled_from(tuple(table)))
    value = data.draw(scalars.filter(lambda value: value != "\ud800"))
    path = tmp_path / "grid.yaml"
    path.write_text(AXES + yaml.safe_dump({section: {key: value}}, allow_unicode=True), encoding="utf-8")
    load_or_refuse(path)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch HERE']",
        "seed: !!python/name:os.system",
        "seed: !!python/object/new:pathlib.Path [HERE]",
        "seed: !mine 3",
        "seed: !!timestamp 1",
        "seed: !!timestamp 2026-01-01",
        "seed: !!binary aGVsbG8=",
        "seed: !!set {1, 2}",
        "seed: !!omap [a: 1]",
        "seed: !!pairs [a: 1]",
        "seed: !!bool maybe",
        "seed: !!float ''",
        "seed: !!int ''",
        "seed: !!float _",
        "seed: !!map [1]",
        "seed: !!seq {a: 1}",
        "seed: !!str [1]",
        'seed: "\\UFFFFFFFF"',
        'seed: "\\ud800"',
        'data: {source: files, path: "\\ud800"}',
        'data: {source: files, path: "a\\0b"}',
        "data: {slice_pattern: 'a{99999999999}(b)'}",
        "data: {slice_pattern: '" + "(" * 5000 + ")" * 5000 + "'}",
        "data: {slice_pattern: '([[a])'}",
        "training: {clipnorm: 1" + "0" * 400 + "}",
        "training: {dropout: -1" + "0" * 4000 + "}",
        "seed: " + "9" * 4000,
        "seed: " + "9" * 5000,
        "seed: &a [*a]",
        "seed: &a {b: *a}",
        "&a hyperparameters: *a",
        "? [1, 2]\n: 3",
        "? {a: 1}\n: 3",
        "{[1]: 2}",
        "!!merge <<: {seed: 2}",
        "seed: *nothing",
        "seed: " + "[" * 100 + "]" * 100,
        "seed: " + "[" * 100_000,
        "- " * 3000 + "1",
        "x" * 100_000 + ": 1",
        "seed: [" + "'" + "x" * 100_000 + "'" + "]",
        "--- 1\n--- 2",
        "%YAML 9.9\n--- {}",
    ],
)
def test_a_hostile_document_is_refused_in_words(tmp_path, text):
    path = tmp_path / "grid.yaml"
    text = text.replace("HERE", str(tmp_path / "made"))
    path.write_text(text if text.startswith(("%", "!!", "---")) else AXES + text)
    assert load_or_refuse(path) is None
    assert not (tmp_path / "made").exists()


def laughs(first, pattern, levels):
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} " + pattern.replace("@", f"*a{n - 1}") for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        laughs("[x, x]", "[" + ", ".join(["@"] * 9) + "]", 9),
        laughs("{x: 1}", "{a: @, b: @, c: @, d: @}", 30),
        laughs("[x]", "[@, @]", 9) + "\nseed: [" + ", ".join(["*a8"] * 1000) + "]",
        "? " + laughs("[x]", "[@, @]", 1).split("&a0 ")[1] + "\n: 1",
        "a: &a '" + "x" * 100_000 + "'\nseed: [" + ", ".join(["*a"] * 20_000) + "]",
        "? &a [x, x]\n: &b [*a, *a, *a]\n? &c [*b, *b, *b]\n: &d [*c, *c, *c]\nseed: [*d, *d]",
    ],
)
def test_aliases_that_expand_without_end_are_refused_at_once(tmp_path, text):
    path = tmp_path / "grid.yaml"
    path.write_text(AXES + text)
    assert load_or_refuse(path) is None


def test_a_bomb_is_refused_with_what_it_would_hold(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(laughs("[x, x]", "[" + ", ".join(["@"] * 9) + "]", 9))
    with pytest.raises(UserError, match=rf"line \d+: .*expected at most {MOST_NODES:,}"):
        load_config(path)
    path.write_text(AXES + "seed: &all [1, *all]")
    with pytest.raises(UserError, match="line 6: .*contains itself"):
        load_config(path)


def test_a_plain_alias_is_read(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(
        AXES.replace("[1e-3]", "&rates [1e-3, 1e-2]") + "exclude: [{learning_rate: *rates, batch_size: 8}]"
    )
    assert load_config(path).exclude[0]["learning_rate"] == (1e-3, 1e-2)


def test_a_file_too_large_for_a_grid_is_refused_unread(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("# " + "x" * 2_000_000)
    with pytest.raises(UserError, match="expected at most"):
        load_config(path)


# ---- grid -> index -> name -> key

EXTRA = {
    "base_filters": st.integers(1, 512),
    "dropout": st.floats(0, 0.99),
    "augment": st.booleans(),
    "clipnorm": st.none() | st.floats(1e-3, 1e3),
    "optimizer": st.sampled_from(("adam", "adamw", "sgd", "rmsprop")),
    "precision": st.sampled_from(("float32", "mixed_bfloat16")),
    "epochs": st.integers(1, 100_000),
}


@st.composite
def grids(draw):
    def some(strategy, most=3):
        return draw(st.lists(strategy, min_size=1, max_size=most, unique=True))

    axes = {
        "architecture": some(st.sampled_from(("UNet", "Attention_UNet", "Attention_ResUNet"))),
        "learning_rate": some(st.floats(1e-8, 10)),
        "batch_size": some(st.integers(1, 4096)),
    }
    for key in draw(st.lists(st.sampled_from(tuple(EXTRA)), max_size=2, unique=True)):
        axes[key] = some(EXTRA[key], 2)
    content = {"hyperparameters": axes, "seed": some(st.integers(0, 2**31 - 1), 2)}
    if draw(st.booleans()):
        content["exclude"] = [
            {key: draw(st.sampled_from(axes[key])) for key in ("architecture", "batch_size")}
        ]
    for rate in draw(st.lists(st.floats(1e-8, 10), max_size=2, unique=True)):
        more = draw(st.fixed_dictionaries({}, optional=EXTRA | {"seed": st.integers(0, 9)}))
        content.setdefault("include", []).append(
            {
                "architecture": "UNet",
                "learning_rate": rate,
                "batch_size": 5000 - axes["batch_size"][0] % 900 - 904,
            }
            | more
        )
    return content


def reversed_keys(content):
    if isinstance(content, dict):
        return {key: reversed_keys(content[key]) for key in reversed(content)}
    return [reversed_keys(item) for item in content] if isinstance(content, list) else content


@given(content=grids(), fingerprint=st.text(max_size=10))
@bounded(60)
def test_a_grid_its_index_its_names_and_its_keys_agree(tmp_path, content, fingerprint):
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    config = load_config(path)
    try:
        points = expand(config)
    except UserError as error:
        assert any(
            words in str(error) for words in ("every point is excluded", "already in the grid", "is too long")
        )
        return
    entries = [make_entry(index, point, fingerprint) for index, point in enumerate(points, start=1)]
    assert len({entry.name for entry in entries}) == len({entry.key for entry in entries}) == len(entries)
    assert not set("".join(entry.name for entry in entries)) & set("/\\\0\n\r ")

    paths = RunPaths(tmp_path)
    axes = (*HYPERPARAMETERS, "seed", *extra_axes(config))
    write_index(paths.index, axes, entries)
    write_record(
        paths.provenance, {"data": {"fingerprint": fingerprint, "source": "s", "split": "contiguous"}}
    )
    run = read_run(tmp_path)
    assert run.axes == axes
    assert [(e.index, e.name, e.key, dict(e.point.settings)) for e in run.entries] == [
        (e.index, e.name, e.key, dict(e.point.settings)) for e in entries
    ]
    read_or_refuse(tmp_path)

    for entry in entries:
        again = Point(dict(reversed(entry.point.settings.items())), named=("seed",))
        assert again.key(fingerprint) == entry.key != again.key(fingerprint + "x")
    path.write_text(yaml.safe_dump(reversed_keys(content), sort_keys=False))
    assert {p.key(fingerprint) for p in expand(load_config(path))} == {entry.key for entry in entries}


def listed(count, start=1):
    return "[" + ", ".join(map(str, range(start, start + count))) + "]"


@pytest.mark.parametrize(
    ("text", "points"),
    [
        (
            AXES.replace("[8]", listed(1000)) + f"  epochs: {listed(1000)}\nseed: {listed(1000)}",
            "1,000,000,000",
        ),
        (AXES.replace("[8]", listed(4000)) + f"seed: {listed(26)}", "104,000"),
    ],
)
def test_a_huge_grid_is_refused_before_it_is_made(write_grid, text, points):
    with pytest.raises(UserError, match=f"({points}).*expected at most {MOST_POINTS:,}"):
        expand(load_config(write_grid(text)))


def test_a_long_axis_is_read_in_time(write_grid):
    assert len(expand(load_config(write_grid(AXES + f"seed: {listed(20_000)}")))) == 20_000


def test_a_name_too_long_for_a_file_is_refused(write_grid):
    with pytest.raises(UserError, match="the name .* is too long; expected at most 150 characters"):
        axes = "".join(
            f"  {key}: [{POINT[key].to_text(POINT[key].default)}]\n"
            for key in TRAINING
            if POINT[key].default is not None
        )
        expand(load_config(write_grid(AXES + axes)))
