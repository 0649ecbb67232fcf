"""What job scripts take from the site block is data: known keys whose values have a form, from a file that no stranger wrote."""

from __future__ import annotations

import os
import random
import re
import subprocess
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.run.site_file import site_names, site_text, site_variables, write_site
from tests.conftest import REPOSITORY
from tests.jobs.script_runner import run_script

KEYS = ("MODULES", "CONTAINER", "CONTAINER_COMMAND", "CONTAINER_BINDS", "ENVIRONMENT", "NGPUS", "UMASK")
SCRIPTS = ("train_array.pbs", "collect.pbs", "probe.pbs", "verify_setup.sh")
SHARED = ("shared_group", "why_not")  # functions that each script has before it finds the library
STRANGER = 54321  # a user and a group that nobody is


def read_site(root, code=0, **variables):
    """The values that a script gets for the run at ``root`` by key; or, with ``code``, what it says."""
    shown = "; ".join(f"printf '%s\\0' \"$SITE_{key}\"" for key in KEYS)
    script = f"set -euo pipefail; source jobs/environment.sh; find_repository; read_site; {shown}"
    given = {
        "PATH": os.environ["PATH"],
        "HOME": "/home/me",
        "REPOSITORY": str(REPOSITORY),
        "RUN_DIR": str(root),
        **variables,
    }
    answer = subprocess.run(
        ["bash", "-c", script], cwd=REPOSITORY, env=given, capture_output=True, timeout=60, check=False
    )
    assert answer.returncode == code, answer
    if code:
        return answer.stderr.decode()
    values = answer.stdout.decode("utf-8", errors="surrogateescape").split("\0")[:-1]
    return dict(zip(KEYS, values, strict=True))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    return folder


def test_values_arrive_as_they_are_written(root):
    (root / "site.conf").write_text(
        '# a comment\n\nmodules=singularity cuda/12.5  gcc+x\ncontainer=/a b/it\'s "$" `x`;*.sif\ncontainer_command=apptainer\n'
        "container_binds=/scratch,/d=e:/f:ro\nenvironment=/\u00fcmlaut\\n\nngpus=0\numask=0007\n"
    )
    assert read_site(root) == {
        "MODULES": "singularity cuda/12.5  gcc+x",
        "CONTAINER": '/a b/it\'s "$" `x`;*.sif',
        "CONTAINER_COMMAND": "apptainer",
        "CONTAINER_BINDS": "/scratch,/d=e:/f:ro",
        "ENVIRONMENT": "/\u00fcmlaut\\n",
        "NGPUS": "0",
        "UMASK": "0007",
    }


def test_the_file_of_an_older_version_is_read_as_data(root):
    (root / "site.sh").write_text(
        "# Made from the site block\nSITE_QUEUE=gpu\nSITE_MODULES='a b'\nSITE_CONTAINER='/it'\"'\"'s $(x)'\nSITE_NGPUS=2\n"
        "SITE_CONTAINER_BINDS=''\nSITE_ENVIRONMENT=/a-b\nSITE_UMASK=0022\n"
    )
    found = read_site(root)
    assert found["MODULES"] == "a b" and found["CONTAINER"] == "/it's $(x)" and found["NGPUS"] == "2"
    assert found["CONTAINER_COMMAND"] == "singularity" and found["ENVIRONMENT"] == "/a-b"
    (root / "site.conf").write_text("ngpus=0\n")
    assert read_site(root)["NGPUS"] == "0"  # the newer file counts


def test_without_a_file_the_defaults_are_used(root):
    assert read_site(root) == {
        **dict.fromkeys(KEYS, ""),
        "CONTAINER_COMMAND": "singularity",
        "NGPUS": "1",
        "ENVIRONMENT": str(REPOSITORY / ".venv") if (REPOSITORY / ".venv/bin/python").exists() else "",
    }


