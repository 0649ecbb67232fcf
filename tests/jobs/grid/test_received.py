"""What a run that came from somebody else would execute is listed before it is."""

from __future__ import annotations

from jobs.grid.config import load_config
from jobs.grid.explain import explain
from jobs.grid.received import code_of, files_of
from tests.conftest import TINY

NAMED = 'site: {environment: "/lab/env", container: /lab/i.sif, modules: cuda/12, container_binds: "/a,/b"}\n'


def test_every_key_that_names_code_is_listed_with_its_value(write_grid):
    config = load_config(write_grid(TINY + NAMED))
    assert [(one.key, one.value) for one in code_of(config.site)] == [
        ("modules", "cuda/12"),
        ("container", "/lab/i.sif"),
        ("container_binds", "/a,/b"),
        ("environment", "/lab/env"),
    ]
    assert [(one.key, one.value) for one in files_of(config.data)] == [("data.path", "data")]
    assert code_of(load_config(write_grid(TINY)).site) == ()


def test_explain_shows_what_would_be_executed_and_read(write_grid):
    said = explain(load_config(write_grid(TINY + NAMED)))
    assert (
        "\n  environment: /lab/env (its Python, with all packages in it, is started by every job)\n" in said
    )
    assert "\n  data.path: data (read by make_grid.py)\n" in said
    sample = TINY.replace("source: files\n  path: data", "source: sample")
    assert "  nothing\n" in explain(load_config(write_grid(sample)))
