#!/usr/bin/env python3
"""Analyse the summary of a run: write report.html, a text report, figures (PNG) and analysis_summary.json.

  analyze.py RUN                                    read RUN/hyperparameter_summary.csv, write to RUN/analysis/
  analyze.py --summary_file FILE --output_dir DIR   read any summary, write to any folder
  analyze.py RUN --figures svg,pdf,png              also write every figure for a paper to RUN/analysis/figures/

Exit codes: 0 written; 4 written, but no point was successful;
2 no usable summary (write it with: python collect.py RUN).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

import jobs  # noqa: F401 - first: it checks Python and prepares the process  # isort: skip
from analysis.figures.background import drawing_processes
from analysis.figures.look import FORMATS
from analysis.report.report import Report, write_report
from jobs.common.errors import NOTHING, OK, UserError, path_argument, run_command, shown
from jobs.common.units import plural
from jobs.run.paths import RunPaths


def _formats(text: str | None) -> tuple[str, ...]:
    """The formats in the argument of --figures. Raises :class:`UserError` for an unknown one."""
    if text is None:
        return ()
    formats = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    unknown = [one for one in formats if one not in FORMATS]
    if unknown:
        raise UserError(
            f"--figures: received {shown(text)}; expected one or more of {', '.join(FORMATS)}, separated by commas, "
            "such as --figures svg,pdf"
        )
    return formats


def _answer(report: Report) -> str:
    """The best configuration in one line."""
    example, first = report.best, report.configuration
    if example is None or first is None:
        return "no point was successful; the report gives the reasons"
    level = "" if example.chance_jaccard is None else f" (chance level {example.chance_jaccard:.3f})"
    of, runs = plural(report.successful, "point"), len(first.names)
    if runs > 1:
        return (
            f"best configuration of {of}: {first.settings}: mean val_jaccard {first.mean:.3f} over {runs} runs{level}, "
            f"for example {example.name}: {example.best_val_jaccard:.3f}"
        )
    return f"best of {of}: {example.name}: val_jaccard {example.best_val_jaccard:.3f}{level}"


def main(argv: list[str] | None = None) -> int:
    """Run the command with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", type=Path, nargs="?", help="the run directory")
    parser.add_argument(
        "--summary_file",
        "--summary-file",
        type=path_argument,
        nargs="+",
        metavar="FILE",
        help="the summary, instead of RUN",
    )
    parser.add_argument(
        "--output_dir",
        "--output-dir",
        type=path_argument,
        nargs="+",
        metavar="DIR",
        help="default: analysis/ next to the summary",
    )
    parser.add_argument(
        "--figures",
        metavar="FORMATS",
        help=f"formats of the figures for a paper, separated by commas: {', '.join(FORMATS)}",
    )
    arguments = parser.parse_args(argv)

    def one(option: str, paths: list[Path] | None) -> Path | None:
        if paths is not None and len(paths) > 1:
            raise UserError(
                f"{option}: received {len(paths)} paths ({paths[0]}, {paths[1]}, ...), expected one; give the run directory instead"
            )
        return paths[0] if paths else None

    def command() -> int:
        summary = one("--summary_file", arguments.summary_file)
        if (arguments.run is None) == (summary is None):
            raise UserError("expected either a run directory or --summary_file FILE")
        if summary is None:
            summary = RunPaths(arguments.run).summary
        output = one("--output_dir", arguments.output_dir) or RunPaths(summary.parent).analysis
        formats = _formats(arguments.figures)
        report = write_report(summary, output, processes=drawing_processes(), formats=formats)
        for file in report.files:
            print(file)
        for sentence in report.said:
            print(sentence)
        for figure in report.not_drawn:
            print(f"not drawn: {figure.file}: {figure.why}")
        print(_answer(report))
        return NOTHING if report.best is None else OK

    return run_command("analyze", command)


if __name__ == "__main__":
    sys.exit(main())
