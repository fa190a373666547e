"""The plain mode: what cannot look into an operator of ours takes the networks all the same, with equal numbers."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from sasa_cli.attention import local_attention, packed_local_attention
from sasa_cli.models import LocalSelfAttention, plain_torch

from .networks import VARIANTS, images, small_network

# So says PyTorch, whose own forward mode uses it.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
EXPORTED = ("attention", "absolute", "attention-stem-conv-values", "masked-border", "small-input-attention-stem")


def network(variant: str = "mixed", exportable: bool = True, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    chosen = {"zero_init_last": False, "exportable": exportable} | VARIANTS[variant] | arguments
    return small_network(**chosen).eval()


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_timm_keywords_and_plain_torch_choose_it(variant: str) -> None:
    chosen = network(variant)
    layers = [module for module in chosen.modules() if isinstance(module, LocalSelfAttention)]
    assert bool(layers) == (variant != "conv")
    assert all(layer.plain for layer in layers)
    with torch.no_grad():
        plain, ours = chosen(images()), plain_torch(chosen, False)(images())
    assert not any(layer.plain for layer in layers)
    assert_same(plain, ours)


@pytest.mark.parametrize("variant", VARIANTS)
def test_torchscript(variant: str) -> None:
    model = network(variant, exportable=False, scriptable=True)
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(model), file)
    file.seek(0)
    assert_same(torch.jit.load(file)(images(3)), model(images(3)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_torch_fx(variant: str) -> None:
    model = network(variant)
    graph = torch.fx.symbolic_trace(model)
    assert_same(graph(images(3)), model(images(3)))


def test_torch_fx_fuses_batch_norm() -> None:
    model = network()
    fused = fuse(model)
    assert not any(isinstance(module, nn.BatchNorm2d) and "bn1" in name for name, module in fused.named_modules())
    assert_same(fused(images()), model(images()))


@pytest.mark.parametrize("variant", EXPORTED)
def test_onnx(variant: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    model, file = network(variant), tmp_path / "network.onnx"
    torch.onnx.export(model, (images(),), file, dynamo=True, verbose=False)
    session = runtime.InferenceSession(file)
    (output,) = session.run(None, {session.get_inputs()[0].name: images().numpy()})
    np.testing.assert_allclose(output, model(images()).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_torch_func() -> None:
    model = network().double()
    weights, x = dict(model.named_parameters()), images().double()

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, weights, (x,)).square().sum()

    gradients = torch.func.grad(loss)(weights)
    model(x).square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)
    direction = {name: torch.randn_like(weight) for name, weight in weights.items()}
    _, along = torch.func.jvp(loss, (weights,), (direction,))
    expected = sum((gradients[name] * direction[name]).sum() for name in weights)
    torch.testing.assert_close(along, expected)


def test_forward_mode_through_the_operator_is_refused_where_pytorch_would_give_zeros() -> None:
    maps, table = torch.randn(1, 3, 1, 2, 4, 4), torch.randn(1, 3)

    def packed(maps: Tensor, table: Tensor) -> Tensor:
        return packed_local_attention(maps, table, table, spatial_extent=3)

    def separate(maps: Tensor, table: Tensor) -> Tensor:
        return local_attention(*maps.unbind(1), table, table, spatial_extent=3)

    for attend in (packed, separate):
        for tangents in ((torch.ones_like(maps), torch.zeros_like(table)), (torch.zeros_like(maps), table)):
            with pytest.raises(NotImplementedError, match="has no forward-mode derivative"):
                torch.func.jvp(attend, (maps, table), tangents)
        assert torch.func.jvp(lambda x, attend=attend: attend(maps, table) * x, (table[0, 0],), (table[0, 0],))
