"""What `sasa count-flops` is asked about: registered models, experiments, or any model of timm. No torch for ours."""

from collections.abc import Sequence
from pathlib import Path

from sasa_cli.data.catalog import number_of_classes
from sasa_cli.errors import SpecError
from sasa_cli.experiment import load_experiment, model_experiment, shipped_experiments
from sasa_cli.macs import ModelCount, count_model
from sasa_cli.spec import DEPTHS, RunSpec
from sasa_cli.sweep import base_run, expand_sweep


def count_targets(targets: Sequence[str], assignments: Sequence[str], image_size: int | None) -> list[ModelCount]:
    """Counts of every model that `targets` names; without any, of the three depths of the paper.

    Raises:
        SpecError: a target is not known, or an assignment does not apply to it.
    """
    return [count for target in targets or DEPTHS for count in _count_target(target, assignments, image_size)]


def _count_target(target: str, assignments: Sequence[str], image_size: int | None) -> list[ModelCount]:
    if target in DEPTHS:
        return [count_run(base_run(model_experiment(target, assignments), None))]
    if target in shipped_experiments() or Path(target).suffix in (".yaml", ".yml") or Path(target).is_file():
        cells = {spec.cell_hash: spec for spec in expand_sweep(load_experiment(target, assignments))}
        return [count_run(spec) for spec in cells.values()]
    others = [text for text in assignments if not text.startswith("data.image_size=")]
    if others:
        raise SpecError(f"{target}: {others[0]} does not apply; allowed are changes of {', '.join(DEPTHS)} only")
    from sasa_cli.models.foreign import count_foreign

    return [count_foreign(target, image_size=image_size)]


def count_run(spec: RunSpec) -> ModelCount:
    """Parameters and MACs of the network of a run. Raises `SpecError` where the number of classes is unknown."""
    return count_model(spec.model, image_size=spec.data.image_size, num_classes=number_of_classes(spec.data))