@pytest.mark.parametrize(
    "line",
    [
        *("touch MARK", "SITE_MODULES=$(touch MARK)", "SITE_MODULES=`touch MARK`", "SITE_MODULES=a; touch MARK"),
        *("SITE_MODULES='a'; touch MARK", "SITE_MODULES='a'\"$(touch MARK)\"", "SITE_MODULES='a'$(touch MARK)'b'"),
        *("SITE_MODULES='a' touch MARK", 'SITE_MODULES="a"', "SITE_MODULES='a", "SITE_MODULES='a'b'"),
        *("export SITE_MODULES=a", "SITE_MODULES+=a", "SITE_X=a", "SITE_A[$(touch MARK)]=a", "PATH=/x", "SITE_=a"),
        *("SITE_MODULES=$'a'", "SITE_MODULES=a\\b", "SITE_UMASK=0777", "SITE_NGPUS=x[$(touch MARK)]", "SITE_NGPUS=-1"),
        *("SITE_MODULES='$(touch MARK)'", "SITE_MODULES=-x", "SITE_CONTAINER_COMMAND=/bin/sh", "SITE_CONTAINER=/a\x1b[2J"),
        *("site_modules=a", "SITE_QUEUE='a -S /x'"),
    ],
)  # fmt: skip
def test_anything_else_in_an_old_file_is_refused_with_its_line(root, tmp_path, line):
    mark = tmp_path / "mark"
    (root / "site.sh").write_text("# old\n" + line.replace("MARK", str(mark)) + "\n")
    said = read_site(root, code=2)
    assert "site.sh line 2: received " in said and "\x1b" not in said and len(said.splitlines()) == 1
    assert not mark.exists()


@pytest.mark.parametrize(
    "line",
    [
        *("touch MARK", "modules=$(touch MARK)", "modules=*", "modules=a;b", "modules=a -x", "=a",
        "@=a",
        "*=a", "none=a"),
        *("umask=0777", "umask=22", "umask=0700", "ngpus=a[$(touch MARK)]", "ngpus=1 ", "container_command=bash"),
        *("container_command=./singularity", "BASH_ENV=/x", "PATH=/x", "environment=/a\x07", "environment=/a\x00b", "MODULES=a"),
        *("x[$(touch MARK)]=a", "modules =a", " modules=a", "SITE_MODULES=a", "container=/a\r"),
    ],
)  # fmt: skip
def test_unknown_keys_and_values_of_another_form_are_refused_with_their_line(root, tmp_path, line):
    mark = tmp_path / "mark"
    (root / "site.conf").write_text("ngpus=1\n" + line.replace("MARK", str(mark)) + "\n")
    said = read_site(root, code=2)
    assert "site.conf line 2: received " in said and re.search("expected|correct it", said)
    assert not mark.exists()


def test_only_home_and_variables_of_the_environment_are_replaced(root):
    (root / "site.conf").write_text(
        "environment=~/${A}x$B/$(touch x)$/~/\ncontainer=$A\ncontainer_binds=~/a,$A:/b,/c\n"
    )
    found = read_site(root, A="/one", B="two")
    assert found["ENVIRONMENT"] == f"{REPOSITORY}/home/me//onextwo/$(touch x)$/~/".replace(
        str(REPOSITORY), ""
    )
    assert found["CONTAINER"] == "/one" and found["CONTAINER_BINDS"] == "/home/me/a,/one:/b,/c"
    (root / "site.conf").write_text("environment=/x/$A\n")
    assert read_site(root, A="~/$B `id`")["ENVIRONMENT"] == "/x/~/$B `id`"  # once only
    said = read_site(root, code=2)
    assert "environment: /x/$A contains $A, which is not set on" in said
    (root / "site.conf").write_text("environment=/x/$repository\n")  # of the script, not of the environment
    assert "is not set on" in read_site(root, code=2)


def test_messages_do_not_show_the_values_of_variables(root, tmp_path):
    (root / "site.conf").write_text("environment=/x/$KEPT\n")
    said = run_script("train_array.pbs", tmp_path, RUN_DIR=str(root), KEPT="hunter2", code=2)
    assert "the environment /x/$KEPT has no bin/python" in said and "hunter2" not in said


def fifo(path):
    os.mkfifo(path)


def sparse(path):
    with path.open("wb") as file:
        file.truncate(8 * 2**30)


