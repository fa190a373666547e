"""Backend `triton`: the fused kernels for GPUs and their launch."""
