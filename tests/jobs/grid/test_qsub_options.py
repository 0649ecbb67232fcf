"""The options that a site block may add to ``qsub``: the words are read as ``qsub`` reads them, and a table decides."""

from __future__ import annotations

import getopt
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.common.errors import UserError
from jobs.grid.config import load_config
from jobs.grid.qsub_options import (
    _GETOPT,
    ALLOWED,
    ATTRIBUTES,
    KEYS,
    REFUSED,
    check_options,
    option_words,
    problems,
)
from jobs.grid.sites import SITES
from tests.conftest import REPOSITORY, TINY

PROGRAM = "/bin/evil"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-j oe -k oed", ["-j", "oe", "-k", "oed"]),
        ("-joe -koed", ["-j", "oe", "-k", "oed"]),
        ("-l storage=gdata/ab12+scratch/ab12 -l wd", ["-l", "storage=gdata/ab12+scratch/ab12", "-l", "wd"]),
        ("-l place=scatter:excl,jobfs=10GB", ["-l", "place=scatter:excl,jobfs=10GB"]),
        ("-m e -M me@example.org,you@example.org", ["-m", "e", "-M", "me@example.org,you@example.org"]),
        ("-hp -5", ["-h", "-p", "-5"]),
        ("-W group_list=lab,sandbox=PRIVATE", ["-W", "group_list=lab,sandbox=PRIVATE"]),
        ("-A 'ab12' -P ab.12 -q gpu@server -r n -a 2200 -f -c n", None),
    ],
)  # fmt: skip
def test_what_a_user_needs_is_passed_on(text, words):
    assert list(option_words(text)) == (words or shlex.split(text))


