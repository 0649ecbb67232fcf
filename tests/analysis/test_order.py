"""No result depends on the order of the rows or columns of a summary."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.findings import findings
from analysis.summary import load_summary
from tests.analysis.report.test_report import PREDECESSOR
from tests.analysis.test_edges import grid


def unrelated():
    content = grid(seeds=(1, 2, 3))
    return content.assign(seed=np.arange(100, 100 + len(content)))


def diverging():
    content = grid(seeds=(1, 2, 3)).astype({"best_val_jaccard": float})
    bad = content.index[content["learning_rate"] == 5e-3][::2]
    content.loc[bad, ["training_successful", "status"]] = ["False", "diverged"]
    content.loc[bad, "best_val_jaccard"] = np.nan
    return content


CASES = {
    "one seed": grid(),
    "three seeds": grid(seeds=(1, 2, 3)),
    "unrelated seeds": unrelated(),
    "missing points": grid(seeds=(1, 2, 3)).drop(index=[3, 17, 40, 41]),
    "diverged points": diverging(),
    "further axes": pd.concat(
        [grid().assign(dropout=rate, optimizer=name) for rate in (0.0, 0.5) for name in ("sgd", "adam")]
    ),
    "ties": grid(seeds=(1, 2)).assign(best_val_jaccard=lambda f: f["best_val_jaccard"].round(1)),
    "ignored learning rates": grid().assign(learning_rate_logged_epoch1=0.001),
    "other architectures": grid().assign(architecture=lambda f: f["architecture"].str.replace("UNet", "Net")),
}


def found_in(path):
    return findings(load_summary(path), summary="s").fields()


def assert_same(one, other, place=""):
    if isinstance(one, dict):
        assert list(one) == list(other), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), place
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{place}[{number}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-9, abs=1e-12), place
    else:
        assert one == other, place


@pytest.mark.parametrize("content", CASES.values(), ids=CASES)
def test_shuffled_rows_and_columns_give_the_same_findings(tmp_path, content):
    path = tmp_path / "s.csv"
    content = content.reset_index(drop=True)
    content["index"] = np.arange(1, len(content) + 1)
    content["name"] = [f"exp_{n:03d}_point" for n in content["index"]]
    content.to_csv(path, index=False)
    expected = found_in(path)
    rng = np.random.default_rng(0)
    for without in ((), ("index",)):
        kept = content.drop(columns=list(without))
        if without:
            kept.to_csv(path, index=False)
            expected = found_in(path)
        shuffled = kept.iloc[rng.permutation(len(kept)), rng.permutation(kept.shape[1])]
        shuffled.to_csv(path, index=False)
        assert_same(expected, found_in(path))


def test_the_predecessors_rows_may_be_in_any_order(tmp_path):
    if not PREDECESSOR.is_file():
        pytest.skip(f"the predecessor's results are not at {PREDECESSOR}")
    content = pd.read_csv(PREDECESSOR, dtype=str)
    path = tmp_path / "s.csv"
    content.sample(frac=1, random_state=3).to_csv(path, index=False)
    assert_same(found_in(PREDECESSOR), found_in(path))
