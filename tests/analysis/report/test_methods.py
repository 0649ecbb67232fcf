"""The paragraph for a paper states what was done, cites it, and says what is not known."""

from __future__ import annotations

import re

import pytest

from analysis.findings import findings
from analysis.report.methods import BIBTEX, MARKDOWN, methods
from analysis.report.references import BIBLIOGRAPHY
from analysis.summary import load_summary
from jobs.common.records import read
from jobs.common.schema import ProvenanceRecord
from jobs.monitor.summary import collect
from tests.analysis.report.test_report import fail
from tests.analysis.test_edges import grid


def written(tmp_path, content, root=None, provenance=None):
    path = tmp_path / "s.csv"
    content.to_csv(path, index=False)
    frame = load_summary(path)
    files = methods(findings(frame, summary="s", root=root), frame, root, provenance)
    return files[MARKDOWN], files[BIBTEX]


def keys(bibliography):
    return re.findall(r"^@\w+\{(\w+),$", bibliography, flags=re.MULTILINE)


def test_every_citation_has_its_entry_and_every_entry_is_cited(tmp_path):
    text, bibliography = written(tmp_path, grid(seeds=(1, 2, 3)))
    assert set(re.findall(r"@(\w+)", text)) == set(keys(bibliography)) and len(keys(bibliography)) > 10
    assert {"hsu1984", "holm1979", "bouthillier2021", "ronneberger2015"} <= set(keys(bibliography))


def test_a_method_that_was_not_used_is_not_cited(tmp_path):
    text, bibliography = written(tmp_path, grid().query("architecture == 'UNet'"))
    assert "bouthillier2021" not in bibliography and "oktay2018" not in bibliography
    assert "mehta1985" not in bibliography and "Divergence" not in text


def test_counts_and_failures_are_stated(tmp_path):
    content = grid(seeds=(1, 2, 3))
    for row in range(3):
        fail(content, row, "diverged", "nan")
    text, _ = written(tmp_path, content)
    assert "36 configurations, with 108 training runs in total" in text
    assert "105 runs were successful (3 diverged)" in text and "one at chance level" in text
    assert "batch size (8, 16, 32)" in text


def test_what_is_not_known_is_said(tmp_path):
    text, _ = written(tmp_path, grid())
    assert "The training recipe is not known" in text and "versions of the software are not known" in text


def test_the_recipe_and_the_versions_of_a_run_are_stated(tiny_run, tmp_path):
    collect(tiny_run)
    root = tiny_run.paths.root
    provenance = read(tiny_run.paths.provenance, ProvenanceRecord)
    frame = load_summary(tiny_run.paths.summary)
    text = methods(findings(frame, summary="s", root=root), frame, root, provenance)[MARKDOWN]
    settings = tiny_run.entries[0].point.settings
    assert f"at most {settings['epochs']} epochs with the optimizer {settings['optimizer']}" in text
    assert f"base filters {settings['base_filters']}" in text and tiny_run.fingerprint in text
    assert f"numpy {provenance.made[0].packages['numpy']}" in text


@pytest.mark.parametrize("key", BIBLIOGRAPHY)
def test_each_entry_is_valid_bibtex(key):
    entry = BIBLIOGRAPHY[key]
    assert keys(entry) == [key] and entry.count("{") == entry.count("}")
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, flags=re.MULTILINE))
    assert {"author", "title", "year"} <= set(fields) and fields["year"] in key
    assert len(fields) == len(entry.splitlines()) - 2
