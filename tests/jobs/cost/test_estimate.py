"""The cost of a run, from its files to the command that prints it."""

from __future__ import annotations

import csv
import json
import statistics

import pytest

from jobs import submit
from jobs.common.errors import UserError
from jobs.common.records import read_record, write_record
from jobs.common.shell_words import pasted
from jobs.cost.estimate import _wall_seconds, estimate, longest_first, proposals
from jobs.cost.measurements import kind
from jobs.cost.prediction import guessed
from jobs.cost.requests import walltime_for
from jobs.cost.workload import Workload
from jobs.grid.config import load_config
from jobs.grid.settings import POINT
from jobs.run.create import make_run
from tests.conftest import REPOSITORY, write_images
from tests.jobs.cost.builders import GPU, GRID, failed, finish, measurement, probe_all, write_probe
from unet_models.networks.flops import forward_flops

PREDECESSOR = REPOSITORY.parent / "shared" / "data" / "predecessor" / "results.csv"


@pytest.fixture
def make(tmp_path, write_grid):
    write_images(tmp_path / "data")

    def build(text=GRID, name="run"):
        return make_run(load_config(write_grid(text)), tmp_path / name, say=lambda text: None).run

    return build


def by_name(found):
    return {(cost.settings.architecture, cost.settings.batch_size): cost for cost in found.costs}


def test_without_any_measurement_it_is_a_guess_that_says_so(make, capsys):
    run = make()
    found = estimate(run)
    assert {cost.source for cost in found.costs} == {"flops"} and not found.measured
    assert all(cost.walltime is None and cost.mem is None for cost in found.costs)
    assert "not measured" in found.warnings[0] and "--probe" in found.warnings[0]
    one, other = by_name(found)["UNet", 4], by_name(found)["Attention_ResUNet", 4]
    flops = [forward_flops(name, patch_size=32, base_filters=2) for name in ("UNet", "Attention_ResUNet")]
    assert other.epoch_seconds / one.epoch_seconds == pytest.approx(flops[1] / flops[0])
    assert submit.main([str(run.paths.root), "--estimate"]) == 0
    said = capsys.readouterr().out
    assert "counted FLOPs at 25 % of an NVIDIA A40, not measured: 4 of 4 combinations" in said.replace(
        "\n", " "
    )
    lines = said.splitlines()
    assert f"  python -m jobs.submit --probe {pasted(run.paths.root)}" in lines
    assert max(len(line) for line in lines if "--probe" not in line) <= 110


def test_the_guess_depends_on_the_precision(make):
    run = make(GRID.replace("epochs: 20", "epochs: 20\n  tensor_float_32: false"))
    strict = by_name(estimate(run))["UNet", 4].epoch_seconds
    usual = by_name(estimate(make(name="usual")))["UNet", 4].epoch_seconds
    assert strict / usual == pytest.approx(2)  # the datasheet's 74.8 and 37.4 TFLOP/s


