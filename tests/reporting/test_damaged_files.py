"""What is damaged costs its run's part of a report, and is named; never the report."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sasa_cli.reporting.report import build_report

from .results_folder import Experiment

Damage = Callable[[bytes], bytes]
EVERYWHERE: dict[str, Damage] = {
    "empty": lambda text: b"",
    "binary": lambda text: bytes(range(256)),
    "a list": lambda text: b"[1, 2]",
    "a number": lambda text: b"7",
    "half of it": lambda text: text[: len(text) // 2],
    "nested without end": lambda text: b"[" * 100_000,
    "not UTF-8": lambda text: text + b"\n\xff\xfe",
}
OF_SPECS: dict[str, Damage] = {
    "an impossible date": lambda text: text.replace(b"lr: ", b"lr: 2024-00-00 #"),
    "an anchor that refers to itself": lambda text: b"a: &a [*a, *a]\n",
    "a value of another type": lambda text: text.replace(b"epochs: ", b"epochs: !!float x"),
    "other settings": lambda text: text.replace(b"lr: ", b"lr: 1"),
    "a null character": lambda text: text[:20] + b"\0" + text[20:],
}
OF_METRICS: dict[str, Damage] = {
    "no rows": lambda text: text.split(b"\n", 1)[0] + b"\n",
    "another heading": lambda text: text.replace(b"epoch", b"time", 1),
    "a number that is none": lambda text: text.replace(b"\n1,", b"\nNaN,"),
}
CASES = [
    (name, kind, damage)
    for name, damages in (
        ("spec.yaml", EVERYWHERE | OF_SPECS),
        ("metrics.csv", EVERYWHERE | OF_METRICS),
        ("record.json", EVERYWHERE),
        ("plan.json", EVERYWHERE),
    )
    for kind, damage in damages.items()
]


@pytest.mark.parametrize(("name", "kind", "damage"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_damaged_file_is_named_and_costs_no_report(name: str, kind: str, damage: Damage, small: Experiment) -> None:
    file = damaged_file(small, name)
    before = file.read_bytes()
    file.write_bytes(damage(before))
    assert file.read_bytes() != before
    problems = build_report([small.paths.folder], ["md"]).problems
    assert problems
    assert all(name in str(problem) or "record.json" in str(problem) for problem in problems)
    assert "k7-CCAA" in (small.paths.report / "report.md").read_text()


def damaged_file(experiment: Experiment, name: str) -> Path:
    folder = experiment.paths.run(experiment.runs[0].run_id).folder
    return experiment.paths.plan if name == "plan.json" else folder / name
