"""Backend `cpu`: the fused C++ kernel and its call."""