@pytest.mark.parametrize(
    "text",
    [
        *(f"-S {PROGRAM}", f"-S{PROGRAM}", f"-hS {PROGRAM}", f"-hS{PROGRAM}", f"-fhS{PROGRAM}", f"'-S' \"{PROGRAM}\""),
        *(f"-j oe -S {PROGRAM}", f"-m e '-S{PROGRAM}'", f"-W Shell_Path_List={PROGRAM}", f"-WShell_Path_List={PROGRAM}"),
        *(f"-W group_list=a,Shell_Path_List={PROGRAM}", f"-W 'group_list=a, Shell_Path_List={PROGRAM}'"),
        *(f"-W 'group_list=\"a\",Shell_Path_List={PROGRAM}'", f"-W ' Shell_Path_List={PROGRAM}'"),
        *(f"-- {PROGRAM}", f"-j oe -- {PROGRAM}", f"-h -- {PROGRAM} x", "--", "-h --", f"{PROGRAM}", f"-j oe {PROGRAM}", "-"),
        *("-v BASH_ENV=/x", "-vLD_PRELOAD=/x", "-V", "-hV", "-h -v A", "-W Variable_List=A=b", "-WVariable_List=A"),
        *("-o /home/me/.bashrc", "-e/home/me/.bashrc", "-W Output_Path=/x", "-W Error_Path=/x", "-R oe", "-W Join_Path=n"),
        *("-W stagein=a@b:/c", "-W stageout=.ssh/id@evil:/x", "-W depend=afterok:1", "-Wdepend=before:1", "-W block=true"),
        *("-W umask=000", "-W run_count=5", "-W interactive=true", "-W pwd", "-Wpwd=", "-W x=y", "-W cred=dce", "-W group_list"),
        *("-N x", "-J 1-9", "-C '#X'", "-I", "-X", "-G", "-z", "-u root", "-t 1-3", "-T /x", "-d /x", "--version", "-x", "-L x"),
        *("-lselect=1", "-l walltime=1", "-l a=b,walltime=9", "-l 'a=b, ncpus=9'", "-l 'a=b walltime=9'", "-l 'a=b  mem=9'", "-l WALLTIME=1", "-l mem=1", "-lngpus=8"),
        *("-l", "-l ''", "-l =a", "-l -S", "-l '; id'", "-q '-S'", "-q 'a b'", "-P '-x'", "-A ''", "-M -x", "-M 'a;id'", "-M '|id'"),
        *("-M 'a b'", "-m x", "-j x", "-k /x", "-a now", "-p x", "-r x", "-h x", "'", "-l 'a=b\u00fc'", "-l 'a=b\n'", "-l 'a=\x1b'"),
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_a_sentence(text):
    with pytest.raises(ValueError, match=r"."):
        option_words(text)


@given(st.lists(st.sampled_from(["-S", "-", "--", "-h", "-hS", PROGRAM, "-S" + PROGRAM, "-W", "-v", "-V", "-j", "oe", "-A", "x",
                                 "-l", "a=b", "-Wgroup_list=a", "-M", "-hhhv", "-m", "e", "-q", "group_list=a"]), max_size=7))  # fmt: skip
def test_whatever_is_accepted_contains_allowed_options_and_their_values_only(words):
    try:
        accepted = option_words(shlex.join(words))
    except ValueError:
        return
    found, rest = getopt.getopt(list(accepted), _GETOPT)
    assert not rest and all(option in ALLOWED for option, _ in found)
    assert PROGRAM not in " ".join(accepted)


def test_each_option_of_qsub_is_decided_in_one_of_the_tables():
    options = {f"-{letter}" for letter in re.findall("[A-Za-z]", _GETOPT)}
    assert options == set(ALLOWED) | {option for option in REFUSED if len(option) == 2 and option != "--"}
    assert not set(ALLOWED) & set(REFUSED) and not {f"-W {name}" for name in ATTRIBUTES} & set(REFUSED)


def test_the_tables_are_in_the_documentation():
    text = (REPOSITORY / "docs/clusters.md").read_text()
    for option in (*ALLOWED, *(option for option in REFUSED if " " not in option)):
        assert f"`{option}`" in text, option


@pytest.mark.parametrize("key", KEYS)
def test_a_grid_with_another_option_is_refused_with_its_line_and_a_run_with_one_can_be_read(write_grid, key):
    path = write_grid(f"{TINY}site:\n  {key}: -S {PROGRAM}\n")
    with pytest.raises(
        UserError, match=rf"grid.yaml line \d+: site.{key}: received '-S {PROGRAM}', expected no -S: "
    ):
        load_config(path)
    site = load_config(path, made=True).site
    assert site[key] == f"-S {PROGRAM}"
    with pytest.raises(UserError, match=rf"RUN/grid.yaml: site.{key}: received "):
        check_options(site, Path("RUN/grid.yaml"))


@pytest.mark.parametrize(
    "line",
    [
        *(f'queue: "x -S {PROGRAM}"', "queue: -S", f"project: 'x -S {PROGRAM}'", "project: -S", "collect_queue: -x"),
        *("mem: 1gb -S /x", 'walltime: "01:00:00 -S /x"', f'select: "select=1 -S {PROGRAM}"', "collect_select: a b"),
        *("container_command: /bin/sh", "container_command: sh", "modules: -x", "modules: a; b", "modules: $(id)"),
        *("container_binds: /a:/b:rw,image-src=/", "container_binds: /a:/b:suid", "container_binds: a", "container_binds: /a:b"),
        *('container: "/a\\nngpus=3"', 'environment: "/a\\x1b[2J"', 'container_binds: "/a\\r"', 'umask: "0777"', 'umask: "0000"', 'umask: "0075"'),
    ],
)  # fmt: skip
def test_words_that_hide_another_option_are_refused(write_grid, line):
    with pytest.raises(UserError, match=rf"site.{line.split(':')[0]}: received "):
        load_config(write_grid(f"{TINY}site:\n  {line}\n"))


def test_the_presets_and_the_defaults_are_accepted(write_grid):
    for preset in SITES:
        more = "project: p1, extra_options: '-l storage=gdata/p1'"
        assert not list(problems(load_config(write_grid(f"{TINY}site: {{preset: {preset}, {more}}}\n")).site))
    binds = "site: {container_binds: '/scratch,~/a:/a:ro, $DATA:/b'}\n"
    assert load_config(write_grid(TINY + binds)).site["container_binds"]
