"""The plain mode of local attention is the reference, value and gradient."""

import pytest
import torch

from sasa_cli.attention import plain_local_attention

from .cases import LAYOUTS, SETTINGS, SHAPES, Case


@pytest.mark.parametrize("case", [*SETTINGS, *SHAPES, *LAYOUTS], ids=str)
def test_it_is_the_reference(case: Case) -> None:
    inputs = case.inputs(torch.float64)
    given = [tensor for tensor in inputs if tensor is not None]
    key = inputs.key if case.content else None
    output = plain_local_attention(*inputs._replace(key=key), case.spatial_extent, case.border)
    random = torch.Generator().manual_seed(1)
    grad = torch.randn(case.shape, dtype=torch.float64, generator=random)
    gradients = torch.autograd.grad(output, given, grad, materialize_grads=True)
    expected = case.output_and_gradients(inputs, "reference")
    for name, actual in zip(expected, (output, *gradients), strict=True):
        torch.testing.assert_close(actual, expected[name])
