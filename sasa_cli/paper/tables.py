"""Every printed number of the paper's Tables 1 to 7 that this package has something to say about. Imports no torch."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import yaml

from sasa_cli.spec import ModelSpec

Quantity = Literal["params", "flops", "top1"]
Split = Literal["test", "held-out"]


@dataclass(frozen=True)
class PaperRow:
    """One row of Tables 1 and 3 to 7: a network for ImageNet and what is printed about it."""

    table: int
    row: str
    model: ModelSpec
    params: float | None
    """Millions, as printed; None where the paper prints none (Tables 4 and 7)."""
    flops: float
    """Billions, as printed, at 224 px and 1000 classes."""
    top1: float
    """Per cent of the images of `split`, as printed."""
    split: Split
    """test: the validation set of ImageNet; held-out: 4 % of its training set (Tables 3 and 5). Never to be mixed."""
    single_source: frozenset[Quantity]
    """What one stored text of the paper says and no second one confirms."""


@dataclass(frozen=True)
class CocoRow:
    """One row of Table 2: a RetinaNet on COCO, of which only the backbone can be counted here."""

    heads: Literal["conv", "attention"]
    """What the heads and the feature pyramid are made of."""
    backbone: str
    model: ModelSpec
    """Of the backbone."""
    params: float
    """Millions, as printed, of the whole detector."""
    flops: float
    """Billions, as printed, of the whole detector."""
    map: float
    """Mean average precision in per cent, as printed."""

    @property
    def row(self) -> str:
        return f"{self.heads} heads + FPN, {self.backbone}"


def _imagenet_rows(tables: list[dict[str, Any]]) -> tuple[PaperRow, ...]:
    return tuple(
        PaperRow(
            table=table["table"],
            row=row["row"],
            model=ModelSpec.model_validate(row["model"]),
            params=row["cells"].get("params"),
            flops=row["cells"]["flops"],
            top1=row["cells"]["top1"],
            split=table["split"],
            single_source=frozenset(row.get("single_source", ())),
        )
        for table in tables
        for row in table["rows"]
    )


def _coco_rows(rows: list[dict[str, Any]]) -> tuple[CocoRow, ...]:
    return tuple(
        CocoRow(row["heads"], row["backbone"], ModelSpec.model_validate(row["model"]), **row["cells"]) for row in rows
    )


_TABLES = yaml.safe_load(files("sasa_cli.paper").joinpath("tables.yaml").read_text(encoding="utf-8"))
PAPER_ROWS: tuple[PaperRow, ...] = _imagenet_rows(_TABLES["imagenet"])
COCO_ROWS: tuple[CocoRow, ...] = _coco_rows(_TABLES["coco"])