def link(path):
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.write_text("ngpus=0\n")
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("name", ["site.conf", "site.sh"])
@pytest.mark.parametrize(
    "kind", [fifo, sparse, link, lambda path: path.symlink_to("/none"), lambda path: path.mkdir()]
)
def test_a_file_that_is_none_is_refused_at_once(root, name, kind):
    kind(root / name)
    said = read_site(root, code=2)
    assert str(root / name) in said and len(said.splitlines()) == 1
    assert "expected the file that make_grid.py wrote" in read_site(root, code=2, TRUST="yes")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_file_that_anyone_may_write_is_not_used_by_a_job_that_was_submitted_by_hand(root, tmp_path, script):
    (root / "site.conf").write_text("environment=/of/a/stranger\n")
    (root / "site.conf").chmod(0o666)
    given = {"RUN_DIR": str(root), "REPOSITORY": str(REPOSITORY)}
    said = run_script(script, tmp_path, code=1 if script == "verify_setup.sh" else 2, **given)
    assert (
        "site.conf: anyone may write it" in said and "TRUST=yes" in said and "has no bin/python" not in said
    )
    said = run_script(script, tmp_path, code=1 if script == "verify_setup.sh" else 2, TRUST="yes", **given)
    assert "the environment /of/a/stranger has no bin/python" in said
    (root / "site.conf").chmod(0o644)
    root.chmod(0o777)
    said = run_script(script, tmp_path, code=1 if script == "verify_setup.sh" else 2, **given)
    assert f"{root}: anyone may write it" in said


def test_make_environment_and_the_check_ask_for_trust(root, tmp_path):
    (root / "site.conf").write_text("container=/of/a/stranger\n")
    (root / "site.conf").chmod(0o666)
    for name, code in (("make_environment.sh", 2), ("verify_setup.sh", 1)):
        command = ["bash", f"jobs/{name}", str(root)]
        answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        said = answer.stdout + answer.stderr
        assert answer.returncode == code and "anyone may write it" in said and f"{name} --trust RUN" in said
        command.insert(2, "--trust")
        answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert "container /of/a/stranger does not exist" in (answer.stdout + answer.stderr).replace(
            ": /", " /"
        )


@pytest.fixture
def as_root():
    if os.geteuid() != 0:
        pytest.skip("only root can give files to other users")


def test_a_file_of_another_user_is_used_in_a_folder_that_the_group_shares_only(root, as_root):
    file = root / "site.conf"
    file.write_text("ngpus=3\n")
    own = os.getegid()
    os.chown(file, STRANGER, own)
    assert "site.conf: it belongs to" in read_site(root, code=2)
    assert read_site(root, TRUST="yes")["NGPUS"] == "3"
    os.chown(root, STRANGER, own)
    assert f"{root}: it belongs to" in read_site(root, code=2)
    root.chmod(0o2770)
    file.chmod(0o660)
    assert read_site(root)["NGPUS"] == "3"
    for folder_mode, file_mode in ((0o2777, 0o660), (0o770, 0o660), (0o2750, 0o660), (0o2770, 0o666)):
        root.chmod(folder_mode)
        file.chmod(file_mode)
        read_site(root, code=2)
    root.chmod(0o2770)
    file.chmod(0o660)
    os.chown(root, STRANGER, STRANGER)
    root.chmod(0o2770)
    assert f"{root}: it belongs to" in read_site(root, code=2)  # not a group of this user


def test_a_file_that_a_group_of_strangers_may_write_is_refused(root, as_root):
    file = root / "site.conf"
    file.write_text("ngpus=3\n")
    os.chown(file, 0, STRANGER)
    file.chmod(0o664)
    assert "may write it" in read_site(root, code=2)
    file.chmod(0o644)
    assert read_site(root)["NGPUS"] == "3"


def test_a_run_that_another_user_made_asks_for_trust(tiny_run):
    root = tiny_run.paths.root
    root.chmod(0o755)
    record = tiny_run.paths.provenance.read_text()
    assert read_site(root)["NGPUS"] == "1"
    changed, times = re.subn('"user": "[^"]*"', '"user": "somebody"', record)
    assert times == 1
    tiny_run.paths.provenance.write_text(changed)
    assert f'{root} was made by "somebody", and jobs start the programs that site.conf' in read_site(
        root, code=2
    )
    assert read_site(root, TRUST="yes")["NGPUS"] == "1"
    root.chmod(0o2770)  # the group's word
    assert read_site(root)["NGPUS"] == "1"


