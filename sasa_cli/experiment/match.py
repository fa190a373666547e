"""The width at which a network costs what another one does: comparisons at equal budget. Imports no torch."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from sasa_cli.counting.macs import ModelCount, count_model
from sasa_cli.data.catalog import number_of_classes
from sasa_cli.errors import SpecError
from sasa_cli.spec import STAGE_CHANNELS, DataSpec, Float, ModelSpec, Section, StageKinds

Budget = Literal["params", "flops"]
WIDTH_STEP = 2 / STAGE_CHANNELS[0]  # the finest that keeps channels even; heads may need coarser ones
WIDTH_LIMIT = 16
BUDGET_NAMES: dict[Budget, str] = {"params": "parameters", "flops": "FLOPs"}
TOLERANCE = 0.05  # of the budget: beyond it two networks do not cost the same


class MatchSpec(Section):
    """The network whose cost a width is to reach."""

    budget: Budget
    """What is to be equal."""
    to: Literal["sasa_resnet26", "sasa_resnet38", "sasa_resnet50"]
    """The other network."""
    stages: StageKinds
    """Of the other network; everything else in it is at its default, the image and the classes are this one's."""
    within: Annotated[Float, Field(gt=0, lt=1)] = TOLERANCE
    """How far from the budget the nearest width may be, as a share of it."""


class RequestedModel(ModelSpec):
    """The section `model` of an experiment file: a network, or one whose width is to be found."""

    match: MatchSpec | None = None
    """Instead of a width, the network whose cost the width is to reach."""

    def problems(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.match is None:
            yield from super().problems()
            return
        # Whether heads divide the channels depends on the width, which is not known yet.
        yield from (problem for problem in super().problems() if problem[0] == ("name",))
        if "width" in self.model_fields_set:
            yield ("match",), f"finds the width, but model.width says {self.width}; allowed is one of the two"


@dataclass(frozen=True)
class WidthMatch:
    """The nearest width, and how near it comes."""

    model: ModelSpec
    count: ModelCount
    """Of `model`."""
    budget: Budget
    wanted: int
    """Parameters or FLOPs (2 x MACs)."""

    @property
    def reached(self) -> int:
        return cost(self.count, self.budget)

    @property
    def deviation(self) -> float:
        """Share of the budget that is too much, or, below zero, left over."""
        return self.reached / self.wanted - 1


def cost(count: ModelCount, budget: Budget) -> int:
    """Parameters, or FLOPs under the plain convention."""
    return count.params if budget == "params" else 2 * count.macs


def match_width(model: ModelSpec, budget: Budget, wanted: int, *, image_size: int, num_classes: int) -> WidthMatch:
    """The width at which `model` comes nearest to a budget, whatever its own width is.

    Widths are discrete: channels stay even and heads divide them.

    Args:
        model: The network to be made wider or narrower.
        budget: What is to be reached.
        wanted: Parameters or FLOPs, more than 0.
        image_size: Side of the image in pixels.
        num_classes: Outputs of the classifier.

    Raises:
        SpecError: the network cannot be built at any width.
    """
    networks = _at_every_width(model)
    if not networks:
        raise SpecError(
            f"{model.attention.heads} heads of attention (stem: {model.stem.heads}) divide the channels at no width up "
            f"to {WIDTH_LIMIT}"
        )

    def count(network: ModelSpec) -> ModelCount:
        return count_model(network, image_size=image_size, num_classes=num_classes)

    # Cost grows with the width.
    above = bisect_left(networks, wanted, key=lambda network: cost(count(network), budget))
    near = [WidthMatch(each, count(each), budget, wanted) for each in networks[max(0, above - 1) : above + 1]]
    return min(near, key=lambda match: abs(match.deviation))


def _at_every_width(model: ModelSpec) -> list[ModelSpec]:
    """The network at each width that it can have; its other settings have been checked before."""
    network = _network(model)
    widths = (step * WIDTH_STEP for step in range(1, round(WIDTH_LIMIT / WIDTH_STEP) + 1))
    candidates = (network.model_copy(update={"width": width}) for width in widths)
    return [candidate for candidate in candidates if not any(candidate.problems())]


def _network(model: ModelSpec) -> ModelSpec:
    """A section `model` that has been checked, as the network alone."""
    settings = {name: getattr(model, name) for name in ModelSpec.model_fields}
    return ModelSpec.model_construct(model.model_fields_set & set(settings), **settings)


def with_found_width(model: RequestedModel, data: DataSpec) -> ModelSpec:
    """The network that an experiment file asks for, its `match` replaced by the width that it gives.

    Raises:
        SpecError: no width comes near enough, or the number of classes is not known.
    """
    match = model.match
    if match is None:
        return _network(model)
    size, classes = data.image_size, number_of_classes(data)
    other = ModelSpec(name=match.to, stages=match.stages, small_input=model.small_input)
    wanted = cost(count_model(other, image_size=size, num_classes=classes), match.budget)
    found = match_width(model, match.budget, wanted, image_size=size, num_classes=classes)
    if abs(found.deviation) > match.within:
        raise SpecError(
            f"no width comes near enough: the nearest, {found.count.model}, has {found.reached:,} "
            f"{BUDGET_NAMES[match.budget]}, {describe_deviation(found.deviation)} the {wanted:,} of {match.to} "
            f"{match.stages}; allowed is a difference of {100 * match.within:g} % (model.match.within); "
            "fewer heads allow more widths"
        )
    return found.model


def describe_deviation(deviation: float) -> str:
    """`3.2 % above` or `3.2 % below`."""
    return f"{100 * abs(deviation):.1f} % {'above' if deviation > 0 else 'below'}"
