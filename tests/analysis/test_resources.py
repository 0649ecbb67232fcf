"""Resources requested come from the records of submissions, resources used from the summary; nothing is guessed."""

from __future__ import annotations

import json

import pytest

from analysis.findings import findings
from analysis.report.report import write_report
from analysis.report.text import WIDTH, report_text
from analysis.resources import requested, resources
from analysis.summary import load_summary
from jobs.common.records import write_record
from jobs.common.schema import Requested, SubmittedJob
from tests.analysis.report.test_report import frame

MORE = {
    "epochs_requested": 30,
    "epochs_completed": 15,
    "training_time_seconds": 3000.0,
    "wall_seconds": 3100.0,
    "earlier_seconds": 0.0,
    "peak_memory_mb": 10240.0,
    "peak_host_memory_mb": 6144.0,
    "gpu_utilisation_percent": 80.0,
    "attempts": 1,
    "device": "NVIDIA A40",
}


def submissions(root, *jobs):
    write_record(root / "submissions.json", {"submissions": [{"number": 1, "jobs": list(jobs)}]})


def job(number, indices, walltime="04:00:00", mem="32gb", **more):
    asked = {"walltime": walltime, "mem": mem, "ncpus": 8, "ngpus": 1}
    return {"id": f"{number}[].server", "indices": indices, "asked": asked, **more}


@pytest.fixture
def loaded(tmp_path):
    def load(content):
        content.to_csv(tmp_path / "hyperparameter_summary.csv", index=False)
        return load_summary(tmp_path / "hyperparameter_summary.csv")

    return load


def twelve(**more):
    content = frame().assign(**{**MORE, **more})
    content["job_id"] = [f"7[{index}].server" for index in content["index"]]
    return content


def by_kind(found):
    return {(row.architecture, row.batch_size): row for row in found.rows}


def test_requests_come_from_the_submissions_and_use_from_the_points(tmp_path, loaded):
    submissions(tmp_path, job(6, "1-12", "99:00:00"), job(7, "1-5:2", "02:00:00", "16gb"), job(7, "2-12:2"))
    content = twelve()
    content.loc[0, "wall_seconds"] = 3600.0
    found = resources(loaded(content), tmp_path)
    rows = by_kind(found)
    row = rows["UNet", 8]
    assert (row.walltime_asked, row.mem_asked, row.points) == ("02:00:00", "16gb", 3)
    assert (row.seconds_median, row.seconds_longest) == (3100.0, 3600.0)
    assert row.seconds_all_epochs == pytest.approx(6600.0)  # 15 of 30 epochs were trained
    assert row.next_walltime == "02:30:00" and row.next_mem == "9gb"
    assert (row.gpu_memory_mb, row.gpu_utilisation_percent) == (10240.0, 80.0)
    assert rows["UNet", 16].walltime_asked == "04:00:00"
    assert found.hours_used == pytest.approx((11 * 3100 + 3600) / 3600) and found.hours_lost == 0
    # the record of this job does not contain points 7, 9 and 11
    assert found.notes == (
        "3 points from jobs without a record (submitted by hand), so the request is not known",
    )


def test_a_local_run_has_no_walltime_and_a_note_explains_it(tmp_path, loaded):
    content = twelve(device="CPU", peak_memory_mb=6144.0).assign(job_id="")
    found = resources(loaded(content), tmp_path)
    assert found.notes[0].startswith("12 points from a local run, which requests no walltime and no memory")
    assert all(row.walltime_asked is None and row.gpu_memory_mb is None for row in found.rows)
    assert not found.gpu and found.rows[0].next_walltime == "02:15:00"


def test_time_of_attempts_without_a_result_is_lost_unless_the_point_resumed(tmp_path, loaded):
    content = twelve()
    content.loc[0, ["status", "training_successful", "wall_seconds", "earlier_seconds"]] = [
        *("error", "False"),
        1800.0,
        900.0,
    ]
    content.loc[1, ["wall_seconds", "earlier_seconds"]] = [
        1500.0,
        2000.0,
    ]  # of 3000 s of training, 1500 before
    content.loc[2, ["attempts", "earlier_seconds"]] = [3, None]
    found = resources(loaded(content), tmp_path)
    assert found.hours_lost == pytest.approx((1800 + 900 + 500) / 3600)
    assert found.hours_used == pytest.approx((1800 + 900 + 1500 + 2000 + 10 * 3100) / 3600)
    assert any("1 point had earlier attempts whose time was not recorded" in note for note in found.notes)


def test_the_attempt_that_is_running_is_not_lost_but_earlier_ones_are(tmp_path, loaded):
    content = twelve()
    content.loc[0, ["status", "training_successful", "wall_seconds", "earlier_seconds"]] = [
        *("running", "False"),
        1800.0,
        4000.0,
    ]
    content.loc[0, "training_time_seconds"] = 2500.0  # 700 of them in earlier attempts
    found = resources(loaded(content), tmp_path)
    assert found.hours_lost == pytest.approx((4000 - 700) / 3600)
    assert found.hours_used == pytest.approx((4000 + 1800 + 11 * 3100) / 3600)