def test_a_job_of_the_commands_has_its_values_and_reads_no_file(tiny_run):
    run = replace(
        tiny_run, site={**tiny_run.site, "environment": '/it\'s, a \\ "$X" ~ \u00fc + %41', "ngpus": 0}
    )
    given = site_variables(run)
    assert re.fullmatch(r"[A-Za-z0-9/._%:+-]+", given["SITE_BLOCK"])
    fifo(run.paths.root / "site.sh")
    (run.paths.site).write_text("environment=/of/a/stranger\n")
    found = read_site(run.paths.root, X="/y", **given)
    assert found["ENVIRONMENT"] == f'{REPOSITORY}//it\'s, a \\ "/y" ~ \u00fc + %41'.replace(
        f"{REPOSITORY}/", ""
    )
    assert (found["NGPUS"], found["CONTAINER_COMMAND"], found["MODULES"]) == ("0", "singularity", "")


@pytest.mark.parametrize(
    "text",
    ["", "x", "modules:a;b", "modules:a b", "PATH:/x", "environment:$(id)", "ngpus:%", "ngpus:1+umask"],
)
def test_what_was_passed_is_checked_in_the_same_way(root, text):
    assert "SITE_BLOCK: received" in read_site(root, code=2, SITE_BLOCK=text)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1).filter(lambda text: text.isprintable() and text.strip()))
def test_every_path_arrives_whole_by_both_ways(tiny_run, text):
    path = "/" + text.replace("$", "S")
    run = replace(tiny_run, site={**tiny_run.site, "environment": path})
    write_site(run)
    assert site_text(run.paths.root, run.site) == run.paths.site.read_text()
    assert read_site(run.paths.root)["ENVIRONMENT"] == path
    assert read_site(run.paths.root, **site_variables(run))["ENVIRONMENT"] == path


