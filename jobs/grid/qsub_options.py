"""Which options of ``qsub`` a site block may add: those that a user needs, and none that starts a program or opens a file.

``extra_options``, ``array_options``, ``collect_options`` and ``log_options`` are words for ``qsub``, and a run may have been
received from anyone. The words are read as ``qsub`` reads them (``getopt``: ``-S/bin/x`` and ``-hS /bin/x`` are ``-S``, too).
One table says what is allowed, another one why something is not. They are used when ``grid.yaml`` is read to make a run,
and before each ``qsub``. A run that has other options can still be looked at.
"""

from __future__ import annotations

import functools
import getopt
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.common.errors import UserError, shown

KEYS = ("log_options", "extra_options", "array_options", "collect_options")
# Those of OpenPBS 23.06 (qsub.c); a colon means that the option has a value.
_GETOPT = "a:A:c:C:e:fGhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz"


@dataclass(frozen=True)
class Allowed:
    """An option with the form of its whole value (empty: it has none), and what a user needs it for."""

    form: str
    use: str


_MAIL = r"[A-Za-z0-9_][\w.+-]*(@[A-Za-z0-9][\w.-]*)?"
_RESOURCE = r"[A-Za-z][\w.]*(=[ -~]+)?"

ALLOWED: Mapping[str, Allowed] = {
    "-a": Allowed(r"[0-9]{4,12}(\.[0-9]{2})?", "start at night, or after a maintenance"),
    "-A": Allowed(r"[A-Za-z0-9_][\w.@:/+-]*", "the account that pays"),
    "-c": Allowed(r"[nsucw]|[cw]=[0-9]+", "whether PBS itself may write checkpoints"),
    "-f": Allowed("", "no background process of qsub, where a site advises it"),
    "-h": Allowed("", "hold the jobs, and release them by hand"),
    "-j": Allowed(r"oe|eo|n", "one log for output and errors"),
    "-k": Allowed(r"[oed]{1,3}|n", "logs that are written live"),
    "-l": Allowed(rf"{_RESOURCE}(,{_RESOURCE})*", "resources of a site, such as storage=gdata/ab12"),
    "-m": Allowed(r"n|j?[abe]{1,3}|[abe]{1,3}j?", "when a mail is sent"),
    "-M": Allowed(rf"{_MAIL}(,{_MAIL})*", "who gets the mails"),
    "-p": Allowed(r"[+-]?[0-9]{1,4}", "priority among one's own jobs"),
    "-P": Allowed(r"[A-Za-z0-9_][\w.@:/+-]*", "the project, also by the key project"),
    "-q": Allowed(r"@?[A-Za-z0-9_][\w.@-]*", "the queue, also by the key queue"),
    "-r": Allowed(r"[yn]", "whether a job starts again after its node died"),
    "-W": Allowed(r"[ -~]+", "the attributes that ATTRIBUTES lists"),
}

# For -W NAME=VALUE. Every other attribute is refused, also those that have an option of their own (Shell_Path_List is -S).
ATTRIBUTES: Mapping[str, Allowed] = {
    "group_list": Allowed(r"[A-Za-z0-9_][\w.@-]*", "which of one's groups is charged"),
    "sandbox": Allowed(r"PRIVATE|HOME", "a folder of its own for the files that PBS keeps"),
    "tolerate_node_failures": Allowed(r"all|job_start|none", "go on after a node failed"),
}

REFUSED: Mapping[str, str] = {
    "-C": "it decides which lines of the job script are options",
    "-e": "PBS would write to a file of its choice; logs are in RUN/logs, errors with the output (-j oe)",
    "-G": "jobs are not interactive",
    "-I": "jobs are not interactive",
    "-J": "the programs choose the indices; see max_running and max_array_size",
    "-N": "by their names the jobs of a run are found",
    "-o": "PBS would write to a file of its choice; logs are in RUN/logs",
    "-R": "it removes the logs, which say how a job ended",
    "-S": "it names a program that is started in place of the job script's own",
    "-u": "jobs run as the user who submits them",
    "-v": "it passes variables to the job, and some make it start other programs; set them in the environment or a module",
    "-V": "it passes every variable to the job, and some make it start other programs; what jobs need is in environment and modules",
    "-X": "jobs are not interactive",
    "-z": "qsub would print no id, and the job would be on no record",
    "--": "what follows is a program that is started in place of the job script",
    "-W umask": "write umask: in the site block",
    "-W depend": "the programs say which job waits for which",
    "-W stagein": "PBS would copy files of its choice; data are in the run",
    "-W stageout": "PBS would copy files of its choice; results are in the run",
    "-W block": "qsub would wait for the end of the job",
    "-W run_count": "it says how a job ended",
    "-W max_run_subjobs": "write max_running: in the site block",
    "-l select": "write select:, ncpus:, ngpus: and mem: in the site block",
    "-l nodes": "write select: in the site block",
    "-l ncpus": "write ncpus: in the site block",
    "-l ngpus": "write ngpus: in the site block",
    "-l mem": "write mem: in the site block",
    "-l walltime": "write walltime: in the site block",
}


