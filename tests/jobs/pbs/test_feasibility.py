"""What the queue and the nodes can never run is a failure with a remedy; what is only slow is a warning."""

from __future__ import annotations

import getpass
import json

import pytest

from jobs.pbs.feasibility import QUESTIONS, check_cluster

SERVER = {"default_queue": "workq", "job_history_enable": "True", "max_array_size": 10000}
WORKQ = {"queue_type": "Execution", "enabled": "True", "started": "True"}
NODE = {"state": "free", "resources_available": {"host": "n1", "ncpus": 16, "ngpus": 2, "mem": "64gb"}}


def big(**values):
    return {**WORKQ, **values}


def node(state="free", name="n2", **available):
    return {"state": state, "resources_available": {"host": name, **available}}


@pytest.fixture
def check(tiny_run):
    """A function that returns the lines about a cluster, without those that are ok."""

    def lines(queues=None, server=None, nodes=None, *, ok=False, answers=None, **site):
        tiny_run.site.update(site)
        content = {
            "server": {"Server": {"vm": {**SERVER, **(server or {})}}},
            "queues": {"Queue": {"workq": WORKQ, **(queues or {})}},
            "nodes": {"nodes": nodes or {"n1": NODE}},
        }
        printed = {QUESTIONS[name]: json.dumps(values) for name, values in content.items()}
        printed |= {QUESTIONS[name]: text for name, text in (answers or {}).items()}
        found = check_cluster(tiny_run, lambda *command: printed[command])
        return [f"{level} {text}" for level, text in found if ok or level != "ok"]

    return lines


def test_a_cluster_that_can_run_everything_gives_no_warning(check):
    assert check(ok=True) == [
        "ok PBS: the server remembers jobs that have ended",
        "ok queue: workq (the server's default)",
        "ok nodes: 1 of 1 node can run a sub-job (ncpus=8, ngpus=1, mem=32gb), 2 at a time when nothing else runs",
    ]


def test_a_queue_that_does_not_exist_is_a_failure_that_names_the_others(check):
    (line,) = check(queue="gpu")
    assert line == (
        "FAILURE queue: gpu does not exist; the queues are workq: write one as queue: in the site block"
    )
    (line,) = check(queue=None, server={"default_queue": None})
    assert "FAILURE queue: the server has no default queue; the queues are workq" in line


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"enabled": "False"}, "gpu is disabled, so that PBS refuses jobs"),
        ({"started": "False"}, "gpu is not started, so that jobs wait in it and none runs"),
        ({"from_route_only": "True"}, "gpu takes jobs from a routing queue only"),
        ({"acl_user_enable": "True", "acl_users": "nobody_else"}, f"gpu does not admit {getpass.getuser()}"),
    ],
)
def test_a_queue_that_runs_no_job_is_one_failure_for_array_and_collect_job(check, values, words):
    (line,) = check({"gpu": big(**values)}, queue="gpu")
    assert line.startswith(f"FAILURE queue: {words}")
    assert line.endswith("; workq would take it (queue: in the site block)")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"resources_max": {"walltime": "01:00:00"}},
            "a sub-job requests walltime=04:00:00, and gpu allows at most 01:00:00; request less (walltime: in the site",
        ),
        (
            {"resources_min": {"walltime": "05:00:00"}},
            "a sub-job requests walltime=04:00:00, and gpu requires at least 05:00:00; request more (walltime: in",
        ),
        ({"resources_max": {"ncpus": 4}}, "a sub-job requests ncpus=8, and gpu allows at most 4"),
        ({"resources_max": {"ngpus": 0}}, "a sub-job requests ngpus=1, and gpu allows at most 0"),
        (
            {"resources_available": {"mem": "16gb"}},
            "a sub-job requests mem=32gb, and gpu allows at most 16gb",
        ),
    ],
)
def test_a_request_that_the_queue_never_allows_is_a_failure(check, values, words):
    (line,) = check({"gpu": big(**values)}, queue="gpu", collect_queue="workq")
    assert line.startswith(f"FAILURE queue: {words}")


def test_the_collect_job_is_compared_with_its_own_queue(check):
    lines = check({"short": big(resources_max={"walltime": "00:30:00"})}, collect_queue="short")
    assert lines == [
        (
            "FAILURE queue: the collect job requests walltime=01:00:00, and short allows at most 00:30:00; request less "
            "(collect_walltime: in the site block), or another queue; workq would take it (collect_queue: in the site block)"
        )
    ]


