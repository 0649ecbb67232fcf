from __future__ import annotations

import pytest

from tests.conftest import write_images


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "data")
    return tmp_path / "data"
