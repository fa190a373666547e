"""The table by which ``backend="auto"`` chooses, on machines that this one is not."""

from dataclasses import replace

import pytest
import torch

from sasa_cli.attention import Problem, choice, estimate_behind
from sasa_cli.attention.backends import BACKENDS
from sasa_cli.attention.backends.backend import Backend
from sasa_cli.attention.choice import TABLE, Choice, Line, decide

from .cases import Case

WITHOUT_COMPILER = [replace(b, missing=lambda: "no compiler") if b.name == "cpu" else b for b in BACKENDS]
EVERYTHING = [replace(b, missing=lambda: None) for b in BACKENDS]


def problem(side: int, spatial_extent: int = 7, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Problem:
    return replace(Case(spatial_extent, (16, 8, 8, side, side)).problem(dtype), device=device)


@pytest.mark.parametrize(
    ("side", "spatial_extent", "expected"),
    [
        (56, 7, "shift"),
        (28, 7, "shift"),
        (14, 7, "dense"),
        (7, 7, "dense"),
        (32, 7, "shift"),
        (16, 7, "shift"),
        (8, 7, "dense"),
        (4, 7, "dense"),
        (14, 3, "shift"),
        (8, 3, "shift"),
        (4, 3, "dense"),
        (14, 11, "dense"),
        (28, 11, "shift"),
        (8, 1, "shift"),
    ],
)
def test_auto_takes_dense_for_maps_of_up_to_four_windows(side: int, spatial_extent: int, expected: str) -> None:
    choice = decide(problem(side, spatial_extent), "auto", WITHOUT_COMPILER)
    assert choice.backend.name == expected
    assert choice.refused == {"cpu": "no compiler"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("side", [4, 14, 56])
def test_auto_takes_the_compiled_kernel_on_a_cpu(side: int, dtype: torch.dtype) -> None:
    choice = decide(problem(side, dtype=dtype), "auto", EVERYTHING)
    assert (choice.backend.name, choice.refused) == ("cpu", {})


def test_auto_says_why_the_compiled_kernel_was_passed_over() -> None:
    choice = decide(problem(14, dtype=torch.float16), "auto", EVERYTHING)
    assert choice.backend.name == "dense"
    assert choice.refused == {"cpu": "it takes float32, float64 and bfloat16, not torch.float16"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(("side", "expected"), [(7, "triton"), (28, "triton"), (56, "triton")])
def test_auto_takes_the_fused_kernel_on_cuda(side: int, expected: str, dtype: torch.dtype) -> None:
    choice = decide(problem(side, device="cuda", dtype=dtype), "auto", EVERYTHING)
    assert (choice.backend.name, choice.refused) == (expected, {})


@pytest.mark.parametrize(("side", "expected"), [(14, "dense"), (56, "shift")])
def test_auto_takes_plain_torch_on_any_other_device(side: int, expected: str) -> None:
    assert decide(problem(side, device="mps"), "auto", BACKENDS).backend.name == expected


def test_every_line_names_a_backend_and_gives_its_evidence() -> None:
    assert {line.backend for line in TABLE} == {backend.name for backend in BACKENDS}
    for line in TABLE:
        assert line.evidence.startswith("measured"), line.backend  # estimates had it that sdpa is the fastest on a GPU


def backend_like(name: str, **changes: object) -> Backend:
    return Backend(name, **({"forward": BACKENDS[-1].forward, "backward": BACKENDS[-1].backward} | changes))


ABSENT = backend_like("absent", missing=lambda: "it needs a GPU")
PICKY = backend_like("picky", supports=lambda problem: f"float16 only, got {problem.dtype}")
MODEST, GOOD = backend_like("modest"), backend_like("good")
OWN = (ABSENT, PICKY, MODEST, GOOD)
OWN_TABLE = [
    Line("absent", "cpu", lambda problem: True, "", "cpu"),
    Line("picky", None, lambda problem: True, "", "cpu"),
    Line("modest", None, lambda problem: False, "", "cpu"),
    Line("good", None, lambda problem: True, "", "cpu"),
    Line("modest", "cuda", lambda problem: True, "", "cpu"),
]


def test_auto_passes_over_backends_that_cannot_and_forcing_them_says_why() -> None:
    asked = Case(3).problem(torch.float32)
    choice = decide(asked, "auto", OWN, OWN_TABLE)
    assert choice.backend is GOOD
    assert choice.refused == {"absent": "it needs a GPU", "picky": "float16 only, got torch.float32"}
    assert decide(asked, "modest", OWN, OWN_TABLE) == Choice(MODEST, {})
    with pytest.raises(ValueError, match="backend 'absent' cannot compute this: it needs a GPU"):
        decide(asked, "absent", OWN, OWN_TABLE)
    with pytest.raises(ValueError, match=r"backend 'picky' cannot compute this: float16 only, got torch\.float32"):
        decide(asked, "picky", OWN, OWN_TABLE)


def test_suitable_backends_come_in_the_order_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "BACKENDS", tuple(EVERYTHING))
    assert choice.suitable_backends(problem(14)) == ["cpu", "dense", "shift"]
    assert choice.suitable_backends(problem(56)) == ["cpu", "shift"]
    assert choice.suitable_backends(problem(14, device="cuda")) == ["triton", "sdpa", "halo", "dense", "shift"]
    assert choice.suitable_backends(problem(56, device="cuda")) == ["triton", "halo", "shift"]


def test_a_choice_that_nobody_measured_there_is_said_to_be_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert estimate_behind(problem(14)) is None
    said = "backend 'dense' is an estimate on mps: it was chosen by times on cpu"
    assert estimate_behind(problem(14, device="mps")) == said
    monkeypatch.setattr(choice, "BACKENDS", tuple(EVERYTHING))
    assert estimate_behind(problem(14, device="cuda")) is None
