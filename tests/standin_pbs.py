"""A stand-in for ``qsub``, ``qstat``, ``qselect``, ``qalter``, ``qdel`` and ``pbsnodes``, like an OpenPBS that was tried.

It accepts and refuses what the real one does and keeps jobs in a JSON file, but runs none of them: a test sets the
state of a sub-job. ``trouble`` makes the next calls of a command fail, hang or print something else, ``slow`` makes
all of them take longer. ``first_only`` makes a bulk ``qstat`` answer for its first job, as development builds do,
``down`` lets no command reach the server. Several processes may call it at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SERVER = "pbshost"
STATE = "jobs.json"
COMMANDS = ("qsub", "qstat", "qselect", "qalter", "qdel", "pbsnodes")
EXECUTION = {"queue_type": "Execution", "enabled": "True", "started": "True"}
NODE = {"arch": "linux", "host": "node1", "mem": "131072000kb", "ncpus": 32, "ngpus": 4, "vnode": "node1"}

_WRAPPER = """#!/bin/sh
exec {python} {script} {home} {command} "$@"
"""


class StandIn:
    """The test's side: installs the commands in ``home/bin`` and sets the state of jobs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.bin = home / "bin"
        self.bin.mkdir(parents=True)
        for command in COMMANDS:
            path = self.bin / command
            path.write_text(
                _WRAPPER.format(python=sys.executable, script=__file__, home=home, command=command)
            )
            path.chmod(0o755)
        self.save(
            {
                "next": 1,
                "limit": 10000,
                "history": True,
                "queues": {"workq": EXECUTION},
                "nodes": {"node1": {"state": "free", "resources_available": NODE}},
                "jobs": {},
                "trouble": {},
                "slow": 0,
                "calls": [],
                "first_only": False,
                "down": False,
            }
        )

    def load(self) -> dict[str, Any]:
        return json.loads((self.home / STATE).read_text())

    def save(self, state: dict[str, Any]) -> None:
        (self.home / STATE).write_text(json.dumps(state))

    def set(self, **values: Any) -> None:
        self.save({**self.load(), **values})

    def calls(self, command: str) -> list[list[str]]:
        return [call[1:] for call in self.load()["calls"] if call[0] == command]

    def trouble(self, command: str, *answers: dict[str, Any]) -> None:
        """The answers to the next calls of ``command``: keys ``code``, ``stdout``, ``stderr``, ``sleep``."""
        state = self.load()
        state["trouble"][command] = list(answers)
        self.save(state)

    def sub_job(self, number: int, index: int, **attributes: Any) -> None:
        """Set attributes of the sub-job ``number[index]``; with ``run_count`` it ran."""
        state = self.load()
        state["jobs"][str(number)]["subjobs"][str(index)].update(attributes)
        self.save(state)

    def job(self, number: int, **attributes: Any) -> None:
        """Set attributes of the array or job as a whole, for example ``comment``, ``job_state`` or ``ctime`` (a number)."""
        state = self.load()
        job = state["jobs"][str(number)]
        job.update(attributes)
        job["attributes"].update(attributes)
        self.save(state)

    def finish(self, number: int, **attributes: Any) -> None:
        """Let the whole job end."""
        state = self.load()
        job = state["jobs"][str(number)]
        job["job_state"] = "F"
        for sub in job["subjobs"].values():
            sub.update({"job_state": "F", "run_count": 1, "Exit_status": 0, **attributes})
        self.save(state)