def test_a_probe_gives_times_by_arithmetic(make):
    run = make()
    probe_all(run)
    found = estimate(run)
    cost = by_name(found)["UNet", 8]
    steps, batches = found.patches["train"] // 8, -(-found.patches["validation"] // 16)
    assert cost.epoch_seconds == pytest.approx(steps * 0.5 + batches * 0.25 + 0.1)
    scored = batches + -(-found.patches["train"] // 16)
    assert cost.once_seconds == pytest.approx(11.5 + 3.0 + 5.0 + max(0, scored - 4) * 0.25)
    assert cost.seconds == pytest.approx(cost.once_seconds + 20 * cost.epoch_seconds)
    assert cost.least_seconds == pytest.approx(cost.once_seconds + 11 * cost.epoch_seconds)
    assert (cost.source, cost.device, cost.gpu_memory_mb) == ("probe", "NVIDIA A40", 9000.0)
    assert found.measured and found.hours == pytest.approx(sum(found.durations.values()) / 3600)
    assert (cost.walltime, cost.mem) == (walltime_for(cost.seconds, 1.5), "3gb")


def test_finished_points_are_trusted_more_than_a_probe(make):
    run = make()
    probe_all(run)
    finish(run, 1, each=10.0)
    finish(run, 3, each=14.0)  # the same kind: another rate
    found = by_name(estimate(run))
    cost = found["UNet", 4]
    assert (cost.source, cost.detail) == ("points", "2 finished")
    assert cost.epoch_seconds == pytest.approx(12.0) and cost.once_seconds == pytest.approx(35.0)
    assert cost.slowest_seconds == pytest.approx(35 + 20 * 14)
    assert cost.seconds == 35 + 20 * 12  # 344 s with a margin of 1.25: less than a quarter of an hour
    assert (cost.walltime, cost.mem, cost.gpu_memory_mb) == ("00:15:00", "5gb", 7000.0)
    assert found["UNet", 8].source == "probe"


def test_the_cost_of_all_epochs_follows_from_a_point_that_stopped_early(make):
    run = make()
    finish(run, 1, each=10.0, epochs=4)
    assert by_name(estimate(run))["UNet", 4].seconds == pytest.approx(35 + 20 * 10)


def test_the_last_attempt_of_a_resumed_point_is_not_its_whole_time(make):
    run = make()
    startup = {"import": 4.0, "build": 2.0}
    finish(run, 1, around=-150, resumed=[{"after_epoch": 9}], startup=startup)
    assert by_name(estimate(run))["UNet", 4].once_seconds == pytest.approx(5 + 6)


def test_kinds_without_a_measurement_are_scaled_from_the_nearest_and_say_so(make):
    run = make()
    finish(run, 1, each=10.0)
    found = estimate(run)
    costs = by_name(found)
    other = costs["Attention_ResUNet", 4]
    assert (other.source, other.detail) == ("scaled", "from UNet batch 4") and other.gpu_memory_mb is None
    ratio = forward_flops("Attention_ResUNet", patch_size=32, base_filters=2) / forward_flops(
        "UNet", patch_size=32, base_filters=2
    )
    assert other.epoch_seconds == pytest.approx(10 * ratio)
    assert other.walltime == walltime_for(other.seconds, 2.0) and found.measured


def test_a_measurement_on_a_cpu_is_not_used_for_a_gpu(make):
    run = make()
    finish(run, 1, device="CPU")
    found = estimate(run)
    assert not found.measured and "measured on CPU while the site block requests 1 GPU" in found.warnings[0]
    with pytest.raises(UserError, match="another kind of device"):
        proposals(run, found)
    write_probe(run, measurement(run, 1, **GPU))
    found = by_name(estimate(run))  # all are scaled from the one measurement on a GPU
    assert found["UNet", 8].source == "probe" and found["UNet", 4].detail == "from UNet batch 8"
    without = make(GRID + "site: {ngpus: 0}\n", "cpu")
    finish(without, 1, device="CPU")
    assert estimate(without).measured


def test_what_runs_out_of_memory_in_the_probe_is_named(make):
    run = make()
    oom = failed(run, 0, reason="ResourceExhaustedError: OOM when allocating", **GPU)
    write_probe(run, oom, measurement(run, 1, **GPU))
    found = estimate(run)
    assert by_name(found)["UNet", 4].fault.startswith("oom in the probe on NVIDIA A40 with 45 GB")
    assert any("UNet batch 4: oom in the probe" in text for text in found.warnings)
    finish(run, 1)
    assert by_name(estimate(run))["UNet", 4].fault == ""  # it has been trained since


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (
            "walltime: '00:02:00'",
            r"walltime 00:02:00 is too short .* would end as timeout after about \d+ of 20",
        ),
        ("walltime: '48:00:00'", r'walltime 48:00:00 is more than 4 times .*"00:15:00" is enough'),
        ("mem: 500mb", r"mem 500mb is too small .* 1.0 GB were used. Set mem: 3gb"),
        ("mem: 200gb", r"mem 200gb is more than 4 times .* mem: 3gb is enough"),
    ],
)
def test_too_small_and_too_large_requests_give_a_warning_with_the_value_to_set(make, site, words):
    import re

    defaults = {"walltime": "'00:30:00'", "mem": "4gb"}
    key, value = site.split(": ", 1)
    text = ", ".join(f"{name}: {v}" for name, v in {**defaults, key: value}.items())
    run = make(GRID + f"site: {{{text}}}\n")
    probe_all(run)
    assert re.search(words, " ".join(estimate(run).warnings))
    fine = make(GRID + "site: {walltime: '00:30:00', mem: 4gb}\n", "fine")
    probe_all(fine)
    assert estimate(fine).warnings == ()


