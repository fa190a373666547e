"""What the report of an experiment says and in which order: from its results to a `Document`."""

from collections import Counter
from collections.abc import Sequence

from scipy.special import stdtrit

from sasa_cli.reporting.aggregate import HEADLINE, Axis, Cell, differences, environment_values, has_ema
from sasa_cli.reporting.document import Block, Document, Figure, Link, Note, Notes, Section
from sasa_cli.reporting.quantities import interval
from sasa_cli.reporting.results import Results, Run, run_url
from sasa_cli.reporting.statistics import Measure, clear_best, sampling_error
from sasa_cli.reporting.tables import cost_table, environment_table, results_table, runs_table, unfinished_table

ACCURACY_TITLE = "Top-1 accuracy (%), mean ± 95 % interval over seeds, with parameters and FLOPs"
COST_TITLE = "Cost: counts are exact; time, images per second and peak memory are means over runs"
RUNS_TITLE = "Runs, with top-1 accuracy (%); each leads to its folder"


def compose(results: Results, cells: Sequence[Cell], axes: Sequence[Axis], figures: Sequence[Figure]) -> Document:
    """The report of one experiment; a section that would be empty is left out."""
    sections: list[tuple[str, list[Block]]] = [
        ("Caveats", _caveats(results)),
        ("Accuracy", [results_table(cells, axes, ACCURACY_TITLE)] if cells else []),
        ("Figures", list(figures)),
        ("Cost", [cost_table(cells, COST_TITLE)] if cells else []),
        ("Runs", _runs(cells, results.outside)),
        ("Setup", _setup(results)),
        ("How to read the numbers", [_reading(results, cells)]),
    ]
    return Document(
        title=results.name,
        description=results.description,
        finding=_finding(cells),
        facts=_facts(results, cells),
        sections=tuple(Section(title, tuple(blocks)) for title, blocks in sections if blocks),
    )


def caveats(results: Results) -> list[str]:
    """What makes the numbers incomplete or not quite comparable, one sentence each."""
    waiting = Counter(run.state for run in results.runs if run.state != "done")
    sentences = []
    if waiting:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(waiting.items()))
        sentences.append(f"{waiting.total()} of {len(results.runs)} runs have no final numbers: {counts}.")
    sentences += differences(results.runs)
    if results.outside:
        sentences.append(
            f"{len(results.outside)} runs belong to no cell of the plan and are listed apart; no mean includes them."
        )
    return sentences


def _caveats(results: Results) -> list[Block]:
    notes = [Note(sentence) for sentence in caveats(results)]
    notes += [
        Note(str(problem), Link("run folder", run_url(problem.run_id)) if problem.run_id else None)
        for problem in results.problems
    ]
    return [Notes(tuple(notes), warning=True)] if notes else []


def _runs(cells: Sequence[Cell], outside: Sequence[Run]) -> list[Block]:
    runs = [run for cell in cells for run in cell.runs]
    blocks: list[Block] = []
    if any(run.state != "done" for run in (*runs, *outside)):
        blocks.append(unfinished_table((*runs, *outside), "Runs without final numbers"))
    if runs:
        blocks.append(runs_table(runs, RUNS_TITLE))
    if outside:
        blocks.append(runs_table(outside, "Runs outside the plan, with top-1 accuracy (%)"))
    return blocks


def _setup(results: Results) -> list[Block]:
    table = environment_table(results.runs, "What the finished runs were trained with")
    return [table] if table.table.rows else []


def _facts(results: Results, cells: Sequence[Cell]) -> tuple[tuple[str, str], ...]:
    done = sum(run.state == "done" for run in results.runs)
    seeds = sorted({run.identity.seed for run in results.runs})
    facts = [
        ("Cells", str(len(cells))),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Runs done", f"{done} of {len(results.runs)}"),
    ]
    environment = environment_values(results.runs)
    facts += [
        (title, "; ".join(sorted(environment[field])))
        for title, field in (("Data", "data"), ("Device", "device name"))
        if field in environment
    ]
    return tuple(facts)


def _finding(cells: Sequence[Cell]) -> str:
    """The best cell, and whether the seeds tell it from the others."""
    measured = [(cell, measure) for cell in cells if (measure := cell.top1(HEADLINE)) is not None]
    if not measured:
        return ""
    best, top = max(measured, key=lambda pair: pair[1].mean)
    text = f"{top.mean:.2f}" if top.half_width is None else interval(top)
    headline = f"Highest mean test top-1 of the last epoch: {text} % ({best.label}, n = {top.n})."
    others = [measure for cell, measure in measured if cell is not best]
    if not others:
        return headline
    if top.half_width is None:
        return f"{headline} With one seed there is no interval, so nothing can be said about its lead."
    return f"{headline} {_lead(top, others)}"


def _lead(top: Measure, others: Sequence[Measure]) -> str:
    if clear_best([top, *others]) == 0:
        return "Its interval lies above those of all other cells."
    overlapping = sum(other.half_width is not None and other.high >= top.low for other in others)
    single = sum(other.half_width is None for other in others)
    text = f"Its interval overlaps those of {overlapping} of the {len(others)} other cells"
    return f"{text}; {single} have none, with one seed." if single else f"{text}."


def _reading(results: Results, cells: Sequence[Cell]) -> Notes:
    """What each number means and what it leaves out."""
    sentences = [
        "Test, last epoch: nothing was selected to get it. Test, best epoch: at the epoch with the highest top-1 on "
        "val. Test images are looked at once, after training.",
        "Interval: mean ± t s / √n over the n seeds of a cell; s is their standard deviation, t the 97.5 % quantile of "
        "Student's distribution with n − 1 degrees of freedom. It covers what changes with the seed, not the choice of "
        "the test images. With one seed there is none (–).",
        *_few_seeds(cells),
        *_test_set(results.runs, cells),
        "Bold, where any number is: the interval lies above those of all other cells in its column.",
        "FLOPs: 2 x MACs of convolutions, linear layers, q.k, q.r over all k x k places and a.v for one image; border "
        "places counted, nothing elementwise. FLOPs executed: with q.r factored into row and column products.",
    ]
    if has_ema(results.runs):
        sentences.append(
            "EMA: with the moving average of the weights; raw: with the weights themselves. Figures show EMA where a "
            "run has it, and the best epoch is chosen by it."
        )
    return Notes(tuple(map(Note, sentences)))


def _few_seeds(cells: Sequence[Cell]) -> list[str]:
    counts = [len(cell.records) for cell in cells if len(cell.records) > 1]
    if not counts or min(counts) > 3:
        return []
    n = min(counts)
    now, then = (float(stdtrit(seeds - 1, 0.975)) / seeds**0.5 for seeds in (n, n + 1))
    return [
        f"With {n} seeds the interval reaches {now:.1f} standard deviations to either side, with {n + 1} it would be "
        f"{then:.1f}: one more seed would narrow it much."
    ]


def _test_set(runs: Sequence[Run], cells: Sequence[Cell]) -> list[str]:
    sizes = {run.record.data.test for run in runs if run.state == "done" and run.record and run.record.data}
    measures = [measure for cell in cells if (measure := cell.top1(HEADLINE)) is not None]
    if not sizes or not measures:
        return []
    top = max(measure.mean for measure in measures)
    return [
        f"Sampling error of the test set: {images:,} images leave ± {sampling_error(top, images):.2f} points (95 %, "
        f"binomial) at {top:.2f} %. All runs share these images, so it moves them together and is in no interval."
        for images in sorted(sizes)
    ]
