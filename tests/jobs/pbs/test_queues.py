"""What PBS prints about queues, server and nodes, as an OpenPBS 23.06 printed it, and as others may."""

from __future__ import annotations

import json

import pytest

from jobs.pbs.queues import (
    Asker,
    Limit,
    Rules,
    applying,
    parse_nodes,
    parse_queues,
    parse_server,
    size_in_mb,
)

# As printed by OpenPBS 23.06.06: an attribute with several values is several keys.
QUEUES = """{
    "timestamp":1795779076,
    "pbs_version":"23.06.06",
    "Queue":{
        "small":{
            "queue_type":"Execution",
            "total_jobs":0,
            "max_queued":"[o:PBS_ALL=30]",
            "max_queued":"[u:PBS_GENERIC=3]",
            "max_queued":"[u:bob=2]",
            "max_queued_res":{
                "ncpus":"[u:PBS_GENERIC=20]"
            },
            "acl_user_enable":"True",
            "acl_users":"alice,bob@vm",
            "resources_max":{
                "mem":"8gb",
                "ncpus":4,
                "walltime":"01:00:00"
            },
            "resources_min":{
                "walltime":"00:01:00"
            },
            "default_chunk":{
                "Qlist":"small",
                "ncpus":1
            },
            "max_array_size":5,
            "max_run":"[u:PBS_GENERIC=2]",
            "max_run_res":{
                "ncpus":"[u:PBS_GENERIC=2]",
                "mem":"[u:PBS_GENERIC=2gb]"
            },
            "enabled":"True",
            "started":"False"
        },
        "route":{
            "queue_type":"Route",
            "route_destinations":"small,workq",
            "enabled":"False",
            "started":"True"
        }
    }
}"""


def test_a_queue_is_read_with_all_its_limits():
    queues = parse_queues("Maintenance on Friday!\n" + QUEUES)
    small, route = queues["small"], queues["route"]
    assert (small.enabled, small.started, small.routes, small.from_route_only) == (True, False, False, False)
    assert small.rules.most == {"walltime": 3600, "ncpus": 4, "mem": 8192}
    assert small.rules.least == {"walltime": 60} and small.rules.available == {}
    assert small.rules.max_array_size == 5 and small.chunk == {"Qlist": "small"}
    assert small.rules.queued == (
        Limit("o", "PBS_ALL", 30),
        Limit("u", "PBS_GENERIC", 3),
        Limit("u", "bob", 2),
    )
    assert small.rules.running == (Limit("u", "PBS_GENERIC", 2),)
    assert small.rules.queued_amounts == {"ncpus": (Limit("u", "PBS_GENERIC", 20),)}
    assert small.rules.running_amounts == {"ncpus": (Limit("u", "PBS_GENERIC", 2),)}
    assert (small.rules.users, small.rules.groups) == (("alice", "bob@vm"), None)
    assert (route.enabled, route.routes, route.destinations) == (False, True, ("small", "workq"))


def test_limits_of_older_versions_are_one_number():
    text = json.dumps({"Queue": {"q": {"max_user_run": "4", "max_running": 9, "max_queuable": 100}}})
    rules = parse_queues(text)["q"].rules
    assert applying(rules.running, Asker("alice")) == 4 and applying(rules.queued, Asker("alice")) == 100


@pytest.mark.parametrize(
    ("asker", "number"),
    [(Asker("alice"), 3), (Asker("bob"), 2), (Asker("eve", ("lab", "bob")), 3)],
)
def test_a_limit_for_one_user_replaces_the_generic_one(asker, number):
    assert applying(parse_queues(QUEUES)["small"].rules.queued, asker) == number


def test_the_smallest_of_the_limits_of_user_group_project_and_all_applies():
    limits = [
        Limit("u", "PBS_GENERIC", 9),
        Limit("g", "lab", 7),
        Limit("g", "other", 1),
        Limit("p", "p1", 5),
        Limit("o", "PBS_ALL", 8),
    ]
    assert applying(limits, Asker("a")) == 8
    assert applying(limits, Asker("a", ("lab", "other"))) == 7
    assert applying(limits, Asker("a", ("lab",), "p1")) == 5
    assert applying([], Asker("a")) is None


