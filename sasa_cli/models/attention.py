"""The layer that takes the place of the 3x3 convolution: local self-attention over k x k pixels."""

from typing import Any, ClassVar

import torch
from timm.layers.config import is_exportable, is_scriptable
from timm.models import register_notrace_module
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from sasa_cli.attention import Problem, packed_local_attention, plain_local_attention
from sasa_cli.models.position import offset_embedding, sinusoidal_encoding
from sasa_cli.spec import AttentionSpec, heads_problem

CALLED_AROUND = ("forward", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""What in the dict of a module is called in the place of its class's `forward`, or around it."""


@register_notrace_module  # one node in a graph of torch.fx
class LocalSelfAttention(nn.Module):
    """Stand-alone self-attention (Ramachandran et al., 2019, arXiv 1906.05909, equation 3).

    For pixel (i, j) of each head, with the k x k window N_k(i, j) centred on it::

        y_ij = sum_{(a, b) in N_k(i, j)} softmax_ab(q_ij . k_ab + q_ij . r_{a - i, b - j}) v_ab

    where q = W_Q x, k = W_K x and v = W_V x are dense 1x1 projections without bias, split into N heads of D
    channels afterwards. There is neither a factor 1 / sqrt(D) nor an output projection: the 1x1 convolution that
    ends the bottleneck mixes the heads.

    The projections are three modules, and computed together, in one convolution, as long as they are what they were:
    1x1 convolutions without bias, hooks, parametrizations or another `forward`. Else (LoRA, pruning, quantization, ...)
    each of them is called.

    Built under timm's `exportable` or `scriptable` (keywords of `timm.create_model`), or after `plain_torch`, the layer
    consists of plain PyTorch operations: slower, but TorchScript, `torch.fx`, ONNX and `torch.func` take it.

    With position "absolute", the sinusoidal encoding of the pixel is added to the input x, and so reaches queries,
    keys and values; the paper names the encoding, but not where it is added.

    Args:
        in_channels: C_in.
        out_channels: C_out = N D.
        spec: k (one number), heads, position, content, border, embedding, pool and backend.
        stride: above 1, a `stride` x `stride` average pool follows the attention (paper, section 3.1); with pool
            "before" it comes first, and the window is k x k pixels of the pooled map. A window of the pool that the
            map's edge cuts off averages the pixels that it has.

    Raises:
        ValueError: if `out_channels` cannot be split into these heads, or k is not one number.
    """

    __constants__: ClassVar = ["absolute", "border", "plain", "pools_first"]  # by which TorchScript leaves branches out

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
        if not isinstance(spec.spatial_extent, int):
            raise ValueError(f"spatial_extent must be one number for one layer, got {spec.spatial_extent}")
        if problem := heads_problem(out_channels, spec.heads, spec.position):
            raise ValueError(f"heads: {problem}")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.spec = spec
        self.spatial_extent = spec.spatial_extent
        self.in_channels = in_channels
        self.head_dim = out_channels // spec.heads

        self.query = nn.Conv2d(in_channels, out_channels, 1, bias=False, **factory)
        self.key = nn.Conv2d(in_channels, out_channels, 1, bias=False, **factory) if spec.content else None
        self.value = nn.Conv2d(in_channels, out_channels, 1, bias=False, **factory)
        shape = (spec.heads, self.head_dim, self.spatial_extent)
        self.row_embedding = offset_embedding(spec, *shape, **factory)
        self.column_embedding = offset_embedding(spec, *shape, **factory)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.stride = stride
        self.pools_first = spec.pool == "before"
        self.absolute = spec.position == "absolute"
        self.heads = spec.heads
        self.border: str = spec.border
        self.plain: bool = is_exportable() or is_scriptable()
        self.init_weights()

    def init_weights(self) -> None:
        """Draw new weights, such that q.k, q.r and v each start with a variance of about 1 for every D.

        The paper does not state its initialisation. As it has no factor 1 / sqrt(D) in the logits either, that
        factor stands in the first weights of queries, keys and embeddings.
        """
        # Mean square of the input: 1/2 after batch norm and ReLU; sines and cosines add another 1/2.
        power = 1.0 if self.spec.position == "absolute" else 0.5
        std = (power * self.query.in_channels) ** -0.5
        nn.init.normal_(self.value.weight, std=std)
        for projection in (self.query, self.key):
            if projection is not None:
                nn.init.normal_(projection.weight, std=std * self.head_dim**-0.25)
        for embedding in (self.row_embedding, self.column_embedding):
            if embedding is not None:
                nn.init.normal_(embedding, std=self.head_dim**-0.25)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C_in, H, W)`` to ``(B, C_out, ceil(H / stride), ceil(W / stride))``."""
        if self.pools_first:
            x = self.pool(x)
        if self.absolute:
            x = x + sinusoidal_encoding(x, self.in_channels).to(x.dtype)
        if self.plain:  # noqa: SIM108 - of statements, TorchScript compiles only the one that a constant chooses
            y = self._attend_plainly(x)
        else:
            y = self._attend(x)
        y = y.flatten(1, 2)  # (B, C, H, W)
        return y if self.pools_first else self.pool(y)

    def _attend(self, x: Tensor) -> Tensor:
        """``(B, C_in, H, W)`` to ``(B, N, D, H, W)``."""
        return packed_local_attention(
            self._project(x),
            self.row_embedding,
            self.column_embedding,
            spatial_extent=self.spatial_extent,
            border=self.border,
            backend=self.spec.backend,
        )

    def _attend_plainly(self, x: Tensor) -> Tensor:
        """The same by plain operations."""
        shape = (self.heads, self.head_dim)
        query, value = self.query(x).unflatten(1, shape), self.value(x).unflatten(1, shape)
        key = None
        if self.key is not None:
            key = self.key(x).unflatten(1, shape)
        return plain_local_attention(
            query, key, value, self.row_embedding, self.column_embedding, self.spatial_extent, self.border
        )

    def problem(self, shape: torch.Size, dtype: torch.dtype, device: str) -> Problem:
        """What a forward pass of maps of this shape, ``(B, C_in, H, W)``, asks of `local_attention`."""
        batch, _, height, width = shape
        if self.pools_first:
            height, width = -(-height // self.stride), -(-width // self.stride)
        return Problem(
            batch=batch,
            heads=self.spec.heads,
            head_dim=self.head_dim,
            height=height,
            width=width,
            spatial_extent=self.spatial_extent,
            border=self.spec.border,
            content=self.key is not None,
            position=self.row_embedding is not None,
            dtype=dtype,
            device=device,
        )

    def _project(self, x: Tensor) -> Tensor:
        """Queries, keys and values side by side: ``(B, C_in, H, W)`` to ``(B, P, N, D, H, W)``, P = 3.

        Without content there are no keys, and P = 2. One 1x1 convolution, where it can be, reads x once and its
        backward pass adds up nothing; this is what keeps a step as fast as that of the convolution that attention
        replaces.
        """
        projections = [layer for layer in (self.query, self.key, self.value) if layer is not None]
        if all(map(_is_plain_projection, projections)) and not _has_any_global_hook():
            maps = F.conv2d(x, torch.cat([layer.weight for layer in projections]))
        else:
            maps = torch.cat([layer(x) for layer in projections], dim=1)
        packed: Tensor = maps.unflatten(1, (len(projections), self.spec.heads, self.head_dim))
        return packed

    def extra_repr(self) -> str:
        spec = self.spec
        return (
            f"spatial_extent={self.spatial_extent}, heads={spec.heads}, position={spec.position}, "
            f"content={spec.content}, border={spec.border}, pool={spec.pool}"
        )


def _is_plain_projection(layer: nn.Module) -> bool:
    """Whether calling it does nothing but its 1x1 convolution. Parametrizations make a class of their own."""
    return (
        type(layer) is nn.Conv2d
        and layer.bias is None
        and (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((1, 1), (1, 1), (0, 0), 1)
        and not any(layer.__dict__.get(name) for name in CALLED_AROUND)
    )


def plain_torch(network: nn.Module, wanted: bool = True) -> nn.Module:
    """Switch the attention layers of a network to plain PyTorch operations, or back; same weights, same numbers.

    For what cannot look into an operator of ours: TorchScript, `torch.fx`, ONNX, `torch.func`, second derivatives.

    Returns:
        ``network`` itself.
    """
    for module in network.modules():
        if isinstance(module, LocalSelfAttention):
            module.plain = wanted
    return network
