"""Logits far from zero, NaN and infinities: every backend does with them what the reference does."""

import pytest
import torch

from sasa_cli.attention.backends.cpu import kernel as cpu_kernel
from sasa_cli.attention.backends.cpu.kernel import INSTRUCTION_SETS, CpuKernel
from sasa_cli.attention.problem import Inputs

from ..cases import CPU_BACKENDS, Case, computes

BACKENDS = [pytest.param(name, None, id=name) for name in CPU_BACKENDS if name != "cpu"]
BACKENDS += [pytest.param("cpu", name, id=f"cpu-{name}") for name in INSTRUCTION_SETS]
CASES = [Case(3), Case(3, border="mask", position="per_head"), Case(3, border="mask", position="none")]
NO_CONTENT = Case(3, content=False)


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backend by name; that of the CPU by one instruction set."""
    name, instruction_set = request.param
    if instruction_set is not None:
        try:
            kernel = CpuKernel(instruction_set)
        except OSError as error:
            pytest.skip(str(error))
        monkeypatch.setattr(cpu_kernel, "_load", lambda: kernel)
    return str(name)


each_backend = pytest.mark.parametrize(
    "backend", [pytest.param(each.values, id=each.id) for each in BACKENDS], indirect=True
)


def far_logits(case: Case, scale: float, dtype: torch.dtype) -> Inputs:
    """Logits that are different multiples of ``scale`` within a window, exact in every dtype and any order of sums."""
    inputs = Inputs(*(None if tensor is None else tensor.detach().clone() for tensor in case.inputs(dtype)))
    random = torch.Generator().manual_seed(2)
    batch, heads, head_dim, height, width = case.shape
    first, second = 0, head_dim // 2
    signs = torch.randint(0, 2, (batch, heads, height, width), generator=random) * 2.0 - 1
    inputs.query.zero_()
    inputs.query[:, :, first] = inputs.query[:, :, second] = (signs * scale).to(dtype)
    if case.content:
        assert inputs.key is not None
        places = [1 + torch.randperm(height * width, generator=random) for _ in range(batch * heads)]
        inputs.key[:, :, first] = 16.0 * torch.stack(places).view(batch, heads, height, width).to(dtype)
        inputs.key[:, :, second] = 0.0
    if inputs.row_embedding is not None and inputs.column_embedding is not None:
        offsets = torch.arange(case.spatial_extent).to(dtype)
        inputs.row_embedding[..., 0, :], inputs.column_embedding[..., 0, :] = 3 * offsets, offsets
    return Inputs(*(None if tensor is None else tensor.requires_grad_() for tensor in inputs))


def assert_equals_float64(actual: dict[str, torch.Tensor], inputs: Inputs, case: Case, tolerance: float) -> None:
    """Values and gradients equal those of float64; those of queries and keys in units of what multiplies them."""
    exact = Inputs(*(None if tensor is None else tensor.detach().double().requires_grad_() for tensor in inputs))
    expected = case.output_and_gradients(exact, "reference")
    units = dict.fromkeys(("key", "row_embedding", "column_embedding"), inputs.query.detach().double().abs().max())
    if inputs.key is not None and case.content:
        units["query"] = inputs.key.detach().double().abs().max()
    for name, tensor in expected.items():
        error = (actual[name].double() - tensor).abs().max() / units.get(name, 1.0)
        assert error <= tolerance, (name, float(error))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 3e-6)], ids=str)
@pytest.mark.parametrize("scale", [2.0**7, 2.0**14, 2.0**34, 2.0**43], ids="{:.0e}".format)
@pytest.mark.parametrize("case", [*CASES, NO_CONTENT], ids=str)
@each_backend
def test_logits_from_1e2_to_1e13(backend: str, case: Case, scale: float, dtype: torch.dtype, tolerance: float) -> None:
    inputs = far_logits(case, scale, dtype)
    assert_equals_float64(case.output_and_gradients(inputs, backend), inputs, case, tolerance)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # Triton's interpreter is NumPy
@pytest.mark.parametrize("where", ["query", "key", "value"])
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("case", CASES, ids=str)
@each_backend
def test_what_is_not_finite_comes_through(backend: str, case: Case, number: float, where: str) -> None:
    inputs = case.inputs(torch.float32)
    getattr(inputs, where).data[0, 0, 0, 2, 3] = number
    expected = case.output_and_gradients(inputs, "reference")
    actual = case.output_and_gradients(inputs, backend)
    for name, tensor in expected.items():
        assert not (actual[name].isfinite() & ~tensor.isfinite()).any(), name
        if "embedding" not in name:
            assert actual[name][1:].isfinite().all(), name  # no image touches another


@pytest.mark.parametrize("factor", [1, 4, 64])
@each_backend
def test_rounding_the_output_costs_no_gradients(backend: str, factor: int) -> None:
    """What rounding the output takes from it does not come back in the gradients of logits (it was 4 to 9 e-3)."""
    case = Case(7, (2, 4, 16, 14, 14))
    if not computes(backend, case.problem(torch.bfloat16)):
        pytest.skip(f"{backend} does not compute bfloat16 here")
    inputs = case.inputs(torch.bfloat16)
    inputs = inputs._replace(query=(inputs.query * factor).detach().requires_grad_())
    exact = Inputs(*(None if tensor is None else tensor.detach().double().requires_grad_() for tensor in inputs))
    actual, expected = case.output_and_gradients(inputs, backend), case.output_and_gradients(exact, "reference")
    for name, tensor in expected.items():
        assert (actual[name] - tensor).norm() <= 3.8e-3 * tensor.norm(), name