def _refuse(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


def _options(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    found: dict[str, list[str]] = {}
    rest = []
    words = iter(arguments)
    for word in words:
        if re.fullmatch(r"-[A-Za-z]", word):
            found.setdefault(word[1], []).append(next(words))
        else:
            rest.append(word)
    return found, rest


def _resources(given: list[str]) -> dict[str, str]:
    """``Resource_List`` for the arguments of ``-l``, with the memory of ``select`` as the job's own."""
    found = {}
    for one in given:
        key, _, value = one.partition("=")
        found[key] = value
        if key == "select":
            found.update(re.findall(r"(mem|ncpus|ngpus)=([^:+]+)", value))
    return found


def _qsub(state: dict[str, Any], arguments: list[str]) -> int:
    rest_flags = [word for word in arguments if word == "-h"]
    options, rest = _options([word for word in arguments if word != "-h"])
    if len(rest) != 1 or not Path(rest[0]).is_file():
        return _refuse(f"qsub: script file:: No such file or directory {rest}", 1)
    text = Path(rest[0]).read_text()
    directives = (
        {}
        if options.get("C") == [""]
        else _options(
            [word for line in re.findall(r"^#PBS (.*)$", text, re.MULTILINE) for word in line.split()]
        )[0]
    )
    array = (options.get("J") or directives.get("J") or [None])[-1]
    name = (options.get("N") or directives.get("N") or ["STDIN"])[-1]
    if re.search(r"[/ \[]", name):
        return _refuse("qsub: illegal -N value", 2)
    if any(not one.isascii() or not one.isprintable() for one in options.get("o", [])):
        return _refuse("qsub: illegal -o value\nusage: qsub [-a date_time] [-A account_string]", 2)
    if any(re.search("['\"]", re.sub(r"='[^']*'", "=", one)) for one in options.get("v", [])):
        return _refuse("qsub: cannot send environment with the job", 1)
    indices: list[int] = []
    if array is not None:
        match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?", array)
        if match is None or int(match[1]) >= int(match[2]) or match[3] == "0":
            return _refuse("qsub: illegal -J value", 2)
        indices = list(range(int(match[1]), int(match[2]) + 1, int(match[3] or 1)))
        if len(indices) > state["limit"]:
            return _refuse("qsub: Array job exceeds server or queue size limit", 1)
        if (options.get("r") or directives.get("r") or ["y"])[-1] != "y":
            return _refuse("qsub: Array jobs must be rerunnable", 1)
    number, deleted = state["next"], False
    depend = [one for one in options.get("W", []) if one.startswith("depend=")]
    for dependency in depend:
        for one in dependency.removeprefix("depend=afterany:").split(":"):
            if re.match(r"\d+\[\d+\]", one):
                return _refuse("qsub: Illegal dependency on a sub-job", 1)
            parent = state["jobs"].get(re.match(r"\d+", one)[0])
            # Accepted, and then deleted at once: an unknown id, or an array without its brackets.
            deleted |= parent is None or (bool(parent["subjobs"]) and "[]" not in one)
    state["next"] += 1
    held = bool(depend) and not deleted
    variables = dict(re.findall(r"(\w+)='?([^',]*)'?", ",".join(options.get("v", []))))
    state["jobs"][str(number)] = {
        "id": f"{number}[].{SERVER}" if indices else f"{number}.{SERVER}",
        "name": name,
        "job_state": "F" if deleted else "H" if held or "-h" in rest_flags else "Q",
        "deleted": deleted,
        "depend": depend,
        "variables": options.get("v", []),
        "ctime": time.time(),
        "walltime": next((one[9:] for one in options.get("l", []) if one.startswith("walltime=")), None),
        "submit_arguments": " ".join(arguments),
        "workdir": str(Path.cwd()),
        "subjobs": {str(index): {"job_state": "Q"} for index in indices},
        "attributes": {
            "Job_Name": name,
            "qtime": time.strftime("%a %b %d %H:%M:%S %Y"),
            "Hold_Types": "u" if "-h" in rest_flags else "s" if held else "n",
            "Resource_List": _resources(options.get("l") or directives.get("l") or []),
            "Variable_List": {"PBS_O_WORKDIR": str(Path.cwd()), **variables},
        },
    }
    print(state["jobs"][str(number)]["id"])
    return 0


def _qstat(state: dict[str, Any], arguments: list[str]) -> int:
    if "-B" in arguments:
        print(f"Server             Max   Tot   Que   Run\n{SERVER}                 0     0     0     0")
        return 0
    if "json" in arguments and ("-Bf" in arguments or "-Qf" in arguments):
        history = {"job_history_enable": "True"} if state["history"] else {}
        server = {"default_queue": "workq", "max_array_size": state["limit"], **history}
        server |= state.get("server", {})
        print(json.dumps({"Server": {SERVER: server}} if "-Bf" in arguments else {"Queue": state["queues"]}))
        return 0
    if "-Bf" in arguments:
        print(f"Server: {SERVER}\n    max_array_size = {state['limit']}")
        return 0
    if "json" not in arguments:
        return _as_text(state, arguments)
    ids = [word for word in arguments if word[0].isdigit()]
    if state["first_only"] and "json" in arguments:
        ids = ids[:1]
    head = {"timestamp": 1795485758, "pbs_version": "23.06.06", "pbs_server": SERVER}
    if "-x" in arguments and not state["history"]:
        print(json.dumps(head))
        return _refuse(f"qstat: PBS is not configured to maintain job history {ids[0]}", 0)
    jobs, code = {}, 0
    for name in ids:
        job = state["jobs"].get(re.match(r"\d+", name)[0])
        if job is None or (job["job_state"] == "F" and not state["history"]):
            code = _refuse(f"qstat: Unknown Job Id {name}", 153)
            continue
        if job["job_state"] == "F" and "-x" not in arguments:
            code = _refuse(
                f"qstat: {name} Job has finished, use -x or -H to obtain historical job information", 35
            )
            continue
        jobs[job["id"]] = {
            **job["attributes"],
            "job_state": job["job_state"],
            "Exit_status": 1,
            "array": str(bool(job["subjobs"])),
        }
        for index, sub in job["subjobs"].items() if "-t" in arguments else ():
            # Sub-jobs that never ran carry the parent's exit status.
            jobs[job["id"].replace("[]", f"[{index}]")] = {
                **job["attributes"],
                "Exit_status": 1,
                "comment": "Job Array Began",
                **sub,
            }
    print(json.dumps({**head, **({"Jobs": jobs} if jobs else {})}))
    return code


def _qselect(state: dict[str, Any], arguments: list[str]) -> int:
    options, _ = _options([word for word in arguments if word != "-x"])
    ended = "-x" in arguments and state["history"]
    for job in state["jobs"].values():
        if (job["job_state"] != "F" or ended) and job["name"] in options["N"]:
            print(job["id"])
    return 0


def _as_text(state: dict[str, Any], arguments: list[str]) -> int:
    """``qstat -f ID...`` without JSON. Long lines continue after a line break and a tab."""
    code = 0
    if "-xf" in arguments and not state["history"]:
        return _refuse("qstat: PBS is not configured to maintain job history", 0)
    for name in [word for word in arguments if word[0].isdigit()]:
        number = re.match(r"\d+", name)[0]
        job = state["jobs"].get(number)
        if job is None or (job["job_state"] == "F" and "-xf" not in arguments):
            code = _refuse(f"qstat: Unknown Job Id {name}", 153)
            continue
        attributes = {
            "Job_Name": "unet",
            "job_state": job["job_state"],
            "ctime": time.ctime(job["ctime"]),
            "qtime": time.ctime(job["ctime"]),
            "Resource_List.ncpus": 1,
            "Resource_List.walltime": job["walltime"],
            "Variable_List": ",".join(
                ["PBS_O_HOME=/home/alice", f"PBS_O_WORKDIR={job['workdir']}", *job["variables"]]
            ),
            "Submit_arguments": job["submit_arguments"] if "[]" in name or "[" not in name else None,
        }
        print(f"Job Id: {name}")
        for key, value in attributes.items():
            if value is not None:
                line = f"    {key} = {value}"
                rest = [line[start : start + 70] for start in range(78, len(line), 70)]
                print("\n\t".join([line[:78], *rest]))
        print()
    return code


def _pbsnodes(state: dict[str, Any], arguments: list[str]) -> int:
    print(json.dumps({"timestamp": 1795485758, "nodes": state["nodes"]}))
    return 0


def _qalter(state: dict[str, Any], arguments: list[str]) -> int:
    options, rest = _options(arguments)
    code = 0
    for name in rest:
        job = state["jobs"].get(re.match(r"\d+", name)[0])
        if job is None:
            code = _refuse(f"qalter: Unknown Job Id {name}", 153)
            continue
        if re.match(r"\d+\[\d+\]", name):
            code = _refuse(f"qalter: Invalid request {name}", 156)
            continue
        depends = [one for one in options.get("W", []) if one.startswith("depend=")]
        if job["job_state"] == "F" or (depends and job["job_state"] != "H"):
            code = _refuse(f"qalter: Job has finished {name}", 35)
            continue
        if depends:
            job["depend"] = depends
        job["attributes"]["Resource_List"].update(_resources(options.get("l", [])))
        for one in options.get("W", []):
            if one.startswith("max_run_subjobs="):
                job["attributes"]["max_run_subjobs"] = int(one.partition("=")[2])
    return code


def _qdel(state: dict[str, Any], arguments: list[str]) -> int:
    code = 0
    for name in arguments:
        match = re.match(r"(\d+)(?:\[(\d+)\])?", name)
        job = state["jobs"].get(match[1])
        if job is None:
            code = _refuse(f"qdel: Unknown Job Id {name}", 153)
            continue
        sub = job["subjobs"].get(match[2] or "")
        if job["job_state"] == "F" or (sub is not None and sub["job_state"] in "XF"):
            code = _refuse(f"qdel: Job has finished {name}", 35)
            continue
        for one in [sub] if sub is not None else job["subjobs"].values():
            if one["job_state"] == "R":
                one.update(Exit_status=271)
            one["job_state"] = "X"
        if sub is None:
            # The records of the sub-jobs that had finished are erased.
            job["subjobs"] = {
                i: one for i, one in job["subjobs"].items() if one.get("Exit_status", 271) == 271
            }
        if all(one["job_state"] == "X" for one in job["subjobs"].values()):
            job["job_state"] = "F"
            for one in job["subjobs"].values():
                one["job_state"] = "F"
    return code


@contextlib.contextmanager
def _state(home: Path) -> Iterator[dict[str, Any]]:
    """The state, to be changed by this process alone."""
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = json.loads((home / STATE).read_text())
        yield state
        # As a whole: a command may be killed.
        new = home / f"{STATE}.new"
        new.write_text(json.dumps(state))
        new.replace(home / STATE)


def main(home: Path, command: str, arguments: list[str]) -> int:
    code = 0
    with _state(home) as state:
        state["calls"].append([command, *arguments])
        queue = state["trouble"].get(command, [])
        answer = queue.pop(0) if queue else None
        slow = state["slow"]
        if answer is None and state["down"]:
            answer = {
                "code": 255,
                "stderr": f"Connection refused\n{command}: cannot connect to server {SERVER} (errno=15010)\n",
            }
        if answer is None:
            commands = {"qsub": _qsub, "qstat": _qstat, "qselect": _qselect, "qalter": _qalter, "qdel": _qdel}
            code = {**commands, "pbsnodes": _pbsnodes}[command](state, arguments)
    time.sleep(slow)
    if answer is not None:
        time.sleep(answer.get("sleep", 0))
        sys.stdout.write(answer.get("stdout", ""))
        sys.stderr.write(answer.get("stderr", ""))
        code = answer.get("code", 1)
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
