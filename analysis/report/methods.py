"""``methods.md``, a paragraph for the methods section of a paper, and ``methods.bib``, the methods that it cites.

Only what is known is stated: settings come from the run's own ``grid.yaml``, versions from its provenance, and methods
from the findings that were computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report.references import BIBLIOGRAPHY
from analysis.schema import Findings
from analysis.statistics.factors import design_columns, label, levels_of, plain_level
from jobs.common.errors import UserError, one_line
from jobs.common.schema import ProvenanceRecord
from jobs.common.units import plural
from jobs.run.index import read_run

MARKDOWN, BIBTEX = "methods.md", "methods.bib"
_ARCHITECTURES = {
    "UNet": "ronneberger2015",
    "Attention_UNet": "oktay2018",
    "Attention_ResUNet": "zhang2018",
}


class _Text:
    """Sentences with the keys of the methods that they cite, in the order of their first use."""

    def __init__(self) -> None:
        self.paragraphs: list[list[str]] = [[]]
        self.cited: list[str] = []

    def say(self, sentence: str, *keys: str) -> None:
        """Add a sentence that cites ``keys``."""
        self.cited += [key for key in keys if key not in self.cited]
        marks = "; ".join(f"@{key}" for key in keys)
        self.paragraphs[-1].append(sentence.removesuffix(".") + (f" [{marks}]" if marks else "") + ".")

    def paragraph(self) -> None:
        """Begin a new paragraph."""
        self.paragraphs.append([])


def methods(
    found: Findings, frame: pd.DataFrame, root: Path | None, provenance: ProvenanceRecord | None
) -> dict[str, str]:
    """The two files by their names.

    ``found`` are the findings of ``frame`` (:func:`analysis.summary.load_summary`). Without a run directory ``root`` or
    its ``provenance`` the text says what is not known. Citations are in Pandoc's notation.
    """
    text = _Text()
    _search(text, found, frame)
    _recipe(text, root)
    _data(text, found, provenance)
    _software(text, provenance)
    text.paragraph()
    _statistics(text, found)
    lines = ["# Methods", ""]
    for sentences in text.paragraphs:
        lines += [" ".join(sentences), ""]
    lines += [f"The references are in {BIBTEX}; the results are in analysis_summary.json.", ""]
    entries = [BIBLIOGRAPHY[key] for key in sorted(text.cited)]
    return {MARKDOWN: "\n".join(lines), BIBTEX: "\n".join(entries)}


def _search(text: _Text, found: Findings, frame: pd.DataFrame) -> None:
    names = [name for name in dict.fromkeys(frame["architecture"]) if name]
    axes = [
        f"{label(name)} ({', '.join(str(plain_level(level)) for level in levels_of(column))})"
        for name, column in design_columns(frame)[0].items()
    ]
    text.say(
        f"We searched {plural(found.configurations_total, 'configuration')}, with {plural(found.points, 'training run')} in "
        f"total, over {'; '.join(axes)}",
        *(_ARCHITECTURES[name] for name in names if name in _ARCHITECTURES),
    )
    other = ", ".join(f"{count} {state}" for state, count in found.status.items() if state != "done")
    text.say(
        f"{plural(found.successful, 'run')} {'was' if found.successful == 1 else 'were'} successful"
        + (f" ({other})" if other else "")
    )
    for axis in found.fictitious:
        text.say(
            f"The {label(axis.axis)} of {plural(axis.points, 'run')} was not the one asked for, so no conclusion about it is drawn"
        )


def _recipe(text: _Text, root: Path | None) -> None:
    settings = _settings(root)
    if settings is None:
        text.say("The training recipe is not known, because the summary is not in a run directory")
        return

    def value(key: str) -> Any:
        return settings.get(key, "varied")

    loss = "lin2017" if settings.get("loss") == "binary_focal_crossentropy" else None
    optimizer = {"adam": "kingma2015", "adamw": "loshchilov2019"}.get(str(settings.get("optimizer")))
    text.say(
        f"Each network was trained for at most {value('epochs')} epochs with the optimizer {value('optimizer')} and the loss "
        f"{value('loss')}",
        *(key for key in (optimizer, loss) if key),
    )
    rest = [
        f"{key.replace('_', ' ')} {setting}"
        for key, setting in sorted(settings.items())
        if key not in ("epochs", "optimizer", "loss", "architecture", "learning_rate", "batch_size", "seed")
    ]
    text.say(f"All other settings were the same for every run: {', '.join(rest)}")


def _settings(root: Path | None) -> dict[str, Any] | None:
    """The settings that all points of the run share; ``None`` if they cannot be read."""
    if root is None:
        return None
    try:
        entries = read_run(root).entries
    except (UserError, OSError):
        return None
    if not entries:
        return None
    return {
        key: setting
        for key, setting in entries[0].point.settings.items()
        if all(entry.point.settings.get(key) == setting for entry in entries)
    }


def _data(text: _Text, found: Findings, provenance: ProvenanceRecord | None) -> None:
    source, split = found.data_source or "not recorded", found.split or "not recorded"
    if provenance is None:
        text.say(
            f"The data source is {one_line(source)} and the split {one_line(split)}; the numbers of patches are not known"
        )
        return
    data = provenance.data
    patches = ", ".join(f"{count} for {part}" for part, count in data.patches.items()) or "not recorded"
    text.say(
        f"The data were {one_line(data.source)} (fingerprint {data.fingerprint}), split {one_line(data.split)}; patches: {patches}"
    )
    for sentence in data.read:
        text.say(one_line(sentence))
    for note in data.notes:
        text.say(one_line(note).rstrip("."))


def _software(text: _Text, provenance: ProvenanceRecord | None) -> None:
    if provenance is None or not provenance.made:
        text.say("The versions of the software are not known")
        return
    made = provenance.made[-1]
    packages = (
        ", ".join(f"{name} {version}" for name, version in sorted(made.packages.items())) or "not recorded"
    )
    text.say(f"Python {made.python or '(version not recorded)'} was used with {packages}")
    if made.git.commit:
        text.say(
            f"The code was that of commit {made.git.commit}{' with uncommitted changes' if made.git.dirty else ''}"
        )


def _statistics(text: _Text, found: Findings) -> None:
    text.say(
        "The score is the Jaccard index of the validation part at the best epoch, from counts summed over all its pixels; the "
        "test part was scored once with the best weights and was not used for any choice"
    )
    near = found.best.indistinguishable
    if near is not None and near.computed:
        text.say(
            f"Configurations were compared by multiple comparisons with the best at 95 % ({near.basis}, {near.df} degrees of "
            "freedom)",
            "hsu1984",
            "hsu1996",
        )
        if near.equal_variances is False:
            text.say("Each configuration has its own variance, shrunk towards a common one", "smyth2004")
        text.say(
            "The score of the best configuration was corrected for its selection by best linear unbiased prediction",
            "robinson1991",
        )
    if found.noise.known and found.noise.sd is not None:
        text.say(f"The standard deviation between runs of a configuration was {found.noise.sd:.4f}")
    if any(one.diverged for one in found.configurations):
        text.say("A diverged run counts as one at chance level in the ranking")
    primary = next(iter(found.anova.values()), None)
    if primary is not None and primary.computed:
        text.say(
            f"Effects on the score were tested by analysis of variance with type {primary.type} sums of squares ({primary.model}); "
            "effect sizes are omega squared with bootstrap intervals",
            "langsrud2003",
            "carpenter1999",
        )
    ranks = next(iter(found.rank_tests.values()), None)
    if ranks is not None and ranks.computed:
        tests = {one.test for one in ranks.factors if one.test}
        keys = [
            key
            for test, key in (("Friedman", "friedman1937"), ("Kruskal-Wallis", "kruskal1952"))
            if test in tests
        ]
        text.say(
            "Rank tests over blocks of the other hyperparameters were used where assumptions failed or points diverged",
            *keys,
        )
    _further_statistics(text, found)


def _further_statistics(text: _Text, found: Findings) -> None:
    if any(pairs.computed for by_factor in found.pairwise.values() for pairs in by_factor.values()):
        text.say(
            "Pairwise differences of adjusted means have simultaneous intervals", "tukey1953", "kramer1956"
        )
    text.say("P values were corrected for the number of tests in each family", "holm1979")
    if found.survival.computed:
        text.say(
            "Epochs to the best score were analysed as censored times by Kaplan-Meier estimates and stratified log-rank tests",
            "kaplan1958",
            "mantel1966",
        )
    if any(one.computed for one in found.failure_tests):
        text.say("Divergence was tested by exact conditional tests within strata", "mehta1985")
    if found.architectures.pairs:
        text.say(
            "Architectures were compared at their own best settings by the probability of outperforming",
            "bouthillier2021",
            "newcombe2006",
        )
    if found.best_of:
        text.say("Expected best scores of a search of n points were computed", "dodge2019", "tang2020")
    if any(one.computed and one.ci is not None for one in found.response):
        text.say(
            "The optimum of the learning rate was estimated from a parabola over its logarithm", "fieller1954"
        )
