"""Shared by the tests of the analysis."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, whose drawing is four fifths of their time, for tests of what is written in them."""
    monkeypatch.setattr("analysis.report.report.sheet_tasks", lambda _frame, _root: {})
    monkeypatch.setattr("analysis.report.report.chart_tasks", lambda _material: {})
