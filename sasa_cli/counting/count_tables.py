"""Counts as they are shown: exact integers for programs, rounded figures for readers. Imports no torch."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from sasa_cli.counting.layers import LayerCount, Product
from sasa_cli.counting.macs import ModelCount
from sasa_cli.rendering.table import Column, Table

By = Literal["model", "stage", "layer"]
FIELDS = ("params", "macs", "flops", "flops_executed", "activations")
HEADERS = ("Parameters", "MACs", "FLOPs (2 x MACs)", "FLOPs executed", "Activations")
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


def count_table(counts: Sequence[ModelCount], *, by: By = "model", exact: bool = False) -> Table:
    """A row for each model, stage or layer.

    Args:
        counts: The models, in order.
        by: What a row is.
        exact: For programs: integers without unit, columns named as in `count_payload`, no sums and no notes.
    """
    return _exact_table(counts, by) if exact else _printed_table(counts, by)


def explain_table(counts: Sequence[ModelCount]) -> Table:
    """Each product of each layer: its formula, the numbers in it, and its MACs."""
    title, names = _names(counts)
    rows = []
    for count, name in zip(counts, names, strict=True):
        for layer in count.layers:
            for product in layer.products:
                texts = (layer.name, layer.kind, product.name, product.formula, _numbers(product))
                rows.append((*name, *texts, f"{product.macs:,}", f"{product.macs_executed:,}"))
        rows.append((*name, "total", "", "", "", "", f"{count.macs:,}", f"{count.macs_executed:,}"))
    labels = (*_model_header(names), "Layer", "Kind", "Product", "Formula", "Numbers")
    return _table(title, labels, ("MACs", "MACs executed"), rows, _notes(counts))


def format_count(number: int) -> str:
    """A count for readers: `18.02 M`, `6.966 G`; below a million all its digits."""
    if number >= 10**9:
        return f"{number / 10**9:.3f} G"
    return f"{number / 10**6:.2f} M" if number >= 10**6 else f"{number:,}"


def _exact_table(counts: Sequence[ModelCount], by: By) -> Table:
    labels = {"model": (), "stage": ("stage",), "layer": ("stage", "layer", "kind", "shape")}[by]
    rows = [
        (count.model, _sizes(count.image), str(count.num_classes), *texts, *map(str, _figures(part).values()))
        for count in counts
        for texts, part in _parts(count, by)
    ]
    return _table("Parameters and FLOPs", ("model", "image", "num_classes", *labels), FIELDS, rows)


def _printed_table(counts: Sequence[ModelCount], by: By) -> Table:
    if by == "model":
        title, names = _names(counts, always=True)
        rows = [(*name, *_printed(count)) for count, name in zip(counts, names, strict=True)]
        return _table(title, ("Model",), HEADERS, rows, _notes(counts))
    title, names = _names(counts)
    labels = ("Stage",) if by == "stage" else ("Layer", "Kind", "Output")
    rows = []
    for count, name in zip(counts, names, strict=True):
        # The name of a layer tells its stage.
        rows += [(*name, *texts[-len(labels) :], *_printed(part)) for texts, part in _parts(count, by)]
        rows.append((*name, "total", *[""] * (len(labels) - 1), *_printed(count)))
    return _table(title, (*_model_header(names), *labels), HEADERS, rows, _notes(counts))


def _names(counts: Sequence[ModelCount], *, always: bool = False) -> tuple[str, list[tuple[str, ...]]]:
    """A title, and what rows must say besides: the model where there are several, the image where these differ."""
    inputs = [f"{_sizes(count.image)}, {count.num_classes} classes" for count in counts]
    if len(set(inputs)) > 1:
        return "Parameters and FLOPs", [(f"{count.model}, {its}",) for count, its in zip(counts, inputs, strict=True)]
    if len(counts) > 1 or always:
        return f"Parameters and FLOPs, image {inputs[0]}", [(count.model,) for count in counts]
    return f"{counts[0].model}, image {inputs[0]}", [()]


def _model_header(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return ("Model",) if any(names) else ()


def _parts(count: ModelCount, by: By) -> list[tuple[tuple[str, ...], ModelCount | LayerCount]]:
    """What a table has a row for, each with its labels."""
    if by == "model":
        return [((), count)]
    if by == "stage":
        return [((stage,), part) for stage, part in count.by_stage().items()]
    return [((layer.stage, layer.name, layer.kind, _sizes(layer.shape)), layer) for layer in count.layers]


def _figures(part: ModelCount | LayerCount) -> dict[str, int]:
    values = (part.params, part.macs, 2 * part.macs, 2 * part.macs_executed, part.activations)
    return dict(zip(FIELDS, values, strict=True))


def _printed(part: ModelCount | LayerCount) -> tuple[str, ...]:
    return tuple(map(format_count, _figures(part).values()))


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
    title: str,
    labels: Iterable[str],
    figures: Iterable[str],
    rows: Iterable[tuple[str, ...]],
    notes: tuple[str, ...] = (),
) -> Table:
    columns = (*(Column(header, "left") for header in labels), *map(Column, figures))
    return Table(title, columns, tuple(rows), notes)
