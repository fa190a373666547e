"""The sentences of a report: its headline, and what each number means and leaves out."""

from collections.abc import Sequence

from sasa_cli.rendering.document import Note, Notes
from sasa_cli.reporting.evidence.cells import HEADLINE, Cell, has_ema
from sasa_cli.reporting.evidence.comparisons import best_of
from sasa_cli.reporting.evidence.statistics import half_width_factor, sampling_error
from sasa_cli.reporting.pages.difference_tables import Against
from sasa_cli.reporting.pages.intervals import interval


def headline(group: Against) -> str:
    """The best cell of an experiment, and whether the seeds tell it from the others."""
    cells = group.part.cells
    best = best_of(cells)
    top = best.top1(HEADLINE) if best else None
    if best is None or top is None:
        return ""
    text = f"{top.mean:.2f}" if top.half_width is None else interval(top)
    sentence = f"Highest mean test top-1 of the last epoch: {text} % ({best.label}, n = {top.n})."
    family = group.best or group.reference  # the reference may be the best
    if family is None:
        return sentence
    tested = sum(item.tested for item in family.comparisons)
    others = len(family.comparisons)
    if not tested:
        return (
            f"{sentence} No other cell can be compared with it over two seeds, so nothing can be said about its lead."
        )
    over = "all pairs" if group.best else "these"
    untested = f"; {others - tested} could not be tested" if tested < others else ""
    return (
        f"{sentence} Seed by seed it is told apart from {family.told_apart} of the {others} other cells "
        f"(5 %, Holm over {over}){untested}."
    )


def about_differences(groups: Sequence[Against]) -> Notes:
    """What is compared with what, and what was corrected for."""
    sizes = {name: family.size for group in groups for name, family in group.families}
    several = len(groups) > 1
    sentences = [
        "Difference: mean over the seeds that both cells have finished (n), with its own 95 % t interval. p: two-sided "
        "paired t test. A seed that only one cell has is left out. Below two shared seeds nothing can be said, nor "
        "where all seeds give the same difference: accuracies come in steps of one test image, so the spread is "
        "unknown, not zero.",
    ]
    if "reference" in sizes:
        count = "each experiment's" if several else f"its {sizes['reference']}"
        declared = [group.part.results.reference for group in groups]
        which = "the first cell of convolutions alone, else the first"
        if all(declared):
            which = "the cell that the experiment names"
        elif any(declared):
            which = f"the cell that the experiment names, else {which}"
        sentences.append(
            f"Against the reference ({which}): p is corrected by Holm's procedure over {count} comparisons. Which cell "
            "it is does not depend on the accuracies."
        )
    if "best" in sizes:
        count = "all pairs of cells" if several else f"all {sizes['best']} testable pairs of cells"
        sentences.append(
            f"Against the best cell: it was chosen by these very accuracies, and any cell could have been it. "
            f"Therefore p is corrected over {count}, though only those with the best are shown."
        )
    sentences += [
        "Each table by itself calls any cells different that are not in at most 5 % of all such experiments.",
        "Could show: the true difference that such seeds find with 80 % power at the two-sided 5 % level; the spread "
        "of these very seeds is uncertain with few of them, and that is counted; … corrected: at the strictest step of "
        "Holm's procedure, 5 % over the number of comparisons. Beyond 100 points no accuracies could have shown "
        "anything.",
        "With one more seed: s c4(n+1) / c4(n) for the deviation and t with n degrees of freedom. What comes will "
        "scatter around it.",
    ]
    return Notes(tuple(map(Note, sentences)))


def how_to_read(cells: Sequence[Cell]) -> Notes:
    """What each number means and what it leaves out."""
    sentences = [
        "Test, last epoch: nothing was selected to get it. Test, best epoch: at the epoch with the highest top-1 on "
        "val. Test images are looked at once, after training.",
        "Interval: mean ± t s / √n over the n seeds of a cell; s is their standard deviation, t the 97.5 % quantile of "
        "Student's distribution with n − 1 degrees of freedom. It covers what changes with the seed, not the choice of "
        "the test images. With one seed there is none (–).",
        *_few_seeds(cells),
        *_test_set(cells),
        "Bold, where any number is: the interval lies above those of all other cells in its column.",
        "FLOPs: 2 x MACs of convolutions, linear layers, q.k, q.r over all k x k places and a.v for one image; border "
        "places counted, nothing elementwise. FLOPs executed: with q.r factored into row and column products.",
    ]
    if has_ema([run for cell in cells for run in cell.runs]):
        sentences.append(
            "EMA: with the moving average of the weights; raw: with the weights themselves. Figures and differences "
            "take EMA where a run has it, and the best epoch is chosen by it."
        )
    return Notes(tuple(map(Note, sentences)))


def _few_seeds(cells: Sequence[Cell]) -> list[str]:
    counts = [len(cell.records) for cell in cells if len(cell.records) > 1]
    if not counts or min(counts) > 3:
        return []
    n = min(counts)
    now, then = half_width_factor(n), half_width_factor(n + 1)
    return [
        f"With {n} seeds the interval reaches {now:.1f} standard deviations to either side, with {n + 1} it would be "
        f"{then:.1f}: one more seed would narrow it much."
    ]


def _test_set(cells: Sequence[Cell]) -> list[str]:
    sizes = {record.data.test for cell in cells for record in cell.records if record.data}
    measures = [measure for cell in cells if (measure := cell.top1(HEADLINE)) is not None]
    if not sizes or not measures:
        return []
    top = max(measure.mean for measure in measures)
    return [
        f"Test set ±, its sampling error: {images:,} images leave ± {sampling_error(top, images):.2f} points (95 %, "
        f"binomial) at {top:.2f} %. All runs share these images, so it moves them together and is in no interval."
        for images in sorted(sizes)
    ]
