"""The analysis uses one thread for its small matrices, unless the user has set another number."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

CODE = "import sys, analysis, os; print(os.environ['OPENBLAS_NUM_THREADS'], 'numpy' in sys.modules)"


@pytest.mark.parametrize(("said", "expected"), [(None, "1"), ("7", "7")])
def test_the_number_of_threads_is_set_before_numpy_is_imported_unless_the_user_set_it(said, expected):
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    if said is not None:
        environment["OPENBLAS_NUM_THREADS"] = said
    answer = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == [expected, "False"]