@functools.cache  # a run without job arrays calls qsub for each point
def option_words(text: str) -> tuple[str, ...]:
    """The words for ``qsub`` that ``text`` means: each option by itself, followed by its value.

    Raises ``ValueError`` that says what is expected, and why, for everything that :data:`ALLOWED` does not list.

    >>> option_words("-hm e -l 'storage=gdata/ab12'")
    ('-h', '-m', 'e', '-l', 'storage=gdata/ab12')
    """
    if not text.isprintable():
        raise ValueError("options on one line, without control characters")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"options of qsub, quoted as in a shell ({error})") from None
    try:
        found, rest = getopt.gnu_getopt(words, _GETOPT)
    except getopt.GetoptError as error:
        raise ValueError(f"options of qsub: {error}") from None
    if words.count("--") > sum(value == "--" for _, value in found):
        raise _refused("--", REFUSED["--"])
    if rest:
        raise ValueError(
            f"options only: the word {shown(rest[0])} is none, and qsub would take it for the job script"
        )
    for option, value in found:
        _check(option, value)
    return tuple(word for option, value in found for word in ((option, value) if value else (option,)))


def _check(option: str, value: str) -> None:
    if option in REFUSED:
        raise _refused(option, REFUSED[option])
    allowed = ALLOWED[option]
    if re.fullmatch(allowed.form, value, re.ASCII) is None:
        raise ValueError(f"after {option} ({allowed.use}) a value of its usual form, not {shown(value)}")
    if option == "-W":
        _check_attributes(value)
    if option == "-l":
        # A space separates resources as a comma does: PBS 23.06 takes b of -l 'a=1 b' for one.
        for name in re.findall(r"(?:^|[,\s])\s*([A-Za-z][\w.]*)", value.lower(), re.ASCII):
            if f"-l {name}" in REFUSED:
                raise _refused(f"-l {name}", REFUSED[f"-l {name}"])


def _check_attributes(text: str) -> None:
    for part in text.split(","):
        name, _, value = part.partition("=")
        reason = REFUSED.get(f"-W {name.strip()}")
        if reason is not None:
            raise _refused(f"-W {name.strip()}", reason)
        allowed = ATTRIBUTES.get(name)
        if allowed is None or re.fullmatch(allowed.form, value, re.ASCII) is None:
            raise ValueError(
                f"of -W only {', '.join(ATTRIBUTES)}, each with its value; {shown(part)} is none"
            )


def _refused(option: str, reason: str) -> ValueError:
    return ValueError(f"no {option}: {reason}")


# Words that become the value of one option each: -q, -P, and those that jobs take.
_ONE_WORD = re.compile(r"[A-Za-z0-9_.@][\w.@-]*", re.ASCII)
_MODULES = re.compile(r"[\w./+][\w./+-]*( +[\w./+][\w./+-]*)*", re.ASCII)
_BIND = re.compile(r"(/|~/|\$)[^:]*(:/[^:]*(:(ro|rw))?)?")


def problems(site: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What of the ``site`` block is not used for jobs: the key, its value, and what is expected."""
    for key in KEYS:
        try:
            option_words(site[key] or "")
        except ValueError as error:
            yield key, site[key], f"{error}. docs/clusters.md lists the options"
    for key in ("queue", "collect_queue", "project"):
        if site[key] is not None and _ONE_WORD.fullmatch(site[key]) is None:
            yield key, site[key], "one name of letters, digits and _.@- that is no option"
    if site["umask"] is not None and not int(site["umask"], 8) & 0o002:
        yield "umask", site["umask"], 'an umask that keeps others from writing, such as "0007" or "0022"'
    if site["modules"] is not None and _MODULES.fullmatch(site["modules"]) is None:
        yield "modules", site["modules"], "names of modules, none of which begins with -"
    for bind in (site["container_binds"] or "").split(","):
        if bind and _BIND.fullmatch(bind.strip()) is None:
            yield (
                "container_binds",
                site["container_binds"],
                "folders, separated by commas, each as /FOLDER, /FOLDER:/PLACE or /FOLDER:/PLACE:ro",
            )


def check_options(site: Mapping[str, Any], where: object) -> None:
    """Raise :class:`UserError` where the ``site`` block of the file ``where`` has something that jobs are not given."""
    for key, received, expected in problems(site):
        raise UserError(f"{where}: site.{key}: received {shown(received)}, expected {expected}")