def test_the_slowest_of_several_points_raises_the_proposed_walltime(make):
    run = make(GRID.replace("[1e-3, 5e-3]", "[1e-3, 2e-3, 5e-3]"))
    finish(run, 1, each=30.0)
    assert by_name(estimate(run))["UNet", 4].walltime == "00:15:00"  # 1.25 times 635 s, and a minute
    finish(run, 3, each=60.0, around=0.0)
    cost = by_name(estimate(run))["UNet", 4]
    assert (cost.seconds, cost.slowest_seconds) == (pytest.approx(920), pytest.approx(1220))
    # 1.25 times 920 s, and 1.1 times 1,220 s, both with a minute: 1,210 and 1,402 s
    assert cost.walltime == "00:30:00"
    finish(run, 5, each=90.0, around=0.0)
    cost = by_name(estimate(run))["UNet", 4]
    assert (cost.seconds, cost.slowest_seconds) == (pytest.approx(1205), pytest.approx(1805))
    # 1.25 times 1,205 s are 1,506 s: half an hour. 1.1 times 1,805 s are 1,986 s: three quarters.
    assert cost.walltime == "00:45:00"


@pytest.mark.parametrize(
    ("max_running", "expected"),
    [
        (None, {1: 80.0, 4: 20.0, 8: 10.0}),
        (3, {1: 80.0, 3: 30.0, 4: 20.0, 8: 10.0}),
        (100, {1: 80.0, 4: 20.0, 8: 10.0}),
    ],
)
def test_the_wall_time_is_that_of_so_many_points_at_a_time(max_running, expected):
    found = _wall_seconds([10.0] * 8, max_running)
    assert list(found.items()) == list(expected.items())


def test_the_longest_points_start_first_in_the_wall_time():
    assert _wall_seconds([1.0, 1.0, 1.0, 1.0, 4.0], 2)[2] == 4.0  # 5 with the longest last


def test_the_number_of_sub_jobs_is_the_site_s_unless_it_is_given(make):
    run = make(GRID + "site: {max_running: 3}\n")
    assert estimate(run).at_once == 3 and set(estimate(run).wall_seconds) == {1, 3, 4, 8}
    assert estimate(run, max_running=2).at_once == 2
    assert estimate(make(name="free")).at_once is None


def test_points_of_one_kind_with_different_epochs_have_separate_costs(make):
    text = GRID.replace("  epochs: 20\n", "").replace(
        "[4, 8]", "[4, 8]\n  epochs: [10, 20]\n  early_stopping_patience: [3, null]"
    )
    run = make(text)
    probe_all(run)
    found = estimate(run)
    costs = [cost for cost in found.costs if cost.named == "UNet batch 4"]
    assert [cost.epochs for cost in costs] == [10, 20] and len(found.costs) == 8
    once, epoch = costs[0].once_seconds, costs[0].epoch_seconds
    assert [cost.seconds for cost in costs] == [once + 10 * epoch, once + 20 * epoch]
    assert [cost.least_seconds for cost in costs] == [once + 4 * epoch] * 2
    assert [len(cost.indices) for cost in costs] == [4, 4]
    least = sum(
        4 * (2 * cost.once_seconds + (4 + epochs) * cost.epoch_seconds) / 2
        for cost in found.costs
        for epochs in [cost.epochs]
    )
    assert found.least_hours == pytest.approx(least / 3600)
    assert found.hours == pytest.approx(sum(4 * cost.seconds for cost in found.costs) / 3600)


def test_gpu_hours_count_every_gpu_of_a_sub_job(make):
    for ngpus, factor in ((0, 1), (1, 1), (4, 4)):
        found = estimate(make(GRID + f"site: {{ngpus: {ngpus}}}\n", f"run_{ngpus}"))
        assert found.gpu_hours == factor * found.hours