def test_limits_of_the_server_count_as_well(check):
    (line,) = check(server={"resources_max": {"walltime": "02:00:00"}})
    assert "walltime=04:00:00, and the server allows at most 02:00:00" in line


def test_a_routing_queue_is_judged_by_its_destinations(check):
    route = {"queue_type": "Route", "enabled": "True", "started": "True"}
    short, off = big(resources_max={"walltime": "01:00:00"}), big(started="False", from_route_only="True")
    queues = {"short": short, "off": off, "normal": {**route, "route_destinations": "short,off,workq"}}
    assert check(queues, queue="normal") == []
    assert "ok queue: normal passes jobs on to workq" in check(queues, queue="normal", ok=True)
    queues["normal"]["route_destinations"] = "short,off"
    (line, *_) = check(queues, queue="normal")
    assert line.startswith(
        "FAILURE queue: normal passes jobs on to off, short, and none of them runs a sub-job: "
    )
    assert "short allows at most 01:00:00" in line and "off is not started" in line
    queues["normal"]["route_destinations"] = "short,elsewhere@other"
    assert check(queues, queue="normal") == []  # what another server takes is not known
    queues["normal"]["enabled"] = "False"
    assert any(line.startswith("FAILURE queue: normal is disabled") for line in check(queues, queue="normal"))


def test_an_array_larger_than_the_queue_takes_is_a_failure(check):
    lines = check({"gpu": big(max_array_size=1)}, queue="gpu", collect_queue="workq")
    assert lines == [
        (
            "FAILURE arrays: the queue gpu takes arrays of at most 1 sub-job, and the largest of this run has 2; write "
            "max_array_size: 2 in the site block, or job_arrays: false"
        )
    ]
    assert check({"gpu": big(max_array_size=1)}, queue="gpu", job_arrays=False) == []
    lines = check(server={"max_array_size": 1}, queue=None, job_arrays=True, ok=True)
    assert any(line.startswith("ok arrays: jobs.submit makes arrays of at most 1") for line in lines)


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"max_queued": "[u:PBS_GENERIC=2]"}, True),
        ({"max_queued": "[u:PBS_GENERIC=3]"}, False),
        ({"max_queued_res": {"ncpus": "[u:PBS_GENERIC=23]"}}, True),
        ({"max_queued_res": {"ncpus": "[u:PBS_GENERIC=24]"}}, False),
    ],
)
def test_more_jobs_than_may_be_queued_are_a_failure(check, limits, problem):
    for lines in (check({"gpu": big(**limits)}, queue="gpu"), check(server=limits, queue=None)):
        assert len(lines) == problem
        if problem:
            assert (
                "takes at most 2 jobs of yours at a time, queued and running, and the run has 2 points and a"
                in lines[0]
            )
            assert lines[0].startswith("FAILURE jobs: ") and "-m jobs.supervise" in lines[0]
            assert lines[0].endswith(" --max-queued 2")