@pytest.mark.parametrize(
    ("users", "groups", "admitted"),
    [
        (None, None, True),
        (("alice", "bob"), None, True),
        (("bob@*",), None, False),
        (("-alice", "*"), None, False),
        (("*@vm",), None, True),
        ((), None, False),
        (None, ("lab",), True),
        (None, ("others",), False),
        (("alice",), ("others",), False),
    ],
)
def test_the_access_lists_of_a_queue_admit_or_not(users, groups, admitted):
    assert Rules(users=users, groups=groups).admits(Asker("alice", ("staff", "lab"))) is admitted


def test_an_access_list_that_is_off_admits_everybody():
    text = json.dumps({"Queue": {"q": {"acl_user_enable": "False", "acl_users": "bob"}}})
    assert parse_queues(text)["q"].rules.admits(Asker("alice"))


def test_the_server_is_read():
    values = {
        "default_queue": "workq",
        "scheduling": "True",
        "max_array_size": 10000,
        "job_history_enable": "True",
    }
    server = parse_server(json.dumps({"Server": {"vm": values}}))
    assert (server.default_queue, server.scheduling, server.history) == ("workq", True, True)
    assert server.rules.max_array_size == 10000
    plain = parse_server(json.dumps({"Server": {"vm": {"scheduling": "False"}}}))
    assert (plain.default_queue, plain.scheduling, plain.history) == (None, False, False)


def node(state="free", **available):
    values = {"ncpus": 8, "mem": "16gb", **available}
    return {"state": state, "queue": available.pop("queue", None), "resources_available": values}


def test_vnodes_of_one_machine_are_put_together_without_those_that_are_down():
    nodes = {
        "a[0]": node(host="a", ngpus=2, Qlist="gpu,all"),
        "a[1]": node(host="a", ngpus=2, Qlist="all"),
        "a[2]": node("offline,job-busy", host="a", ngpus=2),
        "b": node("state-unknown,down", mem="1048576kb"),
        "c": node("job-exclusive", ncpus=0),
        "d": {"state": "free", "resources_available": {"host": "d"}},
    }
    a, b, c = parse_nodes(json.dumps({"nodes": nodes}))
    assert (a.name, a.usable, a.amounts) == ("a", True, {"ncpus": 16, "ngpus": 4, "mem": 32768})
    assert a.named["Qlist"] == {"gpu", "all"}
    assert (b.name, b.usable, b.amounts) == ("b", False, {"ncpus": 8, "mem": 1024})
    assert (c.name, c.usable, c.amounts["ncpus"]) == ("c", True, 0)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "qstat: illegal option -- F",
        "{}",
        "[]",
        '{"Queue": [], "Server": 3, "nodes": "x"}',
        '{"Queue": {}, "Server": {}, "nodes": {}}',
        '{"Queue": {"a":',
        '{"Queue": {"a": 1}, "Server": {"b": null}, "nodes": {"c": []}}',
    ],
)
def test_what_is_not_understood_is_not_known(text):
    assert parse_queues(text) is None and parse_server(text) is None and parse_nodes(text) is None


def test_odd_values_are_left_out():
    odd = {
        "resources_max": {"walltime": "long", "ncpus": "@host", "mem": "8 GB"},
        "max_run": 7,
        "enabled": None,
    }
    rules = parse_queues(json.dumps({"Queue": {"q": odd}}))["q"].rules
    assert rules.most == {} and rules.running == ()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("32gb", 32768),
        ("131072kb", 128),
        ("1tb", 1024**2),
        ("1048576", 1),
        ("2mw", 16),
        ("1048576b", 1),
        ("x", None),
    ],
)
def test_sizes_are_in_mb(text, size):
    assert size_in_mb(text) == size
