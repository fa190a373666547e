"""What a report says and in which order: from one or several experiments to a `Document`."""

from collections.abc import Sequence

from sasa_cli.rendering.document import Block, Chapter, Document, Figure, Note, Notes
from sasa_cli.rendering.numbers import whole
from sasa_cli.rendering.table import Column, Filled, Link, Links, Table, assemble
from sasa_cli.reporting.evidence.cells import Cell
from sasa_cli.reporting.evidence.conditions import environment_values
from sasa_cli.reporting.evidence.material import Material, Part
from sasa_cli.reporting.evidence.results import Run
from sasa_cli.reporting.pages.caveats import caveats
from sasa_cli.reporting.pages.difference_tables import (
    Against,
    all_families,
    differences_table,
    family_table,
    seeds_table,
)
from sasa_cli.reporting.pages.paper_rows import comparison_table, counterparts, paper_comparison
from sasa_cli.reporting.pages.reading import about_differences, headline, how_to_read
from sasa_cli.reporting.pages.tables import (
    cost_table,
    environment_table,
    results_table,
    runs_table,
    summary_table,
    unfinished_table,
)
from sasa_cli.reporting.pages.verdict_tables import (
    declared_blocks,
    pairs_table,
    verdict_blocks,
    verdict_summary,
    verdicts_table,
)

ACCURACY_TITLE = "Top-1 accuracy (%), mean ± 95 % interval over seeds, with parameters and FLOPs"
COST_TITLE = "Cost: counts are exact; time, images per second and peak memory are means over runs"
RUNS_TITLE = "Runs, with top-1 accuracy (%); each leads to its folder"
SEEDS_TITLE = "Half-width of the interval of test top-1 (last epoch) in points, now and expected with one more seed"


def compose(material: Material, figures: Sequence[Figure]) -> Document:
    """The report; a chapter that would be empty is left out."""
    cells = material.cells
    trained = any(cell.records for cell in cells)
    groups = all_families(material)
    chapters: list[tuple[str, Sequence[Block]]] = [
        ("Declared before training", declared_blocks(material.declared)),
        ("Verdicts", verdict_blocks(material.verdicts) if trained else []),
        ("Caveats", _caveats(material)),
        ("Experiments", [_experiments(material.parts)] if material.joint else []),
        ("Accuracy", [_accuracy(material, part) for part in material.parts if part.cells]),
        ("Differences", _differences(material, groups)),
        ("Figures", figures),
        ("Cost", [cost_table(cells, COST_TITLE)] if cells else []),
        ("Measured against the paper", paper_comparison(cells)),
        ("Runs", _runs(cells, material.outside)),
        ("Setup", _setup(material)),
        ("How to read the numbers", [how_to_read(cells)]),
    ]
    names = [part.name for part in material.parts]
    return Document(
        kind="Results of several experiments" if material.joint else "Results of an experiment",
        title=", ".join(names),
        description="" if material.joint else material.parts[0].results.description,
        headline=" ".join(
            f"{group.part.name}: {sentence}" if material.joint else sentence
            for group in groups
            if (sentence := headline(group))
        ),
        facts=_facts(material),
        chapters=tuple(Chapter(title, tuple(blocks)) for title, blocks in chapters if blocks),
    )


def tables_of(material: Material) -> dict[str, Table]:
    """Every table that has files of its own, by its name; the paper's numbers only where ours stand beside them."""
    cells = material.cells
    # Several experiments have different axes, which their own reports show.
    axes = () if material.joint else material.parts[0].axes
    found = counterparts(cells)
    return {
        **({"declared": pairs_table(material.declared)} if material.declared else {}),
        "results": results_table(cells, axes, ACCURACY_TITLE),
        "cost": cost_table(cells, COST_TITLE),
        "differences": differences_table(all_families(material)),
        "verdicts": verdicts_table(material.verdicts),
        "pairs": pairs_table(material.verdicts),
        **({"paper": comparison_table(found)} if found else {}),
    }


def summaries_of(material: Material) -> tuple[Table | None, Table]:
    """For the terminal: an experiment's cells (None for several experiments), and the claims that were tested."""
    name = ", ".join(part.name for part in material.parts)
    cells = None if material.joint else summary_table(name, material.cells, caveats(material))
    return cells, verdict_summary(name, material.verdicts)


def _caveats(material: Material) -> list[Block]:
    notes = [Note(sentence) for sentence in caveats(material)]
    notes += [
        Note(str(problem), Link("run folder", problem.url) if problem.url else None) for problem in material.problems
    ]
    return [Notes(tuple(notes), warning=True)] if notes else []


def _accuracy(material: Material, part: Part) -> Table:
    return results_table(part.cells, part.axes, _of(material, part) + ACCURACY_TITLE)


def _differences(material: Material, groups: Sequence[Against]) -> list[Block]:
    """Each experiment's families, and what one more seed would give."""
    blocks: list[Block] = []
    for group in groups:
        before = _of(material, group.part)
        blocks += [family_table(name, family, before) for name, family in group.families]
    if not blocks:
        return []
    blocks.append(about_differences(groups))
    blocks += [
        seeds_table(group.part.cells, _of(material, group.part) + SEEDS_TITLE) for group in groups if group.families
    ]
    return blocks


def _of(material: Material, part: Part) -> str:
    """In front of a title where there are several experiments."""
    return f"{part.name}. " if material.joint else ""


def _experiments(parts: Sequence[Part]) -> Table:
    """A row for each experiment that leads to its own report, where its figures are."""
    runs = [part.results.runs for part in parts]
    columns: list[Filled] = [
        (Column("Experiment", "left"), [Links((Link(part.name, f"{part.home}/report/"),)) for part in parts]),
        (Column("Cells"), [whole(len(part.cells)) for part in parts]),
        (Column("Runs done"), [f"{sum(run.status == 'done' for run in each)} of {len(each)}" for each in runs]),
        (Column("What it asks", "left"), [part.results.description or "–" for part in parts]),
    ]
    return assemble("Experiments; each leads to its own report, with its figures", columns)


def _runs(cells: Sequence[Cell], outside: Sequence[Run]) -> list[Block]:
    runs = [run for cell in cells for run in cell.runs]
    blocks: list[Block] = []
    if any(run.status != "done" for run in (*runs, *outside)):
        blocks.append(unfinished_table((*runs, *outside), "Runs without final numbers"))
    if runs:
        blocks.append(runs_table(runs, RUNS_TITLE))
    if outside:
        blocks.append(runs_table(outside, "Runs outside the plan, with top-1 accuracy (%)"))
    return blocks


def _setup(material: Material) -> list[Block]:
    table = environment_table(material.runs, "What the finished runs were trained with")
    return [table] if table.rows else []


def _facts(material: Material) -> tuple[tuple[str, str], ...]:
    runs = material.runs
    done = sum(run.status == "done" for run in runs)
    seeds = sorted({run.identity.seed for run in runs})
    facts = [
        *([("Experiments", str(len(material.parts)))] if material.joint else []),
        ("Cells", str(len(material.cells))),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Runs done", f"{done} of {len(runs)}"),
    ]
    environment = environment_values(runs)
    facts += [
        (title, "; ".join(sorted(environment[field])))
        for title, field in (("Data", "data"), ("Device", "device name"))
        if field in environment
    ]
    return tuple(facts)
