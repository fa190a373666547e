"""Attention's counterpart with fixed weights: a k x k filter for each channel, over the same value projection."""

from typing import Any

import torch
from torch import Tensor, nn

from sasa_cli.spec import AttentionSpec


class DepthwiseConvolution(nn.Module):
    """Local self-attention whose weights do not depend on the content of the image.

    For pixel (i, j) and channel c, with the k x k window N_k(i, j) centred on it::

        y_ijc = sum_{(a, b) in N_k(i, j)} w_{a - i, b - j, c} v_abc

    where v = W_V x is the dense 1x1 projection without bias that attention has, too. In the place of the softmax, which
    each head shares among its channels, stands one learned filter w for each channel. Places outside the map are zero.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        spec: of which the spatial extent k (one number) and pool are read.
        stride: above 1, a `stride` x `stride` average pool follows, or comes first with pool "before", as in
            `LocalSelfAttention`.

    Raises:
        ValueError: if k is not one number.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spec: AttentionSpec,
        *,
        stride: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        extent = spec.spatial_extent
        if not isinstance(extent, int):
            raise ValueError(f"spatial_extent must be one number for one layer, got {extent}")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.spatial_extent = extent
        self.value = nn.Conv2d(in_channels, out_channels, 1, bias=False, **factory)
        self.filter = nn.Conv2d(
            out_channels, out_channels, extent, padding=extent // 2, groups=out_channels, bias=False, **factory
        )
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.pools_first = spec.pool == "before"
        self.init_weights()

    def init_weights(self) -> None:
        """Draw new weights, such that values and output each start with a variance of about 1.

        The values start as those of attention do: their input has a mean square of 1/2 after batch norm and ReLU. Each
        output is a sum over k x k values, hence a deviation of 1 / k for the weights of a filter.
        """
        nn.init.normal_(self.value.weight, std=(0.5 * self.value.in_channels) ** -0.5)
        nn.init.normal_(self.filter.weight, std=1 / self.spatial_extent)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C_in, H, W)`` to ``(B, C_out, ceil(H / stride), ceil(W / stride))``."""
        if self.pools_first:
            x = self.pool(x)
        y: Tensor = self.filter(self.value(x))
        return y if self.pools_first else self.pool(y)

    def extra_repr(self) -> str:
        return f"spatial_extent={self.spatial_extent}"
