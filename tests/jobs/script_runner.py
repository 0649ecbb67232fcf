"""The shell scripts, run as PBS runs them: from a copy elsewhere, in $HOME, with PBS's variables."""

from __future__ import annotations

import os
import shutil
import subprocess

from tests.conftest import REPOSITORY


def run_script(name, tmp_path, *arguments, code=0, **variables):
    spool = tmp_path / "spool"
    shutil.copy(REPOSITORY / "jobs" / name, spool)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PBS_O_WORKDIR": str(REPOSITORY),
        "PYTHONSAFEPATH": "1",  # as a user may have it in ~/.bashrc
        **variables,
    }
    answer = subprocess.run(
        ["bash", str(spool), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert answer.returncode == code, answer.stdout + answer.stderr
    return answer.stdout + answer.stderr
