"""What `sasa count-flops` is asked about: registered models, experiments, or any model of timm. No torch for ours."""

from collections.abc import Sequence
from os.path import isfile
from pathlib import Path

from sasa_cli.counting.macs import ModelCount, count_model
from sasa_cli.data.catalog import number_of_classes
from sasa_cli.errors import SpecError
from sasa_cli.experiment.file import load_experiment, model_experiment
from sasa_cli.experiment.match import Budget, WidthMatch, cost, match_width
from sasa_cli.experiment.shipped import shipped_experiments
from sasa_cli.experiment.sweep import base_run, expand_sweep
from sasa_cli.spec import DEPTHS, ModelSpec, RunSpec

Matched = tuple[WidthMatch, ModelCount]


def count_targets(targets: Sequence[str], assignments: Sequence[str], image_size: int | None) -> list[ModelCount]:
    """Counts of every model that `targets` names; without any, of the three depths of the paper.

    Raises:
        SpecError: a target is not known, or an assignment does not apply to it.
    """
    return [count for target in targets or DEPTHS for count in _count_target(target, assignments, image_size)]


def _count_target(target: str, assignments: Sequence[str], image_size: int | None) -> list[ModelCount]:
    specs = target_specs(target, assignments)
    if specs:
        return [count_run(spec) for spec in specs]
    others = [text for text in assignments if not text.startswith("data.image_size=")]
    if others:
        raise SpecError(f"{target}: {others[0]} does not apply; allowed are changes of {', '.join(DEPTHS)} only")
    from sasa_cli.counting.foreign import count_foreign

    return [count_foreign(target, image_size=image_size)]


def target_specs(target: str, assignments: Sequence[str]) -> list[RunSpec]:
    """One run of each cell that a registered model or an experiment stands for; none for a model of timm.

    Raises:
        SpecError: the experiment is wrong, or an assignment does not apply to it.
    """
    if target in DEPTHS:
        return [base_run(model_experiment(target, assignments), None)]
    if target in shipped_experiments() or Path(target).suffix in (".yaml", ".yml") or isfile(target):
        cells = {spec.cell_hash: spec for spec in expand_sweep(load_experiment(target, assignments))}
        return list(cells.values())
    return []


def match_targets(targets: Sequence[str], assignments: Sequence[str], budget: Budget, to: str) -> list[Matched]:
    """The width at which each of the targets costs what `to` costs, and the count of `to`.

    Without targets, of the three depths of the paper.

    Args:
        targets: Registered models and experiments; the widths that they have do not count.
        assignments: Changes of the targets, not of `to`.
        budget: What is to be equal.
        to: A registered model, also with its stages as in `sasa_resnet26:CCCC`, or a model of timm, either with
            image and classes of the target; or an experiment with one cell.

    Raises:
        SpecError: a target or `to` is not known, or has no width that could be found.
    """
    width = next((text for text in assignments if text.startswith("model.width=")), None)
    if width:
        raise SpecError(f"--set {width} does not apply with --match, which finds the width")
    matches = []
    for target in targets or DEPTHS:
        specs = target_specs(target, assignments)
        if not specs:
            raise SpecError(f"{target}: has no width to be found; allowed are {', '.join(DEPTHS)} and experiments")
        for spec in specs:
            size, classes = spec.data.image_size, number_of_classes(spec.data)
            other = _count_beside(spec.model, to, size, classes)
            match = match_width(spec.model, budget, cost(other, budget), image_size=size, num_classes=classes)
            matches.append((match, other))
    return matches


def _count_beside(model: ModelSpec, to: str, image_size: int, num_classes: int) -> ModelCount:
    """What `to` costs with the image, the classes and, where it is one of ours, the size of stem of `model`."""
    name, colon, stages = to.partition(":")
    if name in DEPTHS:
        (spec,) = target_specs(name, [f"model.stages={stages}"] if colon else [])
        other = spec.model.model_copy(update={"small_input": model.small_input})
        return count_model(other, image_size=image_size, num_classes=num_classes)
    specs = target_specs(to, [])
    if len(specs) > 1:
        raise SpecError(f"--to {to}: has {len(specs)} cells; allowed are models, and experiments with one cell")
    if specs:
        return count_run(specs[0])
    from sasa_cli.counting.foreign import count_foreign

    return count_foreign(to, image_size=image_size, num_classes=num_classes)


def count_run(spec: RunSpec) -> ModelCount:
    """Parameters and MACs of the network of a run. Raises `SpecError` where the number of classes is unknown."""
    return count_model(spec.model, image_size=spec.data.image_size, num_classes=number_of_classes(spec.data))
