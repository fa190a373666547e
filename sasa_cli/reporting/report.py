"""`sasa report`: builds the reports of finished experiments, and checks those that lie on disk."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sasa_cli.errors import SpecError
from sasa_cli.rendering.csv import to_csv
from sasa_cli.rendering.html import to_html
from sasa_cli.rendering.latex import to_latex
from sasa_cli.rendering.markdown import to_markdown_report
from sasa_cli.rendering.table import Table
from sasa_cli.reporting.check import compare_files
from sasa_cli.reporting.evidence.material import Material, single, united
from sasa_cli.reporting.evidence.results import Results, find_experiments, read_results
from sasa_cli.reporting.pages.compose import compose, summaries_of, tables_of
from sasa_cli.reporting.pages.figures import figures_of
from sasa_cli.runs.files import atomic_path, make_folder

Format = Literal["md", "html", "csv", "tex", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)
PATTERNS: dict[Format, tuple[str, ...]] = {
    "md": ("report.md", "figures/*.svg"),
    "html": ("report.html", "figures/*.svg"),
    "csv": ("tables/*.csv",),
    "tex": ("tables/*.tex",),
    "png": ("figures/*.png",),
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
    verdicts: tuple[Table, ...]
    """For the terminal: one for each report that tests a claim, with a row for each such claim."""


def parse_formats(text: str) -> tuple[Format, ...]:
    """`md,html` as formats. Raises `SpecError` for any other than md, html, csv, tex and png."""
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise SpecError(f"--format: {unknown[0]!r} is not allowed; allowed are {', '.join(FORMATS)}")
    return tuple(kind for kind in FORMATS if kind in names)


def build_report(
    folders: Sequence[Path], formats: Sequence[Format] = FORMATS, *, out: Path | None = None
) -> ReportResult:
    """Write `report/` of each experiment in `folders`, and one of all where there are several.

    The same results give the same bytes. Files of an earlier report that these results no longer give are removed.

    Args:
        folders: Folders of experiments (`results/demo`), or folders of those (`results`).
        formats: What to write; figures come with md and html as SVG, with png as pixels, too.
        out: Where the `report/` of several experiments goes; None: into the folder that holds them all.

    Raises:
        SpecError: A folder holds no results, or `out` is given for one experiment or is one itself.
        RunError: The report cannot be written.
    """
    written: list[Path] = []
    experiments, reports = _reports(folders, out)
    for report, material in reports:
        files = report_files(material, formats)
        _write(report, files)
        _remove_stale(report, files, formats)
        written += [report / name for name in files]
    told = [summaries_of(material) for _, material in reports]
    return ReportResult(
        paths=tuple(written),
        problems=tuple(f"{folder}: {problem}" for folder, results in experiments for problem in results.problems),
        summaries=tuple(summary for summary, _ in told if summary is not None),
        verdicts=tuple(table for _, table in told if table.rows),
    )


def check_report(folders: Sequence[Path], *, out: Path | None = None) -> list[str]:
    """Derive every report on disk again, in the formats that are there; one line for each thing that differs.

    Raises:
        SpecError: A folder holds no results, or `out` is given for one experiment or is one itself.
    """
    _, reports = _reports(folders, out)
    together = " ".join([*map(str, folders), *(() if out is None else ("--out", str(out)))])
    return [
        line
        for report, material in reports
        for line in _check(report, material, together if material.joint else str(report.parent))
    ]


def _check(report: Path, material: Material, arguments: str) -> list[str]:
    present = {file.relative_to(report).as_posix() for file in _made_files(report, FORMATS)}
    formats = [kind for kind in FORMATS if any(Path(name).match(PATTERNS[kind][0]) for name in present)]
    if not formats:
        return [f"{report}: no report here; `sasa report {arguments}` builds it"]
    derived = report_files(material, formats)
    stored = {name: (report / name).read_bytes() for name in present}
    contradictions = [str(problem) for problem in material.problems if problem.contradicts]
    return [*contradictions, *(f"{report}/{line}" for line in compare_files(stored, derived))]


def report_files(material: Material, formats: Sequence[Format]) -> dict[str, bytes]:
    """The files of a report by their name below its folder; nothing is written.

    The figures of several experiments stand in each one's own report.
    """
    texts: dict[str, str] = {}
    files: dict[str, bytes] = {}
    drawn = {"md", "html", "png"} & set(formats) and not material.joint
    figures = figures_of(material.cells, material.parts[0].axes) if drawn else []
    if "md" in formats or "html" in formats:
        document = compose(material, figures)
        if "md" in formats:
            texts["report.md"] = to_markdown_report(document)
        if "html" in formats:
            texts["report.html"] = to_html(document)
        texts |= {f"figures/{figure.name}.svg": figure.svg for figure in figures}
    if "png" in formats:
        files |= {f"figures/{figure.name}.png": figure.png for figure in figures}
    tables = tables_of(material)
    if "csv" in formats:
        from sasa_cli.reporting.evidence.frames import frame_of  # pandas is not imported before it is needed

        texts |= {f"tables/{name}.csv": to_csv(table) for name, table in tables.items()}
        texts["tables/runs.csv"] = frame_of([part.results for part in material.parts], material.runs).to_csv(
            index=False
        )
    if "tex" in formats:
        texts |= {f"tables/{name}.tex": to_latex(table) for name, table in tables.items()}
    return {name: text.encode() for name, text in texts.items()} | files


def _reports(
    folders: Sequence[Path], out: Path | None
) -> tuple[list[tuple[Path, Results]], list[tuple[Path, Material]]]:
    """The experiments found, and the folder and material of each report about them."""
    found = find_experiments(folders)
    joint = _joint_folder([paths.folder for paths in found], out)
    experiments = [(paths.folder, read_results(paths)) for paths in found]
    reports = [(paths.report, single(results)) for paths, (_, results) in zip(found, experiments, strict=True)]
    if joint is not None:
        reports.append((joint, _united(joint, experiments)))
    return experiments, reports


def _joint_folder(experiments: Sequence[Path], out: Path | None) -> Path | None:
    """Where the report of several experiments goes; None for one. Raises `SpecError` where it cannot go there."""
    if len(experiments) < 2:
        if out is not None:
            raise SpecError(f"--out {out}: a joint report is of several experiments; here is one, {experiments[0]}")
        return None
    common = Path(os.path.commonpath([folder.resolve().parent for folder in experiments]))
    report = (common if out is None else out) / "report"
    taken = [folder for folder in experiments if folder.resolve() in (report.resolve(), report.resolve().parent)]
    if taken:
        raise SpecError(f"--out: {report} belongs to the experiment {taken[0]}; allowed is any other folder")
    return report


def _united(report: Path, experiments: Sequence[tuple[Path, Results]]) -> Material:
    """Their material, each with the way to its folder from `report`."""
    start = report.resolve()
    return united(
        [(Path(os.path.relpath(folder.resolve(), start)).as_posix(), results) for folder, results in experiments]
    )


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