def test_a_limit_to_which_jobs_supervise_keeps_is_a_warning(check):
    (line,) = check(server={"max_queued": "[u:PBS_GENERIC=2]"}, max_queued=2)
    assert line.startswith("warning jobs: ") and "-m jobs.supervise" in line and "--max-queued" not in line
    (line,) = check(server={"max_queued": "[u:PBS_GENERIC=1]"})
    assert line.startswith("FAILURE jobs: ") and line.endswith(
        "; use another queue (queue: in the site block)"
    )


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            {"max_run": "[u:PBS_GENERIC=1]"},
            "warning jobs: the server runs at most 1 of your 2 points at a time",
        ),
        ({"max_run_res": {"ngpus": "[u:PBS_GENERIC=1]"}}, "warning jobs: the server runs at most 1 of your"),
        ({"max_run": "[u:PBS_GENERIC=0]"}, "FAILURE jobs: the server never runs a sub-job of yours"),
        ({"max_run_res": {"ncpus": "[u:PBS_GENERIC=7]"}}, "FAILURE jobs: the server never runs a sub-job"),
    ],
)
def test_a_limit_on_running_jobs_is_slow_and_none_is_a_failure(check, limits, words):
    (line,) = check(server=limits)
    assert line.startswith(words)
    if "at most" in words:
        assert check(server=limits, max_running=1) == []


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (
            {"n2": node(ncpus=4, ngpus=1, mem="64gb")},
            (
                "no node can ever run a sub-job (ncpus=8, ngpus=1, mem=32gb); the most that one node has is ncpus=4, ngpus=1, "
                "mem=64gb. Request less: ncpus in the site block"
            ),
        ),
        (
            {"n2": node(ncpus=16, mem="64gb"), "n3": node(name="n3", ncpus=4, mem="64gb", ngpus=4)},
            (
                "no node can ever run a sub-job (ncpus=8, ngpus=1, mem=32gb); the most that one node has is ncpus=16, ngpus=4, "
                "mem=64gb, but no node has all of it together. Request less: ncpus, ngpus, mem in the site block"
            ),
        ),
        (
            {"n1": {**NODE, "state": "down,offline"}, "n2": node(ncpus=4, ngpus=1, mem="64gb")},
            (
                "no node can ever run a sub-job (ncpus=8, ngpus=1, mem=32gb); the most that one node has is ncpus=4, ngpus=1, "
                "mem=64gb. n1 could, but not now: down or offline. Request less: ncpus in the site block"
            ),
        ),
        ({"n2": node(ncpus=16, mem="64gb")}, "no node reports GPUs as ngpus"),
    ],
)
def test_a_sub_job_that_no_node_can_run_is_a_failure(check, nodes, words):
    (line,) = check(nodes=nodes)
    assert line.startswith("FAILURE nodes: ") and words in line


def test_all_nodes_down_is_a_failure_for_both_kinds_of_jobs(check):
    lines = check(nodes={"n1": {**NODE, "state": "down"}})
    assert len(lines) == 2 and all(
        "all nodes are down or offline. n1 could, but not now" in line for line in lines
    )


def test_a_collect_job_that_no_node_can_run_is_a_failure(check):
    (line,) = check(collect_mem="65gb")
    assert "no node can ever run the collect job (ncpus=1, mem=65gb)" in line
    assert line.endswith("Request less: collect_mem in the site block")


def test_fewer_places_than_points_are_a_warning(check):
    (line,) = check(ncpus=16)
    assert line.startswith(
        "warning nodes: 1 of 1 node can run a sub-job (ncpus=16, ngpus=1, mem=32gb), 1 at a time"
    )
    assert check(ncpus=16, max_running=1) == []


def test_a_node_for_another_queue_or_of_another_kind_does_not_count(check):
    other = {"n1": {**NODE, "queue": "special"}}
    assert "no node can ever run a sub-job" in check(nodes=other)[0]
    assert check({"special": WORKQ}, nodes=other, queue="special") == []
    kinds = {
        "n1": node(name="n1", ncpus=16, ngpus=2, mem="64gb", Qlist="cpu"),
        "n3": node(name="n3", ncpus=1, mem="9gb"),
    }
    gpu = {"gpu": big(default_chunk={"Qlist": "gpu", "ncpus": 1})}
    (line,) = check(gpu, nodes=kinds, queue="gpu", collect_queue="workq")
    assert (
        "no node can ever run a sub-job" in line and "no node has all of it together with Qlist=gpu" in line
    )


def test_a_server_without_history_or_scheduling_gives_warnings(check):
    lines = check(server={"job_history_enable": "False", "scheduling": "False"})
    assert [line.split(";")[0][:40] for line in lines] == [
        "warning PBS: the server keeps no history",
        "warning PBS: scheduling is switched off ",
    ]


@pytest.mark.parametrize("text", [None, "", "Usage: qstat -f", '{"Jobs": {}}'])
def test_what_pbs_does_not_tell_is_a_warning(check, text):
    lines = check(answers=dict.fromkeys(QUESTIONS, text))
    assert [line.split(":")[0] for line in lines] == ["warning server", "warning queue", "warning nodes"]
    assert all("not known, because" in line and "see it with: " in line for line in lines)
    (line,) = check(answers={"server": text})
    assert line.startswith("warning server")


def test_several_parts_count_together_for_the_queue(check):
    lines = check(
        {"gpu": big(resources_max={"ncpus": 16})}, queue="gpu", select="select=3:ncpus={ncpus}:mem=1gb"
    )
    assert any("a sub-job requests ncpus=24, and gpu allows at most 16" in line for line in lines)