def test_proposals_are_those_of_each_point_s_kind(make):
    run = make()
    with pytest.raises(UserError, match="was not measured, so no walltime can be proposed"):
        proposals(run, estimate(run))
    probe_all(run, peak_host_memory_mb=None)
    finish(run, 1, each=60.0)
    found = proposals(run, estimate(run))
    assert found[1] == found[3] == ("00:30:00", "5gb")  # 1.25 times 1,235 s, and a minute
    assert found[2][1] is None and set(found) == set(range(1, 9))


def test_the_hours_that_remain_are_those_of_points_without_a_result(make, capsys):
    run = make()
    finish(run, 1)
    found = estimate(run)
    assert found.finished == 1 and found.left_hours == pytest.approx(found.hours - found.durations[1] / 3600)
    submit.main([str(run.paths.root), "--estimate", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["finished"] == 1 and content["costs"][0]["source"] == "points" and content["measured"]
    assert content["gpu_hours"] == pytest.approx(found.gpu_hours)


def test_a_result_with_odd_values_is_passed_over(make):
    run = make()
    for index, odd in enumerate(
        (
            {"history": "none"},
            {"history": [{"seconds": -1.0}]},
            {"history": [[1]]},
            {"metrics": {"training_time_seconds": 1e300}},
            {"metrics": None},
        ),
        start=1,
    ):
        finish(run, index, **odd)
    assert {cost.source for cost in estimate(run).costs} == {"flops"}
    run.point_paths(run.entry(1)).results.write_text("{")
    assert estimate(run).finished == 5


def test_a_run_without_its_number_of_patches_is_refused(make, capsys):
    run = make()
    record = read_record(run.paths.provenance)
    del record["data"]["patches"]
    write_record(run.paths.provenance, record)
    assert submit.main([str(run.paths.root), "--estimate"]) == 2
    assert "does not contain the number of patches" in capsys.readouterr().err
    assert longest_first(run, run.entries) == list(run.entries)


def test_a_damaged_probe_is_refused_but_keeps_no_search_from_being_submitted(make, capsys, pbs):
    run = make()
    run.paths.probe.write_text("{}")
    for arguments in (["--estimate"], ["--proposed"]):
        assert submit.main([str(run.paths.root), *arguments]) == 2
        assert "probe.json has schema" in capsys.readouterr().err
    assert submit.main([str(run.paths.root), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("# estimate: none: ") and lines[2].startswith("job=$(qsub ")
    assert submit.main([str(run.paths.root)]) == 0
    assert "note: the longest points are not submitted first" in capsys.readouterr().out


def test_the_longest_points_come_first_and_others_keep_their_order(make):
    run = make(GRID.replace("  base_filters: 2\n", "").replace("[4, 8]", "[4]\n  base_filters: [2, 8]"))
    probe_all(run)
    write_probe(
        run, *(measurement(run, place, step_seconds=float(place + 1), **GPU) for place in (0, 1, 4, 5))
    )
    found = estimate(run).durations
    slow = {index for index, duration in found.items() if duration * 1.25 < max(found.values())}
    order = [entry.index for entry in longest_first(run, run.entries)]
    first = sorted(set(found) - slow)
    assert slow and order[: len(first)] == first and set(order[len(first) :]) == slow
    assert (
        longest_first(run, run.entries[::-1])[0].index == first[-1]
    )  # the order given, where they are alike


@pytest.mark.skipif(not PREDECESSOR.exists(), reason="the old system's results are not part of the product")
@pytest.mark.parametrize("architecture", ["UNet", "Attention_UNet", "Attention_ResUNet"])
def test_the_guess_is_within_its_own_bounds_of_what_the_old_system_took_on_an_a40(architecture):
    """Its third grid: 1,980 patches of 256x256, 15 % of them for validation."""
    with PREDECESSOR.open() as file:
        rows = [r for r in csv.DictReader(file) if r["repeat"] == "3" and r["architecture"] == architecture]
    seen = statistics.median(float(r["training_time_seconds"]) / int(r["epochs_completed"]) for r in rows)
    defaults = {key: setting.default for key, setting in POINT.items()}
    of_kind = kind({**defaults, "architecture": architecture, "batch_size": 16})
    guess = guessed(of_kind, Workload(1683, 297, 0, 256)).epoch
    assert seen / 3 < guess < seen * 3
    print(f"{architecture}: {guess:.0f} s guessed, {seen:.0f} s seen")
