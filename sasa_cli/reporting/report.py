"""`sasa report`: builds the reports of finished experiments, and checks those that lie on disk."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sasa_cli.errors import SpecError
from sasa_cli.record import atomic_path, make_folder
from sasa_cli.reporting.aggregate import axes_of, cells_of
from sasa_cli.reporting.compare import compare_files
from sasa_cli.reporting.compose import ACCURACY_TITLE, COST_TITLE, caveats, compose
from sasa_cli.reporting.data_tables import results_data, runs_data
from sasa_cli.reporting.figures import figures_of
from sasa_cli.reporting.formats import Table, to_csv, to_latex
from sasa_cli.reporting.html import to_html
from sasa_cli.reporting.markdown import to_markdown_report
from sasa_cli.reporting.results import Results, find_experiments, read_results
from sasa_cli.reporting.tables import cost_table, results_table, summary_table, without_links

Format = Literal["md", "html", "csv", "tex"]
FORMATS: tuple[Format, ...] = get_args(Format)
PATTERNS: dict[Format, tuple[str, ...]] = {
    "md": ("report.md", "figures/*.svg", "figures/*.png"),
    "html": ("report.html", "figures/*.svg", "figures/*.png"),
    "csv": ("tables/*.csv",),
    "tex": ("tables/*.tex",),
}
"""The files that belong to each format, below the report's folder."""


@dataclass(frozen=True)
class ReportResult:
    """What `build_report` did."""

    paths: tuple[Path, ...]
    """Every file written."""
    problems: tuple[str, ...]
    """Files of the results that are missing or broken; the reports name them, too."""
    summaries: tuple[Table, ...]
    """For the terminal: one for each experiment, with a row for each cell."""


def parse_formats(text: str) -> tuple[Format, ...]:
    """`md,html` as formats. Raises `SpecError` for any other than md, html, csv and tex."""
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise SpecError(f"--format: {unknown[0]!r} is not allowed; allowed are {', '.join(FORMATS)}")
    return tuple(kind for kind in FORMATS if kind in names)


def build_report(folders: Sequence[Path], formats: Sequence[Format] = FORMATS) -> ReportResult:
    """Write `report/` of each experiment in `folders`; the same results give the same bytes.

    Files of an earlier report that these results no longer give are removed from `report/`.

    Args:
        folders: Folders of experiments (`results/demo`), or folders of those (`results`).
        formats: What to write; figures come with md and html.

    Raises:
        SpecError: A folder holds no results.
        RunError: The report cannot be written.
    """
    written: list[Path] = []
    experiments: list[tuple[Path, Results]] = []
    for paths in find_experiments(folders):
        results = read_results(paths)
        files = report_files(results, formats)
        _write(paths.report, files)
        _remove_stale(paths.report, files, formats)
        written += [paths.report / name for name in files]
        experiments.append((paths.folder, results))
    return ReportResult(
        paths=tuple(written),
        problems=tuple(f"{folder}: {problem}" for folder, results in experiments for problem in results.problems),
        summaries=tuple(summary_table(results.name, cells_of(results), caveats(results)) for _, results in experiments),
    )


def check_report(folders: Sequence[Path]) -> list[str]:
    """Derive every report on disk again, in the formats that are there; one line for each thing that differs.

    Raises:
        SpecError: A folder holds no results.
    """
    differences: list[str] = []
    for paths in find_experiments(folders):
        present = {file.relative_to(paths.report).as_posix() for file in _made_files(paths.report, FORMATS)}
        formats = [kind for kind in FORMATS if any(Path(name).match(PATTERNS[kind][0]) for name in present)]
        if not formats:
            differences.append(f"{paths.report}: no report here; `sasa report {paths.folder}` builds it")
            continue
        derived = report_files(read_results(paths), formats)
        stored = {name: (paths.report / name).read_bytes() for name in present}
        differences += [f"{paths.report}/{line}" for line in compare_files(stored, derived)]
    return differences


def report_files(results: Results, formats: Sequence[Format]) -> dict[str, bytes]:
    """The files of an experiment's report by their name below its folder; nothing is written."""
    cells = cells_of(results)
    axes = axes_of(results, cells)
    texts: dict[str, str] = {}
    files: dict[str, bytes] = {}
    if "md" in formats or "html" in formats:
        figures = figures_of(cells, axes)
        document = compose(results, cells, axes, figures)
        if "md" in formats:
            texts["report.md"] = to_markdown_report(document)
        if "html" in formats:
            texts["report.html"] = to_html(document)
        for figure in figures:
            texts[f"figures/{figure.name}.svg"] = figure.svg
            files[f"figures/{figure.name}.png"] = figure.png
    if "csv" in formats:
        texts["tables/results.csv"] = to_csv(results_data(cells, axes))
        texts["tables/runs.csv"] = to_csv(runs_data([*(run for cell in cells for run in cell.runs), *results.outside]))
    if "tex" in formats:
        texts["tables/results.tex"] = to_latex(without_links(results_table(cells, axes, ACCURACY_TITLE)))
        texts["tables/cost.tex"] = to_latex(without_links(cost_table(cells, COST_TITLE)))
    return {name: text.encode() for name, text in texts.items()} | files


def _write(report: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        make_folder((report / name).parent)
        with atomic_path(report / name) as temporary:
            temporary.write_bytes(content)


def _remove_stale(report: Path, files: Mapping[str, bytes], formats: Sequence[Format]) -> None:
    for file in _made_files(report, formats):
        if file.relative_to(report).as_posix() not in files:
            file.unlink()


def _made_files(report: Path, formats: Sequence[Format]) -> Iterable[Path]:
    """What reports in these formats have left in `report`."""
    patterns = dict.fromkeys(pattern for kind in formats for pattern in PATTERNS[kind])
    return [file for pattern in patterns for file in sorted(report.glob(pattern))]
