"""Counts as they are shown: exact integers for programs, rounded figures for readers. Imports no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sasa_cli.counting.layers import LayerCount, Product
from sasa_cli.counting.macs import ModelCount
from sasa_cli.rendering.numbers import counted, digits
from sasa_cli.rendering.table import Column, Filled, Number, Table, assemble, for_programs

By = Literal["model", "stage", "layer"]
FIELDS = ("params", "macs", "flops", "flops_executed", "activations")
HEADERS = ("Parameters", "MACs", "FLOPs (2 x MACs)", "FLOPs executed", "Activations")
LABELS: dict[By, tuple[Column, ...]] = {
    "model": (),
    "stage": (Column("Stage", "left", names=("stage",)),),
    # The name of a layer tells readers its stage.
    "layer": (
        Column("", "left", names=("stage",)),
        Column("Layer", "left", names=("layer",)),
        Column("Kind", "left", names=("kind",)),
        Column("Output", "left", names=("shape",)),
    ),
}
NOTES = (
    "FLOPs: convolutions, linear layers, projections, q.k and q.r over all k x k places, a.v; border places counted, "
    "nothing elementwise.",
    "FLOPs executed: the same with q.r factored into k row and k column products, as in the window backends.",
    "Activations: elements of layer outputs for one image, with queries, keys and values (4 bytes each in float32).",
)


def count_payload(counts: Iterable[ModelCount], *, by: By = "model", explain: bool = False) -> dict[str, Any]:
    """What `count-flops --json` prints: exact integers, the stages of each model, and its layers if asked for.

    Args:
        counts: The models, in order.
        by: "layer" adds the layers.
        explain: Adds the layers and, to each, its products.
    """
    models = []
    for count in counts:
        model: dict[str, Any] = {
            "model": count.model,
            "image_size": list(count.image[1:]),
            "num_classes": count.num_classes,
            **_figures(count),
            "stages": [{"stage": stage, **_figures(part)} for stage, part in count.by_stage().items()],
        }
        if by == "layer" or explain:
            model["layers"] = [_layer_payload(layer, explain=explain) for layer in count.layers]
        models.append(model | {"notes": list(count.notes)})
    return {"models": models}


def _layer_payload(layer: LayerCount, *, explain: bool) -> dict[str, Any]:
    payload = {"layer": layer.name, "stage": layer.stage, "kind": layer.kind, "shape": list(layer.shape)}
    if explain:
        payload["products"] = [
            {
                "product": product.name,
                "formula": product.formula,
                "sizes": list(product.sizes),
                "macs": product.macs,
                "macs_executed": product.macs_executed,
            }
            for product in layer.products
        ]
    return payload | _figures(layer)


def count_table(counts: Sequence[ModelCount], *, by: By = "model") -> Table:
    """A row for each model, stage or layer; for readers also the sum of each model that has several."""
    title, names = _names(counts, always=by == "model")
    rows = [
        _Row(count, name, labels, tuple(map(counted, _figures(part).values())), sums=part is count and by != "model")
        for count, name in zip(counts, names, strict=True)
        for labels, part in _parts(count, by)
    ]
    figures = [Column(header, names=(field,)) for header, field in zip(HEADERS, FIELDS, strict=True)]
    return _table(title, rows, LABELS[by], figures, _notes(counts))


def explain_table(counts: Sequence[ModelCount]) -> Table:
    """Each product of each layer: its formula, the numbers in it, and its MACs; for readers also their sum."""
    title, names = _names(counts)
    rows = []
    for count, name in zip(counts, names, strict=True):
        for layer in count.layers:
            for product in layer.products:
                labels = (layer.name, layer.kind, product.name, product.formula, _numbers(product))
                rows.append(_Row(count, name, labels, _macs(product)))
        rows.append(_Row(count, name, ("total", "", "", "", ""), _macs(count), sums=True))
    headers = ("Layer", "Kind", "Product", "Formula", "Numbers")
    columns = [Column(header, "left", names=(header.lower(),)) for header in headers]
    figures = (Column("MACs", names=("macs",)), Column("MACs executed", names=("macs_executed",)))
    return _table(title, rows, columns, figures, _notes(counts))


@dataclass(frozen=True)
class _Row:
    count: ModelCount
    """Of the model that it belongs to."""
    model: str
    """What readers call that model; empty where the title says it."""
    labels: tuple[str, ...]
    figures: tuple[Number, ...]
    sums: bool = False


def _names(counts: Sequence[ModelCount], *, always: bool = False) -> tuple[str, list[str]]:
    """A title, and what rows must say besides: the model where there are several, the image where these differ."""
    inputs = [f"{_sizes(count.image)}, {count.num_classes} classes" for count in counts]
    if len(set(inputs)) > 1:
        return "Parameters and FLOPs", [f"{count.model}, {its}" for count, its in zip(counts, inputs, strict=True)]
    if len(counts) > 1 or always:
        return f"Parameters and FLOPs, image {inputs[0]}", [count.model for count in counts]
    return f"{counts[0].model}, image {inputs[0]}", [""]


def _parts(count: ModelCount, by: By) -> list[tuple[tuple[str, ...], ModelCount | LayerCount]]:
    """What a table has a row for, each with its labels; the sum comes last."""
    if by == "model":
        return [((), count)]
    if by == "stage":
        return [*(((stage,), part) for stage, part in count.by_stage().items()), (("total",), count)]
    layers = [((layer.stage, layer.name, layer.kind, _sizes(layer.shape)), layer) for layer in count.layers]
    return [*layers, (("", "total", "", ""), count)]


def _figures(part: ModelCount | LayerCount) -> dict[str, int]:
    values = (part.params, part.macs, 2 * part.macs, 2 * part.macs_executed, part.activations)
    return dict(zip(FIELDS, values, strict=True))


def _macs(part: ModelCount | Product) -> tuple[Number, Number]:
    return digits(part.macs), digits(part.macs_executed)


def _numbers(product: Product) -> str:
    numbers = " x ".join(map(str, product.sizes))
    if product.executed is None:
        return numbers
    return f"{numbers} (executed: {' x '.join(map(str, product.executed))})"


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _notes(counts: Sequence[ModelCount]) -> tuple[str, ...]:
    return (*NOTES, *(note for count in counts for note in count.notes))


def _table(
    title: str, rows: Sequence[_Row], labels: Sequence[Column], figures: Sequence[Column], notes: tuple[str, ...]
) -> Table:
    readers: list[Filled] = [(Column("Model", "left", names=()), [row.model for row in rows])]
    columns: list[Filled] = [
        for_programs("model", [row.count.model for row in rows]),
        for_programs("image", [_sizes(row.count.image) for row in rows]),
        for_programs("num_classes", [row.count.num_classes for row in rows]),
        *(readers if any(row.model for row in rows) else []),
        *zip(labels, zip(*(row.labels for row in rows), strict=True), strict=True),
        *zip(figures, zip(*(row.figures for row in rows), strict=True), strict=True),
    ]
    return assemble(title, columns, notes, [place for place, row in enumerate(rows) if row.sums])
