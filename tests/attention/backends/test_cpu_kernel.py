"""What is particular to the compiled CPU kernel: lanes, tasks, threads, layouts, memory, and where it is missing."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sasa_cli.attention.backends.backend import Backend
from sasa_cli.attention.backends.cpu import kernel as cpu_kernel
from sasa_cli.attention.backends.cpu.kernel import INSTRUCTION_SETS, CpuKernel
from sasa_cli.attention.problem import Inputs, describe
from sasa_cli.attention.reference import reference_local_attention

needs_kernel = pytest.mark.skipif(
    cpu_kernel.why_unavailable() is not None, reason=f"no CPU kernel: {cpu_kernel.why_unavailable()}"
)
Results = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def random_inputs(
    batch: int = 2,
    heads: int = 3,
    head_dim: int = 8,
    height: int = 13,
    width: int = 9,
    extent: int = 5,
    *,
    per_head: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Inputs:
    random = torch.Generator().manual_seed(batch)
    shape = (batch, heads, head_dim, height, width)
    maps = (torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for _ in range(3))
    embedding_shape = (heads, head_dim // 2, extent) if per_head else (head_dim // 2, extent)
    embeddings = (torch.randn(embedding_shape, generator=random, dtype=torch.float64).to(dtype) for _ in range(2))
    return Inputs(*maps, *embeddings)


def gradient_of_output(inputs: Inputs) -> torch.Tensor:
    return torch.cos(torch.arange(inputs.query.numel(), dtype=inputs.query.dtype)).view(inputs.query.shape)


def run(inputs: Inputs, extent: int, border: str = "zero", kernel: CpuKernel | None = None) -> Results:
    """Output, log-sum-exp and all gradients."""
    problem = describe(inputs, extent, border)
    backend = Backend("kernel", kernel.forward, kernel.backward) if kernel else cpu_kernel.BACKEND
    out, lse = backend.forward(problem, inputs)
    gradients = backend.gradients(problem, gradient_of_output(inputs), inputs, out, lse)
    return {"out": out, "lse": lse} | {k: v for k, v in gradients._asdict().items() if v is not None}


def run_reference(inputs: Inputs, extent: int, border: str = "zero") -> Results:
    leaves = Inputs(*(None if t is None else t.double().requires_grad_() for t in inputs))
    content = leaves.key is not None
    out = reference_local_attention(*leaves, spatial_extent=extent, border=border, content=content)
    out.backward(gradient_of_output(inputs).double())
    gradients = {k: v.grad for k, v in leaves._asdict().items() if v is not None and v.grad is not None}
    return {"out": out.detach()} | gradients


def assert_same_bits(actual: Results, expected: Results) -> None:
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


def assert_close(actual: Results, expected: Results, tolerance: float) -> None:
    for name, tensor in expected.items():
        error = (actual[name].double() - tensor.double()).abs().max()
        assert error <= tolerance * tensor.abs().max(), name


@needs_kernel
@pytest.mark.parametrize("batch", [1, 17])  # bands of rows; groups of planes, the last one partly filled
@pytest.mark.parametrize("per_head", [False, True])
def test_same_bits_for_any_number_of_threads(batch: int, per_head: bool) -> None:
    inputs = random_inputs(batch, height=24, per_head=per_head)
    torch.set_num_threads(1)
    expected = run(inputs, 5)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        assert_same_bits(run(inputs, 5), expected)


@needs_kernel
@pytest.mark.parametrize("layout", ["channels_last", "every_other_column", "rows_last"])
@pytest.mark.parametrize("head_dim", [2, 6, 8])
def test_same_bits_for_any_strides(layout: str, head_dim: int) -> None:
    inputs = random_inputs(head_dim=head_dim)

    def strided(tensor: torch.Tensor) -> torch.Tensor:
        if layout == "channels_last":
            return tensor.permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2)
        if layout == "rows_last":
            return tensor.transpose(3, 4).contiguous().transpose(3, 4)
        return tensor.repeat_interleave(2, dim=-1)[..., ::2]

    others = Inputs(*(strided(t) for t in inputs[:3]), *inputs[3:])
    assert others.query.stride() != inputs.query.stride()
    assert_same_bits(run(others, 5), run(inputs, 5))


@needs_kernel
def test_output_and_gradients_keep_the_layout() -> None:
    inputs = random_inputs()
    query = inputs.query.permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2)
    results = run(inputs._replace(query=query), 5)
    assert results["out"].stride() == results["query"].stride() == query.stride()
    assert results["key"].is_contiguous()


@needs_kernel
@pytest.mark.parametrize("border", ["zero", "mask"])
@pytest.mark.parametrize("batch", [1, 2, 5, 16, 17])
def test_any_batch_size(batch: int, border: str) -> None:
    inputs = random_inputs(batch, per_head=True, dtype=torch.float64)
    assert_close(run(inputs, 5, border), run_reference(inputs, 5, border), 1e-10)


@needs_kernel
@pytest.mark.parametrize(("height", "extent"), [(4, 3), (9, 3), (40, 3), (11, 7), (12, 7), (23, 7), (50, 7)])
def test_bands_of_rows_share_keys_correctly(height: int, extent: int) -> None:
    inputs = random_inputs(1, 2, 4, height, 3, extent, dtype=torch.float64)
    assert_close(run(inputs, extent), run_reference(inputs, extent), 1e-10)


@needs_kernel
def test_without_images() -> None:
    inputs = random_inputs()
    results = run(Inputs(*(t[:0] for t in inputs[:3]), *inputs[3:]), 5)
    assert results["out"].shape == (0, 3, 8, 13, 9)
    assert not results["row_embedding"].any()
    assert not results["column_embedding"].any()


@needs_kernel
def test_nan_is_not_swallowed() -> None:
    inputs = random_inputs()
    inputs.query[0, 0, 0, 6, 4] = torch.nan
    out = run(inputs, 5)["out"]
    assert out[0, 0, :, 6, 4].isnan().all()
    assert not out[1:].isnan().any()


@needs_kernel
def test_large_logits() -> None:
    inputs = random_inputs()
    inputs = inputs._replace(query=inputs.query * 100)
    assert_close({"out": run(inputs, 5)["out"]}, {"out": run_reference(inputs, 5)["out"]}, 1e-4)


@needs_kernel
def test_bfloat16_with_float32_sums() -> None:
    inputs = random_inputs(dtype=torch.bfloat16)
    results = run(inputs, 5)
    assert results["lse"].dtype == torch.float32
    assert all(tensor.dtype == torch.bfloat16 for name, tensor in results.items() if name != "lse")
    assert_close(results, run_reference(inputs, 5), 2e-2)


@needs_kernel
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize(("extent", "border"), [(3, "zero"), (7, "mask"), (9, "zero"), (19, "mask")])
def test_instruction_sets(instruction_set: str, extent: int, border: str) -> None:
    try:
        kernel = CpuKernel(instruction_set)
    except OSError as error:
        pytest.skip(str(error))
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        inputs = random_inputs(extent=extent, dtype=dtype)
        assert_close(run(inputs, extent, border, kernel), run_reference(inputs, extent, border), tolerance)


MEMORY_SCRIPT = """
import resource, torch
from sasa_cli.attention.backends.cpu import kernel as cpu_kernel
from sasa_cli.attention.problem import Inputs, describe
torch.set_num_threads(2)
query, key, value, grad = (torch.randn(16, 8, 8, 56, 56) for _ in range(4))
inputs = Inputs(query, key, value, torch.randn(4, 7), torch.randn(4, 7))
problem = describe(inputs, 7, "zero")
small = describe(Inputs(*(t[:1, :, :, :8, :8] for t in inputs[:3]), *inputs[3:]), 7, "zero")
cpu_kernel.BACKEND.forward(small, Inputs(*(t[:1, :, :, :8, :8] for t in inputs[:3]), *inputs[3:]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out, lse = cpu_kernel.BACKEND.forward(problem, inputs)
gradients = cpu_kernel.BACKEND.gradients(problem, grad, inputs, out, lse)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@needs_kernel
@pytest.mark.slow
def test_extra_memory() -> None:
    """Forward and backward at 56 x 56, k = 7, batch 16, C = 64: 3 % of the 2508 MB of the unfold formulation."""
    result = subprocess.run([sys.executable, "-c", MEMORY_SCRIPT], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 75


def test_missing_library_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="takes a C\\+\\+ compiler"):
        CpuKernel("baseline", tmp_path)

    def missing(instruction_set: str) -> CpuKernel:
        return CpuKernel(instruction_set, tmp_path)

    monkeypatch.setattr(cpu_kernel, "CpuKernel", missing)
    cpu_kernel._load.cache_clear()
    try:
        reason = cpu_kernel.why_unavailable()
        assert reason is not None
        assert reason.count("not built") == 1
        assert cpu_kernel.instruction_set() is None
        inputs = random_inputs()
        with pytest.raises(RuntimeError, match="does not run here: it was not built"):
            cpu_kernel.BACKEND.forward(describe(inputs, 5, "zero"), inputs)
    finally:
        cpu_kernel._load.cache_clear()


def test_refuses_half_precision() -> None:
    inputs = Inputs(*(t.half() for t in random_inputs()))
    assert "float16" in (cpu_kernel.BACKEND.supports(describe(inputs, 5, "zero")) or "")