def test_every_gpu_of_a_point_is_counted(tmp_path, loaded):
    one = job(7, "1-12")
    one["asked"]["ngpus"] = 2
    submissions(tmp_path, one)
    found = resources(loaded(twelve()), tmp_path)
    assert found.hours_used == pytest.approx(2 * 12 * 3100 / 3600)


def test_the_request_of_an_older_record_is_read_from_its_command():
    command = ("qsub", "-J", "1-3", "-l", "select=1:ncpus=8:mem=110gb:ngpus=1", "-l", "walltime=08:00:00")
    expected = Requested(walltime="08:00:00", mem="110gb")
    assert requested(SubmittedJob(id="7", indices="1-3", command=command)) == expected
    odd = Requested(walltime="soon", mem="1e9", ngpus=1001)
    assert requested(SubmittedJob(id="7", indices="1-3", asked=odd, command=command)) == expected
    assert requested(SubmittedJob(id="7", indices="1-3", asked=odd)) == Requested()


@pytest.mark.parametrize(
    "content",
    [
        frame(),
        twelve().assign(wall_seconds="soon"),
        twelve().assign(wall_seconds=-5),
        twelve().head(0),
    ],
)
def test_a_summary_without_times_gives_the_reason(tmp_path, loaded, content):
    found = resources(loaded(content), tmp_path)
    assert found.computed is False and "no point has a recorded time" in found.reason


@pytest.mark.parametrize(
    "record",
    ["{", '{"schema": 1}', "[]"],
)
def test_a_damaged_record_of_submissions_is_reported(tmp_path, loaded, record):
    (tmp_path / "submissions.json").write_text(record)
    found = resources(loaded(twelve()), tmp_path)
    assert found.notes[0].startswith("the requested resources are not known: ")
    assert all(row.walltime_asked is None for row in found.rows)


@pytest.mark.parametrize(
    "jobs", [3, [None], [{"id": 5}], [{"id": "7[].x", "indices": "all"}], [{"id": "7", "indices": 9}]]
)
def test_odd_submissions_are_ignored(tmp_path, loaded, jobs):
    write_record(tmp_path / "submissions.json", {"submissions": [{"jobs": jobs}, None]})
    assert all(row.walltime_asked is None for row in resources(loaded(twelve()), tmp_path).rows)


def test_odd_values_in_the_summary_do_not_end_the_report(tmp_path, loaded):
    content = twelve().astype(object)
    content.loc[0, ["earlier_seconds", "epochs_completed", "attempts", "job_id"]] = ["x", 0, "many", "7[x]"]
    content.loc[1, ["training_time_seconds", "peak_host_memory_mb", "device"]] = [1e90, -1, None]
    content.loc[2, ["wall_seconds", "epochs_requested"]] = ["inf", 1e99]
    found = resources(loaded(content.drop(columns=["gpu_utilisation_percent"])), tmp_path)
    json.dumps(found.fields(), allow_nan=False)
    assert found.computed and len(found.rows) == 4


def test_huge_numbers_stay_in_their_columns(tmp_path, loaded):
    """A batch size of a hundred digits, found by test_hostile_files."""
    content = twelve(peak_host_memory_mb=9.9e7, peak_memory_mb=9.9e7, wall_seconds=9.9e7).astype(object)
    content.loc[0, "batch_size"] = 1e99
    content.loc[1:, "job_id"] = ""
    found = findings(loaded(content), summary="x", root=tmp_path)
    assert max(map(len, report_text(found, loaded(content)).splitlines())) <= WIDTH
    json.dumps(found.fields(), allow_nan=False)


def test_the_reports_have_the_section(tmp_path, loaded):
    submissions(tmp_path, job(7, "1-12"))
    (tmp_path / "index.csv").write_text("")
    loaded(twelve())
    write_report(tmp_path / "hyperparameter_summary.csv", tmp_path / "analysis")
    text = (tmp_path / "analysis" / "comprehensive_analysis_report.txt").read_text()
    assert max(map(len, text.splitlines())) <= WIDTH
    words = " ".join(text.split())
    assert (
        "RESOURCES: REQUESTED AND USED" in text
        and "10.33 GPU hours used, 0.00 of them without a result" in words
    )
    assert (
        'Next time, request for all epochs: walltime: "02:15:00", mem: 9gb (requested: 04:00:00, of which the longest'
        in words
    )
    assert "UNet 8 3 04:00:00 52 min 52 min 32gb 6.0 GB 10.0 GB" in words
    page = (tmp_path / "analysis" / "report.html").read_text()
    assert 'id="resources"' in page and "walltime requested" in page and "04:00:00" in page
    found = json.loads((tmp_path / "analysis" / "analysis_summary.json").read_text())
    assert found["resources"]["rows"][0]["walltime_asked"] == "04:00:00"


def test_points_that_failed_for_lack_of_resources_are_counted(tmp_path, loaded):
    content = twelve()
    content.loc[[0, 1], ["status", "training_successful"]] = ["oom", "False"]
    content.loc[2, ["status", "training_successful"]] = ["timeout", "False"]
    notes = " ".join(resources(loaded(content), tmp_path).notes)
    assert "2 points ran out of memory" in notes and "1 point stopped at the walltime" in notes
    content["status"], content["training_successful"] = "error", "False"
    assert resources(loaded(content), tmp_path).rows == ()
