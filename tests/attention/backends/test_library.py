"""What the backends by `scaled_dot_product_attention` do only on CUDA, as far as a CPU can show it."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sasa_cli.attention.backends import halo, library, sdpa

from ..cases import Case
from .test_backends import assert_equals_reference

MODES = ("default", "warn", "error")


@pytest.mark.parametrize("mode", range(3), ids=MODES)
def test_sums_have_a_fixed_order_in_the_backward_pass_of_the_fused_kernel_alone(mode: int) -> None:
    seen: list[int] = []
    leaf = torch.ones(3, requires_grad=True)
    attended = leaf * 2
    attended.register_hook(lambda grad: seen.append(torch.get_deterministic_debug_mode()))
    try:
        torch.set_deterministic_debug_mode(mode)
        library._fix_order_of_sums(attended.grad_fn)
        leaf.register_hook(lambda grad: seen.append(torch.get_deterministic_debug_mode()))
        attended.grad_fn.register_prehook(lambda grads: seen.append(torch.get_deterministic_debug_mode()))
        attended.sum().backward()
        assert seen == [mode, 2, mode]  # before it, in it, after it
        assert torch.get_deterministic_debug_mode() == mode
    finally:
        torch.set_deterministic_debug_mode("default")


def test_the_mode_is_restored_where_the_backward_pass_fails() -> None:
    def fail() -> None:
        torch.set_deterministic_debug_mode("error")
        raise MemoryError

    with pytest.raises(MemoryError), library._deterministic_mode_restored():
        fail()
    assert torch.get_deterministic_debug_mode() == 0


@pytest.mark.parametrize("border", ["zero", "mask"])
@pytest.mark.parametrize("module", [sdpa, halo], ids=["sdpa", "halo"])
def test_a_fused_kernel_gets_what_it_takes(module, border: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fused kernel of the CPU stands for that of CUDA: it wants the same shapes, and values as wide as keys."""
    original = F.scaled_dot_product_attention
    calls = []

    def fused(query, key, value, attn_mask, scale):
        calls.append((query, key, value, attn_mask))
        head_dim = value.shape[-1]
        wide = F.pad(value, (0, query.shape[-1] - head_dim))
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return original(query, key, wide, attn_mask=attn_mask, scale=scale)[..., :head_dim]

    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    monkeypatch.setattr(library, "is_fused", lambda problem: True)
    monkeypatch.setattr(library, "sdpa_kernel", lambda kernel: sdpa_kernel(SDPBackend.MATH))
    case = Case(3, (2, 2, 4, 9, 6), border, position="per_head")
    assert_equals_reference(module.BACKEND.name, case, torch.float32, 1e-5)
    for query, key, value, mask in calls:
        assert query.dim() == key.dim() == value.dim() == mask.dim() == 4
        assert query.shape[-1] == key.shape[-1]
        for tensor in (query, key, value):
            assert tensor.shape[-1] % library.ALIGNMENT == 0
            assert tensor.is_contiguous()
        assert mask.any(-1).all()  # a softmax over nothing is NaN