PIECES = [
    *("SITE_", "modules", "container", "environment", "ngpus", "umask", "container_binds", "=", "=", "=", "\n", "\n", "SITE_MODULES="),
    *("'", '"', "'\"'\"'", "$(touch MARK)", "`touch MARK`", "${x[$(touch MARK)]}", "a[$(touch MARK)]", "touch MARK", "export "),
    *("$", "{", "}", "[", "]", "\\", "*", "~/", "/", "a", "0022", "1", "\x1b[2J", "\0", "\r", " ", "\t", ";", "|", "&", "<", ">"),
    *("@", "%", "%24", "+", ":", "\u00e9", "\udcff", "BASH_ENV", "PATH", "#", "!", "--", "-x", "$HOME", "${HOME}", ".sif"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["site.conf", "site.sh", "SITE_BLOCK"])
def test_no_text_is_executed_or_ends_a_script_without_a_sentence(root, tmp_path, name):
    mark, chance = tmp_path / "mark", random.Random(name)
    script = "set -euo pipefail; source jobs/environment.sh; find_repository; read_site"
    for _ in range(60):
        text = "".join(chance.choices(PIECES, k=chance.randint(1, 25))).replace("MARK", str(mark))
        given = {
            "PATH": os.environ["PATH"],
            "HOME": "/me",
            "REPOSITORY": str(REPOSITORY),
            "RUN_DIR": str(root),
        }
        if name == "SITE_BLOCK":
            given[name] = text.replace("\0", "")
        else:
            (root / name).write_bytes(text.encode(errors="surrogateescape"))
        answer = subprocess.run(
            ["bash", "-c", script], cwd=REPOSITORY, env=given, capture_output=True, timeout=60, check=False
        )
        lines = answer.stderr.splitlines()
        assert (answer.returncode, len(lines)) in ((0, 0), (2, 1)), (text, answer)
        assert not mark.exists() and b"\x1b" not in answer.stderr, text


def test_variables_that_are_folders_go_with_the_job_and_no_others(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("QUOTED", f"{tmp_path},'")
    site = {
        **tiny_run.site,
        "environment": "$SCRATCH/${SECRET}/$QUOTED/$MISSING",
        "container_binds": "${SCRATCH}",
    }
    assert site_names(replace(tiny_run, site=site)) == ["SCRATCH"]
    assert "hunter2" not in site_text(tiny_run.paths.root, site)


def test_only_the_commands_write_what_jobs_execute(tiny_run):
    tiny_run.paths.root.chmod(0o2770)
    write_site(tiny_run)
    assert tiny_run.paths.site.stat().st_mode & 0o777 == 0o640


def repository_of_a_stranger(folder, mark):
    (folder / "jobs").mkdir(parents=True)
    (folder / "jobs" / "environment.sh").write_text(f"touch {mark}\n")
    (folder / "run_point.py").touch()
    return folder


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_folder_above_the_one_of_qsub_is_not_searched(script, tmp_path):
    mark = tmp_path / "mark"
    below = repository_of_a_stranger(tmp_path / "a", mark) / "below"
    below.mkdir()
    code = 1 if script == "verify_setup.sh" else 2
    said = run_script(script, tmp_path, PBS_O_WORKDIR=str(below), code=code)
    assert "call qsub in the folder that contains run_point.py" in said and not mark.exists()


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("part", [".", "jobs", "jobs/environment.sh"])
def test_a_repository_in_which_anyone_may_write_is_not_used(script, part, tmp_path):
    mark = tmp_path / "mark"
    place = repository_of_a_stranger(tmp_path / "a", mark)
    (place / part).chmod(0o1777)
    code = 1 if script == "verify_setup.sh" else 2
    said = run_script(script, tmp_path, PBS_O_WORKDIR=str(place), code=code)
    assert "anyone may write it" in said and "REPOSITORY=/its/path" in said and not mark.exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_repository_of_a_stranger_is_used_where_it_is_named_only(script, tmp_path, as_root):
    mark = tmp_path / "mark"
    place = repository_of_a_stranger(tmp_path / "a", mark)
    os.chown(place / "jobs", STRANGER, STRANGER)
    code = 1 if script == "verify_setup.sh" else 2
    said = run_script(script, tmp_path, PBS_O_WORKDIR=str(place), code=code)
    assert "it belongs to" in said and not mark.exists()


def test_a_copy_of_the_repository_in_the_project_folder_of_a_group_is_used(tmp_path, as_root):
    mark = tmp_path / "mark"
    project = tmp_path / "project"
    place = repository_of_a_stranger(project / "a", mark)
    for path in (place, place / "jobs", place / "jobs/environment.sh"):
        os.chown(path, STRANGER, os.getegid())
    project.chmod(0o2770)
    answer = run_script("probe.pbs", tmp_path, PBS_O_WORKDIR=str(place), code=127)  # it defines no function
    assert mark.exists() and "find_repository: command not found" in answer


def test_all_scripts_and_their_library_check_in_the_same_way():
    found = set()
    for name in (*SCRIPTS, "environment.sh"):
        text = (REPOSITORY / "jobs" / name).read_text()
        functions = [
            re.search(rf"^{one}\(\) \{{\n.*?^\}}\n", text, re.MULTILINE | re.DOTALL)[0] for one in SHARED
        ]
        found.add(tuple(functions))
    assert len(found) == 1


def test_a_mark_goes_through_no_link_and_waits_for_no_pipe(root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    target.write_text("mine")
    (root / "site.conf").write_text("environment=/none\n")
    job = {"RUN_DIR": str(root), "PBS_JOBID": "9[2].x", "PBS_ARRAY_ID": "9[].x", "PBS_ARRAY_INDEX": "2"}
    (root / "logs").symlink_to(outside)
    run_script("train_array.pbs", tmp_path, code=2, **job)
    assert not list(outside.iterdir())
    (root / "logs").unlink()
    (root / "logs").mkdir()
    for place in (lambda path: path.symlink_to(target), fifo):
        place(root / "logs" / ".array_9")
        run_script("train_array.pbs", tmp_path, code=2, **job)
        assert target.read_text() == "mine"
        assert [path.name for path in (root / "logs").iterdir()] == [".array_9"]
        assert not (root / "logs" / ".array_9").is_symlink()
        assert (root / "logs" / ".array_9").read_text() == "9[].x\n"
        (root / "logs" / ".array_9").unlink()


def test_what_is_printed_controls_no_terminal(tmp_path):
    root = tmp_path / "run\x1b[2J\x9b31m\u202e\u00fc"
    root.mkdir()
    said = run_script("train_array.pbs", tmp_path, RUN_DIR=str(root / "none"), code=2)
    assert "is not a folder" in said and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", said)
    (root / "site.conf").write_text("environment=/none\n")
    said = run_script("verify_setup.sh", tmp_path, RUN_DIR=str(root), REPOSITORY=str(REPOSITORY), code=1)
    assert "run: " in said and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", said)
