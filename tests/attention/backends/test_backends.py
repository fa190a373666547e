"""Every backend computes what the reference computes: values, all gradients, layout and log-sum-exp."""

import functools
from dataclasses import replace

import pytest
import torch

from sasa_cli.attention import available_backends
from sasa_cli.attention.backends import halo, library, sdpa
from sasa_cli.attention.backends.eager import EagerKernel

from ..cases import CASES, CPU_BACKENDS, LAYERS, LAYOUTS, SHAPES, Case, Inputs, computes

LIBRARY = ("sdpa", "halo")  # their backward pass computes the softmax again, and gives no log-sum-exp


def runs(dtype: torch.dtype, cases: list[Case]) -> list[tuple[str, Case]]:
    return [(b, case) for b in CPU_BACKENDS for case in cases if computes(b, case.problem(dtype))]


@functools.cache
def exact(case: Case, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The reference in float64, on the inputs as rounded to ``dtype``."""
    rounded = case.inputs(dtype)
    inputs = Inputs(*(None if t is None else t.detach().double().requires_grad_() for t in rounded))
    return case.output_and_gradients(inputs, "reference")


def assert_equals_reference(
    backend: str, case: Case, dtype: torch.dtype, tolerance: float, device: str = "cpu"
) -> None:
    """Largest difference to the reference at most ``tolerance`` times its largest value, or ``tolerance``."""
    inputs = Inputs(*(None if t is None else t.detach().to(device).requires_grad_() for t in case.inputs(dtype)))
    actual = case.output_and_gradients(inputs, backend)
    expected = exact(case, dtype)
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].dtype == dtype
        error = (actual[name].to(tensor) - tensor).abs().max()
        assert error <= tolerance * max(1.0, tensor.abs().max()), name


@pytest.mark.parametrize(("backend", "case"), runs(torch.float64, CASES), ids=str)
def test_float64(backend: str, case: Case) -> None:
    assert_equals_reference(backend, case, torch.float64, 1e-10)


@pytest.mark.parametrize(("backend", "case"), runs(torch.float32, [*SHAPES, *LAYOUTS]), ids=str)
def test_float32(backend: str, case: Case) -> None:
    assert_equals_reference(backend, case, torch.float32, 1e-5)


@pytest.mark.parametrize(
    ("backend", "case", "dtype", "tolerance"),
    [
        pytest.param(
            *(backend, case, dtype, tolerance),
            marks=[pytest.mark.slow] if case.shape[-1] > 14 else [],
            id=f"{backend}-{case}-{dtype}",
        )
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10))
        for backend, case in runs(dtype, LAYERS)
    ],
)
def test_layers_of_a_resnet(backend: str, case: Case, dtype: torch.dtype, tolerance: float) -> None:
    assert_equals_reference(backend, case, dtype, tolerance)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", available_backends())
@pytest.mark.parametrize("case", [*SHAPES, *LAYOUTS, *LAYERS], ids=str)
def test_cuda_float32(backend: str, case: Case) -> None:
    if not computes(backend, replace(case.problem(torch.float32), device="cuda")):
        pytest.skip(f"{backend} does not compute this on CUDA")
    assert_equals_reference(backend, case, torch.float32, 1e-5, device="cuda")


@pytest.mark.parametrize("border", ["zero", "mask"])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_several_slices_of_the_batch(backend: str, border: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sasa_cli.attention.backends.eager.CPU_SLICE_BYTES", 2**18)
    case = Case(5, (5, 2, 4, 10, 12), border, position="per_head")
    assert_equals_reference(backend, case, torch.float32, 1e-5)


HALF = [Case(3), Case(7, border="mask"), Case(5, position="none"), Case(7, (2, 2, 32, 9, 11), position="per_head")]


# bfloat16 rounds the result, the gradients and what is stored or passed on in between to 8 bits, a step of 2^-8.
@pytest.mark.parametrize(("backend", "case"), runs(torch.bfloat16, [*HALF, *LAYOUTS]), ids=str)
def test_bfloat16(backend: str, case: Case) -> None:
    assert_equals_reference(backend, case, torch.bfloat16, 2**-7)


@pytest.mark.parametrize(("backend", "case"), runs(torch.float16, HALF), ids=str)
def test_float16(backend: str, case: Case) -> None:
    assert_equals_reference(backend, case, torch.float16, 2**-9)


@pytest.mark.parametrize("backend", LIBRARY)
def test_position_logits_in_half_precision_keep_what_rounding_loses(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(7, (2, 2, 32, 14, 14))  # position logits up to about 20
    assert_equals_reference(backend, case, torch.bfloat16, 2**-7)
    monkeypatch.setattr(library, "_rounded", lambda logits, dtype: [logits.to(dtype)])
    with pytest.raises(AssertionError):
        assert_equals_reference(backend, case, torch.bfloat16, 2**-7)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("case", [Case(3, border="mask"), *LAYOUTS], ids=str)
def test_output_and_gradients_keep_the_memory_order(backend: str, case: Case) -> None:
    inputs = case.inputs(torch.float32)
    results = case.output_and_gradients(inputs, backend)
    expected = {"output": inputs.query} | inputs._asdict()
    for name, tensor in results.items():
        assert tensor.stride() == torch.empty_like(expected[name]).stride(), name


@pytest.mark.parametrize("backend", [name for name in CPU_BACKENDS if name not in LIBRARY])
@pytest.mark.parametrize("border", ["zero", "mask"])
def test_log_sum_exp_of_uniform_logits_counts_the_places(backend: str, border: str) -> None:
    value = torch.randn(2, 3, 4, 4, 5)
    _, lse = torch.ops.sasa.local_attention(torch.zeros_like(value), None, value, None, None, 3, border, backend)
    rows, columns = torch.tensor([2.0, 3, 3, 2]), torch.tensor([2.0, 3, 3, 3, 2])
    places = torch.full((4, 5), 9.0) if border == "zero" else rows[:, None] * columns
    torch.testing.assert_close(lse, places.log().expand(2, 3, 4, 5))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("border", ["zero", "mask"])
def test_large_logits_stay_finite(backend: str, border: str) -> None:
    case = Case(5, (1, 2, 4, 7, 6), border)
    inputs = case.inputs(torch.float32)
    scaled = inputs._replace(query=(inputs.query * 1e3).detach().requires_grad_())
    results = case.output_and_gradients(scaled, backend)
    assert all(tensor.isfinite().all() for tensor in results.values())


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_same_numbers_every_time(backend: str) -> None:
    case = Case(5, (3, 4, 8, 12, 12), position="per_head")
    inputs = case.inputs(torch.float32)
    first, second = (case.output_and_gradients(inputs, backend) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_empty_batch(backend: str) -> None:
    results = Case(3, (0, 2, 4, 5, 5)).output_and_gradients(Case(3, (0, 2, 4, 5, 5)).inputs(torch.float32), backend)
    assert results["output"].shape == (0, 2, 4, 5, 5)
    assert not results["row_embedding"].any()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_key_is_not_read_without_content(backend: str) -> None:
    case = Case(3, content=False)
    inputs = case.inputs()
    without_key = case.attend(inputs._replace(key=None), backend)
    assert torch.equal(case.attend(inputs, backend), without_key)


@pytest.mark.parametrize("backend", ["shift", *LIBRARY])
def test_saves_only_inputs_output_and_log_sum_exp(backend: str) -> None:
    case = Case(7, (2, 4, 8, 16, 16))
    inputs = case.inputs(torch.float32)
    saved: dict[int, int] = {}

    def record(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        output = case.attend(inputs, backend)
    input_bytes = sum(tensor.nbytes for tensor in inputs)
    lse_bytes = output.nbytes // 8
    assert sum(saved.values()) == input_bytes + output.nbytes + lse_bytes


def peak_bytes(case: Case, backend: str) -> int:
    """Largest memory that forward and backward hold beyond what was there before."""
    inputs = case.inputs(torch.float32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        case.output_and_gradients(inputs, backend)
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def test_shift_needs_a_few_times_the_memory_of_its_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sasa_cli.attention.backends.eager.CPU_SLICE_BYTES", 2**20)
    case = Case(5, (8, 4, 8, 28, 28))
    input_bytes = 3 * 4 * 8 * 4 * 8 * 28 * 28
    assert peak_bytes(case, "shift") < 3 * input_bytes
    assert peak_bytes(case, "reference") > 20 * input_bytes  # so the measure does see k * k copies


@pytest.mark.parametrize("backend", LIBRARY)
def test_temporaries_of_the_library_backends_do_not_grow_with_the_batch(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sasa_cli.attention.backends.eager.CPU_SLICE_BYTES", 1)  # one image at a time
    small, large = (peak_bytes(Case(5, (batch, 4, 8, 20, 20)), backend) for batch in (4, 12))
    maps = 4 * 4 * 8 * 20 * 20  # bytes of one image
    assert small > 20 * maps
    # Output, its gradient (made in float64), log-sum-exp, gradients of query, key and value.
    assert large - small < 8 * 8 * maps


@pytest.mark.parametrize(
    ("backend", "case"),
    [
        ("sdpa", Case(7, (4, 4, 64, 7, 7))),
        ("sdpa", Case(7, (1, 4, 16, 28, 28), "mask")),
        ("halo", Case(7, (1, 4, 8, 40, 40))),
        ("halo", Case(3, (2, 4, 8, 28, 28), "mask")),
    ],
    ids=str,
)
def test_library_backends_know_what_their_slices_take(
    backend: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = {"sdpa": sdpa.KERNEL, "halo": halo.KERNEL}[backend]
    monkeypatch.setattr("sasa_cli.attention.backends.eager.CPU_SLICE_BYTES", 2**40)
    problem = case.problem(torch.float32)
    expected = 4 * kernel.elements_per_image(problem) * problem.batch
    maps = 4 * torch.Size(case.shape).numel()
    # Beside the slice there are output and gradients, and this test's gradient of the output.
    found = peak_bytes(case, backend) - 5 * maps
    assert 0.5 * expected < found < 1.2 * expected


@pytest.mark.parametrize("kernel", [sdpa.KERNEL, halo.KERNEL], ids=["sdpa", "halo"])
@pytest.mark.parametrize("channels", [64, 128])
def test_slices_on_an_accelerator_leave_room_below_3_percent_of_unfold(kernel: EagerKernel, channels: int) -> None:
    """Batch 128 at 56 x 56, bfloat16; an estimate, with the 195 maps that unfold took on a CPU in float32."""
    problem = replace(Case(7, (128, 8, channels // 8, 56, 56)).problem(torch.bfloat16), device="cuda")
    maps = 2 * 128 * channels * 56 * 56
    images = next(kernel.slices(problem)).stop
    temporaries = 2 * kernel.elements_per_image(problem) * images
    kept = 4.25 * maps  # output, log-sum-exp and three gradients
    assert kept + temporaries < 0.03 * 195 * maps
