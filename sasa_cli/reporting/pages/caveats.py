"""What makes the numbers of a report incomplete or not quite comparable, in sentences."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sasa_cli.reporting.evidence.cells import Cell
from sasa_cli.reporting.evidence.conditions import TITLES, environment_values
from sasa_cli.reporting.evidence.material import Material
from sasa_cli.reporting.evidence.results import Run

COMPARED_BY = ("device", "threads", "attention kernel", "sasa", "torch", "timm", "code")
"""Fields that must agree before runs are compared without a warning; the data fingerprint must, too."""


def caveats(material: Material) -> list[str]:
    """What makes the numbers incomplete or not quite comparable, one sentence each."""
    runs = material.runs
    waiting = Counter(run.status for run in runs if run.status != "done")
    sentences = []
    if waiting:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(waiting.items()))
        sentences.append(f"{waiting.total()} of {len(runs)} runs have no final numbers: {counts}.")
    sentences += [*_split(material.cells), *differences(runs), *fallbacks(runs), *_notes_on_images(runs)]
    if material.outside:
        sentences.append(
            f"{len(material.outside)} runs belong to no cell of the plan and are listed apart; no mean includes them."
        )
    if material.repeated:
        sentences.append(
            f"{len(material.repeated)} finished runs repeat a seed of their cell under the same conditions, as after a "
            f"cell was renamed, and count once: {', '.join(material.repeated)} left out."
        )
    if material.doubled:
        sentences.append(f"{material.doubled} runs stand in several experiments and count once.")
    if material.deviating:
        sentences.append(
            f"{material.deviating} of them have another accuracy than the one that counts, with the same spec and "
            "seed under the same conditions."
        )
    return sentences


def counted(values: Mapping[str, int]) -> str:
    """`2.14.0 (1 run), 2.15.0 (14 runs)`; a value that all have stands alone."""
    if len(values) == 1:
        return next(iter(values))
    return ", ".join(f"{value} ({count} run{'' if count == 1 else 's'})" for value, count in sorted(values.items()))


def differences(runs: Iterable[Run]) -> list[str]:
    """What differs between finished runs although their numbers depend on it, one sentence for each field."""
    fields = environment_values(runs)
    # Without fingerprints of the code, commits stand for it.
    code = "git commit" if "not recorded" in fields.get("code", {}) else "code"
    compared = {code if field == "code" else field for field in (*COMPARED_BY, "data fingerprint")}
    return [
        f"Runs differ in {field}: {counted(values)}."
        for field, values in fields.items()
        if field in compared and len(values) > 1
    ]


def fallbacks(runs: Iterable[Run]) -> list[str]:
    """In how many finished runs attention fell back to a slower backend and why, one sentence for each reason."""
    found: Counter[tuple[str, str]] = Counter()
    for run in runs:
        if run.status == "done" and run.record is not None and run.record.environment is not None:
            found.update(run.record.environment.refused.items())
    return [
        f"In {count} run{'' if count == 1 else 's'} attention fell back to a slower backend, because {name!r} did not "
        f"run there: {why}."
        for (name, why), count in sorted(found.items())
    ]


def _notes_on_images(runs: Iterable[Run]) -> list[str]:
    """What is unusual about the images of the runs, one sentence each."""
    found = {note: None for run in runs if run.record and run.record.data for note in run.record.data.notes}
    return [f"Of the images, {note}." for note in found]


def _split(cells: Sequence[Cell]) -> list[str]:
    """Which specs were trained in more than one way."""
    specs: dict[tuple[str, ...], list[str]] = {}
    for cell in cells:
        if cell.split_by:
            specs.setdefault(cell.split_by, []).append(cell.label)
    return [
        f"Runs of the same spec were trained with another {' and '.join(getattr(TITLES, field) for field in fields)}. "
        f"They are not averaged; each kind is a cell of its own: {', '.join(labels)}."
        for fields, labels in specs.items()
    ]
